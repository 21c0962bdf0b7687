//! Token counts and costs of the chat-completions protocol, in every vendor's dialect.

use serde_json::Value;

use crate::providers::json::{tokens, within};
use crate::usage::{Usage, Usd};

/// xAI's unit of cost: 10⁻¹⁰ dollars, a hundred picodollars.
const PICO_A_TICK: f64 = 100.0;

/// All that the `usage` objects of one answer have told.
#[derive(Debug, Default)]
pub(super) struct Told {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    reasoning: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    cost: Option<Usd>,
}

impl Told {
    /// Takes one more `usage` object in. Of each count the largest stays: some servers repeat a growing
    /// one, some tell each once, and some fill in nothing for what they do not count.
    pub(super) fn add(&mut self, told: &Value) {
        let count = |names: &[&str]| {
            let counts = names.iter().filter_map(|name| tokens(within(told, name)?));
            counts.max()
        };
        let all: [(&mut Option<u64>, &[&str]); 6] = [
            (&mut self.input, &["/prompt_tokens", "/input_tokens"]),
            (&mut self.output, &["/completion_tokens", "/output_tokens"]),
            (&mut self.total, &["/total_tokens"]),
            (
                &mut self.reasoning,
                &[
                    "/completion_tokens_details/reasoning_tokens",
                    "/output_tokens_details/reasoning_tokens",
                ],
            ),
            (
                &mut self.cache_read,
                &[
                    "/prompt_tokens_details/cached_tokens",
                    "/input_tokens_details/cached_tokens",
                    "/prompt_cache_hit_tokens",
                ],
            ),
            (
                &mut self.cache_write,
                &["/prompt_tokens_details/cache_write_tokens"],
            ),
        ];
        for (known, names) in all {
            *known = (*known).max(count(names));
        }
        self.cost = self.cost.max(cost(told));
    }

    /// The tokens; `None` where neither prompt nor answer were counted.
    pub(super) fn usage(&self) -> Option<Usage> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let total = self.total.unwrap_or(0);
        let reasoning = self.reasoning.unwrap_or(0);
        let mut output = self.output.unwrap_or(0);
        // A part that is more than the whole was counted beside it.
        if reasoning > output {
            output += reasoning;
        }
        let mut input = self.input.unwrap_or(total.saturating_sub(output));
        let (read, write) = (self.cache_read.unwrap_or(0), self.cache_write.unwrap_or(0));
        if self.input.is_some() && read + write > input {
            input += read + write;
        }
        Some(Usage {
            input_tokens: input,
            // What a total has more than both was generated as well: xAI's reasoning, Gemini's thoughts.
            output_tokens: output.max(total.saturating_sub(input)),
            cache_read_tokens: read.min(input),
            cache_write_tokens: write.min(input),
            cache_write_1h_tokens: 0,
            reasoning_tokens: reasoning,
        })
    }

    /// The cost.
    pub(super) fn cost(&self) -> Option<Usd> {
        self.cost
    }
}

