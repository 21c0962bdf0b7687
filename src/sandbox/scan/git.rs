//! What steers git: found in a `.git` of the workspace, and in the repository that a worktree belongs to.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::seen::identity;
use super::tree::push;
use super::{Found, How, Kind, What};
use crate::sandbox::names::GIT_STEERING;

/// No path that a file `.git` names is longer, bytes.
const LONGEST_NAMED: u64 = 8 << 10;

/// Notes what belongs to an entry `.git`.
pub(super) fn entry(directory: &OwnedFd, name: &[u8], kind: Kind, found: &mut Vec<Found>) {
    keep(directory, name, found);
    match kind {
        Kind::Directory => {
            if let Some(open) = open(directory, name, name, found) {
                steering(&open, name, found);
                keep_parts(&open, name, found);
            }
        }
        Kind::File => {
            note(directory, name, What::Cover(How::ReadOnly), found);
        }
        _ => {}
    }
}

/// The same for a `.git` that is a link or a file that names a directory: what it leads to, where that is in the
/// workspace.
pub(super) fn linked(workspace: &Path, link: &[u8], kind: Kind, found: &mut Vec<Found>) {
    let link = workspace.join(OsStr::from_bytes(link));
    let named = match kind {
        Kind::Link => Some(link),
        Kind::File => named(&link),
        _ => None,
    };
    let real = named.and_then(|named| std::fs::canonicalize(named).ok());
    let real = real.unwrap_or_default();
    let Some((parent, below)) = real.parent().zip(real.strip_prefix(workspace).ok()) else {
        return;
    };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if let (Ok(parent), Some(name)) = (openat(CWD, parent, flags, Mode::empty()), real.file_name())
    {
        // The slash says that the path starts at the workspace.
        let path = [b"/", below.as_os_str().as_bytes()].concat();
        if let Some(git) = open(&parent, name.as_bytes(), &path, found) {
            steering(&git, &path, found);
            keep_parts(&git, &path, found);
        }
    }
}

/// The directory that a file `.git` names.
fn named(link: &Path) -> Option<PathBuf> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = openat(CWD, link, flags, Mode::empty()).ok()?;
    let mut text = Vec::new();
    File::from(file)
        .take(LONGEST_NAMED)
        .read_to_end(&mut text)
        .ok()?;
    let named = text.strip_prefix(b"gitdir:")?.trim_ascii();
    Some(link.parent()?.join(OsStr::from_bytes(named)))
}

/// Opens a directory that is part of a repository and pins it; where it cannot be looked through, it cannot be
/// changed either.
fn open(directory: impl AsFd, name: &[u8], path: &[u8], found: &mut Vec<Found>) -> Option<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened =
        openat(&directory, OsStr::from_bytes(name), flags, Mode::empty()).and_then(|open| {
            statat(&open, ".", AtFlags::empty())?;
            Ok(open)
        });
    let how = match &opened {
        Ok(_) => How::Pin,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return None,
        Err(_) => How::ReadOnly,
    };
    note(&directory, path, What::Cover(how), found);
    opened.ok()
}

/// Notes what stands at a `.git` now, of whatever kind.
fn keep(directory: &OwnedFd, name: &[u8], found: &mut Vec<Found>) {
    if let Ok(stat) = statat(
        directory,
        OsStr::from_bytes(name),
        AtFlags::SYMLINK_NOFOLLOW,
    ) {
        found.push(Found {
            path: name.to_vec(),
            what: What::Kept {
                is_link: FileType::from_raw_mode(stat.st_mode) == FileType::Symlink,
            },
            identity: identity(&stat),
        });
    }
}

fn note(directory: impl AsFd, path: &[u8], what: What, found: &mut Vec<Found>) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let stat = statat(
        directory,
        OsStr::from_bytes(name),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    let Ok(stat) = stat else {
        return false;
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        return false;
    }
    found.push(Found {
        path: path.to_vec(),
        what,
        identity: identity(&stat),
    });
    true
}

/// What in a directory makes it a git directory, which need not be called `.git`.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Layout {
    head: bool,
    objects: bool,
    refs: bool,
    common: bool,
    steering: bool,
}

impl Layout {
    pub(in crate::sandbox) fn note(&mut self, name: &[u8]) {
        match name {
            b"HEAD" => self.head = true,
            b"objects" => self.objects = true,
            b"refs" => self.refs = true,
            b"commondir" => self.common = true,
            b"config" | b"hooks" => self.steering = true,
            _ => {}
        }
    }

    pub(in crate::sandbox) fn is_repository(&self) -> bool {
        self.head && (self.common || self.objects && self.refs)
    }

