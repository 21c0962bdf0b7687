//! A sliding window: in no span of its period are more than its limit admitted.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// A window keeps at most about this many entries; what was admitted within a smaller fraction of
/// the period counts from the later instant.
const GRAINS: u32 = 8192;

/// Amounts admitted within the last period.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    period: Duration,
    limit: u64,
    used: u64,
    log: VecDeque<Entry>,
    /// The number of the first entry in `log`, counted from the first ever made.
    first: u64,
}

/// Amounts admitted so close to each other that they count as one.
#[derive(Clone, Copy, Debug)]
struct Entry {
    since: Instant,
    /// The last of them; the period counts from here.
    at: Instant,
    amount: u64,
}

/// Names an entry, to change its amount later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryId(u64);

impl Window {
    pub(crate) fn new(period: Duration, limit: u64) -> Self {
        Self {
            period,
            limit: limit.max(1),
            used: 0,
            log: VecDeque::new(),
            first: 0,
        }
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit.max(1);
    }

    /// What counts against the limit now.
    pub(crate) fn used(&mut self, now: Instant) -> u64 {
        self.expire(now);
        self.used
    }

    /// When `amount` fits: now or earlier when it does already. An amount above the limit fits an
    /// empty window.
    pub(crate) fn fits_at(&mut self, now: Instant, amount: u64) -> Instant {
        self.expire(now);
        let amount = amount.min(self.limit);
        let mut excess = (self.used + amount).saturating_sub(self.limit);
        for entry in &self.log {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(entry.amount);
            if excess == 0 {
                return entry.at + self.period;
            }
        }
        now
    }

    /// The earliest instant at which one more fits after `ahead` others of amount 1 have passed: a
    /// lower bound, found without walking the log.
    pub(crate) fn fits_behind(&mut self, now: Instant, ahead: u64) -> Instant {
        self.expire(now);
        // Request i passes no earlier than request i - limit and one period; `index` is that one,
        // counted from the first in the log.
        let Some(index) = (self.used + ahead).checked_sub(self.limit) else {
            return now;
        };
        let rounds = |rounds: u64| {
            self.period
                .saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
        };
        // How often to go back by `limit` to come to one that has passed already.
        let back = if index < self.used {
            0
        } else {
            (index - self.used) / self.limit + 1
        };
        match index.checked_sub(back.saturating_mul(self.limit)) {
            Some(index) => {
                let exact = self.log.len() as u64 == self.used;
                let index = if exact { index } else { 0 };
                let passed = usize::try_from(index)
                    .ok()
                    .and_then(|index| self.log.get(index))
                    .map_or(now, |entry| entry.at);
                passed + rounds(back + 1)
            }
            None => now + rounds(back),
        }
    }

    /// Counts an amount from now on.
    pub(crate) fn take(&mut self, now: Instant, amount: u64) -> EntryId {
        self.expire(now);
        self.used += amount;
        if let Some(last) = self.log.back_mut()
            && now.duration_since(last.since) < self.period / GRAINS
        {
            last.at = now;
            last.amount += amount;
        } else {
            self.log.push_back(Entry {
                since: now,
                at: now,
                amount,
            });
        }
        EntryId(self.first + self.log.len() as u64 - 1)
    }

