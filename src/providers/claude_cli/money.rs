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
    /// Money by the CLI's own price list.
    pub cost: Usd,
}

/// What one run cost, and what the conversation has cost by its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// This run alone.
    pub run: ModelUsage,
    /// The conversation as the CLI counts it, to tell the next run apart.
    pub total: ModelUsage,
}

/// What a run cost, from all of its result lines and what the conversation had cost before it. A
/// line that tells its own part is believed; of any other the part is the growth of the total.
/// `None` when there is no result line.
pub fn bill(results: &[ResultLine], before: ModelUsage) -> Option<Bill> {
    results.last()?;
    let start = Bill {
        run: ModelUsage::default(),
        total: before,
    };
    Some(results.iter().fold(start, |bill, line| {
        let part = line
            .since_last_result
            .unwrap_or_else(|| growth(line.total, bill.total));
        let mut run = bill.run;
        run.usage += part.usage;
        run.cost += part.cost;
        Bill {
            run,
            total: line.total,
        }
    }))
}

fn growth(now: ModelUsage, before: ModelUsage) -> ModelUsage {
    if now.cost < before.cost || now.usage.total_tokens() < before.usage.total_tokens() {
        // The CLI counts from nothing again: the conversation that it knew is gone.
        return now;
    }
    let less = |now: u64, before: u64| now.saturating_sub(before);
    let (now_usage, old) = (now.usage, before.usage);
    ModelUsage {
        cost: now.cost - before.cost,
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
    let mut sum = ModelUsage::default();
    for model in models
        .as_object()
        .into_iter()
        .flat_map(|models| models.values())
    {
        let tokens = |key: &str| model.get(key).and_then(Value::as_u64).unwrap_or(0);
        let (read, write) = (
            tokens("cacheReadInputTokens"),
            tokens("cacheCreationInputTokens"),
        );
        sum.usage += Usage {
            input_tokens: tokens("inputTokens")
                .saturating_add(read)
                .saturating_add(write),
            output_tokens: tokens("outputTokens"),
            cache_read_tokens: read,
            cache_write_tokens: write,
            cache_write_1h_tokens: tokens("cacheCreationEphemeral1hInputTokens"),
            reasoning_tokens: tokens("thinkingTokens"),
        };
        sum.cost += dollars(model.get("costUSD"));
    }
    sum
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

/// A number of dollars, rounded to the picodollar: the CLI adds floats, whose error is far below.
pub fn dollars(value: Option<&Value>) -> Usd {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast clamps, and a billion dollars is past every budget"
    )]
    let pico = |dollars: f64| (dollars * 1e12).round() as i64;
    Usd::from_pico(value.and_then(Value::as_f64).map_or(0, pico))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(total: i64, since: Option<i64>) -> ResultLine {
        let money = |pico| ModelUsage {
            cost: Usd::from_pico(pico),
            ..ModelUsage::default()
        };
        ResultLine {
            total: money(total),
            since_last_result: since.map(money),
            ..ResultLine::default()
        }
    }

    #[test]
    fn a_run_is_never_charged_what_former_runs_cost() {
        let before = |pico| ModelUsage {
            cost: Usd::from_pico(pico),
            ..ModelUsage::default()
        };
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
        ] {
            let bill = bill(&results, before(old)).unwrap();
            assert_eq!(bill.run.cost, Usd::from_pico(run), "{name}");
            assert_eq!(bill.total.cost, Usd::from_pico(total), "{name}");
        }
        assert_eq!(bill(&[], before(10)), None);
    }

    #[test]
    fn floats_become_exact_money() {
        for (value, pico) in [
            (json!(0.000_958_000_000_000_000_1), 958_000_000),
            (json!(2.415e-05), 24_150_000),
            (json!(0), 0),
            (json!(12), 12_000_000_000_000),
            (json!("1"), 0),
        ] {
            assert_eq!(dollars(Some(&value)), Usd::from_pico(pico), "{value}");
        }
    }
}
