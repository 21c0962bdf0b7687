//! One attempt of a model call, as far as money is concerned.

use std::sync::Arc;

use super::prompt_size::PromptSize;
use super::spent::Spent;
use crate::costs::PriceOverride;
use crate::costs::prices::WorstCase;
use crate::usage::Usd;

/// Why a model is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// An agent's turn.
    #[default]
    Agent,
    /// Choosing among candidates.
    Judge,
    /// Merging candidates into one answer.
    Synthesis,
    /// A health check that asks the model.
    Health,
    /// Summarising old turns.
    Compaction,
}

impl Purpose {
    /// As the ledger names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Judge => "judge",
            Self::Synthesis => "synthesis",
            Self::Health => "health",
            Self::Compaction => "compaction",
        }
    }
}

/// Who asks which model for what, and how large that can get.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// The run.
    pub run_id: Arc<str>,
    /// The step of a task.
    pub step: Option<Arc<str>>,
    /// The task.
    pub task: Option<Arc<str>>,
    /// The conversation.
    pub session: Option<Arc<str>>,
    /// The agent.
    pub agent: Arc<str>,
    /// The agents that delegated to it: their budgets cover this attempt as well.
    pub delegators: Vec<Arc<str>>,
    /// Where it adds what it cost when it ends.
    pub spent: Arc<Spent>,
    /// The model turn, counted from 1.
    pub turn: u32,
    /// The attempt of that turn, counted from 1.
    pub attempt: u32,
    /// Why.
    pub purpose: Purpose,
    /// The provider as configured.
    pub provider: String,
    /// The model as `vendor/model`.
    pub model: String,
    /// Its price in the configuration.
    pub price: Option<PriceOverride>,
    /// It runs on this machine and is free unless `price` says otherwise.
    pub local: bool,
    /// A subscription pays: nothing is held or charged.
    pub subscription: bool,
    /// It was paid for when it was recorded: nobody is asked.
    pub recorded: bool,
    /// How large the prompt is.
    pub prompt: PromptSize,
    /// The output tokens that may be asked for.
    pub max_output_tokens: u64,
    /// With it, `max_output_tokens` gives way to what the budgets afford, down to this.
    /// [`super::Hold::max_output_tokens`] tells what was granted.
    pub least_output_tokens: Option<u64>,
    /// The model may reason without showing or counting it before its answer has ended.
    pub hides_output: bool,
    /// How many calls of its run may be under way at the same time, this one included: where it can make do with less,
    /// it gets its share of what the budgets of the run leave.
    pub among: u32,
    /// The prompt is written to a cache for an hour, not for five minutes.
    pub one_hour_cache: bool,
    /// A cost that is told is a claim: it counts where it is more than the price list says.
    pub doubts_cost: bool,
    /// The most that it can cost where somebody else sees to that, such as a CLI with a budget of
    /// its own; replaces what would follow from tokens and prices.
    pub most: Option<Usd>,
    /// The most that one of its replies can cost, where it takes several, as a CLI does: while nothing is told of
    /// one, nobody knows what it cost.
    pub most_unanswered: Option<Usd>,
}

impl Attempt {
    /// The largest that it can get.
    pub fn worst_case(&self) -> WorstCase {
        WorstCase {
            input_tokens: self.prompt.most_tokens(),
            output_tokens: self.max_output_tokens,
            one_hour_cache: self.one_hour_cache,
        }
    }
}

/// About how many tokens this many bytes of text are, leaning high: English has four and a half bytes
/// a token, code and JSON three to four.
pub fn estimate_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

/// How many tokens received text is charged as when the vendor told no number: 1.2 times an
/// estimate of three bytes a token, so that code and other scripts are not charged too little.
pub(super) fn charged_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(3).saturating_mul(6).div_ceil(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_text_is_charged_above_any_usual_ratio() {
        for (bytes, tokens) in [(0, 0), (1, 2), (3, 2), (30, 12), (3000, 1200)] {
            assert_eq!(charged_tokens(bytes), tokens, "{bytes}");
        }
        assert_eq!(charged_tokens(u64::MAX), u64::MAX.div_ceil(5));
    }
}
