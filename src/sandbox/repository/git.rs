//! What git would start in one git directory, taken out of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fchmod, fstat, openat, renameat, statat,
};

use super::before::Identity;
use super::hidden::{PLACE, usable};
use super::parse::Entry;
use super::settings::{Setting, Verdict, programs, without_programs};
use crate::sandbox::helper::set_aside;
use crate::sandbox::plan::Raw;

/// No configuration that git wrote is longer.
const LONGEST: u64 = 1 << 20;

/// Where a git directory has its settings.
const CONFIGURATIONS: [&str; 2] = ["config", "config.worktree"];

/// A git directory.
pub(super) struct Git {
    directory: OwnedFd,
    pub(super) identity: Identity,
    pub(super) path: Raw,
    /// Whether it is that of a submodule.
    pub(super) is_module: bool,
    /// Whether it is that of a worktree, which names its repository.
    pub(super) is_worktree: bool,
}

/// The directory of a repository's hooks.
enum Hooks {
    /// There is none.
    None,
    /// Something else is in its place, or nobody can look into it.
    Other,
    /// It has these that git would start.
    Some(OwnedFd, Vec<Vec<u8>>),
}

impl Git {
    /// One that neither is a part of another nor belongs to one.
    pub(super) fn new(place: impl AsFd, path: &Path) -> io::Result<Self> {
        let directory = usable(place, 0o500)?.0;
        let stat = fstat(&directory)?;
        Ok(Self {
            identity: (stat.st_dev, stat.st_ino),
            directory,
            path: path.into(),
            is_module: false,
            is_worktree: false,
        })
    }

    /// What names programs in it, in words that say exactly what.
    pub(super) fn programs(&self) -> io::Result<Vec<String>> {
        let mut all = Vec::new();
        for name in CONFIGURATIONS {
            if self.stat(name).is_none() {
                continue;
            }
            let text = self.read(name)?;
            match text.and_then(|text| programs(&text, self.is_module)) {
                Some(entries) => all.extend(entries.iter().map(|entry| key(name, entry))),
                None => all.extend(stamp(&self.directory, name.as_bytes())),
            }
        }
        match self.hooks()? {
            Hooks::None => {}
            Hooks::Other => all.extend(stamp(&self.directory, b"hooks")),
            Hooks::Some(hooks, names) => {
                all.extend(names.iter().filter_map(|name| stamp(&hooks, name)));
            }
        }
        if self.has_other_common()? {
            all.extend(stamp(&self.directory, b"commondir"));
        }
        Ok(all)
    }

    /// Takes out what names programs and is not `known`; gives the names of that.
    pub(super) fn disarm(&self, known: &dyn Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let mut taken = Vec::new();
        for name in CONFIGURATIONS {
            if self.stat(name).is_some() {
                self.configuration(name, known, &mut taken)?;
            }
        }
        let is_known = |directory: &OwnedFd, name: &[u8]| {
            stamp(directory, name).is_some_and(|key| known(&key))
        };
        match self.hooks()? {
            Hooks::None => {}
            Hooks::Other if is_known(&self.directory, b"hooks") => {}
            Hooks::Other => self.set_aside("hooks", &mut taken)?,
            Hooks::Some(hooks, mut names) => {
                names.retain(|name| !is_known(&hooks, name));
                if !names.is_empty() {
                    usable(&hooks, 0o700)?;
                }
                let path = Raw([self.path.0.as_slice(), b"/hooks"].concat());
                for name in names {
                    let shown = format!("hooks/{}", String::from_utf8_lossy(&name));
                    taken.push(match set_aside(&hooks, &path, &name) {
                        Some(_) => shown,
                        None => return Err(io::Error::other(format!("`{shown}` stays"))),
                    });
                }
            }
        }
        if self.has_other_common()? && !is_known(&self.directory, b"commondir") {
            self.set_aside("commondir", &mut taken)?;
        }
        Ok(taken)
    }

    /// Whether it takes its configuration and hooks from another directory. That of a worktree takes its repository's.
    fn has_other_common(&self) -> io::Result<bool> {
        let is_own = self.is_worktree
            && self
                .read("commondir")?
                .is_some_and(|text| text.trim() == "../..");
        Ok(!is_own && self.stat("commondir").is_some())
    }

