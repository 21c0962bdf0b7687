//! Which tool calls run, which a person is asked about, which are refused.
//!
//! A convenience: the sandbox is the boundary.

mod ask;
mod programs;
mod shell;
mod wildcard;

use super::settings::{Action, ApprovalSettings, Rule};
pub use ask::{ApprovalRequest, Approver, Verdict, visible};
use programs::{Kind, name};
use shell::{Command, HOLE, Line};
use wildcard::{Certainty, fits, fits_from};

/// Lines inside of lines that are followed.
const DEEPEST: usize = 4;

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
    let words = command.words.get(command.assignments..).unwrap_or_default();
    if depth > DEEPEST || fits(pattern, &command.words.join(" "), Certainty::May) {
        return true;
    }
    let Some((program, arguments)) = words.split_first() else {
        return false;
    };
    if fits_from(pattern, words).first() == Some(&true) {
        return true;
    }
    let program = name(program);
    let kind = Kind::of(program, arguments);
    match kind {
        Kind::Plain => false,
        Kind::RunsText => true,
        Kind::Shell => shell_may_match(pattern, arguments, depth),
        Kind::Starter | Kind::LineTaker | Kind::Unknown => {
            let filled = programs::filled(program, arguments);
            let is_shell = |word: &String| Kind::of(name(word), &[]) == Kind::Shell;
            let shell = arguments.iter().position(is_shell);
            let after_shell = shell
                .filter(|_| kind.starts())
                .and_then(|at| filled.get(at + 1..));
            programs::splits(program, arguments)
                || starts(pattern, (program, kind), arguments, &filled)
                || after_shell.is_some_and(|rest| shell_may_match(pattern, rest, depth))
                || texts_may_match(pattern, kind, &filled, depth)
        }
    }
}

/// Whether later words of a program name a command that the pattern could mean.
fn starts(
    pattern: &str,
    (program, kind): (&str, Kind),
    arguments: &[String],
    filled: &[String],
) -> bool {
    // What ends a command of `find`, and begins what a command of `parallel` gets.
    let ends = |word: &String| matches!(word.as_str(), ";" | "+") || word.starts_with(":::");
    let parts = arguments.split(ends).zip(filled.split(ends));
    let named = parts.into_iter().any(|(part, filled)| {
        let mut words = filled.to_vec();
        if matches!(program, "xargs" | "parallel") {
            words.push(HOLE.to_string());
        }
        let is_program = |(word, filled): (&String, &String)| {
            word == filled && (kind.starts() || !word.contains(HOLE))
        };
        let fitting = fits_from(pattern, &words);
        part.iter()
            .zip(&words)
            .zip(fitting)
            .any(|(pair, fits)| fits && is_program(pair))
    });
    let runs_text = |word: &String| Kind::of(word, &[]) == Kind::RunsText;
    named || kind.starts() && arguments.iter().any(runs_text)
}

/// Whether a shell with these words could run such a command. A script in a file is a program like any other.
fn shell_may_match(pattern: &str, arguments: &[String], depth: usize) -> bool {
    let is_option = |word: &String| word.starts_with(['-', '+']);
    let takes_line =
        |word: &String| is_option(word) && !word.starts_with("--") && word.contains('c');
    match arguments.iter().position(takes_line) {
        // Options may stand between `-c` and the line: every word after it is taken for the line.
        Some(at) => arguments
            .iter()
            .skip(at + 1)
            .any(|word| line_may_match(pattern, word, depth).unwrap_or(true)),
        // Without a script it takes its lines from elsewhere.
        None => {
            arguments.iter().all(is_option)
                || starts(pattern, ("", Kind::Unknown), arguments, arguments)
                || texts_may_match(pattern, Kind::Unknown, arguments, depth)
        }
    }
}

/// Whether one of the words is a line or a text of another language that could run such a command.
fn texts_may_match(pattern: &str, kind: Kind, words: &[String], depth: usize) -> bool {
    words.iter().any(|word| {
        let of_option = match word.strip_prefix("--") {
            Some(long) => long.split_once('=').map(|(_, value)| value),
            // One letter, and its value without a gap.
            None => word.strip_prefix('-').map(|short| {
                let mut letters = short.chars();
                letters.next();
                letters.as_str()
            }),
        };
        [Some(word.as_str()), of_option]
            .into_iter()
            .flatten()
            .any(|text| {
                let is_line = text.contains(char::is_whitespace) || text.contains([';', '|', '&']);
                if kind == Kind::LineTaker {
                    line_may_match(pattern, text, depth).unwrap_or(true)
                } else {
                    is_line
                        && (mentions(pattern, text)
                            || line_may_match(pattern, text, depth).unwrap_or(false))
                }
            })
    })
}

/// Whether a line could hold such a command; `None` when it cannot be read.
fn line_may_match(pattern: &str, line: &str, depth: usize) -> Option<bool> {
    let line = shell::parse_at(line, depth)?;
    let commands = &mut line.commands.iter();
    Some(commands.any(|command| may_match(pattern, command, depth + 1)))
}

/// Whether a text holds the words of such a command one after the other, whatever signs stand around them: as
/// `run(["git", "push"])` does.
fn mentions(pattern: &str, text: &str) -> bool {
    let words = |text: &str, wild: &str| {
        let in_word = |letter: char| {
            letter.is_alphanumeric() || "_-./".contains(letter) || wild.contains(letter)
        };
        let words: Vec<&str> = text
            .split(|letter| !in_word(letter))
            .filter(|word| !word.is_empty())
            .collect();
        words.join(" ")
    };
    let pattern = format!("* {} *", words(pattern, "*?"));
    let text = format!(" {} ", words(text, ""));
    fits(&pattern, &text, Certainty::Must)
}

#[cfg(test)]
mod tests;
