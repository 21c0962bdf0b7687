//! The schema that editors check with, and the reader: they agree wherever a schema can know.

use serde_json::{Value, json};

use super::document;
use crate::config::schema;

/// What a schema cannot know: names that lead nowhere or are none, what stands in for the missing, addresses,
/// templates, texts with nothing in them, numbers in quotes that are out of range.
const UNKNOWABLE: [&str; 24] = [
    "unknown ",
    " is empty",
    " is no URL",
    " is not a host and a port",
    " needs `base_url`",
    " needs `recording`",
    " must be the name of a variable",
    " must be one word",
    " cannot be ",
    " is not known here",
    "the template cannot be used",
    " has no input ",
    " needs the input ",
    " needs a `prompt`",
    " does not say how one answer is chosen",
    " means nothing in a step ",
    "two steps have the id",
    " is granted tools and is no delegate",
    " names no program",
    " names nobody",
    " is no list",
    "there is no `item` here",
    "there is no `structured`",
    " may not have ended ",
];

/// The places in a value, each as its pointer.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(items) => (0..).map(|n: usize| n.to_string()).zip(items).collect(),
        _ => Vec::new(),
    };
    for (name, value) in inner {
        let at = format!("{at}/{name}");
        pointers(value, &at, found);
        found.push(at);
    }
}

#[test]
fn the_schema_and_the_reader_agree_on_every_value_in_every_place() {
    let whole: Value = serde_yaml::from_str(include_str!("full.yaml")).unwrap();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut places = Vec::new();
    pointers(&whole, "", &mut places);
    let values = [
        json!(null),
        json!("3"),
        json!("x"),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(80),
        json!(1e30),
        json!(true),
        json!([]),
        json!([null]),
        json!({}),
    ];
    let mut differences = Vec::new();
    for place in &places {
        for value in &values {
            let mut changed = whole.clone();
            *changed.pointer_mut(place).unwrap() = value.clone();
            let is_valid = validator.is_valid(&changed);
            let complaint = document(&changed.to_string()).err();
            let complaint = complaint.map(|error| error.to_string());
            let agree = match &complaint {
                None => is_valid,
                // Of numbers in quotes only the form is known.
                Some(words) if value.is_string() && words.contains(" must be between ") => true,
                Some(words) => !is_valid || UNKNOWABLE.iter().any(|known| words.contains(known)),
            };
            if !agree {
                let words = complaint.unwrap_or_default();
                let first = words.lines().next().unwrap_or("(it is read)").to_owned();
                differences.push(format!("{place} = {value}: {first}"));
            }
        }
    }
    assert_eq!(differences, Vec::<String>::new());
}
