//! The JSON Schema of the file, from the types that it is read into.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Document;
use super::de::MAX_SECONDS;

/// Whole numbers in quotes, as [`number`](super::scalar::number) reads them.
const WHOLE: &str =
    r"^\s*\+?(0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*(\.0*)?([eE]\+?[0-9]+)?)\s*$";
/// The same for numbers with a fraction.
const DECIMAL: &str = r"^\s*\+?(0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][+-]?[0-9]+)?)\s*$";

/// The JSON Schema (draft 2020-12) of a configuration file. What it refuses the parser refuses; names that lead nowhere,
/// templates and addresses it does not know.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>().to_value();
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("title".to_owned(), "orch configuration".into());
        let seconds = fields
            .get_mut("$defs")
            .and_then(|defs| defs.get_mut("Seconds"));
        if let Some(Value::Object(seconds)) = seconds {
            seconds.insert("minimum".to_owned(), 0.into());
            seconds.insert("maximum".to_owned(), MAX_SECONDS.into());
        }
    }
    as_read(&mut schema);
    schema
}

/// Widens a schema of types to what the reader takes for them: nothing for what has a default, sections with nothing but
/// comments among them, numbers in quotes, numbers as texts. And narrows whole numbers to those that their type holds.
fn as_read(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        return;
    };
    for key in ["items", "additionalProperties"] {
        fields.get_mut(key).map(as_read);
    }
    for key in ["properties", "$defs"] {
        let named = fields.get_mut(key).and_then(Value::as_object_mut);
        named
            .into_iter()
            .flat_map(Map::values_mut)
            .for_each(as_read);
    }
    let required = names(fields.get("required"));
    for (name, property) in properties(fields) {
        let mut types = names(property.get("type"));
        if required.contains(name) {
            types.retain(|name| name != "null");
        } else if !types.is_empty() {
            add(&mut types, "null");
        } else if let Some(target) = property.as_object_mut().and_then(|own| own.remove("$ref")) {
            property["anyOf"] = json!([{ "$ref": target }, { "type": "null" }]);
        }
        if !types.is_empty() {
            property["type"] = one_or_many(types);
        }
    }
    let mut types = names(fields.get("type"));
    let has = |types: &[String], one: &str| types.iter().any(|name| name == one);
    if has(&types, "integer") || has(&types, "number") {
        let pattern = if has(&types, "integer") {
            WHOLE
        } else {
            DECIMAL
        };
        fields.entry("pattern").or_insert_with(|| pattern.into());
        let most = match fields.get("format").and_then(Value::as_str) {
            Some("uint16") => Some(u64::from(u16::MAX)),
            Some("uint32") => Some(u64::from(u32::MAX)),
            Some("uint64") => Some(u64::MAX),
            _ => None,
        };
        if let Some(most) = most {
            fields.entry("maximum").or_insert_with(|| most.into());
        }
        add(&mut types, "string");
    } else if has(&types, "string") && !fields.contains_key("const") {
        add(&mut types, "number");
    } else if (has(&types, "object") || has(&types, "array")) && required.is_empty() {
        add(&mut types, "null");
    }
    if !types.is_empty() {
        fields.insert("type".to_owned(), one_or_many(types));
    }
}

fn properties(fields: &mut Map<String, Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    let properties = fields.get_mut("properties");
    properties
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
}

/// The texts of a text or a list.
fn names(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn add(types: &mut Vec<String>, name: &str) {
    if !types.iter().any(|known| known == name) {
        types.push(name.to_owned());
    }
}

fn one_or_many(types: Vec<String>) -> Value {
    match types.as_slice() {
        [one] => one.as_str().into(),
        _ => types.into(),
    }
}
