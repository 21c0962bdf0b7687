//! What runs, in rows: who, with which model, tokens, money, time, tool.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use unicode_width::UnicodeWidthStr;

use super::in_line;
use super::lines::does;
use super::region::fit;
use crate::event::{Event, EventKind};
use crate::usage::Usd;

/// Bytes of text to a token, about: what is not settled yet is guessed by it.
const BYTES_PER_TOKEN: u64 = 4;

/// The agents of a run that are done, told from where their answers are printed.
#[derive(Clone, Debug, Default)]
pub struct Finished(Arc<Mutex<BTreeSet<String>>>);

impl Finished {
    /// The agent is done.
    pub fn note(&self, agent: &str) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(agent.to_owned());
    }

    fn contains(&self, agent: &str) -> bool {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.contains(agent)
    }
}

#[derive(Debug)]
pub(super) struct Status {
    begun: Instant,
    model: String,
    tokens: u64,
    /// Bytes that came since the last attempt was settled.
    unsettled: u64,
    cost: Usd,
    /// What budgets leave for the run, at its beginning.
    pub(super) left: Option<Usd>,
    waits: Option<String>,
    /// Who works, in the order of their beginning.
    rows: Vec<Row>,
    /// How many were there in all.
    seen: BTreeSet<String>,
    pub(super) finished: Finished,
}

#[derive(Debug)]
struct Row {
    who: String,
    begun: Instant,
    /// The calls of tools that run: their ids and what they do.
    tools: Vec<(String, String)>,
}

impl Status {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            model: String::new(),
            tokens: 0,
            unsettled: 0,
            cost: Usd::ZERO,
            left: None,
            waits: None,
            rows: Vec::new(),
            seen: BTreeSet::new(),
            finished: Finished::default(),
        }
    }

    pub(super) fn note(&mut self, event: &Event) {
        let who = super::text::who(event);
        if !who.is_empty() && self.seen.insert(who.to_owned()) {
            self.rows.push(Row {
                who: who.to_owned(),
                begun: Instant::now(),
                tools: Vec::new(),
            });
        }
        if !matches!(event.kind, EventKind::Usage { .. }) {
            self.waits = None;
        }
        let row = self.rows.iter_mut().find(|row| row.who == who);
        match &event.kind {
            EventKind::RunStarted {
                model: Some(model), ..
            } if !event.is_delegate => self.model = in_line(model),
            EventKind::TextDelta { text } | EventKind::ReasoningDelta { text } => {
                self.unsettled += u64::try_from(text.len()).unwrap_or(0);
            }
            EventKind::Usage { usage, cost_usd } => {
                self.tokens += usage.input_tokens + usage.output_tokens;
                self.unsettled = 0;
                self.cost += *cost_usd;
            }
            EventKind::Fallback { to, .. } => self.model = in_line(to),
            EventKind::Throttled { reason, .. } => {
                self.waits = Some(format!("waits: {}", in_line(reason)));
            }
            EventKind::Retry { .. } => self.waits = Some("waits to try again".to_owned()),
            EventKind::ToolStarted {
                call_id,
                tool,
                arguments,
            } => {
                if let Some(row) = row {
                    row.tools.push((call_id.clone(), does(tool, arguments)));
                }
            }
            EventKind::StepFinished { .. } => self.rows.retain(|row| row.who != who),
            _ => {}
        }
    }

    /// What a call does that ended; forgets it.
    pub(super) fn ended(&mut self, who: &str, call_id: &str) -> Option<String> {
        let row = self.rows.iter_mut().find(|row| row.who == who)?;
        let at = row.tools.iter().position(|(id, _)| id == call_id)?;
        Some(row.tools.remove(at).1)
    }

    /// The rows for a screen: one for each who works where there are several, and one for the whole.
    pub(super) fn rows(&self, several: bool, columns: usize, most: usize) -> Vec<String> {
        let now = Instant::now();
        let mut shown = Vec::new();
        let working: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| !self.finished.contains(&row.who))
            .collect();
        if several {
            let room = most.saturating_sub(1);
            let listed = if working.len() > room {
                room.saturating_sub(1)
            } else {
                room
            };
            for row in working.iter().take(listed) {
                let took = seconds(now.duration_since(row.begun).as_secs());
                let does = row.tools.last().map_or("thinks", |(_, does)| does.as_str());
                shown.push(fit(&format!("{} · {took} · {does}", row.who), columns));
            }
            if working.len() > listed && room > 0 {
                shown.push(fit(
                    &format!("and {} more", working.len() - listed),
                    columns,
                ));
            }
        }
        let mut parts: Vec<(u8, String)> = Vec::new();
        if several {
            let done = self.seen.len() - working.len();
            parts.push((9, format!("{done} of {} done", self.seen.len())));
        } else if let Some(row) = working.first() {
            parts.push((9, row.who.clone()));
        }
        if !several && !self.model.is_empty() {
            parts.push((2, self.model.clone()));
        }
        let about = if self.unsettled > 0 { "~" } else { "" };
        let tokens = self.tokens + self.unsettled / BYTES_PER_TOKEN;
        parts.push((3, format!("{about}{} tokens", counted(tokens))));
        parts.push((5, money(self.cost)));
        if let Some(left) = self.left {
            let left = (left - self.cost).max(Usd::ZERO);
            parts.push((4, format!("{} left", money(left))));
        }
        parts.push((8, seconds(now.duration_since(self.begun).as_secs())));
        let tool = working
            .iter()
            .rev()
            .find_map(|row| row.tools.last())
            .map(|(_, does)| does.as_str());
        if let Some(does) = tool.filter(|_| !several).or(self.waits.as_deref()) {
            parts.push((7, does.to_owned()));
        }
        shown.push(line(parts, columns));
        shown
    }
}

/// The parts that fit, the least worth left out first.
fn line(mut parts: Vec<(u8, String)>, columns: usize) -> String {
    loop {
        let texts: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
        let line = texts.join(" · ");
        let least = parts.iter().map(|(worth, _)| *worth).min();
        match least.filter(|worth| line.width() > columns && *worth < 7) {
            Some(worth) => parts.retain(|(each, _)| *each != worth),
            None => return fit(&line, columns),
        }
    }
}

/// `950`, `1.2k`, `3.4M`.
fn counted(count: u64) -> String {
    match count {
        0..1_000 => count.to_string(),
        1_000..1_000_000 => format!("{}.{}k", count / 1_000, count % 1_000 / 100),
        _ => format!("{}.{}M", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

/// Dollars with four decimals, rounded down.
fn money(amount: Usd) -> String {
    let parts = amount.pico() / 100_000_000;
    format!("${}.{:04}", parts / 10_000, parts % 10_000)
}

fn seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!("{}:{:02} h", seconds / 3600, seconds % 3600 / 60),
    }
}
