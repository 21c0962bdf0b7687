//! The way back after a rate limit: nobody while it cools down, then one call to try, then the
//! others one by one, so that no herd follows.

use std::time::Duration;

use tokio::time::Instant;

/// Calls that are let go one by one are at least this far apart.
pub(super) const STEP: Duration = Duration::from_millis(20);

/// After this time without another rate limit the way is free again: the vendor's own window has
/// passed.
const PACED_FOR: Duration = Duration::from_mins(1);

/// A vendor refuses a request of too many within moments. One that was not refused by now passed.
const TRIAL: Duration = Duration::from_secs(1);

/// A server that says when to come back is believed up to this; then one call tries.
const LONGEST: Duration = Duration::from_hours(1);

/// How fast calls may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As fast as they come.
    Free,
    /// None before this instant, then one to try.
    Cooling { until: Instant },
    /// One tries; the others wait for what comes of it, at most until this instant.
    Trial { until: Instant },
    /// One by one until `end`.
    Paced { next: Instant, end: Instant },
}

impl Pace {
    /// When the next call may go: now or earlier when it may already.
    pub(super) fn opens_at(&mut self, now: Instant) -> Instant {
        match *self {
            Self::Trial { until } if until <= now => {
                *self = Self::paced(now);
                now
            }
            Self::Paced { end, .. } if end <= now => {
                *self = Self::Free;
                now
            }
            Self::Free => now,
            Self::Cooling { until } | Self::Trial { until } => until,
            Self::Paced { next, .. } => next,
        }
    }

    /// A call goes; tells whether it is the one that tries.
    pub(super) fn went(&mut self, now: Instant) -> bool {
        match self {
            Self::Free | Self::Trial { .. } => false,
            Self::Cooling { .. } => {
                *self = Self::Trial { until: now + TRIAL };
                true
            }
            Self::Paced { next, .. } => {
                *next = now + STEP;
                false
            }
        }
    }

    /// The server has refused a call as one too many, or told that the next would be.
    pub(super) fn cool(&mut self, now: Instant, wait: Duration) {
        let until = now + wait.min(LONGEST);
        match self {
            Self::Cooling { until: ours } => *ours = until.max(*ours),
            _ => *self = Self::Cooling { until },
        }
    }

    /// The call that tried was accepted.
    pub(super) fn tried(&mut self, now: Instant) {
        if let Self::Trial { .. } = self {
            *self = Self::paced(now + STEP);
        }
    }

    /// The call that tried was given up before anything came of it.
    pub(super) fn trial_lost(&mut self, now: Instant) {
        if let Self::Trial { .. } = self {
            *self = Self::Cooling { until: now };
        }
    }

    /// Lets calls go one by one from now on, unless they wait for something stricter.
    pub(super) fn slow_down(&mut self, now: Instant) {
        if matches!(self, Self::Free | Self::Paced { .. }) {
            *self = Self::paced(now);
        }
    }

    /// What is left of the cool-down.
    pub(super) fn cooling(&self, now: Instant) -> Option<Duration> {
        match self {
            Self::Cooling { until } if *until > now => Some(*until - now),
            _ => None,
        }
    }

    fn paced(next: Instant) -> Self {
        Self::Paced {
            next,
            end: next + PACED_FOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tries_then_the_others_follow_one_by_one_then_all() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::Free;
        pace.cool(start, Duration::from_secs(2));
        pace.cool(start, Duration::from_secs(1));
        assert_eq!(pace.opens_at(at(0)), at(2_000));
        assert_eq!(pace.cooling(at(500)), Some(Duration::from_millis(1_500)));
        assert!(pace.went(at(2_000)), "this one tries");
        assert_eq!(pace.opens_at(at(2_001)), at(3_000));
        pace.tried(at(2_100));
        assert_eq!(pace.opens_at(at(2_100)), at(2_120));
        assert!(!pace.went(at(2_120)));
        assert_eq!(pace.opens_at(at(2_120)), at(2_140));
        assert_eq!(pace.opens_at(at(62_120)), at(62_120));
        assert_eq!(pace, Pace::Free);
    }

    #[test]
    fn a_trial_that_is_not_refused_in_a_second_passed_and_a_lost_one_is_made_again() {
        let start = Instant::now();
        let later = start + TRIAL;
        let mut pace = Pace::Cooling { until: start };
        assert!(pace.went(start));
        assert_eq!(pace.opens_at(later), later);
        assert!(!pace.went(later));
        let mut pace = Pace::Cooling { until: start };
        assert!(pace.went(start));
        pace.trial_lost(start);
        assert!(pace.went(start), "the next one tries");
        pace.cool(start, TRIAL);
        assert_eq!(pace.opens_at(start), later, "it was refused");
    }

    #[test]
    fn slowing_down_does_not_shorten_a_cool_down_and_no_cool_down_is_longer_than_an_hour() {
        let start = Instant::now();
        let mut pace = Pace::Free;
        pace.cool(start, Duration::from_secs(1_000_000_000));
        pace.slow_down(start);
        assert_eq!(pace.opens_at(start), start + LONGEST);
        let mut pace = Pace::Free;
        pace.slow_down(start);
        assert_eq!(pace.opens_at(start), start);
        pace.went(start);
        assert_eq!(pace.opens_at(start), start + STEP);
    }
}
