//! One process at a time works on a run.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// The right to work on a run; the kernel takes it back when the process is gone, however that happens.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    _file: File,
}

impl RunLock {
    /// Takes the lock of a run below the state directory; `None` when another process has it.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub fn take(state_dir: &Path, run_id: &str) -> io::Result<Option<Self>> {
        let directory = state_dir.join("runs");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)?;
        let path = file_of(state_dir, run_id);
        let mut tries = 100;
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                // Whoever lists the runs looks at the lock for a moment.
                Err(Errno::WOULDBLOCK) if tries > 0 => {
                    tries -= 1;
                    std::thread::yield_now();
                    continue;
                }
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Whoever had it may have removed the file between its opening and its locking.
            if std::fs::metadata(&path).is_ok_and(|now| {
                file.metadata()
                    .is_ok_and(|mine| (now.ino(), now.dev()) == (mine.ino(), mine.dev()))
            }) {
                return Ok(Some(Self { path, _file: file }));
            }
        }
    }

    /// Whether a process works on a run.
    pub fn is_taken(state_dir: &Path, run_id: &str) -> bool {
        let Ok(file) = File::open(file_of(state_dir, run_id)) else {
            return false;
        };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK)
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // A file that stays is locked by nobody.
        drop(std::fs::remove_file(&self.path));
    }
}

fn file_of(state_dir: &Path, run_id: &str) -> PathBuf {
    state_dir.join("runs").join(format!("{run_id}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_worker() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        assert!(!RunLock::is_taken(state, "r"));
        let lock = RunLock::take(state, "r").unwrap().unwrap();
        assert!(RunLock::is_taken(state, "r"));
        assert!(RunLock::take(state, "r").unwrap().is_none());
        assert!(RunLock::take(state, "other").unwrap().is_some());
        drop(lock);
        assert!(!RunLock::is_taken(state, "r"));
        // As after the death of a process: the file is there and nobody has it.
        std::fs::write(state.join("runs/r.lock"), "").unwrap();
        assert!(!RunLock::is_taken(state, "r"));
        assert!(RunLock::take(state, "r").unwrap().is_some());
    }
}
