//! What programs do with their words, as far as approval rules have to know it.

use super::shell::{HOLE, RUNS_TEXT};

/// Programs that start the program named by their later words, whatever an expansion among these gives.
const STARTERS: [&str; 61] = [
    "builtin",
    "busybox",
    "bwrap",
    "catchsegv",
    "chpst",
    "chroot",
    "chrt",
    "command",
    "cpulimit",
    "dbus-run-session",
    "doas",
    "dumb-init",
    "eatmydata",
    "entr",
    "env",
    "exec",
    "fakeroot",
    "faketime",
    "find",
    "firejail",
    "flock",
    "gosu",
    "ionice",
    "ltrace",
    "nice",
    "nohup",
    "nsenter",
    "numactl",
    "parallel",
    "perf",
    "pkexec",
    "prlimit",
    "proxychains",
    "rlwrap",
    "run0",
    "runuser",
    "script",
    "setarch",
    "setpriv",
    "setsid",
    "sg",
    "start-stop-daemon",
    "stdbuf",
    "strace",
    "su",
    "su-exec",
    "sudo",
    "systemd-inhibit",
    "systemd-run",
    "taskset",
    "time",
    "timeout",
    "tini",
    "torsocks",
    "toybox",
    "unbuffer",
    "unshare",
    "valgrind",
    "watch",
    "xargs",
    "xvfb-run",
];

/// Those of them that give words to a shell as lines.
const LINE_TAKERS: [&str; 7] = [
    "flock", "parallel", "runuser", "script", "sg", "su", "watch",
];

/// Shells that take a line as a word, or lines from their input.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];

/// Programs that start nothing that their words name.
const PLAIN: [&str; 65] = [
    "[",
    "[[",
    "basename",
    "cat",
    "cd",
    "chgrp",
    "chmod",
    "chown",
    "cksum",
    "cmp",
    "comm",
    "cp",
    "cut",
    "date",
    "df",
    "diff",
    "dirname",
    "du",
    "echo",
    "egrep",
    "exit",
    "export",
    "false",
    "fgrep",
    "file",
    "fold",
    "grep",
    "head",
    "hostname",
    "id",
    "jq",
    "kill",
    "ln",
    "local",
    "ls",
    "md5sum",
    "mkdir",
    "mktemp",
    "mv",
    "nl",
    "nproc",
    "paste",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "realpath",
    "return",
    "rm",
    "rmdir",
    "seq",
    "sha256sum",
    "sleep",
    "stat",
    "tail",
    "tee",
    "test",
    "touch",
    "tr",
    "true",
    "type",
    "uname",
    "uniq",
    "wc",
    "which",
];

/// What stands among git's words where it may start other programs.
const GIT_STARTS: [&str; 7] = [
    "-c",
    "--config-env",
    "bisect",
    "difftool",
    "filter-branch",
    "rebase",
    "submodule",
];

/// What a program does with its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It starts nothing that they name.
    Plain,
    /// It starts the program that the later of them name.
    Starter,
    /// The same, or it gives some of them to a shell as lines.
    LineTaker,
    /// It takes them for options, a script and what that gets.
    Shell,
    /// It runs them as a text.
    RunsText,
    /// Nobody knows: what they name plainly may be started.
    Unknown,
}

impl Kind {
    pub(super) fn of(name: &str, arguments: &[String]) -> Self {
        let starts = |word: &String| GIT_STARTS.contains(&word.as_str());
        if RUNS_TEXT.contains(&name) {
            Self::RunsText
        } else if SHELLS.contains(&name) {
            Self::Shell
        } else if LINE_TAKERS.contains(&name) {
            Self::LineTaker
        } else if STARTERS.contains(&name) {
            Self::Starter
        } else if PLAIN.contains(&name) || name == "git" && !arguments.iter().any(starts) {
            Self::Plain
        } else {
            Self::Unknown
        }
    }

    /// Whether it starts other programs for sure.
    pub(super) fn starts(self) -> bool {
        matches!(self, Self::Starter | Self::LineTaker)
    }
}

/// The name of a program, without its directory.
pub(super) fn name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// Whether `env` takes words of a word for words of its own.
pub(super) fn splits(name: &str, arguments: &[String]) -> bool {
    let is_split = |word: &String| {
        word.starts_with("--split")
            || word.starts_with('-') && !word.starts_with("--") && word.contains('S')
    };
    name == "env" && arguments.iter().any(is_split)
}

/// The words of a program as they reach the one that it starts: with a hole for what it puts into them.
pub(super) fn filled(name: &str, arguments: &[String]) -> Vec<String> {
    let mut texts = Vec::new();
    if matches!(name, "find" | "parallel" | "xargs") {
        texts.push("{}");
    }
    for (word, next) in arguments.iter().zip(arguments.iter().skip(1)) {
        if name == "xargs" && matches!(word.as_str(), "-I" | "--replace") {
            texts.push(next);
        }
    }
    texts.extend(arguments.iter().filter_map(|word| {
        let options = ["-I", "-i", "--replace="];
        let text = options.iter().find_map(|option| word.strip_prefix(option));
        text.filter(|text| name == "xargs" && !text.is_empty())
    }));
    let fill = |word: &String| {
        let hole = HOLE.to_string();
        texts
            .iter()
            .fold(word.clone(), |word, text| word.replace(text, &hole))
    };
    arguments.iter().map(fill).collect()
}
