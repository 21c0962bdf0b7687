//! Covers again what was replaced while the command runs. The helper is outside of the command's view, which only a
//! process of its own can enter: nothing leads back.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::super::plan::How;
use super::identity::{clone, leave};
use super::root::cover_again;

/// How long that may take: threads of this process may hold locks that the other one waits for in vain.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// The view of a command: its namespaces.
pub(super) struct View {
    user: OwnedFd,
    mounts: OwnedFd,
}

impl View {
    /// That of the first process of a command, which must not have closed itself to others yet.
    pub(super) fn of(process: Pid) -> io::Result<Self> {
        let open = |name| {
            let path = format!("/proc/{}/ns/{name}", process.as_raw_nonzero());
            open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        Ok(Self {
            user: open("user")?,
            mounts: open("mnt")?,
        })
    }

    /// Covers what stands at a path of the view now; tells whether it is covered.
    pub(super) fn cover(&self, path: &Path, how: How) -> bool {
        match clone(0) {
            Ok(None) => {
                let covered = self.enter().map_err(io::Error::from);
                let covered = covered.and_then(|()| cover_again(path, how));
                leave(i32::from(!covered.unwrap_or(false)))
            }
            Ok(Some(child)) => ended_well(child).unwrap_or(false),
            Err(_) => false,
        }
    }

    fn enter(&self) -> rustix::io::Result<()> {
        for (namespace, kind) in [
            (&self.user, LinkNameSpaceType::User),
            (&self.mounts, LinkNameSpaceType::Mount),
        ] {
            move_into_link_name_space(namespace.as_fd(), Some(kind))?;
        }
        Ok(())
    }
}

/// Whether a process ended by itself, soon, with 0.
fn ended_well(child: Pid) -> io::Result<bool> {
    let handle = pidfd_open(child, PidfdFlags::empty())?;
    if poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&PATIENCE)) != Ok(1) {
        pidfd_send_signal(&handle, Signal::KILL)?;
    }
    let ended = waitpid(Some(child), WaitOptions::empty())?;
    Ok(ended.is_some_and(|(_, status)| status.exit_status() == Some(0)))
}
