//! The ledger's statements.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension, named_params};

use super::budget::{Budget, Standing};
use super::holder::Holder;
use super::settlement::Charge;
use super::{Attempt, Spending};
use crate::costs::calendar::milliseconds;
use crate::costs::prices::Pricing;
use crate::store::Transaction;
use crate::usage::Usd;

/// A row to insert: everything known before the attempt is made.
#[derive(Debug)]
pub(super) struct NewRow {
    attempt: Attempt,
    delegators: Option<String>,
    price_source: &'static str,
    price_version: String,
    holder: Holder,
    started: SystemTime,
}

impl NewRow {
    pub(super) fn new(
        attempt: &Attempt,
        pricing: &Pricing,
        holder: Holder,
        started: SystemTime,
    ) -> Self {
        let (price_source, price_version) = match pricing {
            Pricing::Known(price) => (price.source.name(), price.version.clone()),
            Pricing::Local => ("local", String::new()),
            Pricing::Unpriced => ("none", String::new()),
        };
        let names: Vec<&str> = attempt.delegators.iter().map(AsRef::as_ref).collect();
        Self {
            attempt: attempt.clone(),
            delegators: (!names.is_empty()).then(|| serde_json::Value::from(names).to_string()),
            price_source,
            price_version,
            holder,
            started,
        }
    }
}

/// Inserts a held attempt and adds its hold to its totals; answers with its id.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    row: &NewRow,
    scopes: &[String],
    hold: Usd,
) -> rusqlite::Result<i64> {
    let attempt = &row.attempt;
    transaction
        .prepare_cached(
            "INSERT INTO attempts (run_id, step, turn, attempt, purpose, agent, delegators, task,
                 session, provider, model_asked, process_id, process_started, started_at, state,
                 price_source, price_version, held)
             VALUES (:run_id, :step, :turn, :attempt, :purpose, :agent, :delegators, :task,
                 :session, :provider, :model, :process_id, :process_started, :started_at, 'held',
                 :price_source, :price_version, :held)",
        )?
        .execute(named_params! {
            ":run_id": &*attempt.run_id,
            ":step": attempt.step.as_deref(),
            ":turn": attempt.turn,
            ":attempt": attempt.attempt,
            ":purpose": attempt.purpose.name(),
            ":agent": &*attempt.agent,
            ":delegators": row.delegators,
            ":task": attempt.task.as_deref(),
            ":session": attempt.session.as_deref(),
            ":provider": attempt.provider,
            ":model": attempt.model,
            ":process_id": row.holder.process_id,
            ":process_started": row.holder.started,
            ":started_at": milliseconds(row.started),
            ":price_source": row.price_source,
            ":price_version": row.price_version,
            ":held": hold.pico(),
        })?;
    let id = transaction.last_insert_rowid();
    add(transaction, scopes, Usd::ZERO, hold)?;
    Ok(id)
}

/// An attempt's end.
#[derive(Debug)]
pub(super) struct Settlement {
    /// The row; `None` when nothing was held after all.
    pub(super) id: Option<i64>,
    pub(super) charge: Charge,
    pub(super) outcome: String,
    pub(super) model: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) ended: SystemTime,
    pub(super) duration: Duration,
    pub(super) scopes: Arc<[String]>,
}

