//! Keys at the prompt that the line editor does not know, or means something else by.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustyline::{
    Cmd, ConditionalEventHandler, Event, EventContext, KeyCode, KeyEvent, Modifiers, RepeatCount,
};

use super::ahead::pasted_text;
use super::editor::Line;

/// What the editor makes of the end of a paste that it took the beginning of for another key.
const END: &str = "\x1b[201~";

/// What the keys of a line have come to.
#[derive(Default)]
pub(super) struct Keys {
    /// The line as it was last drawn.
    line: Mutex<String>,
    /// What the line was left for.
    left: Mutex<Option<Line>>,
    /// Whether the backslash before Enter is to become a new line.
    goes_on: AtomicBool,
    /// What is being pasted.
    pasted: Mutex<Option<String>>,
}

impl Keys {
    /// A line begins.
    pub(super) fn begin(&self) {
        *locked(&self.left) = None;
        *locked(&self.pasted) = None;
    }

    /// The line is drawn.
    pub(super) fn draw(&self, line: &str) {
        line.clone_into(&mut locked(&self.line));
    }

    /// The line as it was last drawn.
    pub(super) fn line(&self) -> String {
        locked(&self.line).clone()
    }

    /// What the line was left for.
    pub(super) fn left(&self) -> Option<Line> {
        locked(&self.left).take()
    }

    /// Whether Enter is to become a new line; asked once.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on.swap(false, Ordering::SeqCst)
    }

    /// Takes a key of a paste, which is text and nothing else. The editor's own way of doing this never ends where
    /// what stands before the end could be the beginning of a key.
    fn paste(&self, key: KeyEvent) -> Option<Cmd> {
        let mut pasted = locked(&self.pasted);
        let Some(text) = pasted.as_mut() else {
            if key.0 != KeyCode::BracketedPasteStart {
                return None;
            }
            *pasted = Some(String::new());
            return Some(Cmd::Noop);
        };
        let is_over = key.0 == KeyCode::BracketedPasteEnd || {
            add(text, key);
            text.ends_with(END)
        };
        if !is_over {
            return Some(Cmd::Noop);
        }
        let text = pasted.take().unwrap_or_default();
        let text = text.strip_suffix(END).unwrap_or(&text);
        Some(Cmd::Insert(1, pasted_text(text)))
    }

    /// Leaves the line for something else.
    fn leave(&self, becomes: fn(String) -> Line, context: &EventContext<'_>) -> Cmd {
        *locked(&self.left) = Some(becomes(context.line().to_owned()));
        Cmd::Interrupt
    }

    /// Enter behind a backslash: a new line in its place. The editor lets nothing but a completion replace what
    /// stands before the cursor, so it is one.
    fn enter(&self, context: &EventContext<'_>) -> Option<Cmd> {
        let line = context.line();
        // In a shell line the backslash is the shell's own.
        let goes_on = line.ends_with('\\') && !line.starts_with('!') && context.pos() == line.len();
        self.goes_on.store(goes_on, Ordering::SeqCst);
        goes_on.then_some(Cmd::Complete)
    }
}

/// Adds what a key stands for in a text; an escape for each that is more than a character, as it began with one.
fn add(text: &mut String, key: KeyEvent) {
    match key {
        KeyEvent(KeyCode::Char(character), Modifiers::NONE) => text.push(character),
        KeyEvent(KeyCode::Tab, Modifiers::NONE) => text.push('\t'),
        KeyEvent(KeyCode::Enter, Modifiers::NONE) => text.push('\r'),
        KeyEvent(KeyCode::Char('J'), Modifiers::CTRL) => text.push('\n'),
        KeyEvent(KeyCode::Char(_), Modifiers::CTRL)
        | KeyEvent(KeyCode::Backspace, Modifiers::NONE) => {}
        KeyEvent(KeyCode::Char(character), Modifiers::ALT) => text.extend(['\x1b', character]),
        _ => text.push('\x1b'),
    }
}

/// Hears of every key before the editor does.
pub(super) struct Listener(pub(super) Arc<Keys>);

impl ConditionalEventHandler for Listener {
    fn handle(
        &self,
        event: &Event,
        _count: RepeatCount,
        _positive: bool,
        context: &EventContext<'_>,
    ) -> Option<Cmd> {
        let Event::KeySeq(keys) = event else {
            return None;
        };
        if let Some(command) = self.0.paste(*keys.last()?) {
            return Some(command);
        }
        match keys[..] {
            [key] if key == KeyEvent::new('\r', Modifiers::NONE) || key == KeyEvent::ctrl('J') => {
                self.0.enter(context)
            }
            [key] if key == KeyEvent::alt('\r') => Some(Cmd::Newline),
            [key] if key == KeyEvent::ctrl('C') => Some(self.0.leave(Line::Interrupted, context)),
            [key] if key == KeyEvent::ctrl('Z') => Some(self.0.leave(Line::Suspend, context)),
            [first, second] if first == KeyEvent::ctrl('X') && second == KeyEvent::ctrl('E') => {
                Some(self.0.leave(Line::Edit, context))
            }
            _ => None,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
