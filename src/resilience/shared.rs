//! What the processes of a machine tell each other through the store. A store that fails is said once;
//! this process then keeps its limits alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::EndpointSettings;
use super::breaker::State;
use super::endpoint::{EndpointState, Known};
use super::limiter::{Grants, Wanted};
use super::quotas::{self, Admitted, Key, Limits, News};
use crate::providers::Endpoint;
use crate::store::{Durability, Store, StoreError};

/// How old what others have found out may be for a model without limits; with limits each admission
/// asks anyway.
const FRESH: Duration = Duration::from_millis(500);

/// Where processes tell each other.
#[derive(Debug)]
pub(super) struct Shared {
    store: Store,
    clock: Clock,
    boot: OnceLock<String>,
    off: AtomicBool,
    /// What the user has to be told, once.
    trouble: Mutex<Option<StoreError>>,
}

/// Translates between our clock and that of the machine, which all its processes agree on.
#[derive(Clone, Copy, Debug)]
struct Clock {
    origin: Instant,
    /// Milliseconds of the machine's monotonic clock.
    origin_ms: i64,
}

impl Clock {
    fn now(self) -> i64 {
        self.ms(Instant::now())
    }

    fn ms(self, at: Instant) -> i64 {
        let since = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.origin_ms
            .saturating_add(since(at.saturating_duration_since(self.origin)))
    }

    fn at(self, ms: i64) -> Instant {
        let since = u64::try_from(ms.saturating_sub(self.origin_ms)).unwrap_or(0);
        self.origin + Duration::from_millis(since)
    }
}

/// What the other processes should know after an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Echo {
    /// A grant, how many of its requests were never made, and how many more tokens it turned out to
    /// be.
    pub(super) correction: Option<(Grants, i64, i64)>,
    pub(super) cool_until: Option<Instant>,
    /// The endpoint's breaker and the model's, where they changed or a call that tried has succeeded,
    /// and how often they reopened.
    pub(super) breakers: [Option<(State, u32)>; 2],
    /// A call that tried is over and changed neither.
    pub(super) trial_over: bool,
}

impl Echo {
    /// Nothing of a grant was used.
    pub(super) fn give_back(grants: Option<Grants>) -> Self {
        let whole = |grants: Grants| (grants, clamp(grants.requests), -clamp(grants.tokens));
        Self {
            correction: grants.map(whole),
            ..Self::default()
        }
    }

    /// A grant is over; its tokens turned out to be `tokens`.
    pub(super) fn settle(counted: Option<Grants>, tokens: u64) -> Self {
        let correction = counted
            .map(|grants| (grants, 0, clamp(tokens) - clamp(grants.tokens)))
            .filter(|(.., more)| *more != 0);
        Self {
            correction,
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.correction.is_none()
            && self.cool_until.is_none()
            && self.breakers.iter().all(Option::is_none)
            && !self.trial_over
    }
}

impl Shared {
    pub(super) fn new(store: Store) -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        Self {
            store,
            clock: Clock {
                origin: Instant::now(),
                origin_ms: now.tv_sec.saturating_mul(1000) + now.tv_nsec / 1_000_000,
            },
            boot: OnceLock::new(),
            off: AtomicBool::new(false),
            trouble: Mutex::default(),
        }
    }

    /// What the user has to be told of the store, once.
    pub(super) fn take_trouble(&self) -> Option<String> {
        if !self.off.load(Ordering::Acquire) {
            return None;
        }
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let error = trouble.take()?;
        Some(format!(
            "{error}: rate limits are kept by this process alone"
        ))
    }

    /// What others have found out, and what is used of limits, for every lane that is known to the
    /// store.
    pub(super) fn status(
        &self,
    ) -> Result<(Vec<quotas::LaneStatus>, Vec<quotas::OpenBreaker>), StoreError> {
        let now = self.clock.now();
        self.store
            .read(move |connection| quotas::status(connection, now))
    }

    /// Forgets what all processes know.
    pub(super) fn reset(&self) {
        self.store
            .write_detached(Durability::Normal, |transaction| quotas::reset(transaction));
    }

    fn is_on(&self) -> bool {
        !self.off.load(Ordering::Acquire)
    }

