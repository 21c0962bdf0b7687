//! The one policy value that the file tools, `bash` and `ssh` all obey, so that they cannot disagree.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::limits::Limits;
use super::names::{CONFIGURATION_NAMES, holds_secret, keeps_credentials, steers_git};
use super::scan::{Cache, Scan};
use super::settings::{Network, SandboxSettings, Tier};
use super::started::started;

/// Which files a tool may read and write, what network it sees and what it may use up.
///
/// Immutable once built; share it in an `Arc`. Paths are absolute with symbolic links resolved.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The root of what agents work on.
    pub workspace: PathBuf,
    /// Whether paths outside the workspace are closed (`sandbox_paths`).
    pub confined: bool,
    /// How strongly commands are confined.
    pub tier: Tier,
    /// What network a command sees.
    pub network: Network,
    /// Files and directories outside the workspace that may be read.
    pub read: Vec<PathBuf>,
    /// Files and directories outside the workspace that may be read and written.
    pub write: Vec<PathBuf>,
    /// Files, and directories with all they hold, that may not be written, whether they exist or not:
    /// the configuration in use.
    pub protected: Vec<PathBuf>,
    /// Files of the workspace, and directories with all they hold, that may not be written because git, a shell or
    /// the user's session starts them by themselves; whether they exist or not.
    pub started: Vec<PathBuf>,
    /// Files, and directories with all they hold, that may be neither read nor written: the state
    /// directory.
    pub private: Vec<PathBuf>,
    /// Directories in which a new `orch.yaml`, `config.yaml`, `config.yml` or `.env` would be found by
    /// `orch`: the workspace, the directory of the configuration, the current directory.
    pub configuration_dirs: Vec<PathBuf>,
    /// The TCP ports that a command may connect to, where the kernel can tell; all when `None`.
    pub ports: Option<Vec<u16>>,
    /// Whether ssh adds hosts to the user's known ones that it never met; changed ones are refused in any
    /// case.
    pub accept_new_hosts: bool,
    /// The socket of the user's ssh agent, for servers whose entry allows it.
    pub agent_socket: Option<PathBuf>,
    /// The only programs that a command may start; all when empty.
    pub allowed_commands: Vec<String>,
    /// The home directory, of which a command sees next to nothing.
    pub home: PathBuf,
    /// Where caches and control sockets may be kept between commands.
    pub state_dir: Option<PathBuf>,
    /// What a command may use up.
    pub limits: Limits,
    /// The whole environment of a command.
    pub environment: BTreeMap<OsString, OsString>,
    /// The patterns of `read_deny`, as written.
    read_deny: Vec<String>,
    /// The same as they are matched.
    denied_whole: Vec<String>,
    denied: GlobSet,
    scans: Arc<Mutex<BTreeMap<PathBuf, Scan>>>,
}

/// Why a policy cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The workspace cannot be opened.
    #[error("cannot open the workspace `{path}`")]
    Workspace {
        /// As it was given.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A pattern of `read_deny` is no pattern.
    #[error("`{pattern}` in `read_deny` is not a valid pattern")]
    Pattern {
        /// As it was written.
        pattern: String,
        /// Why.
        source: globset::Error,
    },
}

impl Policy {
    /// A policy for a workspace; what the settings do not know starts empty or at its default and can be
    /// set on the value. `~` stands for `home`, other relative paths start at the workspace.
    ///
    /// # Errors
    /// The workspace cannot be resolved, or a pattern of `read_deny` is wrong.
    pub fn new(
        workspace: &Path,
        home: &Path,
        settings: &SandboxSettings,
    ) -> Result<Self, PolicyError> {
        let workspace = std::fs::canonicalize(workspace).map_err(|source| {
            let path = workspace.to_owned();
            PolicyError::Workspace { path, source }
        })?;
        let paths = |texts: &[String]| -> Vec<PathBuf> {
            texts
                .iter()
                .map(|text| expand(&workspace, home, text))
                .collect()
        };
        let write = paths(&settings.write);
        let denied_whole = whole_patterns(home, &settings.read_deny);
        Ok(Self {
            confined: true,
            tier: settings.tier,
            network: settings.network,
            read: paths(&settings.read),
            started: started(&workspace, &write, home),
            write,
            protected: Vec::new(),
            private: Vec::new(),
            configuration_dirs: vec![workspace.clone()],
            ports: None,
            accept_new_hosts: false,
            agent_socket: None,
            allowed_commands: Vec::new(),
            home: home.to_owned(),
            state_dir: None,
            limits: Limits::default(),
            environment: BTreeMap::new(),
            denied: deny_set(&denied_whole)?,
            denied_whole,
            read_deny: settings.read_deny.clone(),
            scans: Arc::default(),
            workspace,
        })
    }

