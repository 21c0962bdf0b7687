//! Children that outlive the program that started them: how a program is remembered before it starts the
//! first one, and how a later one ends what was left, without ever hitting a stranger.
//!
//! Every child carries a marker that begins with the mark of its program, so that one entry for a program is
//! enough for all its children, whenever they were started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::table::{processes, runs, start_time};
use super::tree::{kill_one, marked};

/// A program that starts children, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What the markers of its children begin with; nobody can guess it.
    pub mark: String,
    /// Its number.
    pub pid: i32,
    /// When it started, in ticks from the start of the machine (field 22 of `/proc/PID/stat`).
    pub started: i64,
    /// The start of the machine, as the kernel names it.
    pub boot: String,
    /// The namespace that its number is of.
    pub namespace: String,
}

/// What became of a remembered program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs, or that cannot be known from here.
    MayRun,
    /// It ended; children of it may be left.
    Ended,
    /// The machine was started again since: nothing is left.
    LongGone,
}

/// Whether this program is noted.
#[derive(Default)]
enum Note {
    #[default]
    Unwanted,
    Wanted(Box<dyn FnOnce(Program) + Send>),
    Taken,
}

static NOTE: Mutex<Note> = Mutex::new(Note::Unwanted);
static MARK: OnceLock<String> = OnceLock::new();
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What ends the markers of children that clean up and end by themselves when their program is gone.
const ENDS_ITSELF: char = 'e';

/// How often it is looked whether such a child is done by itself, whether anything is left at all, and how
/// long between: two seconds, and half of one.
const PATIENT_LOOKS: u32 = 200;
const LOOKS: u32 = 250;
const BETWEEN: Duration = Duration::from_millis(10);

/// Has this program noted before its next child starts, if one ever does.
pub fn before_first_child(note: impl FnOnce(Program) + Send + 'static) {
    *self::note() = Note::Wanted(Box::new(note));
}

/// Gives that up; tells what was noted of this program, if it was.
pub fn after_last_child() -> Option<Program> {
    match std::mem::take(&mut *note()) {
        Note::Taken => Some(Program::this()),
        Note::Unwanted | Note::Wanted(_) => None,
    }
}

/// The marker of the next child; the first one has this program noted.
pub(super) fn next_marker(ends_itself: bool) -> String {
    let mut note = note();
    if matches!(*note, Note::Wanted(_))
        && let Note::Wanted(write) = std::mem::replace(&mut *note, Note::Taken)
    {
        write(Program::this());
    }
    drop(note);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let end = if ends_itself { ENDS_ITSELF } else { 'k' };
    format!("{}-{number}{end}", mark())
}

fn note() -> MutexGuard<'static, Note> {
    NOTE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn mark() -> &'static str {
    MARK.get_or_init(|| uuid::Uuid::new_v4().simple().to_string())
}

impl Program {
    /// This program.
    pub fn this() -> Self {
        let pid = i32::try_from(std::process::id()).unwrap_or(0);
        let (boot, namespace) = here();
        Self {
            mark: mark().to_owned(),
            pid,
            started: start_time(pid)
                .and_then(|ticks| ticks.try_into().ok())
                .unwrap_or(0),
            boot,
            namespace,
        }
    }

    /// What became of it. A number that somebody else has now is not taken for it.
    pub fn fate(&self) -> Fate {
        let (boot, namespace) = here();
        if self.boot != boot {
            Fate::LongGone
        } else if self.namespace != namespace || self.runs() {
            Fate::MayRun
        } else {
            Fate::Ended
        }
    }

    /// Ends what is left of its children: processes that carry its mark, and their descendants. One that
    /// merely has the number of a child is left alone, since it does not carry the mark. Those that clean up
    /// by themselves get the time for it, which this waits for. Tells whether nothing is left.
    pub fn end_leftovers(&self) -> bool {
        for look in 1..=LOOKS {
            let table = processes();
            if marked(&table, |marker| self.kind(marker).is_some()).is_empty() {
                return true;
            }
            let doomed = |marker: &str| match self.kind(marker) {
                Some(Kind::EndsItself) => look > PATIENT_LOOKS,
                Some(Kind::Killed) => true,
                None => false,
            };
            for process in marked(&table, doomed) {
                kill_one(process);
            }
            pause();
        }
        false
    }

    fn runs(&self) -> bool {
        u64::try_from(self.started).is_ok_and(|started| runs(self.pid, started))
    }

    /// What a marker says of a child, where it is one of this program.
    fn kind(&self, marker: &str) -> Option<Kind> {
        let rest = marker.strip_prefix(&self.mark)?.strip_prefix('-')?;
        Some(if rest.ends_with(ENDS_ITSELF) {
            Kind::EndsItself
        } else {
            Kind::Killed
        })
    }
}

/// How a child ends when its program is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    EndsItself,
    Killed,
}

/// The start of the machine and the namespace of the numbers of processes.
fn here() -> (String, String) {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    (
        boot.trim().to_owned(),
        namespace.to_string_lossy().into_owned(),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "only after a crash, before anything else runs"
)]
fn pause() {
    std::thread::sleep(BETWEEN);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_from_others_with_its_number() {
        let this = Program::this();
        assert!(this.started > 0 && !this.boot.is_empty() && !this.namespace.is_empty());
        let other = |change: fn(&mut Program)| {
            let mut other = this.clone();
            change(&mut other);
            other.fate()
        };
        assert_eq!(this.fate(), Fate::MayRun);
        assert_eq!(other(|other| other.started -= 1), Fate::Ended);
        assert_eq!(other(|other| other.pid = i32::MAX), Fate::Ended);
        assert_eq!(
            other(|other| {
                other.pid = i32::MAX;
                other.namespace = "pid:[1]".to_owned();
            }),
            Fate::MayRun
        );
        assert_eq!(other(|other| other.boot.push('x')), Fate::LongGone);
    }

    #[test]
    fn children_are_known_by_the_whole_mark() {
        let program = Program {
            mark: "abc".to_owned(),
            ..Program::this()
        };
        for (marker, kind) in [
            ("abc-0k", Some(Kind::Killed)),
            ("abc-17e", Some(Kind::EndsItself)),
            ("abcd-0k", None),
            ("abc", None),
            ("", None),
            ("xabc-0k", None),
        ] {
            assert_eq!(program.kind(marker), kind, "{marker}");
        }
    }
}
