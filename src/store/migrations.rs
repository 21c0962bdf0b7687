//! The schema, in numbered steps. A released step never changes; the next release appends one.
//!
//! Each area keeps its tables in one file of its own under `migrations/NNN/` and adds a line here.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// The steps; the schema's version is how many of them were applied.
const STEPS: &[&[&str]] = &[&[
    include_str!("migrations/001/ledger.sql"),
    include_str!("migrations/001/sessions.sql"),
    include_str!("migrations/001/claude.sql"),
]];

/// Marks a SQLite file as a store of this program: `orch` in ASCII.
const APPLICATION_ID: i64 = 0x6f72_6368;

/// The schema's version that this program writes.
pub fn current_version() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// The schema's version of an open database.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Refuses a database of another program and one of a newer `orch`.
pub(super) fn accept(connection: &Connection) -> Result<i64, StoreError> {
    let version = version(connection).map_err(StoreError::from)?;
    if version > current_version() {
        return Err(StoreError::newer_schema(version, current_version()));
    }
    let application: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(StoreError::from)?;
    let is_empty = || -> rusqlite::Result<bool> {
        connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
            row.get(0)
        })
    };
    if application == APPLICATION_ID || (version == 0 && is_empty().map_err(StoreError::from)?) {
        Ok(version)
    } else {
        Err(StoreError::foreign())
    }
}

/// Brings an accepted database to the current schema; one transaction, safe beside other processes.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    if accept(connection)? == current_version() {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(StoreError::from)?;
    // Another process may have migrated while this one waited.
    let version = accept(&transaction)?;
    let done = usize::try_from(version).unwrap_or(0);
    for file in STEPS.iter().skip(done).flat_map(|step| step.iter()) {
        transaction.execute_batch(file).map_err(StoreError::from)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .and_then(|()| transaction.pragma_update(None, "user_version", current_version()))
        .and_then(|()| transaction.commit())
        .map_err(StoreError::from)
}
