//! Writing: a new file beside the old one takes its name, so that nothing is ever half written
//! and nothing is written through a link.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::open::{QUIETLY, is_in_proc, open_at, path_of};
use super::{Access, Workspace, path};
use crate::tools::{Before, Change, ToolError};

/// The largest file that is changed or kept for an undo.
const LARGEST: u64 = 10 * 1024 * 1024;

/// The most bytes that Linux lets the names or the value of an extended attribute have.
const LARGEST_ATTRIBUTE: usize = 64 * 1024;

/// Changes of one file follow each other, so that two edits at once lose neither. Files share a
/// lock by the hash of their place; which one does not matter.
static TURNS: [Mutex<()>; 64] = [const { Mutex::new(()) }; 64];

/// What a change of a file did.
#[derive(Debug)]
pub(in crate::tools) struct Replaced {
    /// Whether the file was not there before.
    pub(in crate::tools) created: bool,
}

/// The place of a file that is to be written.
struct Slot<'a> {
    directory: &'a OwnedFd,
    name: &'a OsStr,
    written: &'a str,
}

impl Workspace {
    /// Replaces a file by what `change` makes of what it held, creating the directories on the way. The mode of the file stays as it is.
    pub(in crate::tools) fn replace(
        &self,
        written: &str,
        change: impl FnOnce(&Before) -> Result<Vec<u8>, ToolError>,
    ) -> Result<Replaced, ToolError> {
        let place = self.place(written, Access::Write)?;
        let Some((parent, name)) = path::split(&place.relative) else {
            return Err(ToolError::tell(format!(
                "`{written}` is a directory, not a file"
            )));
        };
        let (directory, made) = self.parent(place.root.fd(), &parent, &name, written)?;
        let real = self.check_slot(directory.as_fd(), &name, written)?;
        let slot = Slot {
            directory: &directory,
            name: &name,
            written,
        };
        let turn = TURNS.get(turn_of(&real)).map(|turn| {
            // A panic of another writer left no file half written.
            turn.lock().unwrap_or_else(PoisonError::into_inner)
        });
        let old = self.old(&slot)?;
        if let Some((stat, _)) = &old {
            self.check_writable(&slot, stat)?;
        }
        if old
            .as_ref()
            .is_some_and(|(stat, _)| Self::is_another_name(&self.policy.secrets(), &real, stat))
        {
            return Err(Self::secret(written));
        }
        let before = before(old.as_ref(), written)?;
        let content = change(&before)?;
        self.put(&slot, old.as_ref(), &content)?;
        if let Some(changes) = &self.changes {
            let change = Change {
                path: real,
                before,
                after: Sha256::digest(&content).into(),
                made,
            };
            changes.note(&self.policy, change);
        }
        drop(turn);
        Ok(Replaced {
            created: old.is_none(),
        })
    }

    /// What a file of a directory holds.
    pub(super) fn content(
        &self,
        directory: &OwnedFd,
        name: &OsStr,
        written: &str,
    ) -> Result<Before, ToolError> {
        let slot = Slot {
            directory,
            name,
            written,
        };
        before(self.old(&slot)?.as_ref(), written)
    }

