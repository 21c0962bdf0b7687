//! Taking a change of a file back.

use std::os::fd::AsFd as _;

use rustix::fs::AtFlags;

use super::{Access, Workspace, path};
use crate::tools::{Before, Change, ToolError};

impl Workspace {
    /// Makes a file what it was before a change. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// When the file is no longer what the change made of it, when it was too large to be kept, or
    /// when the policy or the system does not let it be written; the words are for the user.
    pub fn undo(&self, change: &Change) -> Result<(), ToolError> {
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
        same(&self.now(change)?)?;
        match &change.before {
            Before::Content(before) => self
                .replace(&written, |now| same(now).map(|()| before.clone()))
                .map(drop),
            Before::TooLarge => Err(ToolError::tell(format!(
                "`{written}` was too large for its content to be kept"
            ))),
            Before::Absent => {
                // Read under the same rules, so that only this very content is removed.
                let place = self.place(&written, Access::Write)?;
                let Some((parent, name)) = path::split(&place.relative) else {
                    return Err(ToolError::tell(format!("`{written}` is a directory")));
                };
                let directory = self.parent(place.root.fd(), &parent, &name, &written)?;
                self.check_slot(directory.as_fd(), &name, &written)?;
                same(&self.content(&directory, &name, &written)?)?;
                rustix::fs::unlinkat(&directory, &name, AtFlags::empty())
                    .map_err(|error| self.failed(&written, error))
            }
        }
    }
}
