//! Whether somebody would let this process go on that was stopped.

use rustix::process::{Pid, getpgid, getppid, getsid};

use super::table::parent;

/// Whether this process has a shell above it: an ancestor in the same session that put it into a group of its own.
/// Without one nobody lets it go on, and the kernel stops no such program for Ctrl-Z.
///
/// Source: POSIX, "Orphaned Process Group".
pub(crate) fn can_be_resumed() -> bool {
    let (Ok(group), Ok(session)) = (getpgid(None), getsid(None)) else {
        return false;
    };
    let mut above = getppid();
    while let Some(ancestor) = above {
        match getpgid(Some(ancestor)) {
            Ok(other) if other == group => {
                above = parent(ancestor.as_raw_nonzero().get()).and_then(Pid::from_raw);
            }
            Ok(_) => return getsid(Some(ancestor)) == Ok(session),
            Err(_) => return false,
        }
    }
    false
}
