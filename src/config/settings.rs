//! The `settings:` section.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::agents::DelegationSettings;
use crate::costs::BudgetSettings;
use crate::providers::{ClockSettings, Clocks, ProviderSettings, Seconds};
use crate::resilience::EndpointSettings;
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
    #[schemars(range(min = 1))]
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
    #[schemars(range(min = 1))]
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
    #[schemars(range(min = 1))]
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature; the vendor's own when absent.
    #[schemars(range(min = 0, max = 2))]
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

/// Where a provider's calls go, as far as limits without a setting depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Somewhere on the network.
    Remote,
    /// This machine.
    Loopback,
    /// An Ollama server, wherever it is.
    Ollama,
    /// An agent CLI that is started here; how many at once, its provider knows.
    AgentCli,
}

impl Settings {
    /// The limits of one endpoint: the provider's own settings over these, and the defaults that fit
    /// the place.
    pub fn endpoint(&self, provider: Option<&ProviderSettings>, place: Place) -> EndpointSettings {
        let own = |limit: fn(&ProviderSettings) -> Option<u32>| provider.and_then(limit);
        let per_minute = match place {
            Place::Remote | Place::AgentCli => Some(60),
            Place::Loopback | Place::Ollama => None,
        };
        let at_once = match place {
            Place::Remote => Some(16),
            Place::Ollama => Some(4),
            Place::Loopback | Place::AgentCli => None,
        };
        let tokens = provider.and_then(|provider| provider.tokens_per_minute);
        EndpointSettings {
            max_retries: self.max_retries,
            retry_delay: self.retry_delay.duration(),
            requests_per_minute: own(|provider| provider.rate_limit_per_minute)
                .or(self.rate_limit_per_minute)
                .or(per_minute)
                .filter(|limit| *limit > 0),
            requests_per_hour: own(|provider| provider.rate_limit_per_hour)
                .or(self.rate_limit_per_hour)
                .filter(|limit| *limit > 0),
            burst: self.rate_limit_burst,
            tokens_per_minute: tokens.or(self.tokens_per_minute).filter(|limit| *limit > 0),
            max_concurrency: match place {
                // How many CLIs run at once its driver sees to, which knows those that others wait for.
                Place::AgentCli => None,
                _ => own(|provider| provider.max_concurrency)
                    .or(self.max_concurrency)
                    .or(at_once)
                    .filter(|limit| *limit > 0),
            },
            breaker: self.enable_circuit_breaker,
            breaker_threshold: self.circuit_breaker_threshold,
            breaker_timeout: self.circuit_breaker_timeout.duration(),
        }
    }

    /// The time limits of one attempt: the provider's own clocks over these.
    pub fn clocks(&self, provider: Option<&ProviderSettings>) -> Clocks {
        let wide = Clocks {
            total: self.timeout.limit(),
            ..Clocks::default()
        };
        let wide = wide.adjusted(&self.clocks);
        match provider {
            Some(provider) => wide.adjusted(&provider.clocks),
            None => wide,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_nearest_setting_wins() {
        let plain = Settings::default();
        assert_eq!(
            plain.endpoint(None, Place::Remote),
            EndpointSettings::default()
        );
        let limits = |settings: &Settings, provider: Option<&ProviderSettings>, place| {
            let endpoint = settings.endpoint(provider, place);
            (endpoint.requests_per_minute, endpoint.max_concurrency)
        };
        assert_eq!(limits(&plain, None, Place::Loopback), (None, None));
        assert_eq!(limits(&plain, None, Place::Ollama), (None, Some(4)));
        assert_eq!(limits(&plain, None, Place::AgentCli), (Some(60), None));
        let set = Settings {
            rate_limit_per_minute: Some(10),
            max_concurrency: Some(2),
            ..Settings::default()
        };
        assert_eq!(limits(&set, None, Place::Loopback), (Some(10), Some(2)));
        assert_eq!(limits(&set, None, Place::AgentCli), (Some(10), None));
        let provider = ProviderSettings {
            rate_limit_per_minute: Some(0),
            max_concurrency: Some(7),
            clocks: ClockSettings {
                idle: Some(Seconds(0.0)),
                ..ClockSettings::default()
            },
            ..ProviderSettings::default()
        };
        assert_eq!(
            limits(&set, Some(&provider), Place::Remote),
            (None, Some(7))
        );
        assert_eq!(limits(&set, Some(&provider), Place::AgentCli), (None, None));
        let wide = Settings {
            timeout: Seconds(20.0),
            clocks: ClockSettings {
                idle: Some(Seconds(5.0)),
                connect: Some(Seconds(1.5)),
                ..ClockSettings::default()
            },
            ..Settings::default()
        };
        let clocks = wide.clocks(Some(&provider));
        assert_eq!(clocks.total, Some(Duration::from_secs(20)));
        assert_eq!(clocks.connect, Some(Duration::from_millis(1500)));
        assert_eq!(
            (clocks.idle, wide.clocks(None).idle),
            (None, Some(Duration::from_secs(5)))
        );
        assert_eq!(clocks.first_event, Some(Duration::from_mins(2)));
    }
}
