//! Whether a failed attempt is made again, and when: pure, with the clock and the dice passed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::providers::{FaultKind, ProviderError, StreamFault};

/// A wait that the server asks for and that is longer than this is not slept through: another model
/// answers, or the call fails with the time to try again.
pub const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// No backoff is longer than this.
const CAP: Duration = Duration::from_secs(30);

/// No backoff is shorter than this.
const FLOOR: Duration = Duration::from_millis(50);

/// A told wait is stretched by at most this, so that not everyone comes back in the same instant.
const TOLD_JITTER: Duration = Duration::from_secs(1);

/// What is decided about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// It is made again.
    Retry {
        /// The wait before it.
        delay: Duration,
        /// Who told the wait: `header`, `body` or `backoff`.
        told_by: &'static str,
        /// What it takes from the retry budget.
        price: u32,
    },
    /// It is not.
    GiveUp(GiveUp),
}

/// Why a failed attempt is not made again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GiveUp {
    /// The class of the failure, or the server (`x-should-retry: false`), says that it cannot help.
    Hopeless,
    /// Every attempt that the configuration allows was made.
    AttemptsUsed,
    /// Too many of the endpoint's calls fail for each of them to try again.
    RetryBudget,
    /// The server asks for a longer wait than [`MAX_RETRY_AFTER`].
    TooLong(Duration),
    /// The wait would end after the deadline.
    Deadline(Duration),
    /// Text of the answer is out and cannot be taken back.
    Committed,
}

/// What decides besides the failure itself.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Attempts made on this model, the failed one included.
    pub attempts: u32,
    /// Attempts after the first that the configuration allows.
    pub max_retries: u32,
    /// Base of the backoff.
    pub base: Duration,
    /// The exponent of the backoff where it is not that of this call alone: rate limits that were
    /// met in a row, by whomever.
    pub strikes: u32,
    /// Now.
    pub now: Instant,
    /// When the whole call must be over.
    pub deadline: Option<Instant>,
    /// Whether what was handed out of the failed answer rules another attempt out.
    pub committed: bool,
    /// Whether the endpoint's breaker is open, so that it alone meters further attempts.
    pub breaker_open: bool,
    /// What is left in the endpoint's retry budget.
    pub budget: u32,
    /// A random number from 0 to 1.
    pub random: f64,
}

/// Decides about a failed attempt.
pub fn decide(error: &ProviderError, situation: &Situation) -> Decision {
    let allowed = if error.retry_once && situation.attempts < 2 {
        1
    } else if can_help(error) {
        situation.max_retries
    } else {
        return Decision::GiveUp(GiveUp::Hopeless);
    };
    if situation.committed {
        return Decision::GiveUp(GiveUp::Committed);
    }
    if let Some(told) = error.retry_after.filter(|told| *told > MAX_RETRY_AFTER) {
        return Decision::GiveUp(GiveUp::TooLong(told));
    }
    if situation.attempts > allowed {
        return Decision::GiveUp(GiveUp::AttemptsUsed);
    }
    let delay = delay(error.retry_after, situation);
    if let Some(deadline) = situation.deadline
        && situation.now + delay >= deadline
    {
        return Decision::GiveUp(GiveUp::Deadline(delay));
    }
    let price = price(error, situation);
    if price > situation.budget {
        return Decision::GiveUp(GiveUp::RetryBudget);
    }
    Decision::Retry {
        delay,
        told_by: if error.retry_after.is_some() {
            error.told_by
        } else {
            "backoff"
        },
        price,
    }
}

/// Whether the class allows another attempt and the server does not forbid it. A server cannot allow
/// what the class forbids: a header must never make a refused key loop.
fn can_help(error: &ProviderError) -> bool {
    let class = match &error.kind {
        FaultKind::RateLimited
        | FaultKind::Overloaded
        | FaultKind::Server
        | FaultKind::Stream(_)
        | FaultKind::Network { permanent: false } => true,
        FaultKind::Network { permanent: true }
        | FaultKind::Deadline
        | FaultKind::ContextLength
        | FaultKind::ContentPolicy
        | FaultKind::Quota
        | FaultKind::Auth
        | FaultKind::NotFound
        | FaultKind::BadRequest
        | FaultKind::Config
        | FaultKind::Protocol
        | FaultKind::Unavailable
        | FaultKind::NotRecorded
        | FaultKind::Recording { .. }
        | FaultKind::TurnLimit
        | FaultKind::Budget
        | FaultKind::Schema
        | FaultKind::Denied => false,
    };
    class && error.should_retry != Some(false)
}

/// The wait before the next attempt: what the server told and a little more, else full jitter.
///
/// Full jitter, because an orchestrator sends many calls at once: a quarter more or less would keep
/// them in step.
pub(super) fn delay(told: Option<Duration>, situation: &Situation) -> Duration {
    let random = situation.random.clamp(0.0, 1.0);
    match told {
        Some(told) => told + (told / 10).min(TOLD_JITTER).mul_f64(random),
        None => ceiling(situation).mul_f64(random).max(FLOOR),
    }
}

fn ceiling(situation: &Situation) -> Duration {
    let exponent = situation
        .attempts
        .saturating_sub(1)
        .max(situation.strikes)
        .min(16);
    situation.base.saturating_mul(1 << exponent).min(CAP)
}

/// What a retry takes from the budget. A wait that the server asked for is free, and so is one that
/// the breaker meters.
fn price(error: &ProviderError, situation: &Situation) -> u32 {
    match error.kind {
        _ if situation.breaker_open => 0,
        FaultKind::RateLimited if error.retry_after.is_some() => 0,
        FaultKind::Stream(StreamFault::FirstEvent | StreamFault::Idle) => 10,
        _ => 5,
    }
}

/// The tokens that retries of one endpoint take from and successes give back, so that an outage is
/// not multiplied by retries: 20 of them from a full bucket, then none until calls succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    left: u32,
    refused: u64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            left: Self::FULL,
            refused: 0,
        }
    }
}

impl RetryBudget {
    /// What a full bucket holds.
    pub const FULL: u32 = 100;

    /// What is left.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Retries that were refused for want of tokens.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Takes the price of a retry, which [`decide`] has compared with what is left.
    pub fn take(&mut self, price: u32) {
        self.left = self.left.saturating_sub(price);
    }

    /// Counts a retry that was refused for want of tokens.
    pub fn refuse(&mut self) {
        self.refused = self.refused.saturating_add(1);
    }

    /// A call succeeded: at its first attempt it gives 1, after retries what its last one took.
    pub fn succeeded(&mut self, last_price: Option<u32>) {
        self.left = (self.left + last_price.unwrap_or(1)).min(Self::FULL);
    }
}

#[cfg(test)]
mod tests;
