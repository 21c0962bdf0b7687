//! Agents that call agents: the tool `delegate`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::journal::Journal;
use super::tool_calls::Ran;
use super::turns::{self, Around};
use super::{Agent, Ask, DelegationSettings, RunResult};
use crate::costs::{Charges, Spent};
use crate::error::ErrorClass;
use crate::message::{ToolCall, ToolSpec};
use crate::providers::Seconds;
use crate::tools::{self, Effect, Guard, Subject, ToolError, ToolOutput, ToolStatus, params};

/// The name of the tool.
pub const TOOL: &str = "delegate";

/// Finds an agent that another one calls, with the rights that it has then, and what the user should
/// know about it.
pub type Resolve<'a> =
    &'a (dyn Fn(&Agent, &str) -> Result<(Agent, Vec<String>), String> + Send + Sync);

/// The agents that those of one run may call.
pub struct Team<'a> {
    resolve: Resolve<'a>,
    limits: DelegationSettings,
    called: AtomicU32,
}

impl<'a> Team<'a> {
    /// A team of which nobody was called yet.
    pub fn new(resolve: Resolve<'a>, limits: DelegationSettings) -> Self {
        Self {
            resolve,
            limits,
            called: AtomicU32::new(0),
        }
    }

    /// Nobody to call.
    pub fn nobody() -> Self {
        Self::new(
            &|_, name| Err(format!("there is no agent `{name}`")),
            DelegationSettings {
                max_depth: 0,
                max_children: 0,
            },
        )
    }

    /// Whether an agent that was called through so many others may call one itself.
    pub(super) fn reaches(&self, depth: usize) -> bool {
        usize::try_from(self.limits.max_depth).is_ok_and(|most| depth < most)
    }

    fn count(&self) -> Result<(), ToolError> {
        let most = self.limits.max_children;
        let may = self
            .called
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |called| {
                (called < most).then(|| called + 1)
            });
        may.map(drop).map_err(|_| {
            ToolError::refused(format!(
                "{most} agents were called already, the most in one run: go on without"
            ))
        })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The agent.
    agent: String,
    /// What it is to do. It sees nothing of this conversation: say all that it needs.
    prompt: String,
    /// Seconds after which it is stopped.
    deadline: Option<Seconds>,
}

/// The result of a called agent as its caller's model reads it.
#[derive(Serialize)]
struct Told<'a> {
    agent: &'a str,
    ok: bool,
    output: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    structured: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ToldError<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

#[derive(Serialize)]
struct ToldError<'a> {
    class: ErrorClass,
    message: &'a str,
}

/// The tool as it is offered to a model: `delegates` are the agents that may be called, each with what
/// it is.
pub fn spec(delegates: &[(&str, &str)]) -> ToolSpec {
    let mut description =
        "Lets another agent do a piece of work and gives you its answer. Several calls \
         in one turn run side by side. The agents:"
            .to_owned();
    for (name, role) in delegates {
        let first = role.lines().find(|line| !line.trim().is_empty());
        let about: String = first.unwrap_or_default().trim().chars().take(200).collect();
        description.push_str(&format!("\n- {name}: {about}"));
    }
    let mut parameters = params::schema::<Params>();
    let names: Vec<&str> = delegates.iter().map(|(name, _)| *name).collect();
    if let Some(Value::Object(agent)) = parameters.pointer_mut("/properties/agent") {
        agent.insert("enum".to_owned(), json!(names));
    }
    ToolSpec {
        name: TOOL.to_owned(),
        description,
        parameters,
    }
}

/// Runs a call of the tool.
///
/// # Errors
/// Only when the tools cannot go on at all.
pub(super) async fn call(
    around: &Around<'_>,
    call: &ToolCall,
    journal: &Journal,
) -> Result<Ran, std::io::Error> {
    let (mut retries, mut child_warnings) = (0, Vec::new());
    let guard = Guard {
        tool: TOOL,
        subject: Some(Subject::Text("agent")),
        effect: Some(Effect::Execute),
        limit: None,
    };
    let context = &around.agent.tools;
    let outcome = tools::guarded(context, call, around.events, &guard, async |arguments| {
        let (result, notices) = child(around, &arguments, journal).await?;
        retries = result.retries;
        let warnings = notices.iter().chain(&result.warnings);
        child_warnings.extend(warnings.map(|words| format!("{}: {words}", result.agent)));
        Ok(answer(&result))
    })
    .await?;
    Ok(Ran {
        retries,
        child_warnings,
        ..outcome.into()
    })
}

