//! The remembered tree of a workspace.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat, fstat, open, openat2, statat,
};

use super::{Found, How, Kind, Rules, What, verdict};
use super::{git, links, sockets};

/// A directory that changed so recently may change again without another change time.
const UNCERTAIN_SECONDS: i64 = 2;

/// Longer than one tick of the clocks of file systems (10 ms at most).
const TICK: Duration = Duration::from_millis(12);

/// How often a workspace is looked at that changes meanwhile.
const LOOKS: u32 = 20;

/// More entries than this are not looked through.
const MOST: usize = 20_000_000;

/// A directory with a longer path below the workspace is hidden: what stands in it could have no path that the
/// kernel takes (4096 bytes), and so no cover.
const LONGEST_PATH: usize = 3800;

/// Directories in directories deeper than this are hidden too: they are looked through by calls in calls, and a
/// command could make more than the stack holds.
const DEEPEST: usize = 256;

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
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: Vec<u8>,
    /// Device, inode, change time.
    pub(super) seen: Seen,
    /// Whether an equal change time means, in a later command, that nothing changed.
    pub(super) certain: bool,
    /// Whether it was read at least a tick of the clock after it changed.
    pub(super) is_settled: bool,
    pub(super) children: Vec<Self>,
    /// What stands directly in it, by name, or, after a slash, from the workspace.
    pub(super) found: Vec<Found>,
}

/// What tells whether a directory is the same and unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) changed: (i64, u64),
}

impl Seen {
    /// When it changed; `None` before 1970.
    fn time(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.changed.0).ok()?;
        Some(Duration::new(seconds, u32::try_from(self.changed.1).ok()?))
    }
}

impl From<&Stat> for Seen {
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Scan {
    /// The same while other commands run, which may rename directories while they are looked at: tells only what
    /// was there at one moment.
    pub(in crate::sandbox) fn refresh_among_others(
        &mut self,
        workspace: &Path,
        rules: &Rules<'_>,
    ) -> Result<Vec<Found>, ScanError> {
        for _ in 0..LOOKS {
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
            if self.root.as_ref().is_some_and(stands) {
                return Ok(found);
            }
        }
        Err(ScanError::Changing)
    }

    /// Looks at the workspace again and tells what must be covered.
    pub(in crate::sandbox) fn refresh(
        &mut self,
        workspace: &Path,
        rules: &Rules<'_>,
    ) -> Result<Vec<Found>, ScanError> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let root = open(workspace, flags, Mode::empty()).map_err(io::Error::from)?;
        let mut walk = Walk {
            root: root.as_fd(),
            workspace,
            rules,
            now: now(),
            path: Vec::new(),
            entries: 0,
        };
        self.root = walk.directory(self.root.take(), b"")?;
        let mut found = Vec::new();
        if let Some(root) = &self.root {
            collect(root, &mut Vec::new(), &mut found);
        }
        links::add(root.as_fd(), &mut found)?;
        let bound = if found.iter().any(|found| found.what == What::Socket) {
            sockets::bound()
        } else {
            None
        };
        found.retain_mut(|found| match found.what {
            What::Socket => {
                found.what = What::Cover(How::Hide);
                has_owner(root.as_fd(), found, bound.as_ref())
            }
            What::Cover(_) | What::Missing | What::Repository | What::Kept { .. } => true,
        });
        Ok(found)
    }
}

