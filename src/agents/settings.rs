//! What a configuration can say about an agent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::providers::Seconds;
use crate::sandbox::AgentSandbox;
use crate::usage::Usd;

/// One entry of `agents:`, as written.
// What is unset is not written again: runs keep the settings of every agent that may take part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AgentSettings {
    /// Who the agent is: its system prompt.
    pub role: String,
    /// `claude`, `openai`, `anthropic`, `replay`, a vendor, a name from `providers:`, or `litellm`.
    #[serde(skip_serializing_if = "is_unset")]
    pub provider: Option<String>,
    /// An alias, `vendor/model`, or the vendor's own name.
    #[serde(skip_serializing_if = "is_unset")]
    pub model: Option<String>,
    /// The tools it may use.
    #[serde(skip_serializing_if = "is_unset")]
    pub tools: Vec<String>,
    /// The servers its ssh tool may reach.
    #[serde(skip_serializing_if = "is_unset")]
    pub servers: Vec<String>,
    /// Model turns in one run.
    #[serde(skip_serializing_if = "is_unset")]
    #[schemars(range(min = 1))]
    pub max_turns: Option<u32>,
    /// Models that answer when this one cannot, in order. A name alone that is no alias is one of its own provider.
    #[serde(skip_serializing_if = "is_unset")]
    pub fallback: Vec<String>,
    /// MCP servers whose tools it may use.
    #[serde(skip_serializing_if = "is_unset")]
    pub mcp_servers: Vec<String>,
    /// Agents it may call.
    #[serde(skip_serializing_if = "is_unset")]
    pub delegates: Vec<String>,
    /// Rights that a called agent gets over the caller's.
    #[serde(skip_serializing_if = "is_unset")]
    pub grant: BTreeMap<String, Vec<String>>,
    /// Cap of generated tokens a call.
    #[serde(skip_serializing_if = "is_unset")]
    #[schemars(range(min = 1))]
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature.
    #[serde(skip_serializing_if = "is_unset")]
    #[schemars(range(min = 0, max = 2))]
    pub temperature: Option<f64>,
    /// Seconds for its whole run.
    #[serde(skip_serializing_if = "is_unset")]
    pub timeout: Option<Seconds>,
    /// Cap of one run of this agent, USD.
    #[serde(skip_serializing_if = "is_unset")]
    pub budget_usd: Option<Usd>,
    /// JSON Schema of its answer.
    #[serde(skip_serializing_if = "is_unset")]
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub output_schema: Option<Value>,
    /// Its sandbox, over `settings.sandbox`.
    #[serde(skip_serializing_if = "is_unset")]
    pub sandbox: AgentSandbox,
    /// `replay`: the recording, relative to the configuration.
    #[serde(skip_serializing_if = "is_unset")]
    pub recording: Option<String>,
}

fn is_unset<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
