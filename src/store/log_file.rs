//! The file of the write-ahead log, and its way to the disk.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};

use super::StoreError;

/// Which file something is: its device and its number there.
type FileId = (u64, u64);

/// The header of a log, bytes.
const LOG_HEADER: u64 = 32;

/// What a log begins with, whatever the order of its bytes (sqlite.org/fileformat2.html, "WAL Header").
const LOG_MAGIC: [u8; 3] = [0x37, 0x7f, 0x06];

/// Whether anything was committed since the last sync.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind(Arc<AtomicBool>);

impl Behind {
    /// Notes that a transaction has changed rows, before it is told whether it must be on the disk.
    pub(super) fn changed(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The log's file as it is synced.
#[derive(Debug)]
pub(super) struct LogFile {
    database: PathBuf,
    path: PathBuf,
    /// Which file the database is.
    id: Option<FileId>,
    /// Opened to be synced.
    file: Option<File>,
    behind: Behind,
    /// Once a sync failed nobody knows what reached the disk: no later one can be trusted.
    broken: bool,
}

impl LogFile {
    pub(super) fn new(database: &Path) -> Self {
        Self {
            database: database.to_owned(),
            path: path(database),
            id: look_at(database).ok().map(|found| found.id),
            file: None,
            behind: Behind::default(),
            broken: false,
        }
    }

    /// Where commits are noted.
    pub(super) fn behind(&self) -> &Behind {
        &self.behind
    }

    /// Waits until everything committed so far by this process is on the disk. A transaction that
    /// changed nothing costs no sync.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::sync_failed());
        }
        // What is committed from here on is for the next sync.
        if !self.behind.0.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => File::open(&self.path),
        };
        let synced = file.and_then(|file| {
            begin_to_write(&file);
            // Looked at while the disk is at work.
            let is_in_place = self.is_in_place(&file);
            file.sync_data().map(|()| (file, is_in_place))
        });
        match synced {
            Ok((_, false)) => {
                self.broken = true;
                Err(StoreError::gone())
            }
            Ok((file, true)) => {
                self.file = Some(file);
                Ok(())
            }
            Err(error) => {
                self.broken = true;
                Err(StoreError::io(&error))
            }
        }
    }

    /// Whether the next process that opens the database finds what this one has written: files can be
    /// removed, replaced and emptied while they are open, and nothing else would tell.
    fn is_in_place(&self, log: &File) -> bool {
        let Ok(known) = look(log, "", AtFlags::EMPTY_PATH) else {
            return false;
        };
        let mut magic = [0; LOG_MAGIC.len()];
        // One that another process has just moved into the database is empty.
        let has_header = known.size < LOG_HEADER
            || (log.read_exact_at(&mut magic, 0).is_ok() && magic == LOG_MAGIC);
        let is_database =
            look_at(&self.database).is_ok_and(|found| found.size > 0 && Some(found.id) == self.id);
        has_header && is_database && look_at(&self.path).is_ok_and(|found| found.id == known.id)
    }
}

fn path(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push("-wal");
    PathBuf::from(name)
}

/// The size of a database's log, bytes; none has none.
pub(super) fn size(database: &Path) -> u64 {
    look_at(&path(database)).map_or(0, |found| found.size)
}

/// Has the disk begin with what a file has to be written, without waiting for it: the sync that follows waits for the
/// rest. Where this cannot be done the sync does it all.
///
/// Source: sync_file_range(2); a length of 0 is the whole file.
fn begin_to_write(file: &File) {
    #[expect(unsafe_code, reason = "the library does not know this call")]
    // SAFETY: the descriptor is open, and nothing but numbers is passed.
    let code =
        unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    if code != 0 {
        tracing::debug!("the file system writes files as a whole only");
    }
}

/// What a file is and how long it is.
struct Look {
    id: FileId,
    size: u64,
}

/// Looks at a file without asking for its times. Where the kernel keeps fine times only for files whose
/// times somebody asks for, each question about them costs the next sync another write: that of the
/// file's inode.
///
/// Source: docs.kernel.org/filesystems/multigrain-ts.html.
fn look(
    directory: impl AsFd,
    path: impl rustix::path::Arg,
    flags: AtFlags,
) -> rustix::io::Result<Look> {
    let found = statx(directory, path, flags, StatxFlags::INO | StatxFlags::SIZE)?;
    Ok(Look {
        id: (
            makedev(found.stx_dev_major, found.stx_dev_minor),
            found.stx_ino,
        ),
        size: found.stx_size,
    })
}

fn look_at(path: &Path) -> rustix::io::Result<Look> {
    look(CWD, path, AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_nothing_is_not_synced() {
        let mut log = LogFile::new(Path::new("/nowhere/orch.db"));
        assert!(log.sync().is_ok());
        log.behind().changed();
        assert!(log.sync().is_err(), "there is no log to sync");
        assert!(log.sync().is_err(), "no later sync is trusted");
    }
}
