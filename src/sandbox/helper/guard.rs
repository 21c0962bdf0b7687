//! Names that must not come into being: a new configuration, a new place for git's hooks. The kernel has no
//! rule for a name that does not exist, so whatever takes one is moved aside the moment it appears, and looked
//! for again when the command has ended.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, open, readlinkat, renameat_with, statat, symlinkat,
};

use super::super::plan::{Plan, Raw, Report, Watch};
use super::failure::{Done, at};

/// The watched names and the directories that hold them.
pub(super) struct Guard<'a> {
    watched: Vec<(&'a Watch, OwnedFd)>,
    events: Option<OwnedFd>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(plan: &'a Plan) -> Done<Self> {
        let mut watched = Vec::new();
        for watch in &plan.watches {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            // A directory that is gone can hold nothing.
            if let Ok(directory) = open(watch.directory.path(), flags, Mode::empty()) {
                watched.push((watch, directory));
            }
        }
        let events = if watched.is_empty() {
            None
        } else {
            let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
                .map_err(at("watch for new configurations"))?;
            for (watch, _) in &watched {
                let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
                inotify::add_watch(&events, watch.directory.path(), flags)
                    .map_err(at("watch for new configurations"))?;
            }
            Some(events)
        };
        Ok(Self { watched, events })
    }

    /// The file that can be read when something new appeared.
    pub(super) fn events(&self) -> Option<BorrowedFd<'_>> {
        self.events.as_ref().map(|events| events.as_fd())
    }

    /// Forgets what was told so far; [`sweep`](Self::sweep) looks for itself.
    pub(super) fn drain(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        if let Some(events) = &self.events {
            let mut reader = Reader::new(events, &mut buffer);
            while reader.next().is_ok() {}
        }
    }

    /// Moves aside whatever took a name.
    pub(super) fn sweep(&self) -> Vec<Report> {
        self.watched
            .iter()
            .filter(|(watch, directory)| taken(watch, directory))
            .filter_map(|(watch, directory)| move_aside(watch, directory))
            .collect()
    }
}

/// Whether the name is something else than it must be.
fn taken(watch: &Watch, directory: &OwnedFd) -> bool {
    match &watch.link {
        None => statat(directory, watch.name.path(), AtFlags::SYMLINK_NOFOLLOW).is_ok(),
        Some(link) => readlinkat(directory, watch.name.path(), Vec::new())
            .map_or(true, |found| found.to_bytes() != link.0),
    }
}

/// Gives what took a name another one, since it may be somebody's work.
fn move_aside(watch: &Watch, directory: &OwnedFd) -> Option<Report> {
    let report = set_aside(directory, &watch.directory, &watch.name.0);
    if let Some(link) = &watch.link {
        // Where the link itself was removed there was nothing to move.
        _ = symlinkat(link.path(), directory, watch.name.path());
    }
    report
}

/// Renames an entry of a directory to a name that nobody can foresee, or every name could be taken before.
pub(super) fn set_aside(directory: &OwnedFd, path: &Raw, name: &[u8]) -> Option<Report> {
    let name = Raw(name.to_vec());
    let now = (0..50).find_map(|_| {
        let now = format!(".refused-{:06x}", fastrand::u32(..0x100_0000));
        let now = Raw([name.0.as_slice(), now.as_bytes()].concat());
        renameat_with(
            directory,
            name.path(),
            directory,
            now.path(),
            RenameFlags::NOREPLACE,
        )
        .is_ok()
        .then_some(now)
    })?;
    Some(Report::MovedAside {
        directory: path.clone(),
        name,
        now,
    })
}
