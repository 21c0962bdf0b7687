//! What a configuration can say about an agent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::providers::Seconds;
use crate::sandbox::AgentSandbox;
use crate::usage::Usd;

/// One entry of `agents:`, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSettings {
    /// Who the agent is: its system prompt.
    pub role: String,
    /// `claude`, `openai`, `anthropic`, `replay`, a vendor, a name from `providers:`, or `litellm`.
    pub provider: Option<String>,
    /// An alias, `vendor/model`, or the vendor's own name.
    pub model: Option<String>,
    /// The tools it may use.
    pub tools: Vec<String>,
    /// The servers its ssh tool may reach.
    pub servers: Vec<String>,
    /// Model turns in one run.
    pub max_turns: Option<u32>,
    /// Models that answer when this one cannot, in order.
    pub fallback: Vec<String>,
    /// MCP servers whose tools it may use.
    pub mcp_servers: Vec<String>,
    /// Agents it may call.
    pub delegates: Vec<String>,
    /// Rights that a called agent gets over the caller's.
    pub grant: BTreeMap<String, Vec<String>>,
    /// Cap of generated tokens a call.
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Seconds for its whole run.
    pub timeout: Option<Seconds>,
    /// Cap of one run of this agent, USD.
    #[schemars(with = "Option<f64>")]
    pub budget_usd: Option<Usd>,
    /// JSON Schema of its answer.
    pub output_schema: Option<Value>,
    /// Its sandbox, over `settings.sandbox`.
    pub sandbox: AgentSandbox,
    /// `replay`: the recording, relative to the configuration.
    pub recording: Option<String>,
}

/// `settings.delegation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DelegationSettings {
    /// How deep agents may call agents.
    pub max_depth: u32,
    /// How many agents one run may call.
    pub max_children: u32,
}

impl Default for DelegationSettings {
    fn default() -> Self {
        Self {
            max_depth: 3,
            max_children: 8,
        }
    }
}
