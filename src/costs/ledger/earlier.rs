//! What earlier processes were charged for a run that goes on.

use std::collections::BTreeMap;

use rusqlite::params;
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::Error;

use super::settlement::NOT_SENT;
use super::{Charges, Ledger};
use crate::store::StoreError;
use crate::usage::{CostSource, Usage, Usd};

/// What the attempts of a run were charged by now. What is held for those whose process died stays apart,
/// as in every report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier(BTreeMap<Part, Charges>);

/// The step, empty where there is none, and the agent that was asked first: the one that asked the model, or the
/// outermost of those that delegated to it.
type Part = (String, String);

impl Earlier {
    /// Of the whole run.
    pub fn whole(&self) -> Charges {
        sum(self.0.values())
    }

    /// Of an agent and of all that it called.
    pub fn of_agent(&self, name: &str) -> Charges {
        sum(self
            .0
            .iter()
            .filter(|((_, agent), _)| agent == name)
            .map(|(_, charges)| charges))
    }

    /// Of a step, or of an item or a candidate of one, by its label; with all within it.
    pub fn of_step(&self, label: &str) -> Charges {
        let from = (label.to_owned(), String::new());
        let alike = self.0.range(from..);
        sum(alike
            .map_while(|((step, _), charges)| Some((step.strip_prefix(label)?, charges)))
            .filter(|(rest, _)| !continues_a_name(rest))
            .map(|(_, charges)| charges))
    }
}

/// Whether it is the rest of a longer name of a step: `one` is no part of `on`, `on/e`, `on[1]` and `on#2` are.
fn continues_a_name(rest: &str) -> bool {
    rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn sum<'a>(all: impl Iterator<Item = &'a Charges>) -> Charges {
    let mut whole = Charges::default();
    all.for_each(|charges| whole += *charges);
    whole
}

impl Ledger {
    /// What a run that no process works on was charged so far.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn earlier(&self, run_id: &str) -> Result<Earlier, StoreError> {
        let run_id = run_id.to_owned();
        self.store.read(move |connection| {
            let mut statement = connection.prepare(
                "SELECT coalesce(step, ''), coalesce(delegators ->> '$[0]', agent), input_tokens,
                     output_tokens, cache_read_tokens, cache_write_tokens, cache_write_1h_tokens,
                     reasoning_tokens, cost, cost_source
                 FROM attempts WHERE run_id = ?1 AND outcome <> ?2",
            )?;
            let mut rows = statement.query(params![run_id, NOT_SENT])?;
            let mut earlier = Earlier::default();
            while let Some(row) = rows.next()? {
                let tokens = |column: usize| -> rusqlite::Result<u64> {
                    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
                };
                let usage = Usage {
                    input_tokens: tokens(2)?,
                    output_tokens: tokens(3)?,
                    cache_read_tokens: tokens(4)?,
                    cache_write_tokens: tokens(5)?,
                    cache_write_1h_tokens: tokens(6)?,
                    reasoning_tokens: tokens(7)?,
                };
                let source: Option<String> = row.get(9)?;
                let part = earlier.0.entry((row.get(0)?, row.get(1)?)).or_default();
                part.attempts = part.attempts.saturating_add(1);
                part.charge(usage, Usd::from_pico(row.get(8)?), named(source.as_deref()));
            }
            Ok(earlier)
        })
    }
}

/// A source as rows name it.
fn named(source: Option<&str>) -> CostSource {
    let read = |name: &str| {
        let name: serde::de::value::StrDeserializer<'_, Error> = name.into_deserializer();
        CostSource::deserialize(name).ok()
    };
    source.and_then(read).unwrap_or(CostSource::Estimated)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::costs::{Attempt, Caps, Ended, Outcome, PriceOverride, Prices, Spent};
    use crate::store::Store;

    #[tokio::test]
    async fn a_run_and_its_parts_find_what_they_were_charged() {
        let ledger = Ledger::new(Store::in_memory().unwrap(), Arc::new(Prices::built_in()));
        let dollar = Usd::from_pico(1_000_000_000_000);
        let run = Spent::after(Charges::default());
        for (run_id, step, agent, delegators, ended, tokens) in [
            ("r", Some("on"), "a", &[][..], Ended::Answered, 1),
            ("r", Some("on#2"), "a", &[], Ended::Answered, 2),
            ("r", Some("on[1]/in"), "a", &[], Ended::Answered, 4),
            ("r", Some("one"), "a", &[], Ended::Answered, 8),
            ("r", None, "b", &["a", "c"], Ended::Answered, 16),
            ("r", None, "b", &[], Ended::not_sent(), 32),
            ("other", Some("on"), "a", &[], Ended::Answered, 64),
        ] {
            let attempt = Attempt {
                run_id: run_id.into(),
                step: step.map(Into::into),
                agent: agent.into(),
                delegators: delegators.iter().map(|name| (*name).into()).collect(),
                spent: Spent::part_of(&run, Charges::default()),
                model: "lab/model".to_owned(),
                price: Some(PriceOverride {
                    input: Usd::ZERO,
                    output: Usd::from_pico(dollar.pico() * 1_000_000),
                    cache_read: None,
                    cache_write: None,
                }),
                max_output_tokens: 100,
                ..Attempt::default()
            };
            let hold = ledger
                .start_attempt(&attempt, &Caps::default(), Arc::default())
                .await
                .unwrap();
            let usage = Usage {
                input_tokens: 1,
                output_tokens: tokens,
                ..Usage::default()
            };
            let outcome = Outcome {
                ended,
                usage: Some(usage),
                ..Outcome::default()
            };
            hold.settle(outcome).await.unwrap();
        }
        let earlier = ledger.earlier("r").unwrap();
        let dollars = |charges: Charges| {
            assert_eq!(charges.usage.input_tokens, u64::from(charges.attempts));
            assert_eq!(charges.cost, dollar.times(charges.usage.output_tokens));
            (charges.attempts, charges.usage.output_tokens)
        };
        assert_eq!(dollars(earlier.whole()), (5, 31));
        for (label, expected) in [
            ("on", (3, 7)),
            ("on[1]", (1, 4)),
            ("on[1]/in", (1, 4)),
            ("on#2", (1, 2)),
            ("one", (1, 8)),
            ("o", (0, 0)),
        ] {
            assert_eq!(dollars(earlier.of_step(label)), expected, "{label}");
        }
        assert_eq!(dollars(earlier.of_agent("a")), (5, 31));
        assert_eq!(dollars(earlier.of_agent("b")), (0, 0));
        // What a process enters itself is the same.
        assert_eq!(dollars(run.so_far()), (6, 95));
        assert_eq!(ledger.earlier("none"), Ok(Earlier::default()));
    }
}
