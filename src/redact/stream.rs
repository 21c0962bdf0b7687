//! Masks a text that arrives in pieces, secrets across the borders of pieces included.

use super::{Redactor, replace};

/// Holds back what could become a secret, and nothing else.
#[derive(Clone, Debug)]
pub struct StreamRedactor {
    redactor: Redactor,
    held: String,
    /// The last byte that was let through.
    before: Option<u8>,
}

impl StreamRedactor {
    pub(super) fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            held: String::new(),
            before: None,
        }
    }

    /// Takes the next piece and gives what is sure by now, masked.
    pub fn push(&mut self, piece: &str) -> String {
        self.held.push_str(piece);
        self.release(false)
    }

    /// Gives what was held back, masked; nothing follows.
    pub fn finish(&mut self) -> String {
        self.release(true)
    }

    fn release(&mut self, whole: bool) -> String {
        let found = self.redactor.scan(&self.held, self.before, whole);
        let kept = self.held.split_off(found.open);
        let sure = std::mem::replace(&mut self.held, kept);
        self.before = sure.as_bytes().last().copied().or(self.before);
        if found.masked.is_empty() {
            sure
        } else {
            replace(&sure, &found.masked)
        }
    }
}
