//! Paths as a model writes them: decided by their letters alone, before the kernel is asked.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// The longest path that the kernel takes.
const LONGEST: usize = 4096;

/// Why a path is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadPath {
    #[error("the path is empty")]
    Empty,
    #[error("the path contains a NUL character")]
    Nul,
    #[error("the path is longer than {LONGEST} bytes")]
    TooLong,
}

/// Checks what no path may be. Nothing is expanded: `~`, `%2e` and `$HOME` are names like others.
pub(super) fn check(path: &str) -> Result<&Path, BadPath> {
    if path.is_empty() {
        Err(BadPath::Empty)
    } else if path.contains('\0') {
        Err(BadPath::Nul)
    } else if path.len() > LONGEST {
        Err(BadPath::TooLong)
    } else {
        Ok(Path::new(path))
    }
}

/// The path below `root`, compared component by component; `.` for the root itself. What `..`
/// does to it is left to the kernel.
pub(super) fn below(path: &Path, root: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(root).ok()?;
    Some(if rest.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        rest.to_owned()
    })
}

/// The path without `.` and `..`, as far as letters can tell. Only for messages and for the
/// first look at the policy: symbolic links may make it wrong.
pub(in crate::tools) fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    normal.push("..");
                }
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                normal.push(component);
            }
        }
    }
    normal
}

/// The directory and the name of a file that is to be written; `None` when the path cannot be a
/// file: it ends in `/`, `.` or `..`.
pub(super) fn split(path: &Path) -> Option<(PathBuf, OsString)> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.ends_with(b"/") || bytes.ends_with(b"/.") {
        return None;
    }
    let name = path.file_name()?.to_owned();
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    Some((parent.unwrap_or(Path::new(".")).to_owned(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_path() {
        assert_eq!(check(""), Err(BadPath::Empty));
        assert_eq!(check("a\0b"), Err(BadPath::Nul));
        assert_eq!(check(&"a".repeat(5000)), Err(BadPath::TooLong));
        assert_eq!(check("%2e%2e/~"), Ok(Path::new("%2e%2e/~")));
    }

    #[test]
    fn takes_absolute_paths_apart_by_components() {
        let below = |path| below(Path::new(path), Path::new("/base/dir"));
        assert_eq!(below("/base/dir"), Some(PathBuf::from(".")));
        assert_eq!(below("/base/dir/"), Some(PathBuf::from(".")));
        assert_eq!(below("/base/dir/a"), Some(PathBuf::from("a")));
        assert_eq!(below("/base/dir/../x"), Some(PathBuf::from("../x")));
        assert_eq!(below("/base/dir-evil/a"), None);
        assert_eq!(below("/work"), None);
    }

    #[test]
    fn names_a_file_to_write() {
        for (path, expected) in [
            ("a", Some((".", "a"))),
            ("a/b..c", Some(("a", "b..c"))),
            ("../a", Some(("..", "a"))),
            ("a/", None),
            ("a/.", None),
            ("a/..", None),
            (".", None),
        ] {
            let expected = expected.map(|(dir, name)| (PathBuf::from(dir), OsString::from(name)));
            assert_eq!(split(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn normalises_by_letters() {
        for (path, expected) in [
            ("./a/../b", "b"),
            ("a/../../b", "../b"),
            ("/a/./b/..", "/a"),
        ] {
            assert_eq!(normal(Path::new(path)), Path::new(expected));
        }
    }
}
