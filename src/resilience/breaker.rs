//! A circuit breaker: after enough failures an endpoint is left alone for a while, then tried by one
//! call before the others follow. Pure, with the clock and the dice passed in.

use std::time::Duration;

use tokio::time::Instant;

/// How often the time in the open state is doubled at most: up to four times the configured one.
const DOUBLINGS: u32 = 2;

/// Successes in the half-open state that close the breaker.
const PROBES: u32 = 2;

/// The least calls in the window before their failure rate says anything.
const LEAST_CALLS: u32 = 5;

/// A server that says when to come back is believed up to this.
const LONGEST_TOLD: Duration = Duration::from_hours(1);

/// The window of the failure rate: six buckets of ten seconds.
const BUCKETS: usize = 6;
const BUCKET: Duration = Duration::from_secs(10);

/// What a breaker is configured to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Whether it ever opens.
    pub enabled: bool,
    /// Failures in a row that open it.
    pub threshold: u32,
    /// The time in the open state, the first time.
    pub timeout: Duration,
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls pass.
    Closed,
    /// No call passes before this instant.
    Open {
        /// The end of the open time.
        until: Instant,
    },
    /// A few calls pass, to see whether the endpoint has recovered.
    HalfOpen {
        /// Calls that succeeded since it was opened.
        successes: u32,
        /// Calls that are under way.
        in_flight: u32,
    },
}

impl State {
    /// The state as the interface names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half_open",
        }
    }
}

/// Whether a call may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Pass,
    /// Not before this instant.
    Until(Instant),
    /// Not while the calls that try the endpoint are under way.
    Busy,
}

/// The right to make one call; given back by [`Breaker::record`], whatever came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a permit that is not recorded is lost to the half-open state"]
pub struct Permit {
    era: u64,
}

/// What a call says about the health of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered.
    Success,
    /// It failed in a way that is its own fault.
    Failure {
        /// When it said that it may be tried again.
        told: Option<Duration>,
    },
    /// Nothing: the call was cancelled, or failed by fault of the request, the key or the rate.
    Neutral,
}

/// Counts since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerStatistics {
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed by fault of the endpoint.
    pub failures: u64,
    /// Calls that were turned away.
    pub rejected: u64,
    /// How often it opened.
    pub opened: u64,
    /// The last success.
    pub last_success: Option<Instant>,
    /// The last failure.
    pub last_failure: Option<Instant>,
}

