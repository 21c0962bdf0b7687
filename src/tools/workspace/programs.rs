//! Programs that ran in a workspace. What they changed is not kept, but it can be said which files that were.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use super::replace::is_temporary;
use crate::sandbox::Policy;

/// Entries that are looked at, at most.
const MOST: usize = 200_000;

/// Names that are kept of what was there before a program, about.
const MOST_NAMES: usize = 20_000;

/// How long they are looked for.
const LOOKING: Duration = Duration::from_millis(50);

/// How many directories are looked at however long that takes: on a busy machine a small workspace is known, too.
const AT_LEAST: usize = 32;

/// The names of files, by directory.
pub(super) type Names = Vec<(PathBuf, Vec<OsString>)>;

/// A program that ran, or runs.
#[derive(Debug)]
pub struct Program {
    words: String,
    roots: Vec<PathBuf>,
    /// The files that were there before, by directory, as far as they were looked at.
    before: Names,
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
    /// A program that begins now; `before` is what [`names`] were there, or nothing where a program ran before it
    /// whose changes are told together with its own.
    pub(super) fn start(policy: &Policy, words: String, before: Names) -> (Self, Running) {
        let until = Arc::new(OnceLock::new());
        let program = Self {
            words,
            before,
            roots: roots(policy),
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

/// The files that were there before the programs ran and are gone, whoever removed them: of what was removed only its
/// directory has a time, and that of its last change. They are looked for once: what was known of them before is
/// forgotten. Blocks for as long as the disk takes.
pub fn removed(programs: &mut [Program]) -> BTreeSet<PathBuf> {
    let before = programs
        .iter_mut()
        .flat_map(|program| std::mem::take(&mut program.before));
    let paths = before.flat_map(|(directory, names)| {
        let path = move |name| directory.join(name);
        names.into_iter().map(path)
    });
    paths
        .filter(|path| path.symlink_metadata().is_err())
        .collect()
}

/// Where a program may write.
fn roots(policy: &Policy) -> Vec<PathBuf> {
    let roots = [&policy.workspace].into_iter().chain(&policy.write);
    roots.cloned().collect()
}

/// The names of the files where a program may write, the nearest first: as many as are found in a moment, since a
/// command waits for it. Blocks for as long as the disk takes.
pub(super) fn names(policy: &Policy) -> Names {
    let until = Instant::now() + LOOKING;
    let mut directories = VecDeque::from(roots(policy));
    let (mut found, mut count) = (Vec::new(), 0);
    while let Some(directory) = directories.pop_front()
        && count < MOST_NAMES
        && (found.len() < AT_LEAST || Instant::now() < until)
    {
        let mut names = Vec::new();
        let entries = std::fs::read_dir(&directory).into_iter().flatten();
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != ".git" => {
                    directories.push_back(entry.path());
                }
                Ok(kind) if !kind.is_dir() && !is_temporary(&entry.file_name()) => {
                    names.push(entry.file_name());
                }
                _ => {}
            }
        }
        count += names.len();
        found.push((directory, names));
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
        let (program, running) = Program::start(&policy, "a command".to_owned(), names(&policy));
        assert_eq!(touched(&[program], &[]), BTreeSet::new());
        drop(running);
        let (program, running) = Program::start(&policy, "a command".to_owned(), names(&policy));
        std::fs::write(&path, "after").unwrap();
        drop(running);
        assert_eq!(touched(&[program], &[]), BTreeSet::from([path]));
    }

    #[test]
    fn what_a_program_removed_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let settings = SandboxSettings::default();
        let policy = Policy::new(directory.path(), Path::new("/nonexistent"), &settings).unwrap();
        std::fs::create_dir_all(path("whole/sub")).unwrap();
        // A tool that runs beside it writes a file just now.
        let temporary = ".new.orch-0123abcd";
        for name in ["gone", "stays", "whole/sub/x", temporary] {
            std::fs::write(path(name), "").unwrap();
        }
        let (program, running) = Program::start(&policy, "a command".to_owned(), names(&policy));
        let (second, also) = Program::start(&policy, "another".to_owned(), Names::new());
        std::fs::remove_file(path("gone")).unwrap();
        std::fs::remove_dir_all(path("whole")).unwrap();
        drop((running, also));
        // That tool ends after it, in the same directory.
        let ended = now_of_files();
        while now_of_files() <= ended {
            std::hint::spin_loop();
        }
        std::fs::rename(path(temporary), path("new")).unwrap();
        let mut programs = [program, second];
        let expected = BTreeSet::from([path("gone"), path("whole/sub/x")]);
        assert_eq!(removed(&mut programs), expected);
        assert_eq!(removed(&mut programs), BTreeSet::new());
    }
}
