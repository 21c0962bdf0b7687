//! Masks a text that arrives in pieces, secrets across the borders of pieces included.

use super::{Redactor, replace};

/// So much of what was let through is remembered: a piece of a secret may have begun in it.
const BEFORE: usize = 16;

/// Holds back what could become a secret, and nothing else.
#[derive(Clone, Debug)]
pub struct StreamRedactor {
    redactor: Redactor,
    held: String,
    /// The last bytes that were let through.
    before: Vec<u8>,
}

impl StreamRedactor {
    pub(super) fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            held: String::new(),
            before: Vec::new(),
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
        let found = self.redactor.scan(&self.held, &self.before, whole);
        let kept = self.held.split_off(found.open);
        let sure = std::mem::replace(&mut self.held, kept);
        self.before.extend_from_slice(sure.as_bytes());
        let most = self.before.len().saturating_sub(BEFORE);
        self.before.drain(..most);
        if found.masked.is_empty() {
            sure
        } else {
            replace(&sure, &found.masked)
        }
    }
}
