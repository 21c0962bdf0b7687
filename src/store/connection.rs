//! Opening the database: where it lies, who may read it, how its connections behave.

use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};
use rustix::fs::{CWD, FileType, Mode};

use super::index::{self, Index};
use super::{StoreError, StoreErrorKind, log, migrations};
use crate::files;

/// How often a locked database is tried again at once: a transaction takes less than a tenth of a millisecond, and to
/// sleep that long takes longer. With four busy processes an attempt gets its hold a tenth sooner.
const TRIES_AT_ONCE: i32 = 20;

/// How long is left to others before the next try at once.
const MOMENT: Duration = Duration::from_micros(3);

/// How often it is tried again soon.
const TRIES_SOON: i32 = 100;

/// How often a locked database is tried again before a write gives up: about ten seconds.
pub(super) const BUSY_TRIES: i32 = TRIES_AT_ONCE + TRIES_SOON + 10_000;

/// How often it is tried where it may as well be later: about half a millisecond.
pub(super) const FEW_TRIES: i32 = TRIES_AT_ONCE + 10;

/// Waits a little for another process. Short waits; SQLite's own timeout waits ever longer and lets late comers pass.
#[expect(
    clippy::disallowed_methods,
    reason = "runs on the writer's own thread, or at the opening before anything else runs"
)]
fn wait_a_little(tries: i32) {
    if tries < TRIES_AT_ONCE {
        let began = Instant::now();
        while began.elapsed() < MOMENT {
            std::thread::yield_now();
        }
        return;
    }
    let is_soon = tries < TRIES_AT_ONCE + TRIES_SOON;
    let pause = if is_soon { 50 } else { 1_000 };
    std::thread::sleep(Duration::from_micros(pause));
}

/// The handler of a connection that waits so often for one statement.
fn patience(most: i32) -> impl FnMut(i32) -> bool + Send + 'static {
    move |tries| {
        wait_a_little(tries);
        tries < most
    }
}

/// The size of a page, bytes. A short command changes some ten pages by a few rows each, writes them to the
/// log, and the next one reads them there: with half of SQLite's default it takes 6 % less time. A quarter gives
/// 1 % more, and a long answer then lies on twice as many.
const PAGE_SIZE: i64 = 2048;

/// The memory of a connection for small things: bytes a slot, and slots.
const LOOKASIDE_SIZE: i32 = 1_200;
const LOOKASIDE_COUNT: i32 = 13;

/// How SQLite uses memory, said before its first use. A page is allocated when it is needed: by default
/// each database and each temporary table begins with twenty, all of which it writes to. Nobody asks how
/// much it has allocated, so that no allocation takes a lock. And what a statement may have to undo, a few pages
/// here, stays in memory, where it grows by a kibibyte and not by 64. A connection touches the whole of its
/// memory for small things when it opens: a third of the default is enough for one statement.
///
/// Source: sqlite.org/c3ref/c_config_covering_index_scan.html, `SQLITE_CONFIG_PAGECACHE`,
/// `SQLITE_CONFIG_MEMSTATUS`, `SQLITE_CONFIG_STMTJRNL_SPILL` and `SQLITE_CONFIG_LOOKASIDE`.
fn configure() {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        #[expect(unsafe_code, reason = "the library does not know these options")]
        // SAFETY: nothing of SQLite runs before the first connection, and the arguments are of the types
        // that these options take: no buffer, its line size and count, a flag, a size, and a size and a count.
        let codes = unsafe {
            let no_buffer = std::ptr::null_mut::<std::ffi::c_void>();
            [
                ffi::sqlite3_config(ffi::SQLITE_CONFIG_PAGECACHE, no_buffer, 0_i32, 0_i32),
                ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0_i32),
                ffi::sqlite3_config(ffi::SQLITE_CONFIG_STMTJRNL_SPILL, -1_i32),
                ffi::sqlite3_config(
                    ffi::SQLITE_CONFIG_LOOKASIDE,
                    LOOKASIDE_SIZE,
                    LOOKASIDE_COUNT,
                ),
            ]
        };
        if codes != [ffi::SQLITE_OK; 4] {
            tracing::debug!(?codes, "SQLite keeps its own way with memory");
        }
    });
}