/// The cost that OpenRouter (dollars) and xAI (ticks) tell. With a key of the user's own at the vendor
/// behind it, OpenRouter's cost is its fee alone, and what that vendor charges comes to it: without that,
/// the cost is not known.
fn cost(told: &Value) -> Option<Usd> {
    let number = |path| within(told, path).and_then(Value::as_f64);
    let (fee, upstream) = (
        number("/cost"),
        number("/cost_details/upstream_inference_cost").filter(|upstream| *upstream > 0.0),
    );
    let dollars = match told.get("is_byok").and_then(Value::as_bool) {
        Some(true) => Some(fee.unwrap_or(0.0) + upstream?),
        _ => fee,
    };
    let ticks = number("/cost_in_usd_ticks");
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

    fn usage(told: &[Value]) -> Option<Usage> {
        let mut all = Told::default();
        for told in told {
            all.add(told);
        }
        all.usage()
    }

    #[test]
    fn every_dialect_comes_to_one_meaning() {
        let plain = Usage {
            input_tokens: 10,
            output_tokens: 5,
            ..Usage::default()
        };
        let reasoned = |output_tokens, reasoning_tokens| Usage {
            output_tokens,
            reasoning_tokens,
            ..plain
        };
        for (told, expected) in [
            (json!({}), None),
            (json!({"prompt_tokens": null, "cost": 1}), None),
            (json!({"total_tokens": 15}), None),
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
                json!({"prompt_tokens": 10, "total_tokens": 15}),
                Some(plain),
            ),
            (
                json!({"prompt_tokens": "n/a", "completion_tokens": 5, "total_tokens": 15}),
                Some(plain),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 3}),
                Some(plain),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15,
                    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
                    "completion_tokens_details": {"reasoning_tokens": 2}}),
                Some(Usage {
                    cache_read_tokens: 4,
                    cache_write_tokens: 3,
                    ..reasoned(5, 2)
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
            // Reasoning beside the completion: told by the total, or more than the completion has.
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22,
                    "completion_tokens_details": {"reasoning_tokens": 7}}),
                Some(reasoned(12, 7)),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 18,
                    "completion_tokens_details": {"reasoning_tokens": 3}}),
                Some(reasoned(8, 3)),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5,
                    "completion_tokens_details": {"reasoning_tokens": 7}}),
                Some(reasoned(12, 7)),
            ),
            (
                json!({"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 17,
                    "completion_tokens_details": {"reasoning_tokens": 7}}),
                Some(reasoned(7, 7)),
            ),
            // Thoughts that only the total tells.
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 55}),
                Some(reasoned(45, 0)),
            ),
            // A cache beside the prompt.
            (
                json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 1035,
                    "prompt_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 20}}),
                Some(Usage {
                    input_tokens: 1030,
                    cache_read_tokens: 1000,
                    cache_write_tokens: 20,
                    ..plain
                }),
            ),
            (
                json!({"completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1000}}),
                Some(Usage {
                    input_tokens: 0,
                    ..plain
                }),
            ),
        ] {
            assert_eq!(usage(std::slice::from_ref(&told)), expected, "{told}");
        }
    }

    #[test]
    fn the_largest_of_what_was_told_stays() {
        let both = json!({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150});
        for told in [
            vec![both.clone()],
            vec![both.clone(), both.clone()],
            vec![
                both.clone(),
                json!({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}),
            ],
            vec![
                both.clone(),
                json!({"prompt_tokens": 100, "completion_tokens": 0}),
            ],
            vec![
                both.clone(),
                json!({"prompt_tokens": "n/a", "completion_tokens": u64::MAX}),
            ],
            vec![
                json!({"prompt_tokens": 100, "completion_tokens": 1}),
                both.clone(),
            ],
            vec![
                json!({"prompt_tokens": 100}),
                json!({"completion_tokens": 50}),
            ],
            vec![
                json!({"prompt_tokens": 100, "completion_tokens": 0, "total_tokens": 100}),
                json!({"prompt_tokens": 0, "completion_tokens": 50, "total_tokens": 50}),
            ],
        ] {
            let usage = usage(&told).unwrap();
            let counts = (usage.input_tokens, usage.output_tokens);
            assert_eq!(counts, (100, 50), "{told:?}");
        }
        let mut all = Told::default();
        all.add(&json!({"cost": 0.5}));
        all.add(&json!({"cost": 0}));
        assert_eq!(all.cost(), Some(Usd::from_pico(500_000_000_000)));
    }

    #[test]
    fn told_costs_are_exact_to_the_picodollar() {
        let upstream = |cost: Value| json!({"upstream_inference_cost": cost});
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
            (
                json!({"cost": 0, "is_byok": true, "cost_details": upstream(json!(0.036))}),
                Some(36_000_000_000),
            ),
            (
                json!({"cost": 0.002, "is_byok": true, "cost_details": upstream(json!(0.036))}),
                Some(38_000_000_000),
            ),
            (
                json!({"is_byok": true, "cost_details": upstream(json!(0.036))}),
                Some(36_000_000_000),
            ),
            (json!({"cost": 0.002, "is_byok": true}), None),
            (
                json!({"cost": 0.002, "is_byok": true, "cost_details": upstream(json!(null))}),
                None,
            ),
            (
                json!({"cost": 0.002, "is_byok": true, "cost_details": upstream(json!(0))}),
                None,
            ),
            (
                json!({"cost": 0.036, "is_byok": false, "cost_details": upstream(json!(0.036))}),
                Some(36_000_000_000),
            ),
        ] {
            assert_eq!(cost(&told), pico.map(Usd::from_pico), "{told}");
        }
    }
}
