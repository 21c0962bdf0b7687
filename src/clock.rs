//! Times for people to read: the user's own time of day, spans. What is reckoned with is UTC or monotonic.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// The zone of this machine. Without `TZ` it is read from `/etc/localtime` at once: asking for its name
/// would walk the whole database of zones first.
static ZONE: LazyLock<TimeZone> = LazyLock::new(|| {
    if std::env::var_os("TZ").is_none()
        && let Ok(bytes) = std::fs::read("/etc/localtime")
        && let Ok(zone) = TimeZone::tzif("Local", &bytes)
    {
        return zone;
    }
    TimeZone::system()
});

/// Now, in the user's time zone.
pub fn now() -> ZonedDateTime {
    local(Timestamp::now())
}

/// A moment in the user's time zone.
pub fn local(moment: Timestamp) -> ZonedDateTime {
    moment.to_zoned_datetime(ZONE.clone())
}

/// Now, as logs write it: `2026-11-24 14:03:20`.
pub fn stamp() -> String {
    now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A span in seconds, to the millisecond: `1.997`, `30`. What is left of a deadline has more digits than anybody
/// reads; what is not zero is not told as zero.
pub fn seconds(span: Duration) -> String {
    let ms = span.as_nanos().div_ceil(1_000_000);
    let (whole, part) = (ms / 1000, ms % 1000);
    if part == 0 {
        return whole.to_string();
    }
    let part = format!("{part:03}");
    format!("{whole}.{}", part.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_three_decimals_at_most() {
        for (nanos, expected) in [
            (0, "0"),
            (1, "0.001"),
            (998_678_699, "0.999"),
            (1_997_000_000, "1.997"),
            (1_999_999_999, "2"),
            (1_500_000_000, "1.5"),
            (2_010_000_000, "2.01"),
            (300_000_000_000, "300"),
        ] {
            assert_eq!(seconds(Duration::from_nanos(nanos)), expected);
        }
    }
}
