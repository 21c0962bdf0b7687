//! Reading lines: a line editor on a terminal, plain lines from a pipe.
//!
//! The editor blocks, so it lives on a thread of its own.

use std::io::{BufRead, IsTerminal};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc as blocking;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use tokio::sync::mpsc;

use super::input::COMMANDS;
use crate::error::{ErrorClass, OrchError};

/// Lines of history that are kept.
const HISTORY: usize = 5_000;

/// What came of waiting for a line.
pub(super) enum Line {
    Text(String),
    Interrupted,
    End,
    Broken(String),
}

/// What the thread is asked: the prompt, and the names that Tab completes.
struct Question {
    prompt: String,
    agents: Vec<String>,
}

pub(super) struct Editor {
    questions: blocking::Sender<Question>,
    lines: mpsc::Receiver<Line>,
    /// The terminal as it was: a session that ends in the middle of a line gives it back so.
    before: Option<Termios>,
}

impl Editor {
    pub(super) fn start(history: &Path) -> Result<Self, OrchError> {
        let (questions, asked) = blocking::channel();
        let (answer, lines) = mpsc::channel(1);
        let before = tcgetattr(std::io::stdin()).ok();
        let history = history.to_owned();
        std::thread::Builder::new()
            .name("editor".to_owned())
            .spawn(move || {
                if std::io::stdin().is_terminal() {
                    edit(&history, &asked, &answer);
                } else {
                    read_plain(&asked, &answer);
                }
            })
            .map_err(|error| {
                OrchError::new(ErrorClass::Failed, "cannot start the line editor").caused_by(&error)
            })?;
        Ok(Self {
            questions,
            lines,
            before,
        })
    }

    /// Asks for the next line.
    pub(super) fn ask(&mut self, prompt: &str, agents: Vec<String>) {
        // A thread that is gone has said why through `lines`.
        drop(self.questions.send(Question {
            prompt: prompt.to_owned(),
            agents,
        }));
    }

    /// The next line, once it is there.
    pub(super) async fn line(&mut self) -> Line {
        self.lines.recv().await.unwrap_or(Line::End)
    }

    /// Gives the terminal back as it was.
    pub(super) fn restore(&self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs nothing back.
            _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn read_plain(asked: &blocking::Receiver<Question>, answer: &mpsc::Sender<Line>) {
    let mut lines = std::io::stdin().lock().lines();
    while asked.recv().is_ok() {
        let line = match lines.next() {
            None => Line::End,
            Some(Ok(line)) => Line::Text(line),
            Some(Err(error)) => Line::Broken(error.to_string()),
        };
        let last = !matches!(line, Line::Text(_));
        if answer.blocking_send(line).is_err() || last {
            return;
        }
    }
}

fn edit(history: &Path, asked: &blocking::Receiver<Question>, answer: &mpsc::Sender<Line>) {
    let mut editor = match new_editor() {
        Ok(editor) => editor,
        Err(error) => {
            drop(answer.blocking_send(Line::Broken(error.to_string())));
            return;
        }
    };
    let kept = prepare(history).is_ok();
    if kept {
        // A history that cannot be read starts empty.
        drop(editor.load_history(history));
    }
    while let Ok(question) = asked.recv() {
        if let Some(words) = editor.helper_mut() {
            words.agents = question.agents;
        }
        let line = match editor.readline(&question.prompt) {
            Ok(text) => {
                if kept && !text.trim().is_empty() && !text.starts_with(' ') {
                    // History is a convenience: a line that cannot be kept is said all the same.
                    drop(editor.add_history_entry(text.as_str()));
                    drop(editor.append_history(history));
                }
                Line::Text(text)
            }
            Err(ReadlineError::Interrupted) => Line::Interrupted,
            Err(ReadlineError::Eof) => Line::End,
            Err(error) => Line::Broken(error.to_string()),
        };
        let last = matches!(line, Line::End | Line::Broken(_));
        if answer.blocking_send(line).is_err() || last {
            return;
        }
    }
}

fn new_editor() -> rustyline::Result<rustyline::Editor<Words, FileHistory>> {
    let config = rustyline::Config::builder()
        .max_history_size(HISTORY)?
        .history_ignore_space(true)
        .bracketed_paste(true)
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut editor = rustyline::Editor::with_config(config)?;
    editor.set_helper(Some(Words::default()));
    let newline = rustyline::KeyEvent::alt('\r');
    editor.bind_sequence(newline, rustyline::Cmd::Newline);
    Ok(editor)
}

/// The history's file, readable by its owner alone.
fn prepare(history: &Path) -> std::io::Result<()> {
    if let Some(directory) = history.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(history)
        .map(drop)
}

/// What Tab completes and which lines go on.
#[derive(Default)]
struct Words {
    agents: Vec<String>,
}

impl Words {
    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(char::is_whitespace).map_or(0, |space| space + 1);
        let word = line.get(start..).unwrap_or_default();
        let matching = |names: &mut dyn Iterator<Item = String>| -> Vec<String> {
            names.filter(|name| name.starts_with(word)).collect()
        };
        let found = if start == 0 && word.starts_with('/') {
            matching(&mut COMMANDS.iter().map(|command| format!("/{}", command.name)))
        } else if start == 0 && word.starts_with('@') {
            matching(&mut self.agents.iter().map(|agent| format!("@{agent}")))
        } else if line.starts_with("/agent ") || line.starts_with("/logs ") {
            matching(&mut self.agents.iter().cloned())
        } else {
            paths(word)
        };
        (start, found)
    }
}

/// The files and directories that begin like a word.
fn paths(word: &str) -> Vec<String> {
    let word = word
        .strip_prefix('@')
        .map_or((word, ""), |rest| (rest, "@"));
    let (typed, mark) = word;
    if typed.is_empty() && mark.is_empty() {
        return Vec::new();
    }
    let path = PathBuf::from(typed);
    let (directory, begin) = match typed.rsplit_once('/') {
        Some((directory, begin)) => (format!("{directory}/"), begin),
        None => (String::new(), path.to_str().unwrap_or_default()),
    };
    let look = if directory.is_empty() {
        "."
    } else {
        directory.as_str()
    };
    let Ok(entries) = std::fs::read_dir(look) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !begin.starts_with('.');
            let slash = if entry.file_type().ok()?.is_dir() {
                "/"
            } else {
                ""
            };
            (name.starts_with(begin) && !hidden).then(|| format!("{mark}{directory}{name}{slash}"))
        })
        .collect();
    found.sort();
    found
}

impl Completer for Words {
    type Candidate = String;
    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(line.get(..position).unwrap_or_default()))
    }
}

impl Validator for Words {
    /// A trailing backslash asks for one more line.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if context.input().ends_with('\\') {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Hinter for Words {
    type Hint = String;
}
impl Highlighter for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tab_knows_commands_and_agents() {
        let words = Words {
            agents: vec!["coder".into(), "critic".into()],
        };
        for (line, start, expected) in [
            ("/ag", 0, vec!["/agents", "/agent"]),
            ("@c", 0, vec!["@coder", "@critic"]),
            ("/agent cr", 7, vec!["critic"]),
            ("hello ", 6, vec![]),
        ] {
            assert_eq!(
                words.candidates(line),
                (start, expected.iter().map(|s| (*s).to_owned()).collect()),
                "{line}"
            );
        }
    }
}
