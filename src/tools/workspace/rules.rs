//! What `.gitignore` and `.ignore` files leave out of a walk.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{OFlags, ResolveFlags};

use super::open::{QUIETLY, open_at};

/// The files that hold rules, the weaker first.
const FILES: [&str; 2] = [".gitignore", ".ignore"];

/// A longer file of rules is not read to its end.
const LONGEST: u64 = 1024 * 1024;

/// The rules of a directory over those of its parents.
#[derive(Debug, Default)]
pub(super) struct Rules {
    parent: Option<Arc<Self>>,
    own: Vec<Gitignore>,
}

impl Rules {
    /// The rules inside a directory: its own, where it has any, over its parent's. `path` is the
    /// directory's, absolute in the sense of the walk.
    pub(super) fn inside(
        parent: &Arc<Self>,
        directory: BorrowedFd<'_>,
        path: &Path,
        resolve: ResolveFlags,
        has: impl Fn(&str) -> bool,
    ) -> Arc<Self> {
        let own: Vec<Gitignore> = FILES
            .into_iter()
            .filter(|name| has(name))
            .filter_map(|name| {
                let text = read(directory, name, resolve)?;
                let mut builder = GitignoreBuilder::new(path);
                for line in text.lines() {
                    // A line that is no pattern ignores nothing, as for git.
                    drop(builder.add_line(None, line));
                }
                builder.build().ok().filter(|rules| !rules.is_empty())
            })
            .collect();
        if own.is_empty() {
            return Arc::clone(parent);
        }
        Arc::new(Self {
            parent: Some(Arc::clone(parent)),
            own,
        })
    }

    /// Whether there is no rule at all.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.parent.is_none()
    }

    /// Whether the rules leave a path out: the innermost rule that speaks of it decides.
    pub(super) fn ignores(&self, path: &Path, is_directory: bool) -> bool {
        let mut rules = Some(self);
        while let Some(here) = rules {
            for own in here.own.iter().rev() {
                match own.matched(path, is_directory) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
            rules = here.parent.as_deref();
        }
        false
    }
}

fn read(directory: BorrowedFd<'_>, name: &str, resolve: ResolveFlags) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | QUIETLY;
    let file = File::from(open_at(directory, Path::new(name), flags, resolve).ok()?);
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, lines: &[&str], parent: Option<Arc<Rules>>) -> Arc<Rules> {
        let mut builder = GitignoreBuilder::new(path);
        for line in lines {
            builder.add_line(None, line).unwrap();
        }
        Arc::new(Rules {
            parent,
            own: vec![builder.build().unwrap()],
        })
    }

    #[test]
    fn the_innermost_rule_decides() {
        let outer = rules("/", &["*.log", "/target/", "build"], None);
        let inner = rules("/sub", &["!keep.log", "local"], Some(Arc::clone(&outer)));
        for (path, is_directory, expected) in [
            ("/a.log", false, true),
            ("/target", true, true),
            ("/target", false, false),
            ("/sub/target", true, false),
            ("/sub/a.log", false, true),
            ("/sub/keep.log", false, false),
            ("/sub/local", false, true),
            ("/sub/build", true, true),
            ("/sub/src", true, false),
        ] {
            let got = inner.ignores(Path::new(path), is_directory);
            assert_eq!(got, expected, "{path}");
        }
        assert!(!outer.ignores(Path::new("/sub/local"), false));
        assert!(Rules::default().is_empty());
    }
}
