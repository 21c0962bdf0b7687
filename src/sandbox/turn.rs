//! Whether other commands run in the same workspace, which could rename what is being looked at.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};

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
    let marked = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
    Turn {
        file: marked.then_some(file),
        is_alone,
    }
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
}
