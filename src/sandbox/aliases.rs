//! Secrets under ordinary names: what a link leads to that is called like one, and hard links of secrets.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::covers::look;
use super::plan::How;
use super::policy::Policy;
use super::scan::What;

/// Names that are often links to a file of another name.
const OFTEN_LINKED: [&str; 7] = [
    ".env",
    ".env.local",
    ".env.development",
    ".env.production",
    ".env.staging",
    ".env.test",
    ".envrc",
];

/// Device and inode.
type Identity = (u64, u64);

/// The secrets of a policy, whatever they are called. A directory is looked through when it is first asked about.
#[derive(Debug)]
pub struct Secrets<'p> {
    policy: &'p Policy,
    roots: Vec<Root<'p>>,
}

/// A directory of the policy.
#[derive(Debug)]
struct Root<'p> {
    path: &'p Path,
    real: PathBuf,
    /// What a command finds hidden in it; `None` inside where nobody can tell.
    secrets: OnceLock<Option<BTreeSet<Identity>>>,
}

impl Policy {
    /// The secrets in the directories of this policy, for as long as one call of a tool takes.
    pub fn secrets(&self) -> Secrets<'_> {
        let roots = [&self.workspace]
            .into_iter()
            .chain(&self.write)
            .chain(&self.read);
        let roots = roots.filter(|root| root.is_dir()).map(|root| Root {
            path: root,
            real: std::fs::canonicalize(root).unwrap_or_else(|_| root.clone()),
            secrets: OnceLock::new(),
        });
        Secrets {
            policy: self,
            roots: roots.collect(),
        }
    }
}

impl Secrets<'_> {
    /// Whether an open file is a secret by another name than its path: found by its inode. `path` is where the file
    /// lies; `links` how many names it has, where more than one means that all directories are looked through.
    pub fn hold(&self, path: &Path, identity: Identity, links: u64) -> bool {
        let directories = self.policy.configuration_dirs.iter().map(PathBuf::as_path);
        directories
            .chain(path.parent())
            .any(|directory| linked(directory).any(|(_, found)| found == identity))
            || self
                .roots
                .iter()
                .filter(|root| links > 1 || path.starts_with(&root.real))
                .any(|root| root.holds(self.policy, identity))
    }
}

impl Root<'_> {
    fn holds(&self, policy: &Policy, identity: Identity) -> bool {
        let secrets = self.secrets.get_or_init(|| {
            let found = look(policy, self.path).ok()?.into_iter();
            let hidden = found.filter(|one| one.what == What::Cover(How::Hide));
            Some(hidden.map(|one| one.identity).collect())
        });
        // Where nobody can tell, it may be.
        secrets
            .as_ref()
            .is_none_or(|secrets| secrets.contains(&identity))
    }
}

/// What the names in a directory lead to that are often links: where it really lies, and what it is.
pub(super) fn linked(directory: &Path) -> impl Iterator<Item = (PathBuf, Identity)> {
    OFTEN_LINKED.iter().filter_map(move |name| {
        let real = std::fs::canonicalize(directory.join(name)).ok()?;
        let metadata = std::fs::metadata(&real).ok()?;
        (!metadata.is_dir()).then(|| (real, (metadata.dev(), metadata.ino())))
    })
}
