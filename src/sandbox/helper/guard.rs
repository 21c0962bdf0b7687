//! Names that must not come into being: a new configuration, a new place for git's hooks. The kernel has no
//! rule for a name that does not exist, so whatever takes one is moved aside the moment it appears, and looked
//! for again when the command has ended.
//!
//! And names that must stay what they were: where another program gives the name of something covered to a new file,
//! the kernel takes the cover away. It is covered again at once, which may be too late all the same, and told.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags, makedev, open, openat, openat2,
    readlinkat, renameat_with, statat, statx, symlinkat,
};
use rustix::io::Errno;

use super::super::names::steers_git;
use super::super::plan::{Cover, How, Kept, Plan, Raw, Report, Watch};
use super::super::settings::Tier;
use super::again::View;
use super::failure::{Done, at};
use super::notices::Notices;

/// The watched names and the directories that hold them.
pub(super) struct Guard<'a> {
    watched: Vec<(&'a Watch, Rc<OwnedFd>)>,
    kept: Vec<(&'a Kept, Rc<OwnedFd>)>,
    covered: Vec<Covered<'a>>,
    /// Links that could be removed: what is open keeps its number.
    _links: Vec<OwnedFd>,
    notices: Option<Notices>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(plan: &'a Plan) -> Done<Self> {
        let mut directories = Directories::default();
        let mut watched: Vec<(&Watch, Rc<OwnedFd>)> = Vec::new();
        for watch in &plan.watches {
            // A directory that is gone can hold nothing.
            let directory = directories.open(watch.directory.path())?;
            watched.extend(directory.map(|directory| (watch, directory)));
        }
        let mut kept: Vec<(&Kept, Rc<OwnedFd>)> = Vec::new();
        for one in &plan.kept {
            let root = directories.open(one.root.path())?;
            kept.extend(root.map(|root| (one, root)));
        }
        // Without mounts everything is put back anyway.
        let covers = plan.covers.iter().filter(|_| plan.tier == Tier::Full);
        let covered = covers.filter_map(|cover| Covered::new(cover, &mut directories));
        let covered: Vec<_> = covered.collect();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let links = kept
            .iter()
            .filter(|(one, _)| one.is_link)
            .filter_map(|(one, root)| openat(root, one.path.path(), flags, Mode::empty()).ok())
            .collect();
        let notices = if watched.is_empty() && covered.is_empty() {
            None
        } else {
            let of_covers = covered.iter().map(|one| &one.directory);
            let directories = watched.iter().map(|(_, directory)| directory);
            let directories = directories.chain(of_covers).map(|one| one.as_fd());
            Some(Notices::of(directories).map_err(at("watch for new configurations"))?)
        };
        Ok(Self {
            watched,
            kept,
            covered,
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
        reports.extend(self.covered.iter().filter_map(Covered::lost));
        reports
    }

    /// Covers what was replaced.
    pub(super) fn cover_again(&self, view: &View) {
        self.covered.iter().for_each(|one| one.cover_again(view));
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

/// Directories of the machine, each opened once.
#[derive(Default)]
struct Directories(BTreeMap<PathBuf, Option<Rc<OwnedFd>>>);

impl Directories {
    /// One of them; `None` when it is gone.
    fn open(&mut self, path: &Path) -> Done<Option<Rc<OwnedFd>>> {
        if let Some(known) = self.0.get(path) {
            return Ok(known.clone());
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = match open(path, flags, Mode::empty()) {
            Ok(directory) => Some(Rc::new(directory)),
            Err(Errno::NOENT | Errno::NOTDIR) => None,
            Err(error) => return Err(at("watch over what is protected")(error)),
        };
        self.0.insert(path.to_owned(), opened.clone());
        Ok(opened)
    }
}

/// Something under a cover.
struct Covered<'a> {
    cover: &'a Cover,
    /// What holds it, wherever that is renamed to.
    directory: Rc<OwnedFd>,
    /// What was covered.
    then: Identity,
    /// What stood there last, and whether it was covered.
    now: Cell<(Identity, bool)>,
}

/// Device and inode, and since when, where that is known: another file may get the same number.
type Identity = ((u64, u64), Option<(i64, u32)>);

impl<'a> Covered<'a> {
    /// `None` for what nothing is told about.
    fn new(cover: &'a Cover, directories: &mut Directories) -> Option<Self> {
        let whole = cover.root.path().join(cover.path.path());
        let names = whole.iter().map(std::os::unix::ffi::OsStrExt::as_bytes);
        // Of a repository it is looked what it names when the command has ended.
        if cover.how == How::Pin || cover.how == How::ReadOnly && steers_git(names) {
            return None;
        }
        let directory = directories.open(whole.parent()?).ok()??;
        let (_, born) = identity(&directory, cover)?;
        let then = (cover.identity, born);
        Some(Self {
            cover,
            directory,
            then,
            now: Cell::new((then, true)),
        })
    }

    /// Covers what stands there when that is something else by now.
    fn cover_again(&self, view: &View) {
        let stands = identity(&self.directory, self.cover);
        let Some(stands) = stands.filter(|stands| *stands != self.now.get().0) else {
            return;
        };
        // The command may have renamed a directory above it.
        let link = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        let moved = std::fs::read_link(link).unwrap_or_default();
        let moved = moved.join(self.cover.path.path().file_name().unwrap_or_default());
        let (whole, how) = (self.whole(), self.cover.how);
        let is_covered = view.cover(&whole, how) | (moved != whole && view.cover(&moved, how));
        self.now.set((stands, is_covered));
    }

    /// What is told when something else stands there now. What is gone is nothing to anybody.
    fn lost(&self) -> Option<Report> {
        let stands = identity(&self.directory, self.cover)?;
        (stands != self.then).then(|| Report::Uncovered {
            path: self.whole().into(),
            how: self.cover.how,
            again: self.now.get() == (stands, true),
        })
    }

    fn whole(&self) -> PathBuf {
        self.cover.root.path().join(self.cover.path.path())
    }
}

/// What stands under the name of something covered.
fn identity(directory: &OwnedFd, cover: &Cover) -> Option<Identity> {
    let name = cover.path.path().file_name()?;
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = statx(directory, name, flags, StatxFlags::INO | StatxFlags::BTIME).ok()?;
    let device = makedev(stat.stx_dev_major, stat.stx_dev_minor);
    let told = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let born = told.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec));
    Some(((device, stat.stx_ino), born))
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
