//! The line of one model: its windows, who waits, and how fast it moves.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::pace::{Pace, STEP};
use super::window::{EntryId, Window};
use super::{Ask, Cause, Grants, LaneStatistics, Ticket, Wanted};
use crate::providers::LimitNews;
use crate::resilience::EndpointSettings;

/// A window is kept this much longer than its name says: the server counts arrivals, and the way
/// there is not always equally long.
const MARGIN: Duration = Duration::from_millis(50);

const MINUTE: Duration = Duration::from_mins(1).saturating_add(MARGIN);
const HOUR: Duration = Duration::from_hours(1).saturating_add(MARGIN);

/// So many requests are asked for at once: a transaction of moderate size.
const MOST_ASKED: u64 = 256;

/// Grants of a limit that is shared with other processes are used within this time or given back.
const GRANT_LIFE: Duration = MARGIN;

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) ask: Ask,
    pub(super) since: Instant,
    pub(super) waker: Option<Waker>,
    /// Something has changed since it looked last.
    pub(super) woken: bool,
}

/// What a lane's admission took, to be given back or corrected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    minute: Option<EntryId>,
    hour: Option<EntryId>,
    tokens: Option<(EntryId, u64)>,
    /// The entry of a shared window that it counts in.
    bucket: Option<i64>,
}

impl Taken {
    /// What is counted of it in a shared limit.
    pub(super) fn shared(&self) -> Option<Grants> {
        Some(Grants {
            bucket: self.bucket?,
            requests: 1,
            tokens: self.tokens.map_or(0, |(_, amount)| amount),
        })
    }
}

/// What other processes leave of a shared limit.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Whether the limit is shared at all.
    pub(super) on: bool,
    /// Whether an answer is under way.
    pub(super) asking: bool,
    /// What has to be asked for.
    pub(super) wanted: Wanted,
    /// What was granted and not yet used.
    pub(super) grants: Grants,
    /// When it was granted.
    pub(super) at: Option<Instant>,
    /// Others have used it up until this instant.
    pub(super) full_until: Option<Instant>,
}

/// The line of one model.
#[derive(Debug)]
pub(super) struct Lane {
    minute: Option<Window>,
    hour: Option<Window>,
    tokens: Option<Window>,
    /// The configured limits: told ones may only lower them.
    configured: [Option<u64>; 3],
    pub(super) pace: Pace,
    /// Rate limits met in a row.
    pub(super) strikes: u32,
    last_retry: Option<Instant>,
    pub(super) shared: Shared,
    pub(super) queue: BTreeMap<Ticket, Waiter>,
    queued_tokens: u64,
    pub(super) statistics: LaneStatistics,
}

impl Lane {
    pub(super) fn new(settings: &EndpointSettings) -> Self {
        let mut lane = Self {
            minute: None,
            hour: None,
            tokens: None,
            configured: [None; 3],
            pace: Pace::Free,
            strikes: 0,
            last_retry: None,
            shared: Shared::default(),
            queue: BTreeMap::new(),
            queued_tokens: 0,
            statistics: LaneStatistics::default(),
        };
        lane.configure(settings);
        lane
    }

    pub(super) fn configure(&mut self, settings: &EndpointSettings) {
        let minute = settings
            .requests_per_minute
            .map(|limit| u64::from(limit) + u64::from(settings.burst));
        let hour = settings.requests_per_hour.map(u64::from);
        self.configured = [minute, hour, settings.tokens_per_minute];
        set_limit(&mut self.minute, MINUTE, minute);
        set_limit(&mut self.hour, HOUR, hour);
        set_limit(&mut self.tokens, MINUTE, settings.tokens_per_minute);
    }

    /// The limits of a minute, an hour and of tokens a minute that hold now.
    pub(super) fn limits(&self) -> [Option<u64>; 3] {
        [&self.minute, &self.hour, &self.tokens].map(|window| window.as_ref().map(Window::limit))
    }

    /// What is used of them.
    pub(super) fn used(&mut self, now: Instant) -> [Option<u64>; 3] {
        [&mut self.minute, &mut self.hour, &mut self.tokens]
            .map(|window| window.as_mut().map(|window| window.used(now)))
    }

