//! What the body of an error says, whatever its shape.

use std::time::Duration;

use serde_json::Value;

/// The most that is quoted of a body.
const QUOTED: usize = 500;

/// An error as a vendor told it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ErrorBody {
    /// The words; empty when there are none.
    pub message: String,
    /// `type`, or Google's `status`.
    pub kind: String,
    /// `code`, a number as its digits.
    pub code: String,
    /// The field that is wrong.
    pub param: String,
    /// A code that is an HTTP status.
    pub status: Option<u16>,
    /// Google's quotas that are used up.
    pub quotas: Vec<String>,
    /// Google's `retryDelay`.
    pub delay: Option<Duration>,
    /// A moderation found something in the prompt.
    pub flagged: bool,
    /// What the call used and cost all the same, as it was told; null where it was not.
    pub usage: Value,
}

impl ErrorBody {
    /// From the text of a body.
    pub(super) fn parse(body: &str) -> Self {
        match serde_json::from_str::<Value>(body.trim()) {
            Ok(value) => Self::from_value(&value),
            Err(_) => Self {
                message: page(body),
                ..Self::default()
            },
        }
    }

    /// From a JSON body or the data of an event.
    pub(super) fn from_value(value: &Value) -> Self {
        // Google wraps everything in an array.
        let value = value.get(0).unwrap_or(value);
        let told = value.get("error").filter(|error| !error.is_null());
        let mut parsed = match told {
            Some(Value::Object(_)) => Self::from_object(told.unwrap_or(value)),
            // xAI, Ollama: the words alone, and a code beside them that is words as well.
            Some(words) => Self {
                message: text(Some(words)),
                code: text(value.get("code")),
                ..Self::default()
            },
            None => Self::from_object(value),
        };
        parsed.message = shortened(&parsed.message);
        let mut usage = [Some(value), told].into_iter().flatten();
        let usage = usage.find_map(|place| place.get("usage"));
        parsed.usage = usage.cloned().unwrap_or_default();
        parsed
    }

    fn from_object(error: &Value) -> Self {
        let details = error.get("details");
        let detail_code = details.and_then(|details| details.get("error_code"));
        let code = text(detail_code.or_else(|| error.get("code")));
        let detail = |key: &str| {
            let mut list = details.and_then(Value::as_array).into_iter().flatten();
            list.find_map(|entry| entry.get(key))
        };
        let metadata = error.get("metadata");
        let flagged = ["flagged_input", "reasons"]
            .iter()
            .any(|key| metadata.is_some_and(|metadata| metadata.get(key).is_some()));
        let message = ["message", "detail", "error"]
            .iter()
            .find_map(|key| error.get(key).map(words))
            .unwrap_or_default();
        Self {
            message,
            kind: text(
                error
                    .get("type")
                    .filter(|kind| !kind.is_null())
                    .or_else(|| error.get("status")),
            ),
            status: code.parse().ok().filter(|code| (300..600).contains(code)),
            code,
            param: text(error.get("param")),
            quotas: detail("violations")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|violation| text(violation.get("quotaId")))
                .collect(),
            delay: detail("retryDelay").and_then(|delay| super::told::span(delay.as_str()?)),
            flagged,
            usage: Value::Null,
        }
    }

    /// Code, type and words together, in lower case, for looking up words.
    pub(super) fn haystack(&self) -> String {
        format!("{} {} {}", self.code, self.kind, self.message).to_lowercase()
    }
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The words of a message that may be a text, or lists of what is wrong where.
fn words(value: &Value) -> String {
    let list = value.get("detail").unwrap_or(value);
    let Some(list) = list.as_array() else {
        return text(Some(list));
    };
    let each: Vec<String> = list
        .iter()
        .map(|entry| {
            let place: Vec<String> = entry
                .get("loc")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|part| text(Some(part)))
                .collect();
            let said = entry.get("msg").or_else(|| entry.get("message"));
            let mut words = text(said.or(Some(entry)));
            if !place.is_empty() {
                words = format!("{}: {words}", place.join("."));
            }
            match text(entry.get("type")) {
                kind if kind.is_empty() => words,
                kind => format!("{words} ({kind})"),
            }
        })
        .collect();
    each.join("; ")
}

/// What a body that is no JSON says: the title of a page, else its beginning.
fn page(body: &str) -> String {
    let lower = body.to_ascii_lowercase();
    let title = lower
        .find("<title>")
        .map(|start| start + "<title>".len())
        .and_then(|start| Some(start..start + lower.get(start..)?.find("</title>")?))
        .and_then(|range| body.get(range));
    shortened(title.unwrap_or(body))
}

/// One line of at most [`QUOTED`] characters.
pub(super) fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_gives_its_words_and_codes() {
        for (body, message, kind, code) in [
            (
                r#"{"error":{"message":"m","type":"t","param":null,"code":"c"}}"#,
                "m",
                "t",
                "c",
            ),
            (r#"{"error":{"code":402,"message":"m"}}"#, "m", "", "402"),
            (
                r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#,
                "m",
                "INVALID_ARGUMENT",
                "400",
            ),
            (
                r#"{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body","x"],"msg":"no"}]},"type":"t","code":null}"#,
                "body.x: no (extra_forbidden)",
                "t",
                "",
            ),
            (
                r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required"}]}"#,
                "body.messages: Field required (missing)",
                "",
                "",
            ),
            (
                r#"{"detail":[{"msg":"field required"},{"loc":["body"],"msg":"m"},{"type":"t","msg":"n"},"o"]}"#,
                "field required; body: m; n (t); o",
                "",
                "",
            ),
            (
                r#"{"object":"error","message":{"detail":[{"msg":"mm"}]}}"#,
                "mm",
                "",
                "",
            ),
            (r#"{"detail":"Not Found"}"#, "Not Found", "", ""),
            (r#"{"code":"Bad","error":"text"}"#, "text", "", "Bad"),
            (r#"{"error":"text"}"#, "text", "", ""),
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
                "m",
                "overloaded_error",
                "",
            ),
            (
                "<html><TITLE>502 Bad\nGateway</TITLE>",
                "502 Bad Gateway",
                "",
                "",
            ),
            ("plain  words", "plain words", "", ""),
            ("", "", "", ""),
            ("null", "", "", ""),
        ] {
            let parsed = ErrorBody::parse(body);
            let told = (
                parsed.message.as_str(),
                parsed.kind.as_str(),
                parsed.code.as_str(),
            );
            assert_eq!(told, (message, kind, code), "{body}");
        }
    }

    #[test]
    fn long_words_are_shortened() {
        let parsed = ErrorBody::parse(&"é".repeat(10_000));
        assert_eq!(parsed.message.chars().count(), QUOTED + 1);
    }
}
