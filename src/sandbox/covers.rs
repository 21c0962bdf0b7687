//! What lies over parts of the view, and which names must not come into being.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::aliases::linked;
use super::names::CONFIGURATION_NAMES;
use super::plan::{Cover, How, Kept, Raw, Watch};
use super::policy::Policy;
use super::repository::{Before, known};
use super::scan::{Cache, Found, Rules, Scan, ScanError, What};
use super::started::started_in;
use super::view::Roots;

/// Covers in the order in which they are laid, and watched names.
#[derive(Debug, Default)]
pub(super) struct Covered {
    pub(super) covers: Vec<Cover>,
    pub(super) watches: Vec<Watch>,
    pub(super) kept: Vec<Kept>,
    /// The repositories that are there and may keep what they name.
    pub(super) before: Before,
}

/// Looks at everything that the view shows of the machine's directories.
pub(super) fn covers(
    policy: &Policy,
    roots: &Roots,
    whole_disk: bool,
    is_alone: bool,
) -> Result<Covered, ScanError> {
    let mut covered = Covered::default();
    let mut started = BTreeSet::new();
    for root in roots.scanned() {
        let found = look(policy, root, is_alone)?;
        started.append(&mut started_in(root, &found, policy));
        if roots.are_searched(root) {
            covered.before.append(known(root, &found));
        }
        for one in found {
            covered.add(root, one);
        }
    }
    if let Some(repository) = &roots.repository {
        covered.git_directory(repository);
    }
    covered.configuration(policy, roots, &started, whole_disk);
    covered.order();
    let state_dir = policy.state_dir.as_deref();
    let before = covered.before;
    covered.before = before.agreed(state_dir, &policy.workspace, is_alone);
    Ok(covered)
}

/// Looks at everything in a directory.
pub(super) fn look(policy: &Policy, root: &Path, is_alone: bool) -> Result<Vec<Found>, ScanError> {
    let mut scans = policy
        .scans()
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    // A directory may be known by another path than the one under which something in it is denied.
    let real = real_of(root);
    let cache = policy.cache(root, &real);
    let scan = scans.entry(root.to_owned()).or_insert_with(|| {
        let kept = cache.as_ref().and_then(Cache::load);
        kept.unwrap_or_default()
    });
    let denied = |relative: &Path| {
        policy.denies_entry(root, relative)
            || (real != root && policy.denies_entry(&real, relative))
    };
    let rules = Rules { denied: &denied };
    let found = if is_alone {
        scan.refresh(root, &rules)
    } else {
        scan.refresh_among_others(root, &rules)
    }?;
    if let Some(cache) = &cache
        && scan.is_worth_keeping()
    {
        cache.save(scan);
    }
    Ok(found)
}

/// Forgets what was seen of the directories, and what of it was kept: next time everything is read.
pub(super) fn forget(policy: &Policy) {
    let mut scans = policy
        .scans()
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    for (root, scan) in scans.iter_mut() {
        *scan = Scan::default();
        if let Some(cache) = policy.cache(root, &real_of(root)) {
            cache.remove();
        }
    }
}

