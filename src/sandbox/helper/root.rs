//! The new root: built from nothing, so that what is not named is not there.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, fchmod, fstat, mkdirat, openat, statat, symlinkat};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::process::{chdir, fchdir, pivot_root};

use super::super::plan::{Cover, How, Place, Plan};
use super::failure::{Done, Failure, at};
use super::identity::Identity;
use super::mounts::{
    Restrictions, close_root, directories, make_private, mount_point, new_filesystem, open_below,
    place, restrict, take, take_open,
};
use super::sources::{Sources, take_all};

/// Files of the machine larger than this are not copied.
const COPIED: u64 = 1 << 20;

/// What in `/proc` is about the machine: read-only at most.
const PROC_READ_ONLY: [&str; 5] = ["sys", "irq", "bus", "fs", "acpi"];

/// What in `/proc` tells of the machine's memory and keys: not to be read.
const PROC_HIDDEN: [&str; 8] = [
    "kcore",
    "keys",
    "kallsyms",
    "kmsg",
    "timer_list",
    "sched_debug",
    "sysrq-trigger",
    "latency_stats",
];

/// Builds the root of the plan and makes it the root of this process.
pub(super) fn enter(plan: &Plan, identity: Identity, sources: Option<Sources>) -> Done<()> {
    make_private().map_err(at("cut off the mounts"))?;
    let sources = match sources {
        Some(sources) => sources,
        None => take_all(plan, identity)?,
    };
    let root = if plan.whole_disk {
        take(Path::new("/")).map_err(at("take the whole disk"))?
    } else {
        new_filesystem(
            "tmpfs",
            &[("mode", "0755"), ("size", "16m")],
            MountAttrFlags::MOUNT_ATTR_NOSUID,
        )
        .map_err(at("make a new root"))?
    };
    // The scratch file system holds everything that a command may write besides the workspace.
    let size = plan.limits.temporary.to_string();
    let scratch = new_filesystem(
        "tmpfs",
        // Each entry takes memory of the kernel, which counts as nobody's.
        &[("mode", "0755"), ("size", &size), ("nr_inodes", "400k")],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )
    .map_err(at("make a file system for temporary files"))?;
    attach_root(&root)?;
    // Before Linux 6.15 the kernel takes no parts of a mount that lies nowhere. It goes before the root is changed.
    place(&scratch, &root).map_err(at("place the file system for temporary files"))?;
    let blanks = Blanks::new(&scratch)?;
    let mut scratches = 0;
    for (index, wanted) in plan.places.iter().enumerate() {
        let source = sources.mounts.get(index).and_then(Option::as_ref);
        match wanted {
            Place::Bind { .. } => {
                if let Some(source) = source {
                    put(&root, &source.mount, source.target.path())?;
                }
            }
            Place::Scratch { target, shared } => {
                scratches += 1;
                let executable = plan.executable.is_none();
                let mount = scratch_part(&scratch, scratches, *shared, executable)
                    .map_err(at(format!("make {target:?}")))?;
                put(&root, &mount, target.path())?;
            }
            other => simple(&root, other)?,
        }
    }
    if identity.owner.is_some() {
        name_user(&root, plan, identity).map_err(at("name the user"))?;
    }
    pseudo_filesystems(&root, &blanks, plan.limits.processes)?;
    for cover in &plan.covers {
        lay(&root, cover, &blanks)?;
    }
    pivot(&root, plan.whole_disk)
}

/// The new root lies over the old one until it takes its place.
fn attach_root(root: &OwnedFd) -> Done<()> {
    let over = open_root().map_err(at("open the root"))?;
    place(root, over).map_err(at("place the new root"))
}

