//! What was seen of a directory, kept in the state directory for the next process.
//!
//! It only ever spares reading: every directory in it is asked for its change time before what is known of it is
//! used. It is believed when it is this user's own file that nobody else can write, whole, written by this
//! program since the machine was started, for the same rules; whatever is doubtful is read again.

mod bytes;
mod nodes;

use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};
use rustix::process::geteuid;

use super::seen::Seen;
use super::tree::Scan;
use crate::files::Directory;
use bytes::{Reader, Writer};

/// The first bytes of a file; the last is the number of the format.
const MAGIC: &[u8; 8] = b"orchsc\0\x01";

/// Bytes of the check sum behind them.
const SUM: usize = 8;

/// Larger ones are not kept, bytes.
const LARGEST: u64 = 128 << 20;

/// So many are kept: the oldest goes.
const MOST: usize = 64;

/// What names the workspace of a file is in its first bytes.
const HEAD: u64 = 8 << 10;

/// Where what is known of one directory under one set of rules is kept.
#[derive(Debug)]
pub(in crate::sandbox) struct Cache {
    directory: PathBuf,
    /// What it holds for: the directory first.
    key: Vec<u8>,
}

impl Cache {
    /// The place for a directory. `rules` is its path, and everything that decides what becomes of a path in it.
    pub(in crate::sandbox) fn new<'r>(
        state_dir: &Path,
        mut rules: impl Iterator<Item = &'r [u8]>,
    ) -> Self {
        let mut key = Writer::default();
        key.bytes(rules.next().unwrap_or_default());
        key.number(geteuid().as_raw().into());
        // Another program may have other rules under the same version.
        let program =
            rustix::fs::open("/proc/self/exe", OFlags::PATH, Mode::empty()).and_then(Seen::of);
        if let Ok(program) = program {
            for number in [program.device, program.inode, program.changed.1.into()] {
                key.number(number);
            }
            key.signed(program.changed.0);
        }
        for rule in rules {
            key.bytes(rule);
        }
        Self {
            directory: state_dir.join("scans"),
            key: key.0,
        }
    }

    fn name(&self) -> String {
        format!("{:016x}", sum(&self.key))
    }

    /// What was kept; `None` where there is nothing or nothing that can be believed.
    pub(in crate::sandbox) fn load(&self) -> Option<Scan> {
        let directory = Directory::open(&self.directory).ok()?;
        if !directory.is_own().ok()? {
            return None;
        }
        let mut file = directory.read(&self.name()).ok()?;
        let metadata = file.metadata().ok()?;
        let is_own = metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o777 == 0o600;
        if !is_own || metadata.len() > LARGEST {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()? + 1);
        file.read_to_end(&mut bytes).ok()?;
        let mut body = Reader(checked(&bytes)?);
        if body.bytes()? != self.key || body.bytes()? != boot()? {
            return None;
        }
        nodes::read(&mut body).filter(|_| body.0.is_empty())
    }

    /// Keeps what was seen. Where it cannot, the next process reads everything again.
    pub(in crate::sandbox) fn save(&self, scan: &Scan) {
        let (Some(boot), Some(root)) = (boot(), &scan.root) else {
            return;
        };
        let mut body = Writer::default();
        body.bytes(&self.key);
        body.bytes(&boot);
        nodes::write(&mut body, scan, root);
        let whole = [MAGIC, sum(&body.0).to_le_bytes().as_slice(), &body.0].concat();
        if whole.len() as u64 <= LARGEST {
            // A state directory that cannot be written is no mistake.
            drop(self.put(&whole));
        }
    }

    fn put(&self, whole: &[u8]) -> io::Result<()> {
        let directory = Directory::make(&self.directory)?;
        if !directory.is_own()? {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let name = self.name();
        if directory.read(&name).is_err() {
            sweep(&directory)?;
        }
        directory.write_unsynced(&name, whole)
    }

    /// Forgets it.
    pub(in crate::sandbox) fn remove(&self) {
        // It may not be there, or the directory cannot be written: then it was not believed for long.
        drop(std::fs::remove_file(self.directory.join(self.name())));
    }
}

/// What follows the check sum, when that is right.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (told, body) = rest.split_at_checked(SUM)?;
    (sum(body).to_le_bytes() == told).then_some(body)
}

/// Tells a file that was cut or overwritten from a whole one; nobody else can write there who would forge it.
fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// What the kernel calls the time since the machine was started.
fn boot() -> Option<Vec<u8>> {
    std::fs::read("/proc/sys/kernel/random/boot_id").ok()
}

/// Makes place for one more: what belongs to directories that are gone is removed, and the oldest.
fn sweep(directory: &Directory) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(directory.path())? {
        let path = entry?.path();
        let written = path.symlink_metadata().and_then(|found| found.modified());
        match written {
            Ok(written) if workspace(&path).is_some_and(|root| root.is_dir()) => {
                kept.push((written, path));
            }
            _ => drop(std::fs::remove_file(&path)),
        }
    }
    kept.sort();
    let surplus = (kept.len() + 1).saturating_sub(MOST);
    for (_, path) in kept.iter().take(surplus) {
        // Another process may have been quicker.
        drop(std::fs::remove_file(path));
    }
    Ok(())
}

/// The directory that a file is about.
fn workspace(path: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut head = Vec::new();
    let file = Directory::open(path.parent()?).ok()?;
    let file = file.read(path.file_name()?.to_str()?).ok()?;
    file.take(HEAD).read_to_end(&mut head).ok()?;
    let mut body = Reader(head.strip_prefix(MAGIC)?.get(SUM..)?);
    // The key is longer than what is read of it, perhaps, but begins with the path.
    body.number()?;
    let root = body.bytes()?.to_vec();
    Some(PathBuf::from(std::ffi::OsString::from_vec(root)))
}
