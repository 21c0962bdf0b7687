//! What was spent, from the rows of the ledger: totals, tables, every row, the original's export.

mod period;
mod rows;
#[cfg(test)]
mod tests;
mod text;

pub use period::{Backward, PeriodError, since, until};
pub use rows::{csv, csv_header, empty_export, export};
pub use text::report_text;

use std::collections::BTreeMap;
use std::time::SystemTime;

use rusqlite::{Connection, Row, named_params};
use serde::Serialize;

use super::calendar::{Day, milliseconds};
use super::ledger::rows::total;
use super::{BudgetSettings, Spending, saturating_sum};
use crate::store::{Durability, Store, StoreError};
use crate::usage::Usd;

/// How many days a report shows side by side.
const LAST_DAYS: usize = 14;

/// Which attempts a report counts; by default those after the last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// From this time on. With it, or with `until` or `run`, resets do not matter.
    pub since: Option<SystemTime>,
    /// Before this time.
    pub until: Option<SystemTime>,
    /// Of this run.
    pub run: Option<String>,
    /// Of this agent.
    pub agent: Option<String>,
}

/// What was spent; serialises as `--costs --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Attempts, failed ones included.
    pub total_requests: u64,
    /// Prompt tokens.
    pub total_input_tokens: u64,
    /// Generated tokens.
    pub total_output_tokens: u64,
    /// Both.
    pub total_tokens: u64,
    /// Prompt tokens that were read from a cache.
    pub total_cache_read_tokens: u64,
    /// What was charged.
    pub total_cost_usd: Usd,
    /// What is held: attempts under way, and those of which nobody knows what became of them.
    pub held_usd: Usd,
    /// By the model that was asked for.
    pub by_model: BTreeMap<String, Entry>,
    /// By agent.
    pub by_agent: BTreeMap<String, Entry>,
    /// By task; attempts outside of tasks are left out.
    pub by_task: BTreeMap<String, Entry>,
    /// By day, UTC.
    pub by_day: BTreeMap<String, Entry>,
    /// What each of the last days cost, today last.
    #[serde(skip)]
    pub last_days: Vec<Usd>,
    /// Today's and this month's budget.
    pub budgets: Vec<BudgetLine>,
    /// Attempts of models without a known price.
    #[serde(skip)]
    pub unpriced_requests: u64,
    /// What a subscription paid, at list prices.
    #[serde(skip)]
    pub subscription_list_usd: Usd,
}

/// A line of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Attempts.
    pub requests: u64,
    /// Prompt tokens.
    pub input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// What was charged.
    pub cost_usd: Usd,
}

/// A budget that starts anew from time to time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetLine {
    /// `day` or `month`.
    pub budget: &'static str,
    /// The cap, where there is one.
    pub limit_usd: Option<Usd>,
    /// What was charged.
    pub used_usd: Usd,
    /// What is held.
    pub held_usd: Usd,
    /// What is left of the cap.
    pub left_usd: Option<Usd>,
    /// When it starts anew, RFC 3339.
    pub resets_at: String,
}

/// Sums up the ledger. `budgets` are the configured caps, `now` decides which day and month it is.
///
/// # Errors
/// When the store cannot be read.
pub fn report(
    store: &Store,
    filter: &Filter,
    budgets: &BudgetSettings,
    now: SystemTime,
) -> Result<Report, StoreError> {
    let (filter, budgets) = (filter.clone(), *budgets);
    store.read(move |connection| sum_up(connection, &filter, &budgets, Day::of(now)))
}

/// The same within what is read already. What a damaged row has below nothing counts as nothing.
fn sum_up(
    connection: &Connection,
    filter: &Filter,
    budgets: &BudgetSettings,
    today: Day,
) -> rusqlite::Result<Report> {
    let mut report = Report::default();
    let mut statement = connection.prepare(&format!(
        "SELECT model_asked, agent, task, started_at / 86400000 AS day, count(*) AS requests,
             {} AS input, {} AS output, {} AS cache_read, {} AS cost, {} AS held,
             sum(cost_source IS 'unpriced') AS unpriced, {} AS list
         FROM attempts WHERE {} GROUP BY model_asked, agent, task, day",
        saturating_sum("max(input_tokens, 0)"),
        saturating_sum("max(output_tokens, 0)"),
        saturating_sum("max(cache_read_tokens, 0)"),
        saturating_sum("max(cost, 0)"),
        saturating_sum("CASE state WHEN 'held' THEN max(held, 0) ELSE 0 END"),
        saturating_sum(
            "CASE cost_source WHEN 'subscription' THEN max(coalesce(computed, 0), 0) ELSE 0 END"
        ),
        rows::MATCHES
    ))?;
    let mut groups = rows::query(&mut statement, connection, filter)?;
    while let Some(row) = groups.next()? {
        report.add(row)?;
    }
    report.last_days = report.last_days(today);
    for (scope, mut line) in budget_lines(budgets, today) {
        line.use_up(total(connection, &scope)?);
        report.budgets.push(line);
    }
    Ok(report)
}

