//! What git would start in one git directory, taken out of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fchmod, fstat, openat, renameat, statat};

use super::hidden::{PLACE, usable};
use super::settings::{Verdict, without_programs};
use crate::sandbox::helper::set_aside;
use crate::sandbox::plan::Raw;

/// No configuration that git wrote is longer.
const LONGEST: u64 = 1 << 20;

/// A git directory.
pub(super) struct Git {
    directory: OwnedFd,
    pub(super) path: Raw,
    /// Whether it is that of a submodule.
    pub(super) is_module: bool,
    /// Whether it is that of a worktree, which names its repository.
    pub(super) is_worktree: bool,
}

impl Git {
    /// One that neither is a part of another nor belongs to one. What its owner could not change is opened to them.
    pub(super) fn new(place: impl AsFd, path: &Path) -> io::Result<Self> {
        Ok(Self {
            directory: usable(place, 0o700)?.0,
            path: path.into(),
            is_module: false,
            is_worktree: false,
        })
    }

    /// Takes out what names programs; gives the names of that.
    pub(super) fn disarm(&self) -> io::Result<Vec<String>> {
        let mut taken = Vec::new();
        for name in ["config", "config.worktree"] {
            self.configuration(name, &mut taken)?;
        }
        self.hooks(&mut taken)?;
        // It names another directory for all of these; that of a worktree is its repository's.
        let is_own = self.is_worktree
            && self
                .read("commondir")?
                .is_some_and(|text| text.trim() == "../..");
        if !is_own && self.stat("commondir").is_some() {
            self.set_aside("commondir", &mut taken);
        }
        Ok(taken)
    }

    fn configuration(&self, name: &str, taken: &mut Vec<String>) -> io::Result<()> {
        if self.stat(name).is_none() {
            return Ok(());
        }
        let Some(text) = self.read(name)? else {
            self.set_aside(name, taken);
            return Ok(());
        };
        let (clean, names) = match without_programs(&text, self.is_module) {
            Verdict::Harmless => return Ok(()),
            // What is no text could not be written back as it was.
            Verdict::Without { text: clean, names } if !text.contains('\u{fffd}') => (clean, names),
            Verdict::Without { .. } | Verdict::NotUnderstood => {
                self.set_aside(name, taken);
                return Ok(());
            }
        };
        let new = format!("{name}.clean-{:06x}", fastrand::u32(..0x100_0000));
        let mode = self
            .stat(name)
            .map_or(Mode::from_raw_mode(0o644), Mode::from_raw_mode);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.directory, new.as_str(), flags, mode)?;
        fchmod(&file, mode)?;
        File::from(file).write_all(clean.as_bytes())?;
        renameat(&self.directory, new.as_str(), &self.directory, name)?;
        taken.extend(names);
        Ok(())
    }

    fn hooks(&self, taken: &mut Vec<String>) -> io::Result<()> {
        let Some(mode) = self.stat("hooks") else {
            return Ok(());
        };
        if FileType::from_raw_mode(mode) != FileType::Directory {
            self.set_aside("hooks", taken);
            return Ok(());
        }
        let hooks = openat(&self.directory, "hooks", PLACE, Mode::empty());
        let hooks = hooks.map_err(io::Error::from);
        let Ok((hooks, _)) = hooks.and_then(|place| usable(place, 0o700)) else {
            self.set_aside("hooks", taken);
            return Ok(());
        };
        let names: Vec<Vec<u8>> = Dir::read_from(&hooks)?
            .flatten()
            .map(|entry| entry.file_name().to_bytes().to_vec())
            .filter(|name| !matches!(name.as_slice(), b"." | b"..") && !name.ends_with(b".sample"))
            .collect();
        let path = Raw([self.path.0.as_slice(), b"/hooks"].concat());
        for name in names {
            let runs = mode_of(&hooks, &name).is_some_and(|mode| {
                FileType::from_raw_mode(mode) == FileType::Symlink || mode & 0o111 != 0
            });
            if runs && set_aside(&hooks, &path, &name).is_some() {
                taken.push(format!("hooks/{}", String::from_utf8_lossy(&name)));
            }
        }
        Ok(())
    }

    fn stat(&self, name: &str) -> Option<u32> {
        mode_of(&self.directory, name.as_bytes())
    }

    /// A regular file of it; `None` when it is none, or one that git would not have written.
    fn read(&self, name: &str) -> io::Result<Option<String>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let Ok(file) = openat(&self.directory, name, flags, Mode::empty()) else {
            return Ok(None);
        };
        let stat = fstat(&file)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || u64::try_from(stat.st_size).is_ok_and(|size| size > LONGEST) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::from(file).take(LONGEST).read_to_end(&mut bytes)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn set_aside(&self, name: &str, taken: &mut Vec<String>) {
        if set_aside(&self.directory, &self.path, name.as_bytes()).is_some() {
            taken.push(name.to_owned());
        }
    }
}

/// The kind and mode of an entry.
fn mode_of(directory: impl AsFd, name: &[u8]) -> Option<u32> {
    let stat = statat(
        directory,
        OsStr::from_bytes(name),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    stat.ok().map(|stat| stat.st_mode)
}
