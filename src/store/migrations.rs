//! The schema, in numbered steps. A released step never changes; the next release appends one.
//!
//! Each area keeps its tables in one file of its own under `migrations/NNN/` and adds a line here.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// The steps; the schema's version is how many of them were applied.
const STEPS: &[&[&str]] = &[
    &[
        include_str!("migrations/001/ledger.sql"),
        include_str!("migrations/001/sessions.sql"),
        include_str!("migrations/001/runs.sql"),
        include_str!("migrations/001/claude.sql"),
        include_str!("migrations/001/quotas.sql"),
        include_str!("migrations/001/children.sql"),
    ],
    &[include_str!("migrations/002/quotas.sql")],
];

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

/// Refuses a database of another program and one of a newer `orch`; answers with its version.
pub(super) fn accept(connection: &Connection) -> Result<i64, StoreError> {
    // One look at all of it: another process may be making it just now.
    let looking = connection.unchecked_transaction()?;
    let version = judge(&looking)?;
    looking.finish()?;
    Ok(version)
}

fn judge(connection: &Connection) -> Result<i64, StoreError> {
    let version = version(connection)?;
    if version > current_version() {
        return Err(StoreError::newer_schema(version, current_version()));
    }
    let application: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let is_ours = application == APPLICATION_ID;
    if version > 0 {
        return if is_ours {
            Ok(version)
        } else {
            Err(StoreError::foreign())
        };
    }
    // Nothing of ours has tables before the first step, which says in one transaction that it was made.
    let is_empty: bool =
        connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
            row.get(0)
        })?;
    match (is_ours, is_empty && version == 0) {
        (_, true) => Ok(version),
        (true, false) => Err(StoreError::no_schema(version)),
        (false, false) => Err(StoreError::foreign()),
    }
}

/// Brings an accepted database to the current schema; one transaction, safe beside other processes.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have migrated while this one waited.
    let version = judge(&transaction)?;
    let done = usize::try_from(version).unwrap_or(0);
    apply(&transaction, done, STEPS.len())
        .and_then(|()| transaction.commit())
        .map_err(StoreError::from)
}

/// Makes the schema of a version in an empty database.
pub(super) fn make(connection: &Connection, version: i64) -> rusqlite::Result<()> {
    apply(connection, 0, usize::try_from(version).unwrap_or(0))
}

/// Takes the schema from one version to another.
fn apply(connection: &Connection, from: usize, to: usize) -> rusqlite::Result<()> {
    for file in STEPS
        .iter()
        .take(to)
        .skip(from)
        .flat_map(|step| step.iter())
    {
        connection.execute_batch(file)?;
    }
    mark(connection)?;
    connection.pragma_update(None, "user_version", i64::try_from(to).unwrap_or(i64::MAX))
}

/// Says whose database it is; one that says so already is written as it is.
pub(super) fn mark(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn fixture(version: usize) -> PathBuf {
        let name = format!("tests/fixtures/store/schema-{version:03}.sql");
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    /// The statements that make an empty database of a version.
    fn schema(connection: &Connection) -> String {
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")
            .unwrap();
        let statements = statement.query_map([], |row| row.get::<_, String>(0));
        statements
            .unwrap()
            .map(|statement| statement.unwrap() + ";\n\n")
            .collect()
    }

    /// A step that was released is what the databases of users are made of: it must not change. While
    /// it is not released, its dump is written anew from what this test leaves behind.
    #[test]
    fn released_steps_are_what_they_were() {
        for version in 1..=STEPS.len() {
            let connection = Connection::open_in_memory().unwrap();
            apply(&connection, 0, version).unwrap();
            let dump = format!(
                "-- The schema of version {version}, as databases of users have it.\n\n\
                 PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {version};\n\n{}",
                schema(&connection)
            );
            let stored = std::fs::read_to_string(fixture(version)).unwrap_or_default();
            if stored != dump {
                let made = Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join(format!("target/schema-{version:03}.sql"));
                std::fs::write(&made, &dump).unwrap();
                let (made, stored) = (made.display(), fixture(version));
                panic!("before its release only: mv {made} {}", stored.display());
            }
        }
    }
}