/// Whether every directory is as it was read, and none changed so shortly before that it could have changed
/// again unseen.
fn stands(root: BorrowedFd<'_>, node: &Node, path: &mut Vec<u8>) -> bool {
    let here = if path.is_empty() {
        b".".as_slice()
    } else {
        path.as_slice()
    };
    let same = statat(root, OsStr::from_bytes(here), AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| Seen::from(&stat) == node.seen);
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
    for one in &node.found {
        let whole = one.path.strip_prefix(b"/").map_or_else(
            || {
                let mut whole = path.clone();
                push(&mut whole, &one.path);
                whole
            },
            <[u8]>::to_vec,
        );
        found.push(Found {
            path: whole,
            ..one.clone()
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
    now: Duration,
    /// Where the walk is, below the workspace.
    path: Vec<u8>,
    entries: usize,
}

impl Walk<'_> {
    /// A directory as it is now; `self.path` names it. `None` for one that cannot be read.
    fn directory(&mut self, old: Option<Node>, name: &[u8]) -> Result<Option<Node>, ScanError> {
        if let Some(mut node) = old {
            let same = statat(self.root, self.here(), AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| Seen::from(&stat) == node.seen);
            if same && node.certain {
                let children = std::mem::take(&mut node.children);
                for child in children {
                    node.children.extend(self.child(child)?);
                }
                return Ok(Some(node));
            }
            return self.read(node.children, name);
        }
        self.read(Vec::new(), name)
    }

    fn child(&mut self, child: Node) -> Result<Option<Node>, ScanError> {
        let length = self.path.len();
        let name = child.name.clone();
        push(&mut self.path, &name);
        let child = self.directory(Some(child), &name);
        self.path.truncate(length);
        child
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
                .and_then(|index| known.get_mut(index))
                .map(|node| {
                    let empty = Node {
                        name: node.name.clone(),
                        seen: node.seen,
                        certain: false,
                        is_settled: false,
                        children: Vec::new(),
                        found: Vec::new(),
                    };
                    std::mem::replace(node, empty)
                });
            let length = self.path.len();
            push(&mut self.path, &subdirectory);
            let depth = self.path.split(|byte| *byte == b'/').count();
            let child = if self.path.len() > LONGEST_PATH || depth > DEEPEST {
                self.hidden(&subdirectory)
            } else {
                self.directory(old, &subdirectory)
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
            statat(&directory, ".", AtFlags::empty())?;
            Ok(directory)
        });
        let directory = match opened {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            // The command may be able to open it: its owner can change its mode.
            Err(error) if name.is_empty() => return Err(io::Error::from(error).into()),
            Err(_) => return Ok(self.hidden(name)?.map(|node| (node, Vec::new()))),
        };
        let seen = Seen::from(&fstat(&directory).map_err(io::Error::from)?);
        let mut node = Node {
            name: name.to_vec(),
            seen,
            certain: seen.changed.0 < self.now.as_secs().cast_signed() - UNCERTAIN_SECONDS,
            is_settled: seen.time().is_none_or(|time| time + TICK < now()),
            children: Vec::new(),
            found: Vec::new(),
        };
        let mut subdirectories = Vec::new();
        let mut layout = git::Layout::default();
        let mut buffer = vec![MaybeUninit::uninit(); 64 << 10];
        let mut entries = RawDir::new(&directory, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(io::Error::from)?;
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
            if self.entry(&directory, entry_name, kind, &mut node)? {
                subdirectories.push(entry_name.to_vec());
            }
        }
        if layout.is_repository() {
            // What is below it changes without it.
            node.certain = false;
            git::bare(&directory, &mut node.found);
        }
        Ok(Some((node, subdirectories)))
    }

    /// A directory that cannot be looked at, and so must not be seen by the command. `None` when it is gone.
    fn hidden(&self, name: &[u8]) -> Result<Option<Node>, ScanError> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let seen = match self.open(flags).and_then(fstat) {
            Ok(stat) => Seen::from(&stat),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(io::Error::from(error).into()),
        };
        Ok(Some(Node {
            name: name.to_vec(),
            seen,
            certain: false,
            is_settled: seen.time().is_none_or(|time| time + TICK < now()),
            children: Vec::new(),
            found: vec![Found {
                path: Vec::new(),
                what: What::Cover(How::HideDirectory),
                identity: (seen.device, seen.inode),
            }],
        }))
    }

    /// Notes what an entry is; tells whether it is a directory to go into.
    fn entry(
        &mut self,
        directory: &OwnedFd,
        name: &[u8],
        kind: Kind,
        node: &mut Node,
    ) -> Result<bool, ScanError> {
        let mut path = self.path.clone();
        push(&mut path, name);
        let Some(what) = verdict(self.rules, Path::new(OsStr::from_bytes(&path)), name, kind)
        else {
            if name == b".git" {
                node.certain &= git::entry(directory, name, kind, &mut node.found);
                if kind == Kind::Link {
                    git::linked(self.workspace, &path, &mut node.found);
                }
                return Ok(false);
            }
            return Ok(kind == Kind::Directory);
        };
        if kind == Kind::Link {
            // Nothing can lie over a link; what it leads to is covered where it is in the workspace.
            node.certain = false;
            let target = self.workspace.join(OsStr::from_bytes(&path));
            if let Some((target, identity)) = inside(self.workspace, &target) {
                node.found.push(Found {
                    path: [b"/", target.as_os_str().as_bytes()].concat(),
                    what,
                    identity,
                });
            }
            return Ok(false);
        }
        let name = OsStr::from_bytes(name);
        match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let seen = Seen::from(&stat);
                node.found.push(Found {
                    path: name.as_bytes().to_vec(),
                    what,
                    identity: (seen.device, seen.inode),
                });
            }
            Err(Errno::NOENT) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        Ok(false)
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

/// Whether somebody owns a socket of the workspace; one whose owner is gone is only a name.
fn has_owner(root: BorrowedFd<'_>, found: &Found, bound: Option<&BTreeSet<(u32, u32)>>) -> bool {
    let Some(bound) = bound else {
        // The kernel does not tell, so it may.
        return true;
    };
    let (device, inode) = found.identity;
    // The kernel tells the lower half.
    #[expect(clippy::cast_possible_truncation, reason = "both sides are cut alike")]
    let inode = inode as u32;
    bound.contains(&(sockets::device(device), inode)) || answers(root, &found.path)
}

/// Whether a socket is of another network namespace, which can only be tried.
fn answers(root: BorrowedFd<'_>, path: &[u8]) -> bool {
    use std::os::fd::AsRawFd as _;

    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let path = Path::new(OsStr::from_bytes(path));
    let Ok(file) = openat2(root, path, flags, Mode::empty(), resolve) else {
        return true;
    };
    // Its own path may be too long for an address.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    match (address, socket) {
        (Ok(address), Ok(socket)) => {
            connect(socket, &address) != Err(rustix::io::Errno::CONNREFUSED)
        }
        _ => true,
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}
