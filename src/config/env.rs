//! The environment: one snapshot at start, and what `.env` files add to it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

/// Environment variables as the program sees them: those of the process, then those of `.env` files.
///
/// The process environment itself is never changed. `Debug` shows no values.
#[derive(Clone, Default)]
pub struct Env {
    process: BTreeMap<String, OsString>,
    files: BTreeMap<String, SecretString>,
}

impl Env {
    /// The snapshot of a process environment; `main` takes it once, from `std::env::vars_os()`.
    /// Variables whose names are not UTF-8 are left out.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let process = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        Self {
            process,
            files: BTreeMap::new(),
        }
    }

    /// A variable that is set, not empty, and UTF-8; the process environment wins over `.env` files.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.process(name)
            .and_then(OsStr::to_str)
            .or_else(|| self.files.get(name).map(ExposeSecret::expose_secret))
            .filter(|value| !value.is_empty())
    }

    /// A variable of the process environment alone that is set and not empty: for what a file in
    /// somebody else's directory must not decide.
    pub fn process(&self, name: &str) -> Option<&OsStr> {
        self.process
            .get(name)
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// A key or password by the name of its variable.
    pub fn secret(&self, name: &str) -> Option<SecretString> {
        self.get(name).map(SecretString::from)
    }

    /// Every value that must not be shown: what `.env` files hold, and the variables of the process
    /// whose names sound like keys.
    pub fn secrets(&self) -> impl Iterator<Item = SecretString> {
        let of_process = self
            .process
            .iter()
            .filter(|(name, _)| super::mask::sounds_secret(name))
            .filter_map(|(_, value)| value.to_str())
            .map(SecretString::from);
        let of_files = self
            .files
            .iter()
            .filter(|(name, _)| super::mask::sounds_secret(name))
            .map(|(_, value)| value.clone());
        of_process.chain(of_files)
    }

    /// All variables of the process environment as they were, for children that inherit some.
    pub fn process_variables(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.process
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
    }

    /// The home directory (`$HOME`), when it is set and absolute.
    pub fn home(&self) -> Option<&Path> {
        self.directory("HOME")
    }

    /// A directory of the process environment; relative ones are ignored, as the XDG rules want it.
    pub(super) fn directory(&self, name: &str) -> Option<&Path> {
        self.process(name)
            .map(Path::new)
            .filter(|path| path.is_absolute())
    }

    /// A path as a configuration writes it, with `~` and `~/…` for the home directory.
    pub fn expand(&self, path: &str) -> PathBuf {
        let Some(rest) = path.strip_prefix('~') else {
            return PathBuf::from(path);
        };
        match self.home() {
            Some(home) if rest.is_empty() => home.to_owned(),
            Some(home) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
            _ => PathBuf::from(path),
        }
    }

    /// Forgets a variable of `.env` files.
    pub(super) fn forget(&mut self, name: &str) {
        self.files.remove(name);
    }

    /// Adds a variable of a `.env` file, unless an earlier file set it. An empty value sets nothing, as in the process
    /// environment: a form that was not filled in hides no key.
    pub(super) fn add(&mut self, name: String, value: SecretString) {
        if !value.expose_secret().is_empty() {
            self.files.entry(name).or_insert(value);
        }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("process", &self.process.keys())
            .field("files", &self.files.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_wins_and_empty_means_unset() {
        let set = |pairs: &[(&str, &str)]| {
            Env::new(
                pairs
                    .iter()
                    .map(|(name, value)| ((*name).into(), (*value).into())),
            )
        };
        let mut env = set(&[
            ("A", "process"),
            ("B", ""),
            ("HOME", "/home/me"),
            ("REL", "x"),
        ]);
        for (name, value) in [
            ("A", "file"),
            ("B", "file"),
            ("C", ""),
            ("B", "later"),
            ("D", ""),
            ("D", "filled in"),
        ] {
            env.add(name.to_owned(), value.to_owned().into());
        }
        assert_eq!(env.get("A"), Some("process"));
        assert_eq!(env.get("B"), Some("file"));
        assert_eq!(env.get("C"), None);
        assert_eq!(env.get("D"), Some("filled in"));
        assert_eq!(env.process("B"), None);
        assert_eq!(env.directory("REL"), None);
        for (path, expected) in [
            ("~", "/home/me"),
            ("~/x", "/home/me/x"),
            ("~you/x", "~you/x"),
            ("/x", "/x"),
            ("x~", "x~"),
        ] {
            assert_eq!(env.expand(path), PathBuf::from(expected));
        }
        assert_eq!(set(&[]).expand("~/x"), PathBuf::from("~/x"));
        assert!(!format!("{env:?}").contains("file\""), "{env:?}");
    }
}
