//! Notices of new names in directories.
//!
//! inotify would do, but the kernel lets whoever closes it wait until all its watches are gone: about 16 ms at
//! the end of every command (measured on Linux 6.18). The older `F_NOTIFY` of fcntl ends without a wait, and no
//! user has only so many of it; it tells only that something happened, which is all that is asked here.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use super::signals::{Signals, hold};

/// `DN_CREATE` and `DN_MULTISHOT`, which the library lacks: a new name, more than once.
const DN_CREATE: libc::c_int = 0x4;
const DN_MULTISHOT: libc::c_int = i32::MIN;

/// What tells that a directory has a new name.
pub(super) enum Notices {
    /// `SIGIO` of the directories' own files.
    Signals(Signals),
    /// Where the kernel was built or set up without those.
    Events(OwnedFd),
}

impl Notices {
    /// Notices of open directories, as long as they are open.
    pub(super) fn of<'a>(
        directories: impl Iterator<Item = BorrowedFd<'a>> + Clone,
    ) -> io::Result<Self> {
        hold(libc::SIGIO)?;
        let signals = Signals::of(libc::SIGIO)?;
        match directories.clone().try_for_each(tell) {
            Ok(()) => Ok(Self::Signals(signals)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => events(directories),
            Err(error) => Err(error),
        }
    }

    /// The file that can be read when there is one.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        match self {
            Self::Signals(signals) => signals.as_fd(),
            Self::Events(events) => events.as_fd(),
        }
    }

    /// Forgets those that came so far.
    pub(super) fn drain(&self) {
        match self {
            Self::Signals(signals) => signals.drain(),
            Self::Events(events) => {
                let mut buffer = [MaybeUninit::uninit(); 4096];
                let mut reader = Reader::new(events, &mut buffer);
                while reader.next().is_ok() {}
            }
        }
    }
}

/// Asks for a signal whenever a name is made in a directory or moved into it.
fn tell(directory: BorrowedFd<'_>) -> io::Result<()> {
    #[expect(unsafe_code, reason = "the library does not know this request")]
    // SAFETY: the directory is open and the request takes a number.
    let result = unsafe {
        libc::fcntl(
            directory.as_raw_fd(),
            libc::F_NOTIFY,
            DN_CREATE | DN_MULTISHOT,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn events<'a>(directories: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<Notices> {
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    for directory in directories {
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        inotify::add_watch(&events, path, flags)?;
    }
    Ok(Notices::Events(events))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::fs::Timespec;

    use super::*;

    fn told(notices: &Notices) -> bool {
        let mut files = [PollFd::from_borrowed_fd(notices.file(), PollFlags::IN)];
        poll(&mut files, Some(&Timespec::default())).unwrap() == 1
    }

    /// The way of kernels without the signals. Those go to whatever thread of this program does not hold them
    /// back, so that only the tests of the sandbox, where the helper is alone, can see them work.
    #[test]
    fn events_tell_of_new_names() {
        let place = tempfile::tempdir().unwrap();
        let [watched, other] = ["watched", "other"].map(|name| {
            let path = place.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        });
        let directory = std::fs::File::open(&watched).unwrap();
        let notices = events([directory.as_fd()].into_iter()).unwrap();
        std::fs::write(other.join("a"), "").unwrap();
        assert!(!told(&notices));
        std::fs::write(watched.join("b"), "").unwrap();
        assert!(told(&notices));
        notices.drain();
        std::fs::write(watched.join("b"), "changed").unwrap();
        assert!(!told(&notices));
        std::fs::rename(other.join("a"), watched.join("a")).unwrap();
        assert!(told(&notices));
        notices.drain();
        std::fs::rename(watched.join("a"), watched.join("c")).unwrap();
        assert!(told(&notices));
        notices.drain();
        std::os::unix::fs::symlink("b", watched.join("d")).unwrap();
        assert!(told(&notices));
    }
}
