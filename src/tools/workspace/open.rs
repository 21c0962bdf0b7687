//! The calls that resolve and open in one step.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a path is resolved again when something was renamed in the middle.
const TRIES: usize = 16;

/// Always: never inherited by a child, never waiting for the other end of a pipe, never taking a
/// terminal.
pub(super) const QUIETLY: OFlags = OFlags::CLOEXEC
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Opens what the path leads to, beneath the directory.
pub(super) fn open_at(
    directory: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let directory = directory.as_fd();
    let mut last = Errno::AGAIN;
    for _ in 0..TRIES {
        match rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve) {
            // The kernel could not be sure where `..` led while something was being renamed.
            Err(error @ (Errno::AGAIN | Errno::INTR)) => last = error,
            done => return done,
        }
    }
    Err(last)
}

/// The path of an open file, as the kernel knows it now.
pub(super) fn path_of(fd: impl AsFd) -> Result<PathBuf, Errno> {
    let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    let bytes = rustix::fs::readlink(link, Vec::new())?.into_bytes();
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// Whether the file lies in `/proc`, where a process's environment can be read.
pub(super) fn is_in_proc(fd: impl AsFd) -> bool {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    rustix::fs::fstatfs(fd).is_ok_and(|statistics| statistics.f_type == PROC_SUPER_MAGIC)
}
