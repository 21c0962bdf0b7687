//! What is lost where the Claude CLI works with tools of its own, for `orch check`.

use super::Orchestrator;
use crate::agents::AgentSettings;
use crate::providers::claude_cli::argv::native;
use crate::sandbox::{AgentSandbox, Tier};
use crate::tools::{self, ToolContext};

impl Orchestrator {
    /// One line each: `right — rule behind it`; none for an agent whose tools are all ours.
    pub(super) fn explain_native(
        &self,
        settings: &AgentSettings,
        tools: &ToolContext,
    ) -> Vec<String> {
        let chain = self.chain(settings).0;
        let known = &self.config.document.providers;
        let hands_back = |name: &str| known.get(name).and_then(|own| own.native_tools);
        let named = chain.iter().map(|link| link.provider.name());
        let Some(name) = named
            .into_iter()
            .find(|name| hands_back(name) == Some(true))
        else {
            return Vec::new();
        };
        let rule = format!("providers.{name}.native_tools");
        let specs: Vec<_> = tools
            .tools
            .iter()
            .filter_map(|tool| tools::spec(tool))
            .collect();
        let theirs: Vec<&str> = native(&specs).iter().map(|tool| tool.ours).collect();
        if theirs.is_empty() {
            return Vec::new();
        }
        let theirs = theirs.join(", ");
        let mut lines = vec![format!(
            "use the Claude CLI's own tools for {theirs}: without approvals, allowed_commands, output caps, \
             /undo and a journal — {rule}"
        )];
        if tools.tools.iter().any(|tool| tool == "bash") {
            lines.push(format!(
                "read the CLI's environment and login in its shell — {rule}"
            ));
        }
        if settings.sandbox != AgentSandbox::default() {
            lines.push(format!(
                "work under settings.sandbox, not under the agent's own `sandbox`, with these — {rule}"
            ));
        }
        if tools.workspace.policy().tier != Tier::Full {
            lines.push(format!(
                "do whatever you may do, with these: the CLI is confined at the full tier alone — {rule}"
            ));
        }
        lines
    }
}
