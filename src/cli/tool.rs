//! `orch tool`: one tool under an agent's policy, without a model.

use std::sync::Arc;

use serde_json::json;

use super::approve::approver;
use super::args::TierArg;
use super::run::tier;
use super::signals::{Signals, stopped, watch_signals};
use super::{Call, load};
use crate::agents::AgentSettings;
use crate::error::{ErrorClass, OrchError};
use crate::event::Events;
use crate::message::ToolCall;
use crate::orchestrator::{Options, Orchestrator, nearest};
use crate::render;
use crate::tools::{self, ToolStatus};

/// What the user wants run.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) params: String,
    pub(super) agent: Option<String>,
    pub(super) sandbox: Option<TierArg>,
    pub(super) yes: bool,
}

/// Runs it; prints what the model would see. Exit 0 ok, 1 failed, 6 time ran out, 9 refused.
pub(super) async fn run(call: &Call, wanted: Wanted) -> Result<u8, OrchError> {
    let name = tools::canonical_name(&wanted.name).ok_or_else(|| {
        let names = tools::names();
        let error = OrchError::new(
            ErrorClass::Usage,
            format!("there is no tool `{}`", wanted.name),
        );
        error.with_hint(match nearest(&wanted.name, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the tools are {}", names.join(", ")),
        })
    })?;
    let config = Arc::new(load::config(call)?);
    let options = Options {
        tier: wanted.sandbox.map(tier),
        approver: approver(wanted.yes, false, call.screen),
        ..Options::default()
    };
    let orchestrator = Orchestrator::without_store(config, options)?;
    let document = &orchestrator.config().document;
    let none = AgentSettings::default();
    let (agent, settings, names) = if let Some(agent) = &wanted.agent {
        let settings = orchestrator.settings_of(agent)?;
        (agent.as_str(), settings, settings.tools.clone())
    } else {
        let (agent, settings) = document.agents.iter().next().unwrap_or(("", &none));
        (
            agent,
            settings,
            tools::names()
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
        )
    };
    let mut servers = orchestrator.servers(settings);
    if wanted.agent.is_none() {
        servers.extend(
            document
                .servers
                .iter()
                .map(|(name, server)| (name.to_owned(), server.clone())),
        );
    }
    let context = orchestrator.tools(agent, &names, settings, servers)?;
    for warning in context.workspace.policy().warnings() {
        render::aside(call.screen, &format!("warning: {warning}"));
    }
    // An argument holds at most 128 KiB.
    let arguments = if wanted.params == "-" {
        std::io::read_to_string(std::io::stdin()).map_err(|error| {
            OrchError::new(ErrorClass::Usage, "cannot read the parameters from stdin")
                .caused_by(&error)
        })?
    } else {
        wanted.params
    };
    let tool_call = ToolCall {
        id: "tool".to_owned(),
        name: name.to_owned(),
        malformed: serde_json::from_str::<serde_json::Value>(&arguments).is_err(),
        arguments,
        ..ToolCall::default()
    };
    watch_signals(call, async |signals: &Signals| {
        let events = Events::nobody();
        let outcome = tokio::select! {
            biased;
            outcome = tools::execute(&context, &tool_call, &events) => outcome,
            cause = signals.cancel.cancelled() => return Err(stopped(cause)),
        };
        let outcome = outcome.map_err(|error| {
            OrchError::new(ErrorClass::Denied, "the tools cannot go on").caused_by(&error)
        })?;
        for warning in &outcome.warnings {
            render::aside(call.screen, &format!("warning: {warning}"));
        }
        let (status, wrong) = verdict(outcome.status, outcome.exit_code);
        if call.json() {
            let value = json!({"tool": name, "status": status, "content": outcome.content,
                "exit_code": outcome.exit_code, "ms": outcome.ms});
            let wrong = wrong
                .map(|(class, words)| OrchError::new(class, format!("the tool `{name}` {words}")));
            return Ok(call.print_verdict(&value, wrong));
        }
        let end = if outcome.content.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        call.print(&format!("{}{end}", outcome.content));
        Ok(wrong.map_or(0, |(class, _)| class.exit_code()))
    })
    .await?
}

/// How a call ended, in one word; where it did not end well also the class and what is said after the tool's name.
/// What the tool gave is told apart, whatever came of it.
fn verdict(
    status: ToolStatus,
    exit_code: Option<i32>,
) -> (&'static str, Option<(ErrorClass, String)>) {
    match (status, exit_code) {
        (ToolStatus::Ok, _) => ("ok", None),
        (ToolStatus::Failed, Some(code)) => {
            let words = format!("failed: exit code {code}");
            ("error", Some((ErrorClass::Failed, words)))
        }
        (ToolStatus::Failed, None) => ("error", Some((ErrorClass::Failed, "failed".to_owned()))),
        (ToolStatus::TimedOut, _) => {
            let words = "did not end in its time".to_owned();
            ("timeout", Some((ErrorClass::Timeout, words)))
        }
        (ToolStatus::Refused, _) => {
            let words = "was refused".to_owned();
            ("refused", Some((ErrorClass::Denied, words)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_tool_fits_what_came_of_it() {
        for (status, exit_code, expected) in [
            (ToolStatus::Ok, Some(0), ("ok", None)),
            (
                ToolStatus::Failed,
                Some(1),
                ("error", Some("failed: exit code 1")),
            ),
            (ToolStatus::Failed, None, ("error", Some("failed"))),
            (
                ToolStatus::TimedOut,
                None,
                ("timeout", Some("did not end in its time")),
            ),
            (ToolStatus::Refused, None, ("refused", Some("was refused"))),
        ] {
            let (word, wrong) = verdict(status, exit_code);
            let words = wrong.as_ref().map(|(_, words)| words.as_str());
            assert_eq!((word, words), expected);
        }
    }
}
