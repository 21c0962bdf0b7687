//! Looking into JSON whose shape nobody promises.

use serde_json::Value;

static NULL: Value = Value::Null;

/// The value under a key; null when there is none.
pub(super) fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&NULL)
}

/// The value at a path such as `/usage/output_tokens`: keys only, and nothing is copied to look them up.
pub(super) fn within<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('/').skip(1);
    keys.try_fold(value, |value, key| value.get(key))
}

/// The text under a key; empty when there is none.
pub(super) fn text_at<'a>(value: &'a Value, key: &str) -> &'a str {
    at(value, key).as_str().unwrap_or_default()
}

/// More tokens than this are in no call: whoever tells more has not counted. Sums of what is below cannot
/// overflow.
const MOST_TOKENS: u64 = 1_000_000_000;

/// A count of tokens, which some servers write as a float; `None` for what can be none.
pub(super) fn tokens(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a count"
    )]
    let whole = value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        (0.0..=1e15).contains(&float).then_some(float as u64)
    })?;
    (whole <= MOST_TOKENS).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_are_what_a_call_can_have() {
        for (told, count) in [
            (json!(7), Some(7)),
            (json!(7.0), Some(7)),
            (json!(MOST_TOKENS), Some(MOST_TOKENS)),
            (json!(MOST_TOKENS + 1), None),
            (json!(u64::MAX), None),
            (json!(1e300), None),
            (json!(-1), None),
            (json!("7"), None),
            (Value::Null, None),
        ] {
            assert_eq!(tokens(&told), count, "{told}");
        }
    }
}
