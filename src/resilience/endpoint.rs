//! What the whole process knows about one endpoint: its lines, its breakers, its retry budget, its
//! key. One lock, held for moments.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, BreakerSettings, Gate, Permit, State};
use super::call::Link;
use super::limiter::{Admission, Ask, Cause, LaneId, Limiter, Ticket, Turn, Wanted};
use super::pass::BreakerChange;
use super::quotas::{Key, Limits};
use super::retry::{MAX_RETRY_AFTER, RetryBudget};
use super::settings::EndpointSettings;
use super::shared::{self, Shared};
use crate::providers::{Endpoint, FaultKind, ProviderError};

/// An account without money is asked again after this.
const QUOTA_REST: Duration = Duration::from_mins(5);

/// What the process knows about one endpoint.
#[derive(Debug)]
pub(super) struct EndpointState {
    pub(super) endpoint: Endpoint,
    /// Where other processes are told, and asked.
    pub(super) shared: Option<Arc<Shared>>,
    known: Mutex<Known>,
}

impl EndpointState {
    pub(super) fn new(
        endpoint: Endpoint,
        settings: &EndpointSettings,
        shared: Option<Arc<Shared>>,
    ) -> Self {
        let known = Known {
            limiter: Limiter::default(),
            breaker: Breaker::new(breaker_settings(settings)),
            models: Vec::new(),
            budget: RetryBudget::default(),
            last_failure: None,
            found_out: Vec::new(),
            dead: None,
        };
        Self {
            endpoint,
            shared,
            known: Mutex::new(known),
        }
    }

    /// The index of a link's model, which is made known or given other settings where needed.
    pub(super) fn model(&self, link: &Link) -> usize {
        let mut known = self.known();
        let found = known
            .models
            .iter()
            .position(|model| model.name == link.model);
        let index = found.unwrap_or_else(|| {
            let key = self
                .shared
                .is_some()
                .then(|| Arc::new(shared::key(&self.endpoint, &link.model, &link.canonical)));
            known.add_model(link, key)
        });
        known.configure(index, &link.settings);
        index
    }

    /// Changes of the endpoint's breaker and of a model's, by name.
    pub(super) fn named(
        &self,
        known: &Known,
        model: usize,
        changes: [Option<State>; 2],
    ) -> Vec<BreakerChange> {
        let of_model = known.models.get(model).map(|model| &model.canonical);
        let names = [Some(&self.endpoint.provider), of_model];
        let changes = names.into_iter().zip(changes);
        changes
            .filter_map(|(name, state)| {
                Some(BreakerChange {
                    name: name?.clone(),
                    state: state?,
                })
            })
            .collect()
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known; see [`EndpointState::known`].
#[derive(Debug)]
pub(super) struct Known {
    pub(super) limiter: Limiter,
    /// Counts what is the endpoint's own fault, whatever the model.
    pub(super) breaker: Breaker,
    pub(super) models: Vec<Model>,
    pub(super) budget: RetryBudget,
    /// What the last failure was that counted for a breaker.
    pub(super) last_failure: Option<Arc<str>>,
    /// What became of breakers by failures of other processes and of this one together, until it is
    /// told.
    pub(super) found_out: Vec<BreakerChange>,
    /// The key is refused, or its account has no money.
    dead: Option<Dead>,
}

/// What is known about one model of an endpoint.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) lane: LaneId,
    /// The vendor's own name.
    pub(super) name: String,
    /// The name for reports.
    pub(super) canonical: String,
    pub(super) settings: EndpointSettings,
    /// Counts what is the model's own fault: no capacity, bad streams.
    pub(super) breaker: Breaker,
    /// The key may not use this model.
    dead: Option<Dead>,
    /// What other processes know it by.
    pub(super) key: Option<Arc<Key>>,
    /// Whether every admission is asked of the store.
    pub(super) shares_limits: bool,
    /// Whether it is known to the store by its name.
    pub(super) registered: bool,
    /// When the store was last asked what others have found out.
    pub(super) looked: Option<Instant>,
}

/// A failure that stands: asking again would give the same answer.
#[derive(Clone, Debug)]
struct Dead {
    error: Arc<ProviderError>,
    /// Until when; `None` for as long as the process lives.
    until: Option<Instant>,
}

impl Dead {
    fn stands(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// What a call needs from its endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// The index of the model.
    pub(super) model: usize,
    pub(super) ask: Ask,
    pub(super) deadline: Option<Instant>,
    /// Whether it may wait for an open breaker; a call with another model to fall back on does not.
    pub(super) patient: bool,
}

/// Why a call may not go.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// The endpoint failed too often.
    CircuitOpen {
        /// The end of the open time, where it has one.
        until: Option<Instant>,
        /// What happened last.
        last: Option<Arc<str>>,
    },
    /// The server told a rate limit that is too long to wait for.
    CoolingDown { until: Instant },
    /// A limit of ours does not let it go before its deadline.
    Late { until: Instant, cause: Cause },
    /// It is larger than the limit of tokens a minute.
    TooLarge { tokens: u64, limit: u64 },
    /// The deadline came while it waited.
    Deadline { reason: Reason },
    /// The endpoint has said no once and for all.
    Dead {
        error: Arc<ProviderError>,
        until: Option<Instant>,
    },
}

/// What a look at the endpoint gave.
#[derive(Debug)]
pub(super) enum Look {
    Go(Grant),
    No(Refusal),
    Wait(Wait),
}

/// Everything that was taken for one attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) admission: Admission,
    pub(super) endpoint_permit: Option<Permit>,
    pub(super) model_permit: Permit,
    /// Whether others wait for what comes of it.
    pub(super) is_trial: bool,
    /// Breakers that became half-open by it.
    pub(super) half_opened: [bool; 2],
}

