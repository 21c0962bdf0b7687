//! Files of the workspace that run without being asked for: what the settings of git name, and, where the home
//! directory is part of the workspace, what shells and the session of the user start. An agent that could change them
//! would run programs outside the sandbox.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::covers::look;
use super::policy::{Policy, normal};
use super::repository::{Setting, names_program, settings};
use super::scan::{self, What, external_directory};

/// Files that include one another deeper than this are none that anybody wrote by hand.
const DEEPEST: u32 = 5;

/// No configuration of git is longer, bytes.
const LONGEST: u64 = 1 << 20;

/// What starts by itself in a home directory.
const HOME: &[&str] = &[
    ".bash_aliases",
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".bashrc",
    ".cargo/bin",
    ".config/autostart",
    ".config/environment.d",
    ".config/fish",
    ".config/git",
    ".config/nvim",
    ".config/systemd",
    ".cshrc",
    ".emacs",
    ".gitconfig",
    ".kshrc",
    ".local/bin",
    ".login",
    ".npmrc",
    ".pam_environment",
    ".profile",
    ".ssh",
    ".tcshrc",
    ".vim",
    ".vimrc",
    ".xinitrc",
    ".xprofile",
    ".xsession",
    ".xsessionrc",
    ".zlogin",
    ".zlogout",
    ".zprofile",
    ".zshenv",
    ".zshrc",
    "bin",
];

/// The paths in a workspace that start by themselves, whether they exist or not. `write` is what may be written
/// besides it.
pub(super) fn started(workspace: &Path, write: &[PathBuf], home: &Path) -> Vec<PathBuf> {
    let mut found = Found::new(
        std::iter::once(workspace).chain(write.iter().map(PathBuf::as_path)),
        home,
    );
    let git = external_directory(workspace).unwrap_or_else(|| workspace.join(".git"));
    found.repository(&git, workspace);
    let real = std::fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
    if real.starts_with(workspace) {
        found.paths.extend(HOME.iter().map(|name| real.join(name)));
    }
    found.paths.into_iter().collect()
}

/// What git starts in the repositories that were found in `root`, whether it exists or not.
pub(super) fn started_in(
    root: &Path,
    repositories: &[scan::Found],
    policy: &Policy,
) -> BTreeSet<PathBuf> {
    let roots = std::iter::once(&policy.workspace).chain(&policy.write);
    let mut found = Found::new(roots.map(PathBuf::as_path).chain([root]), &policy.home);
    for one in repositories {
        if one.what == What::Repository {
            let git = root.join(OsStr::from_bytes(&one.path));
            for top in tops(&git) {
                found.repository(&git, &top);
            }
        }
    }
    found.paths
}

impl Policy {
    /// Whether git starts a path in a repository of the workspace, which need not be the workspace's own. Looks
    /// through the workspace.
    pub fn is_started_in_repository(&self, path: &Path) -> bool {
        let roots = std::iter::once(&self.workspace).chain(&self.write);
        roots
            .filter(|root| root.is_dir() && root.parent().is_some() && path.starts_with(root))
            .any(|root| {
                // Where nobody can tell, it may be.
                look(self, root).map_or(true, |found| {
                    started_in(root, &found, self)
                        .iter()
                        .any(|started| path.starts_with(started))
                })
            })
    }
}

/// Where the files of a git directory are, and so where git is when it starts a hook.
fn tops(git: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    let read = |name: &str| std::fs::read_to_string(git.join(name)).ok();
    let mut tops = Vec::new();
    if git.file_name() == Some(OsStr::new(".git")) {
        tops.extend(parent(git));
    } else if let Some(link) = read("gitdir") {
        // That of a worktree, which says where its `.git` is.
        tops.extend(parent(&git.join(link.trim())));
    } else {
        tops.push(git.to_owned());
    }
    let worktrees = ["config", "config.worktree"].into_iter().filter_map(read);
    for setting in worktrees.flat_map(|text| settings(&text)) {
        if (setting.section.as_str(), setting.name.as_str()) == ("core", "worktree") {
            tops.push(normal(&git.join(&setting.value)));
        }
    }
    tops
}

struct Found<'a> {
    /// What can be changed.
    roots: Vec<&'a Path>,
    home: &'a Path,
    /// Where git is when it starts something.
    top: PathBuf,
    paths: BTreeSet<PathBuf>,
}