    /// Replaces what was taken by what it turned out to be; nothing when it counts no more anyway.
    pub(crate) fn change(&mut self, id: EntryId, from: u64, to: u64) {
        let entry =
            id.0.checked_sub(self.first)
                .and_then(|index| usize::try_from(index).ok())
                .and_then(|index| self.log.get_mut(index));
        if let Some(entry) = entry {
            let rest = entry.amount.saturating_sub(from);
            self.used = self.used.saturating_sub(entry.amount) + rest + to;
            entry.amount = rest + to;
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.first += self.log.len() as u64;
        self.log.clear();
        self.used = 0;
    }

    fn expire(&mut self, now: Instant) {
        while let Some(entry) = self.log.front()
            && entry.at + self.period <= now
        {
            self.used = self.used.saturating_sub(entry.amount);
            self.log.pop_front();
            self.first += 1;
        }
        // Entries that were given back leave at once where that is cheap, so that the log holds no
        // more than what counts.
        while let Some(Entry { amount: 0, .. }) = self.log.back() {
            self.log.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn it_says_when_an_amount_fits() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(MINUTE, 10);
        window.take(at(0), 4);
        let second = window.take(at(10), 4);
        for (amount, fits) in [
            (0, 20),
            (2, 20),
            (3, 60),
            (6, 60),
            (7, 70),
            (10, 70),
            (99, 70),
        ] {
            assert_eq!(window.fits_at(at(20), amount), at(fits), "{amount}");
        }
        window.change(second, 4, 1);
        assert_eq!(window.used(at(20)), 5);
        assert_eq!(window.fits_at(at(20), 5), at(20));
        assert_eq!(window.used(at(60)), 1);
        assert_eq!(window.used(at(70)), 0);
        window.change(second, 1, 9);
        assert_eq!(window.used(at(70)), 0, "what has left is not changed");
    }

    #[test]
    fn it_says_from_when_those_behind_fit() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(MINUTE, 2);
        // Nothing used: two now, two each minute.
        for (ahead, fits) in [(0, 5), (1, 5), (2, 65), (3, 65), (4, 125)] {
            assert_eq!(window.fits_behind(at(5), ahead), at(fits), "{ahead}");
        }
        window.take(at(0), 1);
        for (ahead, fits) in [(0, 5), (1, 60), (2, 65), (3, 120), (4, 125)] {
            assert_eq!(window.fits_behind(at(5), ahead), at(fits), "{ahead}");
        }
        window.take(at(4), 1);
        for (ahead, fits) in [(0, 60), (1, 64), (2, 120), (3, 124)] {
            assert_eq!(window.fits_behind(at(5), ahead), at(fits), "{ahead}");
        }
        // Lowered below what is used.
        window.set_limit(1);
        for (ahead, fits) in [(0, 64), (1, 124), (2, 184)] {
            assert_eq!(window.fits_behind(at(5), ahead), at(fits), "{ahead}");
        }
    }

    #[test]
    fn a_flood_takes_bounded_memory() {
        let start = Instant::now();
        let mut window = Window::new(MINUTE, 1_000_000);
        for step in 0..100_000 {
            window.take(start + Duration::from_micros(step * 600), 1);
        }
        assert_eq!(window.used(start + Duration::from_secs(59)), 100_000);
        assert!(window.log.len() <= GRAINS as usize + 1);
    }

    proptest! {
        /// In no span of a minute, wherever it begins, more than the limit, whatever is refunded.
        #[test]
        fn never_more_than_the_limit_in_any_minute(
            limit in 1_u64..20,
            steps in proptest::collection::vec((0_u64..20_000, 1_u64..8, 0_u64..8), 1..150),
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut window = Window::new(MINUTE, limit);
            let mut admitted: Vec<(Instant, u64)> = Vec::new();
            for (wait, amount, becomes) in steps {
                now += Duration::from_millis(wait);
                let amount = amount.min(limit);
                let fits = window.fits_at(now, amount);
                let bound = window.fits_behind(now, 0);
                prop_assert!(amount > 1 || bound <= fits, "a lower bound");
                if fits > now {
                    now = fits;
                    prop_assert!(window.fits_at(now, amount) <= now, "it fits when it said");
                }
                let id = window.take(now, amount);
                admitted.push((now, amount));
                if becomes < amount {
                    window.change(id, amount, becomes);
                    admitted.last_mut().unwrap().1 = becomes;
                }
                let used: u64 = admitted
                    .iter()
                    .filter(|(at, _)| *at + MINUTE > now)
                    .map(|(_, amount)| amount)
                    .sum();
                prop_assert!(used <= limit, "{used} of {limit}");
                prop_assert!(window.used(now) >= used);
            }
        }
    }
}
