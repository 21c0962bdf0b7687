//! `/costs` and `/budget`.

use std::fmt::Write;
use std::time::SystemTime;

use super::Repl;
use super::commands::usage;
use crate::cli;
use crate::costs::report::{self, Filter};
use crate::error::{ErrorClass, OrchError};
use crate::usage::Usd;

const WORDS: &str =
    "/costs [since DAY] [until DAY] [run ID] [agent NAME] [json | csv | export], or /costs reset";

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Csv,
    Export,
}

/// What `/costs` is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Reset,
    Report(Filter, Form),
}

/// Reads the words behind `/costs`; the names of the flags, their dashes optional.
fn asked(words: &str, now: SystemTime) -> Result<Asked, OrchError> {
    if matches!(words, "reset" | "--reset") {
        return Ok(Asked::Reset);
    }
    let mut words = words.split_whitespace();
    let (mut filter, mut form) = (Filter::default(), None);
    let wrong = |error: report::PeriodError| usage(error.to_string(), WORDS);
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").unwrap_or(word);
        let mut value = || {
            let value = words.next().map(str::to_owned);
            value.ok_or_else(|| usage(format!("`{word}` needs a value"), WORDS))
        };
        match name {
            "reset" => return Err(usage("`/costs reset` takes nothing beside it", WORDS)),
            "since" => filter.since = Some(report::since(&value()?, now).map_err(wrong)?),
            "until" => filter.until = Some(report::until(&value()?, now).map_err(wrong)?),
            "run" => filter.run = Some(value()?),
            "agent" => filter.agent = Some(value()?),
            "json" | "csv" | "export" if form.is_some() => {
                return Err(usage(format!("`{word}` is a second form"), WORDS));
            }
            "json" => form = Some(Form::Json),
            "csv" => form = Some(Form::Csv),
            "export" => form = Some(Form::Export),
            _ => return Err(usage(format!("`/costs` knows no `{word}`"), WORDS)),
        }
    }
    let filter = filter.ordered();
    let filter = filter.map_err(|error| usage(error.to_string(), WORDS))?;
    Ok(Asked::Report(filter, form.unwrap_or(Form::Text)))
}

impl Repl<'_> {
    pub(super) async fn costs(&self, arguments: &str) -> Result<(), OrchError> {
        let (filter, form) = match asked(arguments, SystemTime::now())? {
            Asked::Reset => {
                self.orchestrator.reset_costs().await?;
                self.say("a new count begins; nothing was deleted");
                return Ok(());
            }
            Asked::Report(filter, form) => (self.orchestrator.known(filter)?, form),
        };
        let from = &self.orchestrator;
        let text = match form {
            Form::Text => cli::costs_text(from, &filter)?,
            Form::Export => format!("{:#}", cli::costs_export(from, &filter)?),
            Form::Json => {
                let report = from.report(&filter)?;
                format!("{:#}", serde_json::to_value(&report).unwrap_or_default())
            }
            Form::Csv => {
                let mut text = String::new();
                cli::costs_csv(from, &filter, |line| {
                    text.push_str(line);
                    Ok(())
                })?;
                text
            }
        };
        self.say(text.trim_end());
        Ok(())
    }

    /// Shows the budgets; with an amount, caps what a conversation of this session may cost over its life, with what is
    /// asked from within it.
    pub(super) fn budget(&mut self, amount: &str) -> Result<(), OrchError> {
        if !amount.is_empty() {
            self.options.session_budget = match amount {
                "none" => None,
                amount => Some(cli::parse_budget(amount).map_err(|error| {
                    error.with_hint("`/budget 0.50` sets a cap, `/budget none` lifts it")
                })?),
            };
            self.orchestrator = self.orchestrator.renewed(None, self.options.clone());
        }
        let settings = &self.orchestrator.config().document.settings.budget;
        let limit = self.options.session_budget.or(settings.session_usd);
        let spending = match self.conversations.get(&self.agent) {
            Some((session, _)) => {
                let charged = self.orchestrator.charged_session(session)?;
                let found = report::of_session(self.store()?, &charged);
                found.map_err(|error| {
                    OrchError::new(ErrorClass::Failed, "the ledger cannot be read")
                        .caused_by(&error)
                })?
            }
            None => crate::costs::Spending::default(),
        };
        let mut text = line("this conversation", spending.spent, spending.held, limit);
        let report = self.orchestrator.report(&Filter::default())?;
        for budget in &report.budgets {
            let (spent, held) = (budget.used_usd, budget.held_usd);
            text.push_str(&line(budget.budget, spent, held, budget.limit_usd));
        }
        self.say(text.trim_end());
        Ok(())
    }
}

fn line(name: &str, spent: Usd, held: Usd, limit: Option<Usd>) -> String {
    let mut line = format!("{name}: ${spent} spent, ${held} held, ");
    // Writing to a string cannot fail.
    _ = match limit {
        Some(limit) => {
            let left = (limit - spent - held).at_least_zero();
            writeln!(line, "of ${limit}: ${left} left")
        }
        None => writeln!(line, "no limit"),
    };
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_costs_are_those_of_the_flags() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_hours(498_753);
        let report = |filter, form| Ok(Asked::Report(filter, form));
        let day = |day: &str| report::since(day, now).ok();
        for (words, expected) in [
            ("", report(Filter::default(), Form::Text)),
            ("reset", Ok(Asked::Reset)),
            (
                "since 2026-11-01 --until 2026-11-23 csv",
                report(
                    Filter {
                        since: day("2026-11-01"),
                        until: day("2026-11-24"),
                        ..Filter::default()
                    },
                    Form::Csv,
                ),
            ),
            (
                "--run r --agent a --json",
                report(
                    Filter {
                        run: Some("r".to_owned()),
                        agent: Some("a".to_owned()),
                        ..Filter::default()
                    },
                    Form::Json,
                ),
            ),
        ] {
            let found = asked(words, now).map_err(|error| error.message);
            assert_eq!(found, expected, "{words}");
        }
        for (words, message) in [
            ("since", "`since` needs a value"),
            ("reset please", "`/costs reset` takes nothing beside it"),
            ("since 7d reset", "`/costs reset` takes nothing beside it"),
            ("csv json", "`json` is a second form"),
            ("frobnicate", "`/costs` knows no `frobnicate`"),
            ("--until soon", "`soon` is no time such as"),
            (
                "since 2026-11-02 until 2026-11-01",
                "`since` is not before `until`",
            ),
        ] {
            let error = asked(words, now).unwrap_err();
            assert!(error.message.starts_with(message), "{error:?}");
            assert_eq!(error.hint.as_deref(), Some(WORDS));
        }
    }
}
