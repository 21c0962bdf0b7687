//! Whether the store can be trusted, and what of it can be rebuilt.

mod rows;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::Serialize;

use super::Holder;
use super::calendar::rfc3339;
use super::saturating_sum;
use crate::store::{Durability, FILE_NAME, Store, StoreError, Transaction, migrations, schema};
use crate::usage::Usd;

/// What every budget should have as its total, from the rows of the ledger.
fn sums() -> String {
    let (spent, held) = (saturating_sum("cost"), saturating_sum("held"));
    format!(
        "WITH days AS (SELECT *, {} AS day FROM attempts), {CHARGED},
    sums AS (SELECT scope, {spent} AS spent, {held} AS held FROM charged GROUP BY scope)",
        rows::DAY
    )
}

/// What each row of the ledger counts for, and in which budgets. What is damaged of one counts for nothing and in
/// no budget.
const CHARGED: &str = "
    counted AS (
        SELECT id, run_id, session, agent, day, max(cost, 0) AS cost,
            CASE WHEN json_valid(delegators) THEN delegators END AS delegators,
            CASE state WHEN 'held' THEN max(held, 0) ELSE 0 END AS held
        FROM days),
    charged (id, scope, cost, held) AS (
        SELECT id, 'day/' || day, cost, held FROM counted WHERE day IS NOT NULL
        UNION ALL SELECT id, 'month/' || substr(day, 1, 7), cost, held FROM counted
            WHERE day IS NOT NULL
        UNION ALL SELECT id, 'run/' || run_id, cost, held FROM counted
        UNION ALL SELECT id, 'session/' || session, cost, held FROM counted
            WHERE session IS NOT NULL
        UNION ALL SELECT * FROM (
            SELECT id, 'run/' || run_id || '/agent/' || agent, cost, held FROM counted
            UNION SELECT counted.id, 'run/' || run_id || '/agent/' || value, cost, held
                FROM counted, json_each(counted.delegators) WHERE type = 'text'))";

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreCheck {
    /// The database.
    pub path: PathBuf,
    /// Whether there is one.
    pub exists: bool,
    /// The version of its schema.
    pub schema: i64,
    /// How many attempts the ledger holds; 0 where its tables are not those of this version.
    pub attempts: u64,
    /// Damage: what SQLite found, tables that are not those of the schema, rows that nobody can have written;
    /// empty when there is none.
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
/// totals and indices are rebuilt from the rows when something is wrong and the tables are those that they should be.
/// Where anything is damaged, what a row has lost may still be in its totals: none becomes less then.
///
/// # Errors
/// When it cannot be opened, or, with `repair`, written; when its pages are damaged, so that its rows cannot be read.
pub async fn check_store(state_dir: &Path, repair: bool) -> Result<StoreCheck, StoreError> {
    let path = state_dir.join(FILE_NAME);
    let Some(store) = Store::open_read_only(state_dir)? else {
        return Ok(StoreCheck {
            path,
            ..StoreCheck::default()
        });
    };
    let (mut check, is_whole) = store.read(inspect)?;
    check.path = path;
    drop(store);
    if repair && is_whole && !check.is_sound() {
        let is_doubtful = !check.damage.is_empty();
        let store = Store::open(state_dir)?;
        let rebuilding = store.write(Durability::Full, move |transaction| {
            rebuild(transaction, is_doubtful)
        });
        rebuilding.await?;
        check.damage_left = store.read(|connection| Ok(damage(connection)?.0))?;
        store.close().await?;
        check.repaired = true;
    }
    Ok(check)
}

/// What is damaged, and whether the tables are those of the schema.
fn damage(connection: &Connection) -> rusqlite::Result<(Vec<String>, bool)> {
    let mut damage: Vec<String> = connection
        .prepare("PRAGMA integrity_check(20)")?
        .query_map([], |row| row.get::<_, String>(0))?
        .filter(|line| !line.as_ref().is_ok_and(|line| line == "ok"))
        .collect::<rusqlite::Result<_>>()?;
    let tables = schema::faults(connection)?;
    let is_whole = tables.is_empty();
    damage.extend(tables);
    if is_whole {
        damage.extend(rows::faults(connection)?);
    }
    Ok((damage, is_whole))
}

/// What the store is like, and whether its totals can be rebuilt.
fn inspect(connection: &Connection) -> rusqlite::Result<(StoreCheck, bool)> {
    let (damage, is_whole) = damage(connection)?;
    let mut check = StoreCheck {
        exists: true,
        schema: connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        damage,
        ..StoreCheck::default()
    };
    if !is_whole || check.schema < migrations::current_version() {
        return Ok((check, is_whole));
    }
    let attempts: i64 =
        connection.query_row("SELECT count(*) FROM attempts", [], |row| row.get(0))?;
    check.attempts = u64::try_from(attempts).unwrap_or(0);
    let is_doubtful = !check.damage.is_empty();
    let found = wrong_totals(connection, is_doubtful).map(|totals| check.wrong_totals = totals);
    let found = found.and_then(|()| sort_holds(connection, &mut check));
    let can_rebuild = match found {
        Err(error) if is_of_a_value(&error) => {
            check.damage.push(format!(
                "a value is of another type than its column: {error}"
            ));
            false
        }
        found => {
            found?;
            true
        }
    };
    Ok((check, can_rebuild))
}

/// Whether an error is that of one value, and not that of the store.
fn is_of_a_value(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(
        error,
        InvalidColumnType(..) | FromSqlConversionFailure(..) | IntegralValueOutOfRange(..)
    )
}

/// The running totals that are not the sum of their rows; where that is doubtful, those that are less than it.
fn wrong_totals(connection: &Connection, is_doubtful: bool) -> rusqlite::Result<Vec<WrongTotal>> {
    connection
        .prepare(&format!(
            "{},
             both (scope, spent, held, rows_spent, rows_held) AS (
                 SELECT coalesce(totals.scope, sums.scope),
                     coalesce(totals.spent, 0), coalesce(totals.held, 0),
                     coalesce(sums.spent, 0), coalesce(sums.held, 0)
                 FROM totals FULL JOIN sums ON totals.scope = sums.scope),
             compared (scope, spent, held, due, due_held) AS (
                 SELECT scope, spent, held, max(rows_spent, iif(?1, spent, 0)),
                     max(rows_held, iif(?1, held, 0)) FROM both)
             SELECT scope, spent, due, held, due_held FROM compared
             WHERE spent <> due OR held <> due_held ORDER BY scope",
            sums()
        ))?
        .query_map([is_doubtful], |row| {
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

/// Rebuilds indices and totals. Where the rows are doubtful, no total becomes less.
fn rebuild(transaction: &Transaction<'_>, is_doubtful: bool) -> rusqlite::Result<()> {
    let forget = if is_doubtful {
        "UPDATE totals SET spent = max(spent, 0), held = max(held, 0)"
    } else {
        "DELETE FROM totals"
    };
    transaction.execute_batch(&format!(
        "REINDEX;
         {forget};
         {}
         INSERT INTO totals (scope, spent, held) SELECT scope, spent, held FROM sums
             WHERE spent <> 0 OR held <> 0
             ON CONFLICT (scope) DO UPDATE SET
                 spent = max(spent, excluded.spent), held = max(held, excluded.held);",
        sums()
    ))
}
