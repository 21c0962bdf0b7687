//! What steers git: found in a `.git` of the workspace, and in the repository that a worktree belongs to.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};

use super::tree::{Seen, push};
use super::{Found, How, Kind, What};
use crate::sandbox::names::GIT_STEERING;

/// How deep submodules of submodules are looked for.
const DEEPEST: usize = 8;

/// Notes what belongs to an entry `.git`; tells whether it is covered by the directory's own change time.
pub(super) fn entry(directory: &OwnedFd, name: &[u8], kind: Kind, found: &mut Vec<Found>) -> bool {
    match kind {
        Kind::Directory => {
            note(directory, name, What::Cover(How::Pin), found);
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            if let Ok(open) = openat(directory, OsStr::from_bytes(name), flags, Mode::empty()) {
                steering(&open, name, found);
                modules(&open, name, DEEPEST, found);
                worktrees(&open, name, found);
            }
            // Its own contents change without the directory above it.
            false
        }
        Kind::File => {
            note(directory, name, What::Cover(How::ReadOnly), found);
            true
        }
        _ => true,
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
    let seen = Seen::from(&stat);
    found.push(Found {
        path: path.to_vec(),
        what,
        identity: (seen.device, seen.inode),
    });
    true
}

/// What in a git directory decides which programs git starts: read-only, or not to come into being.
fn steering(git: &OwnedFd, path: &[u8], found: &mut Vec<Found>) {
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

/// What leads the worktrees of a repository to it.
fn worktrees(git: &OwnedFd, path: &[u8], found: &mut Vec<Found>) {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(worktrees) = openat(git, "worktrees", flags, Mode::empty()) else {
        return;
    };
    for entry in Dir::read_from(&worktrees).into_iter().flatten().flatten() {
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if let Ok(open) = openat(&worktrees, OsStr::from_bytes(name), flags, Mode::empty()) {
            for steering in GIT_STEERING {
                let whole = [path, b"/worktrees/", name, b"/", steering].concat();
                note(&open, &whole, What::Cover(How::ReadOnly), found);
            }
        }
    }
}

/// The git directories of submodules, which may have submodules.
fn modules(git: &OwnedFd, path: &[u8], depth: usize, found: &mut Vec<Found>) {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(modules) = openat(git, "modules", flags, Mode::empty()) else {
        return;
    };
    let mut below = path.to_vec();
    push(&mut below, b"modules");
    module_directories(&modules, &below, depth, found);
}

fn module_directories(directory: &OwnedFd, path: &[u8], depth: usize, found: &mut Vec<Found>) {
    let Some(deeper) = depth.checked_sub(1) else {
        return;
    };
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    for entry in Dir::read_from(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let Ok(open) = openat(directory, OsStr::from_bytes(name), flags, Mode::empty()) else {
            continue;
        };
        let mut below = path.to_vec();
        push(&mut below, name);
        if statat(&open, "HEAD", AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            note(directory, &below, What::Cover(How::Pin), found);
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