    /// Whether it is one in a `.git` that is not whole yet. Among branches there may be any name.
    pub(super) fn is_begun(&self, path: &[u8]) -> bool {
        self.head
            && self.steering
            && is_within(path)
            && !path.split(|byte| *byte == b'/').any(|name| name == b"refs")
    }
}

/// Notes what belongs to a git directory that is not called `.git`.
pub(super) fn bare(directory: &OwnedFd, found: &mut Vec<Found>) {
    steering(directory, b"", found);
    keep_parts(directory, b"", found);
}

/// Whether a path lies in a `.git`.
pub(super) fn is_within(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|name| name == b".git")
}

/// Whether a path in a `.git` lies where names say nothing: a branch may be called as a key is, and an object as
/// anything that is written in hexadecimal.
pub(super) fn is_named_by_git(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/')
        .skip_while(|name| *name != b".git")
        .any(|name| matches!(name, b"logs" | b"objects" | b"refs"))
}

/// Keeps a git directory that lies in a `.git` where it is.
pub(super) fn keep_within(workspace: impl AsFd, path: &[u8], found: &mut Vec<Found>) {
    for above in within(path) {
        let stat = statat(
            &workspace,
            OsStr::from_bytes(above),
            AtFlags::SYMLINK_NOFOLLOW,
        );
        if let Ok(stat) = stat {
            found.push(Found {
                path: [b"/", above].concat(),
                what: What::Cover(How::Pin),
                identity: identity(&stat),
            });
        }
    }
}

/// The directories between the outermost `.git` of a path and its end, with the end: in the place of one that was
/// renamed another could be made.
fn within(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate();
    let ends = ends.filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let all = ends.chain([path.len()]).filter_map(|end| path.get(..end));
    all.skip_while(|above| !is_within(above)).skip(1)
}

/// What in a git directory decides which programs git starts: read-only, or not to come into being.
fn steering(git: &OwnedFd, path: &[u8], found: &mut Vec<Found>) {
    repository(git, path, found);
    for name in GIT_STEERING {
        let mut whole = path.to_vec();
        push(&mut whole, name);
        if !note(git, &whole, What::Cover(How::ReadOnly), found) {
            found.push(Found {
                path: whole,
                what: What::Missing,
                identity: (0, 0),
            });
        }
    }
}

fn repository(git: &OwnedFd, path: &[u8], found: &mut Vec<Found>) {
    if let Ok(stat) = statat(git, ".", AtFlags::empty()) {
        found.push(Found {
            path: path.to_vec(),
            what: What::Repository,
            identity: identity(&stat),
        });
    }
}

/// Keeps in their places the directories that hold other git directories, which are found by themselves.
fn keep_parts(git: &OwnedFd, path: &[u8], found: &mut Vec<Found>) {
    for name in [b"modules".as_slice(), b"worktrees"] {
        let mut below = path.to_vec();
        push(&mut below, name);
        open(git, name, &below, found);
    }
}

/// The repository outside the workspace that the workspace is a worktree of. Its own record must name the
/// workspace: a file in the workspace alone could name any repository.
pub(in crate::sandbox) fn external_directory(workspace: &Path) -> Option<PathBuf> {
    let link = workspace.join(".git");
    let text = std::fs::read_to_string(&link).ok()?;
    let git = workspace.join(text.strip_prefix("gitdir:")?.trim());
    let git = std::fs::canonicalize(git).ok()?;
    let named = std::fs::read_to_string(git.join("gitdir")).ok()?;
    if std::fs::canonicalize(git.join(named.trim())).ok()? != std::fs::canonicalize(&link).ok()? {
        return None;
    }
    let common = std::fs::read_to_string(git.join("commondir")).ok()?;
    let common = std::fs::canonicalize(git.join(common.trim())).ok()?;
    let below = git.strip_prefix(&common).ok()?;
    (below.starts_with("worktrees") && !common.starts_with(workspace)).then_some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_git_gave() {
        for path in [
            ".git/refs",
            "a/.git/objects/db",
            ".git/modules/m/logs/x/.env",
        ] {
            assert!(is_named_by_git(path.as_bytes()), "{path}");
        }
        for path in [".git", ".git/.env", "refs/.git/info/x", ".git/modules/m/x"] {
            assert!(!is_named_by_git(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn what_lies_in_a_git_directory() {
        for (path, kept) in [
            ("", ""),
            ("a/b", ""),
            (".git", ""),
            (".gitx/a", ""),
            (".git/a", ".git/a"),
            ("s/.git/a/b", "s/.git/a s/.git/a/b"),
            (".git/a/.git/b", ".git/a .git/a/.git .git/a/.git/b"),
        ] {
            let all: Vec<_> = within(path.as_bytes())
                .map(String::from_utf8_lossy)
                .collect();
            assert_eq!(all.join(" "), kept, "{path}");
        }
    }
}
