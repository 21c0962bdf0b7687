//! JSON Schemas that are none.

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

/// How much is told of what is wrong with a schema, characters.
const QUOTED: usize = 200;

/// What makes a JSON Schema none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaFault {
    /// Keys and indices that lead to the place.
    pub(crate) path: Vec<String>,
    /// What is wrong there.
    pub(crate) words: String,
}

/// Looks whether a schema is one that answers can be checked against: known before anything is asked, not after.
pub(crate) fn schema_fault(schema: &Value) -> Option<SchemaFault> {
    let error = jsonschema::validator_for(schema).err()?;
    let pointer = error.instance_path().as_str();
    let steps = pointer.split('/').skip(1);
    let path: Vec<String> = steps
        .map(|step| step.replace("~1", "/").replace("~0", "~"))
        .collect();
    let words = match (error.kind(), path.last()) {
        (ValidationErrorKind::AnyOf { .. }, Some(key)) => {
            format!("`{key}` cannot be {}", error.instance())
        }
        // What is said of schemas elsewhere goes on about how they could be fetched.
        (ValidationErrorKind::Referencing(error), _) => {
            let words = error.to_string();
            let begun = words.split(" is not present in a registry").next();
            match begun.filter(|begun| begun.len() < words.len()) {
                Some(elsewhere) => format!("{elsewhere} is none that is known here"),
                None => words,
            }
        }
        _ => error.to_string(),
    };
    let cut = words.char_indices().nth(QUOTED).map(|(end, _)| end);
    let words = match cut.and_then(|end| words.get(..end)) {
        Some(begun) => format!("{begun}…"),
        None => words,
    };
    Some(SchemaFault { path, words })
}
