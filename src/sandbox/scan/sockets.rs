//! Which sockets with names in the file system have an owner: asked of the kernel, so that no owner is disturbed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, netlink,
    recv, send, socket_with,
};

use super::Found;

/// Device (as the kernel encodes it) and inode of the names of all bound sockets of this network namespace.
/// `None` where the kernel does not tell.
pub(super) fn bound() -> Option<BTreeSet<(u32, u32)>> {
    ask().ok()
}

/// The device of `stat` as the kernel tells it here.
fn device(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    major << 20 | minor & 0xF_FFFF
}

/// Whether somebody owns a socket of the workspace; one whose owner is gone is only a name.
pub(super) fn has_owner(
    root: BorrowedFd<'_>,
    found: &Found,
    bound: Option<&BTreeSet<(u32, u32)>>,
) -> bool {
    let Some(bound) = bound else {
        // The kernel does not tell, so it may.
        return true;
    };
    let (device, inode) = found.identity;
    // The kernel tells the lower half.
    #[expect(clippy::cast_possible_truncation, reason = "both sides are cut alike")]
    let inode = inode as u32;
    bound.contains(&(self::device(device), inode)) || answers(root, &found.path)
}

/// Whether a socket is of another network namespace, which can only be tried.
fn answers(root: BorrowedFd<'_>, path: &[u8]) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let path = Path::new(OsStr::from_bytes(path));
    let Ok(file) = openat2(root, path, flags, Mode::empty(), resolve) else {
        return true;
    };
    // Its own path may be too long for an address.
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    match (address, socket) {
        (Ok(address), Ok(socket)) => connect(socket, &address) != Err(Errno::CONNREFUSED),
        _ => true,
    }
}

// Numbers of `linux/sock_diag.h`, `linux/unix_diag.h` and `linux/netlink.h`.
const BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const ALL_STATES: u32 = u32::MAX;
const SHOW_NAME_IN_FILES: u32 = 2;
const NAME_IN_FILES: u16 = 1;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const HEADER: usize = 16;
const MESSAGE: usize = 16;

fn ask() -> io::Result<BTreeSet<(u32, u32)>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut found = BTreeSet::new();
    let mut buffer = vec![0_u8; 256 << 10];
    while read(&socket, &mut buffer, &mut found)? {}
    Ok(found)
}

fn request() -> Vec<u8> {
    const LENGTH: u32 = 40;
    let mut bytes = Vec::new();
    bytes.extend(LENGTH.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST_DUMP.to_ne_bytes());
    bytes.extend([0; 8]);
    // Family, protocol, padding; states, inode, what to show, cookie.
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(ALL_STATES.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(SHOW_NAME_IN_FILES.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// Reads one datagram of the answer; tells whether there are more.
fn read(
    socket: impl AsFd,
    buffer: &mut [u8],
    found: &mut BTreeSet<(u32, u32)>,
) -> io::Result<bool> {
    let (length, _) = recv(socket, &mut *buffer, RecvFlags::empty())?;
    let mut rest = buffer.get(..length).unwrap_or_default();
    if rest.is_empty() {
        return Ok(false);
    }
    while let Some((length, kind)) = number_u32(rest, 0).zip(number_u16(rest, 4)) {
        let length = length as usize;
        let Some(message) = rest.get(HEADER..length) else {
            break;
        };
        match kind {
            DONE => return Ok(false),
            ERROR => return Err(io::ErrorKind::Unsupported.into()),
            _ => found.extend(name(message)),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// The name among the attributes of a socket.
fn name(message: &[u8]) -> Option<(u32, u32)> {
    let mut attributes = message.get(MESSAGE..)?;
    loop {
        let length = usize::from(number_u16(attributes, 0)?);
        if number_u16(attributes, 2)? == NAME_IN_FILES {
            let (inode, device) = (number_u32(attributes, 4)?, number_u32(attributes, 8)?);
            return Some((device, inode));
        }
        attributes = attributes.get(length.next_multiple_of(4).max(4)..)?;
    }
}

fn number_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

fn number_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;

    #[test]
    fn bound_sockets_are_told_and_forgotten_ones_are_not() {
        let place = tempfile::tempdir().unwrap();
        let identity = |name: &str| {
            let metadata = std::fs::symlink_metadata(place.path().join(name)).unwrap();
            (
                device(metadata.dev()),
                u32::try_from(metadata.ino()).unwrap(),
            )
        };
        let stream = UnixListener::bind(place.path().join("stream")).unwrap();
        let datagram = UnixDatagram::bind(place.path().join("datagram")).unwrap();
        drop(UnixListener::bind(place.path().join("dead")).unwrap());
        let found = bound().unwrap();
        assert!(found.contains(&identity("stream")));
        assert!(found.contains(&identity("datagram")));
        assert!(!found.contains(&identity("dead")));
        drop((stream, datagram));
    }
}
