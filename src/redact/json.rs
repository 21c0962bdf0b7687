//! Secrets in JSON.

use serde::Serialize;
use serde_json::Value;

use super::Redactor;

impl Redactor {
    /// Masks every string inside a JSON value, object keys included.
    pub fn mask_json(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.mask_owned(std::mem::take(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_json(item)),
            Value::Object(map) => {
                map.values_mut().for_each(|item| self.mask_json(item));
                if map.keys().any(|key| self.is_in(key)) {
                    *map = std::mem::take(map)
                        .into_iter()
                        .map(|(key, item)| (self.mask_owned(key), item))
                        .collect();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A value as JSON, in one line, with every string masked, object keys included. What cannot be
    /// written is `null`.
    pub fn json(&self, value: &impl Serialize) -> String {
        self.written(value, serde_json::to_string, Value::to_string)
    }

    /// As [`Redactor::json`], for people: indented.
    pub fn json_indented(&self, value: &impl Serialize) -> String {
        self.written(value, serde_json::to_string_pretty, |value| {
            format!("{value:#}")
        })
    }

    /// Hardly ever is there anything to mask, and a value that is written at once costs a fraction of one that is
    /// built, searched and written.
    fn written<T: Serialize>(
        &self,
        value: &T,
        write: fn(&T) -> serde_json::Result<String>,
        again: fn(&Value) -> String,
    ) -> String {
        match write(value) {
            Ok(text) if !strings(&text).any(|text| self.is_in_string(text)) => text,
            _ => {
                let mut value = serde_json::to_value(value).unwrap_or_default();
                self.mask_json(&mut value);
                again(&value)
            }
        }
    }

    /// Whether a string, as it stands between its quotes in JSON, holds a secret.
    fn is_in_string(&self, text: &str) -> bool {
        if text.contains('\\') {
            serde_json::from_str::<String>(&format!("\"{text}\""))
                .map_or(true, |text| self.is_in(&text))
        } else {
            self.is_in(text)
        }
    }

    fn is_in(&self, text: &str) -> bool {
        matches!(self.mask(text), std::borrow::Cow::Owned(_))
    }
}

/// What stands between the quotes of each string of a JSON text, its escapes untouched.
fn strings(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        let (_, text) = rest.split_once('"')?;
        let mut escaped = false;
        let end = text.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        rest = text.get(end + 1..)?;
        text.get(..end)
    })
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;
    use serde_json::json;

    use super::*;
    use crate::redact::MASK;

    const KEY: &str = "tok-4711/\"abc\"\\def";

    #[test]
    fn masks_inside_out() {
        let redactor = Redactor::new([SecretString::from(KEY)]);
        let mut value = json!({"a": [KEY, 1, null], KEY: {"b": "x"}, "c": {"d": KEY}});
        let masked = json!({"a": [MASK, 1, null], MASK: {"b": "x"}, "c": {"d": MASK}});
        let one_line = masked.to_string();
        let indented = format!("{masked:#}");
        assert_eq!(redactor.json(&value), one_line);
        assert_eq!(redactor.json_indented(&value), indented);
        redactor.mask_json(&mut value);
        assert_eq!(value, masked);
    }

    #[test]
    fn writes_what_holds_no_secret_as_it_is() {
        let redactor = Redactor::new([SecretString::from(KEY)]);
        let plain = json!({"b": ["\\\"", "", "\u{1}\n"], "a": 1.5, "\"": {}, "e": "\\"});
        assert_eq!(redactor.json(&plain), plain.to_string());
        assert_eq!(redactor.json_indented(&plain), format!("{plain:#}"));
        assert_eq!(redactor.json(&f64::NAN), "null");
        let refused = std::collections::BTreeMap::from([((1, 2), 3)]);
        assert_eq!(redactor.json(&refused), "null");
    }

    #[test]
    fn finds_the_strings_of_a_text() {
        let json = r#"{"a\"b": ["\\", "", "c,]"], "d": 1}"#;
        let found: Vec<_> = strings(json).collect();
        assert_eq!(found, [r#"a\"b"#, r"\\", "", "c,]", "d"]);
    }
}
