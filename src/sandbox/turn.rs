//! Whether other commands run in the same workspace, which could rename what is being looked at.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

/// How often the mark is asked for that another command stands in the way of: it does for two calls of the system,
/// while it finds out whether it is alone.
const TRIES: u32 = 200;

/// How long between.
const PAUSE: Duration = Duration::from_millis(1);

/// A mark on the workspace for as long as its file is open, wherever it is passed to.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) file: Option<OwnedFd>,
    /// Whether no other command runs there.
    pub(super) is_alone: bool,
}

impl Turn {
    /// That of a command elsewhere.
    pub(super) fn none() -> Self {
        Self {
            file: None,
            is_alone: true,
        }
    }
}

/// Marks the workspace as used by a command.
pub(super) fn take(workspace: &Path) -> Turn {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let Ok(file) = open(workspace, flags, Mode::empty()) else {
        return Turn {
            file: None,
            is_alone: false,
        };
    };
    let is_alone = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    // A lock that cannot be had is somebody else's; then this command is not alone either.
    let marked = mark(&file);
    Turn {
        file: marked.then_some(file),
        is_alone,
    }
}

/// Makes the lock, if there is one, a shared one, which the kernel does in one step.
fn mark(file: &OwnedFd) -> bool {
    for _ in 0..TRIES {
        match flock(file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => {}
            marked => return marked.is_ok(),
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "this is never on the thread of the runtime"
        )]
        std::thread::sleep(PAUSE);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_notice_each_other() {
        let place = tempfile::tempdir().unwrap();
        let first = take(place.path());
        assert!(first.is_alone);
        let second = take(place.path());
        assert!(!second.is_alone);
        drop(first);
        assert!(!take(place.path()).is_alone);
        drop(second);
        assert!(take(place.path()).is_alone);
    }

    #[test]
    fn one_that_finds_another_at_its_first_step_is_marked() {
        let place = tempfile::tempdir().unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        let other = open(place.path(), flags, Mode::empty()).unwrap();
        flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
        let turn = std::thread::scope(|scope| {
            let taking = scope.spawn(|| take(place.path()));
            let until = std::time::SystemTime::now() + 10 * PAUSE;
            while !taking.is_finished() && std::time::SystemTime::now() < until {
                std::thread::yield_now();
            }
            flock(&other, FlockOperation::NonBlockingLockShared).unwrap();
            taking.join().unwrap()
        });
        assert!(turn.file.is_some() && !turn.is_alone, "{turn:?}");
    }
}
