//! Which settings of git name programs, and a configuration without them.

use super::parse::{Entry, parse};

/// Settings that name programs, by section and name; `None` for every name of the section.
const PROGRAMS: &[(&str, Option<&str>)] = &[
    ("alias", None),
    ("browser", Some("cmd")),
    ("browser", Some("path")),
    ("core", Some("alternaterefscommand")),
    ("core", Some("askpass")),
    ("core", Some("editor")),
    ("core", Some("fsmonitor")),
    ("core", Some("gitproxy")),
    ("core", Some("hookspath")),
    ("core", Some("pager")),
    ("core", Some("sshcommand")),
    ("credential", Some("helper")),
    ("diff", Some("command")),
    ("diff", Some("external")),
    ("diff", Some("textconv")),
    ("difftool", Some("cmd")),
    ("difftool", Some("path")),
    ("filter", None),
    ("gc", Some("recentobjectshook")),
    ("gpg", Some("defaultkeycommand")),
    ("gpg", Some("program")),
    ("guitool", Some("cmd")),
    ("hook", None),
    ("imap", Some("tunnel")),
    ("include", None),
    ("includeif", None),
    ("init", Some("templatedir")),
    ("instaweb", None),
    ("interactive", Some("difffilter")),
    ("lfs", Some("clean")),
    ("lfs", Some("path")),
    ("lfs", Some("smudge")),
    ("man", Some("cmd")),
    ("man", Some("path")),
    ("merge", Some("driver")),
    ("mergetool", Some("cmd")),
    ("mergetool", Some("path")),
    ("pager", None),
    ("protocol", None),
    ("remote", Some("receivepack")),
    ("remote", Some("uploadpack")),
    ("remote", Some("vcs")),
    ("sendemail", Some("cccmd")),
    ("sendemail", Some("headercmd")),
    ("sendemail", Some("sendmailcmd")),
    ("sendemail", Some("smtpserver")),
    ("sendemail", Some("tocmd")),
    ("sequence", Some("editor")),
    ("tar", Some("command")),
    ("trailer", Some("cmd")),
    ("trailer", Some("command")),
    ("uploadpack", Some("packobjectshook")),
    // Where a checkout would write.
    ("core", Some("worktree")),
];

/// What goes before a setting that was taken out.
const TAKEN_OUT: &str = "; taken out: ";

/// What is to be done about a configuration.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It names no programs.
    Harmless,
    /// It names some; without them, which become comments, it reads so.
    Without { text: String, names: Vec<String> },
    /// Nobody can tell what git or another program makes of it.
    NotUnderstood,
}

/// Takes the settings that name programs out of a configuration, but for those that are `known`. The repository of a
/// submodule says where its files are.
pub(super) fn without_programs(
    text: &str,
    is_module: bool,
    known: &dyn Fn(&Entry) -> bool,
) -> Verdict {
    let unknown = |text: &str| {
        let mut programs = programs(text, is_module)?;
        programs.retain(|entry| !known(entry));
        Some(programs)
    };
    let Some(programs) = unknown(text) else {
        return Verdict::NotUnderstood;
    };
    if programs.is_empty() {
        return Verdict::Harmless;
    }
    let (mut clean, mut names, mut from) = (String::new(), Vec::new(), 0);
    for Entry { setting, place, .. } in &programs {
        clean.push_str(text.get(from..place.start).unwrap_or_default());
        for line in text
            .get(place.clone())
            .unwrap_or_default()
            .split_inclusive('\n')
        {
            clean.push_str(TAKEN_OUT);
            clean.push_str(line);
        }
        names.push(format!("{}.{}", setting.section, setting.name));
        from = place.end;
    }
    clean.push_str(text.get(from..).unwrap_or_default());
    if unknown(&clean).is_some_and(|left| left.is_empty()) {
        Verdict::Without { text: clean, names }
    } else {
        Verdict::NotUnderstood
    }
}

/// The settings of a configuration that name programs; `None` when it is not understood.
pub(super) fn programs(text: &str, is_module: bool) -> Option<Vec<Entry>> {
    let parsed = parse(text);
    let programs = parsed.entries.into_iter();
    let programs = programs.filter(|entry| is_program(entry, is_module));
    parsed.is_understood.then(|| programs.collect())
}

/// A setting of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Setting {
    /// Its section, without what stands in quotes behind it, in small letters.
    pub(in crate::sandbox) section: String,
    /// Its name in small letters.
    pub(in crate::sandbox) name: String,
    /// Its value, without quotes and comments; empty where it has none.
    pub(in crate::sandbox) value: String,
}

/// The settings of a configuration, in order, up to what git would not take.
pub(in crate::sandbox) fn settings(text: &str) -> Vec<Setting> {
    let entries = parse(text).entries.into_iter();
    entries.map(|entry| entry.setting).collect()
}

/// Whether git starts what the value of a setting names.
pub(in crate::sandbox) fn names_program(setting: &Setting) -> bool {
    PROGRAMS.iter().any(|(section, only)| {
        *section == setting.section && only.is_none_or(|only| only == setting.name)
    })
}

