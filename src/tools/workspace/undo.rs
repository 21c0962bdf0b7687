//! Taking a change of a file back.

use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::{AtFlags, OFlags};

use super::open::open_at;
use super::{Access, Workspace, path};
use crate::tools::{Before, Change, ToolError};

impl Workspace {
    /// Makes a file what it was before a change; whether there was anything to do. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// When the file is no longer what the change made of it, when it was too large to be kept, or
    /// when the policy or the system does not let it be written; the words are for the user.
    pub fn undo(&self, change: &Change) -> Result<bool, ToolError> {
        let written = change.path.to_string_lossy();
        let same = |now: &Before| {
            if change.is_as_left(now) {
                return Ok(());
            }
            Err(ToolError::tell(format!(
                "`{written}` was changed since: it is left as it is"
            )))
        };
        // A directory that is gone is not made again only to find the file missing in it.
        let now = self.now(change)?;
        if now == change.before && now != Before::TooLarge {
            return Ok(false);
        }
        same(&now)?;
        match &change.before {
            Before::Content(before) => self
                .replace(&written, |now| same(now).map(|()| before.clone()))
                .map(|_| true),
            Before::TooLarge => Err(ToolError::tell(format!(
                "`{written}` was too large for its content to be kept"
            ))),
            Before::Absent => {
                // Read under the same rules, so that only this very content is removed.
                let place = self.place(&written, Access::Write)?;
                let Some((parent, name)) = path::split(&place.relative) else {
                    return Err(ToolError::tell(format!("`{written}` is a directory")));
                };
                let (directory, _) = self.parent(place.root.fd(), &parent, &name, &written)?;
                self.check_slot(directory.as_fd(), &name, &written)?;
                same(&self.content(&directory, &name, &written)?)?;
                rustix::fs::unlinkat(&directory, &name, AtFlags::empty())
                    .map_err(|error| self.failed(&written, error))?;
                Ok(true)
            }
        }
    }

    /// Removes a directory if nothing is in it.
    pub(super) fn remove_empty(&self, directory: &Path) {
        let Ok(place) = self.place(&directory.to_string_lossy(), Access::Write) else {
            return;
        };
        let Some((parent, name)) = path::split(&place.relative) else {
            return;
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // One that holds something, or is gone, is left as it is.
        _ = open_at(place.root.fd(), &parent, flags, self.flags())
            .and_then(|parent| rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR));
    }
}
