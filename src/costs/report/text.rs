//! A report as lines for a terminal: totals, tables with bars, budgets.

use std::collections::BTreeMap;
use unicode_width::UnicodeWidthStr;

use super::{BudgetLine, Entry, Report};
use crate::usage::Usd;

/// The widest a bar gets, in columns.
const BAR: usize = 24;

/// The narrowest a bar is worth its place.
const LEAST_BAR: usize = 6;

/// Columns of bars and tables where there is no screen.
const USUAL: usize = 80;

/// A report as text; on a screen, tables of at most its `columns` where numbers allow. Ends with one newline.
pub fn report_text(report: &Report, columns: Option<usize>) -> String {
    let width = columns.unwrap_or(USUAL);
    let mut text = String::new();
    totals(&mut text, report);
    for (title, table) in [
        ("model", &report.by_model),
        ("agent", &report.by_agent),
        ("task", &report.by_task),
        ("day (UTC)", &report.by_day),
    ] {
        if !table.is_empty() {
            table_lines(&mut text, title, table, columns);
        }
    }
    text.push('\n');
    for budget in &report.budgets {
        budget_line(&mut text, budget, width);
    }
    text
}

fn totals(text: &mut String, report: &Report) {
    let mut line = |name: &str, value: String| *text += &format!("{name:<10}{value}\n");
    let mut requests = grouped(report.total_requests);
    if report.unpriced_requests > 0 {
        let unpriced = grouped(report.unpriced_requests);
        requests += &format!(", {unpriced} of them without a known price");
    }
    line("requests", requests);
    let input = grouped(report.total_input_tokens);
    let output = grouped(report.total_output_tokens);
    let mut tokens = format!("{input} in, {output} out");
    if report.total_cache_read_tokens > 0 {
        let cached = grouped(report.total_cache_read_tokens);
        tokens += &format!(", {cached} of the input from a cache");
    }
    line("tokens", tokens);
    line("cost", dollars(report.total_cost_usd));
    let most = report.last_days.iter().max().copied().unwrap_or(Usd::ZERO);
    if most > Usd::ZERO {
        let days = report.last_days.len();
        let line_of_days: String = report
            .last_days
            .iter()
            .map(|day| level(*day, most))
            .collect();
        let most = dollars(most);
        line(
            &format!("{days} days"),
            format!("{line_of_days}  at most {most} a day"),
        );
    }
    if report.held_usd > Usd::ZERO {
        let held = dollars(report.held_usd);
        line(
            "held",
            format!("{held} by calls under way or of unknown end"),
        );
    }
    if report.subscription_list_usd > Usd::ZERO {
        let list = dollars(report.subscription_list_usd);
        line(
            "covered",
            format!("{list} at list prices, paid by a subscription"),
        );
    }
}

fn table_lines(
    text: &mut String,
    title: &str,
    table: &BTreeMap<String, Entry>,
    columns: Option<usize>,
) {
    let mut rows: Vec<(&str, Entry)> = table
        .iter()
        .map(|(name, entry)| (name.as_str(), *entry))
        .collect();
    if title.starts_with("day") {
        rows.sort_unstable_by_key(|(name, _)| *name);
    } else {
        rows.sort_by_key(|(name, entry)| (std::cmp::Reverse(entry.cost_usd), *name));
    }
    let most = rows
        .iter()
        .map(|(_, entry)| entry.cost_usd)
        .max()
        .unwrap_or(Usd::ZERO);
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|(name, entry)| {
            [
                (*name).to_owned(),
                grouped(entry.requests),
                grouped(entry.input_tokens),
                grouped(entry.output_tokens),
                dollars(entry.cost_usd),
            ]
        })
        .collect();
    let head = [title, "requests", "input", "output", "cost"].map(str::to_owned);
    let mut widths = [0; 5];
    for row in std::iter::once(&head).chain(&cells) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let used: usize = widths.iter().sum::<usize>() + 2 * widths.len();
    // Where a row does not fit, its name stands above its numbers.
    let above = columns.is_some_and(|columns| used > columns + 2);
    let free = columns.unwrap_or(USUAL).saturating_sub(used);
    let bar = Some(free.min(BAR)).filter(|bar| *bar >= LEAST_BAR);
    text.push('\n');
    push_row(text, &head, &widths, "", above);
    for (row, (_, entry)) in cells.iter().zip(&rows) {
        let bar = bar.map_or_else(String::new, |bar| filled(entry.cost_usd, most, bar));
        push_row(text, row, &widths, &bar, above);
    }
}