fn real_of(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

impl Covered {
    fn add(&mut self, root: &Path, found: Found) {
        match found.what {
            What::Cover(how) => self.covers.push(Cover {
                root: root.into(),
                path: Raw(found.path),
                how,
                identity: found.identity,
            }),
            What::Kept { is_link } => self.kept.push(Kept {
                is_link,
                root: root.into(),
                path: Raw(found.path),
                identity: found.identity,
            }),
            What::Socket | What::Repository => {}
            What::Missing => {
                let path = root.join(std::ffi::OsStr::from_bytes(&found.path));
                self.watch(&path, None);
            }
        }
    }

    fn watch(&mut self, path: &Path, link: Option<PathBuf>) {
        if let (Some(directory), Some(name)) = (path.parent(), path.file_name()) {
            self.watches.push(Watch {
                directory: directory.into(),
                name: name.into(),
                link: link.map(Raw::from),
            });
        }
    }

    /// A git directory that is a place of its own.
    fn git_directory(&mut self, git: &Path) {
        for name in super::names::GIT_STEERING {
            let path = git.join(std::ffi::OsStr::from_bytes(name));
            if !self.cover(git, &path, How::ReadOnly) {
                self.watch(&path, None);
            }
        }
        for entry in std::fs::read_dir(git.join("worktrees"))
            .into_iter()
            .flatten()
            .flatten()
        {
            for name in super::names::GIT_STEERING {
                self.cover(
                    git,
                    &entry.path().join(std::ffi::OsStr::from_bytes(name)),
                    How::ReadOnly,
                );
            }
        }
    }

    /// The configuration in use, and names that would be taken for one.
    fn configuration(
        &mut self,
        policy: &Policy,
        roots: &Roots,
        started: &BTreeSet<PathBuf>,
        whole_disk: bool,
    ) {
        let shown: Vec<&Path> = if whole_disk {
            vec![Path::new("/")]
        } else {
            [&roots.workspace]
                .into_iter()
                .chain(&roots.write)
                .map(PathBuf::as_path)
                .collect()
        };
        // The nearest place that shows a path to be written.
        let root_of = |path: &Path| {
            shown
                .iter()
                .filter(|root| path.starts_with(root) && path != **root)
                .max_by_key(|root| root.as_os_str().len())
                .copied()
        };
        let all = policy.protected.iter().chain(&policy.started);
        for path in all.chain(started) {
            // Of what has no directory yet, nothing may come into being.
            let missing = |path: &&Path| path.parent().is_some_and(Path::exists);
            let path = &path.ancestors().find(missing).unwrap_or(path).to_owned();
            if let Some(root) = root_of(path) {
                self.pin_above(root, path);
                if let Ok(link) = std::fs::read_link(path) {
                    self.watch(path, Some(link));
                } else if !self.cover(root, path, How::ReadOnly) {
                    self.watch(path, None);
                }
            }
        }
        for path in &policy.private {
            let Some(root) = root_of(path) else {
                continue;
            };
            if !path.exists() {
                self.watch(path, None);
            } else if whole_disk {
                self.cover(root, path, How::HideDirectory);
            }
        }
        for directory in &policy.configuration_dirs {
            if let Some(root) = root_of(directory) {
                self.pin_above(root, directory);
                self.cover(root, directory, How::Pin);
            }
            for name in CONFIGURATION_NAMES {
                let path = directory.join(std::ffi::OsStr::from_bytes(name));
                let Some(root) = root_of(&path) else {
                    continue;
                };
                match std::fs::symlink_metadata(&path) {
                    Err(_) => self.watch(&path, None),
                    Ok(metadata) if metadata.is_symlink() => {
                        let real = std::fs::canonicalize(&path);
                        if let Ok(real) = real
                            && let Some(root) = root_of(&real)
                        {
                            self.cover(root, &real, How::ReadOnly);
                        }
                        self.watch(&path, std::fs::read_link(&path).ok());
                    }
                    Ok(metadata) if metadata.is_file() => {
                        self.cover(root, &path, How::ReadOnly);
                    }
                    Ok(_) => {}
                }
            }
        }
    }

    /// Keeps the directories above a path where they are: in the place of one that was renamed another could be
    /// made, with whatever in it.
    fn pin_above(&mut self, root: &Path, path: &Path) {
        for above in path.ancestors().skip(1) {
            if above == root || !above.starts_with(root) {
                break;
            }
            self.cover(root, above, How::Pin);
        }
    }

    /// Covers a path that exists; tells whether it does.
    fn cover(&mut self, root: &Path, path: &Path, how: How) -> bool {
        let (Ok(metadata), Ok(relative)) =
            (std::fs::symlink_metadata(path), path.strip_prefix(root))
        else {
            return false;
        };
        if metadata.is_symlink() {
            return true;
        }
        self.covers.push(Cover {
            root: root.into(),
            path: relative.into(),
            how,
            identity: (metadata.dev(), metadata.ino()),
        });
        true
    }

    /// Outer covers first, one for each path: the strictest.
    fn order(&mut self) {
        let whole = |cover: &Cover| cover.root.path().join(cover.path.path());
        self.covers
            .sort_by_key(|cover| (whole(cover), std::cmp::Reverse(cover.how)));
        self.covers.dedup_by_key(|cover| whole(cover));
        let mut hidden: Option<PathBuf> = None;
        self.covers.retain(|cover| {
            let path = whole(cover);
            if hidden
                .as_ref()
                .is_some_and(|hidden| path.starts_with(hidden))
            {
                return false;
            }
            if cover.how == How::HideDirectory {
                hidden = Some(path);
            }
            true
        });
        self.watches.sort();
        self.watches.dedup();
    }
}
            // Links outside of what is shown may lead into it.
            for (real, _) in linked(directory) {
                if let Some(root) = root_of(&real) {
                    self.cover(root, &real, How::Hide);
                }
            }
