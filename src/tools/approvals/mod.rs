//! Which tool calls run, which a person is asked about, which are refused.
//!
//! A convenience: the sandbox is the boundary.

mod ask;
mod shell;
mod wildcard;

use super::settings::{Action, ApprovalSettings, Rule};
pub use ask::{ApprovalRequest, Approver, Verdict, visible};
use shell::{Command, Line};
use wildcard::{Certainty, fits};

/// Programs that start the program named by their later words.
const STARTERS: [&str; 20] = [
    "env", "sudo", "doas", "command", "builtin", "exec", "nohup", "nice", "ionice", "timeout",
    "time", "stdbuf", "setsid", "xargs", "find", "busybox", "chroot", "watch", "parallel", "flock",
];

/// Programs that give their words to a shell as lines.
const LINE_TAKERS: [&str; 4] = ["watch", "parallel", "su", "script"];

/// Shells that take a line as a word.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];

/// What a call is about, as rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// A shell line.
    Command(&'a str),
    /// A path, pattern or URL, in each of its spellings.
    Text(Vec<String>),
    /// Nothing that a pattern could match.
    Nothing,
}

/// What happens to a call: the last rule that matches decides, else the default.
pub fn decide(settings: &ApprovalSettings, tool: &str, asked: &Asked<'_>) -> Action {
    let mut line = None;
    settings
        .rules
        .iter()
        .rev()
        .find(|rule| {
            fits(&rule.tool.to_lowercase(), tool, Certainty::Must)
                && rule.pattern.as_deref().is_none_or(|pattern| match asked {
                    Asked::Command(text) => {
                        let line = line.get_or_insert_with(|| shell::parse(text));
                        matches_line(pattern, rule, line.as_ref())
                    }
                    Asked::Text(spellings) => matches_text(pattern, rule, spellings),
                    Asked::Nothing => rule.action != Action::Allow,
                })
        })
        .map_or(settings.default, |rule| rule.action)
}

fn matches_text(pattern: &str, rule: &Rule, spellings: &[String]) -> bool {
    let mut fitting = spellings
        .iter()
        .map(|text| fits(pattern, text, Certainty::Must));
    match rule.action {
        Action::Allow => fitting.all(|fits| fits),
        Action::Ask | Action::Deny => fitting.any(|fits| fits),
    }
}

fn matches_line(pattern: &str, rule: &Rule, line: Option<&Line>) -> bool {
    let Some(line) = line else {
        // What cannot be read may be anything.
        return rule.action != Action::Allow;
    };
    if rule.action == Action::Allow {
        let [only] = line.commands.as_slice() else {
            return false;
        };
        return !line.compound
            && !only.writes
            && only.assignments == 0
            && fits(pattern, &only.words.join(" "), Certainty::Must);
    }
    line.commands
        .iter()
        .any(|command| may_match(pattern, command, 0))
}

/// Whether a command could be one that the pattern means, however it is started.
fn may_match(pattern: &str, command: &Command, depth: usize) -> bool {
    let fit = |words: &[String]| fits(pattern, &words.join(" "), Certainty::May);
    let words = command.words.get(command.assignments..).unwrap_or_default();
    let Some((program, arguments)) = words.split_first() else {
        return fit(&command.words);
    };
    let name = program.rsplit('/').next().unwrap_or(program).to_owned();
    let named: Vec<String> = [name.clone()]
        .into_iter()
        .chain(arguments.iter().cloned())
        .collect();
    if fit(&command.words) || fit(words) || fit(&named) {
        return true;
    }
    if depth > 4 {
        return true;
    }
    if shell::RUNS_TEXT.contains(&name.as_str()) {
        return true;
    }
    if SHELLS.contains(&name.as_str()) {
        let takes_line =
            |word: &String| word.starts_with('-') && !word.starts_with("--") && word.contains('c');
        // A script in a file is a program like any other. Options may stand between `-c` and the
        // line: every word after it is taken for the line.
        let at = arguments.iter().position(takes_line);
        let lines = at
            .and_then(|at| arguments.get(at + 1..))
            .unwrap_or_default();
        return lines_may_match(pattern, lines, depth);
    }
    if LINE_TAKERS.contains(&name.as_str()) && lines_may_match(pattern, arguments, depth) {
        return true;
    }
    if !STARTERS.contains(&name.as_str()) {
        return false;
    }
    if name == "env"
        && arguments
            .iter()
            .any(|word| word.starts_with("-S") || word.starts_with("--split"))
    {
        return true;
    }
    (0..arguments.len()).any(|from| {
        let mut words = arguments.get(from..).unwrap_or_default().to_vec();
        if name == "xargs" || name == "parallel" {
            words.push(shell::HOLE.to_string());
        }
        let inner = Command {
            words,
            ..Command::default()
        };
        may_match(pattern, &inner, depth + 1)
    })
}

/// Whether one of the words, taken as a line, could hold such a command.
fn lines_may_match(pattern: &str, words: &[String], depth: usize) -> bool {
    words.iter().any(|word| match shell::parse_at(word, depth) {
        Some(line) => line
            .commands
            .iter()
            .any(|command| may_match(pattern, command, depth + 1)),
        None => true,
    })
}

#[cfg(test)]
mod tests;