    /// Whether a file may be neither read nor written: `.env*` other than templates, private keys and
    /// credentials by name, `read_deny`, the state directory. The path is absolute or relative to the
    /// workspace; its type does not matter, so a directory `.env` is for the caller to let through.
    pub fn is_secret(&self, path: &Path) -> bool {
        let absolute = self.absolute(path);
        absolute
            .file_name()
            .is_some_and(|name| holds_secret(name.as_bytes()))
            || keeps_credentials(absolute.as_os_str().as_bytes())
            || self.is_denied(path)
    }

    /// Whether `read_deny` or the state directory covers a path, or a directory above it; in such a
    /// directory even the names are hidden.
    pub fn is_denied(&self, path: &Path) -> bool {
        let absolute = self.absolute(path);
        if holds(&self.private, &absolute) {
            return true;
        }
        if self.denied.is_empty() {
            return false;
        }
        let relative = absolute.strip_prefix(&self.workspace).ok();
        absolute
            .ancestors()
            .take_while(|ancestor| *ancestor != self.workspace && ancestor.parent().is_some())
            .any(|ancestor| self.denied.is_match(ancestor))
            || relative.is_some_and(|relative| {
                relative
                    .ancestors()
                    .take_while(|ancestor| !ancestor.as_os_str().is_empty())
                    .any(|ancestor| self.denied.is_match(ancestor))
            })
    }

    /// Whether a path may not be written, whether it exists or not: the configuration in use, names that
    /// `orch` would find as configuration, what steers git, what starts by itself, and every secret.
    pub fn is_protected(&self, path: &Path) -> bool {
        let absolute = self.absolute(path);
        self.is_secret(&absolute)
            || holds(&self.protected, &absolute)
            || holds(&self.started, &absolute)
            || self.is_configuration(&absolute)
            || steers_git(names(&absolute))
    }

    /// Whether an entry of a directory that may be read is denied, when nothing above it is.
    pub(super) fn denies_entry(&self, root: &Path, relative: &Path) -> bool {
        if self.denied.is_empty() && self.private.is_empty() {
            return false;
        }
        let absolute = root.join(relative);
        self.private.contains(&absolute)
            || self.denied.is_match(&absolute)
            || absolute
                .strip_prefix(&self.workspace)
                .is_ok_and(|relative| self.denied.is_match(relative))
    }

    /// What was seen of the directories that may be read; copies of the policy share it.
    pub(super) fn scans(&self) -> &Mutex<BTreeMap<PathBuf, Scan>> {
        &self.scans
    }

    /// A number of the rules by which something is hidden in the directories that a command may write.
    pub(super) fn rules(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.denied_whole, &self.private, &self.write).hash(&mut hasher);
        hasher.finish()
    }

    /// Where what was seen of a directory is kept between processes; `real` is its real path.
    pub(super) fn cache(&self, root: &Path, real: &Path) -> Option<Cache> {
        let state_dir = self.state_dir.as_ref()?;
        let paths = [root, real, &self.workspace].into_iter();
        let paths = paths.chain(self.private.iter().map(PathBuf::as_path));
        let paths = paths.map(|path| path.as_os_str().as_bytes());
        // Nothing stands between the paths and the patterns.
        let patterns = self.denied_whole.iter().map(String::as_bytes);
        Some(Cache::new(
            state_dir,
            paths.chain([b"".as_slice()]).chain(patterns),
        ))
    }

    /// A path of the configuration: `~` stands for the home directory, other relative ones start at the
    /// workspace.
    pub fn expand(&self, text: &str) -> PathBuf {
        expand(&self.workspace, &self.home, text)
    }

    /// The patterns of `read_deny`, as written.
    pub fn read_deny(&self) -> &[String] {
        &self.read_deny
    }

    fn is_configuration(&self, absolute: &Path) -> bool {
        let Some(name) = absolute.file_name() else {
            return false;
        };
        let name = name.as_bytes().to_ascii_lowercase();
        CONFIGURATION_NAMES.contains(&name.as_slice())
            && absolute
                .parent()
                .is_some_and(|parent| self.configuration_dirs.iter().any(|dir| dir == parent))
    }

    /// The path made absolute, `.` and `..` resolved by letter.
    fn absolute(&self, path: &Path) -> PathBuf {
        normal(&self.workspace.join(path))
    }
}

/// The components of a path as bytes.
fn names(path: &Path) -> impl Iterator<Item = &[u8]> {
    path.components().map(|part| part.as_os_str().as_bytes())
}

/// Whether one of the paths is the path itself or a directory above it.
fn holds(paths: &[PathBuf], absolute: &Path) -> bool {
    paths.iter().any(|path| absolute.starts_with(path))
}

