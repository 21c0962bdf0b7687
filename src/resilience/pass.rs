//! The right to make one attempt: everything that was taken for it, given back when it ends,
//! however it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, Permit, State, Verdict};
use super::endpoint::{EndpointState, Grant, Known};
use super::retry::{self, Decision, GiveUp, MAX_RETRY_AFTER, Situation};
use super::shared::{BreakerEcho, Echo, Failure};
use crate::costs::Holder;
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
        let [of_endpoint, of_model] = flags;
        let [endpoint, model] = states;
        let changes = [endpoint.filter(|_| of_endpoint), model.filter(|_| of_model)];
        self.state.named(&known, self.model, changes)
    }

    /// What it is a pass to.
    pub(super) fn endpoint(&self) -> &'a Arc<EndpointState> {
        self.state
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
            breakers: [
                BreakerEcho {
                    changed: echoed.map(|state| (state, 0)),
                    ..BreakerEcho::default()
                },
                BreakerEcho::default(),
            ],
            trial_over: true,
            ..Echo::default()
        };
        self.state.tell_others(self.model, &echo);
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
        self.state.tell_others(self.model, &echo);
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
        self.state.tell_others(self.model, &echo);
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
        let now = (now, random);
        let end = |breaker: &mut Breaker, permit, verdict| {
            breaker_echo(breaker, permit, verdict, grant.is_trial, now)
        };
        let [of_endpoint, of_model] = verdicts;
        let first = grant
            .endpoint_permit
            .map(|permit| end(&mut known.breaker, permit, of_endpoint));
        let model = known.models.get_mut(self.model);
        let second = model.map(|model| end(&mut model.breaker, grant.model_permit, of_model));
        let ended = [first, second].map(Option::unwrap_or_default);
        for (_, changed) in ended {
            if grant.is_trial || changed.is_some() {
                known.heed(changed, now.0);
            }
        }
        echo.trial_over = grant.is_trial;
        echo.breakers = ended.map(|(echo, _)| echo);
        let changes = ended.map(|(_, changed)| changed);
        (self.state.named(known, self.model, changes), echo)
    }
}

/// Takes a permit back with what the call says: what others should know of the breaker, and its new
/// state where it changed.
fn breaker_echo(
    breaker: &mut Breaker,
    permit: Permit,
    verdict: Verdict,
    is_trial: bool,
    (now, random): (Instant, f64),
) -> (BreakerEcho, Option<State>) {
    let counts = breaker.counts(permit);
    let answered = breaker.statistics().last_success;
    let changed = breaker.record(permit, verdict, now, random);
    let mut echo = BreakerEcho {
        changed: changed.map(|state| (state, breaker.reopened())),
        ..BreakerEcho::default()
    };
    if is_trial && changed.is_none() {
        echo.changed = tried(breaker).map(|state| (state, 0));
    }
    if counts && changed.is_none() {
        match verdict {
            Verdict::Failure { told } => {
                echo.failure = Some(Failure {
                    process: Holder::this_process(),
                    answered,
                    threshold: breaker.threshold(),
                    open_until: now + breaker.rest(told, random),
                });
            }
            Verdict::Success => echo.answered = breaker.take_others_fail().then_some(now),
            Verdict::Neutral => {}
        }
    }
    (echo, changed)
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.grant.is_some() {
            let state = self.state;
            let tokens = self.tokens;
            let now = (Instant::now(), 0.5);
            let (_, echo) = self.end(&mut state.known(), [Verdict::Neutral; 2], tokens, now);
            state.tell_others(self.model, &echo);
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
