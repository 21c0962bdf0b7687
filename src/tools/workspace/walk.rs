//! Walking a directory, by descriptors alone: a directory that is swapped for a link on the way
//! is not followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::open::{QUIETLY, open_at};
use super::queue::Queue;
use super::rules::Rules;
use crate::sandbox::Policy;

/// Deeper directories are not entered.
const DEEPEST: usize = 200;

/// Files of one directory that one thread takes at a time.
const BATCH: usize = 32;

/// A directory to walk.
#[derive(Debug)]
pub(in crate::tools) struct Tree {
    pub(super) fd: Arc<OwnedFd>,
    /// Where it really lies.
    pub(super) real: PathBuf,
    /// How its entries are shown: the path as it was asked for.
    pub(in crate::tools) shown: PathBuf,
    pub(super) rules: Arc<Rules>,
    pub(super) resolve: ResolveFlags,
}

/// What a walk visits.
#[derive(Clone, Copy, Debug)]
pub(in crate::tools) struct WalkOptions {
    /// Into directories.
    pub(in crate::tools) recursive: bool,
    /// Names that begin with a dot.
    pub(in crate::tools) hidden: bool,
    /// Leave out what ignore files say, and `.git`.
    pub(in crate::tools) ignore: bool,
    /// Threads that walk.
    pub(in crate::tools) threads: usize,
}

/// What an entry is; symbolic links are never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::tools) enum Kind {
    Directory,
    File,
    Link,
    Other,
}

/// One entry on the way.
pub(in crate::tools) struct Entry<'w> {
    tree: &'w Tree,
    node: &'w Node,
    name: &'w OsStr,
    /// What it is.
    pub(in crate::tools) kind: Kind,
}

/// What a walk gives.
#[derive(Debug)]
pub(in crate::tools) struct Walked<S> {
    /// The state of each thread.
    pub(in crate::tools) states: Vec<S>,
    /// Entries that ignore files left out.
    pub(in crate::tools) ignored: usize,
    /// Directories that could not be read.
    pub(in crate::tools) unreadable: usize,
}

/// A directory that is open.
struct Node {
    fd: Arc<OwnedFd>,
    real: PathBuf,
    depth: usize,
    rules: Arc<Rules>,
}

enum Work {
    List(Arc<Node>),
    Directory {
        parent: Arc<Node>,
        name: OsString,
    },
    Files {
        node: Arc<Node>,
        files: Vec<(OsString, Kind)>,
    },
}

/// What one thread needs.
struct Walker<'w, S> {
    tree: &'w Tree,
    policy: &'w Policy,
    denials: bool,
    options: WalkOptions,
    stop: &'w AtomicBool,
    state: S,
    ignored: usize,
    unreadable: usize,
    buffer: Vec<u8>,
}

impl Entry<'_> {
    /// The path to show.
    pub(in crate::tools) fn shown(&self) -> PathBuf {
        let real = self.real();
        let rest = real.strip_prefix(&self.tree.real).unwrap_or(&real);
        self.tree.shown.join(rest)
    }

    /// Where it lies.
    pub(in crate::tools) fn real(&self) -> PathBuf {
        self.node.real.join(self.name)
    }

    /// Opens the file for reading; not when it has become something else.
    pub(in crate::tools) fn open(&self) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | QUIETLY;
        let name = Path::new(self.name);
        open_at(&self.node.fd, name, flags, self.tree.resolve).map(File::from)
    }
}

/// Walks a tree in no certain order; every thread has a state of its own. Ends early when `stop`
/// is set.
pub(in crate::tools) fn walk<S: Send>(
    tree: &Tree,
    policy: &Policy,
    options: WalkOptions,
    stop: &AtomicBool,
    state: impl Fn() -> S + Sync,
    visit: impl Fn(&mut S, &Entry<'_>) + Sync,
) -> Walked<S> {
    let root = Node {
        fd: Arc::clone(&tree.fd),
        real: tree.real.clone(),
        depth: 0,
        rules: Arc::clone(&tree.rules),
    };
    // Only the patterns of the settings and the state directory hide names.
    let denials = !policy.read_deny().is_empty()
        || policy
            .private
            .iter()
            .any(|path| path.starts_with(&tree.real) || tree.real.starts_with(path));
    let queue = Queue::new(Work::List(Arc::new(root)));
    let run = || {
        let mut walker = Walker {
            tree,
            policy,
            denials,
            options,
            stop,
            state: state(),
            ignored: 0,
            unreadable: 0,
            buffer: Vec::with_capacity(32 * 1024),
        };
        queue.run(|work| walker.work(work, &visit));
        Walked {
            states: vec![walker.state],
            ignored: walker.ignored,
            unreadable: walker.unreadable,
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..options.threads).map(|_| scope.spawn(run)).collect();
        let mut all = run();
        for walked in others.into_iter().filter_map(|thread| thread.join().ok()) {
            all.states.extend(walked.states);
            all.ignored += walked.ignored;
            all.unreadable += walked.unreadable;
        }
        all
    })
}

