//! When a used-up limit is refilled, from the words that tell of it.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::{Timestamp, ToSpan, ZonedDateTime, civil, tz::TimeZone};
use regex::Regex;

/// No limit of a subscription lasts longer; what is told beyond this is misread.
const LONGEST: Duration = Duration::from_hours(9 * 24);

/// The time until a limit is refilled, as in `usage limit reached|1795400000`, `resets 12:00`,
/// `resets at 3pm (Europe/Berlin)`, `resets Oct 5 at 3:30pm` or `resets in 2h 30m`. A time of day
/// is the next one in the zone that is named, else in that of `now`.
pub(super) fn wait(text: &str, now: &ZonedDateTime) -> Option<Duration> {
    let seconds = epoch(text, now)
        .or_else(|| span(text))
        .or_else(|| clock(text, now))?;
    let wait = Duration::try_from_secs_f64(seconds).ok()?;
    (wait <= LONGEST).then_some(wait)
}

fn epoch(text: &str, now: &ZonedDateTime) -> Option<f64> {
    static EPOCH: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)(?:reached|resets?(?: at)?)\s*[|:]?\s*(\d{10})(\d{3})?\b").ok()
    });
    let found = EPOCH.as_ref()?.captures(text)?;
    let at: i64 = found.get(1)?.as_str().parse().ok()?;
    seconds_until(Timestamp::from_second(at).ok()?, now)
}

fn span(text: &str) -> Option<f64> {
    static SPAN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?i)resets? in\s+(?:(\d+)\s*d[a-z]*\s*)?(?:(\d+)\s*h[a-z]*\s*)?(?:(\d+)\s*m[a-z]*)?",
        )
        .ok()
    });
    let found = SPAN.as_ref()?.captures(text)?;
    let part = |at: usize| -> Option<f64> { found.get(at)?.as_str().parse().ok() };
    let parts = [(part(1), 86400.0), (part(2), 3600.0), (part(3), 60.0)];
    let any = parts.iter().any(|(part, _)| part.is_some());
    any.then(|| {
        parts
            .iter()
            .map(|(part, unit)| part.unwrap_or(0.0) * unit)
            .sum()
    })
}

fn clock(text: &str, now: &ZonedDateTime) -> Option<f64> {
    static CLOCK: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?i)resets?(?:\s+(?:at|on))?\s+(?:([a-z]{3})[a-z]*\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?(?:\s+at)?\s+)?(\d{1,2})(?::(\d{2}))?\s*(am|pm)?(?:\s*\(([A-Za-z0-9_+/-]+)\))?",
        )
        .ok()
    });
    let found = CLOCK.as_ref()?.captures(text)?;
    let part = |at: usize| found.get(at).map(|part| part.as_str());
    let (minute, half) = (part(4), part(5).map(str::to_lowercase));
    if minute.is_none() && half.is_none() {
        return None;
    }
    let hour: i8 = part(3)?.parse().ok()?;
    let hour = match half.as_deref() {
        Some("pm") if hour < 12 => hour + 12,
        Some("am") if hour == 12 => 0,
        _ => hour,
    };
    let minute: i8 = minute.unwrap_or("0").parse().ok()?;
    let zone = part(6)
        .and_then(|name| TimeZone::get(name).ok())
        .unwrap_or_else(|| now.time_zone().clone());
    let here = now.with_time_zone(zone.clone());
    let time = civil::Time::new(hour, minute, 0, 0).ok()?;
    let date = match (part(1), part(2)) {
        (Some(month), Some(day)) => {
            let date =
                civil::Date::new(here.year(), month_number(month)?, day.parse().ok()?).ok()?;
            // A date in the past is one of the next year: it is told in December.
            if date < here.date() {
                date.checked_add(1.year()).ok()?
            } else {
                date
            }
        }
        _ if time <= here.time() => here.date().tomorrow().ok()?,
        _ => here.date(),
    };
    let at = date.to_datetime(time).to_zoned_datetime(zone).ok()?;
    seconds_until(at.timestamp(), now)
}

fn month_number(name: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ];
    let at = MONTHS
        .iter()
        .position(|month| month.eq_ignore_ascii_case(name))?;
    i8::try_from(at + 1).ok()
}

fn seconds_until(at: Timestamp, now: &ZonedDateTime) -> Option<f64> {
    let seconds = at.duration_since(now.timestamp()).as_secs_f64();
    (seconds >= 0.0).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_times_are_read_in_every_form() {
        let now: ZonedDateTime = "2026-11-24T10:30:00+01:00[Europe/Berlin]".parse().unwrap();
        let minutes = |minutes: u64| Some(Duration::from_secs(minutes * 60));
        for (text, expected) in [
            ("You've hit your limit · resets 12:00", minutes(90)),
            ("5-hour limit reached ∙ resets 3pm", minutes(270)),
            ("limit reached, resets at 3:30pm.", minutes(300)),
            ("resets 9am", minutes(22 * 60 + 30)),
            ("resets 12am", minutes(13 * 60 + 30)),
            ("resets 12pm", minutes(90)),
            ("resets 5am (America/New_York)", minutes(30)),
            ("resets 10:30 (UTC)", minutes(60)),
            (
                "Weekly limit reached · resets Nov 26 at 10am",
                minutes(2 * 24 * 60 - 30),
            ),
            ("resets November 26, 10:30", minutes(2 * 24 * 60)),
            ("resets in 2h 30m", minutes(150)),
            ("resets in 45 minutes", minutes(45)),
            ("Claude AI usage limit reached|1795514400", minutes(30)),
            ("Claude AI usage limit reached|1795514400000", minutes(30)),
            ("usage limit reached|1695514400", None),
            ("resets soon", None),
            ("resets 2026", None),
            ("resets Mar 1 at 3pm", None),
            ("API Error: Request rejected (429)", None),
        ] {
            assert_eq!(wait(text, &now), expected, "{text}");
        }
        let new_year: ZonedDateTime = "2026-12-31T23:00:00+00:00[UTC]".parse().unwrap();
        assert_eq!(wait("resets Jan 1, 1am", &new_year), minutes(120));
    }
}
