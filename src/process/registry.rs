//! Children that outlived the program that started them: what to remember of a child, and how to end it
//! after a crash without ever hitting a stranger.

use super::table::{Process, processes};
use super::tree::{Tree, kill_one, members};

/// What a caller keeps of a running child, to find it again after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub pid: i32,
    /// When it started, in ticks from the start of the machine (field 22 of `/proc/PID/stat`).
    pub started: u64,
    /// The value of the marker variable in its environment and that of its descendants.
    pub marker: String,
}

/// Ends what is left of remembered children: processes that carry the marker, and their descendants. A
/// process that merely got the number of one is left alone, since it does not carry the marker. Tells
/// how many were ended.
pub fn end_leftovers(entries: &[Entry]) -> usize {
    /// A process that forks faster than it is found is found in a later round.
    const ROUNDS: usize = 20;
    let mut ended = 0;
    for _ in 0..ROUNDS {
        let table = processes();
        let left: Vec<&Process> = entries
            .iter()
            .flat_map(|entry| leftovers(&table, entry))
            .collect();
        if left.is_empty() {
            break;
        }
        ended += left.len();
        for process in left {
            kill_one(process);
        }
    }
    ended
}

/// What of a table belongs to a remembered child.
fn leftovers<'t>(table: &'t [Process], entry: &Entry) -> Vec<&'t Process> {
    let same = |process: &&Process| {
        process.pid == entry.pid
            && process.started == entry.started
            && process.marker.as_deref() == Some(&entry.marker)
    };
    let child = table.iter().find(same).map(|process| process.pid);
    let marker = &entry.marker;
    members(table, Tree { child, marker })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recycled_number_is_left_alone() {
        let process = |pid, started, marker: Option<&str>| Process {
            pid,
            parent: 1,
            session: pid,
            zombie: false,
            started,
            marker: marker.map(str::to_owned),
        };
        let entry = Entry {
            pid: 5,
            started: 100,
            marker: "m".to_owned(),
        };
        for (table, expected) in [
            (vec![process(5, 100, Some("m"))], 1),
            (vec![process(5, 200, None)], 0),
            (vec![process(5, 100, None)], 0),
            (vec![process(5, 200, Some("n"))], 0),
            (vec![process(5, 200, None), process(9, 300, Some("m"))], 1),
        ] {
            assert_eq!(leftovers(&table, &entry).len(), expected, "{table:?}");
        }
    }
}
