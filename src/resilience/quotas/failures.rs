//! Failures that have not opened a breaker: those of all processes count together. Only failures are
//! written, and the first answer after some.

use rusqlite::{Connection, params};

use super::MINUTE;

/// A failure in a row of failures, as one process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::resilience) struct Failed {
    /// When the process last heard an answer: what failed before is none of this row.
    pub(in crate::resilience) answered: Option<i64>,
    /// Failures in a row that open the breaker.
    pub(in crate::resilience) threshold: u32,
    /// Until when it then is open.
    pub(in crate::resilience) open_until: i64,
}

/// Counts a failure; opens the breaker when it is one too many. Has to run in a transaction.
pub(in crate::resilience) fn fail(
    connection: &Connection,
    (id, name): (i64, &str),
    failed: Failed,
    now: i64,
) -> rusqlite::Result<()> {
    let mut is_open = connection.prepare_cached("SELECT 1 FROM quota_breakers WHERE id = ?")?;
    if is_open.exists([id])? {
        return Ok(());
    }
    // In whole milliseconds, what failed in the one of an answer is after it.
    let answered = failed.answered.map_or(i64::MIN, |at| at.saturating_sub(1));
    forget(connection, id, answered.max(now.saturating_sub(MINUTE)))?;
    connection
        .prepare_cached("INSERT INTO quota_failures (breaker, at) VALUES (?, ?)")?
        .execute([id, now])?;
    let in_a_row: u32 = connection
        .prepare_cached("SELECT count(*) FROM quota_failures WHERE breaker = ?")?
        .query_row([id], |row| row.get(0))?;
    if in_a_row < failed.threshold.max(1) {
        return Ok(());
    }
    super::open(connection, id, name, (failed.open_until, 0))
}

/// Forgets the failures up to a time: there was an answer since.
pub(in crate::resilience) fn forget(
    connection: &Connection,
    id: i64,
    until: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM quota_failures WHERE breaker = ? AND at <= ?")?
        .execute(params![id, until])
        .map(drop)
}
