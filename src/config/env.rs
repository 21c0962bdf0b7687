//! The environment: one snapshot at start, and what `.env` files add to it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

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

    /// All variables of the process environment as they were, for children that inherit some.
    pub fn process_variables(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.process
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
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
