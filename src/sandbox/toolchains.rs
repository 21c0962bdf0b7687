//! Which directories outside the system's own hold the programs that a user works with: found from `PATH`, so
//! that compilers and interpreters in the home directory can be used and nothing else of it can be seen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Directories of programs, and what else their programs need, relative to the same base.
const KNOWN: &[(&str, &[&str])] = &[
    (
        ".cargo/bin",
        &[".cargo/bin", ".cargo/registry", ".cargo/git", ".rustup"],
    ),
    (
        ".local/bin",
        &[
            ".local/bin",
            ".local/lib",
            ".local/share/uv",
            ".local/pipx",
            ".local/share/pipx",
        ],
    ),
    ("go/bin", &["go/bin", "go/pkg"]),
    (".pyenv", &[".pyenv"]),
    (".nvm", &[".nvm"]),
    (".volta", &[".volta"]),
    (".fnm", &[".fnm"]),
    (".local/share/fnm", &[".local/share/fnm"]),
    (
        ".local/state/fnm_multishells",
        &[".local/state/fnm_multishells", ".local/share/fnm"],
    ),
    (".local/share/mise", &[".local/share/mise"]),
    (".asdf", &[".asdf"]),
    (".rbenv", &[".rbenv"]),
    (".rvm", &[".rvm"]),
    (".sdkman", &[".sdkman"]),
    (".deno", &[".deno"]),
    (".bun", &[".bun"]),
    (".dotnet", &[".dotnet"]),
    (".ghcup", &[".ghcup"]),
    (".opam", &[".opam"]),
    (".juliaup", &[".juliaup", ".julia/juliaup"]),
    (".npm-global", &[".npm-global"]),
    (".yarn", &[".yarn/bin"]),
    ("miniconda3", &["miniconda3"]),
    ("miniforge3", &["miniforge3"]),
    ("anaconda3", &["anaconda3"]),
];

/// Variables that name such directories; they may be set while `PATH` leads elsewhere.
pub(super) const VARIABLES: &[&str] = &[
    "CARGO_HOME",
    "RUSTUP_HOME",
    "PYENV_ROOT",
    "NVM_DIR",
    "VIRTUAL_ENV",
    "JAVA_HOME",
    "GOROOT",
    "CONDA_PREFIX",
    "DOTNET_ROOT",
    "DENO_INSTALL",
    "BUN_INSTALL",
    "VOLTA_HOME",
    "ASDF_DIR",
    "ASDF_DATA_DIR",
    "SDKMAN_DIR",
    "RBENV_ROOT",
    "OPAM_SWITCH_PREFIX",
];

/// The directories to show, for a `PATH` and for the values of such variables. Nothing below `system` directories,
/// no home directory and nothing above one.
pub(super) fn directories<'a>(
    path: &str,
    variables: impl Iterator<Item = (&'a str, &'a Path)>,
    home: &Path,
    is_seen: impl Fn(&Path) -> bool,
) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for directory in path.split(':').map(Path::new) {
        found.extend(with_known(directory));
    }
    for (name, directory) in variables {
        match name {
            // Its credentials lie beside its programs.
            "CARGO_HOME" => {
                found.extend(["bin", "registry", "git"].map(|part| directory.join(part)));
            }
            _ => {
                found.insert(directory.to_owned());
            }
        }
    }
    found.retain(|directory| {
        directory.is_absolute() && !home.starts_with(directory) && !is_seen(directory)
    });
    let all = found.clone();
    // What lies in another one needs no place of its own.
    found.retain(|directory| {
        !all.iter()
            .any(|other| other != directory && directory.starts_with(other))
    });
    found
}

/// A directory of programs and what belongs to it.
fn with_known(directory: &Path) -> Vec<PathBuf> {
    for base in directory.ancestors() {
        let Ok(below) = directory.strip_prefix(base) else {
            continue;
        };
        let known = KNOWN.iter().find(|(bin, _)| below.starts_with(bin));
        if let Some((_, parts)) = known {
            return parts.iter().map(|part| base.join(part)).collect();
        }
    }
    vec![directory.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str, variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables
            .iter()
            .map(|(name, value)| (*name, Path::new(*value)));
        let system = |path: &Path| path.starts_with("/usr") || path == Path::new("/bin");
        directories(path, variables, Path::new("/home/u"), system)
            .iter()
            .map(|path| path.display().to_string())
            .collect()
    }

    #[test]
    fn toolchains_are_found_from_path() {
        let path = "/home/u/.cargo/bin:/home/u/.pyenv/shims:/usr/bin:/bin:/home/u:/home:/:.:relative:/srv/tools/bin";
        assert_eq!(
            shown(path, &[]),
            [
                "/home/u/.cargo/bin",
                "/home/u/.cargo/git",
                "/home/u/.cargo/registry",
                "/home/u/.pyenv",
                "/home/u/.rustup",
                "/srv/tools/bin",
            ]
        );
    }

    #[test]
    fn variables_name_more() {
        let variables = [
            ("CARGO_HOME", "/data/cargo"),
            ("RUSTUP_HOME", "/data/rustup"),
            ("JAVA_HOME", "/usr/lib/jvm/x"),
            ("VIRTUAL_ENV", "/home/u"),
        ];
        assert_eq!(
            shown("/usr/bin:/data/rustup/x", &variables),
            [
                "/data/cargo/bin",
                "/data/cargo/git",
                "/data/cargo/registry",
                "/data/rustup"
            ]
        );
    }
}