/// The result of the agent that is called, and what the user should know about it.
async fn child(
    around: &Around<'_>,
    arguments: &Value,
    journal: &Journal,
) -> Result<(RunResult, Vec<String>), ToolError> {
    let params: Params = params::parse(TOOL, arguments)?;
    let (caller, ask, team) = (around.agent, around.ask, around.team);
    if !caller.settings.delegates.contains(&params.agent) {
        let known = caller.settings.delegates.join("`, `");
        return Err(ToolError::refused(format!(
            "you may not call `{}`: you may call `{known}`",
            params.agent
        )));
    }
    if params.prompt.trim().is_empty() {
        return Err(ToolError::tell("`prompt` is empty"));
    }
    team.count()?;
    let (agent, notices) = (team.resolve)(caller, &params.agent).map_err(ToolError::tell)?;
    let events = around.events.for_delegate(&agent.name);
    for notice in &notices {
        events.notice(notice.clone()).await;
    }
    let delegators = ask.delegators.iter().chain([&caller.name]);
    let ask = Ask {
        run_id: Arc::clone(&ask.run_id),
        task: ask.task.clone(),
        step: ask.step.clone(),
        prompt: params.prompt,
        purpose: ask.purpose,
        deadline: deadline(ask.deadline, params.deadline, Instant::now()),
        delegators: delegators.cloned().collect(),
        charged_session: ask
            .charged_session
            .as_ref()
            .or(ask.session.as_ref())
            .cloned(),
        among: ask.among,
        journal: journal.clone(),
        spent: Spent::part_of(&ask.spent, Charges::default()),
        ..Ask::default()
    };
    let finished = turns::run_boxed(&agent, ask, around.resilience, team, &events, around.cancel);
    Ok((finished.await.result, notices))
}

/// When a called agent must be done: as its caller says, but so that the caller has time left to use
/// what came; a fifth of its own where it says nothing.
fn deadline(caller: Option<Instant>, wanted: Option<Seconds>, now: Instant) -> Option<Instant> {
    let wanted = wanted
        .and_then(Seconds::limit)
        .and_then(|limit| now.checked_add(limit));
    let Some(caller) = caller else { return wanted };
    let left = caller.saturating_duration_since(now);
    let share = now + left / 5 * 4;
    Some(wanted.filter(|wanted| *wanted < caller).unwrap_or(share))
}

fn answer(result: &RunResult) -> ToolOutput {
    let status = match result.error.as_ref().map(|error| error.class) {
        None => ToolStatus::Ok,
        Some(ErrorClass::Timeout) => ToolStatus::TimedOut,
        Some(ErrorClass::Denied) => ToolStatus::Refused,
        Some(_) => ToolStatus::Failed,
    };
    let told = Told {
        agent: &result.agent,
        ok: result.ok,
        output: &result.output,
        structured: result.structured.as_ref(),
        error: result.error.as_ref().map(|error| ToldError {
            class: error.class,
            message: &error.message,
        }),
        warnings: &result.warnings,
    };
    ToolOutput {
        content: serde_json::to_string(&told).unwrap_or_default(),
        status,
        exit_code: None,
        warnings: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_called_agent_ends_before_its_caller() {
        let now = Instant::now();
        let after = |seconds| Some(now + Duration::from_secs_f64(seconds));
        for (caller, wanted, expected) in [
            (None, None, None),
            (None, Some(10.0), after(10.0)),
            (None, Some(0.0), None),
            (after(100.0), None, after(80.0)),
            (after(100.0), Some(10.0), after(10.0)),
            (after(100.0), Some(99.0), after(99.0)),
            (after(100.0), Some(100.0), after(80.0)),
            (after(100.0), Some(1e12), after(80.0)),
            (Some(now), None, Some(now)),
        ] {
            assert_eq!(
                deadline(caller, wanted.map(Seconds), now),
                expected,
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn the_tool_names_the_agents() {
        let spec = spec(&[("tester", "\nYou test.\nMore."), ("writer", "")]);
        assert!(
            spec.description
                .ends_with("The agents:\n- tester: You test.\n- writer: ")
        );
        assert_eq!(
            spec.parameters["properties"]["agent"]["enum"],
            json!(["tester", "writer"])
        );
        assert_eq!(spec.parameters["required"], json!(["agent", "prompt"]));
    }
}