/// Ends an attempt, once: what was ended before stays as it is.
pub(super) fn settle(transaction: &Transaction<'_>, end: &Settlement) -> rusqlite::Result<()> {
    let Some(id) = end.id else {
        return Ok(());
    };
    let charge = &end.charge;
    let stays_held = charge.held > Usd::ZERO;
    let source = serde_json::to_value(charge.source).unwrap_or_default();
    let hold: Option<i64> = transaction
        .prepare_cached("SELECT held FROM attempts WHERE id = ? AND ended_at IS NULL")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let Some(hold) = hold else {
        return Ok(());
    };
    transaction
        .prepare_cached(
            "UPDATE attempts SET ended_at = :ended_at, duration_ms = :duration_ms,
                 outcome = :outcome, model_answered = :model, request_id = :request_id,
                 state = :state, input_tokens = :input, output_tokens = :output,
                 cache_read_tokens = :cache_read, cache_write_tokens = :cache_write,
                 cache_write_1h_tokens = :cache_write_1h, reasoning_tokens = :reasoning,
                 cost = :cost, cost_source = :source, computed = :computed, reported = :reported,
                 held = coalesce(:stays, held)
             WHERE id = :id",
        )?
        .execute(named_params! {
                ":id": id,
                ":ended_at": milliseconds(end.ended),
                ":duration_ms": i64::try_from(end.duration.as_millis()).unwrap_or(i64::MAX),
                ":outcome": end.outcome,
                ":model": end.model,
                ":request_id": end.request_id,
                ":state": if stays_held { "held" } else { "settled" },
                ":input": tokens(charge.usage.input_tokens),
                ":output": tokens(charge.usage.output_tokens),
                ":cache_read": tokens(charge.usage.cache_read_tokens),
                ":cache_write": tokens(charge.usage.cache_write_tokens),
                ":cache_write_1h": tokens(charge.usage.cache_write_1h_tokens),
                ":reasoning": tokens(charge.usage.reasoning_tokens),
                ":cost": charge.cost.pico(),
                ":source": source.as_str(),
                ":computed": charge.computed.map(Usd::pico),
                ":reported": charge.reported.map(Usd::pico),
                ":stays": stays_held.then_some(charge.held.pico()),
        })?;
    add(
        transaction,
        &end.scopes,
        charge.cost,
        charge.held - Usd::from_pico(hold),
    )
}

fn tokens(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Adds to the running totals of these scopes.
fn add(
    transaction: &Transaction<'_>,
    scopes: &[String],
    spent: Usd,
    held: Usd,
) -> rusqlite::Result<()> {
    if spent == Usd::ZERO && held == Usd::ZERO {
        return Ok(());
    }
    // Sums saturate as those of `Usd` do: SQLite would make a float of them. One statement for both cases would
    // keep a copy of each page until it is done.
    let mut more = transaction.prepare_cached(
        "UPDATE totals SET
             spent = CASE WHEN spent > 9223372036854775807 - max(?2, 0)
                 THEN 9223372036854775807 ELSE spent + ?2 END,
             held = CASE WHEN held > 9223372036854775807 - max(?3, 0)
                 THEN 9223372036854775807 ELSE held + ?3 END
         WHERE scope = ?1",
    )?;
    for scope in scopes {
        let amounts = (scope, spent.pico(), held.pico());
        if more.execute(amounts)? == 0 {
            transaction
                .prepare_cached("INSERT INTO totals (scope, spent, held) VALUES (?1, ?2, ?3)")?
                .execute(amounts)?;
        }
    }
    Ok(())
}

/// What counts against a scope: never less than nothing, whatever became of the total.
pub(in crate::costs) fn total(connection: &Connection, scope: &str) -> rusqlite::Result<Spending> {
    let found = connection
        .prepare_cached("SELECT spent, held FROM totals WHERE scope = ?1")?
        .query_row([scope], |row| {
            Ok(Spending {
                spent: Usd::from_pico(row.get(0)?).at_least_zero(),
                held: Usd::from_pico(row.get(1)?).at_least_zero(),
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// How many of the last attempts are looked through for those of a model.
const LATELY: u32 = 1_000;

/// The most that a provider said lately an attempt of a model cost.
pub(super) fn dearest(
    connection: &Connection,
    provider: &str,
    model: &str,
) -> rusqlite::Result<Usd> {
    let most: Option<i64> = connection
        .prepare_cached(
            "SELECT max(reported) FROM attempts
             WHERE id > (SELECT max(id) FROM attempts) - ?1 AND provider = ?2 AND model_asked = ?3",
        )?
        .query_row((LATELY, provider, model), |row| row.get(0))?;
    Ok(most.map_or(Usd::ZERO, Usd::from_pico))
}

/// How budgets stand.
pub(super) fn standings(
    connection: &Connection,
    capped: Vec<(String, Budget)>,
) -> rusqlite::Result<Vec<Standing>> {
    capped
        .into_iter()
        .map(|(key, budget)| {
            let Spending { spent, held } = total(connection, &key)?;
            Ok(Standing {
                key,
                budget,
                spent,
                held,
            })
        })
        .collect()
}
