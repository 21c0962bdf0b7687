//! Repositories that a command made or changed: what git would start in them for the user is taken out before
//! anybody can use them.

mod before;
mod git;
mod hidden;
mod parse;
mod settings;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

use super::plan::{How, Raw};
use super::scan::{Found, ScanError, What};
pub(super) use before::{Before, Note};
use git::Git;
pub(super) use settings::{Setting, names_program, settings};

/// A repository out of which something was taken.
struct Disarmed {
    /// Its directory.
    repository: PathBuf,
    /// Whether it was not there before.
    is_new: bool,
    /// Settings, hooks and files of it.
    taken: Vec<String>,
}

impl Disarmed {
    fn told(&self) -> String {
        let (new, since) = if self.is_new {
            ("new ", "")
        } else {
            ("", "was changed while commands ran and ")
        };
        format!(
            "the {new}repository `{}` {since}named programs that git would have run for the user, which was taken out: {}",
            self.repository.display(),
            self.taken.join(", ")
        )
    }
}

/// Searches directories for repositories, and takes out of them what was not there before and names programs; tells
/// what must be known. `look` is the search.
pub(super) fn disarm_new(
    searched: &[Raw],
    before: &Before,
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
    before: &'a Before,
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
            match one.what {
                What::Repository => {
                    if let Some(git) = repository(&root, self.root, one, &found)? {
                        self.disarm(&git);
                    }
                }
                What::Cover(How::HideDirectory)
                    if !self.before.knows(one.identity, Before::HIDDEN) =>
                {
                    if let Some(place) = place(&root, one)? {
                        self.search_all(&place, Path::new(OsStr::from_bytes(&one.path)))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Looks through what the search did not enter, and disarms what is there.
    fn search_all(&mut self, place: &OwnedFd, path: &Path) -> io::Result<()> {
        let path = self.root.join(path);
        let opened = hidden::search(place, &mut |git| match Git::new(git, &path) {
            Ok(git) => self.disarm(&git),
            Err(error) => self.told.push(not_disarmed(&path, &error)),
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
        let before = self.before;
        let is_new = !before.knows(git.identity, Before::REPOSITORY);
        match git.disarm(&|what| before.knows(git.identity, what)) {
            Ok(taken) if taken.is_empty() => {}
            Ok(taken) => {
                let disarmed = Disarmed {
                    repository,
                    is_new,
                    taken,
                };
                self.told.push(disarmed.told());
            }
            Err(error) => self.told.push(not_disarmed(&repository, &error)),
        }
    }
}

fn not_disarmed(repository: &Path, error: &io::Error) -> String {
    format!(
        "the repository `{}` may name programs that git would run for the user, which could not be taken out: {error}",
        repository.display()
    )
}

/// What is in a directory before a command, of what was found there.
pub(super) fn known(root: &Path, found: &[Found]) -> Before {
    let mut before = Before::default();
    let flags = hidden::PLACE.difference(OFlags::NOFOLLOW);
    let top = open(root, flags, Mode::empty());
    let mut named = BTreeSet::new();
    for one in found {
        match one.what {
            What::Repository => before.add(one.identity, Before::REPOSITORY),
            What::Cover(How::HideDirectory) => before.add(one.identity, Before::HIDDEN),
            What::Cover(How::Hide) => {
                if !is_socket(root, one) && named.insert(&one.path) {
                    before.add_secret(one.identity);
                }
                continue;
            }
            _ => continue,
        }
        // What cannot be read is not known.
        if let Ok(top) = &top
            && one.what == What::Repository
            && let Ok(Some(git)) = repository(top, root, one, found)
        {
            for program in git.programs().unwrap_or_default() {
                before.add(git.identity, program);
            }
        }
    }
    before
}

/// Whether it is a socket, which comes and goes with the program that listens on it.
fn is_socket(root: &Path, one: &Found) -> bool {
    let path = root.join(OsStr::from_bytes(&one.path));
    path.symlink_metadata()
        .is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// The git directory that was found; `None` when it is gone again.
fn repository(top: &OwnedFd, root: &Path, one: &Found, found: &[Found]) -> io::Result<Option<Git>> {
    let path = Path::new(OsStr::from_bytes(&one.path));
    let Some(place) = place(top, one)? else {
        return Ok(None);
    };
    let mut git = Git::new(place, &root.join(path))?;
    git.is_module = is_module(path);
    git.is_worktree = is_worktree(path, found);
    Ok(Some(git))
}

/// The place of a directory that was found; `None` when it is gone again.
fn place(top: &OwnedFd, found: &Found) -> io::Result<Option<OwnedFd>> {
    let path = Path::new(OsStr::from_bytes(&found.path));
    let here = if found.path.is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(top, here, hidden::PLACE, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        place => Ok(Some(place?)),
    }
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
