//! Secrets under ordinary names: what a `.env` is a link to, and hard links of secrets.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

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

impl Policy {
    /// Whether an open file is a secret by another name than its path: found by its inode. `path` is where the file
    /// lies; `links` how many names it has, where more than one means that the workspace is looked through.
    pub fn is_secret_by_another_name(
        &self,
        path: &Path,
        device: u64,
        inode: u64,
        links: u64,
    ) -> bool {
        let directories = self.configuration_dirs.iter().map(PathBuf::as_path);
        directories
            .chain(path.parent())
            .any(|directory| is_linked(directory, (device, inode)))
            || (links > 1 && self.is_linked_somewhere((device, inode)))
    }

    fn is_linked_somewhere(&self, identity: (u64, u64)) -> bool {
        let roots = [&self.workspace]
            .into_iter()
            .chain(&self.write)
            .chain(&self.read);
        roots.filter(|root| root.is_dir()).any(|root| {
            let found = look(self, root, true);
            // Where nobody can tell, it may be.
            found.map_or(true, |found| {
                found
                    .iter()
                    .any(|one| one.what == What::Cover(How::Hide) && one.identity == identity)
            })
        })
    }
}

fn is_linked(directory: &Path, identity: (u64, u64)) -> bool {
    OFTEN_LINKED.iter().any(|name| {
        std::fs::metadata(directory.join(name))
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == identity)
    })
}
