//! From an entry of `agents:` to an agent that can be run.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Orchestrator;
use super::team::{Known, delegate_tool};
use crate::agents::{Agent, AgentSettings, log, prompt};
use crate::config::Config;
use crate::costs::Caps;
use crate::error::{ErrorClass, OrchError};
use crate::mcp::ServerSpec;
use crate::providers::ProxySettings;
use crate::sandbox::{Policy, Tier};
use crate::tools::{self, Server, ToolContext};

impl Orchestrator {
    /// The settings of an agent.
    ///
    /// # Errors
    /// When there is no such agent; the hint names the nearest, or all.
    pub fn settings_of(&self, name: &str) -> Result<&AgentSettings, OrchError> {
        let agents = &self.config.document.agents;
        agents.get(name).ok_or_else(|| {
            let names: Vec<&str> = agents.names().collect();
            if names.is_empty() {
                return no_agents(&self.config);
            }
            let hint = match nearest(name, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the agents are {}", quoted(&names)),
            };
            OrchError::new(ErrorClass::Usage, format!("there is no agent `{name}`")).with_hint(hint)
        })
    }

    /// An agent as it will run, and what the user should know about it.
    ///
    /// # Errors
    /// When its workspace cannot be opened.
    pub(super) fn resolve(
        &self,
        name: &str,
        settings: &AgentSettings,
    ) -> Result<(Agent, Vec<String>), OrchError> {
        self.resolve_among(name, settings, &|name| {
            self.config.document.agents.get(name)
        })
    }

    /// The same, where the agents that it may call are these.
    ///
    /// # Errors
    /// When its workspace cannot be opened.
    pub(super) fn resolve_among(
        &self,
        name: &str,
        settings: &AgentSettings,
        known: Known<'_>,
    ) -> Result<(Agent, Vec<String>), OrchError> {
        let (chain, mut notices) = self.chain(settings);
        let servers = self.servers(settings);
        let described: Vec<(&str, &Server)> = servers
            .iter()
            .map(|(name, server)| (name.as_str(), server))
            .collect();
        let tools = self.tools(name, &settings.tools, settings, servers.clone())?;
        let runs_alone = chain.iter().any(|link| link.provider.runs_own_tools());
        notices.extend(loose(&tools, runs_alone));
        let specs = tools
            .tools
            .iter()
            .filter_map(|tool| tools::spec(tool))
            .chain(delegate_tool(settings, known))
            .collect();
        let general = &self.config.document.settings;
        let log = (!self.options.no_log).then(|| {
            let first = chain.first();
            log::Log::new(
                &self.config.logs_dir,
                name,
                first.map_or("", |link| link.provider.name()),
                first.map_or("", |link| link.canonical.as_str()),
                &settings.tools,
            )
        });
        let agent = Agent {
            name: name.into(),
            system: prompt::system(name, &settings.role, &described),
            requested_model: self.wanted_model(settings).to_owned(),
            chain,
            specs,
            tools: Arc::new(tools),
            max_turns: settings.max_turns.unwrap_or(general.max_tool_iterations),
            temperature: settings.temperature.or(general.temperature),
            output_schema: settings.output_schema.clone(),
            mcp: self.mcp_servers(settings)?,
            settings: settings.clone(),
            caps: Arc::new(self.caps(name, settings)),
            log,
        };
        Ok((agent, notices))
    }

    /// What the tools of an agent work with; `names` are the tools that it may use.
    ///
    /// # Errors
    /// When its workspace cannot be opened.
    pub fn tools(
        &self,
        agent: &str,
        names: &[String],
        settings: &AgentSettings,
        servers: BTreeMap<String, Server>,
    ) -> Result<ToolContext, OrchError> {
        let general = &self.config.document.settings;
        Ok(ToolContext {
            agent: agent.into(),
            tools: names.to_vec(),
            workspace: self.workspace(settings)?,
            servers: Arc::new(servers),
            http: Arc::new(general.http.clone()),
            approvals: Arc::new(general.approvals.clone()),
            approver: self.options.approver.clone(),
            redactor: self.redactor.clone(),
        })
    }

    /// An agent's effective rights and the rule behind each, one line each.
    ///
    /// # Errors
    /// When there is no such agent or its workspace cannot be opened.
    pub fn explain(&self, name: &str) -> Result<Vec<String>, OrchError> {
        let settings = self.settings_of(name)?;
        let tools = self.tools(name, &settings.tools, settings, self.servers(settings))?;
        let mut lines = vec![match settings.tools.as_slice() {
            [] => "use no tools — tools: []".to_owned(),
            tools => format!("use {} — tools", tools.join(", ")),
        }];
        for (name, server) in tools.servers.iter() {
            lines.push(format!(
                "run commands on {name} ({}@{}) — servers",
                server.user, server.host
            ));
        }
        let accepts_hosts = self.config.accepts_hosts;
        if let Some(by) = accepts_hosts.filter(|_| !tools.servers.is_empty()) {
            lines.push(format!(
                "connect to servers whose host key nobody knows yet, never to those whose key has changed — {}",
                by.rule()
            ));
        }
        lines.extend(self.explain_chain(settings));
        lines.extend(self.explain_delegates(name, settings));
        lines.extend(self.explain_native(settings, &tools));
        lines.extend(tools.workspace.policy().explain());
        Ok(lines)
    }

