//! Whether the store can be trusted, and what of it can be rebuilt.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;

use super::Holder;
use super::calendar::rfc3339;
use super::saturating_sum;
use crate::store::{Durability, FILE_NAME, Store, StoreError, Transaction, migrations};
use crate::usage::Usd;

/// What every budget should have as its total, from the rows of the ledger.
fn sums() -> String {
    let (spent, held) = (saturating_sum("cost"), saturating_sum("held"));
    format!(
        "{CHARGED},
    sums AS (SELECT scope, {spent} AS spent, {held} AS held FROM charged GROUP BY scope)"
    )
}

/// What each row of the ledger counts for, and in which budgets.
const CHARGED: &str = "
    WITH counted AS (
        SELECT id, run_id, session, agent, delegators, cost,
            CASE state WHEN 'held' THEN held ELSE 0 END AS held,
            strftime('%Y-%m-%d', started_at / 1000, 'unixepoch') AS day
        FROM attempts),
    charged (id, scope, cost, held) AS (
        SELECT id, 'day/' || day, cost, held FROM counted
        UNION ALL SELECT id, 'month/' || substr(day, 1, 7), cost, held FROM counted
        UNION ALL SELECT id, 'run/' || run_id, cost, held FROM counted
        UNION ALL SELECT id, 'session/' || session, cost, held FROM counted
            WHERE session IS NOT NULL
        UNION ALL SELECT * FROM (
            SELECT id, 'run/' || run_id || '/agent/' || agent, cost, held FROM counted
            UNION SELECT counted.id, 'run/' || run_id || '/agent/' || value, cost, held
                FROM counted, json_each(counted.delegators)))";

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreCheck {
    /// The database.
    pub path: PathBuf,
    /// Whether there is one.
    pub exists: bool,
    /// The version of its schema.
    pub schema: i64,
    /// How many attempts the ledger holds.
    pub attempts: u64,
    /// Damage that SQLite found; empty when there is none.
    pub damage: Vec<String>,
    /// Running totals that are not the sum of their rows.
    pub wrong_totals: Vec<WrongTotal>,
    /// Attempts whose process died: they count at their hold for ever.
    pub dead_holds: Vec<HeldAttempt>,
    /// Attempts of processes that run.
    pub live_holds: u64,
    /// Attempts that ended without anybody knowing what became of them: they count at their hold.
    pub ended_holds: u64,
    /// Whether totals and indices were rebuilt; `damage` and `wrong_totals` tell what was before.
    pub repaired: bool,
    /// Damage that rebuilding did not mend.
    pub damage_left: Vec<String>,
}

/// A running total that is not the sum of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrongTotal {
    /// The budget's scope, such as `day/2026-11-24`.
    pub scope: String,
    /// What the total says was spent.
    pub spent_usd: Usd,
    /// What it should say.
    pub should_be_spent_usd: Usd,
    /// What the total says is held.
    pub held_usd: Usd,
    /// What it should say.
    pub should_be_held_usd: Usd,
}

/// An attempt that was never settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldAttempt {
    /// Its row.
    pub id: i64,
    /// Its run.
    pub run_id: String,
    /// Its agent.
    pub agent: String,
    /// The model that was asked.
    pub model: String,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// What it holds.
    pub held_usd: Usd,
}

impl StoreCheck {
    /// Whether nothing is wrong (any more): holds of dead processes are no fault.
    pub fn is_sound(&self) -> bool {
        let was_sound = self.damage.is_empty() && self.wrong_totals.is_empty();
        was_sound || (self.repaired && self.damage_left.is_empty())
    }
}

/// Checks the store of a state directory. Without `repair` no byte of it changes; with it, running
/// totals and indices are rebuilt from the rows when something is wrong.
///
/// # Errors
/// When it cannot be opened, or, with `repair`, written; when its rows themselves are damaged, so
/// that nothing can be rebuilt from them.
pub async fn check_store(state_dir: &Path, repair: bool) -> Result<StoreCheck, StoreError> {
    let path = state_dir.join(FILE_NAME);
    let Some(store) = Store::open_read_only(state_dir)? else {
        return Ok(StoreCheck {
            path,
            ..StoreCheck::default()
        });
    };
    let mut check = store.read(inspect)?;
    check.path = path;
    drop(store);
    if repair && !check.is_sound() {
        let store = Store::open(state_dir)?;
        store.write(Durability::Full, rebuild).await?;
        check.damage_left = store.read(damage)?;
        store.close().await?;
        check.repaired = true;
    }
    Ok(check)
}