/// A row of a table; where its name stands above its numbers, these begin with the line.
fn push_row(text: &mut String, cells: &[String; 5], widths: &[usize; 5], bar: &str, above: bool) {
    let mut line = String::new();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let blanks = " ".repeat(width.saturating_sub(cell.width()));
        match at {
            0 if above => *text += &format!("{cell}\n"),
            0 => line += &format!("{cell}{blanks}  "),
            _ => line += &format!("{blanks}{cell}  "),
        }
    }
    line += bar;
    *text += line.trim_end();
    text.push('\n');
}

fn budget_line(text: &mut String, budget: &BudgetLine, width: usize) {
    let name = match budget.budget {
        "day" => "today",
        _ => "this month",
    };
    let used = dollars(budget.used_usd);
    let mut line = match (budget.limit_usd, budget.left_usd) {
        (Some(limit), Some(left)) => {
            let (limit, left) = (dollars(limit), dollars(left));
            format!("{name:<12}{used} of {limit}, {left} left")
        }
        _ => format!("{name:<12}{used}, no budget set"),
    };
    if budget.held_usd > Usd::ZERO {
        line += &format!(", {} held", dollars(budget.held_usd));
    }
    if let Some(limit) = budget.limit_usd {
        let until = budget.resets_at.split('T').next().unwrap_or_default();
        line += &format!(", resets {until} UTC");
        if line.width() + 2 + BAR <= width {
            let bar = filled(budget.used_usd + budget.held_usd, limit, BAR);
            line += &format!("  {bar:░<BAR$}");
        }
    }
    *text += line.trim_end();
    text.push('\n');
}

/// A block as high as an amount is of the highest; what is not nothing is higher than what is.
fn level(amount: Usd, most: Usd) -> char {
    let (amount, most) = (i128::from(amount.pico()), i128::from(most.pico()));
    match amount * 7 / most.max(1) {
        _ if amount <= 0 => '▁',
        ..=1 => '▂',
        2 => '▃',
        3 => '▄',
        4 => '▅',
        5 => '▆',
        6 => '▇',
        _ => '█',
    }
}

/// A bar of blocks; what is not nothing shows at least one.
fn filled(amount: Usd, most: Usd, columns: usize) -> String {
    let (amount, most) = (i128::from(amount.pico()), i128::from(most.pico()));
    if amount <= 0 {
        return String::new();
    }
    let columns = i128::try_from(columns).unwrap_or(0);
    let blocks = (amount * columns / most.max(1)).clamp(1, columns.max(1));
    "█".repeat(usize::try_from(blocks).unwrap_or(0))
}

/// `$12.34`, with four decimals below a dollar and six below a cent, rounded; `-$0.9800` below zero.
fn dollars(amount: Usd) -> String {
    let pico = amount.pico().unsigned_abs();
    let (decimals, unit) = match pico {
        0 => (2, 10_000_000_000),
        pico if pico < 10_000_000_000 => (6, 1_000_000),
        pico if pico < 1_000_000_000_000 => (4, 100_000_000),
        _ => (2, 10_000_000_000),
    };
    let rounded = (pico + unit / 2) / unit;
    let per_dollar = 10_u64.pow(decimals);
    let whole = grouped(rounded / per_dollar);
    let decimals = usize::try_from(decimals).unwrap_or(0);
    let sign = if amount < Usd::ZERO { "-" } else { "" };
    format!("{sign}${whole}.{:0decimals$}", rounded % per_dollar)
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_and_numbers_are_readable() {
        for (amount, text) in [
            ("0", "$0.00"),
            ("0.0000005", "$0.000001"),
            ("0.001234", "$0.001234"),
            ("0.0099999999", "$0.010000"),
            ("0.25", "$0.2500"),
            ("1", "$1.00"),
            ("1234.567", "$1,234.57"),
            ("-0.98", "-$0.9800"),
            ("-4.978", "-$4.98"),
            ("-0.001234", "-$0.001234"),
        ] {
            assert_eq!(dollars(amount.parse().unwrap()), text);
        }
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
