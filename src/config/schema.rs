//! The JSON Schema of the file, from the types that it is read into.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::Document;

/// The JSON Schema (draft 2020-12) of a configuration file. It is a little stricter than the
/// parser, which also takes quoted numbers.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Document>().to_value();
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("title".to_owned(), "orch configuration".into());
    }
    // A section with nothing but comments is null.
    let sections = schema.get_mut("properties").and_then(Value::as_object_mut);
    for section in sections
        .into_iter()
        .flat_map(|sections| sections.values_mut())
    {
        if section.get("$ref").is_some() {
            *section = json!({ "anyOf": [section.take(), { "type": "null" }] });
        }
    }
    schema
}