    /// Opens the directory of a file, making it where it is missing; with the directories that were made, the innermost
    /// first.
    pub(super) fn parent(
        &self,
        root: BorrowedFd<'_>,
        parent: &Path,
        name: &OsStr,
        written: &str,
    ) -> Result<(OwnedFd, Vec<PathBuf>), ToolError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fail = |error| self.failed(written, error);
        let mut missing: Vec<OsString> = Vec::new();
        let mut existing = parent.to_owned();
        let mut directory = loop {
            match open_at(root, &existing, flags, self.flags()) {
                Ok(directory) => break directory,
                Err(Errno::NOENT) => {
                    let Some(Component::Normal(last)) = existing.components().next_back() else {
                        return Err(fail(Errno::NOENT));
                    };
                    missing.push(last.to_owned());
                    existing.pop();
                    if existing.as_os_str().is_empty() {
                        existing.push(".");
                    }
                }
                Err(error) => return Err(fail(error)),
            }
        };
        if !missing.is_empty() {
            // What a link has led to may be protected: known before anything is made.
            let rest: PathBuf = missing.iter().rev().collect();
            self.check_slot(directory.as_fd(), rest.join(name).as_os_str(), written)?;
        }
        let mut made = Vec::new();
        while let Some(next) = missing.pop() {
            let is_made = match rustix::fs::mkdirat(&directory, &next, Mode::from_raw_mode(0o777)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(fail(error)),
            };
            let flags = flags | OFlags::NOFOLLOW;
            directory = open_at(&directory, Path::new(&next), flags, self.flags()).map_err(fail)?;
            if is_made {
                made.insert(0, path_of(&directory).map_err(fail)?);
            }
        }
        Ok((directory, made))
    }

    /// Where the file really lies, after the policy has seen it.
    pub(super) fn check_slot(
        &self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        written: &str,
    ) -> Result<PathBuf, ToolError> {
        let real = path_of(directory)
            .map_err(|error| self.failed(written, error))?
            .join(name);
        if self.policy.is_secret(&real) {
            return Err(Self::secret(written));
        }
        if self.policy.is_protected(&real)
            || completes_repository(&real)
            || self.policy.is_started_in_repository(&real)
        {
            return Err(ToolError::refused(format!(
                "`{written}` is protected: changing it is not allowed"
            )));
        }
        if is_in_proc(directory) {
            return Err(ToolError::refused(format!(
                "`{written}` lies in /proc: writing it is not allowed"
            )));
        }
        Ok(real)
    }

    /// The file that is replaced, open for reading; `None` when there is none.
    fn old(&self, slot: &Slot<'_>) -> Result<Option<(Stat, File)>, ToolError> {
        let Slot {
            directory,
            name,
            written,
        } = slot;
        let stat = match rustix::fs::statat(directory, *name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed(written, error)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => {
                return Err(ToolError::tell(format!(
                    "`{written}` is a directory, not a file"
                )));
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(directory, *name, Vec::new())
                    .map(|target| target.to_string_lossy().into_owned())
                    .unwrap_or_default();
                return Err(ToolError::refused(format!(
                    "`{written}` is a symbolic link to `{target}`: writing through it is not \
                     allowed, name the file itself"
                )));
            }
            _ => return Err(Self::not_regular(written)),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | QUIETLY;
        let file = open_at(directory, Path::new(name), flags, self.flags())
            .map_err(|error| self.failed(written, error))?;
        let opened = rustix::fs::fstat(&file).map_err(|error| self.failed(written, error))?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(changed_meanwhile(written));
        }
        Ok(Some((opened, File::from(file))))
    }

    /// What the system would not let be written is not replaced either, though its directory would let that be done.
    fn check_writable(&self, slot: &Slot<'_>, stat: &Stat) -> Result<(), ToolError> {
        let written = slot.written;
        let mode = stat.st_mode & 0o777;
        if mode & 0o222 == 0 {
            // Of root, too: who took the right to write from everybody meant it.
            return Err(ToolError::tell(format!(
                "`{written}` is read-only (mode {mode:04o}): nothing was written"
            )));
        }
        let write = rustix::fs::Access::WRITE_OK;
        let flags = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::accessat(slot.directory, slot.name, write, flags)
            .map_err(|error| self.failed(written, error))
    }

    /// Writes a new file beside the place and gives it the name, unless the old file has changed
    /// since it was read.
    fn put(
        &self,
        slot: &Slot<'_>,
        old: Option<&(Stat, File)>,
        content: &[u8],
    ) -> Result<(), ToolError> {
        let Slot {
            directory,
            name,
            written,
        } = slot;
        let fail = |error: Errno| self.failed(written, error);
        let full = |error: std::io::Error| {
            ToolError::tell(format!("`{written}` could not be written: {error}"))
        };
        let temporary = Temporary::beside(directory, name).map_err(fail)?;
        let mut file = &temporary.file;
        file.write_all(content).map_err(full)?;
        if let Some((old, file)) = old {
            // An owner that this user cannot give away stays ours; the mode comes after it,
            // since a change of owner clears bits of the mode.
            let owner = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
            let _unowned = rustix::fs::fchown(&temporary.file, Some(owner.0), Some(owner.1));
            copy_attributes(file, &temporary.file);
            let mode = Mode::from_raw_mode(old.st_mode & 0o777);
            rustix::fs::fchmod(&temporary.file, mode).map_err(fail)?;
        }
        file.sync_all().map_err(full)?;
        let now = rustix::fs::statat(directory, *name, AtFlags::SYMLINK_NOFOLLOW);
        let same = match (old, &now) {
            (Some((old, _)), Ok(now)) => version(old) == version(now),
            (None, Err(Errno::NOENT)) => true,
            _ => false,
        };
        if !same {
            return Err(changed_meanwhile(written));
        }
        match temporary.take_name(name, old.is_some()) {
            Err(Errno::EXIST) => Err(changed_meanwhile(written)),
            done => done.map_err(fail),
        }
    }
}

/// What stands before the eight digits at the end of a temporary name.
const TEMPORARY: &str = ".orch-";

