//! The user's own time of day, for people to read. What is reckoned with is UTC or monotonic.

use std::sync::LazyLock;

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
