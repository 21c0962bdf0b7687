//! Signals that are read from a file.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};

/// Signals of one kind, held back from the process.
pub(super) struct Signals(OwnedFd);

impl Signals {
    /// Reads signals that [`hold`] holds back.
    pub(super) fn of(signal: libc::c_int) -> io::Result<Self> {
        let set = only(signal);
        #[expect(unsafe_code, reason = "the library does not know this call")]
        // SAFETY: the set is initialised; the number is a new file of nobody else.
        unsafe {
            let file = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if file < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(file)))
        }
    }

    /// Forgets those that came so far.
    pub(super) fn drain(&self) {
        let mut buffer = [0_u8; 1024];
        // What they stand for is asked of the kernel; this only empties the file.
        _ = rustix::io::read(&self.0, &mut buffer);
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Holds a signal back, in this thread and all that it starts.
pub(super) fn hold(signal: libc::c_int) -> io::Result<()> {
    let set = only(signal);
    #[expect(unsafe_code, reason = "the library does not know this call")]
    // SAFETY: the set is initialised and lives through the call.
    let result =
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn only(signal: libc::c_int) -> libc::sigset_t {
    #[expect(unsafe_code, reason = "the library does not know these calls")]
    // SAFETY: the set is initialised before a signal is added.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        set
    }
}
