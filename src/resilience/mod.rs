//! Retry, rate limits, circuit breakers: pure state machines with `now` passed in, and `guarded`,
//! the only place that composes them around a provider.
//!
//! May use the vocabulary, `store`, `costs` and `providers`.

mod attempt;
mod breaker;
mod call;
mod chain;
mod endpoint;
mod guarded;
mod limiter;
mod pass;
mod prompt;
mod quotas;
mod retry;
mod settings;
mod shared;
mod status;
mod tally;
mod wait;
mod words;

pub use attempt::{first_attempt, max_output_tokens, worst_of_turns};
pub use breaker::{Breaker, BreakerSettings, BreakerStatistics, Gate, Permit, State, Verdict};
pub use call::{
    Answer, AttemptReport, CallContext, CallError, CallErrorKind, Counted, FallbackReport, Link,
};
pub use guarded::Resilience;
pub use limiter::{
    Admission, Ask, Cause, Grants, LaneId, LaneStatistics, Limiter, Ticket, Turn, Wanted,
};
pub use prompt::add_message;
pub use retry::{Decision, GiveUp, MAX_RETRY_AFTER, RetryBudget, Situation, decide};
pub use settings::EndpointSettings;
pub use status::{BreakerStatus, LimitStatus, Status, Used};

#[cfg(test)]
mod tests;
