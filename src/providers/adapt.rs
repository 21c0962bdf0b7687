//! Requests that a server refuses for one optional field: changed once, and remembered.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::error_body::ErrorBody;

/// What is changed in requests to one model of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Adapted {
    /// The other one of `max_tokens` and `max_completion_tokens`.
    pub other_max_tokens: bool,
    /// No `temperature`.
    pub no_temperature: bool,
    /// No `stream_options`.
    pub no_stream_options: bool,
    /// The schema of the answer in words instead of the vendor's own way.
    pub no_response_format: bool,
    /// Tools in words instead of function calling.
    pub text_tools: bool,
    /// No thinking of earlier answers. What is wrong is that of one conversation: it is not remembered of the model.
    pub no_thinking: bool,
}

/// Which optional fields a request had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// The field that caps the answer.
    pub max_tokens: Option<&'static str>,
    pub temperature: bool,
    pub stream_options: bool,
    pub response_format: bool,
    pub tools: bool,
    pub thinking: bool,
}

/// Ways to say that a field is not wanted, rather than that its value is wrong.
const UNWANTED: [&str; 15] = [
    "unsupported",
    "not supported",
    "does not support",
    "isn't supported",
    "not permitted",
    "not allowed",
    "unrecognized",
    "unknown",
    "extra_forbidden",
    "extra inputs",
    "unexpected",
    "only the default",
    "cannot find field",
    "additional properties",
    "deprecated",
];

/// Ways to say that a model has no function calling.
const NO_TOOLS: [&str; 7] = [
    "does not support tools",
    "does not support function",
    "not support tool",
    "no endpoints found that support tool use",
    "tool choice requires --enable-auto-tool-choice",
    "`tool calling` is not supported",
    "tools is not supported",
];

/// What the vendor's own way for a schema is called.
const SCHEMA_FIELDS: [&str; 6] = [
    "response_format",
    "json_schema",
    "structured output",
    "output_config",
    "output_format",
    "response mime type",
];

static MEMORY: Mutex<BTreeMap<(String, String), Adapted>> = Mutex::new(BTreeMap::new());

/// What was learnt about a model.
pub(super) fn remembered(base_url: &str, model: &str) -> Adapted {
    MEMORY
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&(base_url.to_owned(), model.to_owned()))
        .copied()
        .unwrap_or_default()
}

/// Keeps what was learnt about a model as long as the process runs.
pub(super) fn remember(base_url: &str, model: &str, adapted: Adapted) {
    MEMORY
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(
            (base_url.to_owned(), model.to_owned()),
            Adapted {
                no_thinking: false,
                ..adapted
            },
        );
}

/// The request that a refusal asks for; `None` when it refuses something else. What was changed
/// before is not changed again.
pub(super) fn change(
    status: u16,
    body: &ErrorBody,
    sent: Sent,
    adapted: Adapted,
) -> Option<Adapted> {
    let words = format!("{} {}", body.haystack(), body.param.to_lowercase());
    let says = |list: &[&str]| list.iter().any(|entry| words.contains(entry));
    let mut changed = adapted;
    if matches!(status, 400 | 404 | 422) && sent.tools && says(&NO_TOOLS) {
        changed.text_tools = true;
    }
    // Whatever is wrong with the schema, words can tell it as well.
    if matches!(status, 400 | 422) && sent.response_format && says(&SCHEMA_FIELDS) {
        changed.no_response_format = true;
    }
    if matches!(status, 400 | 422) && says(&UNWANTED) {
        if sent.max_tokens.is_some_and(|field| words.contains(field)) && !adapted.other_max_tokens {
            changed.other_max_tokens = true;
        }
        changed.no_temperature |= sent.temperature && words.contains("temperature");
        changed.no_stream_options |=
            sent.stream_options && says(&["stream_options", "include_usage"]);
    }
    if status == 400 && sent.thinking && says(&["thinking", "signature"]) {
        changed.no_thinking = true;
    }
    (changed != adapted).then_some(changed)
}

