//! Files of the user: written whole or not at all, and never through what somebody else put in their place.
//!
//! Logs and results stand in directories that agents may write to. Whoever can put a link, a pipe or a
//! second name of another file there must not gain a writer with the rights of the user.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FsWord, Mode, OFlags};
use rustix::io::Errno;

/// Who keeps what a file system holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// This kernel alone: ext2 to ext4, XFS, Btrfs, tmpfs, F2FS, bcachefs, ZFS.
    Kernel,
    /// This kernel, in layers of others: overlayfs.
    Layers,
    /// Another machine or program, or nobody knows: NFS, SMB, 9P, FUSE.
    Other,
}

/// Who keeps a file system of this type, as statfs(2) tells it.
///
/// Source: linux/magic.h, and those of bcachefs and ZFS.
pub fn keeper(kind: FsWord) -> Keeper {
    const LOCAL: [u32; 7] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x0102_1994,
        0xF2F5_2010,
        0xCA45_1A4E,
        0x2FC1_2FC1,
    ];
    const OVERLAY: u32 = 0x794C_7630;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "these numbers have 32 bits, whose sign is an accident"
    )]
    let kind = kind as u32;
    if LOCAL.contains(&kind) {
        Keeper::Kernel
    } else if kind == OVERLAY {
        Keeper::Layers
    } else {
        Keeper::Other
    }
}

const PRIVATE: Mode = Mode::from_raw_mode(0o600);

/// Makes a directory that only its owner enters, with those above it that are missing. One that is there keeps the
/// rights that the user gave it.
///
/// # Errors
/// When it cannot be made, or its name is that of something else.
pub fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A directory that is open, reached without following a link in its last name or below.
#[derive(Debug)]
pub struct Directory {
    file: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory. What is above it is followed wherever it leads: that is the user's own word.
    ///
    /// # Errors
    /// When it is not there, or when it is a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let file =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| told(error, path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Makes a directory where there is none, for its owner alone, and opens it.
    ///
    /// # Errors
    /// As [`Directory::open`], and when it cannot be made.
    pub fn make(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                private_dir(path)?;
                Self::open(path)
            }
            result => result,
        }
    }

    /// Makes the directory of this name where there is none, and opens it.
    ///
    /// # Errors
    /// As [`Directory::make`].
    pub fn within(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.file, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let path = self.path.join(name);
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let file = rustix::fs::openat(&self.file, name, flags, Mode::empty())
            .map_err(|error| told(error, &path))?;
        Ok(Self { file, path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file to append to, made where there is none.
    ///
    /// # Errors
    /// When it cannot be opened, or is a link, no file, or a file that another name leads to.
    pub fn appended(&self, name: &str) -> io::Result<File> {
        self.regular(name, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
    }

    /// Opens a file to read.
    ///
    /// # Errors
    /// As [`Directory::appended`].
    pub fn read(&self, name: &str) -> io::Result<File> {
        self.regular(name, OFlags::RDONLY)
    }

    fn regular(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let path = self.path.join(name);
        // A pipe without a reader would hold up whoever opens it.
        let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.file, name, flags | careful, PRIVATE)
            .map_err(|error| told(error, &path))?;
        let file = File::from(file);
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(refused(&path, "is not a file"));
        }
        if found.nlink() > 1 {
            return Err(refused(&path, "has another name, and it is left alone"));
        }
        Ok(file)
    }

    /// Writes a file under a temporary name, syncs it and renames it: whoever reads it sees the old or the
    /// new content, never half of it. Readable by its owner alone.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left behind then.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.replace(name, content, PRIVATE, File::sync_all)
    }

    /// The same for what need not outlive the machine: it is not synced, and may be torn after a crash.
    ///
    /// # Errors
    /// As [`Directory::write`].
    pub fn write_unsynced(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.replace(name, content, PRIVATE, |_| Ok(()))
    }

    /// Whether it belongs to whoever runs this program, and nobody else can write there.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn is_own(&self) -> io::Result<bool> {
        let stat = rustix::fs::fstat(&self.file)?;
        Ok(stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0)
    }

    fn replace(
        &self,
        name: &str,
        content: &[u8],
        mode: Mode,
        sync: fn(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let temporary = format!(".{name}.{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&self.file, &temporary, flags, mode);
        let opened = open().or_else(|error| {
            if error != Errno::EXIST {
                return Err(error);
            }
            // What a process of the same number left when it died.
            rustix::fs::unlinkat(&self.file, &temporary, AtFlags::empty())?;
            open()
        })?;
        let mut file = File::from(opened);
        let written = file
            .write_all(content)
            .and_then(|()| sync(&file))
            .and_then(|()| {
                Ok(rustix::fs::renameat(
                    &self.file, &temporary, &self.file, name,
                )?)
            });
        if written.is_err() {
            // What could not become the file is of no use to anybody.
            _ = rustix::fs::unlinkat(&self.file, &temporary, AtFlags::empty());
        }
        written
    }
}

/// Writes a file that the user named, whole or not at all, with these rights. It lasts when this returns.
///
/// # Errors
/// When it cannot be written; nothing is left behind then.
pub fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(refused(path, "is no name of a file"));
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // The user may reach the directory through links of their own.
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let directory = Directory {
        file: rustix::fs::open(parent, flags, Mode::empty())?,
        path: parent.to_owned(),
    };
    directory.replace(name, content, Mode::from_raw_mode(mode), File::sync_all)?;
    Ok(rustix::fs::fsync(&directory.file)?)
}

