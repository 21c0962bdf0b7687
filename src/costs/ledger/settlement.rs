//! What an attempt is charged in the end: pure.

use std::sync::Arc;
use std::time::SystemTime;

use super::attempt::{charged_tokens, estimate_tokens};
use crate::costs::prices::{Price, Pricing};
use crate::usage::{CostSource, Reading, Usage, Usd};

/// How an attempt ended, as its provider tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How.
    pub ended: Ended,
    /// The tokens that the vendor told; the meter's last reading counts where there is none.
    pub usage: Option<Usage>,
    /// The cost that the vendor told; the meter's last reading counts where there is none.
    pub reported_cost: Option<Usd>,
    /// The model that answered, as told by the vendor.
    pub model: Option<String>,
    /// The vendor's id of the request.
    pub request_id: Option<String>,
    /// A subscription paid, as was found out on the way.
    pub subscription: bool,
    /// It took every output token that it was given.
    pub filled: bool,
}

/// How an attempt ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// With a whole answer.
    #[default]
    Answered,
    /// It failed after the request had reached a model: what came of it is charged.
    Failed {
        /// The class of the failure.
        class: String,
    },
    /// It failed before any model worked (no connection, refused key, rate limit): nothing is
    /// charged.
    Refused {
        /// The class of the failure.
        class: String,
    },
}

/// How the ledger names an attempt that was held and then not made.
pub(super) const NOT_SENT: &str = "not_sent";

impl Ended {
    /// It was held, and then not made.
    pub fn not_sent() -> Self {
        Self::Refused {
            class: NOT_SENT.to_owned(),
        }
    }

    /// As the ledger names it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Answered => "answered",
            Self::Failed { class } | Self::Refused { class } => class,
        }
    }
}

/// What is known of an attempt before it ends.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    pub(super) pricing: Pricing,
    /// The provider in whose list the model stands; `None` where its price is known otherwise.
    pub(super) listed_at: Option<String>,
    /// The price of the model that answered, where that is not the one that was asked.
    pub(super) answered_price: Option<Arc<Price>>,
    pub(super) subscription: bool,
    /// A cost that is told is a claim.
    pub(super) doubts_cost: bool,
    pub(super) hold: Usd,
    /// What its price goes by.
    pub(super) priced_as: String,
    /// The most that the one of its replies that is under way can cost, where it takes several.
    pub(super) most_unanswered: Option<Usd>,
    /// About how many tokens the prompt has.
    pub(super) prompt_tokens: u64,
    /// The output tokens that were asked for at most.
    pub(super) max_output_tokens: u64,
    /// The model may reason out of sight, so that what was seen tells little about what it wrote.
    pub(super) hides_output: bool,
    pub(super) began: SystemTime,
}

impl Basis {
    /// Whether a count of tokens is one, of a text that likely has so many. Where nothing is paid, whatever is told
    /// may stand that is more than nothing.
    fn believes(&self, tokens: u64, likely_tokens: u64) -> bool {
        let likely_tokens = match self.pricing {
            Pricing::Known(_) => likely_tokens,
            Pricing::Local | Pricing::Unpriced => likely_tokens.min(1),
        };
        is_count_of(tokens, likely_tokens)
    }
}

/// What an attempt is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Charge {
    /// What stays held for ever, since nobody knows what became of it.
    pub(super) held: Usd,
    pub(super) usage: Usage,
    pub(super) cost: Usd,
    pub(super) source: CostSource,
    /// What the price list says, also where a subscription pays or the vendor told another cost.
    pub(super) computed: Option<Usd>,
    pub(super) reported: Option<Usd>,
}

/// How an attempt came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A whole answer.
    Whole,
    /// An answer that took every output token that it was given.
    Filled,
    /// Failed or dropped in the middle.
    Cut,
    /// Never reached a model.
    Never,
}

/// More tokens than any call can have: the largest windows take ten million, and a CLI that takes its
/// own turns adds them up. Who tells more is mistaken or lies.
const MOST_TOKENS: u64 = 1_000_000_000;

/// More than any call can cost, for the same reason.
const MOST_COST: Usd = Usd::from_pico(100_000 * 1_000_000_000_000);

/// By how much the likely tokens of a text may exceed what was counted. Wide tables and rulers in it have up to thirty
/// bytes a token, eight times what was taken for likely.
const MOST_DENSE: u64 = 8;

/// Whether this can be how many tokens a text has that likely has so many: some servers leave out what they have
/// cached, or count nothing.
pub(super) fn is_count_of(tokens: u64, likely_tokens: u64) -> bool {
    tokens.saturating_mul(MOST_DENSE) >= likely_tokens
}

/// Whether a vendor can have meant what it told; else it counts as not told at all.
fn is_plausible(usage: &Usage) -> bool {
    !usage.is_empty() && usage.input_tokens.max(usage.output_tokens) <= MOST_TOKENS
}

