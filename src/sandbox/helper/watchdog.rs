//! Limits that the kernel does not keep for us: memory and disk summed over all processes.

use std::fs;
use std::time::Duration;

use rustix::fs::{StatVfs, statvfs};
use rustix::time::{ClockId, clock_gettime};

use super::super::plan::{Exceeded, Plan};
use super::super::settings::Tier;

/// Looks at the processes of this namespace and at the disk.
pub(super) struct Watchdog<'a> {
    plan: &'a Plan,
    free_at_start: Option<u64>,
    private_tmp: bool,
    started: std::time::SystemTime,
    next: Duration,
}

/// How often it looks.
const INTERVAL: Duration = Duration::from_millis(100);

impl<'a> Watchdog<'a> {
    pub(super) fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            free_at_start: free(plan),
            private_tmp: plan.tier == Tier::Full && !plan.whole_disk,
            started: std::time::SystemTime::now(),
            next: now() + INTERVAL,
        }
    }

    /// Looks if it is time to.
    pub(super) fn when_due(&mut self) -> Option<Exceeded> {
        if now() < self.next { None } else { self.tick() }
    }

    /// Looks now.
    pub(super) fn tick(&mut self) -> Option<Exceeded> {
        if self.plan.tier == Tier::Off {
            return None;
        }
        self.next = now() + INTERVAL;
        let limits = &self.plan.limits;
        let processes = if self.plan.tier == Tier::Full {
            processes()
        } else {
            crate::process::descendants()
                .iter()
                .map(i32::to_string)
                .collect()
        };
        if processes.len() as u64 > limits.processes * 2 {
            return Some(Exceeded::Processes);
        }
        // What is private is quick to know but counts what forked processes share; the exact share is slow
        // to know, so it is asked for only near the limit.
        let temporary = if self.private_tmp { temporary_use() } else { 0 };
        let private: u64 = processes.iter().map(|pid| private_memory(pid)).sum();
        if private + temporary > limits.memory {
            let exact: u64 = processes.iter().map(|pid| proportional_memory(pid)).sum();
            if exact + temporary > limits.memory {
                return Some(Exceeded::Memory);
            }
        }
        if let (Some(before), Some(free)) = (self.free_at_start, free(self.plan))
            && before.saturating_sub(free) > limits.disk
        {
            // Somebody else may have filled the disk: what counts is what changed in the workspace.
            let grown = grown(self.plan, self.started) + unlinked(&processes);
            if grown > limits.disk {
                return Some(Exceeded::Disk);
            }
            self.free_at_start = Some(free.saturating_add(grown));
        }
        None
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// What an entry of a file system takes at least: empty files fill a disk too, since it has only so many.
const ENTRY: u64 = 4096;

/// Bytes that are free, and entries as bytes.
fn free(plan: &Plan) -> Option<u64> {
    let StatVfs {
        f_bfree,
        f_frsize,
        f_ffree,
        ..
    } = statvfs(plan.workspace.path()).ok()?;
    // Some file systems have no number of entries, or a number beyond all bounds.
    Some((f_bfree * f_frsize).saturating_add(f_ffree.saturating_mul(ENTRY)))
}

/// Bytes in the private temporary directories, which are memory.
fn temporary_use() -> u64 {
    statvfs("/tmp").map_or(0, |stat| {
        (stat.f_blocks.saturating_sub(stat.f_bfree)) * stat.f_frsize
    })
}

fn processes() -> Vec<String> {
    fs::read_dir("/proc").map_or_else(
        |_| Vec::new(),
        |entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
                .collect()
        },
    )
}

/// Bytes of a process that are no file's.
fn private_memory(pid: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = text
        .split_whitespace()
        .map(|pages| pages.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (pages.nth(1).unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

/// Bytes of a process, what it shares divided among those that share it.
fn proportional_memory(pid: &str) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).map_or_else(
        |_| private_memory(pid),
        |text| {
            let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            number.map_or_else(|| private_memory(pid), |kilobytes| kilobytes * 1024)
        },
    )
}

/// Bytes on disk of what changed in the workspace since, and as many for each entry as it takes at least.
fn grown(plan: &Plan, since: std::time::SystemTime) -> u64 {
    let mut bytes = 0;
    let mut open = vec![plan.workspace.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                open.push(entry.path());
            }
            if changed(&metadata) >= since {
                use std::os::unix::fs::MetadataExt as _;
                bytes += metadata.blocks() * 512 + ENTRY;
            }
        }
    }
    bytes
}

fn changed(metadata: &fs::Metadata) -> std::time::SystemTime {
    use std::os::unix::fs::MetadataExt as _;
    let (seconds, rest) = (metadata.ctime().unsigned_abs(), metadata.ctime_nsec());
    std::time::UNIX_EPOCH + Duration::new(seconds, u32::try_from(rest).unwrap_or(0))
}

/// Bytes on disk of files that have no name any more but are open.
fn unlinked(processes: &[String]) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut seen = std::collections::BTreeMap::new();
    for pid in processes {
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Ok(metadata) = fs::metadata(entry.path())
                && metadata.is_file()
                && metadata.nlink() == 0
            {
                seen.insert((metadata.dev(), metadata.ino()), metadata.blocks() * 512);
            }
        }
    }
    seen.values().sum()
}