/// Whether an agent of this name ever asked a model, whatever was reset since.
///
/// # Errors
/// When the store cannot be read.
pub fn knows_agent(store: &Store, name: &str) -> Result<bool, StoreError> {
    let name = name.to_owned();
    store.read(move |connection| {
        connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM attempts WHERE agent = ?1)",
            [name],
            |row| row.get(0),
        )
    })
}

/// What a conversation has cost over its life.
///
/// # Errors
/// When the store cannot be read.
pub fn of_session(store: &Store, id: &str) -> Result<Spending, StoreError> {
    let scope = format!("session/{id}");
    store.read(move |connection| total(connection, &scope))
}

/// Starts a new count: reports leave out every attempt made so far. No row is deleted, and budgets
/// do not care.
///
/// # Errors
/// When the store cannot be written.
pub async fn reset(store: &Store, now: SystemTime) -> Result<(), StoreError> {
    let reset = store.write(Durability::Full, move |transaction| {
        transaction
            .prepare_cached(
                "INSERT INTO baselines (last_attempt, made_at)
                 SELECT coalesce(max(id), 0), :now FROM attempts",
            )?
            .execute(named_params! { ":now": milliseconds(now) })
            .map(drop)
    });
    reset.await
}

impl Report {
    /// A report where no call was ever made.
    pub fn nothing(budgets: &BudgetSettings, now: SystemTime) -> Self {
        Self {
            budgets: budget_lines(budgets, Day::of(now))
                .map(|(_, line)| line)
                .into(),
            ..Self::default()
        }
    }

    fn last_days(&self, today: Day) -> Vec<Usd> {
        let days = std::iter::successors(Some(today), |day| Some(day.previous()));
        let cost = |day: Day| {
            self.by_day
                .get(&day.to_string())
                .map(|entry| entry.cost_usd)
        };
        let mut costs: Vec<Usd> = days
            .take(LAST_DAYS)
            .map(|day| cost(day).unwrap_or(Usd::ZERO))
            .collect();
        costs.reverse();
        costs
    }

    fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let count = |name: &str| -> rusqlite::Result<u64> {
            Ok(u64::try_from(row.get::<_, i64>(name)?).unwrap_or(0))
        };
        let money = |name: &str| -> rusqlite::Result<Usd> { Ok(Usd::from_pico(row.get(name)?)) };
        let entry = Entry {
            requests: count("requests")?,
            input_tokens: count("input")?,
            output_tokens: count("output")?,
            cost_usd: money("cost")?,
        };
        self.total_requests += entry.requests;
        self.total_input_tokens = self.total_input_tokens.saturating_add(entry.input_tokens);
        self.total_output_tokens = self.total_output_tokens.saturating_add(entry.output_tokens);
        self.total_tokens = self
            .total_input_tokens
            .saturating_add(self.total_output_tokens);
        self.total_cache_read_tokens = self
            .total_cache_read_tokens
            .saturating_add(count("cache_read")?);
        self.total_cost_usd += entry.cost_usd;
        self.held_usd += money("held")?;
        self.unpriced_requests += count("unpriced")?;
        self.subscription_list_usd += money("list")?;
        let day = Day::number(row.get("day")?).to_string();
        for (table, key) in [
            (&mut self.by_model, Some(row.get("model_asked")?)),
            (&mut self.by_agent, Some(row.get("agent")?)),
            (&mut self.by_task, row.get("task")?),
            (&mut self.by_day, Some(day)),
        ] {
            if let Some(key) = key {
                table.entry(key).or_default().add(entry);
            }
        }
        Ok(())
    }
}

impl Entry {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_usd += other.cost_usd;
    }
}

/// The budgets of a day and its month with nothing used, each with the key of its running total.
fn budget_lines(budgets: &BudgetSettings, day: Day) -> [(String, BudgetLine); 2] {
    let line = |budget, limit_usd: Option<Usd>, reset: Day| BudgetLine {
        budget,
        limit_usd,
        used_usd: Usd::ZERO,
        held_usd: Usd::ZERO,
        left_usd: limit_usd,
        resets_at: format!("{reset}T00:00:00Z"),
    };
    [
        (
            format!("day/{day}"),
            line("day", budgets.day_usd, day.next()),
        ),
        (
            format!("month/{}", day.month()),
            line("month", budgets.month_usd, day.next_month()),
        ),
    ]
}

impl BudgetLine {
    fn use_up(&mut self, spending: Spending) {
        (self.used_usd, self.held_usd) = (spending.spent, spending.held);
        self.left_usd = self
            .limit_usd
            .map(|limit| (limit - spending.spent - spending.held).at_least_zero());
    }
}
