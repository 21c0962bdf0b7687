//! The rows themselves: as CSV, and as the original's tracker exported them.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension, Row, Rows, Statement, named_params};
use serde_json::{Value, json};

use super::{Filter, Report, sum_up};
use crate::costs::BudgetSettings;
use crate::costs::calendar::{Day, milliseconds, rfc3339};
use crate::store::{Store, StoreError};
use crate::usage::Usd;

/// Whether a row belongs to a report; see [`query`] for its parameters.
pub(super) const MATCHES: &str = "id > :after
    AND (:since IS NULL OR started_at >= :since) AND (:until IS NULL OR started_at < :until)
    AND (:run IS NULL OR run_id = :run) AND (:agent IS NULL OR agent = :agent)";

/// Runs a query with the parameters of [`MATCHES`].
pub(super) fn query<'a>(
    statement: &'a mut Statement<'_>,
    connection: &Connection,
    filter: &Filter,
) -> rusqlite::Result<Rows<'a>> {
    let after = baseline(connection, filter)?;
    query_after(statement, filter, after)
}

fn query_after<'a>(
    statement: &'a mut Statement<'_>,
    filter: &Filter,
    after: i64,
) -> rusqlite::Result<Rows<'a>> {
    statement.query(named_params! {
        ":after": after,
        ":since": filter.since.map(milliseconds),
        ":until": filter.until.map(milliseconds),
        ":run": filter.run,
        ":agent": filter.agent,
    })
}

/// The last attempt that a reset leaves out; resets do not matter to who asks for a time or a run.
fn baseline(connection: &Connection, filter: &Filter) -> rusqlite::Result<i64> {
    if filter.since.is_some() || filter.until.is_some() || filter.run.is_some() {
        return Ok(0);
    }
    let last = connection
        .prepare_cached("SELECT last_attempt FROM baselines ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// How a column is written.
#[derive(Clone, Copy)]
enum Form {
    /// A text, or nothing.
    Text,
    /// A whole number, or nothing.
    Number,
    /// Milliseconds since 1970, written as RFC 3339.
    Time,
    /// Picodollars, written in dollars.
    Money,
}

/// The columns of the CSV: its name for it, the ledger's, and how it is written.
const COLUMNS: &[(&str, &str, Form)] = &[
    ("id", "id", Form::Number),
    ("started_at", "started_at", Form::Time),
    ("run_id", "run_id", Form::Text),
    ("task", "task", Form::Text),
    ("step", "step", Form::Text),
    ("session", "session", Form::Text),
    ("agent", "agent", Form::Text),
    ("purpose", "purpose", Form::Text),
    ("turn", "turn", Form::Number),
    ("attempt", "attempt", Form::Number),
    ("provider", "provider", Form::Text),
    ("model_asked", "model_asked", Form::Text),
    ("model_answered", "model_answered", Form::Text),
    ("request_id", "request_id", Form::Text),
    ("state", "state", Form::Text),
    ("outcome", "outcome", Form::Text),
    ("duration_ms", "duration_ms", Form::Number),
    ("input_tokens", "input_tokens", Form::Number),
    ("output_tokens", "output_tokens", Form::Number),
    ("cache_read_tokens", "cache_read_tokens", Form::Number),
    ("cache_write_tokens", "cache_write_tokens", Form::Number),
    (
        "cache_write_1h_tokens",
        "cache_write_1h_tokens",
        Form::Number,
    ),
    ("reasoning_tokens", "reasoning_tokens", Form::Number),
    ("cost_usd", "cost", Form::Money),
    ("cost_source", "cost_source", Form::Text),
    ("held_usd", "held", Form::Money),
    ("computed_usd", "computed", Form::Money),
    ("reported_usd", "reported", Form::Money),
    (
        "reported_less_computed_usd",
        "reported_less_computed",
        Form::Money,
    ),
    ("price_source", "price_source", Form::Text),
    ("price_version", "price_version", Form::Text),
];

/// How many rows are read at once: the store is not kept from moving its log while a slow reader
/// takes them.
const PAGE: usize = 1_000;

/// The first line of the CSV, with its line end.
pub fn csv_header() -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, ..)| *name).collect();
    names.join(",") + "\n"
}

