//! The `settings:` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agents::DelegationSettings;
use crate::costs::BudgetSettings;
use crate::providers::{ClockSettings, Seconds};
use crate::sandbox::SandboxSettings;
use crate::tools::{ApprovalSettings, HttpSettings};

/// `settings:`, with the defaults of what is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The provider of agents that name none.
    pub default_provider: String,
    /// The model of agents that name none.
    pub default_model: String,
    /// Seconds for one model call, or one run of an agent CLI.
    pub timeout: Seconds,
    /// Where tools work; relative to the file.
    pub working_dir: String,
    /// Model turns of agents without `max_turns`.
    pub max_tool_iterations: u32,
    /// Whether tools are kept in the workspace; `false` opens the whole disk but for protected files.
    pub sandbox_paths: bool,
    /// Whether unknown ssh hosts are refused; `false` accepts new ones, never changed ones.
    pub ssh_strict_host_checking: bool,
    /// The programs that commands may start; all when empty.
    pub allowed_commands: Vec<String>,
    /// Requests a minute to one provider, key and model; 60 when absent, none for this machine; 0
    /// for no limit.
    pub rate_limit_per_minute: Option<u32>,
    /// Attempts after the first.
    pub max_retries: u32,
    /// Seconds, base of the backoff.
    pub retry_delay: Seconds,
    /// Whether a provider that keeps failing is left alone for a while.
    pub enable_circuit_breaker: bool,
    /// Failures in a row after which it is.
    pub circuit_breaker_threshold: u32,
    /// Seconds until it is tried again; doubles up to four times.
    pub circuit_breaker_timeout: Seconds,
    /// Requests an hour; 0 for no limit.
    pub rate_limit_per_hour: Option<u32>,
    /// Requests that may go over the minute's rate at once.
    pub rate_limit_burst: u32,
    /// Tokens a minute; 0 for no limit.
    pub tokens_per_minute: Option<u64>,
    /// Calls in flight to one endpoint; 16 when absent, none for this machine, 4 for Ollama; 0 for
    /// no limit.
    pub max_concurrency: Option<u32>,
    /// Time limits of one model call.
    pub clocks: ClockSettings,
    /// Caps of what is spent.
    pub budget: BudgetSettings,
    /// Cap of generated tokens a call; what the model can, at most 8192, when absent.
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature; the vendor's own when absent.
    pub temperature: Option<f64>,
    /// How tools are confined.
    pub sandbox: SandboxSettings,
    /// What http tools may do.
    pub http: HttpSettings,
    /// Which tool calls need a person's yes.
    pub approvals: ApprovalSettings,
    /// How agents may call agents.
    pub delegation: DelegationSettings,
    /// Where the ledger, sessions and runs are kept; `$ORCH_STATE_DIR`, else
    /// `$XDG_STATE_HOME/orch`, when absent.
    pub state_dir: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_provider: "claude".to_owned(),
            default_model: "sonnet".to_owned(),
            timeout: Seconds(300.0),
            working_dir: ".".to_owned(),
            max_tool_iterations: 10,
            sandbox_paths: true,
            ssh_strict_host_checking: true,
            allowed_commands: Vec::new(),
            rate_limit_per_minute: None,
            max_retries: 3,
            retry_delay: Seconds(1.0),
            enable_circuit_breaker: true,
            circuit_breaker_threshold: 5,
            circuit_breaker_timeout: Seconds(30.0),
            rate_limit_per_hour: None,
            rate_limit_burst: 0,
            tokens_per_minute: None,
            max_concurrency: None,
            clocks: ClockSettings::default(),
            budget: BudgetSettings::default(),
            max_output_tokens: None,
            temperature: None,
            sandbox: SandboxSettings::default(),
            http: HttpSettings::default(),
            approvals: ApprovalSettings::default(),
            delegation: DelegationSettings::default(),
            state_dir: None,
        }
    }
}
