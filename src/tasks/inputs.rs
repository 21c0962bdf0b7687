//! The inputs of a task: what was passed, against what it has.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::InputSettings;

/// Inputs that do not fit: everything that is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct InputError(pub Vec<String>);

/// The value of every input; one that is neither passed nor has a default is null.
///
/// # Errors
/// When a required one is missing, or one is passed that the task does not have.
pub fn resolve(
    task: &str,
    declared: &BTreeMap<String, InputSettings>,
    mut given: Map<String, Value>,
) -> Result<Map<String, Value>, InputError> {
    let mut problems = Vec::new();
    let mut values = Map::new();
    for (name, settings) in declared {
        let value = match (given.remove(name), &settings.default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.clone(),
            (None, None) if settings.required => {
                problems.push(format!("the task `{task}` needs the input `{name}`"));
                continue;
            }
            (None, None) => Value::Null,
        };
        values.insert(name.clone(), value);
    }
    problems.extend(
        given
            .keys()
            .map(|name| format!("the task `{task}` has no input `{name}`")),
    );
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(InputError(problems))
    }
}

/// The inputs of a command line: `name=value` each. A value is a text, unless it is a JSON list or
/// object, or the input's default is a number or a truth value: then it is read as one.
///
/// # Errors
/// When there is no `=`, one name comes twice, or a value is not of the kind of the default.
pub fn parse(
    declared: &BTreeMap<String, InputSettings>,
    written: &[String],
) -> Result<Map<String, Value>, InputError> {
    let mut values = Map::new();
    let mut problems = Vec::new();
    for entry in written {
        let Some((name, text)) = entry.split_once('=') else {
            problems.push(format!("`{entry}` is no input: write `name=value`"));
            continue;
        };
        let default = declared.get(name).and_then(|input| input.default.as_ref());
        match value(text, default) {
            Ok(value) => {
                if values.insert(name.to_owned(), value).is_some() {
                    problems.push(format!("the input `{name}` is passed twice"));
                }
            }
            Err(kind) => problems.push(format!("the input `{name}` must be {kind}, not `{text}`")),
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(InputError(problems))
    }
}

fn value(text: &str, default: Option<&Value>) -> Result<Value, &'static str> {
    let read: Option<Value> = serde_json::from_str(text).ok();
    match (default, read) {
        (Some(Value::Number(_)), Some(number @ Value::Number(_))) => Ok(number),
        (Some(Value::Number(_)), _) => Err("a number"),
        (Some(Value::Bool(_)), Some(truth @ Value::Bool(_))) => Ok(truth),
        (Some(Value::Bool(_)), _) => Err("`true` or `false`"),
        (_, Some(whole @ (Value::Array(_) | Value::Object(_)))) => Ok(whole),
        _ => Ok(Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn declared() -> BTreeMap<String, InputSettings> {
        let input = |required, default| InputSettings {
            required,
            default,
            ..InputSettings::default()
        };
        BTreeMap::from([
            ("version".to_owned(), input(true, None)),
            ("count".to_owned(), input(false, Some(json!(3)))),
            ("dry".to_owned(), input(false, Some(json!(false)))),
            ("note".to_owned(), input(false, None)),
        ])
    }

    #[test]
    fn inputs_are_read_and_filled_in() {
        for (written, expected) in [
            (
                &["version=1.0"][..],
                Ok(json!({"count": 3, "dry": false, "note": null, "version": "1.0"})),
            ),
            (
                &["version=7", "count=5", "dry=true", "note=[\"a\"]"],
                Ok(json!({"count": 5, "dry": true, "note": ["a"], "version": "7"})),
            ),
            (
                &["version=a=b", "note=[a"],
                Ok(json!({"count": 3, "dry": false, "note": "[a", "version": "a=b"})),
            ),
            (
                &["x=1"],
                Err(
                    "the task `t` needs the input `version`; the task `t` has no input `x`"
                        .to_owned(),
                ),
            ),
            (
                &["version", "count=many", "dry=1", "note=a", "note=b"],
                Err(
                    "`version` is no input: write `name=value`; the input `count` must be a number, \
                     not `many`; the input `dry` must be `true` or `false`, not `1`; the input \
                     `note` is passed twice"
                        .to_owned(),
                ),
            ),
        ] {
            let written: Vec<String> = written.iter().map(ToString::to_string).collect();
            let result = parse(&declared(), &written)
                .and_then(|given| resolve("t", &declared(), given))
                .map(|values| json!(values))
                .map_err(|error| error.to_string());
            // The order of the map is that of the declaration.
            assert_eq!(
                result.map(|values| values.to_string()),
                expected.map(|values| values.to_string())
            );
        }
    }
}
