//! Runs one tool call: looks it up, asks where rules say so, keeps the time, masks and caps what
//! comes back. A call never ends the run unless the tools themselves cannot go on.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::approvals::{Asked, Verdict, decide, visible};
use super::cap::{KEPT, cap};
use super::workspace::normal;
use super::{Action, Effect, Subject, ToolAnswer, ToolContext, ToolDef, ToolError, ToolStatus};
use super::{canonical_name, table};
use crate::event::{EventKind, Events};
use crate::message::{ToolCall, ToolResult};

/// How a call ended, and what the model sees of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolOutcome {
    /// The text for the model: masked and capped.
    pub content: String,
    /// How it ended.
    pub status: ToolStatus,
    /// The exit code, where a program ran.
    pub exit_code: Option<i32>,
    /// What the user must know; masked.
    pub warnings: Vec<String>,
    /// How long it took, milliseconds; waiting for a person is not counted.
    pub ms: u64,
    /// What it may have changed; `None` when nothing was run.
    pub effect: Option<Effect>,
}

impl ToolOutcome {
    /// The result that goes back to the model under the id of the call.
    pub fn into_result(self, call: &ToolCall) -> ToolResult {
        ToolResult {
            call_id: call.id.clone(),
            tool: call.name.clone(),
            is_error: self.status != ToolStatus::Ok,
            content: self.content,
        }
    }
}

/// Runs a call of a built-in tool.
///
/// # Errors
/// Only when the tools cannot go on at all; whatever else goes wrong is told to the model.
pub async fn execute(
    context: &ToolContext,
    call: &ToolCall,
    events: &Events,
) -> Result<ToolOutcome, io::Error> {
    let Some(tool) = offered(context, &call.name) else {
        let refusal = ToolError::refused(not_offered(context, &call.name));
        return guarded(context, call, events, &Guard::default(), async |_| {
            Err(refusal)
        })
        .await;
    };
    let guard = Guard {
        tool: tool.name,
        subject: Some(tool.subject),
        effect: Some(tool.effect),
        limit: tool.limit,
    };
    guarded(context, call, events, &guard, async |arguments| {
        (tool.run)(context, arguments).await
    })
    .await
}

/// What `guarded` needs to know of a tool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard<'a> {
    /// The name that approval rules know; empty for a call that is refused anyway.
    pub tool: &'a str,
    /// The parameter that approval rules match.
    pub subject: Option<Subject>,
    /// What it may change.
    pub effect: Option<Effect>,
    /// The longest that it may take; `None` for a tool with a deadline of its own.
    pub limit: Option<Duration>,
}

/// Runs any call, built in or not, under everything that holds for all: arguments that are one
/// object, approvals, the time limit, masking, caps, events.
///
/// # Errors
/// Only when the tools cannot go on at all.
pub async fn guarded(
    context: &ToolContext,
    call: &ToolCall,
    events: &Events,
    guard: &Guard<'_>,
    run: impl AsyncFnOnce(Value) -> ToolAnswer,
) -> Result<ToolOutcome, io::Error> {
    let arguments = arguments(call);
    if events.is_watched() {
        let mut shown = match &arguments {
            Ok(arguments) => arguments.clone(),
            Err(_) => Value::from(call.arguments.clone()),
        };
        context.redactor.mask_json(&mut shown);
        let (call_id, tool) = (call.id.clone(), call.name.clone());
        events
            .emit(EventKind::ToolStarted {
                call_id,
                tool,
                arguments: shown,
            })
            .await;
    }
    tracing::debug!(agent = %context.agent, tool = %call.name, "tool begun");
    let mut started = Instant::now();
    let mut ran = false;
    let answer = async {
        let arguments = arguments?;
        approve(context, guard, &arguments, events).await?;
        started = Instant::now();
        ran = true;
        match guard.limit {
            Some(limit) => tokio::time::timeout(limit, run(arguments))
                .await
                .unwrap_or_else(|_| Err(ToolError::TimedOut(took_too_long(&call.name, limit)))),
            None => run(arguments).await,
        }
    }
    .await;
    let elapsed = started.elapsed();
    let mut outcome = outcome(context, answer, elapsed)?;
    outcome.effect = guard.effect.filter(|_| ran);
    let (status, ms) = (outcome.status, outcome.ms);
    tracing::info!(agent = %context.agent, tool = %call.name, ?status, ms, "tool ended");
    for warning in &outcome.warnings {
        events.notice(warning.clone()).await;
    }
    if events.is_watched() {
        let first = outcome.content.lines().next().unwrap_or_default();
        events
            .emit(EventKind::ToolFinished {
                call_id: call.id.clone(),
                tool: call.name.clone(),
                ok: outcome.status == ToolStatus::Ok,
                ms: outcome.ms,
                summary: first.chars().take(120).collect(),
            })
            .await;
    }
    Ok(outcome)
}

