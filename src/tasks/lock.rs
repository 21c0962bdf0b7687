//! One process at a time works on a run.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::files;

/// The file in the state directory whose bytes are locked, one a run. It stays empty.
const FILE_NAME: &str = "runs.lock";

/// The right to work on a run; the kernel takes it back when the process is gone, however that happens.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock of a run below the state directory; `None` when another process has it.
    ///
    /// # Errors
    /// When the lock's file cannot be made or locked.
    pub fn take(state_dir: &Path, run_id: &str) -> io::Result<Option<Self>> {
        let path = state_dir.join(FILE_NAME);
        let open = || {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).write(true);
            options.mode(0o600).open(&path)
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files::private_dir(state_dir)?;
                open()?
            }
            opened => opened?,
        };
        match asked(&file, libc::F_OFD_SETLK, run_id) {
            Ok(_) => Ok(Some(Self { _file: file })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a process works on a run.
    pub fn is_taken(state_dir: &Path, run_id: &str) -> bool {
        let Ok(file) = File::open(state_dir.join(FILE_NAME)) else {
            return false;
        };
        asked(&file, libc::F_OFD_GETLK, run_id)
            .is_ok_and(|answer| i32::from(answer.l_type) != libc::F_UNLCK)
    }
}

/// Takes the lock of a run's byte in an open file, or asks who has it. Such a lock belongs to the open file, not to
/// the process: it goes with the last descriptor of it.
///
/// Source: fcntl(2), "Open file description locks (non-POSIX)".
fn asked(file: &File, command: libc::c_int, run_id: &str) -> io::Result<libc::flock> {
    let digest = Sha256::digest(run_id.as_bytes());
    let start = digest.first_chunk().copied().map_or(0, i64::from_be_bytes);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the constants are small, and their types are those of the C library"
    )]
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        // The last byte that can be has no byte behind it.
        l_start: start & (i64::MAX >> 1),
        l_len: 1,
        l_pid: 0,
    };
    #[expect(
        unsafe_code,
        reason = "the library does not know locks of a part of a file"
    )]
    // SAFETY: the descriptor is open, and these commands read and write the one struct that they are given.
    let code = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if code == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_worker() {
        let directory = tempfile::tempdir().unwrap();
        let state = &directory.path().join("state");
        assert!(!RunLock::is_taken(state, "r"));
        let lock = RunLock::take(state, "r").unwrap().unwrap();
        assert!(RunLock::is_taken(state, "r"));
        assert!(RunLock::take(state, "r").unwrap().is_none());
        let other = RunLock::take(state, "other").unwrap().unwrap();
        drop(lock);
        assert!(!RunLock::is_taken(state, "r"));
        assert!(RunLock::is_taken(state, "other"));
        drop(other);
        assert!(RunLock::take(state, "r").unwrap().is_some());
        let left: Vec<_> = std::fs::read_dir(state).unwrap().collect();
        assert_eq!(left.len(), 1, "a run leaves nothing of its own: {left:?}");
    }
}
