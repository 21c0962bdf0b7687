//! The index of a log (`-shm`), as a process that writes nothing to it must find it.
//!
//! Source: sqlite.org/walformat.html, "The WAL-Index Header", and `walBeginShmUnreliable` of SQLite.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

/// How an index stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// There is none, and no log with content.
    Missing,
    /// It is missing, a process died before it was finished, or finishes it just now.
    Unfinished,
    /// It can be read.
    Ready,
}

/// The header of an index is there twice.
const HEADER: usize = 48;
/// Where it says that it was made.
const IS_MADE: usize = 12;
/// How many frames the log has.
const FRAMES: usize = 16;
/// What is mixed into the sums of this log, so that frames of an earlier one are none of it.
const SALT: Range<usize> = 32..40;
/// How many frames were moved into the database.
const MOVED: usize = 2 * HEADER;
/// Up to which frames readers read, but for the first mark, which is for the database alone.
const MARKS: Range<usize> = MOVED + 8..MOVED + 24;

/// The header of a log.
const LOG_HEADER: usize = 32;
/// Its salt.
const LOG_SALT: Range<usize> = 16..24;

/// How the index of a database's log stands. The locks of this process on the index are gone
/// afterwards.
pub(super) fn of(database: &Path) -> Index {
    let beside = |suffix: &str| {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        path
    };
    let mut log = [0; LOG_HEADER];
    let has_log =
        File::open(beside("-wal")).is_ok_and(|mut file| file.read_exact(&mut log).is_ok());
    let Ok(mut file) = File::open(beside("-shm")) else {
        // Such as a copy of the database and its log.
        return if has_log {
            Index::Unfinished
        } else {
            Index::Missing
        };
    };
    let mut index = [0; MARKS.end];
    if file.read_exact(&mut index).is_err() {
        return Index::Unfinished;
    }
    if is_ready(&index, has_log.then_some(&log)) {
        Index::Ready
    } else {
        Index::Unfinished
    }
}

/// Whether an index belongs to the log that is there and was made whole, and one of the marks that readers
/// lock is set, or all of the log was moved.
fn is_ready(index: &[u8; MARKS.end], log: Option<&[u8; LOG_HEADER]>) -> bool {
    let number = |at: usize| {
        let word = index.get(at..).and_then(<[u8]>::first_chunk);
        word.map_or(0, |word| u32::from_ne_bytes(*word))
    };
    let is_made = index.get(IS_MADE).is_some_and(|made| *made != 0);
    let is_twice = index.get(..HEADER) == index.get(HEADER..MOVED);
    let is_of_this_log = log.is_none_or(|log| log.get(LOG_SALT) == index.get(SALT));
    let is_marked = MARKS.step_by(4).any(|mark| number(mark) <= number(FRAMES));
    is_made && is_twice && is_of_this_log && (is_marked || number(MOVED) == number(FRAMES))
}
