//! The right to make one attempt: everything that was taken for it, given back when it ends,
//! however it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, State, Verdict};
use super::endpoint::{EndpointState, Grant, Known};
use super::retry::{self, Decision, GiveUp, MAX_RETRY_AFTER, Situation};
use super::shared::Echo;
use crate::providers::{FaultKind, LimitNews, ProviderError};

/// The right to make one attempt. Dropped before it was sent, everything is as if it had never been
/// asked for; dropped later, the request stays counted and says nothing about the endpoint.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    state: &'a Arc<EndpointState>,
    model: usize,
    /// Tokens that were asked for.
    tokens: u64,
    grant: Option<Grant>,
    sent: bool,
}

/// A breaker that has changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BreakerChange {
    /// The endpoint's name, or the model's.
    pub(super) name: String,
    pub(super) state: State,
}

/// What the retry decision needs to know of the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    /// Attempts made on this model, the failed one included.
    pub(super) attempts: u32,
    pub(super) max_retries: u32,
    pub(super) base: Duration,
    pub(super) deadline: Option<Instant>,
    /// Whether what was handed out rules another attempt out.
    pub(super) committed: bool,
}

impl<'a> Pass<'a> {
    pub(super) fn new(
        state: &'a Arc<EndpointState>,
        model: usize,
        tokens: u64,
        grant: Grant,
    ) -> Self {
        Self {
            state,
            model,
            tokens,
            grant: Some(grant),
            sent: false,
        }
    }

    /// Whether it may still be sent: others may have found out something since it was given.
    pub(super) fn may_send(&self, now: Instant) -> bool {
        self.state.known().may_send(self.model, now)
    }

    /// The request goes out now: it stays counted from here on.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    /// Whether others wait for what comes of it, so that the first sign of an answer matters.
    pub(super) fn is_trial(&self) -> bool {
        self.grant.is_some_and(|grant| grant.is_trial)
    }

    /// Breakers that became half-open when this pass was given.
    pub(super) fn half_opened(&self) -> Vec<BreakerChange> {
        let flags = self.grant.map_or([false; 2], |grant| grant.half_opened);
        if flags == [false; 2] {
            return Vec::new();
        }
        let known = self.state.known();
        let states = [
            Some(known.breaker.state()),
            known
                .models
                .get(self.model)
                .map(|model| model.breaker.state()),
        ];
        let flagged = states.into_iter().zip(flags).zip(0..);
        flagged
            .filter_map(|((state, flag), which)| {
                Some(BreakerChange {
                    name: self.name(&known, which),
                    state: state.filter(|_| flag)?,
                })
            })
            .collect()
    }

    /// The answer has begun: the request was not one too many, and the endpoint lives.
    pub(super) fn accepted(&mut self, now: Instant, random: f64) -> Vec<BreakerChange> {
        let mut known = self.state.known();
        let Some(grant) = &mut self.grant else {
            return Vec::new();
        };
        known.limiter.accepted(&grant.admission, now);
        let permit = grant.endpoint_permit.take();
        let changed =
            permit.and_then(|permit| known.breaker.record(permit, Verdict::Success, now, random));
        known.heed(changed, now);
        let echoed = changed.or_else(|| tried(&known.breaker));
        drop(known);
        let echo = Echo {
            breakers: [echoed.map(|state| (state, 0)), None],
            trial_over: true,
            ..Echo::default()
        };
        self.state.tell_others(self.model, echo);
        let changes = changed.map(|state| BreakerChange {
            name: self.state.endpoint.provider.clone(),
            state,
        });
        changes.into_iter().collect()
    }

    /// The attempt succeeded. `tokens` is what it used, where that was told; `last_price` what the
    /// call's last retry took from the retry budget.
    pub(super) fn succeeded(
        mut self,
        tokens: Option<u64>,
        news: &LimitNews,
        last_price: Option<u32>,
        (now, random): (Instant, f64),
    ) -> Vec<BreakerChange> {
        let mut known = self.state.known();
        known.budget.succeeded(last_price);
        if let Some(grant) = &self.grant {
            known.limiter.accepted(&grant.admission, now);
        }
        let tokens = tokens.unwrap_or(self.tokens);
        let (changes, mut echo) =
            self.end(&mut known, [Verdict::Success; 2], tokens, (now, random));
        if let Some(lane) = known.models.get(self.model).map(|model| model.lane) {
            known
                .limiter
                .learn(lane, news, self.state.endpoint.loopback);
            if let Some(wait) = news.exhausted_for {
                // What an answered request tells of a day's allowance is no reason to stop for a day.
                let wait = wait.min(MAX_RETRY_AFTER);
                known.limiter.cool(lane, now, wait, false);
                echo.cool_until = Some(now + wait);
            }
        }
        drop(known);
        self.state.tell_others(self.model, echo);
        changes
    }

