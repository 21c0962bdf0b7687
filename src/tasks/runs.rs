//! The runs that the store knows.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::agents::RunResult;
use crate::store::{Durability, Store, StoreError};

/// What is to be remembered of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// A process works on it.
    Running,
    /// It is at its end.
    Done,
    /// A failure ended it.
    Failed,
    /// It was stopped, or its process died.
    Interrupted,
    /// It waits for a person's yes.
    Parked,
}

impl RunState {
    /// The state as the interface names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Parked => "parked",
        }
    }

    fn parse(name: &str) -> Self {
        let states = [Self::Running, Self::Done, Self::Failed, Self::Parked];
        let known = states.into_iter().find(|state| state.name() == name);
        known.unwrap_or(Self::Interrupted)
    }
}

/// A run as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRun {
    /// Its id.
    pub run_id: String,
    /// `agent`, `all` or `task`.
    pub kind: String,
    /// The name of the agent or task.
    pub name: String,
    /// Its state as it was written; `running` also when its process has died since.
    pub state: RunState,
    /// When it began, milliseconds since 1970.
    pub started_ms: i64,
}

/// A run with what is needed to go on with it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRun {
    /// What is listed of it.
    pub listed: ListedRun,
    /// What it does, JSON.
    pub plan: String,
    /// What it gave, once it has ended.
    pub result: Option<RunResult>,
}

/// Enters a run that begins.
///
/// # Errors
/// When it is not on the disk.
pub async fn enter(
    store: &Store,
    run_id: &str,
    kind: &'static str,
    name: &str,
    plan: String,
) -> Result<(), StoreError> {
    let (run_id, name) = (run_id.to_owned(), name.to_owned());
    store
        .write(Durability::Full, move |transaction| {
            transaction.execute(
                "INSERT INTO runs (id, kind, name, state, plan, started_ms, updated_ms)
                 VALUES (?1, ?2, ?3, 'running', ?4, ?5, ?5)",
                params![run_id, kind, name, plan, now_ms()],
            )?;
            Ok(())
        })
        .await
}

/// Says what became of a run.
///
/// # Errors
/// When it is not on the disk.
pub async fn set_state(
    store: &Store,
    run_id: &str,
    state: RunState,
    result: Option<&RunResult>,
) -> Result<(), StoreError> {
    let run_id = run_id.to_owned();
    let result = result.and_then(|result| serde_json::to_string(result).ok());
    store
        .write(Durability::Full, move |transaction| {
            transaction.execute(
                "UPDATE runs SET state = ?2, result = ?3, updated_ms = ?4 WHERE id = ?1",
                params![run_id, state.name(), result, now_ms()],
            )?;
            Ok(())
        })
        .await
}

const LISTED: &str = "id, kind, name, state, started_ms";

fn listed(row: &rusqlite::Row<'_>) -> rusqlite::Result<ListedRun> {
    Ok(ListedRun {
        run_id: row.get(0)?,
        kind: row.get(1)?,
        name: row.get(2)?,
        state: RunState::parse(row.get_ref(3)?.as_str()?),
        started_ms: row.get(4)?,
    })
}

/// The runs, newest first.
///
/// # Errors
/// When the store cannot be read.
pub fn list(store: &Store, most: u32) -> Result<Vec<ListedRun>, StoreError> {
    store.read(move |connection| {
        let query = format!("SELECT {LISTED} FROM runs ORDER BY started_ms DESC, id DESC LIMIT ?1");
        connection
            .prepare(&query)?
            .query_map(params![most], listed)?
            .collect()
    })
}

/// A run by its id, or by the beginning of it where that is clear.
///
/// # Errors
/// When the store cannot be read, or what it holds is damaged.
pub fn find(store: &Store, id: &str) -> Result<Option<StoredRun>, StoreError> {
    let id = id.to_owned();
    store.read(move |connection| {
        let query = format!(
            "SELECT {LISTED}, plan, result FROM runs WHERE id = ?1 OR (length(?1) >= 8 AND
             substr(id, 1, length(?1)) = ?1 AND 1 = (SELECT count(*) FROM runs WHERE
             substr(id, 1, length(?1)) = ?1)) ORDER BY id = ?1 DESC LIMIT 1"
        );
        connection
            .query_row(&query, params![id], |row| {
                let result: Option<String> = row.get(6)?;
                let read = |text: String| {
                    serde_json::from_str(&text).map_err(|error| {
                        rusqlite::Error::FromSqlConversionFailure(
                            6,
                            rusqlite::types::Type::Text,
                            error.into(),
                        )
                    })
                };
                Ok(StoredRun {
                    listed: listed(row)?,
                    plan: row.get(5)?,
                    result: result.map(read).transpose()?,
                })
            })
            .optional()
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_are_found_by_their_ids_and_clear_beginnings() {
        let store = Store::in_memory().unwrap();
        for id in ["0192-aaaa-1", "0192-aaaa-2", "0193-bbbb-1"] {
            enter(&store, id, "task", "deploy", "{}".to_owned())
                .await
                .unwrap();
        }
        let mut result = RunResult::empty("0193-bbbb-1", "task", "deploy", "");
        result.results = Some(vec![RunResult::empty("0193-bbbb-1", "run", "", "")]);
        set_state(&store, "0193-bbbb-1", RunState::Parked, Some(&result))
            .await
            .unwrap();
        let found = find(&store, "0193-bbb").unwrap().unwrap();
        assert_eq!(
            (found.listed.state, found.plan.as_str()),
            (RunState::Parked, "{}")
        );
        assert_eq!(found.result, Some(result));
        let ids = |id: &str| find(&store, id).unwrap().map(|run| run.listed.run_id);
        assert_eq!(ids("0192-aaaa-2").as_deref(), Some("0192-aaaa-2"));
        assert_eq!(ids("0192-aaa"), None);
        assert_eq!(ids("0193"), None);
        assert_eq!(ids(""), None);
        let listed: Vec<_> = list(&store, 2).unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].run_id, "0193-bbbb-1");
    }
}