fn damage(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare("PRAGMA integrity_check(20)")?
        .query_map([], |row| row.get::<_, String>(0))?
        .filter(|line| !line.as_ref().is_ok_and(|line| line == "ok"))
        .collect()
}

fn inspect(connection: &Connection) -> rusqlite::Result<StoreCheck> {
    let mut check = StoreCheck {
        exists: true,
        schema: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        ..StoreCheck::default()
    };
    check.damage = damage(connection)?;
    if check.schema < migrations::current_version() {
        return Ok(check);
    }
    let attempts: i64 =
        connection.query_row("SELECT count(*) FROM attempts", [], |row| row.get(0))?;
    check.attempts = u64::try_from(attempts).unwrap_or(0);
    check.wrong_totals = wrong_totals(connection)?;
    sort_holds(connection, &mut check)?;
    Ok(check)
}

fn wrong_totals(connection: &Connection) -> rusqlite::Result<Vec<WrongTotal>> {
    connection
        .prepare(&format!(
            "{}
             SELECT coalesce(totals.scope, sums.scope) AS scope, coalesce(totals.spent, 0),
                 coalesce(sums.spent, 0), coalesce(totals.held, 0), coalesce(sums.held, 0)
             FROM totals FULL JOIN sums ON totals.scope = sums.scope
             WHERE coalesce(totals.spent, 0) <> coalesce(sums.spent, 0)
                 OR coalesce(totals.held, 0) <> coalesce(sums.held, 0)
             ORDER BY scope",
            sums()
        ))?
        .query_map([], |row| {
            Ok(WrongTotal {
                scope: row.get(0)?,
                spent_usd: Usd::from_pico(row.get(1)?),
                should_be_spent_usd: Usd::from_pico(row.get(2)?),
                held_usd: Usd::from_pico(row.get(3)?),
                should_be_held_usd: Usd::from_pico(row.get(4)?),
            })
        })?
        .collect()
}

fn sort_holds(connection: &Connection, check: &mut StoreCheck) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "SELECT id, run_id, agent, model_asked, started_at, held, ended_at IS NOT NULL, process_id,
             process_started
         FROM attempts WHERE state = 'held' ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let holder = Holder {
            process_id: row.get(7)?,
            started: row.get(8)?,
        };
        if row.get(6)? {
            check.ended_holds += 1;
        } else if holder.is_alive() {
            check.live_holds += 1;
        } else {
            check.dead_holds.push(HeldAttempt {
                id: row.get(0)?,
                run_id: row.get(1)?,
                agent: row.get(2)?,
                model: row.get(3)?,
                started_at: rfc3339(row.get(4)?),
                held_usd: Usd::from_pico(row.get(5)?),
            });
        }
    }
    Ok(())
}