impl<'a> Found<'a> {
    fn new(roots: impl Iterator<Item = &'a Path>, home: &'a Path) -> Self {
        Self {
            roots: roots.collect(),
            home,
            top: PathBuf::new(),
            paths: BTreeSet::new(),
        }
    }

    /// What git starts for a git directory whose files are at `top`.
    fn repository(&mut self, git: &Path, top: &Path) {
        top.clone_into(&mut self.top);
        // A worktree has the configuration of its repository.
        let common = std::fs::read_to_string(git.join("commondir"));
        let common = common.map_or_else(|_| git.to_owned(), |common| git.join(common.trim()));
        for file in [git.join("config.worktree"), normal(&common).join("config")] {
            self.configuration(&file, DEEPEST);
        }
        for file in [".gitconfig", ".config/git/config"] {
            self.configuration(&self.home.join(file), DEEPEST);
        }
    }

    /// A configuration of git, and those that it includes.
    fn configuration(&mut self, file: &Path, depth: u32) {
        let is_small = std::fs::metadata(file)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LONGEST);
        let Some(depth) = depth.checked_sub(1).filter(|_| is_small) else {
            return;
        };
        let text = std::fs::read(file).unwrap_or_default();
        for setting in settings(&String::from_utf8_lossy(&text)) {
            match (setting.section.as_str(), setting.name.as_str()) {
                ("include" | "includeif", "path") => {
                    let included = self.resolved(file.parent().unwrap_or(file), &setting.value);
                    self.configuration(&included, depth);
                    self.add(included);
                }
                // It is where git is when it starts a hook: at the top of the files.
                ("core", "hookspath") => self.add(self.resolved(&self.top, &setting.value)),
                // An alias is asked for by its name.
                ("alias", _) => {}
                _ => self.program(&setting),
            }
        }
    }

    /// The files of the workspace among the words of a setting that names a program.
    fn program(&mut self, setting: &Setting) {
        if !names_program(setting) {
            return;
        }
        for word in setting.value.split(|character: char| {
            character.is_whitespace() || matches!(character, '"' | '\'' | ';' | '|' | '&' | '!')
        }) {
            let path = self.resolved(&self.top, word);
            if !word.is_empty() && path.is_file() {
                self.add(path);
            }
        }
    }

    fn resolved(&self, from: &Path, written: &str) -> PathBuf {
        normal(&match written.strip_prefix("~/") {
            Some(below) => self.home.join(below),
            None => from.join(written),
        })
    }

    /// What is elsewhere cannot be changed anyway.
    fn add(&mut self, path: PathBuf) {
        let real = std::fs::canonicalize(&path).ok();
        for path in std::iter::once(path).chain(real) {
            let is_below = |root: &&Path| path.starts_with(root) && path != **root;
            // The whole of somebody's files, which a `.` would be, cannot be meant.
            if self.roots.iter().any(is_below) && path != self.top {
                self.paths.insert(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_and_the_home_directory_start() {
        let place = tempfile::tempdir().unwrap();
        let work = std::fs::canonicalize(place.path()).unwrap();
        let home = work.join("home");
        std::fs::create_dir_all(work.join(".git")).unwrap();
        std::fs::create_dir_all(work.join("tools")).unwrap();
        std::fs::create_dir(&home).unwrap();
        for name in ["tools/clean", "tools/run", "tools/free"] {
            std::fs::write(work.join(name), "").unwrap();
        }
        std::fs::write(
            work.join(".git/config"),
            "[core]\n\thooksPath = \".githooks\" ; ours\n[include]\n\tpath = ../more.inc\n\
             [filter \"x\"]\n\tclean = tools/clean %f\n[alias]\n\trun = !tools/run\n\
             [user]\n\tname = tools/free\n[includeIf \"gitdir:x\"]\n\tpath = /etc/gitconfig\n",
        )
        .unwrap();
        std::fs::write(work.join("more.inc"), "[core]\npager = \\\n tools/run\n").unwrap();
        let shown: Vec<String> = started(&work, &[], Path::new("/nonexistent"))
            .iter()
            .map(|path| path.strip_prefix(&work).unwrap().display().to_string())
            .collect();
        assert_eq!(shown, [".githooks", "more.inc", "tools/clean", "tools/run"]);
        let more = started(&work, &[], &home);
        assert!(more.contains(&home.join(".bashrc")));
        assert_eq!(more.len(), shown.len() + HOME.len());
    }
}
