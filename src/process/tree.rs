//! Ending a child and everything that it started.

use std::collections::BTreeSet;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, wait};

use super::table::{Process, family, runs, start_time};

/// What belongs to one child: its own number, where it still runs, and its marker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree<'a> {
    /// The child itself, only while it is not reaped: afterwards the number is anybody's.
    pub(super) child: Option<i32>,
    pub(super) marker: &'a str,
}

/// Kills every process of the tree that is found now; tells how many there were. A process that forks
/// faster than it is found is found in the next round.
pub(super) fn kill(tree: Tree<'_>) -> usize {
    let table = family();
    let doomed = members(&table, tree);
    for process in &doomed {
        kill_one(process);
    }
    doomed.len()
}

/// The descendants of this process that still run.
pub(crate) fn descendants() -> Vec<i32> {
    below(&family()).iter().map(|process| process.pid).collect()
}

/// Kills all descendants of this process, which must be a subreaper with no other way to reap, and reaps them.
pub(crate) fn end_descendants() {
    loop {
        for process in below(&family()) {
            kill_one(process);
        }
        // Until there is none left; one that was killed ends soon.
        match wait(WaitOptions::empty()) {
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
}

/// The descendants of this process in a table.
fn below(table: &[Process]) -> Vec<&Process> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    with_descendants(table, BTreeSet::from([own]))
}

/// The living processes of these numbers and all that descend from them, but for this process itself.
fn with_descendants(table: &[Process], mut pids: BTreeSet<i32>) -> Vec<&Process> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    loop {
        let before = pids.len();
        let children = table
            .iter()
            .filter(|process| pids.contains(&process.parent));
        pids.extend(children.map(|process| process.pid).collect::<Vec<_>>());
        if pids.len() == before {
            break;
        }
    }
    table
        .iter()
        .filter(|process| process.pid != own && !process.zombie && pids.contains(&process.pid))
        .collect()
}

/// A child of this process and all that descended from it at one moment.
#[derive(Debug)]
pub(crate) struct Family(Vec<Process>);

impl Family {
    /// The family of a child that is not reaped.
    pub(crate) fn of(child: u32) -> Self {
        let table = family();
        let child = i32::try_from(child).unwrap_or_default();
        let members = with_descendants(&table, BTreeSet::from([child]));
        Self(members.into_iter().cloned().collect())
    }

    /// Whether none of them runs any more.
    pub(crate) fn is_gone(&self) -> bool {
        let mut members = self.0.iter();
        !members.any(|process| runs(process.pid, process.started))
    }

    /// Sends a signal to those that still run.
    pub(crate) fn signal(&self, signal: Signal) {
        for process in &self.0 {
            send(process, signal);
        }
    }
}

/// Kills exactly this process, not one that got its number since.
pub(super) fn kill_one(process: &Process) {
    send(process, Signal::KILL);
}

fn send(process: &Process, signal: Signal) {
    // The handle is of one process; the start time tells that it is the one that was looked at.
    if let Some(pid) = Pid::from_raw(process.pid)
        && let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
        && start_time(process.pid) == Some(process.started)
    {
        // Gone by itself is as good.
        _ = pidfd_send_signal(handle, signal);
    }
}

/// The processes of a tree: the child, what carries the marker, what is in the child's session, and all
/// descendants of those.
pub(super) fn members<'t>(table: &'t [Process], tree: Tree<'_>) -> Vec<&'t Process> {
    with_descendants_of(table, |process| {
        process.marker.as_deref() == Some(tree.marker)
            || tree.child == Some(process.pid)
            || tree.child == Some(process.session)
    })
}

/// The processes with one of the markers that are asked for, and all descendants of those.
pub(super) fn marked(table: &[Process], wanted: impl Fn(&str) -> bool) -> Vec<&Process> {
    with_descendants_of(table, |process| {
        process.marker.as_deref().is_some_and(&wanted)
    })
}

fn with_descendants_of(table: &[Process], wanted: impl Fn(&Process) -> bool) -> Vec<&Process> {
    let pids = table.iter().filter(|process| wanted(process));
    with_descendants(table, pids.map(|process| process.pid).collect())
}

/// Orphans that this process adopted as a subreaper: its children in sessions of their own that it did not
/// start.
pub(super) fn adopted<'t>(table: &'t [Process], own: i32, started: &[i32]) -> Vec<&'t Process> {
    let session = table
        .iter()
        .find(|process| process.pid == own)
        .map(|process| process.session);
    table
        .iter()
        .filter(|process| {
            process.parent == own
                && Some(process.session) != session
                && !started.contains(&process.pid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, session: i32, marker: Option<&str>) -> Process {
        Process {
            pid,
            parent,
            group: session,
            session,
            zombie: false,
            started: 1,
            marker: marker.map(str::to_owned),
        }
    }

    #[test]
    fn a_tree_is_found_by_parent_session_and_marker() {
        let table = [
            process(10, 1, 10, None),       // this program
            process(20, 10, 20, Some("m")), // the child
            process(21, 20, 20, None),      // its child, environment cleared
            process(22, 21, 22, None),      // and its, in a session of its own
            process(23, 10, 23, Some("m")), // adopted, marked
            process(24, 23, 24, None),      // below the adopted one
            process(25, 10, 20, None),      // adopted, still in the session
            process(30, 10, 30, Some("n")), // another child
            process(31, 1, 31, None),       // a stranger
        ];
        let pids = |child, marker| {
            members(&table, Tree { child, marker })
                .iter()
                .map(|process| process.pid)
                .collect::<Vec<_>>()
        };
        assert_eq!(pids(Some(20), "m"), [20, 21, 22, 23, 24, 25]);
        assert_eq!(pids(None, "m"), [20, 21, 22, 23, 24]);
        assert_eq!(pids(None, "n"), [30]);
        assert_eq!(pids(None, "other"), [0; 0]);
        let adopted: Vec<i32> = adopted(&table, 10, &[20, 30])
            .iter()
            .map(|process| process.pid)
            .collect();
        assert_eq!(adopted, [23, 25]);
    }
}
