//! The remembered tree of a workspace.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, open, openat2, statat};
use rustix::io::Errno;
use rustix::time::ClockId;

use super::ask::{ask, is_same};
use super::seen::{Seen, Trusted, identity};
use super::{Found, How, Kind, Rules, What, verdict};
use super::{git, links, sockets};

/// A directory that changed so recently may change again without another change time.
const UNCERTAIN: Duration = Duration::from_secs(2);

/// Longer than one tick of the clocks of file systems (10 ms at most).
const TICK: Duration = Duration::from_millis(12);

/// A clock that was set back less than this leaves [`UNCERTAIN`] its sense, nanoseconds.
const SET_BACK: i64 = 1_000_000_000;

/// How many entries are read in the time that it takes to open a directory, roughly.
const OPENING: usize = 40;

/// More entries than this are not looked through.
const MOST: usize = 20_000_000;

/// A directory with a longer path below the workspace is hidden: what stands in it could have no path that the
/// kernel takes (4096 bytes), and so no cover.
const LONGEST_PATH: usize = 3800;

/// Directories in directories deeper than this are hidden too: they are looked through by calls in calls, and a
/// command could make more than the stack holds.
pub(super) const DEEPEST: usize = 256;

/// Names of directories to go into.
type Names = Vec<Vec<u8>>;

/// Why a workspace cannot be scanned.
#[derive(Debug, thiserror::Error)]
pub(in crate::sandbox) enum ScanError {
    #[error("the workspace cannot be read")]
    Read(#[from] io::Error),
    #[error("the workspace has too many files to find its secrets")]
    TooLarge,
    #[error("the workspace changes too quickly to find its secrets")]
    Changing,
}

/// A workspace as it was seen last.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Scan {
    pub(super) root: Option<Node>,
    /// What is known of the mounts that its directories are on.
    pub(super) trusted: Trusted,
    /// The secrets whose other names every directory knows.
    pub(super) sought: links::Sought,
    /// How far the clock was ahead of the time since the machine was started, at most, nanoseconds.
    pub(super) clock: i64,
    /// How much was read that the next process need not read again, in entries.
    pub(super) read: usize,
    /// How many directories it has.
    pub(super) directories: usize,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: Vec<u8>,
    pub(super) seen: Seen,
    /// Whether an equal change time means, in a later command, that nothing changed.
    pub(super) certain: bool,
    /// Whether it is unchanged, as far as that was asked already.
    pub(super) is_same: Option<bool>,
    /// Whether it was read at least a tick of the clock after it changed.
    pub(super) is_settled: bool,
    pub(super) children: Vec<Self>,
    /// What stands directly in it, by name.
    pub(super) found: Vec<Found>,
    /// The names in it of the secrets that are sought.
    pub(super) names: Vec<Found>,
    /// What stands in it and changes without it.
    pub(super) live: Vec<Live>,
    /// What that was at the last look, by name, or, after a slash, from the workspace.
    pub(super) moving: Vec<Found>,
}

/// What a directory's own change time tells nothing about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// A `.git`.
    Git(Kind),
    /// The directory is a git directory that is not called so.
    Repository,
    /// A link of this name, which leads to what becomes this.
    Link(Vec<u8>, What),
}

impl Node {
    /// One of which nothing is known but its identity.
    fn new(name: &[u8], seen: Seen) -> Self {
        Self {
            seen,
            is_settled: seen.is_older(TICK, now()),
            ..Self::unread(name)
        }
    }

    /// One of which nothing is known.
    pub(super) fn unread(name: &[u8]) -> Self {
        Self {
            name: name.to_vec(),
            seen: Seen::default(),
            certain: false,
            is_same: None,
            is_settled: false,
            children: Vec::new(),
            found: Vec::new(),
            names: Vec::new(),
            live: Vec::new(),
            moving: Vec::new(),
        }
    }
}

