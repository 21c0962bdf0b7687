//! Fenced `tool` blocks in an answer: found while it streams, read when it ended.
//!
//! A block is read as JSON from its opening fence on, so that a fence inside an argument ends
//! nothing. Blocks with another mark, and `tool` blocks inside of them, are text.

use serde_json::Value;

use crate::message::ToolCall;

/// Splits a streamed answer into what is shown and what is called.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    text: String,
    /// Where the first line begins that is not looked at yet.
    line: usize,
    /// From where on no line end was looked for yet.
    scanned: usize,
    /// How much was shown.
    shown: usize,
    /// Length of the fence that a block of text was opened with.
    inside: Option<usize>,
    /// A tool block was opened: nothing is shown any more until the answer ended.
    held: bool,
}

impl Blocks {
    /// Takes a piece of the answer and gives what can be shown by now.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        self.text.push_str(piece);
        while !self.held {
            let new = self.text.get(self.scanned..).unwrap_or_default();
            let Some(end) = new.find('\n').map(|end| self.scanned + end) else {
                self.scanned = self.text.len();
                break;
            };
            match fence(self.text.get(self.line..end).unwrap_or_default()) {
                Some(Fence { tool: true, .. }) if self.inside.is_none() => self.held = true,
                found => {
                    self.inside = inside_after(self.inside, found.as_ref());
                    self.line = end + 1;
                    self.scanned = self.line;
                }
            }
        }
        // A line that may become the fence of a tool block waits for its end.
        let rest = self.text.get(self.line..).unwrap_or_default();
        let open = !self.held && !may_be_fence(rest);
        let until = if open { self.text.len() } else { self.line };
        let piece = self
            .text
            .get(self.shown..until)
            .unwrap_or_default()
            .to_owned();
        self.shown = self.shown.max(until);
        piece
    }

    /// The answer ended: its text without the blocks, and their calls, without ids.
    pub(crate) fn finish(self) -> (String, Vec<ToolCall>) {
        let (mut visible, mut calls) = (String::new(), Vec::new());
        let mut inside = None;
        let mut rest = self.text.as_str();
        while !rest.is_empty() {
            let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
            let (line, after) = rest.split_at(end);
            match fence(line) {
                Some(found) if found.tool && inside.is_none() => {
                    rest = read_block(after, found.length, &mut calls);
                }
                found => {
                    inside = inside_after(inside, found.as_ref());
                    visible.push_str(line);
                    rest = after;
                }
            }
        }
        visible.truncate(visible.trim_end().len());
        (visible, calls)
    }

    /// How much of the text was shown already.
    pub(crate) fn shown(&self) -> usize {
        self.shown
    }
}

struct Fence {
    length: usize,
    tool: bool,
    bare: bool,
}

/// A line that opens or closes a block: at most three spaces, then at least three backticks.
fn fence(line: &str) -> Option<Fence> {
    let marks = line.trim_start_matches(' ');
    if line.len() - marks.len() > 3 {
        return None;
    }
    let info = marks.trim_start_matches('`');
    let length = marks.len() - info.len();
    if length < 3 || info.contains('`') {
        return None;
    }
    let info = info.trim();
    Some(Fence {
        length,
        tool: info == "tool",
        bare: info.is_empty(),
    })
}

fn inside_after(inside: Option<usize>, found: Option<&Fence>) -> Option<usize> {
    match (inside, found) {
        (None, Some(opened)) => Some(opened.length),
        (Some(length), Some(closed)) if closed.bare && closed.length >= length => None,
        (inside, _) => inside,
    }
}

/// Whether a line without end may yet become the fence of a tool block.
fn may_be_fence(line: &str) -> bool {
    let marks = line.trim_start_matches(' ');
    if line.is_empty() || line.len() - marks.len() > 3 {
        return false;
    }
    let info = marks.trim_start_matches('`');
    let length = marks.len() - info.len();
    if info.is_empty() {
        return true;
    }
    length >= 3 && "tool".starts_with(info.trim())
}

