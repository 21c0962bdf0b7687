//! Model servers and agent CLIs: one trait, one file or folder a kind.
//!
//! May use the vocabulary, `store`, `process`, `sandbox` and `costs`; never `tools` or settings files.

mod adapt;
mod address;
mod aliases;
mod answer;
mod anthropic;
mod attempt;
mod body;
mod call_ids;
mod classify;
pub mod claude_cli;
mod connect;
mod error;
mod error_body;
mod facts;
mod hints;
mod http;
mod json;
mod known;
mod mask;
mod openai;
mod own_loop;
mod proxy;
mod read;
mod replay;
mod schema;
#[cfg(test)]
mod served;
mod settings;
mod sse;
mod structured;
mod target;
mod text_tools;
mod told;
mod upload;
#[cfg(test)]
mod vectors;
pub mod vendors;
mod watch;

use crate::costs::Clearance;
pub use crate::costs::PriceOverride;
pub(crate) use address::ollama as ollama_base_url;
pub use aliases::{Alias, Resolved, available_models, resolve, resolve_among, resolve_fallback};
pub use connect::{AZURE_HINT, ConnectSpec, Variables, connect};
pub use error::{FaultKind, LimitNews, Partial, ProviderError, StreamFault};
pub use facts::ModelFacts;
pub(crate) use http::http_client;
pub use known::{Unknown, known};
pub use own_loop::{OwnLoop, OwnTool, Running, RunningCall, Seat, ToolBridge};
pub use proxy::ProxySettings;
pub use replay::{RecordFile, Recorder};
pub(crate) use schema::schema_fault;
pub use settings::{ClockSettings, Clocks, ProviderKind, ProviderSettings, Seconds};

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::Events;
use crate::message::{Assistant, Message, ToolSpec};
use crate::usage::{Meter, Usage, Usd};

/// A future on the heap: what makes the one trait object-safe without a macro.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Something that turns a conversation into a reply: one attempt, no retries of its own.
pub trait Provider: Send + Sync {
    /// The name as configured: a vendor prefix, a name from `providers:`, `claude`, `replay`.
    fn name(&self) -> &str;

    /// The place that is called, for limits and breakers.
    fn endpoint(&self) -> &Endpoint;

    /// Whether it runs its tools itself: then tool events are news and no request comes back.
    fn runs_own_tools(&self) -> bool {
        false
    }

    /// Whether a cost that it tells is what is billed; else it is a claim, and the price list counts where
    /// that is more.
    fn tells_cost(&self) -> bool {
        true
    }

    /// Whether a model that reasons may do so without showing it, and counts it only at the end.
    fn hides_reasoning(&self) -> bool {
        false
    }

    /// Whether its replies come from a recording, which a run says.
    fn is_recorded(&self) -> bool {
        false
    }

    /// Whether it waits for [`Request::clearance`] by itself, at the last moment; else it is asked only then.
    fn waits_for_clearance(&self) -> bool {
        false
    }

    /// Makes one attempt. Text and reasoning go to `events` as they arrive; everything that counts
    /// is in the return value. `meter` is kept up to date all along, so that an attempt that is cut
    /// or cancelled can be charged. Dropping the future cancels the attempt.
    ///
    /// # Errors
    /// When no whole, well-ended answer came; what had arrived by then is in `partial`.
    fn complete<'a>(
        &'a self,
        request: &'a Request,
        meter: &'a Meter,
        events: &'a Events,
    ) -> BoxFuture<'a, Result<Reply, ProviderError>>;

    /// Waits for one of the seats of a provider that takes only so many calls at once, and tells of the
    /// wait; `None` where there is nothing to wait for. It is asked before the clock of a call starts: what
    /// others do is none of its time.
    fn seat<'a>(&'a self, _: &'a Request, _: &'a Events) -> BoxFuture<'a, Option<Seat>> {
        Box::pin(async { None })
    }

    /// Looks whether the endpoint answers and accepts the key, without spending tokens.
    ///
    /// # Errors
    /// The class of what is wrong.
    fn health(&self) -> BoxFuture<'_, Result<(), ProviderError>>;
}