impl Scan {
    /// The same while other commands run, which may rename directories while they are looked at: tells as well
    /// whether all that was there at one moment.
    pub(in crate::sandbox) fn refresh_among_others(
        &mut self,
        workspace: &Path,
        rules: &Rules<'_>,
    ) -> Result<(Vec<Found>, bool), ScanError> {
        let found = self.refresh(workspace, rules)?;
        // Two changes within one tick of the file system's clock have one time.
        #[expect(
            clippy::disallowed_methods,
            reason = "this is never on the thread of the runtime"
        )]
        std::thread::sleep(TICK);
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let directory = open(workspace, flags, Mode::empty()).map_err(io::Error::from)?;
        let stands = |node: &Node| stands(directory.as_fd(), node, &mut Vec::new());
        Ok((found, self.root.as_ref().is_some_and(stands)))
    }

    /// Looks at the workspace again and tells what must be covered.
    pub(in crate::sandbox) fn refresh(
        &mut self,
        workspace: &Path,
        rules: &Rules<'_>,
    ) -> Result<Vec<Found>, ScanError> {
        let clock = clock();
        if clock < self.clock - SET_BACK {
            // A change may get the time of an earlier one.
            *self = Self::default();
        }
        self.clock = self.clock.max(clock);
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let root = open(workspace, flags, Mode::empty()).map_err(io::Error::from)?;
        let mut walk = Walk {
            root: root.as_fd(),
            workspace,
            rules,
            trusted: &mut self.trusted,
            sought: &self.sought,
            now: now(),
            path: Vec::new(),
            entries: 0,
            kept: 0,
            directories: 0,
        };
        self.root = match self.root.take() {
            Some(mut root) => {
                ask(walk.root, &mut root, self.directories);
                walk.again(&mut root)?.then_some(root)
            }
            None => walk.read(Vec::new(), b"")?,
        };
        self.read += walk.kept;
        self.directories = walk.directories;
        let mut found = Vec::new();
        if let Some(root) = &self.root {
            collect(root, &mut Vec::new(), &mut found);
        }
        if let Some(tree) = &mut self.root {
            links::add(root.as_fd(), tree, &mut self.sought, &mut found)?;
        }
        let bound = if found.iter().any(|found| found.what == What::Socket) {
            sockets::bound()
        } else {
            None
        };
        found.retain_mut(|found| match found.what {
            What::Socket => {
                found.what = What::Cover(How::Hide);
                sockets::has_owner(root.as_fd(), found, bound.as_ref())
            }
            What::Cover(_) | What::Missing | What::Repository | What::Kept { .. } => true,
        });
        Ok(found)
    }
}

impl Scan {
    /// Whether keeping it for the next process costs less than that reads more without. Counts anew from here.
    pub(in crate::sandbox) fn is_worth_keeping(&mut self) -> bool {
        /// What writing a file costs, in entries that could be read meanwhile.
        const WRITING: usize = 1000;
        let is_worth = self.read > WRITING + self.directories / 2;
        if is_worth {
            self.read = 0;
        }
        is_worth
    }
}

/// Whether every directory is as it was read, and none changed so shortly before that it could have changed
/// again unseen.
fn stands(root: BorrowedFd<'_>, node: &Node, path: &mut Vec<u8>) -> bool {
    let same = is_same(root, path, node);
    let length = path.len();
    same && node.is_settled
        && node.children.iter().all(|child| {
            push(path, &child.name);
            let stands = stands(root, child, path);
            path.truncate(length);
            stands
        })
}

/// The paths of what was found, from the workspace.
fn collect(node: &Node, path: &mut Vec<u8>, found: &mut Vec<Found>) {
    let length = path.len();
    for one in node.found.iter().chain(&node.moving) {
        found.push(match one.path.strip_prefix(b"/") {
            Some(whole) => Found {
                path: whole.to_vec(),
                ..*one
            },
            None => one.clone().below(path),
        });
    }
    for child in &node.children {
        push(path, &child.name);
        collect(child, path, found);
        path.truncate(length);
    }
}

pub(super) fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend(name);
}

struct Walk<'a> {
    root: BorrowedFd<'a>,
    workspace: &'a Path,
    rules: &'a Rules<'a>,
    trusted: &'a mut Trusted,
    sought: &'a links::Sought,
    now: Duration,
    /// Where the walk is, below the workspace.
    path: Vec<u8>,
    entries: usize,
    /// How much was read that need not be read again.
    kept: usize,
    directories: usize,
}