/// Reads the block that `text` begins with and gives what comes after it.
fn read_block<'a>(text: &'a str, length: usize, calls: &mut Vec<ToolCall>) -> &'a str {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut read = Vec::new();
    let mut end = 0;
    while let Some(Ok(value)) = values.next() {
        end = values.byte_offset();
        read.push(value);
        let next = text.get(end..).unwrap_or_default().trim_start();
        if !next.starts_with(['{', '[']) {
            break;
        }
    }
    let after = text.get(end..).unwrap_or_default();
    // The closing fence may stand right behind the value, or be forgotten at the end.
    let closing = after.trim_start();
    let closed = closing.is_empty() || closing.starts_with("```");
    if read.is_empty() || !closed {
        let (block, after) = to_closing_fence(text, length);
        calls.push(malformed(block));
        return after;
    }
    for value in read {
        match value {
            Value::Array(list) if !list.is_empty() => calls.extend(list.iter().map(call)),
            value => calls.push(call(&value)),
        }
    }
    let line_end = closing.find('\n').map_or(closing.len(), |end| end + 1);
    closing.get(line_end..).unwrap_or_default()
}

/// A block that cannot be read ends at its closing fence, or with the answer.
fn to_closing_fence(text: &str, length: usize) -> (&str, &str) {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        if fence(line).is_some_and(|found| found.bare && found.length >= length) {
            let block = text.get(..start).unwrap_or_default();
            return (block, text.get(end..).unwrap_or_default());
        }
        start = end;
    }
    (text, "")
}

fn call(value: &Value) -> ToolCall {
    let first = |keys: &[&str]| keys.iter().find_map(|key| value.get(key));
    let name = first(&["tool", "name"]).and_then(Value::as_str);
    let params = first(&["params", "parameters", "arguments", "args"]);
    match name {
        Some(name) if !name.is_empty() => ToolCall {
            name: name.to_owned(),
            arguments: params.map_or_else(|| "{}".to_owned(), Value::to_string),
            ..ToolCall::default()
        },
        _ => malformed(&value.to_string()),
    }
}

