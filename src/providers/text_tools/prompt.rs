//! How tools, calls and results are told to a model in words.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::message::{Assistant, Message, ToolCall, ToolResult, ToolSpec};

/// The words that offer tools, for the end of the system prompt; empty without tools.
pub(crate) fn instructions(tools: &[ToolSpec]) -> String {
    if tools.is_empty() {
        return String::new();
    }
    let mut words = "## Tools\n\nTo use a tool, write a fenced block that is marked `tool` and \
         holds one JSON object with the tool's name and its parameters, like this:\n\n\
         ```tool\n{\"tool\": \"name\", \"params\": {\"parameter\": \"value\"}}\n```\n\n\
         The fences stand on lines of their own. Write several blocks to use several tools. After \
         your blocks, stop: the results come with the next message. A block with any other mark is \
         text for the reader and runs nothing.\n\nThe tools:\n"
        .to_owned();
    for tool in tools {
        let (name, about, schema) = (&tool.name, &tool.description, &tool.parameters);
        // Writing to a string cannot fail.
        let _written = writeln!(
            words,
            "\n- `{name}`: {about}\n  Parameters as JSON Schema: {schema}"
        );
    }
    words
}

/// A conversation in which calls and results are words as well.
pub(crate) fn history(messages: &[Message]) -> Vec<Message> {
    messages
        .iter()
        .map(|message| match message {
            Message::User { .. } => message.clone(),
            Message::Assistant(said) => Message::Assistant(with_blocks(said)),
            Message::Tool { results } => Message::User {
                text: results_text(results),
            },
        })
        .collect()
}

fn with_blocks(said: &Assistant) -> Assistant {
    let mut text = said.text.clone();
    for call in &said.calls {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&block(call));
    }
    Assistant {
        text,
        reasoning: said.reasoning.clone(),
        ..Assistant::default()
    }
}

fn block(call: &ToolCall) -> String {
    if call.malformed {
        return format!("```tool\n{}\n```", call.arguments.trim());
    }
    let params: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    let body = json!({"tool": call.name, "params": params});
    format!("```tool\n{body}\n```")
}

fn results_text(results: &[ToolResult]) -> String {
    let mut text = "Results of the tools, in the order of your blocks:".to_owned();
    for result in results {
        let state = if result.is_error { "failed" } else { "ok" };
        let _written = write!(
            text,
            "\n\n### {} ({state})\n{}",
            result.tool, result.content
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_with_tools_becomes_words() {
        let tool = ToolSpec {
            name: "read".to_owned(),
            description: "Reads a file.".to_owned(),
            parameters: json!({"type": "object"}),
        };
        assert_eq!(instructions(&[]), "");
        let offered = instructions(&[tool]);
        let expected =
            "- `read`: Reads a file.\n  Parameters as JSON Schema: {\"type\":\"object\"}\n";
        assert!(offered.ends_with(expected), "{offered}");

        let call = ToolCall {
            id: "a".to_owned(),
            name: "read".to_owned(),
            arguments: r#"{"path":"x"}"#.to_owned(),
            ..ToolCall::default()
        };
        let broken = ToolCall {
            arguments: "{nonsense".to_owned(),
            malformed: true,
            ..call.clone()
        };
        let result = |content: &str, is_error| ToolResult {
            call_id: "a".to_owned(),
            tool: "read".to_owned(),
            content: content.to_owned(),
            is_error,
        };
        let told = history(&[
            Message::Assistant(Assistant {
                text: "Let me look.".to_owned(),
                calls: vec![call, broken],
                ..Assistant::default()
            }),
            Message::Tool {
                results: vec![result("one", false), result("two", true)],
            },
        ]);
        assert_eq!(
            told,
            [
                Message::Assistant(Assistant {
                    text:
                        "Let me look.\n\n```tool\n{\"tool\":\"read\",\"params\":{\"path\":\"x\"}}\n\
                           ```\n\n```tool\n{nonsense\n```"
                            .to_owned(),
                    ..Assistant::default()
                }),
                Message::User {
                    text:
                        "Results of the tools, in the order of your blocks:\n\n### read (ok)\none\
                           \n\n### read (failed)\ntwo"
                            .to_owned(),
                },
            ]
        );
    }
}
