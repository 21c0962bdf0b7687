//! Retry, rate limits, circuit breakers: pure state machines with `now` passed in, and `guarded`,
//! the only place that composes them around a provider.
//!
//! May use the vocabulary, `store`, `costs` and `providers`.

mod breaker;
mod call;
mod chain;
mod endpoint;
mod limiter;
mod pass;
mod retry;
mod settings;
mod wait;
mod words;

pub use breaker::{Breaker, BreakerSettings, BreakerStatistics, Gate, Permit, State, Verdict};
pub use call::{
    Answer, AttemptReport, CallContext, CallError, CallErrorKind, FallbackReport, Link,
};
pub use limiter::{Admission, Ask, Cause, LaneId, LaneStatistics, Limiter, Ticket, Turn};
pub use retry::{Decision, GiveUp, MAX_RETRY_AFTER, RetryBudget, Situation, decide};
pub use settings::EndpointSettings;
