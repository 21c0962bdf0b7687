//! Limits and breakers for people: one line each, and only what there is to tell.

use serde_json::{Map, Value};

/// A status with its limits and breakers in words, by name.
pub(super) fn in_words(mut status: Value) -> Value {
    for (list, words) in [
        ("limits", limit as fn(&Value) -> (&str, String)),
        ("breakers", breaker),
    ] {
        if let Some(found) = status.get_mut(list)
            && let Value::Array(items) = found
        {
            let mut lines: Map<String, Value> = Map::new();
            for (name, words) in items.iter().map(words) {
                if words.is_empty() {
                    continue;
                }
                // Two keys of one vendor have one name.
                let line = match lines.get(name).and_then(Value::as_str) {
                    Some(before) => format!("{before} | {words}"),
                    None => words,
                };
                lines.insert(name.to_owned(), line.into());
            }
            *found = Value::Object(lines);
        }
    }
    status
}

fn limit(limit: &Value) -> (&str, String) {
    let mut words = Vec::new();
    for (field, what) in [
        ("requests_per_minute", "requests a minute"),
        ("requests_per_hour", "requests an hour"),
        ("tokens_per_minute", "tokens a minute"),
    ] {
        let number = |which| limit.get(field)?.get(which)?.as_u64();
        if let (Some(used), Some(most)) = (number("used"), number("limit")) {
            words.push(format!("{used} of {most} {what}"));
        }
    }
    if let Some(left) = seconds(limit, "cool_down_s") {
        words.push(format!("rate limited by the server for {left} s"));
    }
    for (field, what) in [("in_flight", "in flight"), ("waiting", "waiting")] {
        if let Some(count) = limit.get(field).and_then(Value::as_u64)
            && count > 0
        {
            words.push(format!("{count} {what}"));
        }
    }
    (name(limit, "model"), words.join(", "))
}

fn breaker(breaker: &Value) -> (&str, String) {
    let state = name(breaker, "state").replace('_', "-");
    let words = match seconds(breaker, "retry_in_s") {
        Some(left) => format!("{state} for {left} s"),
        None => state,
    };
    (name(breaker, "name"), words)
}

fn name<'a>(of: &'a Value, field: &str) -> &'a str {
    of.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Whole seconds, rounded up.
fn seconds(of: &Value, field: &str) -> Option<f64> {
    of.get(field).and_then(Value::as_f64).map(f64::ceil)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_each_and_nothing_where_there_is_nothing_to_tell() {
        let used = json!({"used": 7, "limit": 60});
        let status = json!({"limits": [
                {"model": "lab/m", "requests_per_minute": used, "cool_down_s": 12.1, "waiting": 3},
                {"model": "lab/m", "requests_per_minute": null, "cool_down_s": 2.0},
                {"model": "lab/quiet", "requests_per_minute": null, "in_flight": 0},
            ],
            "breakers": [{"name": "lab", "state": "open", "retry_in_s": 3.2},
                {"name": "lab/m", "state": "half_open", "retry_in_s": null}],
            "other": [1]});
        assert_eq!(
            in_words(status),
            json!({"limits": {"lab/m": "7 of 60 requests a minute, rate limited by the server for 13 s, \
                    3 waiting | rate limited by the server for 2 s"},
                "breakers": {"lab": "open for 4 s", "lab/m": "half-open"},
                "other": [1]})
        );
    }
}
