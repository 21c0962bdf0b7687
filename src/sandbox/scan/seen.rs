//! What tells that a directory is the same and unchanged, and which file systems tell it.
//!
//! The entries of a directory cannot change without its change time, which nobody can set; a mount over it
//! shows itself by another device, inode or mount.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::fs::{AtFlags, Stat, Statx, StatxFlags, fstatfs, makedev, statx};
use rustix::path::Arg;

use crate::files::{self, Keeper};

/// The numbers of mounts that are never used again (`STATX_MNT_ID_UNIQUE`, since Linux 6.8).
const MOUNT_FOR_EVER: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// What is asked.
const ASKED: StatxFlags = StatxFlags::INO
    .union(StatxFlags::CTIME)
    .union(StatxFlags::MNT_ID)
    .union(MOUNT_FOR_EVER);

/// What tells whether a directory is the same and unchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Seconds since 1970 and nanoseconds.
    pub(super) changed: (i64, u32),
    pub(super) mount: Mount,
}

/// A mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mount {
    /// 0 where the kernel does not tell.
    pub(super) number: u64,
    /// Whether no later mount has the same number.
    pub(super) is_for_ever: bool,
}

impl Seen {
    /// What stands at a path, without following a link.
    pub(super) fn at(directory: impl AsFd, path: impl Arg) -> rustix::io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statx(directory, path, flags, ASKED).map(Self::from)
    }

    /// What is open.
    pub(super) fn of(file: impl AsFd) -> rustix::io::Result<Self> {
        statx(file, "", AtFlags::EMPTY_PATH, ASKED).map(Self::from)
    }

    /// Whether it changed longer before a time since 1970; also when it changed before 1970.
    pub(super) fn is_older(&self, than: Duration, now: Duration) -> bool {
        let Ok(seconds) = u64::try_from(self.changed.0) else {
            return true;
        };
        Duration::new(seconds, self.changed.1) + than < now
    }
}

impl From<Statx> for Seen {
    fn from(stat: Statx) -> Self {
        let told = StatxFlags::from_bits_retain(stat.stx_mask);
        let is_for_ever = told.contains(MOUNT_FOR_EVER);
        let has_number = is_for_ever || told.contains(StatxFlags::MNT_ID);
        Self {
            device: makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
            mount: Mount {
                number: if has_number { stat.stx_mnt_id } else { 0 },
                is_for_ever,
            },
        }
    }
}

/// Device and inode.
pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// How far the change times of a mount are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// They tell nothing: somebody else changes what is there, and the kernel may hear of it late.
    Never,
    /// While the process lives, which holds what it saw.
    Here,
    /// Until the machine is started again.
    Always,
}

/// The mounts that were met.
#[derive(Clone, Debug, Default)]
pub(super) struct Trusted(pub(super) BTreeMap<(u64, Mount), Trust>);

impl Trusted {
    /// Whether the file system of a directory is known to tell.
    pub(super) fn knows(&self, seen: &Seen) -> bool {
        let known = self.0.get(&(seen.device, seen.mount));
        known.is_some_and(|trust| *trust != Trust::Never)
    }

    /// Whether the change time of an open directory tells when its entries changed.
    pub(super) fn tells(&mut self, seen: &Seen, directory: impl AsFd) -> bool {
        let mount = seen.mount;
        let trust = self.0.entry((seen.device, mount)).or_insert_with(|| {
            fstatfs(directory).map_or(Trust::Never, |told| trust(told.f_type, mount))
        });
        *trust != Trust::Never
    }
}

/// How far a file system is trusted: those of this kernel alone.
fn trust(kind: rustix::fs::FsWord, mount: Mount) -> Trust {
    match files::keeper(kind) {
        Keeper::Kernel => Trust::Always,
        Keeper::Layers if mount.is_for_ever => Trust::Always,
        // Another overlay of the same layer and others may get the same number.
        Keeper::Layers => Trust::Here,
        Keeper::Other => Trust::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_and_programs_are_not_trusted() {
        let mount = |is_for_ever| Mount {
            number: 7,
            is_for_ever,
        };
        for (kind, is_for_ever, expected) in [
            (0xEF53, false, Trust::Always),
            (0x0102_1994, true, Trust::Always),
            (0x794C_7630, true, Trust::Always),
            (0x794C_7630, false, Trust::Here),
            // NFS, FUSE, 9P, SMB.
            (0x6969, true, Trust::Never),
            (0x6573_5546, true, Trust::Never),
            (0x0102_1997, true, Trust::Never),
            (0xFE53_4D42_u32.cast_signed().into(), true, Trust::Never),
        ] {
            assert_eq!(trust(kind, mount(is_for_ever)), expected, "{kind:x}");
        }
        // As the kernel tells it where words have 32 bits.
        assert_eq!(
            trust(0x9123_683E_u32.cast_signed().into(), mount(false)),
            Trust::Always
        );
    }

    #[test]
    fn age_is_told_with_a_margin() {
        let seen = |changed| Seen {
            device: 1,
            inode: 2,
            changed,
            mount: Mount {
                number: 0,
                is_for_ever: false,
            },
        };
        let second = Duration::from_secs(1);
        let now = Duration::from_secs(100);
        assert!(seen((98, 999_999_999)).is_older(second, now));
        assert!(!seen((99, 0)).is_older(second, now));
        assert!(!seen((200, 0)).is_older(second, now));
        assert!(seen((-5, 0)).is_older(second, now));
    }
}
