//! Programs that ran in a workspace. What they changed is not kept, but it can be said which files that were.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use crate::sandbox::Policy;

/// Entries that are looked at, at most.
const MOST: usize = 200_000;

/// A program that ran, or runs.
#[derive(Debug)]
pub struct Program {
    words: String,
    roots: Vec<PathBuf>,
    /// By the clock of files.
    from: SystemTime,
    until: Arc<OnceLock<SystemTime>>,
}

/// A program is at work while this lives.
#[derive(Debug)]
#[must_use = "the program ends with it"]
pub struct Running(Option<Arc<OnceLock<SystemTime>>>);

impl Running {
    /// Nobody wants to know.
    pub(super) fn unnoticed() -> Self {
        Self(None)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(until) = &self.0 {
            // It ends once.
            _ = until.set(SystemTime::now());
        }
    }
}

impl Program {
    pub(super) fn start(policy: &Policy, words: String) -> (Self, Running) {
        let until = Arc::new(OnceLock::new());
        let program = Self {
            words,
            roots: [&policy.workspace]
                .into_iter()
                .chain(&policy.write)
                .cloned()
                .collect(),
            from: now_of_files(),
            until: Arc::clone(&until),
        };
        (program, Running(Some(until)))
    }

    /// What was run; masked.
    pub fn words(&self) -> &str {
        &self.words
    }

    fn ran_at(&self, time: SystemTime) -> bool {
        let until = self.until.get().copied().unwrap_or_else(SystemTime::now);
        time >= self.from && time <= until
    }
}

/// The files that were changed while one of the programs ran, whoever did it, below the directories that the programs
/// could write to. Repositories of Git are left out, and directories of others. Blocks for as long as the disk takes.
pub fn touched(programs: &[Program], others: &[&Path]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut directories: Vec<PathBuf> = Vec::new();
    for root in programs.iter().flat_map(|program| &program.roots) {
        if !directories.contains(root) {
            directories.push(root.clone());
        }
    }
    let mut looked = 0;
    while let Some(directory) = directories.pop() {
        // What cannot be read, or is gone by now, has nothing to tell.
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        let mut inside = false;
        for entry in entries.flatten() {
            looked += 1;
            if looked > MOST {
                return found;
            }
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                let path = entry.path();
                if entry.file_name() != ".git" && !others.contains(&path.as_path()) {
                    directories.push(path);
                }
            } else if ran_at_change(programs, &meta) {
                inside = true;
                found.insert(entry.path());
            }
        }
        // A file that was removed leaves its mark on the directory.
        if !inside && is_changed(programs, &directory) {
            found.insert(directory.join(""));
        }
    }
    found
}

fn is_changed(programs: &[Program], directory: &Path) -> bool {
    directory
        .symlink_metadata()
        .is_ok_and(|meta| ran_at_change(programs, &meta))
}

fn ran_at_change(programs: &[Program], meta: &Metadata) -> bool {
    let time = since_1970(meta.ctime(), meta.ctime_nsec());
    time.is_some_and(|time| programs.iter().any(|program| program.ran_at(time)))
}

/// The time that a file has which is changed now, at least: the clock of files goes in steps, of up to ten
/// milliseconds.
///
/// Source: clock_gettime(2), `CLOCK_REALTIME_COARSE`; Linux, `ktime_get_coarse_real_ts64` in `current_time`.
fn now_of_files() -> SystemTime {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    since_1970(now.tv_sec, now.tv_nsec).unwrap_or_else(SystemTime::now)
}

fn since_1970(seconds: i64, nanos: i64) -> Option<SystemTime> {
    let since = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
    UNIX_EPOCH.checked_add(since)
}

#[cfg(test)]
mod tests {
    use crate::sandbox::SandboxSettings;

    use super::*;

    #[test]
    fn what_was_changed_a_moment_before_is_no_change_of_the_program() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let settings = SandboxSettings::default();
        let policy = Policy::new(directory.path(), Path::new("/nonexistent"), &settings).unwrap();
        std::fs::write(&path, "before").unwrap();
        let meta = path.metadata().unwrap();
        let changed = since_1970(meta.ctime(), meta.ctime_nsec()).unwrap();
        // The next step of the clock.
        while now_of_files() <= changed {
            std::hint::spin_loop();
        }
        let (program, running) = Program::start(&policy, "a command".to_owned());
        assert_eq!(touched(&[program], &[]), BTreeSet::new());
        drop(running);
        let (program, running) = Program::start(&policy, "a command".to_owned());
        std::fs::write(&path, "after").unwrap();
        drop(running);
        assert_eq!(touched(&[program], &[]), BTreeSet::from([path]));
    }
}