    fn failed(&self, error: StoreError) {
        tracing::warn!(%error, "limits are no longer shared with other processes");
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.off.swap(true, Ordering::AcqRel) {
            *trouble = Some(error);
        }
    }

    /// Names this boot of the machine, since its clock starts anew with each.
    fn boot(&self) -> &str {
        self.boot.get_or_init(|| {
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
        })
    }
}

/// The key of a model of an endpoint.
pub(super) fn key(endpoint: &Endpoint, model: &str, canonical: &str) -> Key {
    let hash = |model: Option<&str>| {
        let mut hash = Sha256::new();
        let parts = [
            &endpoint.provider,
            &endpoint.base_url,
            &endpoint.key_fingerprint,
        ];
        for part in parts.into_iter().map(String::as_str).chain(model) {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        let first = digest.first_chunk().copied().unwrap_or_default();
        i64::from_le_bytes(first)
    };
    let lane = hash(Some(model));
    Key {
        lane,
        breakers: [hash(None), lane],
        endpoint: endpoint.provider.clone(),
        model: canonical.to_owned(),
    }
}

/// The limits that processes share.
pub(super) fn limits(settings: &EndpointSettings) -> Limits {
    Limits {
        per_minute: settings
            .requests_per_minute
            .map(|limit| u64::from(limit) + u64::from(settings.burst)),
        per_hour: settings.requests_per_hour.map(u64::from),
        tokens_per_minute: settings.tokens_per_minute,
    }
}

/// What a job of the store has to know of a model.
struct Subject {
    key: Arc<Key>,
    limits: Limits,
    /// The boot of the machine, for the first job about this model; `None` later.
    boot: Option<String>,
    /// The eras of the two breakers when the store was asked: what it says of a closed breaker is
    /// old news when ours has changed since.
    eras: [u64; 2],
}

impl EndpointState {
    /// Asks the store for what a lane wants; the answer wakes those who wait for it.
    pub(super) fn ask_others(self: &Arc<Self>, model: usize, wanted: Wanted) {
        let Some((shared, subject)) = self.subject(model) else {
            self.stop_sharing();
            return;
        };
        let (state, clock, eras) = (Arc::clone(self), shared.clock, subject.eras);
        shared.store.submit(
            Durability::Normal,
            move |transaction| {
                let now = clock.now();
                subject.begin(transaction, now)?;
                if let Some(unused) = wanted.unused {
                    let none = (clamp(unused.requests), -clamp(unused.tokens));
                    quotas::correct(transaction, &subject.key, unused, none)?;
                }
                quotas::admit(transaction, &subject.key, subject.limits, &wanted.asks, now)
            },
            move |result| match result {
                Ok(admitted) => state.answered(model, &admitted, eras),
                Err(error) => {
                    if let Some(shared) = &state.shared {
                        shared.failed(error);
                    }
                    state.stop_sharing();
                }
            },
        );
    }

    /// Looks what others have found out about a model without limits, from time to time. What comes of
    /// it is there before the hold of the same attempt is, since the store works in order.
    pub(super) fn look_around(self: &Arc<Self>, model: usize, now: Instant) {
        {
            let mut known = self.known();
            let Some(model) = known.models.get_mut(model) else {
                return;
            };
            let is_fresh = model
                .looked
                .is_some_and(|at| now.duration_since(at) < FRESH);
            if model.shares_limits || is_fresh || model.key.is_none() {
                return;
            }
            model.looked = Some(now);
        }
        let Some((shared, subject)) = self.subject(model) else {
            return;
        };
        let (state, clock, eras) = (Arc::clone(self), shared.clock, subject.eras);
        shared.store.submit(
            Durability::Normal,
            move |transaction| {
                let now = clock.now();
                subject.begin(transaction, now)?;
                quotas::look(transaction, &subject.key, now)
            },
            move |result| match (result, &state.shared) {
                (Ok(news), Some(shared)) => {
                    let now = Instant::now();
                    state.known().hear(model, &news, eras, (shared.clock, now));
                }
                (Err(error), Some(shared)) => shared.failed(error),
                (_, None) => {}
            },
        );
    }

    /// Tells others what came of an attempt.
    pub(super) fn tell_others(&self, model: usize, echo: Echo) {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.is_on()) else {
            return;
        };
        if echo.is_empty() {
            return;
        }
        let key = self
            .known()
            .models
            .get(model)
            .and_then(|model| model.key.clone());
        let Some(key) = key else {
            return;
        };
        let clock = shared.clock;
        shared
            .store
            .write_detached(Durability::Normal, move |transaction| {
                if let Some((grants, requests, tokens)) = echo.correction {
                    quotas::correct(transaction, &key, grants, (requests, tokens))?;
                }
                if let Some(until) = echo.cool_until {
                    quotas::cool(transaction, &key, clock.ms(until))?;
                }
                let names = [&key.endpoint, &key.model];
                for ((id, name), change) in key.breakers.into_iter().zip(names).zip(echo.breakers) {
                    match change {
                        Some((State::Open { until }, reopened)) => {
                            quotas::open(transaction, id, name, (clock.ms(until), reopened))?;
                        }
                        Some((State::Closed, _)) => quotas::close(transaction, id)?,
                        Some((State::HalfOpen { successes, .. }, _)) => {
                            quotas::trial_over(transaction, id, successes)?;
                        }
                        None if echo.trial_over => quotas::trial_over(transaction, id, 0)?,
                        None => {}
                    }
                }
                Ok(())
            });
    }

    fn subject(&self, model: usize) -> Option<(&Shared, Subject)> {
        let shared = self.shared.as_deref().filter(|shared| shared.is_on())?;
        let mut known = self.known();
        let of_endpoint = known.breaker.era();
        let model = known.models.get_mut(model)?;
        let is_new = !std::mem::replace(&mut model.registered, true);
        let subject = Subject {
            key: Arc::clone(model.key.as_ref()?),
            limits: limits(&model.settings),
            boot: is_new.then(|| shared.boot().to_owned()),
            eras: [of_endpoint, model.breaker.era()],
        };
        Some((shared, subject))
    }

    fn answered(self: &Arc<Self>, model: usize, admitted: &Admitted, eras: [u64; 2]) {
        let Some(shared) = &self.shared else {
            return;
        };
        let (clock, now) = (shared.clock, Instant::now());
        let unused = {
            let mut known = self.known();
            known.hear(model, &admitted.news, eras, (clock, now));
            let Some(lane) = known.models.get(model).map(|model| model.lane) else {
                return;
            };
            let full_until = admitted.full_until.map(|until| clock.at(until));
            known
                .limiter
                .granted(lane, admitted.grants, full_until, now)
        };
        self.tell_others(model, Echo::give_back(unused));
    }

    /// Goes on with the limits of this process alone.
    fn stop_sharing(&self) {
        let mut known = self.known();
        let lanes: Vec<_> = known.models.iter().map(|model| model.lane).collect();
        for lane in lanes {
            known.limiter.share(lane, false);
        }
    }
}

