//! Paths as a process of the command sees them.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

/// Opens what a thread calls by this path, in its own root and from its own directory.
pub(super) fn open_in_view(thread: u32, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let (base, resolve) = if path.is_absolute() {
        ("root", ResolveFlags::IN_ROOT)
    } else {
        ("cwd", ResolveFlags::BENEATH)
    };
    let base = open(
        format!("/proc/{thread}/{base}"),
        flags | OFlags::DIRECTORY,
        Mode::empty(),
    )?;
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(base, path, flags, Mode::empty(), resolve)?)
}