/// Decides what an attempt is charged.
pub(super) fn charge(basis: &Basis, way: Way, reading: Reading, ended: SystemTime) -> Charge {
    let reported = reading
        .reported_cost
        .filter(|cost| (Usd::ZERO..=MOST_COST).contains(cost))
        // Nothing is no cost of what has a price: some servers and gateways fill it in.
        .filter(|cost| *cost > Usd::ZERO || basis.hold == Usd::ZERO);
    let told = reading.reported.filter(is_plausible);
    let list = |usage: &Usage| {
        let cost = |price: &Arc<Price>| price.cost(usage, basis.began, ended);
        match &basis.pricing {
            // A server may let a dearer model answer than was asked.
            Pricing::Known(price) => {
                Some(cost(price).max(basis.answered_price.as_ref().map_or(Usd::ZERO, cost)))
            }
            Pricing::Local => Some(Usd::ZERO),
            Pricing::Unpriced => None,
        }
    };
    if way == Way::Never {
        return Charge {
            held: Usd::ZERO,
            usage: Usage::default(),
            cost: Usd::ZERO,
            source: CostSource::Computed,
            computed: Some(Usd::ZERO),
            reported: None,
        };
    }
    // Of what was cut, and of which nothing is told, nobody knows what it cost.
    let is_told = reported.is_some() && !basis.doubts_cost;
    let is_untold = way == Way::Cut && !is_told && !basis.subscription;
    let counted = told.is_some_and(|usage| usage.output_tokens > 0);
    // The head of an answer says nothing about it, nor does the text of one that was thought out before.
    let is_seen = counted
        || (reading.output_bytes > 0 && !basis.hides_output && basis.most_unanswered.is_none());
    if is_untold && !is_seen {
        return Charge {
            held: basis.most_unanswered.unwrap_or(basis.hold).min(basis.hold),
            usage: Usage::default(),
            cost: Usd::ZERO,
            source: CostSource::Estimated,
            computed: None,
            reported: None,
        };
    }
    let is_ended = matches!(way, Way::Whole | Way::Filled);
    let likely_output = estimate_tokens(reading.output_bytes);
    let is_whole = is_ended
        && told.is_some_and(|usage| {
            basis.believes(usage.input_tokens, basis.prompt_tokens)
                && basis.believes(usage.output_tokens, likely_output)
        });
    let usage = match told {
        Some(usage) if is_whole => usage,
        told => estimate(basis, way, told.unwrap_or_default(), reading),
    };
    let computed = list(&usage);
    let (cost, source) = if basis.subscription {
        (Usd::ZERO, CostSource::Subscription)
    } else {
        match (reported, computed) {
            (Some(reported), Some(computed))
                if is_ended && basis.doubts_cost && computed > reported =>
            {
                let source = if is_whole {
                    CostSource::Computed
                } else {
                    CostSource::Estimated
                };
                (computed, source)
            }
            (Some(reported), _) if is_ended => (reported, CostSource::Reported),
            // What was told last may not cover what came after it.
            (Some(reported), Some(computed)) if computed > reported => {
                (computed, CostSource::Estimated)
            }
            (Some(reported), _) => (reported, CostSource::Reported),
            (None, Some(computed)) if is_whole || computed == Usd::ZERO => {
                (computed, CostSource::Computed)
            }
            (None, Some(computed)) => (computed, CostSource::Estimated),
            (None, None) => (Usd::ZERO, CostSource::Unpriced),
        }
    };
    let cost = cost.at_least_zero();
    // What several replies counted does not cover the one that was under way.
    let under_way = basis
        .most_unanswered
        .filter(|_| is_untold)
        .unwrap_or_default();
    Charge {
        held: under_way.min((basis.hold - cost).at_least_zero()),
        usage,
        cost,
        source,
        computed,
        reported,
    }
}

/// The tokens of an answer that was cut, or whose vendor did not tell them all: the prompt, and the larger of
/// what was told and of what was received, or all that it may have written.
fn estimate(basis: &Basis, way: Way, told: Usage, reading: Reading) -> Usage {
    let input_tokens = if basis.believes(told.input_tokens, basis.prompt_tokens) {
        told.input_tokens
    } else {
        basis.prompt_tokens
    };
    let received = charged_tokens(reading.output_bytes);
    let likely_output = estimate_tokens(reading.output_bytes);
    let is_counted = told.output_tokens > 0 && basis.believes(told.output_tokens, likely_output);
    let output_tokens = match way {
        Way::Whole | Way::Filled if is_counted => told.output_tokens,
        Way::Filled => received.max(basis.max_output_tokens),
        Way::Whole if basis.hides_output => received.max(basis.max_output_tokens),
        Way::Whole | Way::Cut | Way::Never => told.output_tokens.max(received),
    };
    Usage {
        input_tokens,
        output_tokens,
        ..told
    }
}

#[cfg(test)]
mod tests;
