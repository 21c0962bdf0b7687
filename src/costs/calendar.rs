//! Days and months, UTC.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

/// A day, UTC; displayed as `YYYY-MM-DD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(Date);

impl Day {
    /// The day of a time.
    pub(super) fn of(time: SystemTime) -> Self {
        Self(jiff::tz::Offset::UTC.to_datetime(timestamp(time)).date())
    }

    /// `YYYY-MM`.
    pub(super) fn month(self) -> String {
        format!("{:04}-{:02}", self.0.year(), self.0.month())
    }

    /// The day so many days after 1 January 1970.
    pub(super) fn number(days: i64) -> Self {
        Self::of(from_milliseconds(days.saturating_mul(86_400_000)))
    }

    pub(super) fn previous(self) -> Self {
        Self(self.0.saturating_sub(1.day()))
    }

    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1.day()))
    }

    /// The first day of the next month.
    pub(super) fn next_month(self) -> Self {
        Self(self.0.first_of_month().saturating_add(1.month()))
    }

    /// The last day of its month.
    pub(super) fn last_of_month(self) -> Self {
        Self(self.0.last_of_month())
    }

    /// Its first instant. It is counted in days, since the last ones there are have instants that no [`Timestamp`]
    /// names. One before 1970 counts as the first instant of that year.
    pub(super) fn start(self) -> SystemTime {
        let since = self.0.duration_since(Date::constant(1970, 1, 1));
        UNIX_EPOCH + Duration::try_from(since).unwrap_or_default()
    }

    /// The first instant after it.
    pub(super) fn end(self) -> SystemTime {
        let next = self.0.duration_since(Date::constant(1969, 12, 31));
        UNIX_EPOCH + Duration::try_from(next).unwrap_or_default()
    }

    /// `YYYY-MM-DD HH:MM UTC`.
    pub(super) fn minute_of(time: SystemTime) -> String {
        let time = jiff::tz::Offset::UTC.to_datetime(timestamp(time));
        format!(
            "{} {:02}:{:02} UTC",
            time.date(),
            time.hour(),
            time.minute()
        )
    }
}

impl From<Date> for Day {
    fn from(date: Date) -> Self {
        Self(date)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As the ledger keeps it: a clock before 1970 counts as its first instant, here as in the rows.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from_millisecond(milliseconds(time)).unwrap_or(Timestamp::MAX)
}

/// Milliseconds since 1970, as the ledger keeps times.
pub(super) fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The time of a number of milliseconds since 1970.
pub(super) fn from_milliseconds(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}

/// The RFC 3339 form of a number of milliseconds since 1970.
pub(super) fn rfc3339(milliseconds: i64) -> String {
    let time = Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}
