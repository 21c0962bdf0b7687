//! Answers that must meet a JSON Schema: what vendors are told of it.

use serde_json::{Map, Value, json};

use super::json::text_at;

/// Keywords that strict modes refuse or ignore; the answer is checked against the whole schema
/// afterwards.
const UNCHECKED: [&str; 15] = [
    "$schema",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "default",
];

/// The words for a vendor without a mechanism of its own, for the end of the system prompt.
pub(super) fn instructions(schema: &Value) -> String {
    format!(
        "When you give your final answer, it must be one JSON value that meets the JSON Schema \
         below, and nothing else: no words around it, no code fence.\n\n{schema}"
    )
}

/// OpenAI's `response_format`; `None` when the schema is of no object, which vendors refuse.
pub(super) fn response_format(schema: &Value) -> Option<Value> {
    if !is_object(schema) {
        return None;
    }
    let format = match strict(schema) {
        Some(schema) => json!({"name": "answer", "schema": schema, "strict": true}),
        None => json!({"name": "answer", "schema": without(schema, &["$schema"])}),
    };
    Some(json!({"type": "json_schema", "json_schema": format}))
}

/// The schema as strict modes take it: every object closed, every property required. `None` where
/// that would change which answers are right.
pub(super) fn strict(schema: &Value) -> Option<Value> {
    let mut schema = without(schema, &UNCHECKED);
    (is_object(&schema) && close(&mut schema)).then_some(schema)
}

/// Whether the schema is of an object.
pub(super) fn is_object(schema: &Value) -> bool {
    text_at(schema, "type") == "object"
}

fn close(schema: &mut Value) -> bool {
    match schema {
        Value::Object(object) => {
            close_object(object)
                && object.iter_mut().all(|(key, value)| match key.as_str() {
                    // Values, not schemas.
                    "enum" | "const" | "examples" | "required" => true,
                    // Schemas by name.
                    "properties" | "$defs" | "definitions" => match value {
                        Value::Object(named) => named.values_mut().all(close),
                        _ => false,
                    },
                    "oneOf" | "allOf" | "not" | "if" | "patternProperties" => false,
                    _ => close(value),
                })
        }
        Value::Array(list) => list.iter_mut().all(close),
        _ => true,
    }
}

fn close_object(object: &mut Map<String, Value>) -> bool {
    let is_object = object.get("type").is_some_and(|kind| kind == "object");
    if !is_object && !object.contains_key("properties") {
        return true;
    }
    let Some(Value::Object(properties)) = object.get("properties") else {
        return false;
    };
    let required = object.get("required").and_then(Value::as_array);
    let all_required = properties.keys().all(|name| {
        required.is_some_and(|required| required.iter().any(|entry| entry == name.as_str()))
    });
    let closed = match object.get("additionalProperties") {
        None | Some(Value::Bool(false)) => true,
        Some(_) => false,
    };
    object.insert("additionalProperties".to_owned(), Value::Bool(false));
    all_required && closed
}

/// The schema without some keywords; properties of these names stay.
fn without(schema: &Value, keywords: &[&str]) -> Value {
    match schema {
        Value::Object(object) => object
            .iter()
            .filter(|(key, _)| !keywords.contains(&key.as_str()))
            .map(|(key, value)| {
                let named = matches!(key.as_str(), "properties" | "$defs" | "definitions");
                let value = match value {
                    Value::Object(schemas) if named => schemas
                        .iter()
                        .map(|(name, schema)| (name.clone(), without(schema, keywords)))
                        .collect(),
                    value => without(value, keywords),
                };
                (key.clone(), value)
            })
            .collect(),
        Value::Array(list) => list.iter().map(|entry| without(entry, keywords)).collect(),
        other => other.clone(),
    }
}

/// Parameters of a tool as vendors take them.
pub(super) fn parameters(schema: &Value) -> std::borrow::Cow<'_, Value> {
    if schema.get("$schema").is_some() {
        std::borrow::Cow::Owned(without(schema, &["$schema"]))
    } else {
        std::borrow::Cow::Borrowed(schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_strict_where_that_changes_nothing() {
        let closed = json!({"$schema": "x", "type": "object", "required": ["a", "pattern"],
            "properties": {
                "a": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/item"}},
                "pattern": {"type": "string", "minLength": 3, "enum": ["abc", "default"]}},
            "$defs": {"item": {"type": "object", "properties": {}, "additionalProperties": false}}});
        assert_eq!(
            strict(&closed),
            Some(json!({"type": "object", "required": ["a", "pattern"],
                "properties": {
                    "a": {"type": "array", "items": {"$ref": "#/$defs/item"}},
                    "pattern": {"type": "string", "enum": ["abc", "default"]}},
                "$defs": {"item": {"type": "object", "properties": {}, "additionalProperties": false}},
                "additionalProperties": false}))
        );
        for loose in [
            json!({"type": "object", "properties": {"a": {"type": "string"}}}),
            json!({"type": "object", "properties": {}, "additionalProperties": true}),
            json!({"type": "object"}),
            json!({"type": "array", "items": {}}),
            json!({"type": "object", "required": ["a"], "properties": {"a": {"oneOf": []}}}),
        ] {
            assert_eq!(strict(&loose), None, "{loose}");
        }
    }

    #[test]
    fn a_schema_of_no_object_is_told_in_words() {
        assert_eq!(response_format(&json!({"type": "array"})), None);
        let loose = json!({"$schema": "x", "type": "object", "properties": {"a": {}}});
        assert_eq!(
            response_format(&loose),
            Some(
                json!({"type": "json_schema", "json_schema": {"name": "answer",
                "schema": {"type": "object", "properties": {"a": {}}}}})
            )
        );
    }
}