/// A circuit breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Counts state changes: what calls of an earlier era say is not held against this one.
    era: u64,
    /// How often it opened again without closing between.
    reopened: u32,
    /// Successes of others since it was opened; they count when it is tried.
    proven: u32,
    /// Failures in a row.
    in_a_row: u32,
    /// Other processes know of failures too, or of ours: an answer is news to them.
    others_fail: bool,
    window: Window,
    statistics: BreakerStatistics,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: State::Closed,
            era: 0,
            reopened: 0,
            proven: 0,
            in_a_row: 0,
            others_fail: false,
            window: Window::default(),
            statistics: BreakerStatistics::default(),
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// The counts.
    pub fn statistics(&self) -> &BreakerStatistics {
        &self.statistics
    }

    /// Failures in a row.
    pub fn failures_in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// How often it opened again without closing between.
    pub fn reopened(&self) -> u32 {
        self.reopened
    }

    /// Changes with every change of state.
    pub fn era(&self) -> u64 {
        self.era
    }

    /// Takes other settings; a breaker that is switched off closes.
    pub fn configure(&mut self, settings: BreakerSettings) {
        self.settings = settings;
        if !settings.enabled {
            self.enter_state(State::Closed);
        }
    }

    /// Whether a call may pass now. Changes nothing.
    pub fn gate(&self, now: Instant) -> Gate {
        match self.state {
            State::Closed => Gate::Pass,
            State::Open { until } if now >= until => Gate::Pass,
            State::Open { until } => Gate::Until(until),
            State::HalfOpen {
                successes,
                in_flight,
            } if in_flight < permits(successes) => Gate::Pass,
            State::HalfOpen { .. } => Gate::Busy,
        }
    }

    /// Lets a call pass that [`Breaker::gate`] has said may.
    pub fn enter(&mut self, now: Instant) -> Permit {
        match &mut self.state {
            State::Open { until } if now >= *until => {
                self.enter_state(State::HalfOpen {
                    successes: self.proven,
                    in_flight: 1,
                });
            }
            State::HalfOpen { in_flight, .. } => *in_flight += 1,
            State::Closed | State::Open { .. } => {}
        }
        Permit { era: self.era }
    }

    /// Counts a call that was turned away.
    pub fn rejected(&mut self) {
        self.statistics.rejected = self.statistics.rejected.saturating_add(1);
    }

    /// Takes a permit back with what the call says; tells the new state when it changes.
    pub fn record(
        &mut self,
        permit: Permit,
        verdict: Verdict,
        now: Instant,
        random: f64,
    ) -> Option<State> {
        match verdict {
            Verdict::Success => {
                self.statistics.successes = self.statistics.successes.saturating_add(1);
                self.statistics.last_success = Some(now);
            }
            Verdict::Failure { .. } => {
                self.statistics.failures = self.statistics.failures.saturating_add(1);
                self.statistics.last_failure = Some(now);
            }
            Verdict::Neutral => {}
        }
        if permit.era != self.era || !self.settings.enabled {
            return None;
        }
        match self.state {
            State::Closed => self.record_closed(verdict, now, random),
            State::HalfOpen {
                successes,
                in_flight,
            } => self.record_half_open(verdict, (successes, in_flight), now, random),
            // Nobody holds a permit of an open era.
            State::Open { .. } => None,
        }
    }

    /// Whether what a call with this permit says counts toward opening it.
    pub fn counts(&self, permit: Permit) -> bool {
        self.settings.enabled && self.state == State::Closed && permit.era == self.era
    }

    /// Takes whether other processes know of failures since the last answer that one of them heard.
    pub fn others_fail(&mut self, fail: bool) {
        self.others_fail = fail;
    }

    /// Whether an answer is news to other processes; it is no more when it was asked for.
    pub fn take_others_fail(&mut self) -> bool {
        std::mem::take(&mut self.others_fail)
    }

    /// Failures in a row that open it.
    pub fn threshold(&self) -> u32 {
        self.settings.threshold
    }

    /// How long it would stay open if it opened now; `told` is when the server said that it may be
    /// tried again.
    pub fn rest(&self, told: Option<Duration>, random: f64) -> Duration {
        let spread = 0.4_f64.mul_add(random.clamp(0.0, 1.0), 0.8);
        let own = self.settings.timeout.saturating_mul(1 << self.reopened);
        own.mul_f64(spread)
            .max(told.unwrap_or_default().min(LONGEST_TOLD))
    }

    /// Opens it at least until an instant that somebody else has found out: another process, the
    /// user. `reopened` is how often it opened there without closing between, `proven` how many calls
    /// have succeeded there since.
    pub fn open_until(&mut self, until: Instant, reopened: u32, proven: u32) -> Option<State> {
        let later = match self.state {
            State::Open { until: ours } => until > ours,
            State::Closed | State::HalfOpen { .. } => true,
        };
        if !self.settings.enabled || !later {
            return None;
        }
        self.reopened = self.reopened.max(reopened).min(DOUBLINGS);
        self.proven = proven.min(PROBES - 1);
        self.statistics.opened = self.statistics.opened.saturating_add(1);
        self.enter_state(State::Open { until });
        Some(self.state)
    }

    /// Closes it: somebody else has found out that the endpoint answers.
    pub fn close(&mut self) -> Option<State> {
        if self.state == State::Closed {
            return None;
        }
        self.enter_state(State::Closed);
        Some(self.state)
    }

    /// Closes it and forgets every count.
    pub fn reset(&mut self) {
        self.enter_state(State::Closed);
        self.statistics = BreakerStatistics::default();
    }

    fn record_closed(&mut self, verdict: Verdict, now: Instant, random: f64) -> Option<State> {
        match verdict {
            Verdict::Neutral => None,
            Verdict::Success => {
                self.in_a_row = 0;
                self.window.count(now, false);
                None
            }
            Verdict::Failure { told } => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.window.count(now, true);
                let (calls, failures) = self.window.totals(now);
                let rate = calls >= LEAST_CALLS.max(self.settings.threshold)
                    && failures.saturating_mul(2) >= calls;
                (rate || self.in_a_row >= self.settings.threshold.max(1))
                    .then(|| self.open(now, told, random))
            }
        }
    }

    fn record_half_open(
        &mut self,
        verdict: Verdict,
        (successes, in_flight): (u32, u32),
        now: Instant,
        random: f64,
    ) -> Option<State> {
        match verdict {
            Verdict::Failure { told } => {
                self.reopened = (self.reopened + 1).min(DOUBLINGS);
                Some(self.open(now, told, random))
            }
            Verdict::Success if successes + 1 >= PROBES => {
                self.enter_state(State::Closed);
                Some(self.state)
            }
            Verdict::Success | Verdict::Neutral => {
                self.state = State::HalfOpen {
                    successes: successes + u32::from(verdict == Verdict::Success),
                    in_flight: in_flight.saturating_sub(1),
                };
                None
            }
        }
    }

    fn open(&mut self, now: Instant, told: Option<Duration>, random: f64) -> State {
        let wait = self.rest(told, random);
        self.proven = 0;
        self.statistics.opened = self.statistics.opened.saturating_add(1);
        self.enter_state(State::Open { until: now + wait });
        self.state
    }

    fn enter_state(&mut self, state: State) {
        self.state = state;
        self.era += 1;
        if state == State::Closed {
            self.reopened = 0;
            self.in_a_row = 0;
            self.others_fail = false;
            self.window = Window::default();
        }
    }
}