/// What has to be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// When to look again; `None` for those who are woken.
    pub(super) until: Option<Instant>,
    /// The earliest instant at which it can go on, as far as that is known.
    pub(super) bound: Option<Instant>,
    pub(super) reason: Reason,
    /// What a limit that is shared with other processes has to be asked for.
    pub(super) ask: Option<Wanted>,
}

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Limiter(Cause),
    Breaker,
}

impl Known {
    fn add_model(&mut self, link: &Link, key: Option<Arc<Key>>) -> usize {
        let lane = self.limiter.add_lane(&link.settings);
        let shares_limits = key.is_some() && shared::limits(&link.settings) != Limits::default();
        self.limiter.share(lane, shares_limits);
        self.models.push(Model {
            lane,
            name: link.model.clone(),
            canonical: link.canonical.clone(),
            settings: link.settings.clone(),
            breaker: Breaker::new(breaker_settings(&link.settings)),
            dead: None,
            key,
            shares_limits,
            registered: false,
            looked: None,
        });
        self.models.len() - 1
    }

    fn configure(&mut self, index: usize, settings: &EndpointSettings) {
        if let Some(model) = self.models.get_mut(index)
            && model.settings != *settings
        {
            model.settings = settings.clone();
            model.registered = false;
            let breaker = breaker_settings(settings);
            model.breaker.configure(breaker);
            self.breaker.configure(breaker);
            self.limiter.configure(model.lane, settings);
            let shares_limits =
                model.key.is_some() && shared::limits(settings) != Limits::default();
            if shares_limits != model.shares_limits {
                model.shares_limits = shares_limits;
                self.limiter.share(model.lane, shares_limits);
            }
        }
    }

    /// Whether a call that was let go may still be sent: others may have found out something since.
    pub(super) fn may_send(&self, model: usize, now: Instant) -> bool {
        let Some(model) = self.models.get(model) else {
            return false;
        };
        let is_open = |breaker: &Breaker| matches!(breaker.gate(now), Gate::Until(_));
        !is_open(&self.breaker)
            && !is_open(&model.breaker)
            && self.limiter.cooling(model.lane, now).is_none()
    }

    /// Looks whether a call may go, and takes everything for it if so. One that may not stands in the
    /// line from now on. `newcomer` says that it looks for the first time.
    pub(super) fn look(
        &mut self,
        wish: &Wish,
        ticket: Ticket,
        newcomer: bool,
        now: Instant,
    ) -> Look {
        let Some(model) = self.models.get_mut(wish.model) else {
            // Models are never forgotten.
            return Look::No(Refusal::Deadline {
                reason: Reason::Breaker,
            });
        };
        let dead = [&self.dead, &model.dead].into_iter().flatten();
        if let Some(dead) = dead.into_iter().find(|dead| dead.stands(now)) {
            return Look::No(Refusal::Dead {
                error: Arc::clone(&dead.error),
                until: dead.until,
            });
        }
        let lane = model.lane;
        let is_late = |at: Instant| wish.deadline.is_some_and(|deadline| at >= deadline);
        let (first, second) = (self.breaker.gate(now), model.breaker.gate(now));
        let gate = stricter(first, second);
        let until = match gate {
            Gate::Pass | Gate::Busy => None,
            Gate::Until(until) => Some(until),
        };
        if gate != Gate::Pass && (!wish.patient || until.is_some_and(is_late)) {
            for (breaker, gate) in [(&mut self.breaker, first), (&mut model.breaker, second)] {
                if gate != Gate::Pass {
                    breaker.rejected();
                }
            }
            let last = self.last_failure.clone();
            return Look::No(Refusal::CircuitOpen { until, last });
        }
        if let Some(refusal) = self.too_late_or_large(lane, wish, newcomer, now) {
            self.limiter.rejected(lane);
            return Look::No(refusal);
        }
        if gate != Gate::Pass {
            let head = self.limiter.stand(lane, ticket, wish.ask, now);
            return Look::Wait(Wait {
                until: until.filter(|_| head),
                bound: until,
                reason: Reason::Breaker,
                ask: None,
            });
        }
        let (until, cause, ask) = match self.limiter.advance(lane, ticket, wish.ask, now) {
            Turn::Admitted(admission) => return self.enter(wish.model, admission, now),
            Turn::Until(until, cause) if is_late(until) => {
                self.limiter.rejected(lane);
                return Look::No(Refusal::Late { until, cause });
            }
            Turn::Until(until, cause) => (Some(until), cause, None),
            Turn::Blocked(cause) => (None, cause, None),
            Turn::Ask => {
                let wanted = self.limiter.wanted(lane);
                (None, Cause::OtherProcesses, Some(wanted))
            }
            Turn::Behind => {
                let bound = self.limiter.bound(lane, wish.ask, now);
                let bound = bound.filter(|(at, _)| *at > now);
                // Nothing is known of a wait for calls in flight, or for an answer of the store.
                let unknown = match self.limiter.max_concurrency() {
                    Some(_) => Cause::Concurrency,
                    None => Cause::OtherProcesses,
                };
                return Look::Wait(Wait {
                    until: None,
                    bound: bound.map(|(at, _)| at),
                    reason: Reason::Limiter(bound.map_or(unknown, |(_, cause)| cause)),
                    ask: None,
                });
            }
        };
        Look::Wait(Wait {
            until,
            bound: until,
            reason: Reason::Limiter(cause),
            ask,
        })
    }

