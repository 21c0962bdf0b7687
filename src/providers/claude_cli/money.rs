//! What a run of the CLI cost: this run alone, though the CLI tells of whole conversations.

use serde_json::Value;

use crate::providers::json::within;
use crate::usage::{Usage, Usd};

use super::stream::ResultLine;

/// Tokens and money over all models, as a result line tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelUsage {
    /// Tokens.
    pub usage: Usage,
    /// Money by the CLI's own price list, more than nothing; `None` where it tells none.
    pub cost: Option<Usd>,
}

impl ModelUsage {
    /// Both together; what one of them cost is not known where either is told without a cost.
    fn and(self, other: Self) -> Self {
        if self == Self::default() {
            return other;
        }
        if other == Self::default() {
            return self;
        }
        let mut usage = self.usage;
        usage += other.usage;
        Self {
            usage,
            cost: self.cost.zip(other.cost).map(|(one, two)| one + two),
        }
    }
}

/// What one run cost, and what the conversation has cost by its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// This run alone.
    pub run: ModelUsage,
    /// The conversation as the CLI counts it, to tell the next run apart.
    pub total: ModelUsage,
}

/// What a run cost, from all of its result lines, what the conversation had cost before it, and the
/// tokens that its replies told. A line that tells its own part is believed; of any other the part is
/// the growth of the total. `None` when there is no result line.
pub fn bill(results: &[ResultLine], before: ModelUsage, heard: Usage) -> Option<Bill> {
    results.last()?;
    let start = Bill {
        run: ModelUsage::default(),
        total: before,
    };
    let mut bill = results.iter().fold(start, |bill, line| {
        let growth = growth(line.total, bill.total);
        let part = line.since_last_result.map_or(growth, |part| ModelUsage {
            cost: part.cost.or(growth.cost),
            ..part
        });
        Bill {
            run: bill.run.and(part),
            total: line.total,
        }
    });
    let is_growth = before != ModelUsage::default()
        && results.iter().any(|line| line.since_last_result.is_none());
    let told = |part: ModelUsage| part.usage.total_tokens();
    if is_growth && told(bill.run) < heard.total_tokens() {
        // It counts each run alone, where its total is what was heard; else nobody knows what it counts.
        if told(bill.total) == heard.total_tokens() {
            bill.run = bill.total;
        } else if told(bill.total) > 0 {
            bill.run.cost = None;
        }
        bill.run.usage = heard;
    } else if bill.run.usage.is_empty() {
        bill.run.usage = heard;
    }
    Some(bill)
}

fn growth(now: ModelUsage, before: ModelUsage) -> ModelUsage {
    let costs_less = now
        .cost
        .zip(before.cost)
        .is_some_and(|(now, before)| now < before);
    if costs_less || now.usage.total_tokens() < before.usage.total_tokens() {
        // The CLI counts from nothing again: the conversation that it knew is gone.
        return now;
    }
    let less = |now: u64, before: u64| now.saturating_sub(before);
    let (now_usage, old) = (now.usage, before.usage);
    let cost = match before.cost {
        None if before.usage.is_empty() => now.cost,
        known => now.cost.zip(known).map(|(now, before)| now - before),
    };
    ModelUsage {
        cost: cost.filter(|cost| *cost > Usd::ZERO),
        usage: Usage {
            input_tokens: less(now_usage.input_tokens, old.input_tokens),
            output_tokens: less(now_usage.output_tokens, old.output_tokens),
            cache_read_tokens: less(now_usage.cache_read_tokens, old.cache_read_tokens),
            cache_write_tokens: less(now_usage.cache_write_tokens, old.cache_write_tokens),
            cache_write_1h_tokens: less(now_usage.cache_write_1h_tokens, old.cache_write_1h_tokens),
            reasoning_tokens: less(now_usage.reasoning_tokens, old.reasoning_tokens),
        },
    }
}

/// The sum of a `{model: {inputTokens, …, costUSD}}` object.
pub fn model_usage(models: &Value) -> ModelUsage {
    let models = models.as_object().into_iter().flatten();
    let each = models.map(|(_, model)| {
        let tokens = |key: &str| model.get(key).and_then(Value::as_u64).unwrap_or(0);
        let (read, write) = (
            tokens("cacheReadInputTokens"),
            tokens("cacheCreationInputTokens"),
        );
        ModelUsage {
            usage: Usage {
                input_tokens: tokens("inputTokens")
                    .saturating_add(read)
                    .saturating_add(write),
                output_tokens: tokens("outputTokens"),
                cache_read_tokens: read,
                cache_write_tokens: write,
                cache_write_1h_tokens: tokens("cacheCreationEphemeral1hInputTokens"),
                reasoning_tokens: tokens("thinkingTokens"),
            },
            cost: dollars(model.get("costUSD")),
        }
    });
    each.fold(ModelUsage::default(), ModelUsage::and)
}

/// The usage of one reply as the API tells it.
pub fn api_usage(usage: &Value) -> Usage {
    let tokens = |path: &str| within(usage, path).and_then(Value::as_u64).unwrap_or(0);
    let (read, write) = (
        tokens("/cache_read_input_tokens"),
        tokens("/cache_creation_input_tokens"),
    );
    Usage {
        input_tokens: tokens("/input_tokens")
            .saturating_add(read)
            .saturating_add(write),
        output_tokens: tokens("/output_tokens"),
        cache_read_tokens: read,
        cache_write_tokens: write,
        cache_write_1h_tokens: tokens("/cache_creation/ephemeral_1h_input_tokens"),
        reasoning_tokens: tokens("/output_tokens_details/thinking_tokens"),
    }
}

