//! Structured answers: finding the object in an answer and checking it against a JSON Schema.

use serde_json::Value;

/// How many violations are told.
const TOLD: usize = 5;

/// Levels of lists and objects within each other. What is kept of a run holds the answer some levels down, and is read
/// back to no more than 127 of them.
const DEEPEST: usize = 64;

/// The structured answer: what the vendor gave apart, else the JSON in the text.
///
/// # Errors
/// What is wrong, in words for the model and for the user.
pub(super) fn check(schema: &Value, apart: Option<&Value>, text: &str) -> Result<Value, String> {
    let value = match apart {
        Some(value) => value.clone(),
        None => find(text)?,
    };
    if is_deeper(&value, DEEPEST) {
        return Err(format!("it is nested deeper than {DEEPEST} levels"));
    }
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| format!("the `output_schema` is no valid JSON Schema: {error}"))?;
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .take(TOLD)
        .map(|error| match error.instance_path().to_string() {
            path if path.is_empty() => error.to_string(),
            path => format!("{error} at {path}"),
        })
        .collect();
    if errors.is_empty() {
        Ok(value)
    } else {
        Err(errors.join("; "))
    }
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    let is_deeper = |inner| match levels.checked_sub(1) {
        Some(levels) => is_deeper(inner, levels),
        None => true,
    };
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(is_deeper),
        Value::Object(entries) => levels == 0 || entries.values().any(is_deeper),
        _ => false,
    }
}

/// The JSON value of a text that is one, or that holds one in a fence.
fn find(text: &str) -> Result<Value, String> {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let fenced = text.split("```").skip(1).step_by(2).find_map(|block| {
        let body = block.strip_prefix("json").unwrap_or(block);
        serde_json::from_str(body.trim()).ok()
    });
    fenced.ok_or_else(|| "the answer is no JSON".to_owned())
}

/// What the model is told when its answer does not fit: the one repair attempt.
pub(super) fn repair_prompt(error: &str) -> String {
    format!(
        "Your answer does not fit the required JSON Schema: {error}. Answer again with the corrected JSON alone."
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `{"n": 1, "in": {"n": 1, …}}` of so many levels.
    fn nested(levels: usize) -> Value {
        (1..levels).fold(json!({"n": 1}), |inner, _| json!({"n": 1, "in": inner}))
    }

    #[test]
    fn answers_are_found_and_checked() {
        let schema =
            json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
        for (apart, text, expected) in [
            (None, r#" {"n": 1} "#, Ok(json!({"n": 1}))),
            (
                None,
                "Sure:\n```json\n{\"n\": 2}\n```\nDone.",
                Ok(json!({"n": 2})),
            ),
            (
                None,
                "```\nnot json\n```\n```\n{\"n\": 3}\n```",
                Ok(json!({"n": 3})),
            ),
            (Some(json!({"n": 4})), "ignored", Ok(json!({"n": 4}))),
            (None, "no", Err("the answer is no JSON".to_owned())),
            (
                Some(nested(65)),
                "",
                Err("it is nested deeper than 64 levels".to_owned()),
            ),
            (Some(nested(64)), "", Ok(nested(64))),
            (None, "{}", Err("\"n\" is a required property".to_owned())),
            (
                None,
                r#"{"n": "x"}"#,
                Err("\"x\" is not of type \"integer\" at /n".to_owned()),
            ),
        ] {
            assert_eq!(check(&schema, apart.as_ref(), text), expected, "{text}");
        }
        assert!(
            check(&json!({"type": 5}), None, "{}")
                .unwrap_err()
                .contains("no valid JSON Schema")
        );
    }
}
