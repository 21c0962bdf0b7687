//! When a run has been silent for too long, as a pure function of what is known.

use std::time::Duration;

use tokio::time::Instant;

use crate::providers::Clocks;

use super::outcome::Stopped;

/// How long a run may go on after its result without saying anything.
pub(super) const AFTER_RESULT: Duration = Duration::from_secs(2);

/// How long a tool of the CLI's own may take, seconds: the limit that it is given, which is that of
/// `bash`.
pub(super) const TOOL_SECONDS: u64 = 120;

/// What the clocks look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// The start.
    pub(super) started: Instant,
    /// The last sign of progress of the model or a tool, once there was one.
    pub(super) progress: Option<Instant>,
    /// The last result line, unless another turn loop began since.
    pub(super) result: Option<Instant>,
    /// The end of a wait that the CLI told.
    pub(super) waits_until: Option<Instant>,
    /// Whether a tool runs.
    pub(super) in_tool: bool,
}

/// When a run is ended if nothing happens before, and why. The earliest clock counts.
pub(super) fn due(watch: &Watch, clocks: &Clocks) -> Option<(Instant, Stopped, Duration)> {
    let total = clocks
        .total
        .map(|total| (watch.started + total, Stopped::Deadline, total));
    let silence = if let Some(result) = watch.result {
        Some((result + AFTER_RESULT, Stopped::AfterResult, AFTER_RESULT))
    } else if let Some(progress) = watch.progress {
        clocks.idle.map(|idle| {
            let allowance = if watch.in_tool {
                Duration::from_secs(TOOL_SECONDS)
            } else {
                Duration::ZERO
            };
            let from = watch
                .waits_until
                .map_or(progress, |until| progress.max(until));
            (from + allowance + idle, Stopped::Idle, allowance + idle)
        })
    } else {
        clocks.first_event.map(|first| {
            let from = watch
                .waits_until
                .map_or(watch.started, |until| watch.started.max(until));
            (from + first, Stopped::FirstEvent, first)
        })
    };
    [total, silence]
        .into_iter()
        .flatten()
        .min_by_key(|(at, ..)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_clock_ends_a_run() {
        let started = Instant::now();
        let at = |seconds: u64| started + Duration::from_secs(seconds);
        let seconds = Duration::from_secs;
        let clocks = Clocks::default();
        let quiet = Watch {
            started,
            progress: None,
            result: None,
            waits_until: None,
            in_tool: false,
        };
        let spoke = Watch {
            progress: Some(at(10)),
            ..quiet
        };
        let long = Clocks {
            total: None,
            ..clocks
        };
        for (name, watch, clocks, expected) in [
            (
                "no event",
                quiet,
                clocks,
                Some((at(120), Stopped::FirstEvent, seconds(120))),
            ),
            (
                "silence",
                spoke,
                clocks,
                Some((at(70), Stopped::Idle, seconds(60))),
            ),
            (
                "in a tool",
                Watch {
                    in_tool: true,
                    ..spoke
                },
                clocks,
                Some((at(190), Stopped::Idle, seconds(180))),
            ),
            (
                "told wait",
                Watch {
                    waits_until: Some(at(40)),
                    ..spoke
                },
                clocks,
                Some((at(100), Stopped::Idle, seconds(60))),
            ),
            (
                "told wait at the start",
                Watch {
                    waits_until: Some(at(40)),
                    ..quiet
                },
                clocks,
                Some((at(160), Stopped::FirstEvent, seconds(120))),
            ),
            (
                "late",
                Watch {
                    progress: Some(at(280)),
                    ..spoke
                },
                clocks,
                Some((at(300), Stopped::Deadline, seconds(300))),
            ),
            (
                "no total",
                Watch {
                    progress: Some(at(280)),
                    ..spoke
                },
                long,
                Some((at(340), Stopped::Idle, seconds(60))),
            ),
            (
                "done",
                Watch {
                    result: Some(at(20)),
                    ..spoke
                },
                clocks,
                Some((at(22), Stopped::AfterResult, seconds(2))),
            ),
            ("no clocks", spoke, Clocks { idle: None, ..long }, None),
        ] {
            assert_eq!(due(&watch, &clocks), expected, "{name}");
        }
    }
}
