//! The `bash` tool: a shell line in the sandbox.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{ToolAnswer, ToolContext, ToolError, ToolOutput, ToolStatus, params};
use crate::clock;
use crate::process::{Cause, Finished};
use crate::redact::Redactor;
use crate::sandbox::{Command, Exceeded, Outcome, Policy, SandboxError};

/// How long a command may take when the model does not say.
pub(super) const USUAL_SECONDS: f64 = 120.0;

/// The longest that a model may ask for.
const MOST_SECONDS: f64 = 24.0 * 3600.0;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The command line.
    command: String,
    /// Where to run it, relative to the workspace; the workspace itself by default.
    working_dir: Option<String>,
    /// Seconds that it may take; 120 by default.
    timeout: Option<f64>,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("bash", &value)?;
        let deadline = deadline(params.timeout)?;
        let policy = context.workspace.policy();
        without_nul(&params.command)?;
        let said = params.command.clone();
        let mut command = Command::script(policy, params.command);
        if let Some(directory) = &params.working_dir {
            command.directory = directory_of(policy, directory)?;
        }
        let _running = context
            .workspace
            .running(|| context.redactor.mask_owned(said))
            .await;
        let outcome = command.run(deadline).await.map_err(refusal)?;
        Ok(told(outcome, deadline, &context.redactor))
    })
}

/// The time that a call may take.
pub(super) fn deadline(seconds: Option<f64>) -> Result<Duration, ToolError> {
    let seconds = seconds.unwrap_or(USUAL_SECONDS);
    if !(seconds > 0.0 && seconds <= MOST_SECONDS) {
        return Err(ToolError::tell(format!(
            "`timeout` must be more than 0 and at most {MOST_SECONDS} seconds, not {seconds}"
        )));
    }
    Ok(Duration::from_secs_f64(seconds))
}

pub(super) fn without_nul(command: &str) -> Result<(), ToolError> {
    if command.contains('\0') {
        return Err(ToolError::tell(
            "`command` contains a NUL character, which no command line can hold",
        ));
    }
    Ok(())
}

/// A directory of the workspace; others are not in the sandbox's view.
fn directory_of(policy: &Policy, directory: &str) -> Result<PathBuf, ToolError> {
    let real = std::fs::canonicalize(policy.workspace.join(directory)).map_err(|error| {
        ToolError::tell(format!(
            "`working_dir` `{directory}` cannot be entered: {error}"
        ))
    })?;
    let shown = [&policy.workspace].into_iter().chain(&policy.write);
    if policy.confined && !shown.into_iter().any(|root| real.starts_with(root)) {
        return Err(ToolError::refused(format!(
            "`working_dir` `{directory}` is outside the workspace"
        )));
    }
    if !real.is_dir() {
        return Err(ToolError::tell(format!(
            "`working_dir` `{directory}` is not a directory"
        )));
    }
    Ok(real)
}

/// A command that could not be run at all.
pub(super) fn refusal(error: SandboxError) -> ToolError {
    match error {
        SandboxError::Unavailable(unavailable) => {
            ToolError::refused(format!("{unavailable}; {}", unavailable.fix))
        }
        error @ (SandboxError::NotStarted { .. } | SandboxError::Workspace(_)) => {
            ToolError::tell(with_source(&error))
        }
        error @ (SandboxError::Changing | SandboxError::Io(_)) => {
            ToolError::tell(with_source(&error))
        }
    }
}

fn with_source(error: &SandboxError) -> String {
    std::error::Error::source(error)
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// What the model sees: the output, then what must be known about it.
pub(super) fn told(outcome: Outcome, deadline: Duration, redactor: &Redactor) -> ToolOutput {
    let warnings = outcome.warnings();
    let Outcome {
        finished, limit, ..
    } = outcome;
    let mut content = output(&finished, redactor);
    let mut note = |text: String| {
        if !content.is_empty() && !content.ends_with('\n') {
            content.push('\n');
        }
        content.push_str(&format!("[{text}]"));
    };
    warnings.iter().cloned().for_each(&mut note);
    let (mut status, mut exit_code) = (ToolStatus::Failed, None);
    match (limit, finished.cause, finished.status) {
        (Some(limit), ..) => note(format!(
            "ended: it used more {} than it may",
            resource(limit)
        )),
        (None, Cause::Deadline, _) => {
            status = ToolStatus::TimedOut;
            note(format!(
                "ended: it took longer than {} s",
                clock::seconds(deadline)
            ));
        }
        (None, Cause::Output, _) => note("ended: it wrote more output than it may".to_owned()),
        (None, Cause::Itself, Some(ended)) => {
            use std::os::unix::process::ExitStatusExt as _;
            let code = ended
                .code()
                .or_else(|| ended.signal().map(|signal| 128 + signal));
            exit_code = code;
            match code {
                Some(0) => status = ToolStatus::Ok,
                Some(code) => note(match ended.signal() {
                    Some(signal) => format!("exit code {code}: ended by signal {signal}"),
                    None => format!("exit code {code}"),
                }),
                None => note("ended without an exit code".to_owned()),
            }
        }
        (None, Cause::Itself, None) => note("ended without an exit code".to_owned()),
    }
    if content.is_empty() {
        content.push_str("[no output]");
    }
    ToolOutput {
        content,
        status,
        exit_code,
        warnings,
    }
}

/// Both streams, the second one named when there is something on it.
fn output(finished: &Finished, redactor: &Redactor) -> String {
    let mut text = finished.stdout.text(redactor);
    let errors = finished.stderr.text(redactor);
    if !errors.is_empty() {
        if !text.is_empty() {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str("[stderr]\n");
        }
        text.push_str(&errors);
    }
    text
}

fn resource(limit: Exceeded) -> &'static str {
    match limit {
        Exceeded::Memory => "memory",
        Exceeded::Disk => "disk",
        Exceeded::Processes => "processes",
    }
}
