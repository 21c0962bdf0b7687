//! What the helper is told: everything is decided before, the helper only makes system calls.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::Limits;
use super::repository::Before;
use super::settings::{Network, Tier};

/// One command and the view that it gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) tier: Tier,
    pub(super) network: Network,
    pub(super) limits: Limits,
    /// What stands in the new root, in the order in which it is placed.
    pub(super) places: Vec<Place>,
    /// What lies over parts of the places.
    pub(super) covers: Vec<Cover>,
    /// Names that must not come into being.
    pub(super) watches: Vec<Watch>,
    /// Repositories whose places nothing else may take.
    pub(super) kept: Vec<Kept>,
    /// The directory whose disk must not fill up, and whose owner a command of root becomes.
    pub(super) workspace: Raw,
    /// Directories of the machine in which a command may make repositories.
    pub(super) searched: Vec<Raw>,
    /// The repositories that are there before it and may keep what they name.
    pub(super) before: Before,
    /// Whether the whole disk is the view.
    pub(super) whole_disk: bool,
    /// Paths of the view that may be written.
    pub(super) writable: Vec<Raw>,
    /// Paths that may be read, where the view is the machine's own.
    pub(super) readable: Vec<Raw>,
    /// A directory for temporary files that is made before, where there are no mounts.
    pub(super) temporary: Option<Raw>,
    /// Directories that are removed after.
    pub(super) removed: Vec<Raw>,
    /// The only TCP ports that may be connected to.
    pub(super) ports: Option<Vec<u16>>,
    /// The only paths that may be executed.
    pub(super) executable: Option<Vec<Raw>>,
    /// A TCP port of the command's own loopback on which the caller listens.
    pub(super) listen: Option<u16>,
    /// The file that is executed.
    pub(super) program: Raw,
    /// Its arguments, its name first.
    pub(super) arguments: Vec<Raw>,
    /// A script that is too long to be an argument; the last argument names it.
    pub(super) script: Option<Raw>,
    pub(super) environment: Vec<(Raw, Raw)>,
    pub(super) directory: Raw,
}

/// Something in the new root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// A file or directory of the machine.
    Bind {
        source: Raw,
        target: Raw,
        access: Access,
        /// Whether programs in it can be started.
        execute: bool,
        /// Whether it may be missing.
        optional: bool,
    },
    /// A small file of the machine, as it is now; left out where it is missing.
    Copy { source: Raw, target: Raw },
    /// An empty directory of the command's own that can be written and goes with it.
    Scratch { target: Raw, shared: bool },
    /// An empty directory that cannot be written.
    Directory { target: Raw },
    /// A symbolic link.
    Link { target: Raw, to: Raw },
}

/// What may be done with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Access {
    Read,
    Write,
}

/// Something over a part of a place that can be written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cover {
    /// The place, as it is called in the view.
    pub(super) root: Raw,
    /// What is covered, relative to the place.
    pub(super) path: Raw,
    pub(super) how: How,
    /// Device and inode that were looked at; another one means that somebody changed the directory meanwhile.
    pub(super) identity: (u64, u64),
    /// Whether others may have removed it meanwhile: it came while other commands ran, or stands where no command can
    /// move it.
    pub(super) may_be_gone: bool,
}

/// How something is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum How {
    /// It stays as it is, but cannot be renamed or removed.
    Pin,
    /// It can only be read.
    ReadOnly,
    /// A file that cannot even be read lies over it.
    Hide,
    /// An empty directory lies over it.
    HideDirectory,
}

/// A `.git`: when something else stands there after a command, that was planted, whatever directories above it
/// were renamed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The place that holds it.
    pub(super) root: Raw,
    /// Where it is, relative to the place.
    pub(super) path: Raw,
    /// Device and inode.
    pub(super) identity: (u64, u64),
    /// Whether it is a symbolic link, which nothing pins.
    pub(super) is_link: bool,
}

/// A name that does not exist, or is a link, and must stay so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Watch {
    /// The directory, as the machine calls it.
    pub(super) directory: Raw,
    pub(super) name: Raw,
    /// Where the link leads that stands there.
    pub(super) link: Option<Raw>,
}

/// Bytes of a path or argument, which need not be UTF-8. In JSON every byte is one character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Raw(pub(super) Vec<u8>);

impl Raw {
    pub(super) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    pub(super) fn to_path_buf(&self) -> PathBuf {
        self.path().to_owned()
    }
}

impl<T: AsRef<OsStr>> From<T> for Raw {
    fn from(text: T) -> Self {
        Self(text.as_ref().to_owned().into_vec())
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path().fmt(f)
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(
            &self
                .0
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>(),
        )
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.chars()
            .map(|character| u8::try_from(u32::from(character)))
            .collect::<Result<Vec<u8>, _>>()
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// What the helper tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// Everything is set up; the program starts. Carries the files named here, in this order.
    Running {
        /// A listening socket on the command's own loopback.
        tcp: bool,
        /// Where the filter asks about system calls.
        asks: bool,
    },
    /// The sandbox could not be built.
    Failed {
        /// What was being done.
        step: String,
        /// The error number of the system.
        errno: i32,
    },
    /// The program could not be started.
    NotStarted {
        /// The error number of the system.
        errno: i32,
    },
    /// What was to be covered is not what was looked at; look again.
    Changed,
    /// It is over.
    Ended {
        /// As wait(2) tells it; `None` when the helper's child was killed.
        status: Option<i32>,
        /// The limit that ended it.
        limit: Option<Exceeded>,
    },
    /// Something else stands where a cover was, which went with what lay under it.
    Uncovered {
        /// Where.
        path: Raw,
        /// What the cover was.
        how: How,
        /// Whether it was covered again.
        again: bool,
    },
    /// Something took a name that must not come into being, and now has another.
    MovedAside {
        /// The directory.
        directory: Raw,
        /// The name that was taken.
        name: Raw,
        /// The name that it has now.
        now: Raw,
    },
}

/// A limit that ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exceeded {
    /// Memory, summed over all processes.
    Memory,
    /// The growth of the disk's contents.
    Disk,
    /// The number of processes.
    Processes,
}

/// What the helper is asked while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// End everything.
    Kill,
    /// Send a signal to the program.
    Signal(i32),
    /// The caller has seen to what was left behind.
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_json() {
        let all = Raw((0..=255).collect());
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Raw>(&text).unwrap(), all);
        assert!(serde_json::from_str::<Raw>("\"\u{100}\"").is_err());
    }
}
