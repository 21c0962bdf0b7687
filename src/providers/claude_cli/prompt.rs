//! The prompt as the CLI reads it: data, whatever it begins with or mentions.
//!
//! Measured on version 2.1.330: a `/` in the very first place runs a local command, and any white
//! space before it prevents that; `@path` puts the file into the request when it stands at the
//! start, after white space or after some full-width punctuation, and the file exists.

use crate::message::Message;

/// An invisible character that keeps an `@` from being read as the mention of a file.
const WORD_JOINER: char = '\u{2060}';

/// The prompt such that no part of it is a command or a mention. `exists` tells whether a path that
/// is relative to the CLI's directory names something; an absolute path or one that leaves the
/// directory is kept from being a mention without asking.
pub fn escape(prompt: &str, exists: impl Fn(&str) -> bool) -> String {
    let mut escaped = String::with_capacity(prompt.len() + 8);
    if prompt.starts_with('/') {
        escaped.push('\n');
    }
    let mut before: Option<char> = None;
    for (at, character) in prompt.char_indices() {
        let opens = before.is_none_or(|before| before.is_whitespace() || !before.is_ascii());
        if character == '@' && opens {
            let rest = prompt.get(at + 1..).unwrap_or_default();
            if mentions(rest, &exists) {
                escaped.push(WORD_JOINER);
            }
        }
        escaped.push(character);
        before = Some(character);
    }
    escaped
}

fn mentions(rest: &str, exists: &impl Fn(&str) -> bool) -> bool {
    if rest.starts_with(['/', '~', '.', '"']) {
        return true;
    }
    let token = rest.split(char::is_whitespace).next().unwrap_or_default();
    // The CLI leaves out what follows the name, such as a comma or `#L1-2`.
    let ends = token
        .char_indices()
        .filter(|(_, character)| !character.is_alphanumeric())
        .map(|(at, _)| at)
        .chain([token.len()]);
    ends.filter_map(|end| token.get(..end))
        .any(|path| !path.is_empty() && exists(path))
}

/// The last thing that was said to the model, which is all that a conversation which the CLI
/// already knows needs.
pub fn last(messages: &[Message]) -> String {
    match messages.last() {
        Some(Message::User { text }) => text.clone(),
        Some(other) => transcript(std::slice::from_ref(other)),
        None => String::new(),
    }
}

/// A conversation that the CLI does not know, as one prompt.
pub fn whole(messages: &[Message]) -> String {
    match messages.split_last() {
        None => String::new(),
        Some((Message::User { text }, [])) => text.clone(),
        Some((last_message, earlier)) => format!(
            "The conversation so far, for your information:\n\n<conversation>\n{}</conversation>\n\n\
             What follows is what you are asked now.\n\n{}",
            transcript(earlier),
            last(std::slice::from_ref(last_message)),
        ),
    }
}

/// What is said to a conversation whose last answer was cut in the middle of its work.
pub const GO_ON: &str = "Your last answer was interrupted by a failure of the connection. Go on from \
     where you were; what your tools did is done.";

fn transcript(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        match message {
            Message::User { text: said } => block(&mut text, "user", said),
            Message::Assistant(assistant) => {
                block(&mut text, "assistant", &assistant.text);
                for call in &assistant.calls {
                    block(
                        &mut text,
                        "tool call",
                        &format!("{} {}", call.name, call.arguments),
                    );
                }
            }
            Message::Tool { results } => {
                for result in results {
                    block(
                        &mut text,
                        &format!("result of {}", result.tool),
                        &result.content,
                    );
                }
            }
        }
    }
    text
}

fn block(text: &mut String, speaker: &str, said: &str) {
    if !said.is_empty() {
        for piece in ["[", speaker, "]\n", said, "\n\n"] {
            text.push_str(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Assistant, ToolCall, ToolResult};

    #[test]
    fn nothing_in_a_prompt_is_a_command() {
        let exists = |path: &str| path == "note.txt" || path == "src";
        for (prompt, escaped) in [
            ("say hello", "say hello"),
            ("/help", "\n/help"),
            (" /help", " /help"),
            ("-p --version", "-p --version"),
            ("@note.txt", "\u{2060}@note.txt"),
            ("see @note.txt, please", "see \u{2060}@note.txt, please"),
            ("see @note.txt#L1-2", "see \u{2060}@note.txt#L1-2"),
            ("。@note.txt", "。\u{2060}@note.txt"),
            ("@src/lib.rs", "\u{2060}@src/lib.rs"),
            ("@/etc/passwd", "\u{2060}@/etc/passwd"),
            ("@\"a b\"", "\u{2060}@\"a b\""),
            ("@~/x @../y", "\u{2060}@~/x \u{2060}@../y"),
            ("me@note.txt (@note.txt)", "me@note.txt (@note.txt)"),
            ("@app.route('/')\n@Override", "@app.route('/')\n@Override"),
            ("", ""),
        ] {
            assert_eq!(escape(prompt, exists), escaped, "{prompt}");
        }
    }

    #[test]
    fn a_conversation_of_somebody_else_is_told_whole() {
        let user = |text: &str| Message::User {
            text: text.to_owned(),
        };
        assert_eq!(whole(&[user("one")]), "one");
        let earlier = [
            user("list them"),
            Message::Assistant(Assistant {
                text: "I look.".to_owned(),
                calls: vec![ToolCall {
                    id: "1".to_owned(),
                    name: "list_dir".to_owned(),
                    arguments: "{}".to_owned(),
                    ..ToolCall::default()
                }],
                ..Assistant::default()
            }),
            Message::Tool {
                results: vec![ToolResult {
                    call_id: "1".to_owned(),
                    tool: "list_dir".to_owned(),
                    content: "a b".to_owned(),
                    is_error: false,
                }],
            },
            user("and now?"),
        ];
        assert_eq!(
            whole(&earlier),
            "The conversation so far, for your information:\n\n<conversation>\n[user]\nlist them\n\n\
             [assistant]\nI look.\n\n[tool call]\nlist_dir {}\n\n[result of list_dir]\na b\n\n\
             </conversation>\n\nWhat follows is what you are asked now.\n\nand now?"
        );
        assert_eq!(last(&earlier), "and now?");
    }
}
