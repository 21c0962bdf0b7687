//! What can go wrong in one attempt, in the classes that decide about retry, breaker and fallback.

use std::fmt;
use std::time::Duration;

use super::OwnTool;
use crate::usage::{Usage, Usd};

/// The class of a failure; the first that fits wins when one is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The total deadline was reached.
    Deadline,
    /// The prompt is larger than the model's window.
    ContextLength,
    /// A policy of the vendor refused the content.
    ContentPolicy,
    /// The account has no money or its quota is used up: waiting minutes does not help.
    Quota,
    /// The key is missing or refused.
    Auth,
    /// No such model or path.
    NotFound,
    /// The request itself is wrong.
    BadRequest,
    /// What is configured of the provider is wrong or missing: it cannot be called at all.
    Config,
    /// Too many requests; later will help.
    RateLimited,
    /// The vendor has no capacity now.
    Overloaded,
    /// The vendor failed.
    Server,
    /// No connection, or it broke before the answer began.
    Network {
        /// Certificate and address errors: trying again cannot help.
        permanent: bool,
    },
    /// The stream of the answer was bad.
    Stream(StreamFault),
    /// What answered is no model server: a redirect, an HTML page.
    Protocol,
    /// The program that should answer is missing or not built in.
    Unavailable,
    /// A recording holds no such request.
    NotRecorded,
    /// What is to answer is no recording, or not there.
    Recording {
        /// It was named on the command line, not in the configuration.
        by_flag: bool,
    },
    /// A provider that takes its own turns used up those it was given.
    TurnLimit,
    /// A provider that takes its own turns stopped at, or has no room below, the money it was given.
    Budget,
    /// The answer never met the schema that was asked for.
    Schema,
    /// The sandbox that the provider must run in cannot be built here.
    Denied,
}

/// How a stream went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// Nothing came within the first-event clock.
    FirstEvent,
    /// No progress within the idle clock.
    Idle,
    /// It ended without a finish reason.
    Truncated,
    /// It ended without any content.
    Empty,
    /// An event was no JSON, or far too long.
    InvalidJson,
}

impl FaultKind {
    /// The class as it appears in events and in `error.attempts`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::ContextLength => "context_length",
            Self::ContentPolicy => "content_policy",
            Self::Quota => "quota",
            Self::Auth => "auth",
            Self::NotFound => "not_found",
            Self::BadRequest => "bad_request",
            Self::Config => "config",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Server => "server",
            Self::Network { .. } => "network",
            Self::Stream(StreamFault::FirstEvent) => "first_event_timeout",
            Self::Stream(StreamFault::Idle) => "idle_timeout",
            Self::Stream(StreamFault::Truncated) => "truncated",
            Self::Stream(StreamFault::Empty) => "empty",
            Self::Stream(StreamFault::InvalidJson) => "invalid_json",
            Self::Protocol => "protocol",
            Self::Unavailable => "unavailable",
            Self::NotRecorded => "not_recorded",
            Self::Recording { .. } => "recording",
            Self::TurnLimit => "turn_limit",
            Self::Budget => "budget",
            Self::Schema => "schema",
            Self::Denied => "denied",
        }
    }
}

/// What had arrived when an attempt failed; it was paid for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// Text so far.
    pub text: String,
    /// Reasoning so far.
    pub reasoning: String,
    /// Characters of tool calls so far.
    pub call_chars: usize,
    /// Tokens that the vendor told before the end.
    pub usage: Option<Usage>,
    /// Cost that the vendor told before the end.
    pub reported_cost: Option<Usd>,
    /// The model that was at work, as told by the vendor.
    pub model: Option<String>,
    /// Tools that a provider of its own turns ran before the end.
    pub own_tools: Vec<OwnTool>,
    /// What the user should know of what these left behind.
    pub warnings: Vec<String>,
    /// Whether the request reached a model: `false` for what was refused before any work, so
    /// that nothing is charged.
    pub reached_model: bool,
}

/// What response headers told about the vendor's limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitNews {
    /// Requests a minute that the vendor allows.
    pub requests_per_minute: Option<u64>,
    /// Tokens a minute that the vendor allows.
    pub tokens_per_minute: Option<u64>,
    /// An exhausted allowance is refilled after this time.
    pub exhausted_for: Option<Duration>,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderError {
    /// The provider's name.
    pub provider: String,
    /// The class.
    pub kind: FaultKind,
    /// What happened: lower case, no full stop, secrets masked.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// The vendor's error code.
    pub code: Option<String>,
    /// The wait that the server asked for.
    pub retry_after: Option<Duration>,
    /// Where the wait was told: `header` or `body`.
    pub told_by: &'static str,
    /// `x-should-retry`, where sent.
    pub should_retry: Option<bool>,
    /// The one extra try that this bad request deserves (groq's `tool_use_failed`).
    pub retry_once: bool,
    /// The vendor's id of the failed request.
    pub request_id: Option<String>,
    /// Whether text, a refusal or a tool call was handed out before it failed.
    pub committed: bool,
    /// What had arrived.
    pub partial: Box<Partial>,
    /// What the headers told about limits.
    pub limits: LimitNews,
}

impl ProviderError {
    /// An error with its class and words, everything else unknown.
    pub fn new(provider: &str, kind: FaultKind, message: impl Into<String>) -> Self {
        Self {
            provider: provider.to_owned(),
            kind,
            message: message.into(),
            hint: None,
            status: None,
            code: None,
            retry_after: None,
            told_by: "backoff",
            should_retry: None,
            retry_once: false,
            request_id: None,
            committed: false,
            partial: Box::default(),
            limits: LimitNews::default(),
        }
    }

    /// The same error with what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.message)
    }
}

impl std::error::Error for ProviderError {}
