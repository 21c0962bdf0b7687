//! Conversations as files.

use serde_json::{Value, json};

use super::Session;
use crate::message::Message;

/// A conversation as Markdown, for people.
pub fn markdown(session: &Session, messages: &[Message]) -> String {
    let title = session.name.as_deref().unwrap_or(&session.id);
    let mut text = format!("# {} · {title}\n", session.agent);
    for message in messages {
        match message {
            Message::User { text: said } => text.push_str(&format!("\n## User\n\n{said}\n")),
            Message::Assistant(assistant) => {
                text.push_str(&format!("\n## {}\n", session.agent));
                if !assistant.text.is_empty() {
                    text.push_str(&format!("\n{}\n", assistant.text));
                }
                for call in &assistant.calls {
                    text.push_str(&format!("\n- calls `{}` {}\n", call.name, call.arguments));
                }
            }
            Message::Tool { results } => {
                for result in results {
                    let fence = fence(&result.content);
                    let failed = if result.is_error { " (failed)" } else { "" };
                    text.push_str(&format!(
                        "\n### {}{failed}\n\n{fence}\n{}\n{fence}\n",
                        result.tool,
                        result.content.trim_end_matches('\n')
                    ));
                }
            }
        }
    }
    text
}

/// A conversation as JSON, whole.
pub fn json(session: &Session, messages: &[Message]) -> Value {
    json!({"schema_version": 1, "session": session, "messages": messages})
}

/// A fence longer than any in the text.
fn fence(text: &str) -> String {
    let longest = text
        .split(|char| char != '`')
        .map(str::len)
        .max()
        .unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Assistant, ToolCall, ToolResult};

    #[test]
    fn a_conversation_is_readable() {
        let session = Session {
            id: "i".into(),
            ..Session::begin("a", Some("n"))
        };
        let messages = [
            Message::User { text: "hi".into() },
            Message::Assistant(Assistant {
                calls: vec![ToolCall {
                    id: "1".into(),
                    name: "read".into(),
                    arguments: "{\"path\":\"x\"}".into(),
                    ..ToolCall::default()
                }],
                ..Assistant::default()
            }),
            Message::Tool {
                results: vec![ToolResult {
                    call_id: "1".into(),
                    tool: "read".into(),
                    content: "```\ncode\n```\n".into(),
                    is_error: false,
                }],
            },
            Message::Assistant(Assistant {
                text: "done".into(),
                ..Assistant::default()
            }),
        ];
        assert_eq!(
            markdown(&session, &messages),
            "# a · n\n\n## User\n\nhi\n\n## a\n\n- calls `read` {\"path\":\"x\"}\n\n### read\n\n````\n```\ncode\n```\n````\n\n## a\n\ndone\n"
        );
        assert_eq!(json(&session, &messages)["messages"][0]["text"], "hi");
    }
}
