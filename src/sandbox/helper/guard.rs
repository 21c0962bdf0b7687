//! Names that must not come into being: a new configuration, a new place for git's hooks. The kernel has no
//! rule for a name that does not exist, so whatever takes one is moved aside the moment it appears, and looked
//! for again when the command has ended.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, open, openat, openat2, readlinkat,
    renameat_with, statat, symlinkat,
};
use rustix::io::Errno;

use super::super::plan::{Kept, Plan, Raw, Report, Watch};
use super::failure::{Done, at};
use super::notices::Notices;

/// The watched names and the directories that hold them.
pub(super) struct Guard<'a> {
    watched: Vec<(&'a Watch, Rc<OwnedFd>)>,
    kept: Vec<(&'a Kept, Rc<OwnedFd>)>,
    /// Links that could be removed: what is open keeps its number.
    _links: Vec<OwnedFd>,
    notices: Option<Notices>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(plan: &'a Plan) -> Done<Self> {
        let mut watched: Vec<(&Watch, Rc<OwnedFd>)> = Vec::new();
        let mut last: Option<(&Raw, Option<Rc<OwnedFd>>)> = None;
        for watch in &plan.watches {
            let directory = match &last {
                Some((path, directory)) if **path == watch.directory => directory.clone(),
                _ => existing(&watch.directory)?.map(Rc::new),
            };
            // A directory that is gone can hold nothing.
            if let Some(directory) = &directory {
                watched.push((watch, Rc::clone(directory)));
            }
            last = Some((&watch.directory, directory));
        }
        let mut kept: Vec<(&Kept, Rc<OwnedFd>)> = Vec::new();
        for one in &plan.kept {
            let root = match kept.last() {
                Some((other, root)) if other.root == one.root => Some(Rc::clone(root)),
                _ => existing(&one.root)?.map(Rc::new),
            };
            kept.extend(root.map(|root| (one, root)));
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let links = kept
            .iter()
            .filter(|(one, _)| one.is_link)
            .filter_map(|(one, root)| openat(root, one.path.path(), flags, Mode::empty()).ok())
            .collect();
        let notices = if watched.is_empty() {
            None
        } else {
            let directories = watched.iter().map(|(_, directory)| directory.as_fd());
            Some(Notices::of(directories).map_err(at("watch for new configurations"))?)
        };
        Ok(Self {
            watched,
            kept,
            _links: links,
            notices,
        })
    }

    /// What tells that something new appeared; [`sweep`](Self::sweep) looks for itself.
    pub(super) fn notices(&self) -> Option<&Notices> {
        self.notices.as_ref()
    }

    /// Looks, when all is over, whether the repositories are where they were.
    pub(super) fn finish(&self) -> Vec<Report> {
        let mut reports = self.sweep();
        reports.extend(
            self.kept
                .iter()
                .filter_map(|(kept, root)| replace_kept(kept, root)),
        );
        reports
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

/// A directory of the machine; `None` when it is gone.
fn existing(path: &Raw) -> Done<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    match open(path.path(), flags, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(at("watch over what is protected")(error)),
    }
}

/// Moves aside what took the place of a repository.
fn replace_kept(kept: &Kept, root: &OwnedFd) -> Option<Report> {
    let path = kept.path.path();
    let name = path.file_name()?.as_bytes();
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    // A directory above it may be a link now; what lies outside was not made by the command.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let here = parent.unwrap_or(Path::new("."));
    let directory = openat2(root, here, flags, Mode::empty(), resolve).ok()?;
    let stat = statat(&directory, path.file_name()?, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if (stat.st_dev, stat.st_ino) == kept.identity {
        return None;
    }
    let whole = parent.map_or_else(
        || kept.root.to_path_buf(),
        |parent| kept.root.path().join(parent),
    );
    set_aside(&directory, &whole.into(), name)
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
pub(in crate::sandbox) fn set_aside(
    directory: &OwnedFd,
    path: &Raw,
    name: &[u8],
) -> Option<Report> {
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
