//! What a configuration can say about tools: approvals, http, ssh servers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::providers::Seconds;

/// What happens to a tool call that a rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It runs.
    #[default]
    Allow,
    /// A person is asked.
    Ask,
    /// It is refused.
    Deny,
}

/// One rule of `settings.approvals.rules`; the last that matches wins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The tool's name, or a pattern such as `git__*`.
    pub tool: String,
    /// A pattern over the command, path or URL; every call of the tool without one.
    #[serde(default, rename = "match")]
    pub pattern: Option<String>,
    /// What happens.
    pub action: Action,
}

/// `settings.approvals`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApprovalSettings {
    /// What happens to calls that no rule matches.
    pub default: Action,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// `settings.http`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpSettings {
    /// Local addresses that http tools may reach, as `host:port`.
    pub allow: Vec<String>,
    /// Seconds for one request.
    pub timeout: Seconds,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            timeout: Seconds(30.0),
        }
    }
}

/// One entry of `servers:`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Host name or address.
    pub host: String,
    /// Login name.
    #[serde(default = "default_user")]
    pub user: String,
    /// Private key file; `SSH_KEY_PATH`, else `~/.ssh/id_rsa`, when absent.
    #[serde(default)]
    pub key: Option<String>,
    /// TCP port.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub port: u16,
    /// What it is, for the system prompt.
    #[serde(default)]
    pub description: String,
    /// A jump host, as `user@host:port`.
    #[serde(default)]
    pub jump: Option<String>,
    /// Whether keys of the user's ssh agent may be used.
    #[serde(default)]
    pub agent: bool,
}

fn default_user() -> String {
    "root".to_owned()
}

fn default_port() -> u16 {
    22
}
