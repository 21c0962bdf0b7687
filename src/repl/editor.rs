//! Reading lines: a line editor on a terminal, plain lines from a pipe.
//!
//! The editor blocks, so it lives on a thread of its own.

use std::borrow::Cow;
use std::io::{BufRead, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ConditionalEventHandler, Context, Event, EventContext, EventHandler, Helper, KeyEvent,
    Modifiers, RepeatCount,
};
use tokio::sync::mpsc;

use super::complete::{Grey, Known, candidates, hint};
use crate::error::{ErrorClass, OrchError};
use crate::files;
use crate::render::Style;

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
    pub(super) fn start(history: &Path, style: Style) -> Result<Self, OrchError> {
        let (questions, asked) = blocking::channel();
        let (answer, lines) = mpsc::channel(1);
        let before = tcgetattr(std::io::stdin()).ok();
        let history = history.to_owned();
        std::thread::Builder::new()
            .name("editor".to_owned())
            .spawn(move || {
                if std::io::stdin().is_terminal() {
                    edit(&history, style, &asked, &answer);
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

fn edit(
    history: &Path,
    style: Style,
    asked: &blocking::Receiver<Question>,
    answer: &mpsc::Sender<Line>,
) {
    let left = Left::default();
    let mut editor = match new_editor(style, &left) {
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
        let line = match editor.readline_with_initial(&question.prompt, (&question.draft, "")) {
            Ok(mut text) => {
                let is_drawn = |words: &Words| words.entered.is_drawn.load(Ordering::SeqCst);
                if !editor.helper().is_some_and(is_drawn) {
                    text = joined(text);
                }
                if kept && !text.trim().is_empty() && !text.starts_with(' ') {
                    // History is a convenience: a line that cannot be kept is said all the same.
                    drop(editor.add_history_entry(text.as_str()));
                    drop(editor.append_history(history));
                }
                Line::Text(text)
            }
            Err(ReadlineError::Interrupted) => {
                let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                left.take()
                    .unwrap_or_else(|| Line::Interrupted(String::new()))
            }
            Err(ReadlineError::Eof) => Line::End,
            Err(error) => Line::Broken(error.to_string()),
        };
        let last = matches!(line, Line::End | Line::Broken(_));
        if answer.blocking_send(line).is_err() || last {
            return;
        }
    }
}

fn new_editor(
    style: Style,
    left: &Left,
) -> rustyline::Result<rustyline::Editor<Words, FileHistory>> {
    let config = rustyline::Config::builder()
        .max_history_size(HISTORY)?
        .history_ignore_space(true)
        .bracketed_paste(true)
        .completion_type(rustyline::CompletionType::List)
        .build();
    let mut editor = rustyline::Editor::with_config(config)?;
    let entered = Arc::new(Entered::default());
    editor.set_helper(Some(Words {
        entered: Arc::clone(&entered),
        known: Known::default(),
        history: HistoryHinter::new(),
        style,
    }));
    editor.bind_sequence(KeyEvent::alt('\r'), Cmd::Newline);
    let away = |becomes| {
        let left = Arc::clone(left);
        EventHandler::Conditional(Box::new(Away { left, becomes }))
    };
    let to_editor = Event::KeySeq(vec![KeyEvent::ctrl('X'), KeyEvent::ctrl('E')]);
    editor.bind_sequence(to_editor, away(Line::Edit));
    editor.bind_sequence(KeyEvent::ctrl('Z'), away(Line::Suspend));
    editor.bind_sequence(KeyEvent::ctrl('C'), away(Line::Interrupted));
    for enter_key in [KeyEvent::new('\r', Modifiers::NONE), KeyEvent::ctrl('J')] {
        let enter = Enter(Arc::clone(&entered));
        editor.bind_sequence(enter_key, EventHandler::Conditional(Box::new(enter)));
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
    entered: Arc<Entered>,
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
        if self.entered.goes_on.swap(false, Ordering::SeqCst) {
            return Ok((position.saturating_sub(1), vec!["\n".to_owned()]));
        }
        Ok(candidates(&self.known, line))
    }
}

impl Validator for Words {
    /// A trailing backslash asks for one more line, where `Enter` has not taken it: it is the shell's, or the terminal
    /// cannot be drawn on.
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

/// What Enter did to the line.
#[derive(Default)]
struct Entered {
    /// Whether it came as a key at all: on a terminal that cannot be drawn on it does not.
    is_drawn: AtomicBool,
    /// Whether the backslash before it is to become a new line.
    goes_on: AtomicBool,
}

/// Enter behind a backslash: a new line in its place. The editor lets nothing but a completion replace what stands
/// before the cursor, so it is one.
struct Enter(Arc<Entered>);

impl ConditionalEventHandler for Enter {
    fn handle(
        &self,
        _event: &Event,
        _count: RepeatCount,
        _positive: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        self.0.is_drawn.store(true, Ordering::SeqCst);
        let line = context.line();
        let goes_on = goes_on(line) && context.pos() == line.len();
        self.0.goes_on.store(goes_on, Ordering::SeqCst);
        goes_on.then_some(Cmd::Complete)
    }
}

/// Whether the backslash at the end of a line is for the editor. In a shell line it is the shell's own.
fn goes_on(line: &str) -> bool {
    line.ends_with('\\') && !line.starts_with('!')
}

/// A line that went on behind backslashes, without them.
fn joined(line: String) -> String {
    if line.starts_with('!') {
        line
    } else {
        line.replace("\\\n", "\n")
    }
}

/// Leaves the line for something else.
struct Away {
    left: Left,
    becomes: fn(String) -> Line,
}

/// What a line was left for.
type Left = Arc<Mutex<Option<Line>>>;

impl ConditionalEventHandler for Away {
    fn handle(
        &self,
        _event: &Event,
        _count: RepeatCount,
        _positive: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        let line = (self.becomes)(context.line().to_owned());
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
        Some(Cmd::Interrupt)
    }
}
