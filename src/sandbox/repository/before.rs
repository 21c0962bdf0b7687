//! What there was before a command: a repository may keep the programs that it named then, and gets no others.
//!
//! While commands run together, what one of them finds may be another's work. Only what was there before the first
//! of them is anybody else's; it is noted in the state directory by a command that is alone.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

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

    /// How that begins what is said of a file that the command cannot see: the number of the name follows.
    const SECRET: &'static str = "secret ";

    /// What is said of the rules by which something is hidden.
    const RULES: &'static str = "rules";

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

    /// Notes a name of a secret, which may have several.
    pub(super) fn add_secret(&mut self, identity: Identity) {
        let numbers = 1_u64..;
        let mut words = numbers.map(|number| format!("{}{number}", Self::SECRET));
        if let Some(next) = words.find(|word| !self.knows(identity, word)) {
            self.add(identity, next);
        }
    }

    /// Notes the rules under which all this was found.
    pub(in crate::sandbox) fn add_rules(&mut self, rules: u64) {
        self.add((rules, 0), Self::RULES);
    }

    /// Whether something is kept from commands.
    pub(in crate::sandbox) fn hides(&self, identity: Identity) -> bool {
        self.knows(identity, Self::HIDDEN) || self.knows(identity, &format!("{}1", Self::SECRET))
    }

    /// Whether it was found under these rules.
    pub(in crate::sandbox) fn is_under(&self, rules: u64) -> bool {
        self.knows((rules, 0), Self::RULES)
    }

    /// Whether everything is kept from commands that was kept from them before.
    pub(in crate::sandbox) fn hides_all_of(&self, before: &Self) -> bool {
        let hidden = |what: &String| what == Self::HIDDEN || what.starts_with(Self::SECRET);
        let mut all = before.0.iter().filter(|(.., what)| hidden(what));
        all.all(|one| self.0.contains(one))
    }

    /// What a command may count on. Where others run and nothing is noted, that is nothing.
    pub(in crate::sandbox) fn agreed(mut self, note: &Note, is_alone: bool) -> Self {
        let noted = note.read();
        if !is_alone {
            let noted = noted.unwrap_or_default();
            self.0.retain(|one| noted.0.contains(one));
        } else if noted.as_ref() != Some(&self) {
            // Without it the commands that start meanwhile count on too little, which is told.
            drop(note.write(&self));
        }
        self
    }
}

/// The note about one workspace.
pub(in crate::sandbox) struct Note {
    /// `None` where nothing is kept.
    directory: Option<PathBuf>,
    name: String,
}

impl Note {
    pub(in crate::sandbox) fn of(state_dir: Option<&Path>, workspace: &Path) -> Self {
        let mut hasher = DefaultHasher::new();
        workspace.hash(&mut hasher);
        Self {
            directory: state_dir.map(|state_dir| state_dir.join("before")),
            name: format!("{:016x}", hasher.finish()),
        }
    }

    /// What the last command noted that was alone.
    pub(in crate::sandbox) fn read(&self) -> Option<Before> {
        read(self.directory.as_ref()?, &self.name).ok()
    }

    fn write(&self, before: &Before) -> io::Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        let directory = Directory::make(directory)?;
        if !directory.is_own()? {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        directory.write_unsynced(&self.name, &serde_json::to_vec(before)?)
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
        let note = |workspace| Note::of(Some(state.path()), Path::new(workspace));
        let (work, nowhere) = (note("/work"), Note::of(None, Path::new("/work")));
        let before =
            |all: &[&str]| Before(all.iter().map(|one| (1, 2, (*one).to_owned())).collect());
        assert_eq!(before(&["a"]).agreed(&work, false), before(&[]));
        assert_eq!(before(&["a", "b"]).agreed(&work, true), before(&["a", "b"]));
        assert_eq!(before(&["b", "c"]).agreed(&work, false), before(&["b"]));
        assert_eq!(before(&["b"]).agreed(&note("/other"), false), before(&[]));
        assert_eq!(before(&["c"]).agreed(&work, true), before(&["c"]));
        assert_eq!(before(&["b", "c"]).agreed(&work, false), before(&["c"]));
        assert_eq!(before(&["a"]).agreed(&nowhere, false), before(&[]));
        assert_eq!(before(&["a"]).agreed(&nowhere, true), before(&["a"]));
    }

    #[test]
    fn every_name_of_a_secret_is_asked_for() {
        let found = |names: &[Identity]| {
            let mut before = Before::default();
            before.add_rules(7);
            before.add((9, 9), Before::REPOSITORY);
            for name in names {
                before.add_secret(*name);
            }
            before
        };
        let noted = found(&[(1, 2), (1, 2), (1, 3)]);
        assert!(noted.hides((1, 3)) && !noted.hides((9, 9)));
        assert!(noted.is_under(7) && !noted.is_under(8));
        for (names, all) in [
            (&[(1, 2), (1, 3), (1, 2), (1, 4)][..], true),
            (&[(1, 2), (1, 3)], false),
            (&[(1, 2), (1, 2)], false),
        ] {
            assert_eq!(found(names).hides_all_of(&noted), all, "{names:?}");
        }
    }
}