/// A call that is told to the model and never run, under the name that it seems to have.
fn malformed(block: &str) -> ToolCall {
    let name = block
        .split_once("\"tool\"")
        .and_then(|(_, after)| after.trim_start().strip_prefix(':'))
        .and_then(|after| after.trim_start().strip_prefix('"'))
        .and_then(|after| after.split_once('"'))
        .map_or("tool", |(name, _)| name);
    ToolCall {
        name: name.to_owned(),
        arguments: block.trim().to_owned(),
        malformed: true,
        ..ToolCall::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Vec<(String, String, bool)>) {
        let mut blocks = Blocks::default();
        blocks.push(text);
        let (visible, calls) = blocks.finish();
        let calls = calls
            .into_iter()
            .map(|call| (call.name, call.arguments, call.malformed))
            .collect();
        (visible, calls)
    }

    fn ok(name: &str, arguments: &str) -> (String, String, bool) {
        (name.to_owned(), arguments.to_owned(), false)
    }

    fn bad(name: &str, arguments: &str) -> (String, String, bool) {
        (name.to_owned(), arguments.to_owned(), true)
    }

    #[test]
    fn blocks_are_called_and_the_rest_is_text() {
        for (text, visible, calls) in [
            ("plain answer", "plain answer", vec![]),
            (
                "Look:\n```tool\n{\"tool\": \"read\", \"params\": {\"path\": \"a\"}}\n```\n",
                "Look:",
                vec![ok("read", r#"{"path":"a"}"#)],
            ),
            // A fence inside an argument.
            (
                "```tool\n{\"tool\":\"write\",\"params\":{\"content\":\"x\\n```\\ny\"}}\n```\nDone",
                "Done",
                vec![ok("write", r#"{"content":"x\n```\ny"}"#)],
            ),
            // The same with real line ends is no JSON, and ends at the first fence.
            (
                "```tool\n{\"tool\":\"write\",\"params\":{\"content\":\"x\n```\ny\"}}\n",
                "y\"}}",
                vec![bad(
                    "write",
                    "{\"tool\":\"write\",\"params\":{\"content\":\"x",
                )],
            ),
            // Examples run nothing.
            (
                "```json\n{\"tool\": \"bash\", \"params\": {}}\n```\nend",
                "```json\n{\"tool\": \"bash\", \"params\": {}}\n```\nend",
                vec![],
            ),
            (
                "````markdown\n```tool\n{\"tool\": \"bash\"}\n```\n````\nend",
                "````markdown\n```tool\n{\"tool\": \"bash\"}\n```\n````\nend",
                vec![],
            ),
            (
                "use ```tool blocks\n{\"tool\":1}",
                "use ```tool blocks\n{\"tool\":1}",
                vec![],
            ),
            ("    ```tool\n{}\n", "    ```tool\n{}", vec![]),
            // Several, in order, with and without closing fences.
            (
                "a\n```tool\n{\"tool\":\"one\"}\n```\nb\n  ````tool  \n{\"tool\":\"two\",\"params\":{}}```\nc\n```tool\n{\"tool\":\"three\"}",
                "a\nb\nc",
                vec![ok("one", "{}"), ok("two", "{}"), ok("three", "{}")],
            ),
            (
                "```tool\n{\"tool\":\"one\"}\n{\"tool\":\"two\"}\n```\n```tool\n[{\"tool\":\"three\"}]\n```",
                "",
                vec![ok("one", "{}"), ok("two", "{}"), ok("three", "{}")],
            ),
            (
                "```tool\n{\n  \"name\": \"f\",\n  \"arguments\": {\"a\": [1, 2]}\n}\n```",
                "",
                vec![ok("f", r#"{"a":[1,2]}"#)],
            ),
            // What cannot be read is told, not skipped.
            (
                "```tool\nnonsense\n```\nz",
                "z",
                vec![bad("tool", "nonsense")],
            ),
            ("```tool\n```\nz", "z", vec![bad("tool", "")]),
            (
                "```tool\n{\"tool\":\"f\",",
                "",
                vec![bad("f", "{\"tool\":\"f\",")],
            ),
            (
                "```tool\n{\"tool\":\"f\"} and words\n```\nz",
                "z",
                vec![bad("f", "{\"tool\":\"f\"} and words")],
            ),
            (
                "```tool\n{\"params\":{}}\n```",
                "",
                vec![bad("tool", "{\"params\":{}}")],
            ),
            ("```tool\n7\n```", "", vec![bad("tool", "7")]),
        ] {
            assert_eq!(read(text), (visible.to_owned(), calls), "{text}");
        }
    }

    #[test]
    fn a_stream_shows_text_and_never_a_block() {
        let text = "Let `me` look.\n``x``\n```rust\nfn f() {}\n```\nNow:\n```tool\n\
                    {\"tool\":\"read\"}\n```\nhidden until the end";
        for size in 1..text.len() {
            let mut blocks = Blocks::default();
            let mut shown = String::new();
            for piece in text.as_bytes().chunks(size) {
                shown.push_str(&blocks.push(std::str::from_utf8(piece).expect("ASCII")));
            }
            assert_eq!(
                shown,
                "Let `me` look.\n``x``\n```rust\nfn f() {}\n```\nNow:\n"
            );
            assert_eq!(blocks.shown(), shown.len());
            let (visible, calls) = blocks.finish();
            assert!(visible.starts_with(&shown), "{visible}");
            assert!(visible.ends_with("hidden until the end"), "{visible}");
            assert_eq!(calls.len(), 1);
        }
    }
}
