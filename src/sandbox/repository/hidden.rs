//! Git directories where the search does not go: in directories that nobody may list, that lie too deep, or that
//! the user's rules hide. Git finds them all the same when their path is named.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, fstat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::sandbox::scan::Layout;

/// How a directory is opened of which only the place is needed.
pub(super) const PLACE: OFlags = OFlags::DIRECTORY
    .union(OFlags::PATH)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// A directory on the way down.
struct Level {
    /// The directories in it that were not entered yet.
    names: Vec<Vec<u8>>,
    identity: (u64, u64),
}

/// Looks through a directory, however deep it is, and gives `repository` every git directory. What nobody may list is
/// opened to its owner; tells how often that was needed.
pub(super) fn search(place: &OwnedFd, repository: &mut dyn FnMut(&OwnedFd)) -> io::Result<usize> {
    let mut opened = 0;
    let mut enter = |place: &OwnedFd, name: &[u8]| -> io::Result<(OwnedFd, Level)> {
        let (directory, was_shut) = usable(place, 0o500)?;
        opened += usize::from(was_shut);
        let stat = fstat(&directory)?;
        let (names, is_repository) = list(&directory)?;
        let identity = (stat.st_dev, stat.st_ino);
        if is_repository || name == b".git" {
            repository(&directory);
        }
        Ok((directory, Level { names, identity }))
    };
    // The path may be longer than the kernel takes, and have more directories than a process may have open.
    let (mut here, top) = enter(place, b"")?;
    let mut levels = vec![top];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.names.pop() {
            match openat(&here, OsStr::from_bytes(&name), PLACE, Mode::empty()) {
                Ok(place) => {
                    let (below, level) = enter(&place, &name)?;
                    levels.push(level);
                    here = below;
                }
                // It is gone, or no directory.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
            continue;
        }
        levels.pop();
        if let Some(level) = levels.last() {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            here = openat(&here, "..", flags, Mode::empty())?;
            let stat = fstat(&here)?;
            if (stat.st_dev, stat.st_ino) != level.identity {
                return Err(io::Error::other("directories were moved meanwhile"));
            }
        }
    }
    Ok(opened)
}

/// The directories in a directory, and whether it is a git directory.
fn list(directory: &OwnedFd) -> io::Result<(Vec<Vec<u8>>, bool)> {
    let (mut names, mut layout) = (Vec::new(), Layout::default());
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        layout.note(name);
        let may_be = matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
        if may_be && !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok((names, layout.is_repository()))
}

/// Opens a directory whose place is open, and lets its owner do there what the bits say that are `needed`; tells
/// whether they could not.
pub(super) fn usable(place: impl AsFd, needed: u32) -> io::Result<(OwnedFd, bool)> {
    let place = place.as_fd();
    let stat = fstat(place)?;
    let is_own = stat.st_uid == geteuid().as_raw();
    let is_shut = is_own && stat.st_mode & needed != needed;
    if is_shut {
        // What is only a place has no other name that could not be exchanged meanwhile.
        let name = format!("/proc/self/fd/{}", place.as_raw_fd());
        let mode = Mode::from_raw_mode(stat.st_mode | needed);
        chmodat(CWD, name, mode, AtFlags::empty())?;
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok((openat(place, ".", flags, Mode::empty())?, is_shut))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn everything_is_looked_through() {
        let place = tempfile::tempdir().unwrap();
        let mut here = rustix::fs::open(place.path(), PLACE, Mode::empty()).unwrap();
        for depth in 0..600 {
            let name = OsStr::new("a-rather-long-name");
            rustix::fs::mkdirat(&here, name, Mode::RWXU).unwrap();
            here = openat(&here, name, PLACE, Mode::empty()).unwrap();
            if depth % 200 == 0 {
                for part in ["x", "x/HEAD", "x/refs", "x/objects", ".git"] {
                    rustix::fs::mkdirat(&here, part, Mode::RWXU).unwrap();
                }
            }
        }
        let shut = place.path().join("a-rather-long-name/x");
        std::fs::set_permissions(&shut, PermissionsExt::from_mode(0o111)).unwrap();
        let top = rustix::fs::open(place.path(), PLACE, Mode::empty()).unwrap();
        let mut found = 0;
        let opened = search(&top, &mut |_| found += 1).unwrap();
        assert_eq!((found, opened), (6, 1));
        let mode = shut.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o511);
    }
}