/// Whether a setting names a program, or another place for the files.
fn is_program(entry: &Entry, is_module: bool) -> bool {
    let Entry { setting, of, .. } = entry;
    match (setting.section.as_str(), setting.name.as_str()) {
        ("core", "worktree") => !is_module,
        ("submodule", "update") => setting.value.contains('!'),
        // An address can be a program too.
        _ => names_program(setting) || setting.value.contains("ext::") || of.contains("ext::"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_programs(text: &str, is_module: bool) -> Verdict {
        super::without_programs(text, is_module, &|_| false)
    }

    #[test]
    fn settings_that_name_programs_become_comments() {
        let text = "\u{feff}[core]\n\tbare = false\n\tFSMonitor = ./evil\n[alias] x = !evil\n[a] [core]pager=evil\r\n\
                    [filter \"a].\\\"b\"] clean = evil \\\n  more\n\tx = 1\n[user]\n name = fsmonitor\n\
                    [Diff \"x\"]\n textconv = evil\n[diff]\n algorithm = patience\n[gpg \"ssh\"] program=evil\n\
                    [remote \"origin\"]\n\turl = ext::evil\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
                    [url \"ext::evil\"] insteadOf = https:\n[submodule \"x\"]\n\tactive = true\n\tupdate = !evil\n\
                    [alias.y]\n[core]\n\tbogus = a \\\n[user]\n\tfsmonitor = \"evil; #\" # x \\\n\teditor";
        let Verdict::Without { text: clean, names } = without_programs(text, false) else {
            panic!("nothing was taken out");
        };
        assert_eq!(
            names,
            [
                "core.fsmonitor",
                "alias.x",
                "core.pager",
                "filter.clean",
                "filter.x",
                "diff.textconv",
                "gpg.program",
                "remote.url",
                "url.insteadof",
                "submodule.update",
                "core.fsmonitor",
                "core.editor",
            ]
        );
        assert_eq!(
            clean,
            "\u{feff}[core]\n\tbare = false\n\t; taken out: FSMonitor = ./evil\n[alias] ; taken out: x = !evil\n\
             [a] [core]; taken out: pager=evil\r\n\
             [filter \"a].\\\"b\"] ; taken out: clean = evil \\\n; taken out:   more\n\t; taken out: x = 1\n[user]\n \
             name = fsmonitor\n[Diff \"x\"]\n ; taken out: textconv = evil\n[diff]\n algorithm = patience\n\
             [gpg \"ssh\"] ; taken out: program=evil\n\
             [remote \"origin\"]\n\t; taken out: url = ext::evil\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
             [url \"ext::evil\"] ; taken out: insteadOf = https:\n[submodule \"x\"]\n\tactive = true\n\
             \t; taken out: update = !evil\n[alias.y]\n[core]\n\tbogus = a \\\n[user]\n\
             \t; taken out: fsmonitor = \"evil; #\" # x \\\n\t; taken out: editor"
        );
        assert_eq!(without_programs(&clean, false), Verdict::Harmless);
        assert_eq!(
            without_programs("[core]\n\tbare = false\n[x\n", false),
            Verdict::NotUnderstood
        );
    }

    #[test]
    fn what_is_known_stays() {
        let text = "[core]\n\tpager = mine\n[filter \"x\"]\n\tclean = mine\n[filter \"y\"]\n\tclean = mine\n";
        let known = |entry: &Entry| entry.setting.section == "core" || entry.of == "x";
        let verdict = super::without_programs(text, false, &known);
        assert_eq!(
            verdict,
            Verdict::Without {
                text: "[core]\n\tpager = mine\n[filter \"x\"]\n\tclean = mine\n[filter \"y\"]\n\t; taken out: clean = mine\n"
                    .to_owned(),
                names: vec!["filter.clean".to_owned()],
            }
        );
    }

    #[test]
    fn settings_are_read_as_git_reads_them() {
        let text = "[Core] hooksPath = \"a b\" ; x\n\tpager\n[filter \"x\"]\n clean=a \\\n  \\\"b # c\n; no = 1\n";
        let read: Vec<String> = settings(text)
            .iter()
            .map(|setting| format!("{}.{}={}", setting.section, setting.name, setting.value))
            .collect();
        assert_eq!(
            read,
            ["core.hookspath=a b", "core.pager=", "filter.clean=a   \"b"]
        );
        assert!(settings(text).iter().all(names_program));
    }

    #[test]
    fn what_git_itself_writes_stays() {
        let text = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tworktree = ../../../m\n\
                    [submodule]\n\tactive = .\n[remote \"origin\"]\n\turl = /tmp/x\n[branch \"main\"]\n\tremote = origin\n";
        assert_eq!(without_programs(text, true), Verdict::Harmless);
        let Verdict::Without { names, .. } = without_programs(text, false) else {
            panic!("nothing was taken out");
        };
        assert_eq!(names, ["core.worktree"]);
    }
}
