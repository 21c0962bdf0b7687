//! What people and programs see: the only place that prints.
//!
//! A closed standard output is the end, not an error: writing returns [`Closed`] and the run stops.

mod blocks;
mod diff;
mod inline;
mod json;
mod keys;
mod lines;
mod live;
mod markdown;
mod masked;
mod plain;
mod region;
mod screen;
mod sink;
mod status;
mod text;
mod wrap;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use diff::diff;
pub use json::event_line;
pub(crate) use keys::{
    PASTE, PASTED, ask_again, asked, early, end_pastes, end_question, hear_of_pastes, is_pasted,
    leave_question, lend, mute, set_aside, throw_away,
};
pub use lines::progress_line;
pub use markdown::rendered;
pub(crate) use plain::{harmless, in_line, is_obeyed, plain};
pub(crate) use region::{clear, hold, release};
pub use screen::{ColorHints, Screen, Style};
pub(crate) use sink::{
    drained, failure, hurry, is_apart, is_reader_gone, reader_gone, takes_a_line, write_apart,
};
pub use status::Finished;
pub use text::{answer, error_text};

use tokio::sync::mpsc;

use crate::agents::RunResult;
use crate::event::{Event, EventKind};
use crate::redact::Redactor;
use crate::usage::Usd;
use live::Live;
use masked::Masks;
use sink::Stream;

/// The forms of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The answer as it comes.
    Text,
    /// One object at the end.
    Json,
    /// One event a line, the result last.
    StreamJson,
}

/// Standard output takes nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Nobody has it any more who could read.
    #[error("standard output is closed")]
    Gone,
    /// Whoever has it did not read, and the run had to end.
    #[error("standard output was not read")]
    Unread,
    /// What should take it cannot: a full disk.
    #[error("standard output cannot be written")]
    Failed(rustix::io::Errno),
}

/// Writes to standard output, or leaves it to be written where a run must not wait for its reader. A terminal obeys
/// nothing of it.
///
/// # Errors
/// When nobody reads any more.
pub fn stdout(text: &str) -> Result<(), Closed> {
    region::print(&plain::for_stdout(text))
}

/// The same with a text that holds styles of our own: foreign text in it was made [`plain`] before.
///
/// # Errors
/// When nobody reads any more.
pub(crate) fn styled_stdout(text: &str) -> Result<(), Closed> {
    region::print(&plain::styled_for_stdout(text))
}

/// Joins a piece of text with the pieces that already wait behind it, so that they are written at once; answers
/// with the event that stands behind them.
fn join_waiting(event: &mut Event, events: &mut mpsc::Receiver<Event>) -> Option<Event> {
    while let EventKind::TextDelta { text } = &mut event.kind {
        let next = events.try_recv().ok()?;
        let is_same = next.agent == event.agent
            && next.step == event.step
            && next.is_delegate == event.is_delegate
            && event.shown.is_none();
        match &next.kind {
            EventKind::TextDelta { text: more } if is_same && next.shown.is_none() => {
                text.push_str(more);
            }
            _ => return Some(next),
        }
    }
    None
}

/// Writes a line to standard error, of which nothing is obeyed; a closed one is nobody's loss.
pub fn stderr_line(line: &str) {
    styled_stderr_line(&plain(line));
}

/// The same with a line that holds styles of our own: foreign text in it was made [`plain`] before.
pub(crate) fn styled_stderr_line(line: &str) {
    region::aside(|| {
        _ = sink::put(Stream::Err, &format!("{}\n", plain::styled(line)));
    });
}

/// Writes what is no answer to standard error: faint, and as it fits on the screen.
pub(crate) fn aside(screen: Screen, text: &str) {
    styled_stderr_line(&screen.wrapped(&screen.err.dim(text)));
}

/// Asks for a line on the screen, wherever standard output goes.
pub(crate) fn prompt(text: &str) {
    let stream = if stdout_is_terminal() {
        Stream::Out
    } else {
        Stream::Err
    };
    // A screen that is gone has nobody who answers.
    _ = sink::put(stream, &plain(text));
}

/// Whether standard output is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns of the terminal; 80 where there is none.
pub fn width() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}

/// Lines of the terminal; 24 where there is none.
fn height() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 => usize::from(size.ws_row),
        _ => 24,
    }
}

/// Shows the events of one run as they come, until the run drops its end of the channel.
#[derive(Debug)]
pub struct View {
    form: Form,
    screen: Screen,
    /// Answers are printed as they come; off where several agents speak at once.
    stream_text: bool,
    /// The answer of the whole run is printed at its end.
    answer_last: bool,
    sequence: Arc<AtomicU64>,
    masks: Masks,
    /// What was last written to standard output ended in the middle of a line.
    open_line: bool,
    /// Ends of empty lines that came last: they are written when something follows them, since an answer ends with one.
    empty_lines: usize,
    wrote: bool,
    /// The notices that were told: a warning of the result that was among them is not told again.
    told: BTreeSet<String>,
    /// Where the cursor can be moved: answers as they are meant to look, and what runs below them.
    live: Option<Live>,
}

