//! The tool calls of the last turn, with what they were asked and what they gave.

use serde_json::Value;

use crate::agents::ToolReport;
use crate::message::{Message, ToolCall, ToolResult};
use crate::render::{self, Style};

/// Lines that are shown of an argument or a result.
const MOST: usize = 20;

/// A call that ended.
pub(super) struct LastCall {
    report: ToolReport,
    /// What the conversation holds of it; an agent that runs its tools by itself leaves nothing.
    known: Option<(ToolCall, ToolResult)>,
}

/// Puts the reports of a turn and what its messages hold together: both are in the order of the calls.
pub(super) fn of(reports: &[ToolReport], messages: &[Message]) -> Vec<LastCall> {
    let mut asked: Vec<&ToolCall> = Vec::new();
    let mut known: Vec<(ToolCall, ToolResult)> = Vec::new();
    for message in messages {
        match message {
            Message::Assistant(assistant) => asked = assistant.calls.iter().collect(),
            Message::Tool { results } => {
                let call_of = |result: &ToolResult| {
                    let call = asked.iter().find(|call| call.id == result.call_id)?;
                    Some(((*call).clone(), result.clone()))
                };
                known.extend(results.iter().filter_map(call_of));
            }
            Message::User { .. } => {}
        }
    }
    let mut known = known.into_iter().peekable();
    let with_known = |report: &ToolReport| LastCall {
        report: report.clone(),
        known: known.next_if(|(call, _)| call.name == report.tool),
    };
    reports.iter().map(with_known).collect()
}

impl LastCall {
    /// The call in lines; ends with a line end.
    pub(super) fn text(&self, style: Style) -> String {
        let ToolReport { tool, ok, ms } = &self.report;
        let mut text = if *ok {
            style.green("ok  ")
        } else {
            style.red("FAIL")
        };
        text.push_str(&format!(
            " {} ({ms} ms)\n",
            style.bold(&render::in_line(tool))
        ));
        let Some((call, result)) = &self.known else {
            return text;
        };
        match serde_json::from_str(&call.arguments) {
            Ok(Value::Object(arguments)) => {
                for (name, value) in &arguments {
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    let first = format!("  {}: ", render::in_line(name));
                    block(&mut text, &first, "    ", &value);
                }
            }
            _ => block(&mut text, "  ", "  ", &call.arguments),
        }
        let mut given = String::new();
        block(&mut given, "  | ", "  | ", &result.content);
        text.push_str(&style.dim(given.trim_end_matches('\n')));
        text.push('\n');
        text
    }
}

/// Adds a text, its lines behind a mark; what is long is cut.
fn block(to: &mut String, first: &str, other: &str, content: &str) {
    let content = render::harmless(content);
    let mut lines = content.lines();
    for (index, line) in lines.by_ref().take(MOST).enumerate() {
        to.push_str(if index == 0 { first } else { other });
        to.push_str(line);
        to.push('\n');
    }
    let more = lines.count();
    if more > 0 {
        to.push_str(&format!("{other}… {more} more lines\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Assistant;

    #[test]
    fn reports_find_their_calls() {
        let report = |tool: &str, ok| ToolReport {
            tool: tool.to_owned(),
            ok,
            ms: 3,
        };
        let call = |id: &str, name: &str, arguments: &str| ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            ..ToolCall::default()
        };
        let result = |id: &str, tool: &str, content: &str| ToolResult {
            call_id: id.to_owned(),
            tool: tool.to_owned(),
            content: content.to_owned(),
            is_error: false,
        };
        let messages = [
            Message::Assistant(Assistant {
                calls: vec![
                    call("1", "read", r#"{"path":"a.txt","li\u001b[8mmit":2}"#),
                    call("2", "bash", "no json"),
                ],
                ..Assistant::default()
            }),
            Message::Tool {
                results: vec![
                    result("1", "read", "one\n\x1b[8m\x1b[2Jtwo"),
                    result("2", "bash", &"line\n".repeat(22)),
                ],
            },
        ];
        let reports = [
            report("read", true),
            report("bash", false),
            report("ot\x1b[8mher\n", true),
        ];
        let texts: Vec<String> = of(&reports, &messages)
            .iter()
            .map(|call| call.text(Style::default()))
            .collect();
        let cut = format!(
            "FAIL bash (3 ms)\n  no json\n{}  | … 2 more lines\n",
            "  | line\n".repeat(20)
        );
        assert_eq!(
            texts,
            [
                "ok   read (3 ms)\n  path: a.txt\n  limit: 2\n  | one\n  | [2Jtwo\n",
                cut.as_str(),
                "ok   other  (3 ms)\n",
            ]
        );
    }
}
