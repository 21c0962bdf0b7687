//! The processes of this machine as `/proc` tells them.

/// The variable that marks a child and every descendant that keeps its environment.
pub const MARKER: &str = "ORCH_CHILD";

/// A process. Numbers of what stands outside of this process's container are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// Whether it ended and only waits to be reaped.
    pub(super) zombie: bool,
    /// Ticks from the start of the machine: with the number, the name of one process.
    pub(super) started: u64,
    /// The value of [`MARKER`] in its environment, where that can be read.
    pub(super) marker: Option<String>,
}

/// All processes that can be seen.
pub(super) fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// This process and its descendants: whatever a child of a subreaper starts stays below it. Takes the longer
/// the more they are, however many processes the machine has.
pub(super) fn family() -> Vec<Process> {
    if !std::path::Path::new("/proc/thread-self/children").exists() {
        // The kernel was built without these lists.
        return processes();
    }
    let mut found = Vec::new();
    let mut pids = vec![i32::try_from(std::process::id()).unwrap_or(0)];
    while let Some(pid) = pids.pop() {
        pids.extend(children(pid));
        found.extend(process(pid));
    }
    found
}

/// The children of all threads of a process, unreaped ones included; none of one that is gone.
fn children(pid: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let lists =
        threads.into_iter().flatten().flatten().map(|thread| {
            std::fs::read_to_string(thread.path().join("children")).unwrap_or_default()
        });
    lists
        .flat_map(|list| {
            let pids = list.split_whitespace().map(str::parse);
            pids.collect::<Vec<Result<i32, _>>>()
        })
        .flatten()
        .collect()
}

/// A process; `None` for one that is gone.
pub(super) fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let process = parse_stat(pid, &stat)?;
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    Some(Process {
        marker: marker(&environment),
        ..process
    })
}

/// When a process started, in ticks from the start of the machine; `None` for one that is gone.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &stat).map(|process| process.started)
}

/// Whether this very process is there and has not ended.
pub(super) fn runs(pid: i32, started: u64) -> bool {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    parse_stat(pid, &stat).is_some_and(|process| process.started == started && !process.zombie)
}

/// The name in parentheses may hold anything, so the fields are counted from its end.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let started = fields.nth(15)?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        group,
        session,
        zombie,
        started,
        marker: None,
    })
}

fn marker(environment: &[u8]) -> Option<String> {
    environment.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable
            .strip_prefix(MARKER.as_bytes())?
            .strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line = b"7 (a) S 1 (b) R 3 4 5 6 -1 8 9 10 11 12 13 14 15 16 17 18 19 20 4242 22\n";
        let expected = Process {
            pid: 7,
            parent: 3,
            group: 4,
            session: 5,
            zombie: false,
            started: 4242,
            marker: None,
        };
        assert_eq!(parse_stat(7, line), Some(expected));
        let ended = b"7 (a) Z 3 4 5 6 -1 8 9 10 11 12 13 14 15 16 17 18 19 20 4242";
        assert!(parse_stat(7, ended).unwrap().zombie);
        assert_eq!(parse_stat(7, b"7 (a"), None);
        assert_eq!(parse_stat(7, b""), None);
    }

    #[test]
    fn markers() {
        assert_eq!(marker(b"A=1\0ORCH_CHILD=x\0"), Some("x".to_owned()));
        assert_eq!(marker(b"NOT_ORCH_CHILD=x\0ORCH_CHILDREN=y\0"), None);
    }

    #[test]
    fn a_family_is_this_process_and_what_descends_from_it() {
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that is none of the children"
        )]
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 300 & wait"])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut below = Vec::new();
        while below.is_empty() {
            let family = family();
            assert!(family.iter().all(|process| process.pid != 1));
            assert!(family.iter().any(|process| process.pid == pid));
            below = family
                .into_iter()
                .filter(|process| process.parent == pid)
                .collect();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        super::super::tree::kill_one(&below[0]);
    }

    #[test]
    fn this_process_is_found() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let found = processes()
            .into_iter()
            .find(|process| process.pid == pid)
            .unwrap();
        assert_eq!(Some(found.started), start_time(pid));
        assert_eq!(
            found.parent,
            i32::try_from(std::os::unix::process::parent_id()).unwrap()
        );
    }
}
