//! What a run has finished, so that a later process goes on from there and repeats nothing.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{Durability, Job, Store, StoreError, Transaction};

/// Where a run keeps what it has finished, under keys made of the run, the step and what of it:
/// `RUN/STEP/t1` for a model turn, `RUN/STEP/t1/0` for the first tool call of that turn.
#[derive(Clone, Debug, Default)]
pub enum Journal {
    /// Nowhere: what is cut off starts from the beginning.
    #[default]
    None,
    /// In the store of this machine.
    Local {
        /// The store.
        store: Store,
        /// The run.
        run: Arc<str>,
        /// The key that everything here begins with.
        key: Arc<str>,
        /// Nothing was kept here before: there is nothing to look for.
        is_new: bool,
    },
}

/// What is known of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded<T> {
    /// Nothing.
    Never,
    /// It was begun; how it ended is not known.
    Begun,
    /// It ended with this.
    Done(T),
}

impl Journal {
    /// The journal of a run.
    pub fn of_run(store: Store, run: &Arc<str>) -> Self {
        Self::Local {
            store,
            run: Arc::clone(run),
            key: Arc::clone(run),
            is_new: false,
        }
    }

    /// The same journal from a place on where nothing was kept before.
    #[must_use]
    pub fn anew(mut self) -> Self {
        if let Self::Local { is_new, .. } = &mut self {
            *is_new = true;
        }
        self
    }

    fn at(&self, place: impl FnOnce(&str) -> String) -> Self {
        let mut journal = self.clone();
        if let Self::Local { key, .. } = &mut journal {
            *key = place(key).into();
        }
        journal
    }

    /// The same journal, one level down: a step, a turn.
    #[must_use]
    pub fn under(&self, part: &str) -> Self {
        self.at(|key| format!("{key}/{part}"))
    }

    /// The same journal for another attempt, item or round of the same thing: what stands behind the
    /// name, as in `test#2`.
    #[must_use]
    pub fn beside(&self, mark: &str) -> Self {
        self.at(|key| format!("{key}{mark}"))
    }

    /// The key; empty where nothing is kept.
    pub fn key(&self) -> &str {
        match self {
            Self::None => "",
            Self::Local { key, .. } => key,
        }
    }

    /// What is known under this key.
    ///
    /// # Errors
    /// When the store cannot be read, or what it holds is damaged.
    pub fn recall<T: DeserializeOwned + Send + 'static>(&self) -> Result<Recorded<T>, StoreError> {
        let Self::Local {
            store,
            key,
            is_new: false,
            ..
        } = self
        else {
            return Ok(Recorded::Never);
        };
        let key = Arc::clone(key);
        store.read(move |connection| {
            let value: Option<Option<T>> = connection
                .prepare_cached("SELECT value FROM journal WHERE key = ?1")?
                .query_row(params![&*key], |row| {
                    let text = row.get_ref(0)?.as_str_or_null()?;
                    text.map(serde_json::from_str).transpose().map_err(|error| {
                        rusqlite::Error::FromSqlConversionFailure(
                            0,
                            rusqlite::types::Type::Text,
                            error.into(),
                        )
                    })
                })
                .optional()?;
            Ok(match value {
                None => Recorded::Never,
                Some(None) => Recorded::Begun,
                Some(Some(value)) => Recorded::Done(value),
            })
        })
    }

    /// Notes that what stands under this key begins now: done when it is as durable as asked.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn begin(&self, durability: Durability) -> Result<(), StoreError> {
        self.write(durability, None).await
    }

    /// Keeps what came of it; done when it is as durable as asked.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn keep<T: Serialize>(
        &self,
        durability: Durability,
        value: &T,
    ) -> Result<(), StoreError> {
        if matches!(self, Self::None) {
            return Ok(());
        }
        // What is kept are plain values with text for keys: they always have a JSON form.
        let value = serde_json::to_string(value).unwrap_or_default();
        self.write(durability, Some(value)).await
    }

    /// Keeps a JSON value as a part of a transaction; `None` where nothing is kept.
    pub fn keeping(&self, value: String) -> Option<Job> {
        self.job(Some(value)).map(|job| Box::new(job) as Job)
    }

    async fn write(&self, durability: Durability, value: Option<String>) -> Result<(), StoreError> {
        match (self, self.job(value)) {
            (Self::Local { store, .. }, Some(job)) => store.write(durability, job).await,
            _ => Ok(()),
        }
    }

    fn job(
        &self,
        value: Option<String>,
    ) -> Option<impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + use<>> {
        let Self::Local { run, key, .. } = self else {
            return None;
        };
        let (run, key) = (Arc::clone(run), Arc::clone(key));
        Some(move |transaction: &Transaction<'_>| {
            transaction
                .prepare_cached(
                    "INSERT INTO journal (key, run, at_ms, value) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (key) DO UPDATE SET
                     value = coalesce(excluded.value, value), at_ms = excluded.at_ms",
                )?
                .execute(params![&*key, &*run, now_ms(), value])?;
            Ok(())
        })
    }
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
    async fn what_is_kept_is_found_under_its_key_alone() {
        let journal = Journal::of_run(Store::in_memory().unwrap(), &"r1".into());
        let turn = journal.under("test").beside("#2").under("t1");
        assert_eq!(turn.key(), "r1/test#2/t1");
        assert_eq!(turn.recall::<u32>().unwrap(), Recorded::Never);
        turn.begin(Durability::Full).await.unwrap();
        assert_eq!(turn.recall::<u32>().unwrap(), Recorded::Begun);
        turn.keep(Durability::Full, &7).await.unwrap();
        assert_eq!(turn.recall::<u32>().unwrap(), Recorded::Done(7));
        // Beginning it again does not lose what came of it.
        turn.begin(Durability::Full).await.unwrap();
        assert_eq!(turn.recall::<u32>().unwrap(), Recorded::Done(7));
        assert_eq!(
            journal.under("test").recall::<u32>().unwrap(),
            Recorded::Never
        );
        assert!(turn.recall::<String>().is_err());
        assert_eq!(turn.anew().recall::<u32>().unwrap(), Recorded::Never);

        let none = Journal::default().under("x");
        none.begin(Durability::Full).await.unwrap();
        none.keep(Durability::Full, &1).await.unwrap();
        assert_eq!(none.recall::<u32>().unwrap(), Recorded::Never);
    }
}
