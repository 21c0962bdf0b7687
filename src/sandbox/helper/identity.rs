//! Who a command is: the user itself, or, for root, nobody that owns anything.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::failure::{Done, at};

/// A number that no account has: commands of root run under it, so that nothing of root is theirs.
const NOBODY: u32 = 1_869_767_528;

/// The number under which such a command sees itself.
const INSIDE: u32 = 60_001;

/// Who a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Number inside the sandbox.
    pub(super) inside: (u32, u32),
    /// Number for the rest of the machine.
    pub(super) outside: (u32, u32),
    /// Owner of the workspace on disk, whose files appear as the command's own; `None` when that is it anyway.
    pub(super) owner: Option<(u32, u32)>,
}

impl Identity {
    /// The calling user as it is.
    pub(super) fn own() -> Self {
        let ids = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        Self {
            inside: ids,
            outside: ids,
            owner: None,
        }
    }

    /// For root: somebody else, to whom the owner of the workspace is mapped. `None` for everybody else, and
    /// where this machine's root is not allowed to be anybody else.
    pub(super) fn for_root(workspace: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let outside = unused_number()?;
        let owner = fs::metadata(workspace).ok()?;
        let inside = |owner| if owner == 0 { INSIDE } else { owner };
        Some(Self {
            inside: (inside(owner.uid()), inside(owner.gid())),
            outside: (outside, outside),
            owner: Some((owner.uid(), owner.gid())),
        })
    }

    /// Gives the calling process this identity in its new user namespace.
    pub(super) fn assume(self) -> Done<()> {
        use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
        let (uid, gid) = (
            rustix::process::Uid::from_raw(self.inside.0),
            rustix::process::Gid::from_raw(self.inside.1),
        );
        set_thread_groups(&[]).map_err(at("drop the groups"))?;
        set_thread_res_gid(gid, gid, gid).map_err(at("change the group"))?;
        set_thread_res_uid(uid, uid, uid).map_err(at("change the user"))
    }
}

/// A number that root may use here: in a container only some are mapped.
fn unused_number() -> Option<u32> {
    let range = |file: &str| {
        let map = fs::read_to_string(file).ok()?;
        map.lines()
            .filter_map(|line| {
                let mut numbers = line.split_whitespace().map(str::parse::<u64>);
                let first = numbers.next()?.ok()?;
                let count = numbers.nth(1)?.ok()?;
                Some((first, first + count))
            })
            .max_by_key(|(first, end)| end - first)
    };
    let (users, groups) = (range("/proc/self/uid_map")?, range("/proc/self/gid_map")?);
    let end = users.1.min(groups.1);
    let number = u64::from(NOBODY).min(end.checked_sub(3)?);
    // Low numbers have accounts.
    (number > 60_000).then(|| u32::try_from(number).ok())?
}

/// Writes the maps of a process's new user namespace, from outside.
pub(super) fn write_maps(process: &str, user: (u32, u32), group: (u32, u32)) -> io::Result<()> {
    fs::write(
        format!("/proc/{process}/uid_map"),
        format!("{} {} 1", user.0, user.1),
    )?;
    fs::write(
        format!("/proc/{process}/gid_map"),
        format!("{} {} 1", group.0, group.1),
    )
}

/// A user namespace that maps the workspace's owner to the command, for the owners of mounts; and the process
/// that made it, killed: whoever reaps it later need not wait for its end.
pub(super) fn owner_namespace(
    owner: (u32, u32),
    outside: (u32, u32),
) -> io::Result<(OwnedFd, Pid)> {
    let (held, hold) = pipe_with(PipeFlags::CLOEXEC)?;
    match clone(libc::CLONE_NEWUSER)? {
        None => {
            drop(hold);
            // Waits to be killed, or for the end of its parent.
            let mut byte = [0_u8; 1];
            _ = rustix::io::read(&held, &mut byte);
            leave(0);
        }
        Some(maker) => {
            let number = maker.as_raw_nonzero();
            let namespace = write_maps(
                &number.to_string(),
                (owner.0, outside.0),
                (owner.1, outside.1),
            )
            .and_then(|()| fs::File::open(format!("/proc/{number}/ns/user")));
            kill_process(maker, Signal::KILL)?;
            match namespace {
                Ok(file) => Ok((file.into(), maker)),
                Err(error) => {
                    reap(maker);
                    Err(error)
                }
            }
        }
    }
}

/// Waits for the end of a child.
pub(super) fn reap(child: Pid) {
    // Nobody else can have done it.
    _ = waitpid(Some(child), WaitOptions::empty());
}

/// A new process with new namespaces; `None` in it.
pub(super) fn clone(namespaces: libc::c_int) -> io::Result<Option<Pid>> {
    let flags = libc::c_ulong::try_from(namespaces | libc::SIGCHLD).unwrap_or(0);
    let none = std::ptr::null::<libc::c_void>();
    #[expect(
        unsafe_code,
        reason = "the library has no call for namespaces and a fork in one"
    )]
    // SAFETY: as fork: this process has one thread, and no memory is shared.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    match i32::try_from(pid) {
        Ok(-1) | Err(_) => Err(io::Error::last_os_error()),
        Ok(pid) => Ok(Pid::from_raw(pid)),
    }
}

/// Ends the process at once, without what the library does at the end.
pub(super) fn leave(code: i32) -> ! {
    #[expect(
        unsafe_code,
        reason = "a forked process must not run the exit handlers of its parent"
    )]
    // SAFETY: the call takes a number and does not return.
    unsafe {
        libc::_exit(code)
    }
}
