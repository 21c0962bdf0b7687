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
use crate::costs::Holder;
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
    /// What the endpoint's breaker and the model's make of it.
    pub(super) breakers: [BreakerEcho; 2],
    /// A call that tried is over and changed neither.
    pub(super) trial_over: bool,
}

/// What a breaker makes of an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BreakerEcho {
    /// Its state, where that changed or a call that tried has succeeded, and how often it reopened.
    pub(super) changed: Option<(State, u32)>,
    /// A failure that counts and has not opened it.
    pub(super) failure: Option<Failure>,
    /// When there was an answer after failures that others know of.
    pub(super) answered: Option<Instant>,
}

/// A failure that has not opened a breaker by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    /// This process.
    pub(super) process: Holder,
    /// When this process last heard an answer.
    pub(super) answered: Option<Instant>,
    /// Failures in a row that open the breaker.
    pub(super) threshold: u32,
    /// Until when it then is open.
    pub(super) open_until: Instant,
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
        let says_nothing = |breaker: &BreakerEcho| {
            breaker.changed.is_none() && breaker.failure.is_none() && breaker.answered.is_none()
        };
        self.correction.is_none()
            && self.cool_until.is_none()
            && self.breakers.iter().all(says_nothing)
            && !self.trial_over
    }

    fn has_failures(&self) -> bool {
        self.breakers
            .iter()
            .any(|breaker| breaker.failure.is_some())
    }

    /// Writes it down.
    fn write(&self, connection: &Connection, key: &Key, clock: Clock) -> rusqlite::Result<()> {
        if let Some((grants, requests, tokens)) = self.correction {
            quotas::correct(connection, key, grants, (requests, tokens))?;
        }
        if let Some(until) = self.cool_until {
            quotas::cool(connection, key, clock.ms(until))?;
        }
        let names = [&key.endpoint, &key.model];
        for ((id, name), echo) in key.breakers.into_iter().zip(names).zip(self.breakers) {
            match echo.changed {
                Some((State::Open { until }, reopened)) => {
                    quotas::open(connection, id, name, (clock.ms(until), reopened))?;
                }
                Some((State::Closed, _)) => quotas::close(connection, id)?,
                Some((State::HalfOpen { successes, .. }, _)) => {
                    quotas::trial_over(connection, id, successes)?;
                }
                None if self.trial_over => quotas::trial_over(connection, id, 0)?,
                None => {}
            }
            if let Some(at) = echo.answered {
                quotas::forget(connection, id, clock.ms(at))?;
            }
            if let Some(failure) = echo.failure {
                let failed = quotas::Failed {
                    process: failure.process,
                    answered: failure.answered.map(|at| clock.ms(at)),
                    threshold: failure.threshold,
                    open_until: clock.ms(failure.open_until),
                };
                quotas::fail(connection, (id, name), failed, clock.now())?;
            }
        }
        Ok(())
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

    /// Tells others what came of an attempt. A failure may be one too many together with theirs: what
    /// comes of it is there before the attempt is settled, since the store works in order.
    pub(super) fn tell_others(self: &Arc<Self>, model: usize, echo: &Echo) {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.is_on()) else {
            return;
        };
        if echo.is_empty() {
            return;
        }
        let (key, eras) = {
            let known = self.known();
            let Some(model) = known.models.get(model) else {
                return;
            };
            let eras = [known.breaker.era(), model.breaker.era()];
            (model.key.clone(), eras)
        };
        let Some(key) = key else {
            return;
        };
        let (clock, echo) = (shared.clock, *echo);
        if !echo.has_failures() {
            shared
                .store
                .write_detached(Durability::Normal, move |transaction| {
                    echo.write(transaction, &key, clock)
                });
            return;
        }
        let state = Arc::clone(self);
        shared.store.submit(
            Durability::Normal,
            move |transaction| {
                echo.write(transaction, &key, clock)?;
                quotas::look(transaction, &key, clock.now())
            },
            move |result| match (result, &state.shared) {
                (Ok(news), _) => {
                    let now = (clock, Instant::now());
                    let mut known = state.known();
                    let changes = known.hear(model, &news, eras, now);
                    let changes = state.named(&known, model, changes);
                    known.found_out.extend(changes);
                }
                (Err(error), Some(shared)) => shared.failed(error),
                (Err(_), None) => {}
            },
        );
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
        self.tell_others(model, &Echo::give_back(unused));
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
    /// Takes what others have found out; tells what became of the two breakers by it.
    fn hear(
        &mut self,
        model: usize,
        news: &News,
        eras: [u64; 2],
        (clock, now): (Clock, Instant),
    ) -> [Option<State>; 2] {
        let mut changes = [None; 2];
        let Some(model) = self.models.get_mut(model) else {
            return changes;
        };
        if news.cool_until > 0 {
            let wait = clock.at(news.cool_until).saturating_duration_since(now);
            let ours = self.limiter.cooling(model.lane, now).unwrap_or_default();
            if wait > ours {
                self.limiter.cool(model.lane, now, wait, false);
            }
        }
        let breakers = [&mut self.breaker, &mut model.breaker].into_iter();
        let news = news.breakers.into_iter().zip(eras);
        for ((breaker, (news, era)), change) in breakers.zip(news).zip(&mut changes) {
            if breaker.era() != era {
                continue;
            }
            breaker.others_fail(news.fails);
            if news.open_until == 0 {
                *change = breaker.close();
            } else if breaker.state() == State::Closed || clock.at(news.open_until) > now {
                // Its time may be over: then one of us tries.
                let until = clock.at(news.open_until).max(now);
                *change = breaker.open_until(until, news.reopened, news.proven());
            }
        }
        for state in changes.into_iter().flatten() {
            self.heed(Some(state), now);
        }
        changes
    }
}

fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