    /// The configured limit of tokens a minute, where the ask is above it and can never pass.
    pub(super) fn never_fits(&self, ask: Ask) -> Option<u64> {
        self.configured[2].filter(|limit| ask.tokens > *limit)
    }

    /// Takes what response headers told. Limits that were not configured at all are learnt too, but
    /// not those of this machine's own servers.
    pub(super) fn learn(&mut self, news: &LimitNews, loopback: bool) {
        let [minute, _, tokens] = self.configured;
        for (window, configured, told) in [
            (&mut self.minute, minute, news.requests_per_minute),
            (&mut self.tokens, tokens, news.tokens_per_minute),
        ] {
            let told = told.filter(|told| *told > 0);
            if let Some(told) = told
                && (configured.is_some() || !loopback)
            {
                let limit = configured.map_or(told, |configured| configured.min(told));
                set_limit(window, MINUTE, Some(limit));
            }
        }
    }

    /// When somebody at the head may go, and what holds him until then. Not for shared limits.
    pub(super) fn opens_at(&mut self, ask: Ask, now: Instant) -> (Instant, Cause) {
        let mut latest = (self.pace.opens_at(now), Cause::CoolDown);
        if let Pace::Trial { .. } = self.pace {
            latest.1 = Cause::Trial;
        } else if let Pace::Paced { .. } = self.pace {
            latest.1 = Cause::Paced;
        }
        let retry = self
            .last_retry
            .filter(|_| ask.retry)
            .map_or(now, |last| last + STEP);
        let mut consider = |at: Instant, cause: Cause| {
            if at > latest.0 {
                latest = (at, cause);
            }
        };
        consider(retry, Cause::Paced);
        for (window, amount, cause) in [
            (&mut self.minute, 1, Cause::RequestsPerMinute),
            (&mut self.hour, 1, Cause::RequestsPerHour),
            (&mut self.tokens, ask.tokens, Cause::TokensPerMinute),
        ] {
            if let Some(window) = window {
                consider(window.fits_at(now, amount), cause);
            }
        }
        if let Some(until) = self.shared.full_until
            && !self.is_granted(ask, now)
            && until > latest.0
        {
            latest = (until, Cause::OtherProcesses);
        }
        latest
    }

    /// The earliest instant at which one who joins the end may go: a lower bound.
    pub(super) fn bound(&mut self, ask: Ask, now: Instant) -> (Instant, Cause) {
        let mut latest = self.opens_at(ask, now);
        let ahead = self.queue.len() as u64;
        for (window, cause) in [
            (&mut self.minute, Cause::RequestsPerMinute),
            (&mut self.hour, Cause::RequestsPerHour),
        ] {
            if let Some(window) = window {
                let at = window.fits_behind(now, ahead);
                if at > latest.0 {
                    latest = (at, cause);
                }
            }
        }
        if let Some(window) = &self.tokens {
            // Whole windows that those ahead fill.
            let before = (self.queued_tokens + ask.tokens.min(window.limit())).saturating_sub(1);
            let rounds = u32::try_from(before / window.limit()).unwrap_or(u32::MAX);
            let at = now + MINUTE.saturating_mul(rounds);
            if at > latest.0 {
                latest = (at, Cause::TokensPerMinute);
            }
        }
        latest
    }

    /// Whether a shared limit has granted this ask; old grants do not count.
    pub(super) fn is_granted(&self, ask: Ask, now: Instant) -> bool {
        let fresh = self
            .shared
            .at
            .is_some_and(|at| now.duration_since(at) <= GRANT_LIFE);
        let Grants {
            requests, tokens, ..
        } = self.shared.grants;
        fresh && requests > 0 && tokens >= self.counted_tokens(ask)
    }

    /// The tokens of an ask as they are counted; 0 without a limit of tokens.
    fn counted_tokens(&self, ask: Ask) -> u64 {
        self.tokens
            .as_ref()
            .map_or(0, |window| ask.tokens.clamp(1, window.limit()))
    }