impl Walk<'_> {
    /// Looks at a directory that was read before and is named by `self.path`; tells whether it is still there.
    fn again(&mut self, node: &mut Node) -> Result<bool, ScanError> {
        let asked = node.is_same.take();
        let same = asked.unwrap_or_else(|| is_same(self.root, &self.path, node));
        if !(same && node.certain && self.trusts(node) && self.look_again(node)) {
            let known = std::mem::take(&mut node.children);
            let Some(read) = self.read(known, &node.name)? else {
                return Ok(false);
            };
            *node = read;
            return Ok(true);
        }
        self.directories += 1;
        let mut failed = None;
        node.children.retain_mut(|child| {
            if failed.is_some() {
                return true;
            }
            let length = self.path.len();
            push(&mut self.path, &child.name);
            let kept = self.again(child);
            self.path.truncate(length);
            kept.unwrap_or_else(|error| {
                failed = Some(error);
                true
            })
        });
        failed.map_or(Ok(true), Err)
    }

    /// Whether the change time of the directory where the walk is tells something; asks once for each mount.
    fn trusts(&mut self, node: &Node) -> bool {
        self.trusted.knows(&node.seen)
            || self
                .open_here()
                .is_ok_and(|directory| self.trusted.tells(&node.seen, directory))
    }

    /// Looks at what changes without its directory; tells whether the directory is still there.
    fn look_again(&self, node: &mut Node) -> bool {
        if node.live.is_empty() {
            return true;
        }
        let Ok(directory) = self.open_here() else {
            return false;
        };
        self.moving(&directory, node);
        true
    }

    fn moving(&self, directory: &OwnedFd, node: &mut Node) {
        let Node {
            name: own,
            live,
            moving,
            ..
        } = node;
        moving.clear();
        for one in live {
            match one {
                Live::Git(kind) => {
                    git::entry(directory, b".git", *kind, moving);
                    git::linked(self.workspace, &self.below(b".git"), *kind, moving);
                }
                // What is called `.git` was noted by its name.
                Live::Repository if own == b".git" => {}
                Live::Repository => {
                    git::bare(directory, moving);
                    git::keep_within(self.root, &self.path, moving);
                }
                Live::Link(name, what) => {
                    let link = self.workspace.join(OsStr::from_bytes(&self.below(name)));
                    if let Some((target, identity)) = inside(self.workspace, &link) {
                        moving.push(Found {
                            path: [b"/", target.as_os_str().as_bytes()].concat(),
                            what: *what,
                            identity,
                        });
                    }
                }
            }
        }
    }

    /// Reads a directory; what is known of its subdirectories is used again.
    fn read(&mut self, mut known: Vec<Node>, name: &[u8]) -> Result<Option<Node>, ScanError> {
        let Some((mut node, subdirectories)) = self.list(name)? else {
            return Ok(None);
        };
        known.sort_by(|left, right| left.name.cmp(&right.name));
        for subdirectory in subdirectories {
            let old = known
                .binary_search_by(|node| node.name.cmp(&subdirectory))
                .ok()
                .and_then(|index| known.get_mut(index));
            let length = self.path.len();
            push(&mut self.path, &subdirectory);
            let depth = self.path.split(|byte| *byte == b'/').count();
            let child = if self.path.len() > LONGEST_PATH || depth > DEEPEST {
                self.hidden(&subdirectory)
            } else if let Some(old) = old {
                self.again(old)
                    .map(|is_there| is_there.then(|| std::mem::replace(old, Node::unread(b""))))
            } else {
                self.read(Vec::new(), &subdirectory)
            };
            self.path.truncate(length);
            node.children.extend(child?);
        }
        Ok(Some(node))
    }

    /// What stands in a directory, and the names of those to go into. Nothing of it stays open: the workspace may
    /// be deeper than a process may have files open. `None` when it is gone.
    fn list(&mut self, name: &[u8]) -> Result<Option<(Node, Names)>, ScanError> {
        let opened = self.open_here().and_then(|directory| {
            // One that can be listed but not entered tells nothing of its entries.
            let seen = Seen::at(&directory, ".")?;
            Ok((directory, seen))
        });
        let (directory, seen) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            // The command may be able to open it: its owner can change its mode.
            Err(error) if name.is_empty() => return Err(io::Error::from(error).into()),
            Err(_) => return Ok(self.hidden(name)?.map(|node| (node, Vec::new()))),
        };
        self.directories += 1;
        let before = self.entries;
        let mut node = Node::new(name, seen);
        node.certain = self.trusted.tells(&seen, &directory) && seen.is_older(UNCERTAIN, self.now);
        let mut subdirectories = Vec::new();
        let mut layout = git::Layout::default();
        let is_git = git::is_within(&self.path);
        let mut buffer = vec![MaybeUninit::uninit(); 64 << 10];
        let mut entries = RawDir::new(&directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                // It was removed while it was read.
                Err(Errno::NOENT) => return Ok(None),
                entry => entry.map_err(io::Error::from)?,
            };
            let entry_name = entry.file_name().to_bytes();
            if matches!(entry_name, b"." | b"..") {
                continue;
            }
            self.entries += 1;
            if self.entries > MOST {
                return Err(ScanError::TooLarge);
            }
            layout.note(entry_name);
            let kind = kind(entry.file_type(), &directory, entry_name);
            if kind == Kind::File && !self.sought.is_empty() {
                let inode = entry.ino();
                links::note(&directory, entry_name, inode, self.sought, &mut node.names);
            }
            if self.entry((&directory, is_git), entry_name, kind, &mut node)? {
                subdirectories.push(entry_name.to_vec());
            }
        }
        if layout.is_repository() || layout.is_begun(&self.path) {
            node.live.push(Live::Repository);
        }
        if !node.live.is_empty() {
            self.moving(&directory, &mut node);
        }
        if node.certain {
            self.kept += self.entries - before + OPENING;
        }
        Ok(Some((node, subdirectories)))
    }

    /// A directory that cannot be looked at, and so must not be seen by the command. `None` when it is gone.
    fn hidden(&self, name: &[u8]) -> Result<Option<Node>, ScanError> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let seen = match self.open(flags).and_then(|directory| Seen::of(&directory)) {
            Ok(seen) => seen,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        let mut node = Node::new(name, seen);
        node.found.push(Found {
            path: Vec::new(),
            what: What::Cover(How::HideDirectory),
            identity: (seen.device, seen.inode),
        });
        Ok(Some(node))
    }

    /// Notes what an entry is; tells whether it is a directory to go into.
    fn entry(
        &mut self,
        (directory, is_git): (&OwnedFd, bool),
        name: &[u8],
        kind: Kind,
        node: &mut Node,
    ) -> Result<bool, ScanError> {
        let length = self.path.len();
        push(&mut self.path, name);
        let path = Path::new(OsStr::from_bytes(&self.path));
        let verdict = if is_git && git::is_named_by_git(&self.path) {
            None
        } else {
            verdict(self.rules, path, name, kind)
        };
        self.path.truncate(length);
        let Some(what) = verdict else {
            if name == b".git" {
                node.live.push(Live::Git(kind));
            }
            return Ok(kind == Kind::Directory);
        };
        if kind == Kind::Link {
            // Nothing can lie over a link; what it leads to is covered where it is in the workspace.
            node.live.push(Live::Link(name.to_vec(), what));
            return Ok(false);
        }
        match statat(
            directory,
            OsStr::from_bytes(name),
            AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => node.found.push(Found {
                path: name.to_vec(),
                what,
                identity: identity(&stat),
            }),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        Ok(false)
    }

    /// The path of something in the directory where the walk is.
    fn below(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        push(&mut path, name);
        path
    }

    fn here(&self) -> &Path {
        let path = if self.path.is_empty() {
            b"."
        } else {
            self.path.as_slice()
        };
        Path::new(OsStr::from_bytes(path))
    }

    fn open_here(&self) -> rustix::io::Result<OwnedFd> {
        self.open(OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW)
    }

    fn open(&self, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(self.root, self.here(), flags, Mode::empty(), resolve)
    }
}