impl View {
    /// A view of a run whose text is streamed; secrets are masked.
    pub fn new(form: Form, screen: Screen, redactor: &Redactor) -> Self {
        Self {
            form,
            screen,
            stream_text: true,
            answer_last: false,
            sequence: Arc::default(),
            masks: Masks::new(redactor),
            open_line: false,
            empty_lines: 0,
            wrote: false,
            told: BTreeSet::new(),
            live: (screen.live && form == Form::Text).then(|| Live::new(screen)),
        }
    }

    /// The same view with the counter that numbers the lines of `stream-json`.
    #[must_use]
    pub fn numbered(mut self, sequence: Arc<AtomicU64>) -> Self {
        self.sequence = sequence;
        self
    }

    fn next_number(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }

    /// The same view of a run for which budgets leave so much.
    #[must_use]
    pub fn with_left(mut self, left: Option<Usd>) -> Self {
        if let Some(live) = &mut self.live {
            live.status.left = left;
        }
        self
    }

    /// Where to tell which of several agents are done.
    pub fn finished(&self) -> Finished {
        let status = self.live.as_ref().map(|live| &live.status);
        status.map_or_else(Finished::default, |status| status.finished.clone())
    }

    /// The same view without the text of answers: they are printed whole.
    #[must_use]
    pub fn without_text(mut self) -> Self {
        self.stream_text = false;
        self
    }

    /// The same view of a task: progress while it runs, the answer at its end.
    #[must_use]
    pub fn of_task(self) -> Self {
        Self {
            answer_last: true,
            ..self.without_text()
        }
    }

    /// Shows events until the channel closes.
    ///
    /// # Errors
    /// When standard output is closed.
    pub async fn watch(&mut self, events: &mut mpsc::Receiver<Event>) -> Result<(), Closed> {
        if self.live.is_some() {
            return self.watch_live(events).await;
        }
        let mut next = None;
        loop {
            let event = match next.take() {
                Some(event) => Some(event),
                None => events.recv().await,
            };
            let Some(mut event) = event else { break };
            if self.form == Form::Text {
                next = join_waiting(&mut event, events);
            }
            for event in self.masks.pass(event) {
                self.show(&event)?;
                drained().await?;
            }
        }
        for event in self.masks.rest() {
            self.show(&event)?;
        }
        drained().await
    }

    /// Prints the result of a run, whose events were shown before.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn finish(&mut self, result: &RunResult) -> Result<(), Closed> {
        match self.form {
            Form::Text => self.finish_text(result),
            Form::Json => stdout(&format!("{}\n", json::object(result, &self.masks))),
            Form::StreamJson => {
                let number = self.next_number();
                stdout(&json::result_line(number, result, &self.masks))
            }
        }
    }

    fn show(&mut self, event: &Event) -> Result<(), Closed> {
        match self.form {
            Form::Text => self.show_text(event),
            Form::Json => {
                if self.screen.verbose > 0 {
                    self.show_progress(event);
                }
                Ok(())
            }
            Form::StreamJson => {
                let number = self.next_number();
                stdout(&json::event_line(number, event))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;

    #[tokio::test]
    async fn pieces_of_one_answer_that_wait_are_written_at_once() {
        let (events, mut receiver) = Events::channel("r");
        let (a, b) = (events.for_agent("a"), events.for_agent("b"));
        let delta = |text: &str| EventKind::TextDelta { text: text.into() };
        for (events, kind) in [
            (&a, delta("one ")),
            (&a, delta("two ")),
            (&b, delta("other")),
            (&a, delta("three ")),
            (&a, EventKind::TurnStarted { turn: 2 }),
            (&a, delta("four")),
        ] {
            events.emit(kind).await;
        }
        let mut joined = Vec::new();
        let mut next = None;
        while let Some(mut event) = next.take().or_else(|| receiver.try_recv().ok()) {
            next = join_waiting(&mut event, &mut receiver);
            joined.push((event.agent.to_string(), event.kind));
        }
        assert_eq!(
            joined,
            [
                ("a".to_owned(), delta("one two ")),
                ("b".to_owned(), delta("other")),
                ("a".to_owned(), delta("three ")),
                ("a".to_owned(), EventKind::TurnStarted { turn: 2 }),
                ("a".to_owned(), delta("four")),
            ]
        );
    }
}
