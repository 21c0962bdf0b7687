//! One line on standard error for an event, where there is something to say.

use serde_json::Value;

use super::{Style, in_line};
use crate::event::EventKind;

const WIDEST_ARGUMENT: usize = 100;

/// The line for an event; `None` for what has none.
pub fn progress_line(kind: &EventKind, style: Style) -> Option<String> {
    Some(match kind {
        EventKind::ToolStarted {
            tool, arguments, ..
        } => style.dim(&format!("> {}", does(tool, arguments))),
        EventKind::ToolFinished {
            ok: false,
            tool,
            summary,
            ..
        } => style.yellow(&format!("  {} failed: {}", in_line(tool), short(summary))),
        EventKind::ToolFinished { .. } => return None,
        EventKind::Retry {
            attempt,
            of,
            class,
            status,
            delay_ms,
            endpoint,
            ..
        } => {
            let status = status
                .map(|status| format!(" {status}"))
                .unwrap_or_default();
            style.dim(&format!(
                "attempt {attempt} of {of} at {endpoint} failed ({class}{status}), next in {}",
                seconds(*delay_ms)
            ))
        }
        EventKind::Throttled {
            reason,
            wait_ms,
            endpoint,
        } => {
            let wait = wait_ms
                .map(|wait| format!(" for {}", seconds(wait)))
                .unwrap_or_default();
            style.dim(&format!("waiting{wait} at {endpoint}: {reason}"))
        }
        EventKind::Fallback { from, to, class } => {
            style.yellow(&format!("{from} failed ({class}), asking {to}"))
        }
        EventKind::Breaker {
            endpoint,
            state,
            retry_in_ms,
        } => {
            let retry = retry_in_ms
                .map(|retry| format!(", tried again in {}", seconds(retry)))
                .unwrap_or_default();
            style.dim(&format!(
                "breaker of {endpoint} is {}{retry}",
                state.replace('_', " ")
            ))
        }
        EventKind::StreamReset => style.dim("the answer broke off and is asked for again"),
        EventKind::Approval {
            tool,
            action,
            granted: Some(granted),
        } => {
            let answer = if *granted { "allowed" } else { "refused" };
            style.dim(&format!("{} {answer}: {}", in_line(tool), short(action)))
        }
        EventKind::BudgetWarning { .. } => {
            style.yellow(&format!("warning: {}", kind.words().unwrap_or_default()))
        }
        EventKind::Compacted { messages } => style.dim(&format!(
            "{messages} older messages were summarised to fit the window"
        )),
        EventKind::StepStarted {} => style.dim("started"),
        EventKind::StepFinished { ok: true } => style.green("done"),
        EventKind::StepFinished { ok: false } => style.yellow("failed"),
        EventKind::Notice { text } => style.dim(&format!("note: {text}")),
        EventKind::RunStarted { .. }
        | EventKind::TurnStarted { .. }
        | EventKind::TextDelta { .. }
        | EventKind::ReasoningDelta { .. }
        | EventKind::Approval { granted: None, .. }
        | EventKind::Usage { .. } => return None,
    })
}

/// What a call does, in one line. The model chose the name of the tool, too.
pub(super) fn does(tool: &str, arguments: &Value) -> String {
    format!("{} {}", in_line(tool), short(&argument_words(arguments)))
}

/// The arguments of a call as a person would say them: values first, without quotes where there is one.
fn argument_words(arguments: &Value) -> String {
    let Value::Object(fields) = arguments else {
        return arguments.to_string();
    };
    let word = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    let mut words: Vec<String> = Vec::new();
    for (index, (name, value)) in fields.iter().enumerate() {
        words.push(if index == 0 {
            word(value)
        } else {
            format!("{name}={}", word(value))
        });
    }
    words.join(" ")
}

/// At most one line of a screen.
pub(super) fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = in_line(line);
    let mut cut: String = line.chars().take(WIDEST_ARGUMENT).collect();
    if cut.len() < line.len() || text.trim_end().contains('\n') {
        cut.push('…');
    }
    cut
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_event_has_at_most_one_line() {
        let line = |kind| progress_line(&kind, Style::default());
        for (kind, expected) in [
            (
                EventKind::ToolStarted {
                    call_id: "1".into(),
                    tool: "grep".into(),
                    arguments: json!({"pattern": "fn\nx", "path": "src", "max_matches": 3}),
                },
                Some("> grep fn…"),
            ),
            (
                EventKind::Retry {
                    attempt: 1,
                    of: 4,
                    class: "overloaded".into(),
                    status: Some(529),
                    code: None,
                    delay_ms: 1250,
                    told_by: "backoff",
                    request_id: None,
                    endpoint: "anthropic".into(),
                },
                Some("attempt 1 of 4 at anthropic failed (overloaded 529), next in 1.2 s"),
            ),
            (
                EventKind::ToolStarted {
                    call_id: "1".into(),
                    tool: "re\x1b]0;t\x07\x1b[8m\nad".into(),
                    arguments: json!({"path": "\x1b[31m\tx\u{202e}"}),
                },
                Some("> re]0;t ad  x"),
            ),
            (
                EventKind::ToolFinished {
                    call_id: "1".into(),
                    tool: "\x1b[8mread".into(),
                    ok: false,
                    ms: 1,
                    summary: "no\x1b[8m such\nfile".into(),
                },
                Some("  read failed: no such…"),
            ),
            (EventKind::TurnStarted { turn: 1 }, None),
            (EventKind::Notice { text: "x".into() }, Some("note: x")),
        ] {
            assert_eq!(line(kind).as_deref(), expected);
        }
    }
}