    /// Who is asked when the agent's own model cannot answer, in turn: a name alone does not tell where it goes.
    fn explain_chain(&self, settings: &AgentSettings) -> Option<String> {
        let (chain, _) = self.chain(settings);
        let places = chain.iter().map(|link| {
            let provider = link.provider.name();
            match link.canonical.strip_prefix(provider) {
                Some(rest) if rest.starts_with('/') => link.canonical.clone(),
                _ => format!("{} by {provider}", link.canonical),
            }
        });
        let places: Vec<String> = places.collect();
        let asked = || format!("ask {} — model, fallback", places.join(", then "));
        (places.len() > 1).then(asked)
    }

    /// The policies of the configured agents, one for each tier that they ask for; without agents that of the
    /// settings.
    ///
    /// # Errors
    /// When a workspace cannot be opened.
    pub fn policies(&self) -> Result<Vec<Arc<Policy>>, OrchError> {
        let none = AgentSettings::default();
        let agents = &self.config.document.agents;
        let mut policies: Vec<Arc<Policy>> = Vec::new();
        let nobody = agents.iter().next().is_none().then_some(&none);
        for settings in agents.iter().map(|(_, settings)| settings).chain(nobody) {
            let workspace = self.workspace(settings)?;
            let policy = workspace.policy();
            if !policies.iter().any(|known| known.tier == policy.tier) {
                policies.push(Arc::clone(policy));
            }
        }
        Ok(policies)
    }

    /// The servers that an agent's ssh tool may reach.
    pub fn servers(&self, settings: &AgentSettings) -> BTreeMap<String, Server> {
        let known = &self.config.document.servers;
        let named = settings.servers.iter();
        named
            .filter_map(|name| Some((name.clone(), known.get(name)?.clone())))
            .collect()
    }

    /// The MCP servers of an agent, each with the rules of its own entry.
    pub(super) fn mcp_servers(
        &self,
        settings: &AgentSettings,
    ) -> Result<Vec<ServerSpec>, OrchError> {
        let env = &self.config.env;
        let plain = |name: &str| {
            let value = env.process(name).and_then(|value| value.to_str());
            value.map(str::to_owned)
        };
        let known = &self.config.document.mcp_servers;
        let named = settings.mcp_servers.iter();
        named
            .filter_map(|name| Some((name, known.get(name)?)))
            .map(|(name, server)| {
                let own = AgentSettings {
                    sandbox: server.sandbox.clone(),
                    ..AgentSettings::default()
                };
                Ok(ServerSpec {
                    name: name.clone(),
                    server: server.clone(),
                    program: self
                        .config
                        .program(server.command.first().map_or("", String::as_str)),
                    policy: Arc::clone(self.workspace(&own)?.policy()),
                    proxies: ProxySettings::from_variables(&plain),
                })
            })
            .collect()
    }

    pub(super) fn caps(&self, name: &str, settings: &AgentSettings) -> Caps {
        let mut budget = self.config.document.settings.budget;
        budget.session_usd = self.options.session_budget.or(budget.session_usd);
        Caps::new(&budget, self.options.budget).with_agent(name, settings.budget_usd)
    }
}

/// What is said on every run of an agent whose sandbox is loosened; `runs_alone` when its provider is a program
/// that works by itself.
fn loose(tools: &ToolContext, runs_alone: bool) -> Vec<String> {
    let policy = tools.workspace.policy();
    let mut said = policy.warnings();
    if runs_alone && policy.tier == Tier::Landlock {
        said.push(
            "the Claude CLI is not confined at this tier: it may do whatever you may do".to_owned(),
        );
    }
    said
}

/// There is nobody to ask.
pub(super) fn no_agents(config: &Config) -> OrchError {
    let message = match &config.path {
        Some(path) => format!("`{}` has no agents", path.display()),
        None => "there is no configuration here".to_owned(),
    };
    OrchError::new(ErrorClass::Config, message)
        .with_hint("name one with `--config FILE`, or let `orch init` write one")
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
        .map(|(_, known)| known)
}

fn quoted(names: &[&str]) -> String {
    const MOST: usize = 12;
    let mut text = names
        .iter()
        .take(MOST)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > MOST {
        text.push_str(&format!(" and {} more", names.len() - MOST));
    }
    text
}
