//! Files of the workspace that run without being asked for: what the settings of git name, and, where the home
//! directory is part of the workspace, what shells and the session of the user start. An agent that could change them
//! would run programs outside the sandbox.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::policy::normal;
use super::repository::{Setting, names_program, settings};
use super::scan::external_directory;

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

/// The paths in a workspace that start by themselves, whether they exist or not.
pub(super) fn started(workspace: &Path, home: &Path) -> Vec<PathBuf> {
    let mut found = Found {
        workspace,
        home,
        paths: BTreeSet::new(),
    };
    let git = external_directory(workspace).unwrap_or_else(|| workspace.join(".git"));
    for file in [git.join("config"), git.join("config.worktree")] {
        found.configuration(&file, DEEPEST);
    }
    for file in [".gitconfig", ".config/git/config"] {
        found.configuration(&home.join(file), DEEPEST);
    }
    let real = std::fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
    if real.starts_with(workspace) {
        found.paths.extend(HOME.iter().map(|name| real.join(name)));
    }
    found.paths.into_iter().collect()
}

struct Found<'a> {
    workspace: &'a Path,
    home: &'a Path,
    paths: BTreeSet<PathBuf>,
}

impl Found<'_> {
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
                ("core", "hookspath") => self.add(self.resolved(self.workspace, &setting.value)),
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
            let path = self.resolved(self.workspace, word);
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

    /// What is outside the workspace cannot be changed anyway.
    fn add(&mut self, path: PathBuf) {
        let real = std::fs::canonicalize(&path).ok();
        for path in std::iter::once(path).chain(real) {
            if path.starts_with(self.workspace) && path != self.workspace {
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
        let shown: Vec<String> = started(&work, Path::new("/nonexistent"))
            .iter()
            .map(|path| path.strip_prefix(&work).unwrap().display().to_string())
            .collect();
        assert_eq!(shown, [".githooks", "more.inc", "tools/clean", "tools/run"]);
        let more = started(&work, &home);
        assert!(more.contains(&home.join(".bashrc")));
        assert_eq!(more.len(), shown.len() + HOME.len());
    }
}
