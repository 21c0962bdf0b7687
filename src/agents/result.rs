//! The result of a run: the object that `--json` prints.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::costs::Charges;
use crate::error::ErrorClass;
use crate::providers::Finish;
use crate::resilience::{AttemptReport, FallbackReport};
use crate::usage::{CostSource, Usage, Usd};

/// The version of the result object.
pub const SCHEMA_VERSION: u32 = 1;

/// The kind of a result, by name.
pub(super) type Kind = &'static str;

/// What a run gave; `kind` says which of the optional parts are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The run's id.
    pub run_id: String,
    /// `agent`, `all` or `task`; of a step of a task also `run` for a command and `gate`.
    #[serde(deserialize_with = "kind")]
    pub kind: Kind,
    /// The step of a task that this is the result of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The agent, or the task's name.
    pub agent: String,
    /// Whether it finished as asked.
    pub ok: bool,
    /// The answer; on failure what was said so far.
    pub output: String,
    /// The answer as an object, where the agent has an `output_schema`.
    pub structured: Option<Value>,
    /// The exit code of a step that is a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why the model stopped.
    pub finish_reason: Option<Finish>,
    /// What went wrong.
    pub error: Option<ErrorReport>,
    /// What is worth knowing although it went well.
    pub warnings: Vec<String>,
    /// Tokens of every attempt.
    pub usage: Usage,
    /// Cost of every attempt.
    pub cost_usd: Usd,
    /// Where the cost comes from; the least certain source of all attempts.
    pub cost_source: CostSource,
    /// The model that was asked for.
    pub requested_model: String,
    /// The model that answered.
    pub model: String,
    /// Models that failed before another answered.
    pub fallbacks: Vec<FallbackReport>,
    /// Model calls, failed ones included.
    pub attempts: u32,
    /// Attempts after a failed one.
    pub retries: u32,
    /// Model turns.
    pub turns: u32,
    /// The tools that ran, in order.
    pub tools: Vec<ToolReport>,
    /// The conversation that this run belongs to.
    pub session: Option<String>,
    /// Wall time, milliseconds.
    pub duration_ms: u64,
    /// The results of `all` and `task`, in configuration order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<Self>>,
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let name = String::deserialize(deserializer)?;
    ["agent", "all", "task", "run", "gate"]
        .into_iter()
        .find(|known| *known == name)
        .ok_or_else(|| de::Error::custom(format_args!("there is no kind of result `{name}`")))
}

impl RunResult {
    /// A result of which only the names are known.
    pub fn empty(run_id: &str, kind: &'static str, agent: &str, model: &str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            run_id: run_id.to_owned(),
            kind,
            step: None,
            agent: agent.to_owned(),
            ok: false,
            output: String::new(),
            structured: None,
            exit_code: None,
            finish_reason: None,
            error: None,
            warnings: Vec::new(),
            usage: Usage::default(),
            cost_usd: Usd::ZERO,
            cost_source: CostSource::Computed,
            requested_model: model.to_owned(),
            model: model.to_owned(),
            fallbacks: Vec::new(),
            attempts: 0,
            retries: 0,
            turns: 0,
            tools: Vec::new(),
            session: None,
            duration_ms: 0,
            results: None,
        }
    }

    /// The exit code of the interface.
    pub fn exit_code(&self) -> u8 {
        self.error
            .as_ref()
            .map_or(u8::from(!self.ok), |error| error.class.exit_code())
    }

    /// Tells what all attempts were charged that have entered themselves in an account.
    pub fn charge(&mut self, charges: Charges) {
        self.attempts = charges.attempts;
        self.usage = charges.usage;
        self.cost_usd = charges.cost;
        self.cost_source = charges.source.unwrap_or(self.cost_source);
    }

    /// Adds what was spent; the source becomes the least certain of both.
    pub fn add_cost(&mut self, usage: Usage, cost: Usd, source: CostSource) {
        self.cost_source = if self.usage.is_empty() && self.cost_usd == Usd::ZERO {
            source
        } else {
            self.cost_source.max(source)
        };
        self.usage += usage;
        self.cost_usd += cost;
    }
}

/// What went wrong, for programs and people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// The class; decides the exit code.
    pub class: ErrorClass,
    /// What happened.
    pub message: String,
    /// The fix.
    pub hint: Option<String>,
    /// Whether trying again later may help.
    pub retryable: bool,
    /// When, seconds from now.
    pub retry_after_s: Option<f64>,
    /// The provider that failed.
    pub provider: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Every failed attempt.
    pub attempts: Vec<AttemptReport>,
}

impl ErrorReport {
    /// An error with its class and words.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            hint: None,
            retryable: false,
            retry_after_s: None,
            provider: None,
            status: None,
            attempts: Vec::new(),
        }
    }
}

/// A tool that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolReport {
    /// Its name.
    pub tool: String,
    /// Whether it did what was asked.
    pub ok: bool,
    /// How long it took, milliseconds.
    pub ms: u64,
}

impl From<crate::error::OrchError> for ErrorReport {
    fn from(error: crate::error::OrchError) -> Self {
        let mut message = error.message;
        for cause in error.causes {
            message.push_str(": ");
            message.push_str(&cause);
        }
        Self {
            hint: error.hint,
            ..Self::new(error.class, message)
        }
    }
}
