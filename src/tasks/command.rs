//! Commands of the configuration: run in the sandbox like those of an agent, but asked about by nobody,
//! since they are the user's own.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::clock;
use crate::error::ErrorClass;
use crate::event::{EventKind, Events};
use crate::process::{Caps, Cause, Input};
use crate::redact::Redactor;
use crate::sandbox::{Command, Outcome, SandboxError};
use crate::tools::ToolContext;
use crate::tools::cap::{KEPT, cap};

/// How long a command may take when the step does not say.
const USUAL: Duration = Duration::from_mins(2);

/// What a command gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ran {
    /// What it wrote, first to standard output, then to standard error; without the last line end.
    pub(super) output: String,
    /// How it ended.
    pub(super) exit_code: Option<i32>,
    /// Why it counts as failed.
    pub(super) failure: Option<(ErrorClass, String)>,
    /// How long it took, milliseconds.
    pub(super) ms: u64,
}

/// Runs a command, with `input` on its standard input, until it ends or its time is up.
pub(super) async fn run(
    tools: &ToolContext,
    script: &str,
    input: Option<&str>,
    deadline: Option<Instant>,
    events: &Events,
) -> Ran {
    events
        .emit(EventKind::ToolStarted {
            call_id: String::new(),
            tool: "run".to_owned(),
            arguments: json!({"command": tools.redactor.mask(script)}),
        })
        .await;
    let start = Instant::now();
    let limit = deadline.map_or(USUAL, |deadline| deadline.saturating_duration_since(start));
    let mut ran = match tokio::time::timeout(limit, execute(tools, script, input, limit)).await {
        Ok(Ok(outcome)) => {
            for warning in outcome.warnings() {
                events.notice(tools.redactor.mask_owned(warning)).await;
            }
            ended(outcome, limit, &tools.redactor)
        }
        Ok(Err(error)) => refused(&error),
        Err(_) => failed(ErrorClass::Timeout, too_long(limit)),
    };
    ran.output = cap(tools.redactor.mask_owned(ran.output), KEPT);
    ran.ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let summary = ran.failure.as_ref().map_or("", |(_, words)| words);
    events
        .emit(EventKind::ToolFinished {
            call_id: String::new(),
            tool: "run".to_owned(),
            ok: ran.failure.is_none(),
            ms: ran.ms,
            summary: summary.to_owned(),
        })
        .await;
    ran
}

async fn execute(
    tools: &ToolContext,
    script: &str,
    input: Option<&str>,
    limit: Duration,
) -> Result<Outcome, SandboxError> {
    let mut command = Command::script(tools.workspace.policy(), script);
    let _running = tools
        .workspace
        .running(|| tools.redactor.mask_owned(script.to_owned()));
    let Some(input) = input else {
        return command.run(limit).await;
    };
    command.input = Input::Pipe;
    let limits = command.policy.limits;
    let caps = Caps {
        deadline: limit,
        kept: limits.output_kept,
        output: limits.output,
    };
    let mut child = command.spawn().await?;
    let stdin = child.stdin.take();
    let writing = async move {
        if let Some(mut stdin) = stdin {
            // A command that does not read its input is no failure.
            drop(stdin.write_all(input.as_bytes()).await);
        }
    };
    let (outcome, ()) = tokio::join!(child.finish(caps), writing);
    outcome
}

fn ended(outcome: Outcome, limit: Duration, redactor: &Redactor) -> Ran {
    let finished = outcome.finished;
    let code = finished.status.and_then(|status| {
        let by_signal = || status.signal().map(|signal| 128 + signal);
        status.code().or_else(by_signal)
    });
    let failure = match (outcome.limit, finished.cause, code) {
        (None, Cause::Itself, Some(0)) => None,
        (Some(_), ..) => Some((
            ErrorClass::Failed,
            "the command used more memory, disk or processes than it may".to_owned(),
        )),
        (None, Cause::Deadline, _) => Some((ErrorClass::Timeout, too_long(limit))),
        (None, Cause::Output, _) => Some((
            ErrorClass::Failed,
            "the command wrote more output than it may".to_owned(),
        )),
        (None, Cause::Itself, Some(code)) => Some((
            ErrorClass::Failed,
            format!("the command failed with exit code {code}"),
        )),
        (None, Cause::Itself, None) => Some((
            ErrorClass::Failed,
            "the command ended without an exit code".to_owned(),
        )),
    };
    let mut output = finished.stdout.text(redactor);
    let errors = finished.stderr.text(redactor);
    if !output.is_empty() && !output.ends_with('\n') && !errors.is_empty() {
        output.push('\n');
    }
    output.push_str(&errors);
    output.truncate(output.trim_end_matches('\n').len());
    Ran {
        output,
        exit_code: code.filter(|_| finished.cause == Cause::Itself),
        failure,
        ms: 0,
    }
}

fn refused(error: &SandboxError) -> Ran {
    let source = std::error::Error::source(error);
    let words = source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    match error {
        SandboxError::Unavailable(unavailable) => {
            failed(ErrorClass::Denied, format!("{words}; {}", unavailable.fix))
        }
        _ => failed(ErrorClass::Failed, words),
    }
}

fn failed(class: ErrorClass, words: String) -> Ran {
    Ran {
        output: String::new(),
        exit_code: None,
        failure: Some((class, words)),
        ms: 0,
    }
}

fn too_long(limit: Duration) -> String {
    format!(
        "the command took longer than {} s; the step's `timeout` says how long it may take",
        clock::seconds(limit)
    )
}
