//! Mounts as open files: taken from the machine, restricted, and put into the new root. No path is looked
//! up twice.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// What is not allowed on a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restrictions {
    pub(super) read_only: bool,
    pub(super) no_execute: bool,
    pub(super) no_devices: bool,
}

/// `MOUNT_ATTR_IDMAP`, which not every C library knows.
const OWNER_MAP: u64 = 0x0010_0000;

/// As the kernel knows it; the C library need not.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// A copy of the mount of a path, detached from every tree.
pub(super) fn take(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, path, flags | OpenTreeFlags::AT_RECURSIVE)?)
}

/// A copy of the mount of something already open.
pub(super) fn take_open(file: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let recursive = if recursive {
        OpenTreeFlags::AT_RECURSIVE
    } else {
        OpenTreeFlags::empty()
    };
    Ok(open_tree(file, "", flags | recursive)?)
}

/// Restricts a mount and all below it.
pub(super) fn restrict(mount: impl AsFd, what: Restrictions) -> io::Result<()> {
    let mut set = MountAttrFlags::MOUNT_ATTR_NOSUID;
    set.set(MountAttrFlags::MOUNT_ATTR_NODEV, what.no_devices);
    set.set(MountAttrFlags::MOUNT_ATTR_RDONLY, what.read_only);
    set.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, what.no_execute);
    set_attributes(
        mount,
        c"",
        true,
        &MountAttributes {
            set: u64::from(set.bits()),
            clear: 0,
            propagation: 0,
            user_namespace: 0,
        },
    )
}

/// Makes files of one owner appear as those of another, as the user namespace maps them.
pub(super) fn map_owners(mount: impl AsFd, namespace: BorrowedFd<'_>) -> io::Result<()> {
    set_attributes(
        mount,
        c"",
        true,
        &MountAttributes {
            set: OWNER_MAP,
            clear: 0,
            propagation: 0,
            user_namespace: u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX),
        },
    )
}

/// Cuts the whole tree off from mounts that others make.
pub(super) fn make_private() -> io::Result<()> {
    set_attributes(
        CWD,
        c"/",
        true,
        &MountAttributes {
            set: 0,
            clear: 0,
            propagation: libc::MS_PRIVATE,
            user_namespace: 0,
        },
    )
}

/// Makes the mount at a path of this tree read-only, without those below it.
pub(super) fn close_root() -> io::Result<()> {
    let set = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    set_attributes(
        CWD,
        c"/",
        false,
        &MountAttributes {
            set: u64::from(set.bits()),
            clear: 0,
            propagation: 0,
            user_namespace: 0,
        },
    )
}

fn set_attributes(
    mount: impl AsFd,
    path: &CStr,
    recursive: bool,
    attributes: &MountAttributes,
) -> io::Result<()> {
    let mut flags = if path.is_empty() {
        libc::AT_EMPTY_PATH
    } else {
        0
    };
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    #[expect(unsafe_code, reason = "the library does not know this call")]
    // SAFETY: the path is terminated and the attributes live through the call with their own size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A new file system, detached from every tree.
pub(super) fn new_filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let filesystem = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&filesystem, *key, *value)?;
    }
    fsconfig_create(&filesystem)?;
    Ok(fsmount(
        &filesystem,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// Puts a detached mount over an open file or directory.
pub(super) fn place(mount: impl AsFd, over: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", over, "", flags)?)
}

/// Opens something below a directory without following any link or leaving it.
pub(super) fn open_below(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, flags, Mode::empty(), resolve)?)
}

/// Opens a place of the new root for a mount, making it and the directories above it where they are missing.
/// `path` is absolute.
pub(super) fn mount_point(
    root: BorrowedFd<'_>,
    path: &Path,
    directory: bool,
) -> io::Result<OwnedFd> {
    let path = path.strip_prefix("/").unwrap_or(path);
    match open_below(root, path) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        opened => return opened,
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    let parent = directories(root, parent)?;
    let Some(name) = path.file_name() else {
        return Ok(parent);
    };
    if directory {
        ignore_existing(mkdirat(&parent, name, Mode::from_bits_truncate(0o755)))?;
    } else {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        drop(openat(
            &parent,
            name,
            flags,
            Mode::from_bits_truncate(0o444),
        )?);
    }
    open_below(root, path)
}

/// Opens a directory of the new root, making it and those above it where they are missing.
pub(super) fn directories(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let path = path.strip_prefix("/").unwrap_or(path);
    match open_below(root, path) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        opened => return opened,
    }
    let above = directories(root, path.parent().unwrap_or(Path::new("")))?;
    if let Some(name) = path.file_name() {
        ignore_existing(mkdirat(&above, name, Mode::from_bits_truncate(0o755)))?;
    }
    open_below(root, path)
}

fn ignore_existing(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::EXIST) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
