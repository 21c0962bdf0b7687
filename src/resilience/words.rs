//! What users read about waits, limits and breakers.

use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::breaker::State;
use super::endpoint::{Known, Reason, Refusal};
use super::limiter::Cause;
use super::pass::BreakerChange;
use crate::event::EventKind;

/// The time of day after a while, in the user's own time zone: `14:03:20`, with the date where it is
/// not today.
pub(super) fn time_after(wait: Duration) -> String {
    let now = crate::clock::now();
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    // Rounded up: nobody should come a moment too early.
    let wait = wait.saturating_add(SignedDuration::from_millis(999));
    match now.checked_add(wait) {
        Ok(then) if then.date() == now.date() => then.strftime("%H:%M:%S").to_string(),
        Ok(then) => then.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => "a time far away".to_owned(),
    }
}

/// When to try again, as a hint.
pub(super) fn try_again(wait: Duration) -> String {
    format!("try again at {}", time_after(wait))
}

/// What a refused call would have had to wait for; empty where the refusal says it all.
pub(super) fn refused_by(refusal: &Refusal, known: &Known, model: usize) -> String {
    match refusal {
        Refusal::Late { cause, .. } => waiting_for(Reason::Limiter(*cause), known, model),
        Refusal::Deadline { reason } => waiting_for(*reason, known, model),
        Refusal::CircuitOpen { .. }
        | Refusal::CoolingDown { .. }
        | Refusal::TooLarge { .. }
        | Refusal::Dead { .. } => String::new(),
    }
}

/// The event of a breaker that has changed.
pub(super) fn breaker_event(change: BreakerChange) -> EventKind {
    let retry_in_ms = match change.state {
        State::Open { until } => {
            let left = until.saturating_duration_since(Instant::now());
            Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
        }
        State::Closed | State::HalfOpen { .. } => None,
    };
    EventKind::Breaker {
        endpoint: change.name,
        state: change.state.name(),
        retry_in_ms,
    }
}

/// What a call waits for.
pub(super) fn waiting_for(reason: Reason, known: &Known, model: usize) -> String {
    let cause = match reason {
        Reason::Limiter(cause) => cause,
        Reason::Breaker => return "the endpoint failed too often and rests".to_owned(),
    };
    let [minute, hour, tokens] = known
        .models
        .get(model)
        .map_or([None; 3], |model| known.limiter.limits(model.lane));
    let limit = |limit: Option<u64>| limit.unwrap_or_default();
    match cause {
        Cause::RequestsPerMinute => format!("limit of {} requests a minute", limit(minute)),
        Cause::RequestsPerHour => format!("limit of {} requests an hour", limit(hour)),
        Cause::TokensPerMinute => format!("limit of {} tokens a minute", limit(tokens)),
        Cause::OtherProcesses => "other processes have used up the rate limit".to_owned(),
        Cause::CoolDown => "rate limited by the server".to_owned(),
        Cause::Trial => "another call tries whether the rate limit is over".to_owned(),
        Cause::Paced => "calls are let go one by one".to_owned(),
        Cause::Concurrency => match known.limiter.max_concurrency() {
            Some(1) => "one call in flight at a time".to_owned(),
            most => format!("limit of {} calls in flight", most.unwrap_or_default()),
        },
    }
}

/// The setting that a wait can be shortened with.
pub(super) fn setting_of(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::Limiter(Cause::RequestsPerMinute) => Some("rate_limit_per_minute"),
        Reason::Limiter(Cause::RequestsPerHour) => Some("rate_limit_per_hour"),
        Reason::Limiter(Cause::TokensPerMinute) => Some("tokens_per_minute"),
        Reason::Limiter(Cause::Concurrency) => Some("max_concurrency"),
        Reason::Limiter(Cause::OtherProcesses | Cause::CoolDown | Cause::Trial | Cause::Paced)
        | Reason::Breaker => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_rounded_up_and_has_a_date_only_when_it_is_another_day() {
        let soon = time_after(Duration::ZERO);
        assert!(soon.len() == 8 || soon.len() == 19, "{soon}");
        let far = time_after(Duration::from_hours(48));
        assert_eq!(far.len(), 19, "{far}");
        assert_eq!(time_after(Duration::MAX), "a time far away");
    }
}
