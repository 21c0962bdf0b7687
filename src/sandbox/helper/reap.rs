//! What the first process does while the program runs: reap, watch limits, pass signals on.

use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use super::super::plan::{Exceeded, Plan, Report, Request};
use super::channel::{receive, send};
use super::identity::leave;
use super::signals::Signals;
use super::watchdog::Watchdog;

/// How often limits are looked at.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Waits for the program and tells how it ended; with this process all others of the namespace end.
pub(super) fn stay(plan: &Plan, child: Pid, up: &OwnedFd) -> ! {
    let mut watchdog = Watchdog::new(plan);
    let ended = Signals::of(libc::SIGCHLD).map_or(
        Report::Ended {
            status: None,
            limit: None,
        },
        |signals| loop {
            if let Some(status) = reap(child) {
                break Report::Ended {
                    status: Some(status),
                    limit: None,
                };
            }
            let mut files = [
                PollFd::new(&signals, PollFlags::IN),
                PollFd::new(up, PollFlags::IN),
            ];
            match poll(&mut files, Some(&TICK)) {
                Ok(0) => {
                    if let Some(limit) = watchdog.tick() {
                        break ended_by(limit);
                    }
                }
                Ok(_) if files.get(1).is_some_and(|file| !file.revents().is_empty()) => {
                    match receive::<Request>(up) {
                        Ok(Some((Request::Signal(number), _))) => pass_on(child, number),
                        // The outer process is gone or wants the end.
                        _ => leave(1),
                    }
                }
                Ok(_) => signals.drain(),
                Err(_) => {}
            }
            if let Some(limit) = watchdog.when_due() {
                break ended_by(limit);
            }
        },
    );
    drop(send(up, &ended, &[]));
    leave(0)
}

fn ended_by(limit: Exceeded) -> Report {
    Report::Ended {
        status: None,
        limit: Some(limit),
    }
}

fn pass_on(child: Pid, number: i32) {
    if let Some(signal) = Signal::from_named_raw(number) {
        // Ended by itself meanwhile is as good.
        _ = kill_process(child, signal);
    }
}

/// Reaps whatever ended; the status of the program when that is among it.
fn reap(child: Pid) -> Option<i32> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            return Some(status.as_raw());
        }
    }
    None
}
