//! What in the workspace must be covered before a command sees it: secrets, sockets of other processes,
//! what steers git.
//!
//! The tree of directories is remembered with the change time of each, which nobody can set; a scan asks for
//! these times and reads again only what changed. Between processes it is kept in the state directory.

mod ask;
mod cache;
mod git;
mod links;
mod seen;
mod sockets;
mod tree;

pub(super) use cache::Cache;
pub(super) use git::{Layout, external_directory};
pub(super) use tree::{Scan, ScanError};

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::names::{holds_secret, keeps_credentials};
use super::plan::How;

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// Its path below the workspace.
    pub(super) path: Vec<u8>,
    pub(super) what: What,
    /// Device and inode.
    pub(super) identity: (u64, u64),
}

impl Found {
    /// The same where the directory is a part of another one.
    fn below(self, directory: &[u8]) -> Self {
        let mut path = directory.to_vec();
        tree::push(&mut path, &self.path);
        Self { path, ..self }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// It is covered in this way.
    Cover(How),
    /// A socket: covered while somebody listens on it.
    Socket,
    /// A name that a git directory does not have and must not get.
    Missing,
    /// A git directory, under whatever name.
    Repository,
    /// A `.git`, whose place nothing else may take.
    Kept {
        /// Whether it is a symbolic link.
        is_link: bool,
    },
}

/// The rules of a scan: which paths below the workspace are denied by the user.
pub(super) struct Rules<'a> {
    pub(super) denied: &'a dyn Fn(&Path) -> bool,
}

/// What a directory entry is for the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link,
    Socket,
    Other,
}

/// What becomes of an entry; `None` when it is nothing special.
fn verdict(rules: &Rules<'_>, path: &Path, name: &[u8], kind: Kind) -> Option<What> {
    if (rules.denied)(path) {
        return Some(What::Cover(match kind {
            Kind::Directory => How::HideDirectory,
            _ => How::Hide,
        }));
    }
    match kind {
        Kind::Directory => None,
        Kind::Socket => Some(What::Socket),
        _ => (holds_secret(name) || keeps_credentials(path.as_os_str().as_bytes()))
            .then_some(What::Cover(How::Hide)),
    }
}
