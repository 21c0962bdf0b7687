//! What a guarded call is given and what it gives back.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::EndpointSettings;
use crate::costs::{Caps, Purpose, Refused, Spent};
use crate::providers::{
    Clocks, FaultKind, ModelFacts, Partial, PriceOverride, Provider, Reply, ToolMode,
};
use crate::usage::{CostSource, Usage, Usd};

/// One model of a fallback chain, with everything that is settled about it before the call.
#[derive(Clone)]
pub struct Link {
    /// Who is asked.
    pub provider: Arc<dyn Provider>,
    /// The vendor's own model name.
    pub model: String,
    /// The model as reports and prices name it: `vendor/model`.
    pub canonical: String,
    /// Retries, limits and breaker of its endpoint.
    pub settings: EndpointSettings,
    /// Time limits; `total` bounds the whole call, waits and fallbacks included.
    pub clocks: Clocks,
    /// How tools are offered to it.
    pub tool_mode: ToolMode,
    /// What is known about it.
    pub facts: Option<ModelFacts>,
    /// Cap of generated tokens as configured. Without one it is what the model can, at most 8192,
    /// and gives way to what the budgets afford.
    pub max_output_tokens: Option<u64>,
    /// Its price in the configuration, over the built-in table.
    pub price: Option<PriceOverride>,
    /// Whether it costs nothing where no table has a price: it is served on this machine, and whoever configured
    /// that server named no prices, as one would for a proxy of vendors.
    pub is_free: bool,
}

/// Who asks, for whom, and until when.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    /// The run.
    pub run_id: Arc<str>,
    /// The task, where there is one.
    pub task: Option<Arc<str>>,
    /// The step of the task.
    pub step: Option<Arc<str>>,
    /// The conversation whose budget covers the call.
    pub session: Option<Arc<str>>,
    /// The agent.
    pub agent: Arc<str>,
    /// The model turn, counted from 1.
    pub turn: u32,
    /// Why the model is asked.
    pub purpose: Purpose,
    /// The agents that delegated to it, whose budgets cover the call as well.
    pub delegators: Vec<Arc<str>>,
    /// The budgets that cover the call.
    pub caps: Arc<Caps>,
    /// What its attempts have cost so far, also when nobody waits for the answer any more.
    pub spent: Arc<Spent>,
    /// When the run must be over; the first link's own total clock counts as well.
    pub deadline: Option<Instant>,
    /// How many calls of the run may be under way at the same time, out of the same budgets.
    pub among: u32,
    /// What the vendor has counted of this conversation before.
    pub counted: Option<Counted>,
}

/// What a vendor has counted of a conversation: more exact than any estimate of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The tokens of the system prompt, the tools and the first messages.
    pub tokens: u64,
    /// How many messages those were.
    pub messages: usize,
}

/// A whole answer and how it was come by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What the model said.
    pub reply: Reply,
    /// The tokens of every attempt, failed ones included.
    pub usage: Usage,
    /// The cost of every attempt, failed ones included.
    pub cost: Usd,
    /// Where the cost comes from: the least certain source of all attempts.
    pub cost_source: CostSource,
    /// The tokens of the prompt as the vendor counted them; `None` where it did not, or cannot have.
    #[serde(default)]
    pub prompt_tokens: Option<u64>,
    /// The model that was asked for: the first of the chain.
    pub requested_model: String,
    /// The model that answered.
    pub model: String,
    /// Attempts that were made, the successful one included.
    pub attempts: u32,
    /// The attempts that failed, in order.
    pub failures: Vec<AttemptReport>,
    /// The changes from one model to the next, in order.
    pub fallbacks: Vec<FallbackReport>,
    /// Things worth telling the user.
    pub warnings: Vec<String>,
}

/// A failed attempt as it is reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptReport {
    /// Counted from 1 over the whole call.
    pub n: u32,
    /// The model that was asked.
    pub model: String,
    /// The class of the failure.
    pub class: String,
    /// HTTP status, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The vendor's error code, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What happened.
    pub message: String,
    /// The wait before the next attempt, milliseconds; none for the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Why it was not made again, where that is not plain from the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Cow<'static, str>>,
    /// The vendor's id of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How long it took, milliseconds.
    pub ms: u64,
}

/// A change to the next model of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackReport {
    /// The model that failed.
    pub from: String,
    /// The model that was asked instead.
    pub to: String,
    /// The class of the failure.
    pub class: String,
    /// What happened.
    pub message: String,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum CallErrorKind {
    /// The provider failed.
    Provider(FaultKind),
    /// Our own limit does not let the request pass in time, or ever.
    RateLimit,
    /// The endpoint failed so often that it is left alone for the time being.
    CircuitOpen,
    /// The time of the call or of the run is up.
    Deadline,
    /// A budget would be exceeded, or the price is not known and that is not allowed.
    Budget(Refused),
    /// The ledger could not be written, so nothing was spent.
    Ledger,
}

impl CallErrorKind {
    /// The class as it appears in events and reports.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Provider(kind) => kind.class(),
            Self::RateLimit => "rate_limit",
            Self::CircuitOpen => "circuit_open",
            Self::Deadline => "deadline",
            Self::Budget(_) => "budget",
            Self::Ledger => "ledger",
        }
    }
}

/// A call that gave no answer, and what it cost all the same.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// Why.
    pub kind: CallErrorKind,
    /// What happened: lower case, no full stop, secrets masked.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// When it may, from now.
    pub retry_after: Option<Duration>,
    /// The provider that failed last.
    pub provider: String,
    /// The model that failed last.
    pub model: String,
    /// HTTP status of the last attempt, where there is one.
    pub status: Option<u16>,
    /// Every attempt, in order.
    pub attempts: Vec<AttemptReport>,
    /// The changes from one model to the next, in order.
    pub fallbacks: Vec<FallbackReport>,
    /// The tokens of every attempt.
    pub usage: Usage,
    /// The cost of every attempt.
    pub cost: Usd,
    /// Where the cost comes from: the least certain source of all attempts.
    pub cost_source: CostSource,
    /// What the last attempt had said.
    pub partial: Partial,
    /// Things worth telling the user beside the failure.
    pub warnings: Vec<String>,
}