    fn configuration(
        &self,
        name: &str,
        known: &dyn Fn(&str) -> bool,
        taken: &mut Vec<String>,
    ) -> io::Result<()> {
        let text = self.read(name)?.unwrap_or_default();
        let verdict = if text.is_empty() && self.size(name) != Some(0) {
            Verdict::NotUnderstood
        } else {
            without_programs(&text, self.is_module, &|entry| known(&key(name, entry)))
        };
        match verdict {
            Verdict::Harmless => {}
            // What is no text could not be written back as it was.
            Verdict::Without { text: clean, names } if !text.contains('\u{fffd}') => {
                self.write(name, &clean)?;
                taken.extend(names);
            }
            Verdict::Without { .. } => self.set_aside(name, taken)?,
            Verdict::NotUnderstood => {
                let stamp = stamp(&self.directory, name.as_bytes());
                if !stamp.is_some_and(|stamp| known(&stamp)) {
                    self.set_aside(name, taken)?;
                }
            }
        }
        Ok(())
    }

    /// Replaces what a configuration says.
    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        usable(&self.directory, 0o700)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        // Another command may see it under a mount of its own, which is gone when the name leads to another file.
        if let Ok(file) = openat(&self.directory, name, flags, Mode::empty())
            && fstat(&file)?.st_nlink == 1
        {
            let mut file = File::from(file);
            file.write_all(text.as_bytes())?;
            return file.set_len(text.len() as u64);
        }
        let new = format!("{name}.clean-{:06x}", fastrand::u32(..0x100_0000));
        let mode = self.stat(name).map_or(Mode::from_raw_mode(0o644), |stat| {
            Mode::from_raw_mode(stat.st_mode)
        });
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.directory, new.as_str(), flags, mode)?;
        fchmod(&file, mode)?;
        File::from(file).write_all(text.as_bytes())?;
        Ok(renameat(
            &self.directory,
            new.as_str(),
            &self.directory,
            name,
        )?)
    }

    fn hooks(&self) -> io::Result<Hooks> {
        let Some(stat) = self.stat("hooks") else {
            return Ok(Hooks::None);
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Hooks::Other);
        }
        let hooks = openat(&self.directory, "hooks", PLACE, Mode::empty());
        let hooks = hooks.map_err(io::Error::from);
        let Ok((hooks, _)) = hooks.and_then(|place| usable(place, 0o500)) else {
            return Ok(Hooks::Other);
        };
        let names: Vec<Vec<u8>> = Dir::read_from(&hooks)?
            .flatten()
            .map(|entry| entry.file_name().to_bytes().to_vec())
            .filter(|name| !matches!(name.as_slice(), b"." | b"..") && !name.ends_with(b".sample"))
            .filter(|name| {
                entry(&hooks, name).is_some_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
                        || stat.st_mode & 0o111 != 0
                })
            })
            .collect();
        Ok(Hooks::Some(hooks, names))
    }

    fn stat(&self, name: &str) -> Option<Stat> {
        entry(&self.directory, name.as_bytes())
    }

    /// How long a file of it is.
    fn size(&self, name: &str) -> Option<i64> {
        self.stat(name)
            .filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
            .map(|stat| stat.st_size)
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

    fn set_aside(&self, name: &str, taken: &mut Vec<String>) -> io::Result<()> {
        usable(&self.directory, 0o700)?;
        if set_aside(&self.directory, &self.path, name.as_bytes()).is_none() {
            return Err(io::Error::other(format!("`{name}` stays")));
        }
        taken.push(name.to_owned());
        Ok(())
    }
}

/// A setting that names a program, in words that say exactly what.
fn key(file: &str, Entry { setting, of, .. }: &Entry) -> String {
    let Setting {
        section,
        name,
        value,
    } = setting;
    format!("{file}\0{section}\0{of}\0{name}\0{value}")
}

/// An entry of a directory as it is, which is another after any change.
fn stamp(directory: &OwnedFd, name: &[u8]) -> Option<String> {
    let stat = entry(directory, name)?;
    Some(format!(
        "{}\0{}\0{}.{}",
        String::from_utf8_lossy(name),
        stat.st_ino,
        stat.st_ctime,
        stat.st_ctime_nsec
    ))
}

fn entry(directory: &OwnedFd, name: &[u8]) -> Option<Stat> {
    let name = OsStr::from_bytes(name);
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()
}