fn outcome(
    context: &ToolContext,
    answer: ToolAnswer,
    elapsed: Duration,
) -> Result<ToolOutcome, io::Error> {
    let mut warnings = Vec::new();
    let (content, status, exit_code) = match answer {
        Ok(output) => {
            warnings = output.warnings;
            (output.content, output.status, output.exit_code)
        }
        Err(ToolError::Tell(words)) => (words, ToolStatus::Failed, None),
        Err(ToolError::Refused(words)) => (words, ToolStatus::Refused, None),
        Err(ToolError::TimedOut(words)) => (words, ToolStatus::TimedOut, None),
        Err(ToolError::Fatal(error)) => return Err(error),
    };
    Ok(ToolOutcome {
        // Masked before it is cut, since half a secret is not recognised.
        content: cap(context.redactor.mask_owned(content), KEPT),
        status,
        exit_code,
        warnings: warnings
            .into_iter()
            .map(|warning| context.redactor.mask_owned(warning))
            .collect(),
        ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        effect: None,
    })
}

fn offered(context: &ToolContext, name: &str) -> Option<&'static ToolDef> {
    let tool = table::find(name)?;
    context
        .tools
        .iter()
        .any(|listed| canonical_name(listed) == Some(tool.name))
        .then_some(tool)
}

fn not_offered(context: &ToolContext, name: &str) -> String {
    let tools: Vec<String> = context
        .tools
        .iter()
        .map(|tool| format!("`{tool}`"))
        .collect();
    let has = match tools.as_slice() {
        [] => "you have no tools".to_owned(),
        tools => format!("you have {}", tools.join(", ")),
    };
    format!("the tool `{name}` is not allowed here: {has}")
}

fn took_too_long(name: &str, limit: Duration) -> String {
    format!(
        "`{name}` was stopped: it took longer than {} s",
        limit.as_secs()
    )
}

fn arguments(call: &ToolCall) -> Result<Value, ToolError> {
    let name = &call.name;
    let text = call.arguments.trim();
    // A call without parameters has, with some vendors, no arguments at all.
    if text.is_empty() && !call.malformed {
        return Ok(Value::Object(Map::new()));
    }
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) if !call.malformed => Ok(value),
        Ok(_) => Err(ToolError::tell(format!(
            "the arguments of `{name}` are not one JSON object: send them again as one"
        ))),
        Err(error) => Err(ToolError::tell(format!(
            "the arguments of `{name}` are not valid JSON ({error}): nothing was run, send them again"
        ))),
    }
}

async fn approve(
    context: &ToolContext,
    guard: &Guard<'_>,
    arguments: &Value,
    events: &Events,
) -> Result<(), ToolError> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    let (asked, subject) = match guard.subject {
        Some(Subject::Command(name)) => (text(name).map(Asked::Command), text(name)),
        Some(Subject::Text(name)) => {
            let spellings = text(name).map(|text| Asked::Text(spellings(context, text)));
            (spellings, text(name))
        }
        None => (None, None),
    };
    let tool = guard.tool;
    match decide(&context.approvals, tool, &asked.unwrap_or(Asked::Nothing)) {
        Action::Allow => return Ok(()),
        Action::Deny => {
            return Err(ToolError::refused(format!(
                "a rule of the user denies this call of `{tool}`: it was not run"
            )));
        }
        Action::Ask => {}
    }
    let action = match subject {
        Some(subject) => subject.to_owned(),
        None => arguments.to_string(),
    };
    let action = visible(&context.redactor.mask(&action));
    let event = |granted| EventKind::Approval {
        tool: tool.to_owned(),
        action: action.clone(),
        granted,
    };
    if context.approver.is_a_person() {
        // What the agent said so far stands above the question.
        events.emit_shown(event(None)).await;
    } else {
        events.emit(event(None)).await;
    }
    let verdict = context.approver.ask(&context.agent, tool, &action).await;
    events.emit(event(Some(verdict == Verdict::Yes))).await;
    match verdict {
        Verdict::Yes => Ok(()),
        Verdict::No => Err(ToolError::refused(format!(
            "the user said no to this call of `{tool}`: it was not run"
        ))),
        Verdict::Nobody => Err(ToolError::refused(format!(
            "this call of `{tool}` needs the user's approval, and nobody can be asked: it was not run"
        ))),
    }
}

/// A path as it was written, without `.` and `..`, and relative to the workspace; other texts
/// come out the same.
fn spellings(context: &ToolContext, text: &str) -> Vec<String> {
    let mut spellings = vec![text.to_owned()];
    if !text.contains("://") {
        let normal = normal(Path::new(text));
        if let Ok(inside) = normal.strip_prefix(context.workspace.directory()) {
            spellings.push(inside.to_string_lossy().into_owned());
        }
        spellings.push(normal.to_string_lossy().into_owned());
        spellings.dedup();
    }
    spellings
}

#[cfg(test)]
mod tests;
