//! What `--since` and `--until` may say.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::Date;

use super::Filter;
use crate::costs::calendar::Day;

/// A text that names no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time such as 2026-11-24, 2026-11, today, 7d, 12h or 2026-11-24T10:00:00Z")]
pub struct PeriodError(String);

/// A period that has ended before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`since` is not before `until`, so nothing lies between them")]
pub struct Backward;

impl Filter {
    /// Lets through what can count anything: sums of nothing would be taken for what was spent.
    ///
    /// # Errors
    /// When it ends before it begins.
    pub fn ordered(self) -> Result<Self, Backward> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since >= until => Err(Backward),
            _ => Ok(self),
        }
    }
}

/// The first instant that `--since` means: the beginning of a day or month (UTC), an instant, or a
/// while ago.
///
/// # Errors
/// When the text names no time.
pub fn since(text: &str, now: SystemTime) -> Result<SystemTime, PeriodError> {
    parse(text, now).map(|period| period.from)
}

/// The first instant that `--until` leaves out: the end of a day or month (UTC), an instant, or a
/// while ago.
///
/// # Errors
/// When the text names no time.
pub fn until(text: &str, now: SystemTime) -> Result<SystemTime, PeriodError> {
    parse(text, now).map(|period| period.to)
}

struct Period {
    from: SystemTime,
    to: SystemTime,
}

fn parse(text: &str, now: SystemTime) -> Result<Period, PeriodError> {
    let day = |day: Day| Period {
        from: day.start(),
        to: day.end(),
    };
    let instant = |time: SystemTime| Period {
        from: time,
        to: time,
    };
    let text = text.trim();
    match text {
        "today" => return Ok(day(Day::of(now))),
        "yesterday" => return Ok(day(Day::of(now).previous())),
        "now" => return Ok(instant(now)),
        _ => {}
    }
    if let Some(date) = date(text) {
        return Ok(day(Day::from(date)));
    }
    if let Some(date) = date(&format!("{text}-01")) {
        let first = Day::from(date);
        return Ok(Period {
            from: first.start(),
            to: first.last_of_month().end(),
        });
    }
    if let Some(time) = text.parse::<Timestamp>().ok().and_then(|time| {
        let since_1970 = u64::try_from(time.as_millisecond()).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since_1970))
    }) {
        return Ok(instant(time));
    }
    ago(text)
        .and_then(|ago| now.checked_sub(ago))
        .map(instant)
        .ok_or_else(|| PeriodError(text.to_owned()))
}

/// `2026-11-24` and nothing behind it.
fn date(text: &str) -> Option<Date> {
    text.parse().ok().filter(|_| text.len() == 10)
}

/// `7d`, `12h`, `30m`.
fn ago(text: &str) -> Option<Duration> {
    let (number, seconds) = [("d", 86_400), ("h", 3_600), ("m", 60)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    let number: u64 = number.parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_are_whole_and_the_rest_are_instants() {
        let at = |text: &str| since(text, SystemTime::UNIX_EPOCH).unwrap();
        let now = at("2026-11-24T10:30:00Z");
        for (text, from, to) in [
            ("2026-11-24", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
            ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("today", "2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z"),
            ("yesterday", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"),
            ("now", "2026-11-24T10:30:00Z", "2026-11-24T10:30:00Z"),
            ("7d", "2026-11-17T10:30:00Z", "2026-11-17T10:30:00Z"),
            ("12h", "2026-11-23T22:30:00Z", "2026-11-23T22:30:00Z"),
            ("30m", "2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z"),
            (
                "2026-11-24T12:00:00+02:00",
                "2026-11-24T10:00:00Z",
                "2026-11-24T10:00:00Z",
            ),
        ] {
            assert_eq!(since(text, now), Ok(at(from)), "{text}");
            assert_eq!(until(text, now), Ok(at(to)), "{text}");
        }
        for text in [
            "",
            "soon",
            "2026-13-01",
            "2026",
            "-3d",
            "3",
            "99999999999999999999d",
            "d",
        ] {
            assert_eq!(since(text, now), Err(PeriodError(text.to_owned())));
        }
    }
    /// Neither is a time that the calendar of instants still has.
    #[test]
    fn the_last_day_and_month_there_are_end_like_any_other() {
        let seconds = |seconds| Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let end = 253_402_300_800;
        for (text, from) in [("9999-12-31", end - 86_400), ("9999-12", end - 31 * 86_400)] {
            assert_eq!(since(text, SystemTime::UNIX_EPOCH), seconds(from), "{text}");
            assert_eq!(until(text, SystemTime::UNIX_EPOCH), seconds(end), "{text}");
        }
        for text in ["1969-12-31", "0000-01"] {
            assert_eq!(since(text, SystemTime::UNIX_EPOCH), seconds(0), "{text}");
        }
    }
}
