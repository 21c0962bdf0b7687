//! Failures that have not opened a breaker: those of all processes that run count together. Only failures
//! are written, and the first answer after some.

use rusqlite::{Connection, params};

use super::MINUTE;
use crate::costs::Holder;

/// A failure in a row of failures, as one process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::resilience) struct Failed {
    /// Who met it.
    pub(in crate::resilience) process: Holder,
    /// When the process last heard an answer: what failed before is none of this row.
    pub(in crate::resilience) answered: Option<i64>,
    /// Failures in a row that open the breaker.
    pub(in crate::resilience) threshold: u32,
    /// Until when it then is open.
    pub(in crate::resilience) open_until: i64,
}

/// Counts a failure; opens the breaker when it is one too many. Has to run in a transaction.
///
/// Failures of processes that are gone do not count: whoever starts the program again by hand should
/// learn at once that it fails again, and those who run do not flood a server together.
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
    let Holder {
        process_id,
        started,
    } = failed.process;
    connection
        .prepare_cached(
            "INSERT INTO quota_failures (breaker, at, process_id, process_started)
             VALUES (?, ?, ?, ?)",
        )?
        .execute([id, now, process_id, started])?;
    if in_a_row(connection, id, failed.process)? < u64::from(failed.threshold.max(1)) {
        return Ok(());
    }
    super::open(connection, id, name, (failed.open_until, 0))
}

/// The failures of processes that run; those of others are forgotten.
fn in_a_row(connection: &Connection, id: i64, here: Holder) -> rusqlite::Result<u64> {
    let mut select = connection.prepare_cached(
        "SELECT process_id, process_started, count(*) FROM quota_failures WHERE breaker = ?
         GROUP BY process_id, process_started",
    )?;
    let each = select.query_map([id], |row| {
        let process = Holder {
            process_id: row.get(0)?,
            started: row.get(1)?,
        };
        Ok((process, row.get::<_, i64>(2)?))
    })?;
    let mut sum = 0_u64;
    for one in each {
        let (process, count) = one?;
        if process == here || process.is_alive() {
            sum = sum.saturating_add(count.unsigned_abs());
            continue;
        }
        connection
            .prepare_cached(
                "DELETE FROM quota_failures
                 WHERE breaker = ? AND process_id = ? AND process_started = ?",
            )?
            .execute([id, process.process_id, process.started])?;
    }
    Ok(sum)
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
