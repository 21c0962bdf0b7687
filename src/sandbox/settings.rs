//! What a configuration can say about the sandbox.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How strongly tools are confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Namespaces, a root of its own, Landlock and seccomp.
    #[default]
    Full,
    /// Landlock and seccomp only; on request.
    Landlock,
    /// Nothing; on request, said on every run.
    Off,
}

/// What network a command sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// None but its own loopback.
    #[default]
    Deny,
    /// The loopback of this machine.
    Loopback,
    /// All of it.
    Allow,
}

/// `settings.sandbox`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxSettings {
    /// How strongly tools are confined.
    pub tier: Tier,
    /// What network a command sees.
    pub network: Network,
    /// Paths outside the workspace that may be read.
    pub read: Vec<String>,
    /// Patterns that may not be read, over the built-in ones.
    pub read_deny: Vec<String>,
    /// Paths outside the workspace that may be written.
    pub write: Vec<String>,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            tier: Tier::Full,
            network: Network::Deny,
            read: vec!["~/.gitconfig".to_owned()],
            read_deny: Vec::new(),
            write: Vec::new(),
        }
    }
}

/// `sandbox:` of one agent; what is absent keeps `settings.sandbox`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSandbox {
    /// How strongly tools are confined.
    pub tier: Option<Tier>,
    /// What network a command sees.
    pub network: Option<Network>,
    /// Paths outside the workspace that may be read.
    pub read: Option<Vec<String>>,
    /// Patterns that may not be read, over the built-in ones.
    pub read_deny: Option<Vec<String>>,
    /// Paths outside the workspace that may be written.
    pub write: Option<Vec<String>>,
}

impl SandboxSettings {
    /// These settings with an agent's own over them.
    #[must_use]
    pub fn for_agent(&self, agent: &AgentSandbox) -> Self {
        Self {
            tier: agent.tier.unwrap_or(self.tier),
            network: agent.network.unwrap_or(self.network),
            read: agent.read.clone().unwrap_or_else(|| self.read.clone()),
            read_deny: agent
                .read_deny
                .clone()
                .unwrap_or_else(|| self.read_deny.clone()),
            write: agent.write.clone().unwrap_or_else(|| self.write.clone()),
        }
    }
}
