//! The files that one run needs, gone when it is over.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::files::private_dir;

/// A private directory of one run.
#[derive(Debug)]
pub(super) struct RunFiles(PathBuf);

impl RunFiles {
    /// A new directory below `parent`.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("r{:016x}", fastrand::u64(..)));
        private_dir(&path)?;
        Ok(Self(path))
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it and returns its path.
    pub(super) fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        let mut file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(content.as_bytes())?;
        Ok(path)
    }
}

impl Drop for RunFiles {
    fn drop(&mut self) {
        // What is left of a run's files harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}