/// Where a link leads, when that is a file of the workspace.
fn inside(workspace: &Path, link: &Path) -> Option<(PathBuf, (u64, u64))> {
    let target = std::fs::canonicalize(link).ok()?;
    let metadata = std::fs::symlink_metadata(&target).ok()?;
    let relative = target.strip_prefix(workspace).ok()?.to_owned();
    (!metadata.is_dir()).then(|| (relative, (metadata.dev(), metadata.ino())))
}

fn kind(told: FileType, directory: &OwnedFd, name: &[u8]) -> Kind {
    let kind = if told == FileType::Unknown {
        statat(
            directory,
            OsStr::from_bytes(name),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_or(FileType::Unknown, |stat| {
            FileType::from_raw_mode(stat.st_mode)
        })
    } else {
        told
    };
    match kind {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        FileType::Socket => Kind::Socket,
        _ => Kind::Other,
    }
}

/// How far the clock is ahead of the time since the machine was started, nanoseconds: changes when it is set.
fn clock() -> i64 {
    let nanoseconds = |id| {
        let time = rustix::time::clock_gettime(id);
        time.tv_sec * 1_000_000_000 + time.tv_nsec
    };
    nanoseconds(ClockId::Realtime) - nanoseconds(ClockId::Boottime)
}

/// The time since 1970.
fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
