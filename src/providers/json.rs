//! Looking into JSON whose shape nobody promises.

use serde_json::Value;

static NULL: Value = Value::Null;

/// The value under a key; null when there is none.
pub(super) fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&NULL)
}

/// The text under a key; empty when there is none.
pub(super) fn text_at<'a>(value: &'a Value, key: &str) -> &'a str {
    at(value, key).as_str().unwrap_or_default()
}
