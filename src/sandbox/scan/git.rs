//! What steers git: found in a `.git` of the workspace, and in the repository that a worktree belongs to.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

use super::seen::identity;
use super::tree::push;
use super::{Found, How, Kind, What};
use crate::sandbox::names::GIT_STEERING;

/// How deep submodules of submodules are looked for.
const DEEPEST: usize = 8;

/// Notes what belongs to an entry `.git`.
pub(super) fn entry(directory: &OwnedFd, name: &[u8], kind: Kind, found: &mut Vec<Found>) {
    keep(directory, name, found);
    match kind {
        Kind::Directory => {
            if let Some(open) = open(directory, name, name, found) {
                steering(&open, name, found);
                modules(&open, name, DEEPEST, found);
                worktrees(&open, name, found);
            }
        }
        Kind::File => {
            note(directory, name, What::Cover(How::ReadOnly), found);
        }
        _ => {}
    }
}

/// The same for a `.git` that is a link: what it leads to, where that is in the workspace.
pub(super) fn linked(workspace: &Path, link: &[u8], found: &mut Vec<Found>) {
    let link = workspace.join(OsStr::from_bytes(link));
    let real = std::fs::canonicalize(link).unwrap_or_default();
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
            modules(&git, &path, DEEPEST, found);
            worktrees(&git, &path, found);
        }
    }
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
pub(super) struct Layout {
    head: bool,
    objects: bool,
    refs: bool,
    common: bool,
}

impl Layout {
    pub(super) fn note(&mut self, name: &[u8]) {
        match name {
            b"HEAD" => self.head = true,
            b"objects" => self.objects = true,
            b"refs" => self.refs = true,
            b"commondir" => self.common = true,
            _ => {}
        }
    }

    pub(super) fn is_repository(&self) -> bool {
        self.head && (self.common || self.objects && self.refs)
    }
}

/// Notes what belongs to a git directory that is not called `.git`.
pub(super) fn bare(directory: &OwnedFd, found: &mut Vec<Found>) {
    steering(directory, b"", found);
    modules(directory, b"", DEEPEST, found);
    worktrees(directory, b"", found);
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

/// A path below a git directory, which may be the place of the search itself.
fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut below = path.to_vec();
    push(&mut below, name);
    below
}

/// What leads the worktrees of a repository to it.
fn worktrees(git: &OwnedFd, path: &[u8], found: &mut Vec<Found>) {
    let path = below(path, b"worktrees");
    let Some(worktrees) = open(git, b"worktrees", &path, found) else {
        return;
    };
    for entry in Dir::read_from(&worktrees).into_iter().flatten().flatten() {
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let path = below(&path, name);
        if let Some(open) = open(&worktrees, name, &path, found) {
            repository(&open, &path, found);
            for steering in GIT_STEERING {
                let whole = below(&path, steering);
                note(&open, &whole, What::Cover(How::ReadOnly), found);
            }
        }
    }
}

/// The git directories of submodules, which may have submodules.
fn modules(git: &OwnedFd, path: &[u8], depth: usize, found: &mut Vec<Found>) {
    let below = below(path, b"modules");
    if let Some(modules) = open(git, b"modules", &below, found) {
        module_directories(&modules, &below, depth, found);
    }
}

fn module_directories(directory: &OwnedFd, path: &[u8], depth: usize, found: &mut Vec<Found>) {
    for entry in Dir::read_from(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let mut below = path.to_vec();
        push(&mut below, name);
        let Some(deeper) = depth.checked_sub(1) else {
            note(directory, &below, What::Cover(How::ReadOnly), found);
            continue;
        };
        let Some(open) = open(directory, name, &below, found) else {
            continue;
        };
        if statat(&open, "HEAD", AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            steering(&open, &below, found);
            modules(&open, &below, deeper, found);
        } else {
            // Names of submodules may have slashes.
            module_directories(&open, &below, deeper, found);
        }
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
