//! Parameters as a model sends them: taken strictly, with words that help it to do better.

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ToolError;

/// The schema of a tool's parameters, without what vendors do not take.
pub(crate) fn schema<T: JsonSchema>() -> Value {
    let mut schema = SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value();
    if let Some(root) = schema.as_object_mut() {
        root.remove("description");
    }
    simplify(&mut schema);
    schema
}

/// Takes the parameters of a call.
pub(crate) fn parse<T: DeserializeOwned + JsonSchema>(
    tool: &str,
    value: &Value,
) -> Result<T, ToolError> {
    let error = match T::deserialize(value) {
        Ok(params) => return Ok(params),
        Err(error) => error,
    };
    let schema = schema::<T>();
    let value = with_whole_numbers(&schema, value);
    if let Ok(params) = T::deserialize(&value) {
        return Ok(params);
    }
    let mut problems = problems(&schema, &value);
    if problems.is_empty() {
        problems.push(error.to_string());
    }
    Err(ToolError::tell(format!(
        "wrong parameters of `{tool}`: {}; it takes {}",
        problems.join(", "),
        names(&schema)
    )))
}

/// The parameters with `5.0` as `5` where a whole number is wanted: JSON knows only one kind of number, and some
/// models write it so.
fn with_whole_numbers(schema: &Value, value: &Value) -> Value {
    let mut value = value.clone();
    for (name, given) in value.as_object_mut().into_iter().flatten() {
        let wanted = schema.pointer(&format!("/properties/{name}/type"));
        let whole = given
            .as_f64()
            .filter(|number| given.is_f64() && number.fract() == 0.0)
            .and_then(|number| format!("{number:.0}").parse::<u64>().ok());
        if let Some(whole) = whole.filter(|_| wanted.is_some_and(|wanted| wanted == "integer")) {
            *given = whole.into();
        }
    }
    value
}

/// Leaves `type`, `description`, `properties`, `required`, `items`, `enum` and maps: what every
/// vendor understands.
fn simplify(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in ["$schema", "title", "format", "default", "minimum"] {
                map.remove(key);
            }
            if map.get("additionalProperties") == Some(&Value::Bool(false)) {
                map.remove("additionalProperties");
            }
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            map.values_mut().for_each(simplify);
        }
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let Some(given) = value.as_object() else {
        return vec![format!("they must be one object, not {}", kind(value))];
    };
    let none = Map::new();
    let known = schema
        .get("properties")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let mut problems = Vec::new();
    for (name, value) in given {
        let Some(property) = known.get(name) else {
            problems.push(match nearest(name, known) {
                Some(right) => format!("`{name}` is unknown (did you mean `{right}`?)"),
                None => format!("`{name}` is unknown"),
            });
            continue;
        };
        let wanted = property.get("type").and_then(Value::as_str).unwrap_or("");
        let optional = !required(schema).any(|required| required == name);
        let fits = match wanted {
            "string" => value.is_string(),
            "integer" => value.as_u64().is_some(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            _ => true,
        };
        let absent = optional && value.is_null();
        if !(fits || absent) {
            let wanted = if wanted == "integer" {
                "a whole number that is not negative".to_owned()
            } else {
                with_article(wanted)
            };
            problems.push(format!("`{name}` must be {wanted}, not {}", kind(value)));
        }
    }
    let missing = required(schema).filter(|name| !given.contains_key(*name));
    problems.extend(missing.map(|name| format!("`{name}` is missing")));
    problems
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

fn names(schema: &Value) -> String {
    let properties = schema.get("properties").and_then(Value::as_object);
    let names: Vec<String> = properties
        .into_iter()
        .flat_map(Map::keys)
        .map(|name| {
            if required(schema).any(|required| required == name) {
                format!("`{name}` (required)")
            } else {
                format!("`{name}`")
            }
        })
        .collect();
    names.join(", ")
}

fn nearest<'n>(name: &str, known: &'n Map<String, Value>) -> Option<&'n str> {
    let score = |candidate: &str| {
        let whole = strsim::jaro_winkler(&name.to_lowercase(), candidate);
        // `file_path` for `path`, `old_text` for `old_string`.
        let part = name.to_lowercase().contains(candidate);
        if part { whole.max(0.9) } else { whole }
    };
    known
        .keys()
        .map(|candidate| (score(candidate), candidate))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate.as_str())
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    /// For a test.
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Params {
        /// Which file.
        path: String,
        /// How many.
        limit: Option<u64>,
        /// Whether.
        #[serde(default)]
        all: Option<bool>,
    }

    #[test]
    fn a_schema_holds_what_every_vendor_takes() {
        assert_eq!(
            schema::<Params>(),
            json!({
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Which file."},
                    "limit": {"type": "integer", "description": "How many."},
                    "all": {"type": "boolean", "description": "Whether."},
                },
                "required": ["path"],
            })
        );
    }

    #[test]
    fn says_everything_that_is_wrong() {
        let takes = "; it takes `path` (required), `limit`, `all`";
        for (value, expected) in [
            (json!([1]), "they must be one object, not a list"),
            (
                json!({"file_path": "x", "limit": "5"}),
                "`file_path` is unknown (did you mean `path`?), `limit` must be a whole number \
                 that is not negative, not a string, `path` is missing",
            ),
            (
                json!({"path": 5, "limit": -1, "zzz": null}),
                "`path` must be a string, not 5, `limit` must be a whole number that is not \
                 negative, not -1, `zzz` is unknown",
            ),
            (json!({"path": null}), "`path` must be a string, not null"),
        ] {
            let error = parse::<Params>("read", &value).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("wrong parameters of `read`: {expected}{takes}")
            );
        }
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
        for (written, expected) in [
            ("5.0", Some(5)),
            ("5e2", Some(500)),
            ("5.5", None),
            ("-1.0", None),
        ] {
            let value = serde_json::from_str(&format!("{{\"path\": \"x\", \"limit\": {written}}}"));
            let params = parse::<Params>("read", &value.unwrap()).ok();
            assert_eq!(
                params.and_then(|params| params.limit),
                expected,
                "{written}"
            );
        }
    }

    #[test]
    fn null_stands_for_absent_where_that_is_allowed() {
        let params: Params = parse("read", &json!({"path": "x", "limit": null})).unwrap();
        assert_eq!((params.limit, params.all), (None, None));
    }
}