impl<S> Walker<'_, S> {
    fn work(&mut self, work: Work, visit: &impl Fn(&mut S, &Entry<'_>)) -> Vec<Work> {
        if self.stop.load(Ordering::Relaxed) {
            return Vec::new();
        }
        match work {
            Work::Files { node, files } => {
                self.visit(&node, &files, visit);
                Vec::new()
            }
            Work::List(node) => self.list(&node, visit),
            Work::Directory { parent, name } => {
                if let Ok(node) = self.enter(&parent, &name) {
                    self.list(&node, visit)
                } else {
                    self.unreadable += 1;
                    Vec::new()
                }
            }
        }
    }

    fn enter(&self, parent: &Node, name: &OsStr) -> Result<Arc<Node>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | QUIETLY;
        Ok(Arc::new(Node {
            fd: Arc::new(open_at(
                &parent.fd,
                Path::new(name),
                flags,
                self.tree.resolve,
            )?),
            real: parent.real.join(name),
            depth: parent.depth + 1,
            rules: Arc::clone(&parent.rules),
        }))
    }

    /// Visits what a directory holds, and gives what is left to do below it.
    fn list(&mut self, node: &Arc<Node>, visit: &impl Fn(&mut S, &Entry<'_>)) -> Vec<Work> {
        let Ok(mut entries) = self.entries(node) else {
            self.unreadable += 1;
            return Vec::new();
        };
        let mut rules = Arc::clone(&node.rules);
        if self.options.ignore {
            let has = |name: &str| entries.iter().any(|(entry, _)| entry == name);
            rules = Rules::inside(&rules, node.fd.as_fd(), &node.real, self.tree.resolve, has);
        }
        self.leave_out(&mut entries, node, &rules);
        let node = Arc::new(Node {
            fd: Arc::clone(&node.fd),
            real: node.real.clone(),
            depth: node.depth,
            rules,
        });
        let mut work = Vec::new();
        if self.options.recursive && node.depth < DEEPEST {
            work.extend(
                entries
                    .iter()
                    .filter(|(name, kind)| *kind == Kind::Directory && name != ".git")
                    .map(|(name, _)| Work::Directory {
                        parent: Arc::clone(&node),
                        name: name.clone(),
                    }),
            );
        }
        if self.options.threads > 1 {
            while entries.len() > BATCH {
                work.push(Work::Files {
                    node: Arc::clone(&node),
                    files: entries.split_off(entries.len() - BATCH),
                });
            }
        }
        self.visit(&node, &entries, visit);
        work
    }

    fn visit(
        &mut self,
        node: &Node,
        entries: &[(OsString, Kind)],
        visit: &impl Fn(&mut S, &Entry<'_>),
    ) {
        for (name, kind) in entries {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let entry = Entry {
                tree: self.tree,
                node,
                name,
                kind: *kind,
            };
            visit(&mut self.state, &entry);
        }
    }

    fn leave_out(&mut self, entries: &mut Vec<(OsString, Kind)>, node: &Node, rules: &Rules) {
        if !self.options.hidden {
            entries.retain(|(name, _)| !name.as_bytes().starts_with(b"."));
        }
        if !self.options.ignore {
            return;
        }
        entries.retain(|(name, _)| name != ".git");
        if rules.is_empty() {
            return;
        }
        let before = entries.len();
        let mut path = node.real.clone();
        entries.retain(|(name, kind)| {
            path.push(name);
            let ignored = rules.ignores(&path, *kind == Kind::Directory);
            path.pop();
            !ignored
        });
        self.ignored += before - entries.len();
    }

    fn entries(&mut self, node: &Node) -> Result<Vec<(OsString, Kind)>, Errno> {
        let mut entries = Vec::new();
        self.buffer.clear();
        let mut reader = RawDir::new(&node.fd, self.buffer.spare_capacity_mut());
        while let Some(entry) = reader.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    rustix::fs::statat(&node.fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                        .map_or(Kind::Other, |stat| {
                            kind_of(FileType::from_raw_mode(stat.st_mode))
                        })
                }
                known => kind_of(known),
            };
            let name = OsString::from_vec(name.to_vec());
            // What is denied shows not even its name.
            if !self.denials || !self.policy.is_denied(&node.real.join(&name)) {
                entries.push((name, kind));
            }
        }
        Ok(entries)
    }
}

fn kind_of(kind: FileType) -> Kind {
    match kind {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}
