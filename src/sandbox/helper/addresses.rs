//! Socket addresses as bytes that were read once.

use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// An address as the system takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) Vec<u8>);

/// The family of a socket.
pub(super) fn family(socket: &OwnedFd) -> io::Result<i32> {
    let mut family = 0_i32;
    let mut length = libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4);
    #[expect(
        unsafe_code,
        reason = "the library does not tell families that it does not know"
    )]
    // SAFETY: the value and its length live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DOMAIN,
            (&raw mut family).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(family)
    } else {
        Err(io::Error::last_os_error())
    }
}

impl Address {
    /// Where an open socket file can be connected to, whatever its path.
    pub(super) fn of_file(file: &OwnedFd) -> Self {
        let mut bytes = u16::try_from(libc::AF_UNIX)
            .unwrap_or(0)
            .to_ne_bytes()
            .to_vec();
        bytes.extend(format!("/proc/self/fd/{}\0", file.as_raw_fd()).bytes());
        Self(bytes)
    }

    /// What a socket is bound to.
    pub(super) fn bound(socket: &OwnedFd) -> io::Result<Self> {
        let mut storage = MaybeUninit::<[u8; 128]>::zeroed();
        let mut length: libc::socklen_t = 128;
        #[expect(unsafe_code, reason = "the address is kept as bytes")]
        // SAFETY: the storage and its length live through the call; all zeros are valid bytes.
        let (result, storage) = unsafe {
            let result = libc::getsockname(
                socket.as_raw_fd(),
                storage.as_mut_ptr().cast(),
                &raw mut length,
            );
            (result, storage.assume_init())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let length = usize::try_from(length).unwrap_or(0);
        Ok(Self(storage.get(..length).unwrap_or_default().to_vec()))
    }

    pub(super) fn connect(&self, socket: &OwnedFd) -> io::Result<()> {
        #[expect(unsafe_code, reason = "the address is kept as bytes")]
        // SAFETY: the address and its length describe a vector that lives through the call.
        let result =
            unsafe { libc::connect(socket.as_raw_fd(), self.0.as_ptr().cast(), self.length()) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    pub(super) fn bind(&self, socket: &OwnedFd) -> io::Result<()> {
        #[expect(unsafe_code, reason = "the address is kept as bytes")]
        // SAFETY: the address and its length describe a vector that lives through the call.
        let result =
            unsafe { libc::bind(socket.as_raw_fd(), self.0.as_ptr().cast(), self.length()) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    fn length(&self) -> libc::socklen_t {
        libc::socklen_t::try_from(self.0.len()).unwrap_or(0)
    }

    fn family(&self) -> i32 {
        self.bytes(0)
            .map_or(libc::AF_UNSPEC, |bytes| u16::from_ne_bytes(bytes).into())
    }

    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at + N)?.try_into().ok()
    }

    /// Whether no port was chosen yet.
    pub(super) fn is_without_port(&self) -> bool {
        self.bytes(2) == Some([0, 0])
    }

    /// For an address that stands for all of a machine's: the loopback with the same port.
    pub(super) fn any_as_loopback(&self) -> Option<Self> {
        let mut bytes = self.0.clone();
        match self.family() {
            libc::AF_INET if self.bytes(4)? == [0; 4] => {
                bytes
                    .get_mut(4..8)?
                    .copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
            }
            // Both families at once: the older one, which everybody tries.
            libc::AF_INET6 if self.bytes(8)? == [0; 16] => {
                let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
                bytes.get_mut(8..24)?.copy_from_slice(&mapped.octets());
            }
            _ => return None,
        }
        Some(Self(bytes))
    }
}

/// The address, when it is one of the loopback or none at all.
pub(super) fn loopback(address: &Address) -> Option<Address> {
    let inside = match address.family() {
        libc::AF_UNSPEC => true,
        libc::AF_INET => Ipv4Addr::from(address.bytes::<4>(4)?).is_loopback(),
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(address.bytes::<16>(8)?);
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
        _ => false,
    };
    inside.then(|| address.clone())
}

/// The path of an address in the file system.
pub(super) fn pathname(address: &Address) -> Option<&Path> {
    let name = address.0.get(2..)?;
    let name = name.split(|byte| *byte == 0).next()?;
    (address.family() == libc::AF_UNIX && !name.is_empty())
        .then(|| Path::new(OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(ip: [u8; 4], port: u16) -> Address {
        let mut bytes = 2_u16.to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend(ip);
        bytes.extend([0; 8]);
        Address(bytes)
    }

    fn v6(ip: &str, port: u16) -> Address {
        let mut bytes = 10_u16.to_ne_bytes().to_vec();
        bytes.extend(port.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(ip.parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend([0; 4]);
        Address(bytes)
    }

    #[test]
    fn only_the_loopback_passes() {
        for (address, passes) in [
            (v4([127, 0, 0, 1], 80), true),
            (v4([127, 8, 9, 1], 80), true),
            (v4([0, 0, 0, 0], 80), false),
            (v4([10, 0, 0, 1], 80), false),
            (v4([169, 254, 169, 254], 80), false),
            (v6("::1", 80), true),
            (v6("::ffff:127.0.0.1", 80), true),
            (v6("::ffff:10.0.0.1", 80), false),
            (v6("::", 80), false),
            (v6("fe80::1", 80), false),
            (Address(vec![0, 0]), true),
            (Address(vec![]), true),
            (Address(vec![2, 0, 0, 80]), false),
            (Address(vec![16, 0, 0, 0]), false),
        ] {
            assert_eq!(loopback(&address).is_some(), passes, "{address:?}");
        }
    }

    #[test]
    fn all_addresses_become_the_loopback() {
        assert_eq!(
            v4([0; 4], 81).any_as_loopback(),
            Some(v4([127, 0, 0, 1], 81))
        );
        assert_eq!(
            v6("::", 81).any_as_loopback(),
            Some(v6("::ffff:127.0.0.1", 81))
        );
        assert_eq!(v4([10, 0, 0, 1], 81).any_as_loopback(), None);
        assert!(v4([0; 4], 0).is_without_port());
    }

    #[test]
    fn names_in_the_file_system_are_told_from_others() {
        let unix = |name: &[u8]| Address([&1_u16.to_ne_bytes(), name].concat());
        assert_eq!(pathname(&unix(b"/tmp/s\0\0")), Some(Path::new("/tmp/s")));
        assert_eq!(pathname(&unix(b"s")), Some(Path::new("s")));
        assert_eq!(pathname(&unix(b"\0abstract")), None);
        assert_eq!(pathname(&unix(b"")), None);
    }
}