fn told(error: Errno, path: &Path) -> io::Error {
    let is_link = path
        .symlink_metadata()
        .is_ok_and(|found| found.is_symlink());
    match error {
        Errno::LOOP | Errno::NOTDIR if is_link => {
            refused(path, "is a link, and it is not followed")
        }
        Errno::NXIO => refused(path, "is not a file"),
        other => other.into(),
    }
}

fn refused(path: &Path, why: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("`{}` {why}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn files_are_written_whole_and_nothing_is_left() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::make(&home.path().join("a/b")).unwrap();
        directory.write("f", b"one").unwrap();
        std::fs::write(
            directory.path().join(format!(".f.{}", std::process::id())),
            "left",
        )
        .unwrap();
        directory.write("f", b"two").unwrap();
        let path = directory.path().join("f");
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            (mode(&home.path().join("a")), mode(directory.path())),
            (0o700, 0o700)
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);

        std::fs::create_dir(directory.path().join("d")).unwrap();
        directory.write("d", b"no").unwrap_err();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);

        let named = home.path().join("named.json");
        write_whole(&named, b"x", 0o644).unwrap();
        assert_eq!(std::fs::read(&named).unwrap(), b"x");
        write_whole(&home.path().join("absent/f"), b"x", 0o600).unwrap_err();
        write_whole(Path::new("/"), b"x", 0o600).unwrap_err();
    }

    #[test]
    fn links_are_replaced_or_refused_never_followed() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("victim"), "mine").unwrap();
        let inside = home.path().join("inside");
        let directory = Directory::make(&inside).unwrap();
        symlink(&outside, inside.join("sub")).unwrap();
        symlink(outside.join("victim"), inside.join("file")).unwrap();

        let words = |error: io::Error| error.to_string();
        let link = |name: &str| {
            format!(
                "`{}` is a link, and it is not followed",
                inside.join(name).display()
            )
        };
        assert_eq!(words(directory.within("sub").unwrap_err()), link("sub"));
        assert_eq!(
            words(Directory::make(&inside.join("sub")).unwrap_err()),
            link("sub")
        );
        assert_eq!(words(directory.appended("file").unwrap_err()), link("file"));
        assert_eq!(words(directory.read("file").unwrap_err()), link("file"));
        directory.write("file", b"new").unwrap();
        assert_eq!(std::fs::read(outside.join("victim")).unwrap(), b"mine");
        assert_eq!(std::fs::read(inside.join("file")).unwrap(), b"new");
    }
}