    /// Remembers a failure that will stand: a refused key, an account without money. Where no key is
    /// sent (`has_key`), somebody may log in at any time.
    pub(super) fn bury(
        &mut self,
        model: usize,
        error: &ProviderError,
        (has_key, now): (bool, Instant),
    ) {
        let dead = |until| {
            Some(Dead {
                error: Arc::new(error.clone()),
                until,
            })
        };
        match error.kind {
            FaultKind::Quota => self.dead = dead(Some(now + QUOTA_REST)),
            FaultKind::Auth if !has_key => return,
            // A key that may not use one model may be good for others.
            FaultKind::Auth if error.status == Some(403) => {
                if let Some(model) = self.models.get_mut(model) {
                    model.dead = dead(None);
                }
            }
            FaultKind::Auth => self.dead = dead(None),
            _ => return,
        }
        self.limiter.wake_everybody();
    }

    /// Forgets every count, cool-down and failure. Calls in flight and in the lines stay.
    pub(super) fn reset(&mut self) {
        self.dead = None;
        self.budget = RetryBudget::default();
        self.breaker.reset();
        for model in &mut self.models {
            model.dead = None;
            model.breaker.reset();
        }
        self.limiter.reset();
    }

    fn too_late_or_large(
        &mut self,
        lane: LaneId,
        wish: &Wish,
        newcomer: bool,
        now: Instant,
    ) -> Option<Refusal> {
        let is_late = |at: Instant| wish.deadline.is_some_and(|deadline| at >= deadline);
        if let Some(limit) = self.limiter.never_fits(lane, wish.ask) {
            let tokens = wish.ask.tokens;
            return Some(Refusal::TooLarge { tokens, limit });
        }
        if let Some(left) = self.limiter.cooling(lane, now) {
            let until = now + left;
            if left > MAX_RETRY_AFTER + Duration::from_secs(1) || is_late(until) {
                return Some(Refusal::CoolingDown { until });
            }
        }
        if newcomer && wish.deadline.is_some() && self.limiter.waiting(lane) > 0 {
            let (until, cause) = self.limiter.bound(lane, wish.ask, now)?;
            if is_late(until) {
                return Some(Refusal::Late { until, cause });
            }
        }
        None
    }

    fn enter(&mut self, index: usize, admission: Admission, now: Instant) -> Look {
        let Some(model) = self.models.get_mut(index) else {
            self.limiter.cancel(admission, now);
            return Look::No(Refusal::CircuitOpen {
                until: None,
                last: None,
            });
        };
        let before = [self.breaker.state(), model.breaker.state()];
        let endpoint_permit = Some(self.breaker.enter(now));
        let model_permit = model.breaker.enter(now);
        let after = [self.breaker.state(), model.breaker.state()];
        let is_half_open = |state| matches!(state, State::HalfOpen { .. });
        Look::Go(Grant {
            admission,
            endpoint_permit,
            model_permit,
            is_trial: admission.is_trial() || after.into_iter().any(is_half_open),
            half_opened: std::array::from_fn(|index| {
                let of = |states: [State; 2]| states.get(index).copied().is_some_and(is_half_open);
                of(after) && !of(before)
            }),
        })
    }
}

fn stricter(one: Gate, other: Gate) -> Gate {
    match (one, other) {
        (Gate::Until(one), Gate::Until(other)) => Gate::Until(one.max(other)),
        (Gate::Until(until), _) | (_, Gate::Until(until)) => Gate::Until(until),
        (Gate::Busy, _) | (_, Gate::Busy) => Gate::Busy,
        (Gate::Pass, Gate::Pass) => Gate::Pass,
    }
}

fn breaker_settings(settings: &EndpointSettings) -> BreakerSettings {
    BreakerSettings {
        enabled: settings.breaker,
        threshold: settings.breaker_threshold,
        timeout: settings.breaker_timeout,
    }
}
