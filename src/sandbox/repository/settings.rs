//! Which settings of git name programs, and a configuration without them.

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

/// A configuration without the settings that name programs, which become comments, and their names; `None` when
/// it has none. The repository of a submodule says where its files are.
pub(super) fn without_programs(text: &str, is_module: bool) -> Option<(String, Vec<String>)> {
    let (mut clean, mut names) = (String::new(), Vec::new());
    let mut section = Section::default();
    let mut goes_on = false;
    for line in text.split_inclusive('\n') {
        let start = line.len() - section.read_headers(line).len();
        let (headers, setting) = line.split_at(start);
        let name = section.program(setting, is_module);
        if name.is_none() && !goes_on {
            clean.push_str(line);
            continue;
        }
        clean.push_str(headers);
        clean.push_str(TAKEN_OUT);
        clean.push_str(setting);
        names.extend(name);
        // The rest of a value on further lines would be read as settings.
        goes_on = setting.trim_end_matches(['\r', '\n']).ends_with('\\');
    }
    (!names.is_empty()).then_some((clean, names))
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

/// The settings of a configuration, in order.
pub(in crate::sandbox) fn settings(text: &str) -> Vec<Setting> {
    let mut section = Section::default();
    let mut all = Vec::new();
    // A value may go on in the next line.
    let text = text.replace("\\\r\n", "").replace("\\\n", "");
    for line in text.lines() {
        let line = section.read_headers(line);
        let (name, rest) = name(line);
        if name.is_empty() {
            continue;
        }
        all.push(Setting {
            section: section.name.clone(),
            name: name.to_ascii_lowercase(),
            value: value(rest),
        });
    }
    all
}

/// Whether git starts what the value of a setting names.
pub(in crate::sandbox) fn names_program(setting: &Setting) -> bool {
    PROGRAMS.iter().any(|(section, only)| {
        *section == setting.section && only.is_none_or(|only| only == setting.name)
    })
}

/// The name at the beginning of a setting, and what follows it.
fn name(setting: &str) -> (&str, &str) {
    let length = setting
        .find(|character: char| !(character.is_ascii_alphanumeric() || character == '-'))
        .unwrap_or(setting.len());
    setting.split_at(length)
}

/// What stands behind the equals sign, as git reads it.
fn value(rest: &str) -> String {
    let Some(written) = rest.trim_start().strip_prefix('=') else {
        return String::new();
    };
    let (mut value, mut quoted) = (String::new(), false);
    let mut characters = written.trim_start().chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '\\' => value.extend(characters.next()),
            '#' | ';' if !quoted => break,
            _ => value.push(character),
        }
    }
    value.trim_end().to_owned()
}

/// The section that a line is in.
#[derive(Debug, Default)]
struct Section {
    name: String,
    /// What stands in quotes behind it.
    of: String,
}

impl Section {
    /// Reads the headers at the beginning of a line, and gives the rest.
    fn read_headers<'l>(&mut self, line: &'l str) -> &'l str {
        let mut rest = line.trim_start_matches(['\u{feff}', ' ', '\t', '\r']);
        while let Some((section, behind)) = rest.strip_prefix('[').and_then(header) {
            *self = section;
            rest = behind.trim_start_matches([' ', '\t', '\r']);
        }
        rest
    }

    /// The name of a setting that names a program.
    fn program(&self, setting: &str, is_module: bool) -> Option<String> {
        let (name, value) = name(setting);
        let name = name.to_ascii_lowercase();
        if name.is_empty() {
            return None;
        }
        let listed = PROGRAMS
            .iter()
            .any(|(section, only)| *section == self.name && only.is_none_or(|only| only == name));
        let whole = format!("{}.{name}", self.name);
        let named = match whole.as_str() {
            "core.worktree" => !is_module,
            "submodule.update" => value.contains('!'),
            // An address can be a program too.
            _ => listed || value.contains("ext::") || self.of.contains("ext::"),
        };
        named.then_some(whole)
    }
}

/// The section behind an opening bracket, and what follows it.
fn header(text: &str) -> Option<(Section, &str)> {
    let end = text.find(|character: char| {
        !(character.is_ascii_alphanumeric() || matches!(character, '-' | '.'))
    })?;
    let (name, mut rest) = text.split_at(end);
    // An old way to write what stands in quotes.
    let (name, mut of) = name
        .split_once('.')
        .map_or((name, String::new()), |(name, of)| (name, of.to_owned()));
    rest = rest.trim_start_matches([' ', '\t', '\r']);
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut characters = quoted.char_indices();
        loop {
            match characters.next()? {
                (_, '\\') => of.extend(characters.next().map(|(_, character)| character)),
                (end, '"') => {
                    rest = quoted.get(end + 1..)?;
                    break;
                }
                (_, character) => of.push(character),
            }
        }
    }
    let section = Section {
        name: name.to_ascii_lowercase(),
        of,
    };
    Some((section, rest.strip_prefix(']')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_name_programs_become_comments() {
        let text = "\u{feff}[core]\n\tbare = false\n\tFSMonitor = ./evil\n[alias] x = !evil\n[a] [core]pager=evil\r\n\
                    [filter \"a].\\\"b\"] clean = evil \\\n  more\n\tx = 1\n[user]\n name = fsmonitor\n\
                    [Diff \"x\"]\n textconv = evil\n[diff]\n algorithm = patience\n[gpg \"ssh\"] program=evil\n\
                    [remote \"origin\"]\n\turl = ext::evil\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
                    [url \"ext::evil\"] insteadOf = https:\n[submodule \"x\"]\n\tactive = true\n\tupdate = !evil\n\
                    [alias.y]\n";
        let (clean, names) = without_programs(text, false).unwrap();
        assert_eq!(
            names,
            [
                "core.fsmonitor",
                "alias.x",
                "core.pager",
                "filter.clean",
                "filter.more",
                "filter.x",
                "diff.textconv",
                "gpg.program",
                "remote.url",
                "url.insteadof",
                "submodule.update",
            ]
        );
        assert_eq!(
            clean,
            "\u{feff}[core]\n\tbare = false\n\t; taken out: FSMonitor = ./evil\n[alias] ; taken out: x = !evil\n\
             [a] [core]; taken out: pager=evil\r\n\
             [filter \"a].\\\"b\"] ; taken out: clean = evil \\\n  ; taken out: more\n\t; taken out: x = 1\n[user]\n \
             name = fsmonitor\n[Diff \"x\"]\n ; taken out: textconv = evil\n[diff]\n algorithm = patience\n\
             [gpg \"ssh\"] ; taken out: program=evil\n\
             [remote \"origin\"]\n\t; taken out: url = ext::evil\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
             [url \"ext::evil\"] ; taken out: insteadOf = https:\n[submodule \"x\"]\n\tactive = true\n\
             \t; taken out: update = !evil\n[alias.y]\n"
        );
        assert_eq!(without_programs(&clean, false), None);
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
        assert_eq!(without_programs(text, true), None);
        assert_eq!(without_programs(text, false).unwrap().1, ["core.worktree"]);
    }
}