    /// Notes what has to be asked of a shared limit: for the head and for those behind it who could
    /// follow at once, at most `most`.
    pub(super) fn ask_for(&mut self, head: Ask, now: Instant, most: u64) {
        let free = |window: &mut Option<Window>| {
            window.as_mut().map_or(u64::MAX, |window| {
                window.limit().saturating_sub(window.used(now)).max(1)
            })
        };
        let most = match self.pace {
            Pace::Free => most
                .min(free(&mut self.minute))
                .min(free(&mut self.hour))
                .min(MOST_ASKED),
            _ => 1,
        };
        let room = free(&mut self.tokens);
        let mut tokens = self.counted_tokens(head);
        let mut wanted = vec![tokens];
        for waiter in self.queue.values().skip(1) {
            let more = self.counted_tokens(waiter.ask);
            tokens += more;
            if wanted.len() as u64 >= most || tokens > room {
                break;
            }
            wanted.push(more);
        }
        self.shared.wanted = Wanted {
            asks: wanted,
            unused: std::mem::take(&mut self.shared.grants).some(),
        };
        self.shared.asking = true;
    }

    /// Lets somebody go.
    pub(super) fn take(&mut self, ask: Ask, now: Instant) -> (Taken, bool) {
        let trial = self.pace.went(now);
        if ask.retry {
            self.last_retry = Some(now);
        }
        let tokens = self.counted_tokens(ask);
        let mut bucket = None;
        if self.shared.on {
            let grants = &mut self.shared.grants;
            grants.requests = grants.requests.saturating_sub(1);
            grants.tokens = grants.tokens.saturating_sub(tokens);
            bucket = Some(grants.bucket);
        }
        let taken = Taken {
            minute: self.minute.as_mut().map(|window| window.take(now, 1)),
            hour: self.hour.as_mut().map(|window| window.take(now, 1)),
            tokens: self
                .tokens
                .as_mut()
                .map(|window| (window.take(now, tokens), tokens)),
            bucket,
        };
        self.statistics.admitted += 1;
        (taken, trial)
    }

    /// Corrects the tokens of an admission to what was used; tells what they were counted as.
    pub(super) fn settle_tokens(&mut self, taken: Taken, tokens: u64) -> Option<u64> {
        let (id, amount) = taken.tokens?;
        let window = self.tokens.as_mut()?;
        window.change(id, amount, tokens);
        Some(amount)
    }

    /// Takes an admission back as if it had never been.
    pub(super) fn refund(&mut self, taken: Taken) {
        for (window, id) in [
            (&mut self.minute, taken.minute),
            (&mut self.hour, taken.hour),
        ] {
            if let (Some(window), Some(id)) = (window, id) {
                window.change(id, 1, 0);
            }
        }
        self.settle_tokens(taken, 0);
        self.statistics.admitted = self.statistics.admitted.saturating_sub(1);
    }

    /// Puts somebody in the line who is not in it yet.
    pub(super) fn join(&mut self, ticket: Ticket, ask: Ask, now: Instant) {
        let waiter = self.queue.entry(ticket).or_insert_with(|| {
            self.queued_tokens += ask.tokens;
            Waiter {
                ask,
                since: now,
                waker: None,
                woken: false,
            }
        });
        waiter.woken = false;
    }

    /// Takes somebody out of the line; tells how long he waited and whether he was at the head.
    pub(super) fn part(&mut self, ticket: Ticket, now: Instant) -> Option<(Duration, bool)> {
        let head = self.is_head(ticket);
        let waiter = self.queue.remove(&ticket)?;
        self.queued_tokens = self.queued_tokens.saturating_sub(waiter.ask.tokens);
        Some((now.duration_since(waiter.since), head))
    }

    /// Whether nobody stands before this ticket.
    pub(super) fn is_head(&self, ticket: Ticket) -> bool {
        self.queue
            .first_key_value()
            .is_none_or(|(first, _)| *first >= ticket)
    }

    pub(super) fn reset(&mut self) {
        for window in [&mut self.minute, &mut self.hour, &mut self.tokens]
            .into_iter()
            .flatten()
        {
            window.clear();
        }
        self.pace = Pace::Free;
        self.strikes = 0;
        self.last_retry = None;
        self.shared.full_until = None;
        self.statistics = LaneStatistics::default();
    }
}

fn set_limit(window: &mut Option<Window>, period: Duration, limit: Option<u64>) {
    match (window.as_mut(), limit) {
        (Some(window), Some(limit)) => window.set_limit(limit),
        (None, Some(limit)) => *window = Some(Window::new(period, limit)),
        (_, None) => *window = None,
    }
}