/// A number of dollars, rounded to the picodollar: the CLI adds floats, whose error is far below. `None`
/// for nothing and less: a CLI that has no price for a model tells of nothing.
pub fn dollars(value: Option<&Value>) -> Option<Usd> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast clamps, and a billion dollars is past every budget"
    )]
    let pico = |dollars: f64| (dollars * 1e12).round() as i64;
    let cost = Usd::from_pico(pico(value?.as_f64()?));
    Some(cost).filter(|cost| *cost > Usd::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// So much money, and as many tokens.
    fn money(pico: i64) -> ModelUsage {
        ModelUsage {
            cost: Some(Usd::from_pico(pico)).filter(|cost| *cost > Usd::ZERO),
            usage: tokens(pico.unsigned_abs()),
        }
    }

    fn tokens(input_tokens: u64) -> Usage {
        Usage {
            input_tokens,
            ..Usage::default()
        }
    }

    fn uncosted(input_tokens: u64) -> ModelUsage {
        ModelUsage {
            cost: None,
            usage: tokens(input_tokens),
        }
    }

    fn line(total: ModelUsage, since: Option<ModelUsage>) -> ResultLine {
        ResultLine {
            total,
            since_last_result: since,
            ..ResultLine::default()
        }
    }

    #[test]
    fn a_run_is_never_charged_what_former_runs_cost() {
        let line = |total, since: Option<i64>| line(money(total), since.map(money));
        for (name, results, old, run, total) in [
            ("first run", vec![line(10, Some(10))], 0, 10, 10),
            ("resumed", vec![line(25, Some(15))], 10, 15, 25),
            ("resumed, total only", vec![line(25, None)], 10, 15, 25),
            (
                "two segments",
                vec![line(20, Some(10)), line(25, Some(5))],
                10,
                15,
                25,
            ),
            (
                "one of them silent",
                vec![line(20, Some(10)), line(25, None)],
                10,
                15,
                25,
            ),
            (
                "two totals",
                vec![line(20, None), line(25, None)],
                10,
                15,
                25,
            ),
            ("counting starts again", vec![line(4, None)], 10, 4, 4),
            ("nothing was asked", vec![line(10, None)], 10, 0, 10),
        ] {
            let bill = bill(&results, money(old), tokens(0)).unwrap();
            assert_eq!(bill.run, money(run), "{name}");
            assert_eq!(bill.total, money(total), "{name}");
        }
        assert_eq!(bill(&[], money(10), tokens(5)), None);
    }

    #[test]
    fn what_a_line_does_not_tell_is_not_nothing() {
        let only = |pico| ModelUsage {
            usage: Usage::default(),
            ..money(pico)
        };
        let with = |pico, input_tokens| ModelUsage {
            usage: tokens(input_tokens),
            ..money(pico)
        };
        for (name, results, before, heard, run) in [
            (
                "no cost",
                vec![line(uncosted(10), None)],
                0,
                10,
                uncosted(10),
            ),
            ("nothing", vec![line(only(0), None)], 0, 10, uncosted(10)),
            (
                "a cost alone",
                vec![line(only(7), None)],
                0,
                10,
                with(7, 10),
            ),
            (
                "a part without a cost",
                vec![line(money(25), Some(uncosted(15)))],
                10,
                15,
                money(15),
            ),
            (
                "a segment without a cost",
                vec![line(money(10), Some(money(10))), line(uncosted(15), None)],
                0,
                15,
                uncosted(15),
            ),
            (
                "each run alone, as before",
                vec![line(money(10), None)],
                10,
                10,
                money(10),
            ),
            (
                "each run alone, a longer one",
                vec![line(money(25), None)],
                10,
                25,
                money(25),
            ),
            (
                "a reply that the total leaves out",
                vec![line(money(100), None)],
                100,
                10,
                uncosted(10),
            ),
            (
                "a former run without a cost",
                vec![line(with(25, 25), None)],
                -10,
                15,
                uncosted(15),
            ),
        ] {
            // A negative amount stands for tokens without a cost.
            let bill = bill(&results, money(before), tokens(heard)).unwrap();
            assert_eq!(bill.run, run, "{name}");
        }
    }

    #[test]
    fn models_are_summed() {
        let told = |one: Value, two: Value| {
            model_usage(&json!({"one": {"inputTokens": 4, "costUSD": one},
                "two": {"inputTokens": 3, "outputTokens": 0, "costUSD": two}}))
        };
        let cost = |dollars: i64| Some(Usd::from_pico(dollars * 1_000_000_000_000));
        for (one, two, expected) in [
            (json!(1), json!(2), cost(3)),
            (json!(1), json!("2"), None),
            (json!(1), json!(0), None),
        ] {
            let usage = tokens(7);
            let expected = ModelUsage {
                usage,
                cost: expected,
            };
            assert_eq!(told(one, two), expected);
        }
        assert_eq!(model_usage(&Value::Null), ModelUsage::default());
    }

    #[test]
    fn floats_become_exact_money() {
        for (value, pico) in [
            (json!(0.000_958_000_000_000_000_1), Some(958_000_000)),
            (json!(2.415e-05), Some(24_150_000)),
            (json!(12), Some(12_000_000_000_000)),
            (json!(0), None),
            (json!(-1), None),
            (json!("1"), None),
        ] {
            assert_eq!(dollars(Some(&value)), pico.map(Usd::from_pico), "{value}");
        }
        assert_eq!(dollars(None), None);
    }
}
