//! What is known about endpoints, for `--status`.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::breaker::{Breaker, State};
use super::endpoint::{EndpointState, Known, Model};
use super::quotas::{LaneStatus, OpenBreaker};

/// The limits and breakers of every endpoint that is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// One entry a model of an endpoint.
    pub limits: Vec<LimitStatus>,
    /// One entry an endpoint, and one a model whose own breaker has something to tell.
    pub breakers: Vec<BreakerStatus>,
}

/// What is used of the limits of one model of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LimitStatus {
    /// The endpoint's name.
    pub endpoint: String,
    /// The model.
    pub model: String,
    /// Requests in the last minute.
    pub requests_per_minute: Option<Used>,
    /// Requests in the last hour.
    pub requests_per_hour: Option<Used>,
    /// Tokens in the last minute.
    pub tokens_per_minute: Option<Used>,
    /// Calls in flight at the endpoint, over all models.
    pub in_flight: u32,
    /// The limit of calls in flight.
    pub max_concurrency: Option<u32>,
    /// Calls that wait.
    pub waiting: u64,
    /// Seconds until a rate limit that the server told is over.
    pub cool_down_s: Option<f64>,
    /// Requests that went.
    pub admitted: u64,
    /// Requests that had to wait.
    pub waited: u64,
    /// How long they waited, together, in seconds.
    pub waited_s: f64,
    /// Requests that were turned away.
    pub rejected: u64,
    /// Rate limits that the server told.
    pub rate_limited: u64,
    /// What is left of the endpoint's retry budget, of 100.
    pub retry_budget: u32,
    /// Retries that were refused for want of it.
    pub retries_refused: u64,
}

/// What is used of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    /// What counts against it now.
    pub used: u64,
    /// The limit.
    pub limit: u64,
}

/// A circuit breaker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BreakerStatus {
    /// The endpoint's name, or the model's.
    pub name: String,
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// Seconds until an open one lets a call try.
    pub retry_in_s: Option<f64>,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed by fault of the endpoint.
    pub failures: u64,
    /// Failures among those that succeeded or failed, from 0 to 1.
    pub failure_rate: f64,
    /// Calls that were turned away.
    pub rejected: u64,
    /// How often it opened.
    pub opened: u64,
    /// Seconds since the last success.
    pub last_success_s: Option<f64>,
    /// Seconds since the last failure.
    pub last_failure_s: Option<f64>,
}

impl Status {
    /// Adds what is known about an endpoint.
    pub(super) fn add(&mut self, state: &EndpointState, now: Instant) {
        let mut known = state.known();
        let name = &state.endpoint.provider;
        self.breakers
            .push(BreakerStatus::new(name, &known.breaker, now));
        for index in 0..known.models.len() {
            self.limits.extend(limits(name, &mut known, index, now));
            let model = known.models.get(index);
            if let Some(Model {
                breaker, canonical, ..
            }) = model
                && (breaker.state() != State::Closed || breaker.statistics().failures > 0)
            {
                self.breakers
                    .push(BreakerStatus::new(canonical, breaker, now));
            }
        }
    }
}

impl Status {
    /// Adds what other processes have noted about endpoints that this one has not called, and about
    /// those it has.
    pub(super) fn add_shared(&mut self, lanes: Vec<LaneStatus>, breakers: Vec<OpenBreaker>) {
        for lane in lanes {
            let is_same =
                |ours: &LimitStatus| ours.endpoint == lane.endpoint && ours.model == lane.model;
            let index = self.limits.iter().position(is_same);
            let index = index.unwrap_or_else(|| {
                self.limits.push(LimitStatus {
                    endpoint: lane.endpoint.clone(),
                    model: lane.model.clone(),
                    ..LimitStatus::default()
                });
                self.limits.len() - 1
            });
            let Some(limits) = self.limits.get_mut(index) else {
                continue;
            };
            let [minute, hour, tokens] = lane.used;
            for (ours, limit, used) in [
                (
                    &mut limits.requests_per_minute,
                    lane.limits.per_minute,
                    minute,
                ),
                (&mut limits.requests_per_hour, lane.limits.per_hour, hour),
                (
                    &mut limits.tokens_per_minute,
                    lane.limits.tokens_per_minute,
                    tokens,
                ),
            ] {
                if let Some(limit) = limit {
                    let used = used.max(ours.map_or(0, |ours| ours.used));
                    *ours = Some(Used { used, limit });
                }
            }
            let cooling = milliseconds(lane.cooling).filter(|left| *left > 0.0);
            limits.cool_down_s = limits.cool_down_s.or(cooling);
        }
        for breaker in breakers {
            let is_known =
                |ours: &BreakerStatus| ours.name == breaker.name && ours.state != "closed";
            if self.breakers.iter().any(is_known) {
                continue;
            }
            self.breakers.retain(|ours| ours.name != breaker.name);
            let left = milliseconds(breaker.left).filter(|left| *left > 0.0);
            self.breakers.push(BreakerStatus {
                name: breaker.name,
                state: if left.is_some() { "open" } else { "half_open" },
                retry_in_s: left,
                ..BreakerStatus::default()
            });
        }
    }
}

fn milliseconds(left: i64) -> Option<f64> {
    let left = u64::try_from(left).ok()?;
    Some(seconds(Duration::from_millis(left)))
}

fn limits(name: &str, known: &mut Known, index: usize, now: Instant) -> Option<LimitStatus> {
    let model = known.models.get(index)?;
    let lane = model.lane;
    let [minute, hour, tokens] = known.limiter.limits(lane);
    let [used_minute, used_hour, used_tokens] = known.limiter.used(lane, now);
    let used = |used: Option<u64>, limit: Option<u64>| {
        Some(Used {
            used: used?,
            limit: limit?,
        })
    };
    let counts = known.limiter.statistics(lane);
    Some(LimitStatus {
        endpoint: name.to_owned(),
        model: model.canonical.clone(),
        requests_per_minute: used(used_minute, minute),
        requests_per_hour: used(used_hour, hour),
        tokens_per_minute: used(used_tokens, tokens),
        in_flight: known.limiter.in_flight(),
        max_concurrency: known.limiter.max_concurrency(),
        waiting: known.limiter.waiting(lane) as u64,
        cool_down_s: known.limiter.cooling(lane, now).map(seconds),
        admitted: counts.admitted,
        waited: counts.waited,
        waited_s: seconds(counts.waited_for),
        rejected: counts.rejected,
        rate_limited: counts.rate_limited,
        retry_budget: known.budget.left(),
        retries_refused: known.budget.refused(),
    })
}

impl BreakerStatus {
    fn new(name: &str, breaker: &Breaker, now: Instant) -> Self {
        let counts = breaker.statistics();
        let since = |at: Option<Instant>| at.map(|at| seconds(now.duration_since(at)));
        let all = counts.successes + counts.failures;
        Self {
            name: name.to_owned(),
            state: breaker.state().name(),
            retry_in_s: match breaker.state() {
                State::Open { until } => Some(seconds(until.saturating_duration_since(now))),
                State::Closed | State::HalfOpen { .. } => None,
            },
            failures_in_a_row: breaker.failures_in_a_row(),
            successes: counts.successes,
            failures: counts.failures,
            failure_rate: ratio(counts.failures, all),
            rejected: counts.rejected,
            opened: counts.opened,
            last_success_s: since(counts.last_success),
            last_failure_s: since(counts.last_failure),
        }
    }
}

/// To the millisecond: nobody wants to read more.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls are far below what a float holds exactly"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
