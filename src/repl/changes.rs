//! What the turns of a session did to files: shown, and taken back.

use super::Repl;
use crate::error::{ErrorClass, OrchError};
use crate::render;
use crate::tools::{Before, KeptChange};

/// Bytes of former contents that a session keeps; the oldest turn is forgotten first.
const MOST: usize = 128 * 1024 * 1024;

/// A line of the session that changed files.
pub(super) struct Changed {
    /// The line, as it was typed.
    line: String,
    changes: Vec<KeptChange>,
}

impl Repl<'_> {
    /// Keeps what was changed since the last time, as the work of a line.
    pub(super) fn keep_changes(&mut self, line: &str) {
        let mut changes = self.changes.take();
        // Calls run side by side; the order of one file stays.
        changes.sort_by(|one, other| one.name().cmp(other.name()));
        if changes.is_empty() {
            return;
        }
        self.changed.push(Changed {
            line: line.to_owned(),
            changes,
        });
        let size = |turn: &Changed| turn.changes.iter().map(KeptChange::size).sum::<usize>();
        while self.changed.len() > 1 && self.changed.iter().map(size).sum::<usize>() > MOST {
            self.changed.remove(0);
        }
    }

    /// `/undo`: makes files what they were before the last turn that changed any.
    pub(super) fn undo(&mut self) -> Result<(), OrchError> {
        let Some(mut turn) = self.changed.pop() else {
            return Err(nothing());
        };
        let mut refused = Vec::new();
        for change in turn.changes.drain(..).rev() {
            let name = change.name().display();
            match change.undo() {
                Ok(()) if *change.before() == Before::Absent => {
                    self.say(&format!("removed {name}"));
                }
                Ok(()) => self.say(&format!("restored {name}")),
                Err(error) => refused.push((error.to_string(), change)),
            }
        }
        if refused.is_empty() {
            return Ok(());
        }
        let words: Vec<&str> = refused.iter().map(|(words, _)| words.as_str()).collect();
        let error = OrchError::new(ErrorClass::Failed, words.join("\n  "))
            .with_hint("`/diff` shows what is different from before the turn");
        // What could not be taken back stays to be looked at, and to be tried again.
        turn.changes = refused
            .into_iter()
            .rev()
            .map(|(_, change)| change)
            .collect();
        self.changed.push(turn);
        Err(error)
    }

    /// `/diff`: what files were before the last turn that changed any, and what they are now.
    pub(super) fn diff(&self) -> Result<(), OrchError> {
        let turn = self.changed.last().ok_or_else(nothing)?;
        let style = self.call.screen.out;
        let mut text = style.dim(&format!("since: {}\n", first_line(&turn.line)));
        for change in &turn.changes {
            let name = change.name().display().to_string();
            let now = match change.now() {
                Ok(now) => now,
                Err(error) => {
                    text.push_str(&format!("{name}: {error}\n"));
                    continue;
                }
            };
            if !change.is_as_left(&now) {
                text.push_str(&style.yellow(&format!("{name} was changed since\n")));
            }
            let large = Before::TooLarge;
            if *change.before() == large || now == large {
                text.push_str(&format!("{name} is too large to be compared\n"));
                continue;
            }
            text.push_str(&render::diff(
                &name,
                content(change.before()),
                content(&now),
                style,
            ));
        }
        self.say(self.orchestrator.redactor().mask(&text).trim_end());
        Ok(())
    }
}

fn content(held: &Before) -> Option<&[u8]> {
    match held {
        Before::Content(bytes) => Some(bytes),
        Before::Absent | Before::TooLarge => None,
    }
}

fn first_line(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    let mut shown: String = line.chars().take(MOST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn nothing() -> OrchError {
    OrchError::new(
        ErrorClass::Usage,
        "no file was changed by a tool in this session",
    )
    .with_hint("what commands change is not kept: `bash` is outside of it")
}
