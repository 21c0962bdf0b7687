//! One attempt of a model call, as far as money is concerned.

use std::sync::Arc;

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
    /// The most that it can have cost while no byte of an answer has come, where that is less than all
    /// of it: the first reply of a CLI.
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

/// How large a prompt is before the vendor has counted it.
///
/// Tokenizers differ, and their tables are larger than this program. Two numbers are kept instead: a
/// likely one, and one that no tokenizer in use exceeds, for holds. A token covers at least one
/// byte; words of lower-case letters, which are most of any prompt, take at least two bytes a token
/// in all of them. So the most is half the lower-case letters and blanks and all of the rest: about
/// twice what English or code really needs, and still enough for digits, base64 and other scripts.
/// What the vendor counted for the beginning of the same conversation is taken as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptSize {
    /// Tokens that the vendor counted for the beginning of the prompt.
    pub counted_tokens: u64,
    /// Bytes of the rest: text, arguments, schemas of tools.
    pub bytes: u64,
    /// Those of them that are lower-case letters and blanks.
    pub light_bytes: u64,
    /// Messages and tools, each of which is wrapped in a few tokens.
    pub parts: u64,
}

/// Tokens that wrap one message or tool.
const TOKENS_PER_PART: u64 = 16;

/// Tokens that a vendor puts before a prompt of its own accord (instructions for tools).
const TOKENS_OF_VENDOR: u64 = 600;

impl PromptSize {
    /// The size of one text.
    pub fn of(text: &str) -> Self {
        let mut size = Self::default();
        size.add(text);
        size
    }

    /// Adds a message, a schema or another part of the prompt.
    pub fn add(&mut self, text: &str) {
        let light = text
            .bytes()
            .filter(|byte| matches!(byte, b'a'..=b'z' | b' ' | b'\n'))
            .count();
        self.bytes = self.bytes.saturating_add(text.len() as u64);
        self.light_bytes = self.light_bytes.saturating_add(light as u64);
        self.parts = self.parts.saturating_add(1);
    }

    /// About how many tokens it has.
    pub fn likely_tokens(&self) -> u64 {
        self.counted_tokens
            .saturating_add(estimate_tokens(self.bytes))
    }

    /// How many tokens its texts can have at most, without what wraps them.
    pub fn text_tokens(&self) -> u64 {
        let heavy = self.bytes.saturating_sub(self.light_bytes);
        heavy.saturating_add(self.light_bytes.div_ceil(2))
    }

    /// How many tokens it can have at most.
    pub fn most_tokens(&self) -> u64 {
        if self.bytes == 0 && self.parts == 0 {
            return self.counted_tokens;
        }
        let vendor = if self.counted_tokens == 0 {
            TOKENS_OF_VENDOR
        } else {
            0
        };
        self.counted_tokens
            .saturating_add(self.text_tokens())
            .saturating_add(self.parts.saturating_mul(TOKENS_PER_PART))
            .saturating_add(vendor)
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
    fn the_most_is_above_the_likely_and_not_absurdly_so() {
        let prose = "the quick brown fox jumps over the lazy dog and then rests. ".repeat(100);
        let size = PromptSize::of(&prose);
        assert_eq!(size.bytes, 6000);
        assert_eq!(size.light_bytes, 5900);
        assert_eq!(size.likely_tokens(), 1500);
        assert_eq!(size.most_tokens(), 100 + 2950 + 16 + 600);
        let digits = PromptSize::of(&"7".repeat(1000));
        assert_eq!(digits.most_tokens(), 1000 + 16 + 600);
        let mut next = PromptSize {
            counted_tokens: 1234,
            ..PromptSize::default()
        };
        assert_eq!((next.likely_tokens(), next.most_tokens()), (1234, 1234));
        next.add("ok");
        assert_eq!((next.likely_tokens(), next.most_tokens()), (1235, 1251));
    }

    #[test]
    fn received_text_is_charged_above_any_usual_ratio() {
        for (bytes, tokens) in [(0, 0), (1, 2), (3, 2), (30, 12), (3000, 1200)] {
            assert_eq!(charged_tokens(bytes), tokens, "{bytes}");
        }
        assert_eq!(charged_tokens(u64::MAX), u64::MAX.div_ceil(5));
    }
}
