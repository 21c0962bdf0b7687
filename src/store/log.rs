//! The write-ahead log: moving it into the database when nobody waits for that.
//!
//! A log that is used again from its start is overwritten, which syncs faster than one that grows, for
//! which blocks are allocated: so it starts anew from time to time and keeps its size.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, ffi};

use super::{connection, log_file, migrations};

/// After how many commits of this process its log is moved.
const COMMITS_PER_MOVE: u32 = 512;

/// How many pages the log may have before it starts anew, while processes are busy with it.
const BUSY_PAGES: i64 = 4096;

/// How many pages the log may have before a closing writer starts it anew. The first process to open
/// the database reads the whole log; starting anew costs three syncs. This is about where the sum of
/// both is least for short commands.
const QUIET_PAGES: i64 = 64;

/// The size, bytes, to which a closing writer cuts what busy processes have left: more than what short commands
/// need.
const QUIET_SIZE: u64 = 288 << 10;

/// The log of an open database.
#[derive(Debug)]
pub(super) struct Log {
    database: PathBuf,
    commits: u32,
    /// How many pages it has, as the last commit found.
    pages: i64,
    mover: Option<Mover>,
}

/// The thread that moves the log, so that no write waits for it; only busy processes have one.
#[derive(Debug)]
struct Mover {
    wake: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Log {
    pub(super) fn new(database: &Path) -> Self {
        Self {
            database: database.to_owned(),
            commits: 0,
            pages: 0,
            mover: None,
        }
    }

    /// Counts a commit that this thread has just done; has the log moved when it is time.
    pub(super) fn committed(&mut self) {
        self.pages = PAGES.get();
        self.commits += 1;
        if self.commits < COMMITS_PER_MOVE {
            return;
        }
        self.commits = 0;
        let mover = match self.mover.take() {
            Some(mover) => Some(mover),
            None => Mover::start(&self.database),
        };
        if let Some(mover) = &mover {
            // One that is still at work sees these commits, too.
            let _is_idle = mover.wake.try_send(()).is_ok();
        }
        self.mover = mover;
    }

    /// Starts a log that is worth it anew, unless others are at work: whoever closes last does it.
    pub(super) fn close(&mut self, connection: &Connection) {
        if let Some(Mover { wake, thread }) = self.mover.take() {
            drop(wake);
            if thread.join().is_err() {
                tracing::error!("the thread that moves the store's log panicked");
            }
        }
        let size = log_file::size(&self.database);
        if self.pages > QUIET_PAGES || size > QUIET_SIZE {
            told(start_anew(connection));
        }
    }
}

/// Moves all of the log and writes a page to its beginning, so that the next process has no more to read. That
/// page is the first of the database, as it is.
fn start_anew(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    if checkpoint(connection, "RESTART")?.is_free {
        connection.pragma_update(None, "journal_size_limit", QUIET_SIZE.cast_signed())?;
        migrations::mark(connection)?;
    }
    Ok(())
}

impl Mover {
    /// `None` when it cannot be started: the log then grows until the next process closes.
    fn start(database: &Path) -> Option<Self> {
        let (wake, woken) = sync_channel(1);
        let database = database.to_owned();
        let thread = std::thread::Builder::new()
            .name("store-log".to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                let moved = connection::open_mover(&database, connection::FEW_TRIES).and_then(
                    |connection| move_when_woken(&connection, &woken).map_err(Into::into),
                );
                told(moved);
            });
        Some(Self {
            wake,
            thread: thread.ok()?,
        })
    }
}

fn move_when_woken(connection: &Connection, woken: &Receiver<()>) -> rusqlite::Result<()> {
    while woken.recv().is_ok() {
        // First what is there, beside the writers; then, with them waiting, the little that came
        // meanwhile.
        if checkpoint(connection, "PASSIVE")?.pages > BUSY_PAGES {
            checkpoint(connection, "RESTART")?;
        }
    }
    Ok(())
}

/// What became of moving a log.
struct Moved {
    /// Nobody was in the way.
    is_free: bool,
    /// How many pages the log has.
    pages: i64,
}

/// Moves what it can into the database. One that is in the way is no error, and a failure loses nothing:
/// everything stays in the log.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<Moved> {
    let statement = format!("PRAGMA wal_checkpoint({mode})");
    connection.query_row(&statement, [], |row| {
        Ok(Moved {
            is_free: !row.get(0)?,
            pages: row.get(1)?,
        })
    })
}

thread_local! {
    /// How many pages the log had after the last commit of this thread.
    static PAGES: Cell<i64> = const { Cell::new(0) };
}

/// Has the commits of a connection say how long the log is, and no longer move it: the writer does so itself,
/// when nobody waits for it.
///
/// Source: sqlite.org/c3ref/wal_hook.html; moving it is what the hook does by default.
pub(super) fn watch(connection: &Connection) {
    extern "C" fn committed(
        _: *mut c_void,
        _: *mut ffi::sqlite3,
        _: *const c_char,
        pages: c_int,
    ) -> c_int {
        PAGES.set(pages.into());
        ffi::SQLITE_OK
    }
    #[expect(unsafe_code, reason = "the library does not know this hook")]
    // SAFETY: the connection is open, and the function gets nothing of ours that could be gone.
    unsafe {
        ffi::sqlite3_wal_hook(connection.handle(), Some(committed), std::ptr::null_mut());
    }
}

fn told<E: std::fmt::Display>(moved: Result<(), E>) {
    if let Err(error) = moved {
        tracing::debug!(%error, "the store's log was not moved into the database");
    }
}
