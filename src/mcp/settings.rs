//! What a configuration can say about MCP servers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::providers::Seconds;
use crate::sandbox::AgentSandbox;

/// One entry of `mcp_servers:`; `command` or `url`, not both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [
    {"required": ["command"], "properties": {"command": {"minItems": 1, "type": "array"}}},
    {"required": ["url"], "properties": {"url": {"not": {"type": "null"}}}},
]))]
pub struct McpServer {
    /// The program and its arguments, for a server that speaks over its standard streams.
    pub command: Vec<String>,
    /// The address, for a server that speaks over HTTP.
    pub url: Option<String>,
    /// Environment variables of the program.
    pub env: BTreeMap<String, String>,
    /// Extra request headers.
    pub headers: BTreeMap<String, String>,
    /// The sandbox of the program, over `settings.sandbox`.
    pub sandbox: AgentSandbox,
    /// Seconds to start and to answer a call.
    pub timeout: Seconds,
    /// Whether a run fails when this server does.
    pub required: bool,
}

impl Default for McpServer {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            url: None,
            env: BTreeMap::new(),
            headers: BTreeMap::new(),
            sandbox: AgentSandbox::default(),
            timeout: Seconds(30.0),
            required: false,
        }
    }
}