/// Opens a file as it is: every connection begins here.
fn open(path: impl AsRef<Path>, flags: OpenFlags) -> rusqlite::Result<Connection> {
    configure();
    Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Creates the directory (0700) and the file (0600), opens it and brings its schema up to date.
pub(super) fn open_writer(path: &Path, busy_tries: i32) -> Result<Connection, StoreError> {
    create_file(path)?;
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(Duration::ZERO)?;
    // Switching to WAL and the first recovery answer "busy" without asking a handler, so that the
    // whole of the opening is tried again.
    let mut tries = 0;
    while let Err(error) = prepare(&mut connection) {
        if error.kind != StoreErrorKind::Busy || tries >= busy_tries {
            return Err(error);
        }
        wait_a_little(tries);
        tries += 1;
    }
    connection.busy_handler(Some(patience(busy_tries)))?;
    Ok(connection)
}

/// An in-memory database with the same schema.
pub(super) fn open_memory() -> Result<Connection, StoreError> {
    configure();
    let mut connection = Connection::open_in_memory()?;
    migrations::migrate(&mut connection)?;
    Ok(connection)
}

/// A connection that reads and leaves every byte on the disk as it is; `None` where there is no
/// database.
///
/// With the log's index (`-shm`) beside it the log is read, without the index being touched. An index
/// that is missing beside a log, or that a process left unfinished when it died, is the one thing that is
/// written: without it nobody can read the log, and SQLite would wait ten seconds for somebody to
/// finish it.
///
/// For processes that have the database open nowhere else: looking at the index drops their locks on it.
pub(super) fn open_untouched(path: &Path) -> Result<Option<Connection>, StoreError> {
    if !path.try_exists().map_err(|error| StoreError::io(&error))? {
        return match path.symlink_metadata() {
            // No run can make the file that is missing behind it.
            Ok(_) => Err(StoreError::new(
                StoreErrorKind::NotWritable,
                "it is a link that leads nowhere",
            )),
            Err(_) => Ok(None),
        };
    }
    let mut uri = url::Url::from_file_path(
        std::path::absolute(path).map_err(|error| StoreError::io(&error))?,
    )
    .map_err(|()| StoreError::new(StoreErrorKind::NotWritable, "its path is not valid"))?;
    match index::of(path) {
        Index::Missing => drop(uri.query_pairs_mut().append_pair("immutable", "1")),
        Index::Ready => drop(uri.query_pairs_mut().append_pair("readonly_shm", "1")),
        Index::Unfinished => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let mut connection = open(uri.as_str(), flags)?;
    connection.busy_handler(Some(patience(BUSY_TRIES)))?;
    keep_log_on_close(&connection)?;
    // A process that died while it made the file left it empty.
    let is_made = migrations::accept(&connection)? > 0;
    Ok(is_made.then_some(connection))
}

/// A second connection that moves the log of an open database.
pub(super) fn open_mover(path: &Path, busy_tries: i32) -> Result<Connection, StoreError> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_handler(Some(patience(busy_tries)))?;
    keep_log_on_close(&connection)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// A second connection that only reads; the writer's must be open.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_handler(Some(patience(BUSY_TRIES)))?;
    keep_log_on_close(&connection)?;
    Ok(connection)
}

fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    let version = migrations::accept(connection)?;
    keep_log_on_close(connection)?;
    if version == 0 {
        // Heeded while the file is empty: afterwards it is what it is.
        connection.pragma_update(None, "page_size", PAGE_SIZE)?;
    }
    // The writer syncs the log itself, after its transaction has let go of the lock.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    log::watch(connection);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let detail = format!("its file system has no shared memory (journal mode `{mode}`)");
        return Err(StoreError::new(StoreErrorKind::NotWritable, detail));
    }
    if version < migrations::current_version() {
        migrations::migrate(connection)?;
    }
    Ok(())
}

/// Leaves the log as it is when the last connection closes: a checkpoint would cost more than the
/// whole run of a short command.
fn keep_log_on_close(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(drop)
}

/// The file is made without being opened: closing a descriptor of it would drop the locks that
/// another connection of this process holds.
fn create_file(path: &Path) -> Result<(), StoreError> {
    if let Some(directory) = path.parent()
        && !directory.is_dir()
    {
        files::private_dir(directory).map_err(|error| StoreError::io(&error))?;
    }
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::mknodat(CWD, path, FileType::RegularFile, mode, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(errno) => Err(StoreError::io(&errno.into())),
    }
}