/// How many calls may try a half-open endpoint at once: one, and after a success two.
fn permits(successes: u32) -> u32 {
    if successes == 0 { 1 } else { 2 }
}

/// Calls and failures of the last minute, to ten seconds.
#[derive(Clone, Debug, Default)]
struct Window {
    origin: Option<Instant>,
    buckets: [Bucket; BUCKETS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Which ten seconds since the origin, counted from 1; 0 for an unused one.
    turn: u64,
    calls: u32,
    failures: u32,
}

impl Window {
    fn turn(&self, now: Instant) -> u64 {
        let since = self.origin.map_or(Duration::ZERO, |origin| now - origin);
        since.as_secs() / BUCKET.as_secs() + 1
    }

    fn count(&mut self, now: Instant, failed: bool) {
        self.origin.get_or_insert(now);
        let turn = self.turn(now);
        // The oldest bucket, or the one that counts these ten seconds already.
        let found = self
            .buckets
            .iter_mut()
            .min_by_key(|bucket| (bucket.turn != turn, bucket.turn));
        if let Some(bucket) = found {
            if bucket.turn != turn {
                *bucket = Bucket {
                    turn,
                    ..Bucket::default()
                };
            }
            bucket.calls = bucket.calls.saturating_add(1);
            bucket.failures = bucket.failures.saturating_add(u32::from(failed));
        }
    }

    fn totals(&self, now: Instant) -> (u32, u32) {
        let turn = self.turn(now);
        self.buckets
            .iter()
            .filter(|bucket| bucket.turn + BUCKETS as u64 > turn)
            .fold((0, 0), |(calls, failures), bucket| {
                (
                    calls.saturating_add(bucket.calls),
                    failures.saturating_add(bucket.failures),
                )
            })
    }
}

#[cfg(test)]
mod tests;