fn open_root() -> rustix::io::Result<OwnedFd> {
    rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn put(root: &OwnedFd, mount: &OwnedFd, target: &Path) -> Done<()> {
    let failed = |error| at(format!("place {}", target.display()))(error);
    let directory = fstat(mount).is_ok_and(|stat| is_directory(stat.st_mode));
    let over = mount_point(root.as_fd(), target, directory).map_err(failed)?;
    place(mount, over).map_err(failed)
}

/// An entry for a number that has no account, before the machine's own. Where that one lies in the new root itself,
/// to be read or written, it stays as it is.
fn name_user(root: &OwnedFd, plan: &Plan, identity: Identity) -> std::io::Result<()> {
    let (uid, gid) = identity.inside;
    let home = plan
        .environment
        .iter()
        .find(|(name, _)| name.0 == b"HOME")
        .map_or_else(|| "/".into(), |(_, home)| home.path().to_string_lossy());
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    if !known
        .lines()
        .any(|line| line.split(':').nth(2) == Some(&number))
    {
        let own = format!("user:x:{uid}:{gid}:user:{home}:/bin/bash\n");
        write_own(root, "etc/passwd", &(own + &known))?;
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let own = format!("user:x:{gid}:\n");
        write_own(root, "etc/group", &(own + &groups))?;
    }
    Ok(())
}

/// Writes a file of the new root's own file system; leaves alone what is bound there.
fn write_own(root: &OwnedFd, path: &str, content: &str) -> std::io::Result<()> {
    let device = fstat(root)?.st_dev;
    let is_own = Path::new(path)
        .ancestors()
        .find_map(|path| statat(root, path, AtFlags::SYMLINK_NOFOLLOW).ok())
        .is_none_or(|nearest| nearest.st_dev == device);
    if is_own {
        write(root, &Path::new("/").join(path), content.as_bytes())?;
    }
    Ok(())
}

/// What needs no mount.
fn simple(root: &OwnedFd, wanted: &Place) -> Done<()> {
    match wanted {
        Place::Copy { source, target } => {
            copy(root, source.path(), target.path()).map_err(at(format!("copy {source:?}")))
        }
        Place::Directory { target } => directories(root.as_fd(), target.path())
            .map(drop)
            .map_err(at(format!("make {target:?}"))),
        Place::Link { target, to } => {
            let path = target.path();
            let parent = directories(root.as_fd(), path.parent().unwrap_or(path))
                .map_err(at(format!("make a directory for {target:?}")))?;
            symlinkat(to.path(), &parent, path.file_name().unwrap_or_default())
                .map_err(at(format!("link {target:?}")))
        }
        Place::Bind { .. } | Place::Scratch { .. } => Ok(()),
    }
}

fn copy(root: &OwnedFd, source: &Path, target: &Path) -> std::io::Result<()> {
    let Ok(file) = fs::File::open(source) else {
        return Ok(());
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > COPIED {
        return Ok(());
    }
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut &file, &mut content)?;
    write(root, target, &content)
}

/// Writes a small file into the new root.
pub(super) fn write(root: impl AsFd, target: &Path, content: &[u8]) -> std::io::Result<()> {
    let parent = directories(root.as_fd(), target.parent().unwrap_or(target))?;
    let name = target.file_name().unwrap_or_default();
    let flags =
        OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(parent, name, flags, Mode::from_bits_truncate(0o644))?;
    std::io::Write::write_all(&mut fs::File::from(file), content)
}

/// A directory of the scratch file system as a mount of its own.
fn scratch_part(
    scratch: &OwnedFd,
    number: u32,
    shared: bool,
    executable: bool,
) -> std::io::Result<OwnedFd> {
    let name = number.to_string();
    let mode = Mode::from_bits_truncate(if shared { 0o1777 } else { 0o700 });
    mkdirat(scratch, &name, mode)?;
    let directory = openat(
        scratch,
        &name,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    if shared {
        // The mode of a new directory is cut by the umask.
        fchmod(
            openat(
                scratch,
                &name,
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )?,
            mode,
        )?;
    }
    let mount = take_open(directory, false)?;
    restrict(
        &mount,
        Restrictions {
            read_only: false,
            no_execute: !executable,
            no_devices: true,
        },
    )?;
    Ok(mount)
}

/// What is laid over things that must not be read: a file and a directory that nobody may open.
struct Blanks {
    file: OwnedFd,
    directory: OwnedFd,
}

impl Blanks {
    fn new(scratch: &OwnedFd) -> Done<Self> {
        let failed = || at("make the covers");
        let nothing = Mode::empty();
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        drop(openat(scratch, "file", create, nothing).map_err(failed())?);
        mkdirat(scratch, "directory", nothing).map_err(failed())?;
        let open = |name| openat(scratch, name, OFlags::PATH | OFlags::CLOEXEC, nothing);
        Ok(Self {
            file: open("file").map_err(failed())?,
            directory: open("directory").map_err(failed())?,
        })
    }

    fn cover(&self, directory: bool) -> std::io::Result<OwnedFd> {
        let blank = if directory {
            &self.directory
        } else {
            &self.file
        };
        read_only(blank, false)
    }
}

/// A read-only mount of something open.
fn read_only(file: impl AsFd, recursive: bool) -> std::io::Result<OwnedFd> {
    let mount = take_open(file, recursive)?;
    restrict(
        &mount,
        Restrictions {
            read_only: true,
            no_execute: false,
            no_devices: true,
        },
    )?;
    Ok(mount)
}

/// Lays one cover; what lies there must be what was looked at, or gone where others may have removed it.
fn lay(root: &OwnedFd, cover: &Cover, blanks: &Blanks) -> Done<()> {
    let failed = |error| at(format!("cover {:?} in {:?}", cover.path, cover.root))(error);
    let place_root = open_below(
        root,
        cover
            .root
            .path()
            .strip_prefix("/")
            .unwrap_or(cover.root.path()),
    )
    .map_err(failed)?;
    let gone = || {
        if cover.may_be_gone {
            Ok(())
        } else {
            Err(Failure::Changed)
        }
    };
    let Ok(under) = open_below(place_root, cover.path.path()) else {
        return gone();
    };
    let stat = fstat(&under).map_err(|error| failed(error.into()))?;
    if (stat.st_dev, stat.st_ino) != cover.identity && !cover.may_be_gone {
        return Err(Failure::Changed);
    }
    let mount = match cover.how {
        How::Pin => take_open(&under, true),
        How::ReadOnly => read_only(&under, true),
        How::Hide | How::HideDirectory => blanks.cover(is_directory(stat.st_mode)),
    };
    match mount.and_then(|mount| place(mount, under)) {
        // It was removed after it was opened.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => gone(),
        laid => laid.map_err(failed),
    }
}

/// Covers what stands at a path of the view where this process is; tells whether it does. For a directory there is
/// nothing that could lie over it.
pub(super) fn cover_again(path: &Path, how: How) -> std::io::Result<bool> {
    let root = open_root()?;
    let Ok(under) = open_below(&root, path.strip_prefix("/").unwrap_or(path)) else {
        return Ok(false);
    };
    let mount = match how {
        How::Pin | How::ReadOnly => read_only(&under, true),
        How::Hide => {
            let proc = open_below(&root, Path::new("proc"))?;
            let mut blanks = PROC_HIDDEN.iter();
            let Some(blank) = blanks.find_map(|name| open_below(&proc, Path::new(name)).ok())
            else {
                return Ok(false);
            };
            read_only(&blank, false)
        }
        How::HideDirectory => return Ok(false),
    };
    place(mount?, under)?;
    Ok(true)
}

/// `/proc` of the new process namespace, and terminals of the command's own.
fn pseudo_filesystems(root: &OwnedFd, blanks: &Blanks, processes: u64) -> Done<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = new_filesystem("proc", &[], attributes).map_err(at("mount /proc"))?;
    put(root, &proc, Path::new("/proc"))?;
    set_kernel_limits(&proc, processes)?;
    for name in PROC_READ_ONLY {
        if let Ok(under) = open_below(&proc, Path::new(name)) {
            let mount = read_only(&under, true).map_err(at("close /proc"))?;
            place(mount, under).map_err(at("close /proc"))?;
        }
    }
    for name in PROC_HIDDEN {
        if let Ok(under) = open_below(&proc, Path::new(name)) {
            let mount = blanks.cover(false).map_err(at("cover /proc"))?;
            place(mount, under).map_err(at("cover /proc"))?;
        }
    }
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let terminals = new_filesystem(
        "devpts",
        &[("mode", "0620"), ("ptmxmode", "0666")],
        attributes,
    )
    .map_err(at("mount /dev/pts"))?;
    put(root, &terminals, Path::new("/dev/pts"))
}

/// Limits that the kernel keeps by namespace: no further user namespaces, and a highest process number.
fn set_kernel_limits(proc: &OwnedFd, processes: u64) -> Done<()> {
    // Numbers below this are not given again once the count has passed them.
    const RESERVED: u64 = 300;
    let set = |file: &str, value: u64| -> Done<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let open = openat(proc, file, flags, Mode::empty()).map_err(at(file))?;
        rustix::io::write(open, value.to_string().as_bytes()).map_err(at(file))?;
        Ok(())
    };
    set("sys/user/max_user_namespaces", 0)?;
    // Before that version the file is the whole machine's.
    if kernel_is_at_least(6, 14) {
        set("sys/kernel/pid_max", RESERVED + processes)?;
    }
    Ok(())
}

/// Whether the running kernel is this version or newer.
fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let name = rustix::system::uname();
    let text = name.release().to_string_lossy();
    let mut numbers = text
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
}

fn pivot(root: &OwnedFd, whole_disk: bool) -> Done<()> {
    fchdir(root).map_err(at("enter the new root"))?;
    // The file system for temporary files lies over it, whose parts have their own places by now.
    unmount(".", UnmountFlags::DETACH).map_err(at("clear the new root"))?;
    pivot_root(".", ".").map_err(at("change the root"))?;
    // The old root lies over the new one now.
    unmount(".", UnmountFlags::DETACH).map_err(at("leave the old root"))?;
    chdir("/").map_err(at("enter the new root"))?;
    if whole_disk {
        Ok(())
    } else {
        close_root().map_err(at("close the new root"))
    }
}

fn is_directory(mode: u32) -> bool {
    mode & libc::S_IFMT == libc::S_IFDIR
}
