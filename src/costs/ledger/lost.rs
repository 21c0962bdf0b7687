//! Attempts whose process died while they were under way.

use std::time::SystemTime;

use rusqlite::params;

use super::Ledger;
use crate::costs::calendar::milliseconds;
use crate::store::{Durability, StoreError};
use crate::usage::Usd;

/// An attempt that was cut off: its process died, or was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostAttempt {
    /// Who asked.
    pub agent: String,
    /// The step of a task.
    pub step: Option<String>,
    /// The model turn, counted from 1.
    pub turn: u32,
    /// The model that was asked.
    pub model: String,
    /// What it is charged, by what had come of its answer.
    pub cost: Usd,
    /// What it counts as beside that, for good: the most that it can have cost, where nobody knows.
    pub held: Usd,
}

impl Ledger {
    /// Ends the attempts of a run that no process works on any more: each stays at its hold, and is
    /// told here once.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn end_lost(&self, run_id: &str) -> Result<Vec<LostAttempt>, StoreError> {
        let (run_id, now) = (run_id.to_owned(), milliseconds(SystemTime::now()));
        self.store
            .write(Durability::Normal, move |transaction| {
                transaction
                    .prepare(
                        "UPDATE attempts SET ended_at = ?2, outcome = 'lost'
                         WHERE run_id = ?1 AND ended_at IS NULL
                         RETURNING agent, step, turn, model_asked, cost, held",
                    )?
                    .query_map(params![run_id, now], lost)?
                    .collect()
            })
            .await
    }

    /// The attempts of a run that were given up since a row of the ledger, for whatever was not answered since then;
    /// and the last row there is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn given_up(
        &self,
        run_id: &str,
        since: i64,
    ) -> Result<(Vec<LostAttempt>, i64), StoreError> {
        let run_id = run_id.to_owned();
        self.store.read(move |connection| {
            let given_up = connection
                .prepare(
                    "SELECT agent, step, turn, model_asked, cost, held FROM attempts AS given_up
                     WHERE run_id = ?1 AND outcome = 'cancelled' AND id > ?2 AND NOT EXISTS (
                         SELECT 1 FROM attempts AS later WHERE later.run_id = ?1
                         AND later.id > given_up.id AND later.agent = given_up.agent
                         AND later.step IS given_up.step AND later.turn = given_up.turn
                         AND later.outcome = 'answered')
                     ORDER BY id",
                )?
                .query_map(params![run_id, since], lost)?
                .collect::<Result<_, _>>()?;
            let last = "SELECT coalesce(max(id), 0) FROM attempts WHERE run_id = ?1";
            let last = connection.query_row(last, params![run_id], |row| row.get(0))?;
            Ok((given_up, last))
        })
    }

    /// For each answer of a model that a run was charged, the agent that was asked first: the one that
    /// answered, or the outermost of those that delegated to it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn answered(&self, run_id: &str) -> Result<Vec<String>, StoreError> {
        let run_id = run_id.to_owned();
        self.store.read(move |connection| {
            connection
                .prepare(
                    "SELECT coalesce(delegators ->> '$[0]', agent) FROM attempts
                     WHERE run_id = ?1 AND outcome = 'answered' ORDER BY id",
                )?
                .query_map(params![run_id], |row| row.get(0))?
                .collect()
        })
    }
}

fn lost(row: &rusqlite::Row<'_>) -> rusqlite::Result<LostAttempt> {
    Ok(LostAttempt {
        agent: row.get(0)?,
        step: row.get(1)?,
        turn: row.get(2)?,
        model: row.get(3)?,
        cost: Usd::from_pico(row.get(4)?),
        held: Usd::from_pico(row.get(5)?),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::costs::{Attempt, Caps, Outcome, PriceOverride, Prices};
    use crate::store::Store;

    #[tokio::test]
    async fn what_was_under_way_is_told_once_and_stays_held() {
        let ledger = Ledger::new(Store::in_memory().unwrap(), Arc::new(Prices::built_in()));
        let microdollar = Usd::from_pico(1_000_000_000_000);
        let attempt = |run: &str, turn| Attempt {
            run_id: run.into(),
            agent: "coder".into(),
            delegators: if turn == 1 {
                vec!["lead".into(), "writer".into()]
            } else {
                Vec::new()
            },
            step: Some("build".into()),
            model: "lab/model".to_owned(),
            turn,
            price: Some(PriceOverride {
                input: Usd::ZERO,
                output: microdollar,
                cache_read: None,
                cache_write: None,
            }),
            max_output_tokens: 1_000_000,
            ..Attempt::default()
        };
        for (run, turn, ends) in [("r", 1, true), ("r", 2, false), ("other", 1, false)] {
            let hold = ledger
                .start_attempt(&attempt(run, turn), &Caps::default(), Arc::default())
                .await
                .unwrap();
            if ends {
                hold.settle(Outcome::default()).await.unwrap();
            } else {
                std::mem::forget(hold);
            }
        }
        let lost = LostAttempt {
            agent: "coder".to_owned(),
            step: Some("build".to_owned()),
            turn: 2,
            model: "lab/model".to_owned(),
            cost: Usd::ZERO,
            held: microdollar,
        };
        assert_eq!(ledger.answered("r"), Ok(vec!["lead".to_owned()]));
        assert_eq!(ledger.end_lost("r").await, Ok(vec![lost]));
        assert_eq!(ledger.end_lost("r").await, Ok(Vec::new()));
        assert_eq!(ledger.run_cost("r").unwrap().held, microdollar);
        assert_eq!(ledger.run_cost("other").unwrap().held, microdollar);
    }
}