/// Hands out every row as a line of CSV, its end included, after the header.
///
/// `held_usd` is what an attempt held, also when it is settled by now.
///
/// # Errors
/// When the store cannot be read, or `write` fails.
pub fn csv<E: From<StoreError>>(
    store: &Store,
    filter: &Filter,
    mut write: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    write(&csv_header())?;
    let wanted = filter.clone();
    let mut after = store.read(move |connection| baseline(connection, &wanted))?;
    loop {
        let wanted = filter.clone();
        let page = store.read(move |connection| page(connection, &wanted, after))?;
        for (_, line) in &page {
            write(line)?;
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => after = *last,
            _ => return Ok(()),
        }
    }
}

fn page(
    connection: &Connection,
    filter: &Filter,
    after: i64,
) -> rusqlite::Result<Vec<(i64, String)>> {
    let names: Vec<&str> = COLUMNS.iter().map(|(_, name, _)| *name).collect();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM attempts WHERE {MATCHES} ORDER BY id LIMIT {PAGE}",
        names.join(", ")
    ))?;
    let mut rows = query_after(&mut statement, filter, after)?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        lines.push((row.get("id")?, line(row)?));
    }
    Ok(lines)
}

fn line(row: &Row<'_>) -> rusqlite::Result<String> {
    let mut line = String::new();
    for (_, name, form) in COLUMNS {
        if !line.is_empty() {
            line.push(',');
        }
        match form {
            Form::Text => {
                if let Some(text) = row.get::<_, Option<String>>(*name)? {
                    push_field(&mut line, &text);
                }
            }
            Form::Number => {
                if let Some(number) = row.get::<_, Option<i64>>(*name)? {
                    line += &format!("{number}");
                }
            }
            Form::Time => line += &rfc3339(row.get(*name)?),
            Form::Money => {
                if let Some(pico) = row.get::<_, Option<i64>>(*name)? {
                    line += &format!("{}", Usd::from_pico(pico));
                }
            }
        }
    }
    line.push('\n');
    Ok(line)
}

/// RFC 4180: quoted where a comma, a quote or a line end asks for it.
fn push_field(line: &mut String, text: &str) {
    if text.contains([',', '"', '\n', '\r']) {
        line.push('"');
        *line += &text.replace('"', "\"\"");
        line.push('"');
    } else {
        *line += text;
    }
}

/// The JSON that the original's tracker exported: `requests`, `summary`, `budget_limit`; money as
/// decimal strings. `summary` is the report of the same rows.
///
/// # Errors
/// When the store cannot be read.
pub fn export(
    store: &Store,
    filter: &Filter,
    budgets: &BudgetSettings,
    now: SystemTime,
) -> Result<Value, StoreError> {
    let (wanted, budgets) = (filter.clone(), *budgets);
    store.read(move |connection| {
        let report = sum_up(connection, &wanted, &budgets, Day::of(now))?;
        let mut statement = connection.prepare_cached(&format!(
            "SELECT model_asked, input_tokens, output_tokens, cache_read_tokens, cost, started_at
             FROM attempts WHERE {MATCHES} ORDER BY id"
        ))?;
        let mut rows = query(&mut statement, connection, &wanted)?;
        let mut requests = Vec::new();
        while let Some(row) = rows.next()? {
            requests.push(json!({
                "model": row.get::<_, String>(0)?,
                "input_tokens": row.get::<_, i64>(1)?,
                "output_tokens": row.get::<_, i64>(2)?,
                "cache_read_tokens": row.get::<_, i64>(3)?,
                "total_cost": Usd::from_pico(row.get(4)?),
                "timestamp": rfc3339(row.get(5)?),
            }));
        }
        Ok(export_of(&requests, &report, &budgets))
    })
}

/// The export of a ledger in which nothing was spent.
pub fn empty_export(budgets: &BudgetSettings, now: SystemTime) -> Value {
    export_of(&[], &Report::nothing(budgets, now), budgets)
}

fn export_of(requests: &[Value], report: &Report, budgets: &BudgetSettings) -> Value {
    json!({
        "requests": requests,
        "summary": {
            "total_requests": report.total_requests,
            "total_input_tokens": report.total_input_tokens,
            "total_output_tokens": report.total_output_tokens,
            "total_tokens": report.total_tokens,
            "total_cache_read_tokens": report.total_cache_read_tokens,
            "total_cost_usd": report.total_cost_usd,
            "by_model": report.by_model,
        },
        "budget_limit": budgets.month_usd,
    })
}
