//! Token counts of the chat-completions protocol, in every vendor's dialect.

use serde_json::Value;

use crate::providers::json::{tokens, within};
use crate::usage::{Usage, Usd};

/// xAI's unit of cost: 10⁻¹⁰ dollars, a hundred picodollars.
const PICO_A_TICK: f64 = 100.0;

/// The counts of a `usage` object; `None` when it has none.
pub(super) fn usage(told: &Value) -> Option<Usage> {
    let count = |names: &[&str]| names.iter().find_map(|name| tokens(within(told, name)?));
    let input = count(&["/prompt_tokens", "/input_tokens"]);
    let output = count(&["/completion_tokens", "/output_tokens"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    let (input, output) = (input.unwrap_or(0), output.unwrap_or(0));
    let reasoning = count(&[
        "/completion_tokens_details/reasoning_tokens",
        "/output_tokens_details/reasoning_tokens",
    ])
    .unwrap_or(0);
    // xAI keeps reasoning apart from the completion, all others count it in.
    let total = count(&["/total_tokens"]);
    let apart = reasoning > 0 && total == Some(input + output + reasoning);
    Some(Usage {
        input_tokens: input,
        output_tokens: if apart { output + reasoning } else { output },
        cache_read_tokens: count(&[
            "/prompt_tokens_details/cached_tokens",
            "/input_tokens_details/cached_tokens",
            "/prompt_cache_hit_tokens",
        ])
        .unwrap_or(0)
        .min(input),
        cache_write_tokens: count(&["/prompt_tokens_details/cache_write_tokens"])
            .unwrap_or(0)
            .min(input),
        cache_write_1h_tokens: 0,
        reasoning_tokens: reasoning,
    })
}

/// The cost that OpenRouter (dollars) and xAI (ticks) tell.
pub(super) fn cost(told: &Value) -> Option<Usd> {
    let dollars = told.get("cost").and_then(Value::as_f64);
    let ticks = told.get("cost_in_usd_ticks").and_then(Value::as_f64);
    let pico = dollars
        .map(|dollars| dollars * 1e12)
        .or_else(|| ticks.map(|ticks| ticks * PICO_A_TICK))?
        .round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to be within what a price of one call can be"
    )]
    (0.0..=1e18)
        .contains(&pico)
        .then(|| Usd::from_pico(pico as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_dialect_comes_to_one_meaning() {
        let plain = Usage {
            input_tokens: 10,
            output_tokens: 5,
            ..Usage::default()
        };
        for (told, expected) in [
            (json!({}), None),
            (json!({"prompt_tokens": null, "cost": 1}), None),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5}),
                Some(plain),
            ),
            (
                json!({"prompt_tokens": 10.0, "completion_tokens": 5.0}),
                Some(plain),
            ),
            (json!({"input_tokens": 10, "output_tokens": 5}), Some(plain)),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
                    "completion_tokens_details": {"reasoning_tokens": 2}}),
                Some(Usage {
                    cache_read_tokens: 4,
                    cache_write_tokens: 3,
                    reasoning_tokens: 2,
                    ..plain
                }),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5,
                    "prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4}),
                Some(Usage {
                    cache_read_tokens: 6,
                    ..plain
                }),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22,
                    "completion_tokens_details": {"reasoning_tokens": 7}}),
                Some(Usage {
                    output_tokens: 12,
                    reasoning_tokens: 7,
                    ..plain
                }),
            ),
        ] {
            assert_eq!(usage(&told), expected, "{told}");
        }
    }

    #[test]
    fn told_costs_are_exact_to_the_picodollar() {
        for (told, pico) in [
            (json!({"cost": 0.00123}), Some(1_230_000_000)),
            (json!({"cost": 1.2e-5}), Some(12_000_000)),
            (json!({"cost": 0}), Some(0)),
            (json!({"cost": -1}), None),
            (json!({"cost": 1e300}), None),
            (json!({"cost": null}), None),
            (
                json!({"cost_in_usd_ticks": 37_756_000}),
                Some(3_775_600_000),
            ),
            (json!({}), None),
        ] {
            assert_eq!(cost(&told), pico.map(Usd::from_pico), "{told}");
        }
    }
}