/// `.` and `..` resolved by letter, without looking at the disk.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                whole.pop();
            }
            _ => whole.push(component),
        }
    }
    whole
}

/// `~` stands for the home directory, other relative paths start at the workspace.
fn expand(workspace: &Path, home: &Path, text: &str) -> PathBuf {
    let path = match text.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => workspace.join(text),
    };
    normal(&path)
}

/// The patterns as git reads an ignore file: without a slash at any depth, else from the workspace; `~/` and
/// absolute ones reach outside.
fn whole_patterns(home: &Path, patterns: &[String]) -> Vec<String> {
    let mut whole = Vec::new();
    for pattern in patterns {
        let trimmed = pattern.trim_end_matches('/').trim_end_matches("/**");
        if let Some(rest) = trimmed.strip_prefix("~/") {
            // What lies in a home directory behind a link is met under its real path.
            let real = std::fs::canonicalize(home).ok();
            let homes = std::iter::once(home).chain(real.as_deref());
            whole.extend(homes.map(|home| {
                let home = globset::escape(&home.to_string_lossy());
                format!("{home}/{rest}")
            }));
        } else if pattern.trim_end_matches('/').contains('/') {
            whole.push(trimmed.trim_start_matches("./").to_owned());
        } else {
            whole.push(format!("**/{trimmed}"));
        }
    }
    whole.dedup();
    whole
}

fn deny_set(patterns: &[String]) -> Result<GlobSet, PolicyError> {
    let failed = |pattern: &str| {
        let pattern = pattern.trim_start_matches("**/").to_owned();
        move |source| PolicyError::Pattern { pattern, source }
    };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .case_insensitive(true)
            .build()
            .map_err(failed(pattern))?;
        set.add(glob);
    }
    set.build().map_err(failed(&patterns.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(read_deny: &[&str]) -> Policy {
        let settings = SandboxSettings {
            read_deny: read_deny.iter().map(|text| (*text).to_owned()).collect(),
            ..SandboxSettings::default()
        };
        let mut policy = Policy::new(Path::new("/usr"), Path::new("/home/u"), &settings).unwrap();
        policy.private.push(PathBuf::from("/usr/state"));
        policy.protected.push(PathBuf::from("/usr/conf/team.yaml"));
        policy
    }

    #[test]
    fn paths_of_settings_are_made_absolute() {
        let settings = SandboxSettings {
            read: vec!["~/.gitconfig".into(), "/opt/data".into(), "../srv".into()],
            write: vec!["~".into()],
            ..SandboxSettings::default()
        };
        let policy = Policy::new(Path::new("/usr"), Path::new("/home/u"), &settings).unwrap();
        let read = ["/home/u/.gitconfig", "/opt/data", "/srv"].map(PathBuf::from);
        assert_eq!(policy.read, read);
        assert_eq!(policy.write, [PathBuf::from("/home/u")]);
    }

    #[test]
    fn secrets() {
        let policy = policy(&["*.sqlite", "secrets/**", "/usr/top", "~/vault", "a/b*"]);
        for path in [
            ".env",
            "deep/down/.env.local",
            "x/../.env",
            "/usr/.env",
            "/elsewhere/id_rsa",
            "data.sqlite",
            "x/y/DATA.SQLITE",
            "secrets",
            "secrets/a/b",
            "top/x",
            "/home/u/vault/gold",
            "a/bc/d",
            "state/ledger",
        ] {
            assert!(policy.is_secret(Path::new(path)), "{path}");
            assert!(policy.is_protected(Path::new(path)), "{path}");
        }
        for path in [
            "src/main.rs",
            ".env/lib/python3/site.py",
            "x/secrets/a",
            "x/top",
            "c/a/bc",
            "statement",
            "",
        ] {
            assert!(!policy.is_secret(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn protected() {
        let policy = policy(&[]);
        for path in [
            "orch.yaml",
            "Config.YML",
            "config.yaml",
            "./x/../orch.yaml",
            "conf/team.yaml",
            ".git/hooks/x",
            "sub/.git/config",
        ] {
            assert!(policy.is_protected(Path::new(path)), "{path}");
            assert!(!policy.is_secret(Path::new(path)), "{path}");
        }
        for path in [
            "k8s/config.yaml",
            "conf/other.yaml",
            "src/orch.rs",
            ".git/index",
        ] {
            assert!(!policy.is_protected(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        let settings = SandboxSettings {
            read_deny: vec!["a[".into()],
            ..SandboxSettings::default()
        };
        let error = Policy::new(Path::new("/usr"), Path::new("/home/u"), &settings).unwrap_err();
        let words = "`a[` in `read_deny` is not a valid pattern";
        assert_eq!(error.to_string(), words);
    }
}
