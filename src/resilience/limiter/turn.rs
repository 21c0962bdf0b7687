//! What a limiter is asked and answers.

use std::time::Duration;

use tokio::time::Instant;

use super::lane::Taken;

/// A place in the lines of an endpoint. A call keeps its ticket over its attempts: who comes back
/// after a rate limit stands where he stood.
pub type Ticket = u64;

/// Names a lane of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LaneId(pub(super) usize);

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Tokens that it will use, prompt and answer: an estimate.
    pub tokens: u64,
    /// Whether it is another attempt: those keep a distance from each other.
    pub retry: bool,
}

/// What a request has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The limit of requests a minute.
    RequestsPerMinute,
    /// The limit of requests an hour.
    RequestsPerHour,
    /// The limit of tokens a minute.
    TokensPerMinute,
    /// A limit that other processes have used up.
    OtherProcesses,
    /// A rate limit that the server told.
    CoolDown,
    /// Another call tries whether a rate limit is over.
    Trial,
    /// Calls are let go one by one.
    Paced,
    /// The calls in flight.
    Concurrency,
}

/// Whether a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may; what it took is to be given back by `Limiter::settle` or `Limiter::cancel`.
    Admitted(Admission),
    /// Others stand before it; it is woken at the head.
    Behind,
    /// It is at the head and may go at this instant, unless it is woken before.
    Until(Instant, Cause),
    /// It is at the head and is woken when something changes.
    Blocked(Cause),
    /// It is at the head and could go, but a limit that is shared with other processes has to be
    /// asked for what `Limiter::wanted` tells; it is woken by `Limiter::granted`.
    Ask,
}

/// What a limit that is shared with other processes has granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The entry of the shared window that it counts in.
    pub bucket: i64,
    /// Requests.
    pub requests: u64,
    /// Tokens; 0 where they are not limited.
    pub tokens: u64,
}

impl Grants {
    /// Itself, unless there is nothing in it.
    pub(super) fn some(self) -> Option<Self> {
        (self.requests > 0 || self.tokens > 0).then_some(self)
    }
}

/// What an admitted request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    pub(super) lane: LaneId,
    pub(super) taken: Taken,
    pub(super) trial: bool,
}

impl Admission {
    /// Whether this request tries whether a rate limit is over.
    pub fn is_trial(&self) -> bool {
        self.trial
    }
}

/// Counts of one lane since the start or the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStatistics {
    /// Requests that went.
    pub admitted: u64,
    /// Requests that had to wait.
    pub waited: u64,
    /// How long they waited, together.
    pub waited_for: Duration,
    /// Requests that were turned away: they could not go in time, or ever.
    pub rejected: u64,
    /// Rate limits that the server told.
    pub rate_limited: u64,
}

/// What a limit that is shared with other processes has to be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The tokens of each request that could go at once, the head's first.
    pub asks: Vec<u64>,
    /// What was granted before and not used in time: it is given back first.
    pub unused: Option<Grants>,
}
