//! How large a request is, without making a copy of it.

use std::io;

use serde::Serialize;

use super::call::Counted;
use crate::costs::{PromptSize, Weight};
use crate::message::Message;
use crate::providers::Request;

/// The size of a request; what the vendor has counted before is taken as it is.
pub(super) fn prompt_size(request: &Request, counted: Option<Counted>) -> PromptSize {
    let mut size = PromptSize::default();
    let known = counted.filter(|counted| counted.messages <= request.messages.len());
    if let Some(counted) = known {
        size.counted_tokens = counted.tokens;
    } else {
        size.add(&request.system);
        for tool in &request.tools {
            size.add(&tool.name);
            size.add(&tool.description);
            add_json(&mut size, &tool.parameters);
        }
    }
    if let Some(schema) = &request.output_schema {
        add_json(&mut size, schema);
    }
    let new = known.map_or(0, |counted| counted.messages);
    for message in request.messages.iter().skip(new) {
        add_message(&mut size, message);
    }
    size
}

/// Adds a message to what a prompt has already.
pub fn add_message(size: &mut PromptSize, message: &Message) {
    match message {
        Message::User { text } => size.add(text),
        Message::Assistant(said) => {
            size.add(&said.text);
            for call in &said.calls {
                size.add(&call.name);
                size.add(&call.arguments);
                if !call.extra.is_null() {
                    add_json(size, &call.extra);
                }
            }
            if !said.vendor_extra.is_null() {
                add_json(size, &said.vendor_extra);
            }
        }
        Message::Tool { results } => {
            for result in results {
                size.add(&result.content);
            }
        }
    }
}

/// Adds a value as it is written out, without writing it anywhere.
fn add_json(size: &mut PromptSize, value: &impl Serialize) {
    let mut counter = Counter(Weight::default());
    // Nothing can fail: the counter takes everything, and these values have only text for keys.
    drop(serde_json::to_writer(&mut counter, value));
    size.add_weight(&counter.0);
}

struct Counter(Weight);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.feed(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::message::{Assistant, ToolCall, ToolResult, ToolSpec};

    #[test]
    fn everything_that_is_sent_counts_and_what_was_counted_before_does_not() {
        let request = Request {
            system: "be kind".to_owned(),
            tools: vec![ToolSpec {
                name: "read".to_owned(),
                description: "reads".to_owned(),
                parameters: json!({"type": "object"}),
            }],
            messages: vec![
                Message::User {
                    text: "hello".to_owned(),
                },
                Message::Assistant(Assistant {
                    text: "yes".to_owned(),
                    calls: vec![ToolCall {
                        name: "read".to_owned(),
                        arguments: "{}".to_owned(),
                        ..ToolCall::default()
                    }],
                    vendor_extra: json!("sig"),
                    ..Assistant::default()
                }),
                Message::Tool {
                    results: vec![ToolResult {
                        call_id: String::new(),
                        tool: String::new(),
                        content: "1234".to_owned(),
                        is_error: false,
                    }],
                },
            ],
            ..Request::default()
        };
        let whole = prompt_size(&request, None);
        let texts = [
            "be kind",
            "read",
            "reads",
            r#"{"type":"object"}"#,
            "hello",
            "yes",
            "read",
            "{}",
            "\"sig\"",
            "1234",
        ];
        let mut expected = PromptSize::default();
        for text in texts {
            expected.add(text);
        }
        assert_eq!(whole, expected);
        let counted = Counted {
            tokens: 77,
            messages: 2,
        };
        let mut rest = PromptSize::of("1234");
        rest.counted_tokens = 77;
        assert_eq!(prompt_size(&request, Some(counted)), rest);
        // A conversation that has become shorter since is counted anew.
        let stale = Counted {
            messages: 9,
            ..counted
        };
        assert_eq!(prompt_size(&request, Some(stale)), whole);
    }
}
