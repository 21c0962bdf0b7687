//! A transaction, and what is read as one.

use std::ops::Deref;

use rusqlite::Connection;

/// Reads one state of the database, however many statements that takes: what others commit meanwhile is not seen.
pub(super) fn read<T>(
    connection: &Connection,
    query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    run(connection, "BEGIN")?;
    let reading = Transaction { connection };
    let value = query(&reading)?;
    reading.commit()?;
    Ok(value)
}

/// A transaction that writes; undone when it is dropped without an end. The words that begin and end one are said so
/// often that their statements are kept: to parse them took longer than to carry them out.
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: &'c Connection,
}

impl<'c> Transaction<'c> {
    /// Begins one with the lock for writing.
    pub(super) fn begin(connection: &'c Connection) -> rusqlite::Result<Self> {
        run(connection, "BEGIN IMMEDIATE")?;
        Ok(Self { connection })
    }

    pub(super) fn commit(self) -> rusqlite::Result<()> {
        run(&self, "COMMIT")
    }

    pub(super) fn rollback(self) -> rusqlite::Result<()> {
        run(&self, "ROLLBACK")
    }

    /// Begins a part that can be undone alone.
    pub(super) fn save(&self) -> rusqlite::Result<()> {
        run(self, "SAVEPOINT job")
    }

    /// Ends the part, and undoes it unless it is to be kept.
    pub(super) fn release(&self, keep: bool) -> rusqlite::Result<()> {
        if !keep {
            run(self, "ROLLBACK TO job")?;
        }
        run(self, "RELEASE job")
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Nothing is open after its end, nor where a failure has undone it already.
        if !self.connection.is_autocommit()
            && let Err(error) = run(self.connection, "ROLLBACK")
        {
            tracing::error!(%error, "a transaction was not undone");
        }
    }
}

fn run(connection: &Connection, words: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(words)?.execute([]).map(drop)
}