fn rebuild(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(&format!(
        "REINDEX;
         DELETE FROM totals;
         {}
         INSERT INTO totals (scope, spent, held) SELECT scope, spent, held FROM sums
             WHERE spent <> 0 OR held <> 0;",
        sums()
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::costs::{Attempt, Caps, Ledger, Outcome, PriceOverride, Prices};
    use crate::usage::{Meter, Usage};

    fn usd(text: &str) -> Usd {
        text.parse().unwrap()
    }

    async fn spend(state: &Path) {
        let ledger = Ledger::new(Store::open(state).unwrap(), Arc::new(Prices::built_in()));
        let attempt = |agent: &str| Attempt {
            run_id: "r".into(),
            session: Some("s".into()),
            agent: agent.into(),
            delegators: vec!["lead".into(), "coder".into()],
            model: "lab/m".to_owned(),
            price: Some(PriceOverride {
                input: Usd::ZERO,
                output: usd("1"),
                cache_read: None,
                cache_write: None,
            }),
            max_output_tokens: 2_000,
            ..Attempt::default()
        };
        for (agent, outcome) in [("coder", true), ("tester", true), ("tester", false)] {
            let meter = Arc::new(Meter::default());
            let attempt = attempt(agent);
            let hold = ledger
                .start_attempt(&attempt, &Caps::default(), meter)
                .await
                .unwrap();
            if outcome {
                let outcome = Outcome {
                    usage: Some(Usage {
                        output_tokens: 1_000,
                        ..Usage::default()
                    }),
                    ..Outcome::default()
                };
                hold.settle(outcome).await.unwrap();
            } else {
                std::mem::forget(hold);
            }
        }
    }

    #[tokio::test]
    async fn totals_are_the_sum_of_their_rows_and_are_rebuilt_when_they_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        let nothing = check_store(state, true).await.unwrap();
        assert!(!nothing.exists && nothing.is_sound());
        spend(state).await;
        let expected = StoreCheck {
            path: state.join(FILE_NAME),
            exists: true,
            schema: crate::store::migrations::current_version(),
            attempts: 3,
            live_holds: 1,
            ..StoreCheck::default()
        };
        assert_eq!(check_store(state, false).await, Ok(expected.clone()));

        let store = Store::open(state).unwrap();
        let spoil = store.write(Durability::Full, |transaction| {
            transaction.execute_batch(
                "UPDATE totals SET spent = spent + 5 WHERE scope = 'run/r';
                 DELETE FROM totals WHERE scope = 'run/r/agent/lead';
                 INSERT INTO totals VALUES ('run/x', 7, 8);
                 UPDATE attempts SET process_started = 1 WHERE state = 'held';",
            )
        });
        spoil.await.unwrap();
        store.close().await.unwrap();
        let wrong = |scope: &str, spent: [&str; 2], held: [&str; 2]| WrongTotal {
            scope: scope.to_owned(),
            spent_usd: usd(spent[0]),
            should_be_spent_usd: usd(spent[1]),
            held_usd: usd(held[0]),
            should_be_held_usd: usd(held[1]),
        };
        let check = check_store(state, false).await.unwrap();
        assert_eq!(
            check.wrong_totals,
            [
                wrong("run/r", ["0.002000000005", "0.002"], ["0.002", "0.002"]),
                wrong("run/r/agent/lead", ["0", "0.002"], ["0", "0.002"]),
                wrong("run/x", ["0.000000000007", "0"], ["0.000000000008", "0"]),
            ]
        );
        assert!(!check.is_sound());
        assert_eq!((check.live_holds, check.dead_holds.len()), (0, 1));
        let dead = &check.dead_holds[0];
        assert_eq!(
            (dead.id, dead.agent.as_str(), dead.held_usd),
            (3, "tester", usd("0.002"))
        );

        let repaired = check_store(state, true).await.unwrap();
        assert!(repaired.repaired && repaired.is_sound());
        let after = check_store(state, false).await.unwrap();
        assert_eq!(after.wrong_totals, []);
        assert_eq!(after.dead_holds, check.dead_holds);
    }

    #[tokio::test]
    async fn damage_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        spend(state).await;
        let path = state.join(FILE_NAME);
        let other = Connection::open(&path).unwrap();
        other
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        drop(other);
        let mut bytes = std::fs::read(&path).unwrap();
        let page = bytes.len() / 4096;
        assert!(page >= 4);
        // The second page is the ledger's first: its header and cells become nonsense.
        bytes[4096..2 * 4096].fill(0x5a);
        std::fs::write(&path, bytes).unwrap();
        for repair in [false, true, false] {
            match check_store(state, repair).await {
                Ok(check) => assert!(!check.is_sound(), "{check:?}"),
                Err(error) => assert_eq!(error.kind, crate::store::StoreErrorKind::Corrupt),
            }
        }
    }

    /// Rebuilding totals does not make a damaged page whole: that must not be told as repaired.
    #[tokio::test]
    async fn damage_that_stays_is_not_called_repaired() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        spend(state).await;
        let path = state.join(FILE_NAME);
        let other = Connection::open(&path).unwrap();
        // A page that no table uses and that is on no list of free ones.
        other
            .execute_batch(
                "CREATE TABLE lost (x); PRAGMA writable_schema = ON;
                 DELETE FROM sqlite_schema WHERE name = 'lost';
                 PRAGMA writable_schema = OFF;
                 UPDATE totals SET spent = 1;",
            )
            .unwrap();
        drop(other);
        let check = check_store(state, true).await.unwrap();
        assert!(check.repaired && !check.damage_left.is_empty(), "{check:?}");
        assert!(!check.is_sound());
        assert_eq!(check_store(state, false).await.unwrap().wrong_totals, []);
    }

    /// What a clock before 1970 recorded is found under the same day by the rows and by the totals.
    #[tokio::test]
    async fn a_clock_before_1970_leaves_a_sound_store() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::new(
            Store::open(directory.path()).unwrap(),
            Arc::new(Prices::built_in()),
        );
        let attempt = Attempt {
            run_id: "r".into(),
            most: Some(usd("1")),
            ..Attempt::default()
        };
        let long_ago = std::time::UNIX_EPOCH - std::time::Duration::from_hours(500_000);
        let hold = ledger
            .start_attempt_at(
                &attempt,
                &Caps::default(),
                Arc::new(Meter::default()),
                long_ago,
            )
            .await
            .unwrap();
        std::mem::forget(hold);
        let check = check_store(directory.path(), false).await.unwrap();
        assert!(check.is_sound() && check.live_holds == 1, "{check:?}");
    }
}
