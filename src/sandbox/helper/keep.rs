//! For the tier without mounts: what must not change is remembered before the command and put back after it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, open, openat,
    openat2, statat,
};

use super::super::plan::{How, Plan, Raw, Report};
use super::failure::{Done, Failure, at};
use super::guard::set_aside;

/// More than this is not remembered.
const MOST: u64 = 16 << 20;

/// What is remembered of one cover.
pub(super) struct Kept {
    directory: OwnedFd,
    /// The place that it stands in.
    root: Raw,
    path: Raw,
    name: Vec<u8>,
    content: Content,
}

enum Content {
    File { mode: Mode, bytes: Vec<u8> },
    Directory(BTreeMap<Vec<u8>, Self>),
    Other,
}

/// Remembers what the plan's covers would make read-only.
pub(super) fn remember(plan: &Plan) -> Done<Vec<Kept>> {
    let mut left = MOST;
    let mut kept = Vec::new();
    for cover in plan
        .covers
        .iter()
        .filter(|cover| cover.how == How::ReadOnly)
    {
        let path = cover.root.path().join(cover.path.path());
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let directory =
            open(parent, flags, Mode::empty()).map_err(at("remember what is protected"))?;
        let content = read(&directory, name.as_bytes(), &mut left)
            .map_err(at(format!("remember {}", path.display())))?;
        kept.push(Kept {
            directory,
            root: cover.root.clone(),
            path: parent.into(),
            name: name.as_bytes().to_vec(),
            content,
        });
    }
    if left == 0 {
        return Err(Failure::Step {
            step: "remember what is protected".to_owned(),
            errno: libc::EFBIG,
        });
    }
    Ok(kept)
}

/// Puts back what changed; what stood there instead is set aside.
pub(super) fn put_back(kept: &[Kept]) -> Vec<Report> {
    let mut reports = Vec::new();
    for one in kept {
        // What cannot be put back is told by the report of what was set aside, or was not touched.
        drop(restore(
            &one.directory,
            &one.path,
            &one.name,
            &one.content,
            &mut reports,
        ));
        // A directory above it may have been renamed, and another made in its place, or a link.
        reports.extend(remove_link(one.root.path(), one.path.path()));
        if let Ok(Some(now)) = taken(one) {
            drop(restore(
                &now,
                &one.path,
                &one.name,
                &one.content,
                &mut reports,
            ));
        }
    }
    reports
}

/// The directory that has the path of the remembered one now, when it is another.
fn taken(kept: &Kept) -> io::Result<Option<OwnedFd>> {
    let now = open_plainly(kept.path.path())?;
    let (then, current) = (fstat(&kept.directory)?, fstat(&now)?);
    let same = (then.st_dev, then.st_ino) == (current.st_dev, current.st_ino);
    Ok((!same).then_some(now))
}

/// Sets aside the first link on a way that had none below its place.
fn remove_link(root: &Path, path: &Path) -> Option<Report> {
    let mut above: Vec<&Path> = path
        .ancestors()
        .take_while(|above| above.starts_with(root))
        .collect();
    above.reverse();
    above.windows(2).find_map(|pair| {
        let [parent, child] = pair else { return None };
        let directory = open_plainly(parent).ok()?;
        let name = child.file_name()?;
        let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
            .then(|| set_aside(&directory, &parent.into(), name.as_bytes()))
            .flatten()
    })
}

/// Opens a directory whose path has no links.
fn open_plainly(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS;
    Ok(openat2(CWD, path, flags, Mode::empty(), resolve)?)
}

fn read(directory: impl AsFd, name: &[u8], left: &mut u64) -> io::Result<Content> {
    let os_name = OsStr::from_bytes(name);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let Ok(file) = openat(&directory, os_name, flags, Mode::empty()) else {
        return Ok(Content::Other);
    };
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let mut bytes = Vec::new();
            let read = File::from(file).take(*left).read_to_end(&mut bytes)?;
            *left = left.saturating_sub(read as u64);
            Ok(Content::File {
                mode: Mode::from_raw_mode(stat.st_mode),
                bytes,
            })
        }
        FileType::Directory => {
            let mut entries = BTreeMap::new();
            for name in names(&file)? {
                let content = read(&file, &name, left)?;
                entries.insert(name, content);
            }
            Ok(Content::Directory(entries))
        }
        _ => Ok(Content::Other),
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

fn restore(
    directory: &OwnedFd,
    path: &Raw,
    name: &[u8],
    content: &Content,
    reports: &mut Vec<Report>,
) -> io::Result<()> {
    let os_name = OsStr::from_bytes(name);
    let exists = statat(directory, os_name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    match content {
        Content::Other => Ok(()),
        Content::File { mode, bytes } => {
            let mut left = MOST;
            let same = matches!(
                read(directory, name, &mut left)?,
                Content::File { mode: now, bytes: found } if now == *mode && found == *bytes
            );
            if same {
                return Ok(());
            }
            if exists {
                reports.extend(set_aside(directory, path, name));
            }
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = openat(directory, os_name, flags, *mode)?;
            fchmod(&file, *mode)?;
            File::from(file).write_all(bytes)
        }
        Content::Directory(entries) => {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let inner = if let Ok(inner) = openat(directory, os_name, flags, Mode::empty()) {
                inner
            } else {
                if exists {
                    reports.extend(set_aside(directory, path, name));
                }
                mkdirat(directory, os_name, Mode::from_raw_mode(0o755))?;
                openat(directory, os_name, flags, Mode::empty())?
            };
            let path = Raw([path.0.as_slice(), b"/", name].concat());
            for new in names(&inner)?
                .iter()
                .filter(|name| !entries.contains_key(*name))
            {
                reports.extend(set_aside(&inner, &path, new));
            }
            for (name, content) in entries {
                restore(&inner, &path, name, content, reports)?;
            }
            Ok(())
        }
    }
}
