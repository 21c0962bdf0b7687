//! Token counts of the Messages API.

use serde_json::Value;

use crate::providers::json::{tokens, within};
use crate::usage::Usage;

/// The counts of a `usage` object. What is read from and written to the cache is told beside the
/// input, which here includes both.
pub(super) fn usage(told: &Value) -> Usage {
    let count = |path: &str| within(told, path).and_then(tokens).unwrap_or(0);
    let read = count("/cache_read_input_tokens");
    let lasting = count("/cache_creation/ephemeral_1h_input_tokens");
    let brief = count("/cache_creation/ephemeral_5m_input_tokens");
    let written = count("/cache_creation_input_tokens").max(lasting + brief);
    Usage {
        input_tokens: count("/input_tokens") + read + written,
        output_tokens: count("/output_tokens"),
        cache_read_tokens: read,
        cache_write_tokens: written,
        cache_write_1h_tokens: lasting,
        reasoning_tokens: count("/output_tokens_details/thinking_tokens"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        assert_eq!(usage(&told), expected);
        assert_eq!(usage(&json!({"cache_creation": null})), Usage::default());
    }
}
