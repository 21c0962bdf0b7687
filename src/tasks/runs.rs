//! The runs that the store knows.

use rusqlite::{OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::agents::RunResult;
use crate::store::{Durability, Job, Store, StoreError, Transaction};

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

/// Where a run works, as its plan keeps it: the paths of its steps mean nothing elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlace {
    /// The workspace of its tools and commands, absolute.
    pub working_dir: String,
    /// The configuration that it began with, absolute; `None` where that works in whatever directory it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
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

/// Enters a run that begins: its kind and name, and its plan.
///
/// # Errors
/// When it is not as durable as asked.
pub async fn enter(
    store: &Store,
    run_id: &str,
    (kind, name): (&'static str, &str),
    plan: String,
    durability: Durability,
) -> Result<(), StoreError> {
    let (run_id, name) = (run_id.to_owned(), name.to_owned());
    store
        .write(durability, move |transaction| {
            transaction.execute(
                "INSERT INTO runs (id, kind, name, state, plan, started_ms, updated_ms)
                 VALUES (?1, ?2, ?3, 'running', ?4, ?5, ?5)",
                params![run_id, kind, name, plan, now_ms()],
            )?;
            Ok(())
        })
        .await
}

/// Says what became of a run: its state and its result in JSON.
///
/// # Errors
/// When it is not as durable as asked.
pub async fn set_state(
    store: &Store,
    run_id: &str,
    state: RunState,
    result: Option<String>,
    durability: Durability,
) -> Result<(), StoreError> {
    store
        .write(durability, setting_state(run_id, state, result))
        .await
}

/// The same as a part of a transaction. Nobody goes on with a run that is done, so what it had finished
/// on its way is forgotten.
pub fn setting_state(run_id: &str, state: RunState, result: Option<String>) -> Job {
    let run_id = run_id.to_owned();
    Box::new(move |transaction| {
        transaction
            .prepare_cached(
                "UPDATE runs SET state = ?2, result = ?3, updated_ms = ?4 WHERE id = ?1",
            )?
            .execute(params![run_id, state.name(), result, now_ms()])?;
        if state == RunState::Done {
            forget_steps(transaction, &run_id)?;
        }
        Ok(())
    })
}

/// All keys of a run begin with `RUN/`, and `0` is what follows `/`.
fn forget_steps(transaction: &Transaction<'_>, run_id: &str) -> rusqlite::Result<usize> {
    transaction.execute(
        "DELETE FROM journal WHERE key > ?1 || '/' AND key < ?1 || '0'",
        params![run_id],
    )
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

/// How many runs there are.
///
/// # Errors
/// When the store cannot be read.
pub fn count(store: &Store) -> Result<usize, StoreError> {
    let query = "SELECT count(*) FROM runs";
    let count: i64 = store.read(|connection| connection.query_row(query, [], |row| row.get(0)))?;
    Ok(usize::try_from(count).unwrap_or(0))
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

/// The ids that begin so, newest first.
///
/// # Errors
/// When the store cannot be read.
pub fn beginning(store: &Store, with: &str, most: usize) -> Result<Vec<String>, StoreError> {
    let with = with.to_owned();
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    store.read(move |connection| {
        connection
            .prepare(
                "SELECT id FROM runs WHERE substr(id, 1, length(?1)) = ?1
                 ORDER BY started_ms DESC, id DESC LIMIT ?2",
            )?
            .query_map(params![with, most], |row| row.get(0))?
            .collect()
    })
}

/// Something that a run has finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its key without the run: `STEP/t1`.
    pub key: String,
    /// Whether it is an answer of a model.
    pub is_answer: bool,
}

impl Kept {
    /// The step, or the agent of several.
    pub fn part(&self) -> &str {
        self.key.split('/').next().unwrap_or_default()
    }

    /// The same where this is the end of all of it.
    pub fn whole_part(&self) -> Option<&str> {
        (!self.key.contains('/')).then_some(&self.key)
    }
}

/// What a run has finished so far.
///
/// # Errors
/// When the store cannot be read.
pub fn kept(store: &Store, run_id: &str) -> Result<Vec<Kept>, StoreError> {
    let run_id = run_id.to_owned();
    store.read(move |connection| {
        connection
            .prepare(
                "SELECT substr(key, length(?1) + 2), json_type(value, '$.reply') IS NOT NULL
                 FROM journal
                 WHERE key > ?1 || '/' AND key < ?1 || '0' AND value IS NOT NULL",
            )?
            .query_map(params![run_id], |row| {
                Ok(Kept {
                    key: row.get(0)?,
                    is_answer: row.get(1)?,
                })
            })?
            .collect()
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
            let named = ("task", "deploy");
            enter(&store, id, named, "{}".to_owned(), Durability::Full)
                .await
                .unwrap();
        }
        let mut result = RunResult::empty("0193-bbbb-1", "task", "deploy", "");
        result.results = Some(vec![RunResult::empty("0193-bbbb-1", "run", "", "")]);
        let kept = serde_json::to_string(&result).unwrap();
        let parked = setting_state("0193-bbbb-1", RunState::Parked, Some(kept));
        store.write(Durability::Full, parked).await.unwrap();
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
        let begun = |with: &str, most| beginning(&store, with, most).unwrap();
        assert_eq!(begun("0192-a", 5), ["0192-aaaa-2", "0192-aaaa-1"]);
        assert_eq!(begun("019", 1), ["0193-bbbb-1"]);
        assert!(begun("_", 5).is_empty());
        let listed: Vec<_> = list(&store, 2).unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].run_id, "0193-bbbb-1");
    }
}
