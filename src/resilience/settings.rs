//! What a configuration can say about retries, limits and breakers, resolved for one endpoint.

use std::time::Duration;

/// The resolved settings of one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSettings {
    /// Attempts after the first (`max_retries`).
    pub max_retries: u32,
    /// Base of the backoff (`retry_delay`).
    pub retry_delay: Duration,
    /// Requests a minute; `None` for no limit.
    pub requests_per_minute: Option<u32>,
    /// Requests an hour; `None` for no limit.
    pub requests_per_hour: Option<u32>,
    /// Requests that may go over the minute's rate at once (`rate_limit_burst`).
    pub burst: u32,
    /// Tokens a minute; `None` for no limit.
    pub tokens_per_minute: Option<u64>,
    /// Calls in flight at once; `None` for no limit.
    pub max_concurrency: Option<u32>,
    /// Whether a breaker guards the endpoint (`enable_circuit_breaker`).
    pub breaker: bool,
    /// Failures in a row that open it (`circuit_breaker_threshold`).
    pub breaker_threshold: u32,
    /// Time until it lets a call try (`circuit_breaker_timeout`); doubles up to four times.
    pub breaker_timeout: Duration,
}

impl Default for EndpointSettings {
    fn default() -> Self {
        Self {
            max_retries: 3,
            retry_delay: Duration::from_secs(1),
            requests_per_minute: Some(60),
            requests_per_hour: None,
            burst: 0,
            tokens_per_minute: None,
            max_concurrency: Some(16),
            breaker: true,
            breaker_threshold: 5,
            breaker_timeout: Duration::from_secs(30),
        }
    }
}
