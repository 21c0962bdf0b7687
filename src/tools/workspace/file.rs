//! Opening a file or a directory for reading.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::open::{QUIETLY, is_in_proc, open_at, path_of};
use super::replace::before;
use super::rules::Rules;
use super::{Access, Place, Tree, Workspace, path};
use crate::sandbox::Secrets;
use crate::tools::{Before, Change, ToolError};

/// A regular file, open for reading.
#[derive(Debug)]
pub(in crate::tools) struct OpenFile {
    /// The file.
    pub(in crate::tools) file: File,
    /// Its length in bytes when it was opened.
    pub(in crate::tools) length: u64,
}

impl Workspace {
    /// Opens a regular file for reading.
    pub(in crate::tools) fn open_file(&self, written: &str) -> Result<OpenFile, ToolError> {
        let (fd, stat) = self.open_any(written, OFlags::RDONLY)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(OpenFile {
                file: File::from(fd),
                length: u64::try_from(stat.st_size).unwrap_or(0),
            }),
            FileType::Directory => Err(ToolError::tell(format!(
                "`{written}` is a directory: list it with `list_dir`"
            ))),
            _ => Err(Self::not_regular(written)),
        }
    }

    /// What a changed file holds now.
    pub(super) fn now(&self, change: &Change) -> Result<Before, ToolError> {
        let written = change.path.to_string_lossy();
        let place = self.place(&written, Access::Read)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | QUIETLY;
        let fd = match open_at(place.root.fd(), &place.relative, flags, self.flags()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Before::Absent),
            Err(error) => return Err(self.failed(&written, error)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|error| self.failed(&written, error))?;
        self.check_open(fd.as_fd(), &stat, (&written, &place))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Self::not_regular(&written));
        }
        before(Some(&(stat, File::from(fd))), &written)
    }

    /// Opens a directory for a walk. The rules of the ignore files above it hold in it too.
    pub(in crate::tools) fn open_tree(&self, written: &str) -> Result<Tree, ToolError> {
        let (fd, stat) = self.open_any(written, OFlags::RDONLY)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {}
            FileType::RegularFile => {
                return Err(ToolError::tell(format!(
                    "`{written}` is a file, not a directory"
                )));
            }
            _ => return Err(Self::not_regular(written)),
        }
        let real = path_of(&fd).map_err(|error| self.failed(written, error))?;
        Ok(Tree {
            fd: Arc::new(fd),
            shown: path::normal(Path::new(written)),
            rules: self.rules_above(&real),
            real,
            resolve: self.flags() | ResolveFlags::NO_XDEV,
        })
    }

    /// The rules that the directories from the workspace down to `real` give to what is in it,
    /// without its own.
    fn rules_above(&self, real: &Path) -> Arc<Rules> {
        let mut rules = Arc::new(Rules::default());
        let Some(root) = self.roots.iter().find(|root| real.starts_with(&root.path)) else {
            return rules;
        };
        let above: Vec<&Path> = real
            .ancestors()
            .skip(1)
            .take_while(|path| path.starts_with(&root.path))
            .collect();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | QUIETLY;
        for directory in above.into_iter().rev() {
            let relative = path::below(directory, &root.path).unwrap_or_default();
            if let Ok(fd) = open_at(root.fd(), &relative, flags, self.flags()) {
                rules = Rules::inside(&rules, fd.as_fd(), directory, self.flags(), |_| true);
            }
        }
        rules
    }

    /// Opens whatever is there, and asks the policy about where it really lies.
    fn open_any(&self, written: &str, flags: OFlags) -> Result<(OwnedFd, Stat), ToolError> {
        let place = self.place(written, Access::Read)?;
        let fd = open_at(
            place.root.fd(),
            &place.relative,
            flags | QUIETLY,
            self.flags(),
        )
        .map_err(|error| self.failed(written, error))?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| self.failed(written, error))?;
        self.check_open(fd.as_fd(), &stat, (written, &place))?;
        Ok((fd, stat))
    }

    /// Asks the policy about an open file: a symbolic link may have led to it. What such a link is called counts, too:
    /// a `.env` may lead to a file of any name.
    fn check_open(
        &self,
        fd: BorrowedFd<'_>,
        stat: &Stat,
        (written, place): (&str, &Place<'_>),
    ) -> Result<(), ToolError> {
        let mut real = path_of(fd).map_err(|error| self.failed(written, error))?;
        if stat.st_nlink == 0
            && let Some(name) = real
                .to_str()
                .and_then(|name| name.strip_suffix(" (deleted)"))
        {
            real = name.into();
        }
        if is_in_proc(fd) {
            return Err(ToolError::refused(format!(
                "`{written}` lies in /proc: reading it is not allowed"
            )));
        }
        let hidden = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            self.policy.is_denied(&real)
        } else {
            self.policy.is_secret(&real)
                || self
                    .policy
                    .is_secret(&place.root.path.join(&place.relative))
                || Self::is_another_name(&self.policy.secrets(), &real, stat)
        };
        if hidden {
            Err(Self::secret(written))
        } else {
            Ok(())
        }
    }

    /// Whether a file is a secret under an ordinary name.
    pub(in crate::tools) fn is_another_name(
        secrets: &Secrets<'_>,
        real: &Path,
        stat: &Stat,
    ) -> bool {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && secrets.hold(real, (stat.st_dev, stat.st_ino), stat.st_nlink)
    }

    pub(super) fn not_regular(written: &str) -> ToolError {
        ToolError::refused(format!(
            "`{written}` is not a regular file (a pipe, socket or device): access is not allowed"
        ))
    }
}
