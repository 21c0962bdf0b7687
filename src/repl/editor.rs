//! Reading lines: a line editor on a terminal, plain lines from a pipe.
//!
//! The editor blocks, so it lives on a thread of its own.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as blocking;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, Context, Event, EventHandler, Helper, KeyEvent};
use tokio::sync::mpsc;

use super::complete::{Grey, Known, candidates, hint};
use super::keys::{Keys, Listener};
use super::lines::next_line;
use crate::error::{ErrorClass, OrchError};
use crate::files;
use crate::render::{self, Screen, Style};

/// Lines of history that are kept.
const HISTORY: usize = 5_000;

/// What came of waiting for a line.
pub(super) enum Line {
    Text(String),
    /// The line so far is to be written in the user's own editor.
    Edit(String),
    /// The session is to stop, with the line so far.
    Suspend(String),
    /// Ctrl-C, with the line so far.
    Interrupted(String),
    /// What came is no text; the line as it was before.
    Garbled(String),
    End,
    Broken(String),
}

/// What the thread is asked.
pub(super) struct Question {
    pub(super) prompt: String,
    /// What Tab completes.
    pub(super) known: Known,
    /// What stands there already.
    pub(super) draft: String,
}

pub(super) struct Editor {
    questions: blocking::Sender<Question>,
    lines: mpsc::Receiver<Line>,
    /// The terminal as it was: a session that ends in the middle of a line gives it back so.
    before: Option<Termios>,
}

impl Editor {
    pub(super) fn start(history: &Path, screen: Screen) -> Result<Self, OrchError> {
        let (questions, asked) = blocking::channel();
        let (answer, lines) = mpsc::channel(1);
        let before = tcgetattr(std::io::stdin()).ok();
        let history = history.to_owned();
        std::thread::Builder::new()
            .name("editor".to_owned())
            .spawn(move || {
                if std::io::stdin().is_terminal() {
                    edit(&history, screen, &asked, &answer);
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
    pub(super) fn ask(&mut self, question: Question) {
        // A thread that is gone has said why through `lines`.
        drop(self.questions.send(question));
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
    let mut input = std::io::stdin().lock();
    while let Ok(question) = asked.recv() {
        let line = next_line(&mut input, &question.draft);
        let last = matches!(line, Line::End | Line::Broken(_));
        if answer.blocking_send(line).is_err() || last {
            return;
        }
    }
}

fn edit(
    history: &Path,
    screen: Screen,
    asked: &blocking::Receiver<Question>,
    answer: &mpsc::Sender<Line>,
) {
    let keys = Arc::new(Keys::default());
    let mut editor = match new_editor(screen.out, &keys) {
        Ok(editor) => editor,
        Err(error) => {
            drop(answer.blocking_send(Line::Broken(error.to_string())));
            return;
        }
    };
    let kept = prepare(history).is_ok();
    let mut seen = None;
    while let Ok(question) = asked.recv() {
        if let Some(words) = editor.helper_mut() {
            words.known = question.known;
        }
        // Other sessions write to the same history.
        let now = std::fs::metadata(history)
            .and_then(|file| Ok((file.modified()?, file.len())))
            .ok();
        if kept && seen != now {
            seen = now;
            // A history that cannot be read is an empty one.
            drop(editor.clear_history());
            drop(editor.load_history(history));
        }
        let Question { prompt, draft, .. } = question;
        let line = if screen.dumb {
            render::prompt(&format!("{prompt}{draft}"));
            next_line(&mut std::io::stdin().lock(), &draft)
        } else {
            keys.begin();
            of_editor(editor.readline_with_initial(&prompt, (&draft, "")), &keys)
        };
        if let Line::Text(text) = &line
            && kept
            && !text.trim().is_empty()
            && !text.starts_with(' ')
        {
            // History is a convenience: a line that cannot be kept is said all the same.
            drop(editor.add_history_entry(text.as_str()));
            drop(editor.append_history(history));
        }
        let last = matches!(line, Line::End | Line::Broken(_));
        if answer.blocking_send(line).is_err() || last {
            return;
        }
    }
}

/// What came of waiting for a line, as the editor tells it.
fn of_editor(read: rustyline::Result<String>, keys: &Keys) -> Line {
    match read {
        Ok(text) => Line::Text(text),
        Err(ReadlineError::Interrupted) => keys
            .left()
            .unwrap_or_else(|| Line::Interrupted(String::new())),
        Err(ReadlineError::Eof) => Line::End,
        Err(ReadlineError::Io(error)) if error.kind() == ErrorKind::InvalidData => {
            // The editor has forgotten what it read with it: the rest would be half a line, or half a paste that is
            // taken for lines.
            if let Ok(terminal) = std::io::stdin().as_fd().try_clone_to_owned() {
                render::throw_away(&File::from(terminal));
            }
            Line::Garbled(keys.line())
        }
        Err(error) => Line::Broken(error.to_string()),
    }
}

fn new_editor(
    style: Style,
    keys: &Arc<Keys>,
) -> rustyline::Result<rustyline::Editor<Words, FileHistory>> {
    let config = rustyline::Config::builder()
        .max_history_size(HISTORY)?
        .history_ignore_space(true)
        .bracketed_paste(true)
        .behavior(if render::stdout_is_terminal() {
            Behavior::Stdio
        } else {
            // Standard output is for the answers.
            Behavior::PreferTerm
        })
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut editor = rustyline::Editor::with_config(config)?;
    editor.set_helper(Some(Words {
        keys: Arc::clone(keys),
        known: Known::default(),
        history: HistoryHinter::new(),
        style,
    }));
    let to_editor = Event::KeySeq(vec![KeyEvent::ctrl('X'), KeyEvent::ctrl('E')]);
    for heard in [Event::Any, to_editor] {
        let listener = Listener(Arc::clone(keys));
        editor.bind_sequence(heard, EventHandler::Conditional(Box::new(listener)));
    }
    Ok(editor)
}

/// The history's file, readable by its owner alone.
fn prepare(history: &Path) -> std::io::Result<()> {
    if let Some(directory) = history.parent() {
        files::private_dir(directory)?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(history)
        .map(drop)
}

/// What Tab completes, what stands grey behind a line, and which lines go on.
struct Words {
    keys: Arc<Keys>,
    known: Known,
    history: HistoryHinter,
    style: Style,
}

impl Completer for Words {
    type Candidate = String;
    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let line = line.get(..position).unwrap_or_default();
        if self.keys.goes_on() {
            return Ok((position.saturating_sub(1), vec!["\n".to_owned()]));
        }
        Ok(candidates(&self.known, line))
    }
}

impl Validator for Words {
    /// A trailing backslash asks for one more line, where [`Keys`] has not taken it: it is the shell's.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if context.input().ends_with('\\') {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Hinter for Words {
    type Hint = Grey;
    fn hint(&self, line: &str, position: usize, context: &Context<'_>) -> Option<Grey> {
        self.keys.draw(line);
        // Without colours it could not be told from what was typed.
        if position < line.len() || !self.style.color {
            return None;
        }
        hint(line, self.history.hint(line, position, context))
    }
}

impl Highlighter for Words {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(self.style.dim(hint))
    }
}

impl Helper for Words {}
