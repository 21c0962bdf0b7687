//! Repositories that a command made: what git would start in them for the user is taken out before anybody can
//! use them.

mod git;
mod hidden;
mod parse;
mod settings;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

use super::plan::{How, Raw};
use super::scan::{Found, ScanError, What};
use git::Git;
pub(super) use settings::{Setting, names_program, settings};

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
/// `look` is the search; `before` holds the directories that it could not look into, too.
pub(super) fn disarm_new(
    searched: &[Raw],
    before: &BTreeSet<(u64, u64)>,
    look: impl Fn(&Path) -> Result<Vec<Found>, ScanError>,
) -> Vec<String> {
    let mut told = Vec::new();
    for root in searched.iter().map(Raw::path) {
        let mut search = Search {
            root,
            before,
            told: Vec::new(),
        };
        if let Err(error) = search.run(&look) {
            search.told.push(format!(
                "`{}` could not be searched for new repositories, whose settings and hooks may name programs: {error}",
                root.display()
            ));
        }
        told.append(&mut search.told);
    }
    told
}

/// The search of one directory.
struct Search<'a> {
    root: &'a Path,
    before: &'a BTreeSet<(u64, u64)>,
    told: Vec<String>,
}

impl Search<'_> {
    fn run(&mut self, look: impl Fn(&Path) -> Result<Vec<Found>, ScanError>) -> io::Result<()> {
        let flags = hidden::PLACE.difference(OFlags::NOFOLLOW);
        let root = open(self.root, flags, Mode::empty())?;
        let Ok(found) = look(self.root) else {
            // The command may have shut it, or made too much.
            return self.search_all(&root, Path::new(""));
        };
        for one in &found {
            if self.before.contains(&one.identity) {
                continue;
            }
            let path = Path::new(OsStr::from_bytes(&one.path));
            let here = if one.path.is_empty() {
                Path::new(".")
            } else {
                path
            };
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let place = openat2(&root, here, hidden::PLACE, Mode::empty(), resolve);
            let place = match place {
                // It is gone again.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                place => place?,
            };
            match one.what {
                What::Repository => {
                    let mut git = Git::new(place, &self.root.join(path))?;
                    git.is_module = is_module(path);
                    git.is_worktree = is_worktree(path, &found);
                    self.disarm(&git);
                }
                What::Cover(How::HideDirectory) => self.search_all(&place, path)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Looks through what the search did not enter, and disarms what is there.
    fn search_all(&mut self, place: &OwnedFd, path: &Path) -> io::Result<()> {
        let path = self.root.join(path);
        let before = self.before;
        let opened = hidden::search(place, &mut |git, identity| {
            if !before.contains(&identity) {
                match Git::new(git, &path) {
                    Ok(git) => self.disarm(&git),
                    Err(error) => self.told.push(not_disarmed(&path, &error)),
                }
            }
        })?;
        if opened > 0 {
            self.told.push(format!(
                "`{}` was shut even to its owner, or held such directories, and was opened to look for repositories",
                path.display()
            ));
        }
        Ok(())
    }

    fn disarm(&mut self, git: &Git) {
        let repository = git.path.to_path_buf();
        match git.disarm() {
            Ok(taken) if taken.is_empty() => {}
            Ok(taken) => self.told.push(Disarmed { repository, taken }.told()),
            Err(error) => self.told.push(not_disarmed(&repository, &error)),
        }
    }
}

fn not_disarmed(repository: &Path, error: &io::Error) -> String {
    format!(
        "the new repository `{}` may name programs that git would run for the user, which could not be taken out: {error}",
        repository.display()
    )
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
