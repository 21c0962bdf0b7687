//! What can be wrong with the store, in words a user can act on.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the store cannot do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Other processes kept it locked for longer than a write may wait.
    Busy,
    /// No space, or a quota is used up.
    DiskFull,
    /// The file, its directory or the file system refuses writing or opening.
    NotWritable,
    /// The file is damaged.
    Corrupt,
    /// The file is no store of this program.
    Foreign,
    /// A newer `orch` wrote it.
    NewerSchema,
    /// The file was removed or replaced while it was in use.
    Gone,
    /// The disk failed.
    Io,
    /// The disk, or the machine that keeps the file, did not answer in time.
    Stuck,
    /// The writer ended; only after another error.
    Closed,
    /// A statement was wrong: a fault of this program.
    Statement,
}

/// A failure of the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct StoreError {
    /// The class.
    pub kind: StoreErrorKind,
    /// What happened.
    pub detail: String,
    /// The database, once known.
    pub path: Option<PathBuf>,
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the store")?;
        if let Some(path) = &self.path {
            write!(f, " `{}`", path.display())?;
        }
        match self.kind {
            StoreErrorKind::Busy => f.write_str(" is locked by other processes")?,
            StoreErrorKind::DiskFull => f.write_str(" cannot grow: the disk is full")?,
            StoreErrorKind::NotWritable => f.write_str(" cannot be written")?,
            StoreErrorKind::Corrupt => f.write_str(" is damaged")?,
            StoreErrorKind::Foreign => f.write_str(" is not a database of orch")?,
            StoreErrorKind::NewerSchema => f.write_str(" was written by a newer orch")?,
            StoreErrorKind::Gone => f.write_str(" was removed or replaced while it was in use")?,
            StoreErrorKind::Io => f.write_str(" failed to read or write")?,
            StoreErrorKind::Stuck => f.write_str(" does not answer")?,
            StoreErrorKind::Closed => f.write_str(" is closed")?,
            StoreErrorKind::Statement => f.write_str(" refused a statement")?,
        }
        if self.detail.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.detail)
        }
    }
}

impl StoreError {
    pub(super) fn new(kind: StoreErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            path: None,
        }
    }

    pub(crate) fn closed() -> Self {
        Self::new(StoreErrorKind::Closed, "")
    }

    pub(super) fn read_only() -> Self {
        Self::new(StoreErrorKind::NotWritable, "it was opened for reading")
    }

    /// An earlier job of the same transaction met a full or failing disk.
    pub(super) fn undone() -> Self {
        Self::new(StoreErrorKind::Io, "the transaction was undone")
    }

    pub(super) fn gone() -> Self {
        Self::new(StoreErrorKind::Gone, "")
    }

    pub(super) fn stuck() -> Self {
        Self::new(
            StoreErrorKind::Stuck,
            "what was written last may not be on the disk",
        )
    }

    pub(super) fn sync_failed() -> Self {
        Self::new(StoreErrorKind::Io, "an earlier sync failed")
    }

    pub(super) fn foreign() -> Self {
        Self::new(StoreErrorKind::Foreign, "it holds other tables")
    }

    pub(super) fn newer_schema(found: i64, known: i64) -> Self {
        let detail = format!("its schema is {found}, this orch knows {known}");
        Self::new(StoreErrorKind::NewerSchema, detail)
    }

    pub(super) fn no_schema(found: i64) -> Self {
        let detail =
            format!("it says that its schema is {found}, which has no tables, and it has some");
        Self::new(StoreErrorKind::Corrupt, detail)
    }

    pub(super) fn io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                StoreErrorKind::DiskFull
            }
            ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotADirectory
            | ErrorKind::AlreadyExists
            | ErrorKind::NotFound => StoreErrorKind::NotWritable,
            _ => StoreErrorKind::Io,
        };
        Self::new(kind, error.to_string())
    }

    pub(super) fn at(mut self, path: &Path) -> Self {
        self.path.get_or_insert_with(|| path.to_owned());
        self
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            StoreErrorKind::Busy => {
                "wait for the other `orch` processes, or end the one that hangs"
            }
            StoreErrorKind::DiskFull => "free some space, or move it with `settings.state_dir`",
            StoreErrorKind::NotWritable => {
                "make its directory writable, or name another with `settings.state_dir`"
            }
            StoreErrorKind::Corrupt => {
                "run `orch check --store`; what it cannot repair needs a backup, or move the file away"
            }
            StoreErrorKind::Foreign => "name another directory with `settings.state_dir`",
            StoreErrorKind::NewerSchema => {
                "use the newer orch, or name another directory with `settings.state_dir`"
            }
            StoreErrorKind::Gone => {
                "start again; what was written since is in the file that is gone"
            }
            StoreErrorKind::Io => "check the disk and `orch check --store`",
            StoreErrorKind::Stuck => {
                "check the disk or the server that keeps it, or name another directory with `settings.state_dir`"
            }
            StoreErrorKind::Closed | StoreErrorKind::Statement => "run `orch check --store`",
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => StoreErrorKind::Busy,
            Some(ErrorCode::DiskFull) => StoreErrorKind::DiskFull,
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StoreErrorKind::NotWritable
            }
            Some(ErrorCode::DatabaseCorrupt) => StoreErrorKind::Corrupt,
            Some(ErrorCode::NotADatabase) => StoreErrorKind::Foreign,
            Some(ErrorCode::SystemIoFailure) => StoreErrorKind::Io,
            _ => StoreErrorKind::Statement,
        };
        Self::new(kind, error.to_string())
    }
}
