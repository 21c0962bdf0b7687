//! What there was before a command: a repository may keep the programs that it named then, and gets no others.
//!
//! While commands run together, what one of them finds may be another's work. Only what was there before the first
//! of them is anybody else's; it is noted in the state directory by a command that is alone.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::Directory;

/// Device and inode.
pub(super) type Identity = (u64, u64);

/// No longer note was written by this program, bytes.
const LONGEST: u64 = 64 << 20;

/// What there was, in words about directories that say exactly what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::sandbox) struct Before(BTreeSet<(u64, u64, String)>);

impl Before {
    /// What is said of every repository.
    pub(super) const REPOSITORY: &'static str = "repository";

    /// What is said of a directory that the command cannot see.
    pub(super) const HIDDEN: &'static str = "hidden";

    pub(super) fn add(&mut self, (device, inode): Identity, what: impl Into<String>) {
        self.0.insert((device, inode, what.into()));
    }

    pub(super) fn knows(&self, (device, inode): Identity, what: &str) -> bool {
        self.0.contains(&(device, inode, what.to_owned()))
    }

    /// The same and what was found elsewhere.
    pub(in crate::sandbox) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// What a command may count on. Where others run and nothing is noted, that is nothing.
    pub(in crate::sandbox) fn agreed(
        mut self,
        state_dir: Option<&Path>,
        workspace: &Path,
        is_alone: bool,
    ) -> Self {
        let directory = state_dir.map(|state_dir| state_dir.join("before"));
        let mut hasher = DefaultHasher::new();
        workspace.hash(&mut hasher);
        let name = format!("{:016x}", hasher.finish());
        let noted = directory.as_ref().and_then(|place| read(place, &name).ok());
        if !is_alone {
            let noted = noted.unwrap_or_default();
            self.0.retain(|one| noted.0.contains(one));
        } else if let Some(directory) = directory
            && noted.as_ref() != Some(&self)
        {
            // Without it the commands that start meanwhile count on too little, which is told.
            drop(self.write(&directory, &name));
        }
        self
    }

    fn write(&self, directory: &Path, name: &str) -> io::Result<()> {
        let directory = Directory::make(directory)?;
        if !directory.is_own()? {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        directory.write_unsynced(name, &serde_json::to_vec(self)?)
    }
}

fn read(directory: &Path, name: &str) -> io::Result<Before> {
    let directory = Directory::open(directory)?;
    if !directory.is_own()? {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut text = Vec::new();
    let file = directory.read(name)?;
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_together_count_on_what_was_there_before_the_first() {
        let state = tempfile::tempdir().unwrap();
        let state = Some(state.path());
        let before =
            |all: &[&str]| Before(all.iter().map(|one| (1, 2, (*one).to_owned())).collect());
        let work = Path::new("/work");
        assert_eq!(before(&["a"]).agreed(state, work, false), before(&[]));
        assert_eq!(
            before(&["a", "b"]).agreed(state, work, true),
            before(&["a", "b"])
        );
        assert_eq!(
            before(&["b", "c"]).agreed(state, work, false),
            before(&["b"])
        );
        assert_eq!(
            before(&["b"]).agreed(state, Path::new("/other"), false),
            before(&[])
        );
        assert_eq!(before(&["c"]).agreed(state, work, true), before(&["c"]));
        assert_eq!(
            before(&["b", "c"]).agreed(state, work, false),
            before(&["c"])
        );
        assert_eq!(before(&["a"]).agreed(None, work, false), before(&[]));
        assert_eq!(before(&["a"]).agreed(None, work, true), before(&["a"]));
    }
}
