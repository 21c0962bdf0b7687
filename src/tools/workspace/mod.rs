//! The files that tools may touch: one directory held open, one policy value, and the kernel to
//! say what lies beneath.
//!
//! No check is made on a path and then trusted: `openat2` resolves a path and opens it in one
//! step, so that a symbolic link that changes in between changes nothing.

mod file;
mod kept;
mod open;
mod path;
mod programs;
mod queue;
mod replace;
mod rules;
#[cfg(test)]
mod tests;
mod undo;
mod walk;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{OFlags, ResolveFlags};

use super::ToolError;
use crate::sandbox::Policy;
pub(super) use file::OpenFile;
pub use kept::{Changes, KeptChange};
pub(super) use path::normal;
pub(super) use programs::Running;
pub use programs::{Program, removed, touched};
pub(super) use walk::{Entry, Kind, Tree, WalkOptions, walk};

/// The files that tools may touch. Opened once: moving the directory does not move the boundary.
#[derive(Debug)]
pub struct Workspace {
    policy: Arc<Policy>,
    /// The working directory first, then what the settings add.
    roots: Vec<Root>,
    /// Where changes are kept, when somebody may want them back.
    changes: Option<Changes>,
}

/// A directory held open, beneath which paths are resolved.
#[derive(Debug)]
struct Root {
    /// Opened with `O_PATH`.
    fd: OwnedFd,
    /// Its own path, free of symbolic links when it was opened.
    path: PathBuf,
    /// The path by which the settings know it.
    alias: PathBuf,
    /// A single file of the directory is meant, not the directory.
    only: Option<PathBuf>,
    /// Whether files beneath it may be written.
    writable: bool,
}

/// A path and the directory to resolve it from.
struct Place<'w> {
    root: &'w Root,
    relative: PathBuf,
}

/// What a path is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl Workspace {
    /// Opens the working directory and the further directories of the policy. One of the latter
    /// that does not exist is left out.
    ///
    /// # Errors
    /// When the working directory cannot be opened.
    pub fn open(policy: Arc<Policy>) -> io::Result<Self> {
        let mut roots = vec![Root::open(&policy.workspace, true)?];
        for (paths, writable) in [(&policy.write, true), (&policy.read, false)] {
            roots.extend(
                paths
                    .iter()
                    .filter_map(|path| Root::open(path, writable).ok()),
            );
        }
        Ok(Self {
            policy,
            roots,
            changes: None,
        })
    }

    /// The same workspace, of which every change is kept.
    #[must_use]
    pub fn keeping(self, changes: Option<Changes>) -> Self {
        Self { changes, ..self }
    }

    /// Notes that a program runs, for as long as what is given back lives: what it changes is not kept. The words are
    /// shown and must be masked.
    pub async fn running(&self, words: impl FnOnce() -> String) -> Running {
        match &self.changes {
            Some(changes) => changes.note_program(&self.policy, words()).await,
            None => Running::unnoticed(),
        }
    }

    /// The working directory.
    pub fn directory(&self) -> &Path {
        &self.policy.workspace
    }

    /// The policy that decides beside the kernel.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Finds where a path is resolved from, by its letters alone.
    fn place(&self, written: &str, access: Access) -> Result<Place<'_>, ToolError> {
        let path = path::check(written).map_err(|bad| ToolError::tell(bad.to_string()))?;
        let Some(workdir) = self.roots.first() else {
            return Err(ToolError::refused("there is no workspace"));
        };
        let place = if path.is_relative() || !self.policy.confined {
            Place {
                root: workdir,
                relative: path.to_owned(),
            }
        } else {
            self.roots
                .iter()
                .filter_map(|root| Some((root, root.relative(path)?)))
                // The innermost: a directory of the settings may lie in another one.
                .max_by_key(|(root, _)| (root.path.as_os_str().len(), root.writable))
                .map(|(root, relative)| Place { root, relative })
                .ok_or_else(|| self.outside(written))?
        };
        if access == Access::Write && self.policy.confined && !place.root.writable {
            return Err(ToolError::refused(format!(
                "`{written}` may be read, not written"
            )));
        }
        Ok(place)
    }

    fn secret(written: &str) -> ToolError {
        ToolError::refused(format!(
            "`{written}` may hold secrets: reading and writing it is not allowed"
        ))
    }

    fn flags(&self) -> ResolveFlags {
        if self.policy.confined {
            ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV
        } else {
            ResolveFlags::NO_MAGICLINKS
        }
    }

    fn outside(&self, written: &str) -> ToolError {
        ToolError::refused(format!(
            "`{written}` is outside the workspace `{}`: access is not allowed",
            self.directory().display()
        ))
    }

    /// The words for a path that the kernel did not open.
    fn failed(&self, written: &str, error: rustix::io::Errno) -> ToolError {
        use rustix::io::Errno;
        match error {
            Errno::XDEV => ToolError::refused(format!(
                "`{written}` is outside the workspace `{}`, or on another file system mounted in \
                 it: access is not allowed",
                self.directory().display()
            )),
            Errno::NOSYS => {
                ToolError::refused("this machine lacks `openat2` (Linux 5.6): no file is opened")
            }
            Errno::NOENT => ToolError::tell(format!("`{written}` does not exist")),
            Errno::NOTDIR => {
                ToolError::tell(format!("`{written}`: a part of the path is no directory"))
            }
            Errno::ISDIR => ToolError::tell(format!("`{written}` is a directory")),
            Errno::LOOP => ToolError::refused(format!(
                "`{written}` leads through a symbolic link that is not allowed"
            )),
            Errno::NXIO => ToolError::refused(format!("`{written}` is not a regular file")),
            Errno::ACCESS | Errno::PERM => {
                ToolError::tell(format!("`{written}`: permission denied by the system"))
            }
            other => ToolError::tell(format!("`{written}`: {other}")),
        }
    }
}

impl Root {
    fn open(path: &Path, writable: bool) -> io::Result<Self> {
        let real = path.canonicalize()?;
        let is_directory = real.is_dir();
        let (directory, only) = match (is_directory, real.parent(), real.file_name()) {
            (false, Some(parent), Some(name)) => (parent, Some(PathBuf::from(name))),
            _ => (real.as_path(), None),
        };
        let fd = rustix::fs::open(
            directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        Ok(Self {
            fd,
            path: directory.to_owned(),
            alias: path.to_owned(),
            only,
            writable,
        })
    }

    /// An absolute path relative to this root, when it lies beneath it.
    fn relative(&self, absolute: &Path) -> Option<PathBuf> {
        match &self.only {
            Some(name) => {
                (absolute == self.alias || absolute == self.path.join(name)).then(|| name.clone())
            }
            None => {
                path::below(absolute, &self.path).or_else(|| path::below(absolute, &self.alias))
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
