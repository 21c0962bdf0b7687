//! What a configuration can say about providers.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::aliases::{Resolved, resolve};
use super::vendors;
use crate::costs::PriceOverride;

/// A time span written as a number of seconds; 0 means no limit where a limit is meant.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
pub struct Seconds(pub f64);

impl Seconds {
    /// As a duration; negative and non-finite values count as zero.
    pub fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0.max(0.0)).unwrap_or_default()
    }

    /// As a limit: `None` for 0, which means none.
    pub fn limit(self) -> Option<Duration> {
        Some(self.duration()).filter(|duration| !duration.is_zero())
    }
}

/// The time limits of one attempt; `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clocks {
    /// For the connection.
    pub connect: Option<Duration>,
    /// From the request to the first event that shows progress.
    pub first_event: Option<Duration>,
    /// Between events that show progress; comments, pings and empty deltas do not.
    pub idle: Option<Duration>,
    /// For the whole attempt.
    pub total: Option<Duration>,
}

impl Default for Clocks {
    fn default() -> Self {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        Self {
            connect: seconds(10),
            first_event: seconds(120),
            idle: seconds(60),
            total: seconds(300),
        }
    }
}

/// `clocks:` of the settings or of a provider, seconds; what is absent keeps the wider setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClockSettings {
    /// Seconds for the connection.
    pub connect: Option<Seconds>,
    /// Seconds to the first event that shows progress.
    pub first_event: Option<Seconds>,
    /// Seconds between events that show progress.
    pub idle: Option<Seconds>,
}

impl Clocks {
    /// For a question whether a server is there.
    pub(super) fn for_health() -> Self {
        let wait = Some(Duration::from_secs(15));
        Self {
            first_event: wait,
            total: wait,
            ..Self::default()
        }
    }

    /// These clocks where `settings` says nothing.
    #[must_use]
    pub fn adjusted(mut self, settings: &ClockSettings) -> Self {
        for (clock, setting) in [
            (&mut self.connect, settings.connect),
            (&mut self.first_event, settings.first_event),
            (&mut self.idle, settings.idle),
        ] {
            if let Some(seconds) = setting {
                *clock = seconds.limit();
            }
        }
        self
    }
}

/// What protocol a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// The OpenAI chat-completions protocol, spoken by most servers.
    Openai,
    /// Anthropic's Messages API.
    Anthropic,
    /// The Claude Code CLI as a subprocess.
    Claude,
    /// Answers from a recording.
    Replay,
}

/// One entry of `providers:`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSettings {
    /// The protocol; by default that of the vendor with this name, else `openai`.
    pub kind: Option<ProviderKind>,
    /// The base URL, without `/chat/completions`.
    pub base_url: Option<String>,
    /// The environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// Requests a minute, over `settings.rate_limit_per_minute`.
    pub rate_limit_per_minute: Option<u32>,
    /// Requests an hour, over `settings.rate_limit_per_hour`.
    pub rate_limit_per_hour: Option<u32>,
    /// Tokens a minute, over `settings.tokens_per_minute`.
    pub tokens_per_minute: Option<u64>,
    /// Calls in flight at once; for `claude`, CLIs at once.
    pub max_concurrency: Option<u32>,
    /// Time limits of one attempt.
    pub clocks: ClockSettings,
    /// Extra request headers.
    pub headers: BTreeMap<String, String>,
    /// Prices of this provider's models, over the built-in table.
    pub prices: BTreeMap<String, PriceOverride>,
    /// Tokens of prompt and answer that this provider's models hold, over the built-in table.
    pub windows: BTreeMap<String, u64>,
    /// `claude`: the CLI's path or name.
    pub cli_path: Option<String>,
    /// `claude`: hand the CLI its own tools back.
    pub native_tools: Option<bool>,
    /// `replay`: the recording.
    pub recording: Option<String>,
}

impl ProviderSettings {
    /// What the provider of this name is spoken to with.
    pub fn kind_of(&self, name: &str) -> ProviderKind {
        self.kind.unwrap_or_else(|| match name {
            "claude" => ProviderKind::Claude,
            "replay" => ProviderKind::Replay,
            _ => vendors::find(name).map_or(ProviderKind::Openai, |vendor| vendor.kind),
        })
    }

    /// The price of a model that this provider answers for, under whichever of its names it is written, else that of
    /// the model as which the price list has it: a snapshot without its date, say.
    pub fn price_of(&self, model: &Resolved, listed: Option<&str>) -> Option<PriceOverride> {
        let as_listed = || {
            let canonical = listed?;
            let (_, name) = canonical.split_once('/')?;
            let listed = Resolved {
                model: name.to_owned(),
                canonical: canonical.to_owned(),
                ..model.clone()
            };
            named(&self.prices, &listed)
        };
        named(&self.prices, model).or_else(as_listed).copied()
    }

    /// The tokens that a model of this provider holds, under whichever of its names they are written.
    pub fn window_of(&self, model: &Resolved) -> Option<u64> {
        named(&self.windows, model).copied()
    }
}

/// What a table of a provider says of a model. Its keys are models as an agent of that provider may write them.
fn named<'t, T>(table: &'t BTreeMap<String, T>, model: &Resolved) -> Option<&'t T> {
    table.get(&model.model).or_else(|| {
        let mut entries = table.iter();
        let found = entries.find(|(name, _)| resolve(&model.vendor, name).is_same(model));
        found.map(|(_, value)| value)
    })
}
