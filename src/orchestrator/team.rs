//! Agents that call agents: who may be called, and with which rights.

use std::sync::Arc;

use super::Orchestrator;
use crate::agents::{Agent, AgentSettings, delegation, rights};
use crate::costs::Scope;
use crate::error::OrchError;
use crate::message::ToolSpec;

/// The agents of a run by name: those of the configuration, or of a plan.
pub(super) type Known<'a> = &'a (dyn Fn(&str) -> Option<&'a AgentSettings> + Send + Sync);

/// The tool with which an agent calls others; `None` when it may call nobody.
pub(super) fn delegate_tool(settings: &AgentSettings, known: Known<'_>) -> Option<ToolSpec> {
    let delegates: Vec<(&str, &str)> = settings
        .delegates
        .iter()
        .map(|name| (name.as_str(), known(name).map_or("", |agent| &agent.role)))
        .collect();
    (!delegates.is_empty()).then(|| delegation::spec(&delegates))
}

impl Orchestrator {
    /// An agent that another one calls, with the rights that it has then, and what the user should know
    /// about it.
    ///
    /// # Errors
    /// In words for the calling model.
    pub(super) fn called(
        &self,
        caller: &Agent,
        name: &str,
        known: Known<'_>,
    ) -> Result<(Agent, Vec<String>), String> {
        let settings = known(name).ok_or_else(|| format!("there is no agent `{name}`"))?;
        let general = &self.config.document.settings.sandbox;
        let called = rights::of_called(&caller.name, &caller.settings, name, settings, general);
        let (mut agent, notices) = self
            .resolve_among(name, &called.settings, known)
            .map_err(|error: OrchError| error.to_string())?;
        // What it spends counts against the budgets of all who called it.
        let callers = caller.caps.budgets.iter();
        let callers = callers.filter(|budget| matches!(budget.scope, Scope::Agent(_)));
        let mut caps = (*agent.caps).clone();
        caps.budgets.extend(callers.cloned());
        agent.caps = Arc::new(caps);
        Ok((agent, notices))
    }

    /// What the agents that an agent may call can do then, one line each.
    pub(super) fn explain_delegates(&self, name: &str, settings: &AgentSettings) -> Vec<String> {
        let document = &self.config.document;
        let limits = document.settings.delegation;
        let mut lines = Vec::new();
        for delegate in &settings.delegates {
            let Some(agent) = document.agents.get(delegate) else {
                continue;
            };
            let sandbox = &document.settings.sandbox;
            let called = rights::of_called(name, settings, delegate, agent, sandbox);
            let tools = match called.settings.tools.as_slice() {
                [] => "no tools".to_owned(),
                tools => tools.join(", "),
            };
            lines.push(format!(
                "call {delegate}, which then may use {tools} — delegates, what both have"
            ));
            lines.extend(called.granted.iter().map(|line| format!("  keeps {line}")));
            lines.extend(called.taken.iter().map(|line| format!("  loses {line}")));
        }
        if !lines.is_empty() {
            lines.push(format!(
                "call at most {} agents in a run, {} deep — settings.delegation",
                limits.max_children, limits.max_depth
            ));
        }
        lines
    }
}
