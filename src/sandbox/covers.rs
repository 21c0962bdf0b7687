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
use super::repository::{Before, Note, known};
use super::scan::{Cache, Found, Rules, Scan, ScanError, What};
use super::started::started_in;
use super::view::Roots;

/// How often is looked at what changes under the eyes.
const LOOKS: u32 = 20;

/// How many of those wait for a moment at which nothing changes.
const PATIENT: u32 = 3;

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
    let note = Note::of(policy.state_dir.as_deref(), &policy.workspace);
    let seen = if is_alone {
        see(policy, roots)?
    } else {
        see_among_others(policy, roots, &note)?
    };
    let mut covered = Covered::default();
    let mut started = BTreeSet::new();
    for (root, found) in seen.found {
        started.append(&mut started_in(root, &found, policy));
        for one in found {
            let is_new = |noted: &Before| !noted.hides(one.identity);
            let may_be_gone = !roots.are_searched(root) || seen.noted.as_ref().is_some_and(is_new);
            covered.add(root, one, may_be_gone);
        }
    }
    if let Some(repository) = &roots.repository {
        covered.git_directory(repository);
    }
    // This may make the state directory, which nothing may make afterwards.
    covered.before = seen.before.agreed(&note, is_alone);
    covered.configuration(policy, roots, &started, whole_disk);
    covered.order();
    Ok(covered)
}

/// What was found in the directories that the view shows.
struct Sight<'r> {
    found: Vec<(&'r Path, Vec<Found>)>,
    /// What of it is there before the command.
    before: Before,
    /// What was there before the first of the commands that run, where that is known.
    noted: Option<Before>,
}

/// Looks at all of them.
fn see<'r>(policy: &Policy, roots: &'r Roots) -> Result<Sight<'r>, ScanError> {
    let mut found = Vec::new();
    for root in roots.scanned() {
        found.push((root.as_path(), look(policy, root)?));
    }
    Ok(Sight::new(policy, roots, found))
}

/// The same while other commands run, which may rename directories meanwhile. Where there is no moment at which
/// nothing changes, it is enough when all is found that was secret before the first of those commands: what came
/// later they made themselves, or could read as it came.
fn see_among_others<'r>(
    policy: &Policy,
    roots: &'r Roots,
    note: &Note,
) -> Result<Sight<'r>, ScanError> {
    for turn in 1..=LOOKS {
        let (mut found, mut stood) = (Vec::new(), true);
        for root in roots.scanned() {
            let (here, stands) = if roots.are_searched(root) {
                scan(policy, root, Scan::refresh_among_others)?
            } else {
                // No command can rename anything there.
                (look(policy, root)?, true)
            };
            found.push((root.as_path(), here));
            stood &= stands;
        }
        let mut sight = Sight::new(policy, roots, found);
        // Whoever was first has written it by now, or has not begun to change anything.
        let noted = note.read();
        sight.noted = noted.filter(|noted| noted.is_under(policy.rules()));
        let is_whole = |noted| sight.before.hides_all_of(noted);
        if stood || turn > PATIENT && sight.noted.as_ref().is_some_and(is_whole) {
            return Ok(sight);
        }
    }
    Err(ScanError::Changing)
}

impl<'r> Sight<'r> {
    fn new(policy: &Policy, roots: &Roots, found: Vec<(&'r Path, Vec<Found>)>) -> Self {
        let mut before = Before::default();
        before.add_rules(policy.rules());
        for (root, found) in &found {
            if roots.are_searched(root) {
                before.append(known(root, found));
            }
        }
        Self {
            found,
            before,
            noted: None,
        }
    }
}

/// Looks at everything in a directory.
pub(super) fn look(policy: &Policy, root: &Path) -> Result<Vec<Found>, ScanError> {
    scan(policy, root, Scan::refresh)
}

fn scan<T>(
    policy: &Policy,
    root: &Path,
    refresh: impl FnOnce(&mut Scan, &Path, &Rules<'_>) -> Result<T, ScanError>,
) -> Result<T, ScanError> {
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
    let found = refresh(scan, root, &rules)?;
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
    fn add(&mut self, root: &Path, found: Found, may_be_gone: bool) {
        match found.what {
            What::Cover(how) => self.covers.push(Cover {
                root: root.into(),
                path: Raw(found.path),
                how,
                identity: found.identity,
                may_be_gone,
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
            // Links outside of what is shown may lead into it.
            for (real, _) in linked(directory) {
                if let Some(root) = root_of(&real) {
                    self.cover(root, &real, How::Hide);
                }
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
            may_be_gone: false,
        });
        true
    }

    /// Outer covers first, one for each path: the strictest.
    fn order(&mut self) {
        let whole = |cover: &Cover| cover.root.path().join(cover.path.path());
        self.covers.sort_by_key(|cover| {
            (
                whole(cover),
                std::cmp::Reverse(cover.how),
                cover.may_be_gone,
            )
        });
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
