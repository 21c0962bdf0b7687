//! Token counts of the Messages API.

use serde_json::Value;

use crate::providers::json::{tokens, within};
use crate::usage::Usage;

/// All that the `usage` objects of one answer have told.
#[derive(Debug, Default)]
pub(super) struct Told {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    write_1h: Option<u64>,
    write_5m: Option<u64>,
    thinking: Option<u64>,
}

impl Told {
    /// Takes one more `usage` object in. Counts grow while an answer comes, so of each the largest stays:
    /// some servers fill in nothing for what they do not count.
    pub(super) fn add(&mut self, told: &Value) {
        for (known, path) in [
            (&mut self.input, "/input_tokens"),
            (&mut self.output, "/output_tokens"),
            (&mut self.cache_read, "/cache_read_input_tokens"),
            (&mut self.cache_write, "/cache_creation_input_tokens"),
            (
                &mut self.write_1h,
                "/cache_creation/ephemeral_1h_input_tokens",
            ),
            (
                &mut self.write_5m,
                "/cache_creation/ephemeral_5m_input_tokens",
            ),
            (&mut self.thinking, "/output_tokens_details/thinking_tokens"),
        ] {
            *known = (*known).max(within(told, path).and_then(tokens));
        }
    }

    /// The tokens; `None` where nothing was counted. What is read from and written to the cache is told
    /// beside the input, which here includes both.
    pub(super) fn usage(&self) -> Option<Usage> {
        let counts = [self.input, self.output, self.cache_read, self.cache_write];
        counts.iter().flatten().next()?;
        let count = |told: Option<u64>| told.unwrap_or(0);
        let (read, lasting) = (count(self.cache_read), count(self.write_1h));
        let written = count(self.cache_write).max(lasting + count(self.write_5m));
        Some(Usage {
            input_tokens: count(self.input) + read + written,
            output_tokens: count(self.output),
            cache_read_tokens: read,
            cache_write_tokens: written,
            cache_write_1h_tokens: lasting,
            reasoning_tokens: count(self.thinking),
        })
    }
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
    fn the_cache_is_counted_into_the_input() {
        let told = json!({"input_tokens": 10, "output_tokens": 7,
            "cache_read_input_tokens": 100, "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
            "output_tokens_details": {"thinking_tokens": 3}});
        let expected = Usage {
            input_tokens: 140,
            output_tokens: 7,
            cache_read_tokens: 100,
            cache_write_tokens: 30,
            cache_write_1h_tokens: 10,
            reasoning_tokens: 3,
        };
        assert_eq!(usage(&[told]), Some(expected));
        assert_eq!(usage(&[json!({"cache_creation": null})]), None);
    }

    #[test]
    fn the_largest_of_what_was_told_stays() {
        let begun = json!({"input_tokens": 10, "cache_read_input_tokens": 90,
            "cache_creation": {"ephemeral_1h_input_tokens": 20}});
        for ended in [
            json!({"output_tokens": 50}),
            json!({"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 50}),
            json!({"input_tokens": "n/a", "cache_read_input_tokens": null, "output_tokens": 50}),
            json!({"input_tokens": u64::MAX, "cache_creation": {"ephemeral_1h_input_tokens": 0},
                "output_tokens": 50}),
            json!({"input_tokens": 5, "cache_creation": "none", "output_tokens": 50}),
        ] {
            let expected = Usage {
                input_tokens: 120,
                output_tokens: 50,
                cache_read_tokens: 90,
                cache_write_tokens: 20,
                cache_write_1h_tokens: 20,
                reasoning_tokens: 0,
            };
            let told = [begun.clone(), ended.clone(), json!({"output_tokens": 2})];
            assert_eq!(usage(&told), Some(expected), "{ended}");
        }
    }
}