    /// The attempt failed: decides whether it is made again, and remembers what it says about the
    /// endpoint, the key and the limits.
    pub(super) fn failed(
        mut self,
        error: &ProviderError,
        tries: &Tries,
        (now, random): (Instant, f64),
    ) -> (Decision, Vec<BreakerChange>) {
        let mut known = self.state.known();
        let tokens = match &error.partial {
            partial if !partial.reached_model => 0,
            partial => partial
                .usage
                .map_or(self.tokens, |usage| usage.total_tokens()),
        };
        let (changes, mut echo) = self.end(&mut known, verdicts(error), tokens, (now, random));
        let (lane, strikes, is_open) = match known.models.get(self.model) {
            Some(model) => (
                Some(model.lane),
                known.limiter.strikes(model.lane),
                [known.breaker.state(), model.breaker.state()]
                    .into_iter()
                    .any(|state| state != State::Closed),
            ),
            None => (None, 0, false),
        };
        let situation = Situation {
            attempts: tries.attempts,
            max_retries: tries.max_retries,
            base: tries.base,
            strikes: if error.kind == FaultKind::RateLimited {
                strikes
            } else {
                0
            },
            now,
            deadline: tries.deadline,
            committed: tries.committed,
            breaker_open: is_open,
            budget: known.budget.left(),
            random,
        };
        let decision = retry::decide(error, &situation);
        match decision {
            Decision::Retry { price, .. } => known.budget.take(price),
            Decision::GiveUp(GiveUp::RetryBudget) => known.budget.refuse(),
            Decision::GiveUp(_) => {}
        }
        if let Some(lane) = lane {
            known
                .limiter
                .learn(lane, &error.limits, self.state.endpoint.loopback);
            if error.kind == FaultKind::RateLimited {
                let wait = retry::delay(error.retry_after, &situation);
                known.limiter.cool(lane, now, wait, true);
                echo.cool_until = Some(now + wait);
            }
        }
        let has_key = !self.state.endpoint.key_fingerprint.is_empty();
        known.bury(self.model, error, (has_key, now));
        if verdicts(error) != [Verdict::Neutral; 2] {
            known.last_failure = Some(error.message.as_str().into());
        }
        drop(known);
        self.state.tell_others(self.model, echo);
        (decision, changes)
    }

    /// Gives everything back that was taken; tells the breakers that changed, and what others should
    /// know.
    fn end(
        &mut self,
        known: &mut Known,
        verdicts: [Verdict; 2],
        tokens: u64,
        (now, random): (Instant, f64),
    ) -> (Vec<BreakerChange>, Echo) {
        let Some(grant) = self.grant.take() else {
            return (Vec::new(), Echo::default());
        };
        let mut echo = if self.sent {
            let counted = known.limiter.settle(grant.admission, tokens, now);
            Echo::settle(counted, tokens)
        } else {
            Echo::give_back(known.limiter.cancel(grant.admission, now))
        };
        let [of_endpoint, of_model] = verdicts;
        let first = grant
            .endpoint_permit
            .and_then(|permit| known.breaker.record(permit, of_endpoint, now, random));
        let first = first.map(|state| (state, known.breaker.reopened()));
        let second = known.models.get_mut(self.model).and_then(|model| {
            let changed = model
                .breaker
                .record(grant.model_permit, of_model, now, random);
            Some((changed?, model.breaker.reopened()))
        });
        let mut changes = Vec::new();
        for (which, changed) in [first, second].into_iter().enumerate() {
            if grant.is_trial || changed.is_some() {
                known.heed(changed.map(|(state, _)| state), now);
            }
            changes.extend(changed.map(|(state, _)| BreakerChange {
                name: self.name(known, which),
                state,
            }));
        }
        echo.trial_over = grant.is_trial;
        echo.breakers = [first, second];
        if grant.is_trial {
            let model = known.models.get(self.model).map(|model| &model.breaker);
            for (echoed, breaker) in echo.breakers.iter_mut().zip([Some(&known.breaker), model]) {
                let tried = breaker.and_then(tried).map(|state| (state, 0));
                *echoed = echoed.or(tried);
            }
        }
        (changes, echo)
    }

    fn name(&self, known: &Known, which: usize) -> String {
        match known.models.get(self.model) {
            Some(model) if which == 1 => model.canonical.clone(),
            _ => self.state.endpoint.provider.clone(),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.grant.is_some() {
            let state = self.state;
            let tokens = self.tokens;
            let now = (Instant::now(), 0.5);
            let (_, echo) = self.end(&mut state.known(), [Verdict::Neutral; 2], tokens, now);
            state.tell_others(self.model, echo);
        }
    }
}

impl Known {
    /// Has those who wait look again after a breaker has changed, or has a permit free again.
    pub(super) fn heed(&mut self, changed: Option<State>, now: Instant) {
        match changed {
            // Some cannot wait that long, or have another model to fall back on.
            Some(State::Open { .. }) => self.limiter.wake_everybody(),
            Some(State::Closed) => {
                self.limiter.slow_down(now);
                self.limiter.wake_heads();
            }
            Some(State::HalfOpen { .. }) | None => self.limiter.wake_heads(),
        }
    }
}

/// The state of a breaker that a call has tried with success and that is not closed yet.
fn tried(breaker: &Breaker) -> Option<State> {
    let state = breaker.state();
    matches!(state, State::HalfOpen { successes: 1.., .. }).then_some(state)
}

/// What a failure says about the endpoint and about the model.
fn verdicts(error: &ProviderError) -> [Verdict; 2] {
    let failure = Verdict::Failure {
        told: error.retry_after,
    };
    match error.kind {
        FaultKind::Server | FaultKind::Network { .. } => [failure, Verdict::Neutral],
        FaultKind::Overloaded | FaultKind::Stream(_) => [Verdict::Neutral, failure],
        _ => [Verdict::Neutral; 2],
    }
}
