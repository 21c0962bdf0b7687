//! What a repository that a command made would run on the user's side.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Settings of git that name programs, by section and name; `None` for every name of the section.
const PROGRAMS: &[(&str, Option<&str>)] = &[
    ("core", Some("fsmonitor")),
    ("core", Some("hookspath")),
    ("core", Some("sshcommand")),
    ("core", Some("editor")),
    ("core", Some("pager")),
    ("core", Some("askpass")),
    ("core", Some("gitproxy")),
    ("sequence", Some("editor")),
    ("credential", Some("helper")),
    ("gpg", Some("program")),
    ("filter", None),
    ("alias", None),
    ("pager", None),
    ("include", None),
    ("includeif", None),
    ("diff", Some("external")),
    ("diff", Some("command")),
    ("diff", Some("textconv")),
    ("merge", Some("driver")),
    ("mergetool", Some("cmd")),
    ("difftool", Some("cmd")),
];

/// The settings and hooks of a repository that name programs to be run.
pub(super) fn programs(workspace: &Path) -> Vec<String> {
    let git = workspace.join(".git");
    let mut found = std::fs::read(git.join("config"))
        .map(|text| settings(&String::from_utf8_lossy(&text)))
        .unwrap_or_default();
    for entry in std::fs::read_dir(git.join("hooks"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let runs = entry.metadata().is_ok_and(|metadata| {
            metadata.is_symlink() || metadata.permissions().mode() & 0o111 != 0
        });
        if runs && !name.ends_with(".sample") {
            found.push(format!("hooks/{name}"));
        }
    }
    for name in ["commondir", "config.worktree"] {
        if git.join(name).exists() {
            found.push(name.to_owned());
        }
    }
    found
}

/// Settings that name programs, as `section.name`.
fn settings(text: &str) -> Vec<String> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let mut rest = line;
        if let Some(header) = line.strip_prefix('[') {
            let (inside, after) = header.split_once(']').unwrap_or((header, ""));
            let name = inside.split([' ', '"', '.']).next().unwrap_or_default();
            section = name.to_ascii_lowercase();
            // A setting may stand on the same line.
            rest = after.trim();
        }
        let name: String = rest
            .chars()
            .take_while(|character| character.is_ascii_alphanumeric() || *character == '-')
            .collect::<String>()
            .to_ascii_lowercase();
        let names_program = PROGRAMS
            .iter()
            .any(|(known, only)| *known == section && only.is_none_or(|only| only == name));
        if !name.is_empty() && names_program {
            found.push(format!("{section}.{name}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_name_programs() {
        let text = "[core]\n\tbare = false\n\tFSMonitor = ./evil\n[alias] x = !evil\n[filter \"a.b\"]\n clean = evil\n\
                    [user]\n name = fsmonitor\n[Diff \"x\"]\n textconv = evil\n[diff]\n algorithm = patience\n";
        assert_eq!(
            settings(text),
            ["core.fsmonitor", "alias.x", "filter.clean", "diff.textconv"]
        );
        assert_eq!(
            settings("[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n"),
            [""; 0]
        );
    }
}
