//! Retry, rate limits, circuit breakers: pure state machines with `now` passed in, and `guarded`,
//! the only place that composes them around a provider.
//!
//! May use the vocabulary, `store`, `costs` and `providers`.

mod settings;

pub use settings::EndpointSettings;