/// Where calls go; two providers with an equal endpoint share limits, cool-downs and breakers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The provider's name, for messages.
    pub provider: String,
    /// The base URL, or the CLI's path.
    pub base_url: String,
    /// A short hash of the key, never the key; empty without one.
    pub key_fingerprint: String,
    /// Whether the host is this machine: no limits apply unless they are set.
    pub loopback: bool,
}

/// How the model is told about tools and answers with calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ToolMode {
    /// The vendor's function calling.
    #[default]
    Native,
    /// Fenced `tool` blocks in the text, for models that have no function calling.
    Text,
}

/// Who takes the answer while it streams; decides when a stream counts as committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Only the whole answer is used: always safe to ask again.
    #[default]
    Buffered,
    /// A terminal that can strike what it showed (`stream.reset`): one more try.
    Live,
    /// A pipe that cannot take text back.
    Raw,
}

/// Everything of one model call that does not depend on the vendor.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The agent that asks.
    pub agent: Arc<str>,
    /// The vendor's own model name.
    pub model: String,
    /// What is known about the model.
    pub facts: Option<ModelFacts>,
    /// The system prompt; empty for none.
    pub system: String,
    /// The conversation, oldest first; ends with a user or tool message.
    pub messages: Vec<Message>,
    /// The tools on offer.
    pub tools: Vec<ToolSpec>,
    /// How tools are offered.
    pub tool_mode: ToolMode,
    /// Cap of generated tokens; always set by the caller of an attempt, `None` only in tests.
    pub max_output_tokens: Option<u64>,
    /// Sampling temperature; the vendor's default without one.
    pub temperature: Option<f64>,
    /// JSON Schema that the answer must meet, through the vendor's own mechanism where it has one.
    pub output_schema: Option<Value>,
    /// The same for every attempt of one logical call.
    pub idempotency_key: String,
    /// The leave to send the attempt: nothing that may cost is sent without it.
    pub clearance: Clearance,
    /// Time limits of one attempt.
    pub clocks: Clocks,
    /// Who takes the answer.
    pub delivery: Delivery,
    /// The conversation of ours that this call belongs to, for providers that keep their own.
    pub session: Option<Arc<str>>,
    /// What a provider that takes its own turns is given beside; ignored by all others.
    pub own_loop: OwnLoop,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It was done.
    #[default]
    Stop,
    /// It wants tools to run.
    ToolCalls,
    /// The output limit or the window cut it.
    Length,
    /// A filter of the vendor cut it.
    ContentFilter,
}

/// A whole, well-ended answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// Text, reasoning, tool calls.
    pub message: Assistant,
    /// A refusal that the vendor keeps apart from text; shown as the answer when there is no text.
    pub refusal: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens as told by the vendor; `None` when it told nothing.
    pub usage: Option<Usage>,
    /// Cost as told by the vendor.
    pub reported_cost: Option<Usd>,
    /// Nothing is charged: a subscription login pays.
    pub subscription: bool,
    /// The model that answered, as told by the vendor.
    pub model: Option<String>,
    /// The vendor's id of this request.
    pub request_id: Option<String>,
    /// The structured answer, where the vendor gives it apart from the text.
    pub structured: Option<Value>,
    /// Model turns of a provider that takes its own; 0 for all others.
    pub own_turns: u32,
    /// The tools that such a provider ran itself, in order; calls through the bridge are not among
    /// them, since whoever serves the bridge knows them.
    pub own_tools: Vec<OwnTool>,
    /// What the headers told about limits.
    #[serde(skip)]
    pub limits: LimitNews,
    /// Things worth telling the user: a field that was dropped, a prompt that seems cut.
    pub warnings: Vec<String>,
    /// From the start of the request to the first text, reasoning or call.
    pub first_event: Option<Duration>,
}
