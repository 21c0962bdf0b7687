//! What an attempt is charged in the end: pure.

use std::time::SystemTime;

use super::attempt::charged_tokens;
use crate::costs::prices::Pricing;
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
    pub(super) subscription: bool,
    /// A cost that is told is a claim.
    pub(super) doubts_cost: bool,
    pub(super) hold: Usd,
    /// What its price goes by.
    pub(super) priced_as: String,
    /// The most that it can have cost before the first byte, where that is less.
    pub(super) most_unanswered: Option<Usd>,
    /// About how many tokens the prompt has.
    pub(super) prompt_tokens: u64,
    pub(super) began: SystemTime,
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

/// Whether a vendor can have meant what it told; else it counts as not told at all.
fn is_plausible(usage: &Usage) -> bool {
    !usage.is_empty() && usage.input_tokens.max(usage.output_tokens) <= MOST_TOKENS
}

/// Decides what an attempt is charged.
pub(super) fn charge(basis: &Basis, way: Way, reading: Reading, ended: SystemTime) -> Charge {
    let reported = reading
        .reported_cost
        .filter(|cost| (Usd::ZERO..=MOST_COST).contains(cost));
    let told = reading.reported.filter(is_plausible);
    let list = |usage: &Usage| match &basis.pricing {
        Pricing::Known(price) => Some(price.cost(usage, basis.began, ended)),
        Pricing::Local => Some(Usd::ZERO),
        Pricing::Unpriced => None,
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
    if way == Way::Cut && !reading.answered && told.is_none() && reported.is_none() {
        return Charge {
            held: basis.most_unanswered.unwrap_or(basis.hold).min(basis.hold),
            usage: Usage::default(),
            cost: Usd::ZERO,
            source: CostSource::Estimated,
            computed: None,
            reported: None,
        };
    }
    // A count of nothing for what was there is no count.
    let leaves_out = |usage: &Usage| {
        (usage.input_tokens == 0 && basis.prompt_tokens > 0)
            || (usage.output_tokens == 0 && reading.output_bytes > 0)
    };
    let is_whole = way == Way::Whole && told.is_some_and(|usage| !leaves_out(&usage));
    let usage = match told {
        Some(usage) if is_whole => usage,
        told => estimate(told.unwrap_or_default(), basis.prompt_tokens, reading),
    };
    let computed = list(&usage);
    // Nothing is no cost of what has a price: some servers and gateways fill it in.
    let has_price = computed.is_some_and(|computed| computed > Usd::ZERO);
    let reported = reported.filter(|cost| *cost > Usd::ZERO || !has_price);
    let (cost, source) = if basis.subscription {
        (Usd::ZERO, CostSource::Subscription)
    } else {
        match (reported, computed) {
            (Some(reported), Some(computed))
                if way == Way::Whole && basis.doubts_cost && computed > reported =>
            {
                let source = if is_whole {
                    CostSource::Computed
                } else {
                    CostSource::Estimated
                };
                (computed, source)
            }
            (Some(reported), _) if way == Way::Whole => (reported, CostSource::Reported),
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
    Charge {
        held: Usd::ZERO,
        usage,
        cost: cost.at_least_zero(),
        source,
        computed,
        reported,
    }
}

/// The tokens of an answer that was cut, or whose vendor told none: the prompt, and the larger of
/// what was told and of what was received.
fn estimate(told: Usage, prompt_tokens: u64, reading: Reading) -> Usage {
    let input_tokens = if told.input_tokens == 0 {
        prompt_tokens
    } else {
        told.input_tokens
    };
    Usage {
        input_tokens,
        output_tokens: told.output_tokens.max(charged_tokens(reading.output_bytes)),
        ..told
    }
}
