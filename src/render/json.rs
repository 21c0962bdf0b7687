//! Output for programs.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::masked::Masks;
use crate::agents::RunResult;
use crate::event::{Event, EventKind};

#[derive(Serialize)]
struct EventLine<'a> {
    #[serde(flatten)]
    kind: &'a EventKind,
    seq: u64,
    ts: String,
    run_id: &'a str,
    agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
}

#[derive(Serialize)]
struct ResultLine {
    r#type: &'static str,
    seq: u64,
    ts: String,
    #[serde(flatten)]
    result: Value,
}

/// An event as one line of `stream-json`, its newline included.
pub fn event_line(sequence: u64, event: &Event) -> String {
    line(&EventLine {
        kind: &event.kind,
        seq: sequence,
        ts: timestamp(event.at),
        run_id: &event.run_id,
        agent: &event.agent,
        step: event.step.as_deref(),
    })
}

/// The result as the last line of `stream-json`, its newline included.
pub(super) fn result_line(sequence: u64, result: &RunResult, masks: &Masks) -> String {
    line(&ResultLine {
        r#type: "result",
        seq: sequence,
        ts: timestamp(SystemTime::now()),
        result: masks.value(result),
    })
}

/// The result as `--json` prints it.
pub(super) fn object(result: &RunResult, masks: &Masks) -> String {
    masks.indented(result)
}

fn line(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}

/// UTC with milliseconds.
fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
        .unwrap_or_default()
}