impl Subject {
    /// What the first job about a model does before its own work.
    fn begin(&self, connection: &Connection, now: i64) -> rusqlite::Result<()> {
        let Some(boot) = &self.boot else {
            return Ok(());
        };
        quotas::begin(connection, boot)?;
        if self.limits == Limits::default() {
            return Ok(());
        }
        quotas::register(connection, &self.key, self.limits, now)
    }
}

impl Known {
    /// Takes what others have found out.
    fn hear(&mut self, model: usize, news: &News, eras: [u64; 2], (clock, now): (Clock, Instant)) {
        let Some(model) = self.models.get_mut(model) else {
            return;
        };
        if news.cool_until > 0 {
            let wait = clock.at(news.cool_until).saturating_duration_since(now);
            let ours = self.limiter.cooling(model.lane, now).unwrap_or_default();
            if wait > ours {
                self.limiter.cool(model.lane, now, wait, false);
            }
        }
        let breakers = [&mut self.breaker, &mut model.breaker];
        let mut changes = Vec::new();
        for ((breaker, news), era) in breakers.into_iter().zip(news.breakers).zip(eras) {
            if breaker.era() != era {
                continue;
            }
            if news.open_until == 0 {
                changes.extend(breaker.close());
            } else if breaker.state() == State::Closed || clock.at(news.open_until) > now {
                // Its time may be over: then one of us tries.
                let until = clock.at(news.open_until).max(now);
                changes.extend(breaker.open_until(until, news.reopened, news.proven()));
            }
        }
        for change in changes {
            self.heed(Some(change), now);
        }
    }
}

fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
