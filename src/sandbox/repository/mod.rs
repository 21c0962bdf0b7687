//! Repositories that a command made: what git would start in them for the user is taken out before anybody can
//! use them.

mod parse;
mod settings;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, open, openat, openat2,
    renameat, statat,
};

use super::helper::set_aside;
use super::plan::Raw;
use super::scan::{Found, ScanError, What};
pub(super) use settings::{Setting, names_program, settings};
use settings::{Verdict, without_programs};

/// No configuration that git wrote is longer.
const LONGEST: u64 = 1 << 20;

/// A repository out of which something was taken.
struct Disarmed {
    /// Its directory.
    repository: PathBuf,
    /// Settings, hooks and files of it.
    taken: Vec<String>,
}

impl Disarmed {
    fn told(&self) -> String {
        format!(
            "the new repository `{}` named programs that git would have run for the user, which was taken out: {}",
            self.repository.display(),
            self.taken.join(", ")
        )
    }
}

/// Searches directories for repositories that were not there before, and disarms them; tells what must be known.
/// `look` is the search.
pub(super) fn disarm_new(
    searched: &[Raw],
    before: &BTreeSet<(u64, u64)>,
    look: impl Fn(&Path) -> Result<Vec<Found>, ScanError>,
) -> Vec<String> {
    let mut told = Vec::new();
    for root in searched.iter().map(Raw::path) {
        let disarmed = look(root)
            .map_err(|error| error.to_string())
            .and_then(|found| disarm(root, &found, before).map_err(|error| error.to_string()));
        match disarmed {
            Ok(disarmed) => told.extend(disarmed.iter().map(Disarmed::told)),
            Err(error) => told.push(format!(
                "`{}` could not be searched for new repositories, whose settings and hooks may name programs: {error}",
                root.display()
            )),
        }
    }
    told
}

/// Takes out of every repository that was not there before what names programs.
fn disarm(
    root: &Path,
    found: &[Found],
    before: &BTreeSet<(u64, u64)>,
) -> io::Result<Vec<Disarmed>> {
    let mut disarmed = Vec::new();
    let mut opened = None;
    for one in found {
        if one.what != What::Repository || before.contains(&one.identity) {
            continue;
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let beneath = match &opened {
            Some(opened) => opened,
            None => opened.insert(open(root, flags, Mode::empty())?),
        };
        let path = Path::new(OsStr::from_bytes(&one.path));
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let here = if one.path.is_empty() {
            Path::new(".")
        } else {
            path
        };
        let Ok(directory) = openat2(beneath, here, flags, Mode::empty(), resolve) else {
            // It is gone again.
            continue;
        };
        let git = Git {
            directory,
            path: root.join(path).into(),
            is_module: is_module(path),
            is_worktree: is_worktree(path, found),
        };
        let taken = git.disarm()?;
        if !taken.is_empty() {
            disarmed.push(Disarmed {
                repository: root.join(path),
                taken,
            });
        }
    }
    Ok(disarmed)
}

/// Whether a git directory is that of a submodule.
fn is_module(path: &Path) -> bool {
    let mut names = path.iter();
    names.any(|part| part == ".git") && names.next() == Some(OsStr::new("modules"))
}

/// Whether a git directory is that of a worktree of a repository that was found, too.
fn is_worktree(path: &Path, found: &[Found]) -> bool {
    let Some(worktrees) = path.parent() else {
        return false;
    };
    let of = worktrees.parent().map(|of| of.as_os_str().as_bytes());
    worktrees.file_name() == Some(OsStr::new("worktrees"))
        && found
            .iter()
            .any(|one| one.what == What::Repository && Some(one.path.as_slice()) == of)
}

/// A git directory.
struct Git {
    directory: OwnedFd,
    path: Raw,
    is_module: bool,
    is_worktree: bool,
}

impl Git {
    fn disarm(&self) -> io::Result<Vec<String>> {
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
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Ok(hooks) = openat(&self.directory, "hooks", flags, Mode::empty()) else {
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