impl Adapted {
    /// What was changed since `before`, for the user.
    pub(super) fn warning(self, before: Self, model: &str) -> String {
        let changes = [
            (
                self.other_max_tokens && !before.other_max_tokens,
                "the field for the output limit was renamed",
            ),
            (
                self.no_temperature && !before.no_temperature,
                "`temperature` was left out",
            ),
            (
                self.no_stream_options && !before.no_stream_options,
                "`stream_options` was left out",
            ),
            (
                self.no_response_format && !before.no_response_format,
                "the schema of the answer was put into words",
            ),
            (
                self.text_tools && !before.text_tools,
                "tools were offered in words, since it has no function calling",
            ),
            (
                self.no_thinking && !before.no_thinking,
                "what it had thought before was left out",
            ),
        ];
        let changes: Vec<&str> = changes
            .iter()
            .filter_map(|&(changed, words)| changed.then_some(words))
            .collect();
        format!(
            "`{model}` refused the request as it was: {}",
            changes.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::vectors;

    const EVERYTHING: Sent = Sent {
        max_tokens: Some("max_tokens"),
        temperature: true,
        stream_options: true,
        response_format: true,
        tools: true,
        thinking: false,
    };

    #[test]
    fn refusals_of_the_table_are_adapted_as_it_says() {
        for vector in vectors::errors() {
            let mut sent = EVERYTHING;
            if vector.adapt.as_deref() == Some("max_tokens") {
                sent.max_tokens = Some("max_completion_tokens");
            }
            let body = ErrorBody::parse(&vector.body);
            let changed = change(vector.status, &body, sent, Adapted::default());
            let expected = match vector.adapt.as_deref() {
                Some("max_completion_tokens" | "max_tokens") => Some(Adapted {
                    other_max_tokens: true,
                    ..Adapted::default()
                }),
                Some("drop temperature") => Some(Adapted {
                    no_temperature: true,
                    ..Adapted::default()
                }),
                _ => None,
            };
            assert_eq!(changed, expected, "{}", vector.id);
        }
    }

    #[test]
    fn further_refusals_are_adapted_and_wrong_values_are_not() {
        let none = Adapted::default();
        for (words, expected) in [
            (
                "Unrecognized request argument supplied: stream_options",
                Some(Adapted {
                    no_stream_options: true,
                    ..none
                }),
            ),
            (
                "registry.ollama.ai/library/llama3:latest does not support tools",
                Some(Adapted {
                    text_tools: true,
                    ..none
                }),
            ),
            (
                "This model does not support response_format json_schema",
                Some(Adapted {
                    no_response_format: true,
                    ..none
                }),
            ),
            (
                "Invalid schema for response_format 'answer': 'a' is required",
                Some(Adapted {
                    no_response_format: true,
                    ..none
                }),
            ),
            (
                "Function calling with a response mime type: 'application/json' is unsupported",
                Some(Adapted {
                    no_response_format: true,
                    ..none
                }),
            ),
            (
                "extra_forbidden: stream_options, temperature",
                Some(Adapted {
                    no_stream_options: true,
                    no_temperature: true,
                    ..none
                }),
            ),
            ("max_tokens is too large: 100000", None),
            ("unknown field `thinking`", None),
            ("temperature must be at most 1", None),
        ] {
            let body = ErrorBody {
                message: words.to_owned(),
                ..ErrorBody::default()
            };
            assert_eq!(change(400, &body, EVERYTHING, none), expected, "{words}");
            assert_eq!(change(500, &body, EVERYTHING, none), None, "{words}");
            if let Some(changed) = expected {
                let after = change(400, &body, EVERYTHING, changed);
                assert_eq!(after, None, "{words} again");
                assert!(changed.warning(none, "m").starts_with("`m` refused"));
            }
        }
    }

    #[test]
    fn thinking_that_is_refused_is_left_out_of_one_request() {
        let body = ErrorBody {
            message: "messages.1.content.0: Invalid `signature` in `thinking` block".to_owned(),
            ..ErrorBody::default()
        };
        let none = Adapted::default();
        assert_eq!(change(400, &body, EVERYTHING, none), None);
        let sent = Sent {
            thinking: true,
            ..EVERYTHING
        };
        let changed = change(400, &body, sent, none).expect("a change");
        assert!(changed.no_thinking);
        assert_eq!(change(400, &body, sent, changed), None);
        assert!(changed.warning(none, "m").ends_with("was left out"));
        remember("http://thinking.test", "m", changed);
        assert_eq!(remembered("http://thinking.test", "m"), none);
    }

    #[test]
    fn what_was_learnt_is_remembered_by_endpoint_and_model() {
        let learnt = Adapted {
            no_temperature: true,
            ..Adapted::default()
        };
        remember("http://adapt.test", "m", learnt);
        assert_eq!(remembered("http://adapt.test", "m"), learnt);
        assert_eq!(remembered("http://adapt.test", "n"), Adapted::default());
    }
}
