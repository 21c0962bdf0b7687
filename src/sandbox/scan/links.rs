//! Other names of secrets: a hard link is the same file, whatever it is called.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, openat2, statat};

use super::tree::push;
use super::{Found, How, What};

/// Adds what has the same inode as a secret that was found; looks for it only where a secret has several names.
pub(super) fn add(root: BorrowedFd<'_>, found: &mut Vec<Found>) -> io::Result<()> {
    let secrets: BTreeSet<(u64, u64)> = found
        .iter()
        .filter(|one| one.what == What::Cover(How::Hide))
        .filter(|one| {
            let path = OsStr::from_bytes(&one.path);
            statat(root, path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            })
        })
        .map(|one| one.identity)
        .collect();
    if secrets.is_empty() {
        return Ok(());
    }
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        names(root, &path, &secrets, &mut open, found)?;
    }
    Ok(())
}

/// Looks through one directory.
fn names(
    root: BorrowedFd<'_>,
    path: &[u8],
    secrets: &BTreeSet<(u64, u64)>,
    open: &mut Vec<Vec<u8>>,
    found: &mut Vec<Found>,
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
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let mut whole = path.to_vec();
        push(&mut whole, name);
        match entry.file_type() {
            FileType::Directory => open.push(whole),
            FileType::RegularFile | FileType::Unknown
                if secrets.iter().any(|(_, inode)| *inode == entry.ino()) =>
            {
                if let Ok(stat) = statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    && secrets.contains(&(stat.st_dev, stat.st_ino))
                {
                    found.push(Found {
                        path: whole,
                        what: What::Cover(How::Hide),
                        identity: (stat.st_dev, stat.st_ino),
                    });
                }
            }
            _ => {}
        }
    }
    Ok(())
}