/// Whether this is the name of a file that takes another one, or is removed, in a moment.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let digits = name
        .len()
        .checked_sub(8)
        .and_then(|at| name.split_at_checked(at));
    digits.is_some_and(|(before, digits)| {
        before.ends_with(TEMPORARY.as_bytes()) && digits.iter().all(u8::is_ascii_hexdigit)
    })
}

/// A file under a name of its own, removed unless it takes another name.
struct Temporary<'a> {
    directory: &'a OwnedFd,
    name: OsString,
    file: File,
    renamed: bool,
}

impl<'a> Temporary<'a> {
    fn beside(directory: &'a OwnedFd, name: &OsStr) -> Result<Self, Errno> {
        let short = name.as_bytes().get(..200).unwrap_or(name.as_bytes());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mut last = Errno::EXIST;
        for _ in 0..8 {
            let mut unique = OsString::from(".");
            unique.push(OsStr::from_bytes(short));
            unique.push(format!("{TEMPORARY}{:08x}", fastrand::u32(..)));
            let mode = Mode::from_raw_mode(0o666);
            match rustix::fs::openat(directory, &unique, flags | OFlags::CLOEXEC, mode) {
                Ok(fd) => {
                    return Ok(Self {
                        directory,
                        name: unique,
                        file: File::from(fd),
                        renamed: false,
                    });
                }
                Err(Errno::EXIST) => last = Errno::EXIST,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn take_name(mut self, name: &OsStr, replace: bool) -> Result<(), Errno> {
        let (directory, own) = (self.directory, &self.name);
        let careful = RenameFlags::NOREPLACE;
        let renamed = if replace {
            Err(Errno::INVAL)
        } else {
            rustix::fs::renameat_with(directory, own, directory, name, careful)
        };
        match renamed {
            // Some file systems know only the plain call.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::renameat(directory, own, directory, name)?;
            }
            done => done?,
        }
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            let _gone = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::empty());
        }
    }
}

/// Copies the user's notes about a file, its access list and its label, as far as the system lets that be done. What
/// vouches for its content (capabilities, signatures) does not outlive a change of it.
fn copy_attributes(from: &File, to: &File) {
    let mut names = vec![0; LARGEST_ATTRIBUTE];
    let length = rustix::fs::flistxattr(from, &mut names).unwrap_or(0);
    let names = names.get(..length).unwrap_or_default();
    for name in names.split(|byte| *byte == 0) {
        let kept = name.starts_with(b"user.")
            || [&b"system.posix_acl_access"[..], b"security.selinux"].contains(&name);
        let mut value = vec![0; LARGEST_ATTRIBUTE];
        if kept
            && let Ok(length) = rustix::fs::fgetxattr(from, name, &mut value)
            && let Some(value) = value.get(..length)
        {
            let _unkept = rustix::fs::fsetxattr(to, name, value, XattrFlags::empty());
        }
    }
}

/// What tells one state of a file from another.
fn version(stat: &Stat) -> (u64, u64, i64, i64, u64) {
    (
        stat.st_dev,
        stat.st_ino,
        stat.st_size,
        stat.st_mtime,
        stat.st_mtime_nsec,
    )
}

fn changed_meanwhile(written: &str) -> ToolError {
    ToolError::tell(format!(
        "`{written}` was changed by something else in the meantime: nothing was written, read it again"
    ))
}

pub(super) fn before(old: Option<&(Stat, File)>, written: &str) -> Result<Before, ToolError> {
    Ok(match old {
        Some((stat, _)) if u64::try_from(stat.st_size).unwrap_or(0) > LARGEST => Before::TooLarge,
        Some((_, file)) => Before::Content(read_all(file, written)?),
        None => Before::Absent,
    })
}

fn read_all(mut file: &File, written: &str) -> Result<Vec<u8>, ToolError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| ToolError::tell(format!("`{written}` could not be read: {error}")))?;
    Ok(bytes)
}

fn turn_of(path: &Path) -> usize {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    usize::try_from(hasher.finish() % 64).unwrap_or(0)
}

/// Whether a file belongs, with what stands around it, to a git directory under another name than `.git`: git takes
/// settings and hooks from such a one too.
fn completes_repository(real: &Path) -> bool {
    const PARTS: [&str; 7] = [
        "HEAD",
        "commondir",
        "config",
        "config.worktree",
        "hooks",
        "objects",
        "refs",
    ];
    real.ancestors().any(|part| {
        let has = |name: &str| {
            part.ends_with(name) || part.with_file_name(name).symlink_metadata().is_ok()
        };
        PARTS.iter().any(|name| part.ends_with(name))
            && has("HEAD")
            && (has("commondir") || has("objects") && has("refs"))
    })
}
