//! Other names of secrets: a hard link is the same file, whatever it is called.
//!
//! They are looked for only where a secret has several names, and are remembered with the directories that hold
//! them: a new name changes its directory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, openat2, statat};
use rustix::io::Errno;

use super::seen::identity;
use super::tree::{Node, push};
use super::{Found, How, What};

/// Device and inode of the secrets whose names are looked for.
pub(super) type Sought = BTreeSet<(u64, u64)>;

/// Adds the other names of the secrets that were found. Every directory of the tree knows the names in it of what
/// is `sought`; when that is too little, all are read again.
pub(super) fn add(
    root: BorrowedFd<'_>,
    tree: &mut Node,
    sought: &mut Sought,
    found: &mut Vec<Found>,
) -> io::Result<()> {
    let secrets = with_several_names(root, found);
    if secrets.is_empty() {
        return Ok(());
    }
    if !secrets.is_subset(sought) {
        // Until all are read, nothing is known.
        sought.clear();
        read(root, tree, &mut Vec::new(), &secrets)?;
        sought.clone_from(&secrets);
    }
    collect(tree, &mut Vec::new(), &secrets, found);
    Ok(())
}

fn with_several_names(root: BorrowedFd<'_>, found: &[Found]) -> Sought {
    found
        .iter()
        .filter(|one| one.what == What::Cover(How::Hide))
        .filter(|one| {
            let path = OsStr::from_bytes(&one.path);
            statat(root, path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            })
        })
        .map(|one| one.identity)
        .collect()
}

/// Notes an entry that is a name of what is sought.
pub(super) fn note(
    directory: impl AsFd,
    name: &[u8],
    inode: u64,
    sought: &Sought,
    names: &mut Vec<Found>,
) {
    if !sought.iter().any(|(_, known)| *known == inode) {
        return;
    }
    let stat = statat(
        directory,
        OsStr::from_bytes(name),
        AtFlags::SYMLINK_NOFOLLOW,
    );
    if let Ok(stat) = stat
        && sought.contains(&identity(&stat))
    {
        names.push(Found {
            path: name.to_vec(),
            what: What::Cover(How::Hide),
            identity: identity(&stat),
        });
    }
}

/// Reads the names in every directory of the tree.
fn read(
    root: BorrowedFd<'_>,
    node: &mut Node,
    path: &mut Vec<u8>,
    sought: &Sought,
) -> io::Result<()> {
    node.names.clear();
    list(root, path, sought, &mut node.names)?;
    let length = path.len();
    for child in &mut node.children {
        push(path, &child.name);
        let read = read(root, child, path, sought);
        path.truncate(length);
        read?;
    }
    Ok(())
}

/// The names in the tree.
fn collect(node: &Node, path: &mut Vec<u8>, secrets: &Sought, found: &mut Vec<Found>) {
    let names = node.names.iter();
    let names = names.filter(|one| secrets.contains(&one.identity));
    found.extend(names.map(|one| one.clone().below(path)));
    let length = path.len();
    for child in &node.children {
        push(path, &child.name);
        collect(child, path, secrets, found);
        path.truncate(length);
    }
}

/// Looks through one directory.
fn list(
    root: BorrowedFd<'_>,
    path: &[u8],
    sought: &Sought,
    names: &mut Vec<Found>,
) -> io::Result<()> {
    let here = if path.is_empty() { b"." } else { path };
    let here = Path::new(OsStr::from_bytes(here));
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let Ok(directory) = openat2(root, here, flags, Mode::empty(), resolve) else {
        // What cannot be opened is hidden as a whole.
        return Ok(());
    };
    let mut buffer = vec![MaybeUninit::uninit(); 64 << 10];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            // It was removed while it was read.
            Err(Errno::NOENT) => return Ok(()),
            entry => entry?,
        };
        let name = entry.file_name().to_bytes();
        match entry.file_type() {
            FileType::RegularFile | FileType::Unknown => {
                note(&directory, name, entry.ino(), sought, names);
            }
            _ => {}
        }
    }
    Ok(())
}
