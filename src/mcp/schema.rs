//! Schemas of tools: what models could not take is kept from them, since vendors refuse a request for one bad schema.

use serde_json::{Map, Value};

use crate::providers::schema_fault;

/// The deepest nesting of a schema.
const DEEPEST: usize = 64;

/// The parameters of a tool as they are offered to models.
///
/// # Errors
/// Why no model takes them.
pub(super) fn offered(schema: &Map<String, Value>) -> Result<Value, String> {
    let mut schema = schema.clone();
    let dialect = schema.get("$schema").and_then(Value::as_str);
    if dialect.is_some_and(|dialect| !dialect.contains("json-schema.org")) {
        // One that nobody knows; vendors are told of none.
        schema.remove("$schema");
    }
    let kind = schema.entry("type").or_insert_with(|| "object".into());
    if kind != "object" {
        let kind = kind
            .as_str()
            .map_or_else(|| kind.to_string(), str::to_owned);
        return Err(format!("it is of the type `{kind}`, not `object`"));
    }
    let schema = Value::Object(schema);
    if depth(&schema) > DEEPEST {
        return Err(format!("it is nested more than {DEEPEST} levels deep"));
    }
    if let Some(reference) = endless(&schema, &schema) {
        return Err(format!("`{reference}` leads back to itself"));
    }
    match schema_fault(&schema) {
        Some(fault) => Err(fault.words),
        None => Ok(schema),
    }
}

fn entries(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn depth(value: &Value) -> usize {
    entries(value).map(depth).max().map_or(0, |below| below + 1)
}

/// A reference in the value that leads to references only, and so to itself in the end. One that leads to something
/// that refers to it in turn is a tree, which is fine.
fn endless<'s>(root: &'s Value, value: &'s Value) -> Option<&'s str> {
    if let Some(first) = reference(value) {
        let mut seen = vec![first];
        let mut next = target(root, first);
        while let Some(further) = next.and_then(reference) {
            if seen.contains(&further) {
                return Some(first);
            }
            seen.push(further);
            next = target(root, further);
        }
    }
    entries(value).find_map(|entry| endless(root, entry))
}

fn reference(value: &Value) -> Option<&str> {
    value.get("$ref").and_then(Value::as_str)
}

fn target<'s>(root: &'s Value, reference: &str) -> Option<&'s Value> {
    root.pointer(reference.strip_prefix('#')?)
}
