//! `allowed_commands`: which files may be started, and which parts of the system they need.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A listed program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    /// Where `PATH` finds it.
    pub(super) found: PathBuf,
    /// The file itself, links followed.
    pub(super) file: PathBuf,
}

/// Files and directories that some programs start besides themselves.
const COMPANIONS: &[(&[&str], &[&str])] = &[
    (&["git"], &["/usr/lib/git-core", "/usr/libexec/git-core"]),
    (
        &["gcc", "g++", "cc", "c++"],
        &[
            "/usr/lib/gcc",
            "/usr/libexec/gcc",
            "/usr/bin/as",
            "/usr/bin/ld",
            "/usr/bin/collect2",
        ],
    ),
];

/// Loaders that every program is started with.
const LOADERS: &[&str] = &[
    "/lib64/ld-linux-x86-64.so.2",
    "/lib/ld-linux-aarch64.so.1",
    "/lib/ld-musl-x86_64.so.1",
    "/lib/ld-musl-aarch64.so.1",
];

/// Where the shell is, wherever `PATH` leads.
const SHELLS: &[&str] = &[
    "/bin/bash",
    "/usr/bin/bash",
    "/usr/local/bin/bash",
    "/run/current-system/sw/bin/bash",
];

/// The shell of this machine.
pub(super) fn shell() -> Option<PathBuf> {
    SHELLS
        .iter()
        .map(PathBuf::from)
        .find(|path| is_program(path))
}

/// A program by name, as `PATH` finds it.
pub(super) fn find(name: &str, path: &str) -> Option<PathBuf> {
    if name.contains('/') {
        // It may be there only in the view.
        return Some(PathBuf::from(name)).filter(|path| path.is_absolute());
    }
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(directory).join(name))
        .find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The listed programs that exist, and the shell.
pub(super) fn listed(names: &[String], path: &str) -> BTreeSet<Listed> {
    names
        .iter()
        .filter_map(|name| find(name, path))
        .chain(shell())
        .filter_map(|found| {
            let file = std::fs::canonicalize(&found).ok()?;
            Some(Listed { found, file })
        })
        .collect()
}

/// What listed programs start themselves.
pub(super) fn companions(names: &[String]) -> BTreeSet<PathBuf> {
    COMPANIONS
        .iter()
        .filter(|(programs, _)| names.iter().any(|name| programs.contains(&name.as_str())))
        .flat_map(|(_, paths)| paths.iter())
        .filter_map(|path| std::fs::canonicalize(path).ok())
        .collect()
}

/// The loaders that exist here.
pub(super) fn loaders() -> BTreeSet<PathBuf> {
    LOADERS
        .iter()
        .filter_map(|path| std::fs::canonicalize(path).ok())
        .collect()
}

/// Whether an entry of a directory of libraries is one that programs load, and not a place of programs that a
/// loader could be made to start.
pub(super) fn is_library(name: &str) -> bool {
    const DIRECTORIES: &[&str] = &[
        "locale",
        "gconv",
        "terminfo",
        "ssl",
        "os-release",
        "perl",
        "perl5",
        "ruby",
        "jvm",
        "node",
        "nodejs",
        "node_modules",
        "tcltk",
        "girepository-1.0",
        "engines-3",
    ];
    name.contains("-linux-gnu")
        || name.contains(".so")
        || name.starts_with("python")
        || DIRECTORIES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name() {
        let path = "relative:/nowhere:/usr/bin:/bin";
        assert_eq!(find("env", path), Some(PathBuf::from("/usr/bin/env")));
        assert_eq!(
            find("/usr/bin/env", ""),
            Some(PathBuf::from("/usr/bin/env"))
        );
        assert_eq!(find("no-such-program", path), None);
        assert_eq!(find("./env", path), None);
        let listed = listed(&["env".to_owned(), "no-such-program".to_owned()], path);
        let names: Vec<_> = listed
            .iter()
            .filter_map(|one| one.found.file_name())
            .collect();
        assert_eq!(names, ["bash", "env"]);
    }

    #[test]
    fn libraries_are_told_from_programs() {
        for name in [
            "x86_64-linux-gnu",
            "libc.so.6",
            "ld-linux-x86-64.so.2",
            "python3.11",
            "locale",
        ] {
            assert!(is_library(name), "{name}");
        }
        for name in ["initramfs-tools", "git-core", "klibc", "systemd", "busybox"] {
            assert!(!is_library(name), "{name}");
        }
    }
}
