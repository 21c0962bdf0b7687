//! An answer while it is put together, whatever protocol it comes in.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::Finish;
use super::error_body::ErrorBody;
use crate::message::ToolCall;
use crate::usage::{Usage, Usd};

/// The most of one answer that is held, bytes: text, reasoning, calls and what goes back verbatim together.
const ANSWER_CAP: usize = 64 << 20;

/// Bytes a token in the densest texts that are written: Hindi in the largest vocabularies has twelve, code that is
/// indented deeply eight.
const DENSEST: u64 = 16;

/// Bytes that any answer may have.
const ALLOWANCE: u64 = 4096;

/// The most calls that one answer may have.
const MOST_CALLS: usize = 1024;

/// A piece that whoever watches may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delta {
    Text(String),
    Reasoning(String),
}

/// What one event did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// It showed progress of the model.
    pub progress: bool,
    /// It was the last one.
    pub done: bool,
}

/// Why an answer cannot be put together.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// An event is no JSON, or none of this protocol; the words say how.
    Invalid(String),
    /// The document is JSON, but no answer.
    Foreign(String),
    /// The vendor told an error.
    Told(ErrorBody),
    /// It is far too long; the words say in what way, as in "the answer …".
    TooLong(String),
    /// It ended before it was finished.
    Truncated,
    /// It ended without any content.
    Empty,
}

/// What has come so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub text: String,
    pub reasoning: String,
    pub refusal: String,
    /// With the ids that the vendor sent, which may be none.
    pub calls: Vec<ToolCall>,
    /// Characters of calls so far.
    pub call_chars: usize,
    pub finish: Option<Finish>,
    pub usage: Option<Usage>,
    pub cost: Option<Usd>,
    /// The model that answers.
    pub model: Option<String>,
    /// What the vendor wants back verbatim.
    pub extra: Value,
    pub warnings: Vec<String>,
    /// Pieces that nobody has seen yet.
    pub fresh: Vec<Delta>,
    /// Characters that nobody has counted yet.
    pub uncounted: usize,
    /// Bytes that are held by now.
    held: usize,
}

impl Answer {
    pub(super) fn add_text(&mut self, piece: &str) -> Result<(), Fault> {
        if !piece.is_empty() {
            self.count(piece.len())?;
            self.text.push_str(piece);
            self.fresh.push(Delta::Text(piece.to_owned()));
        }
        Ok(())
    }

    pub(super) fn add_reasoning(&mut self, piece: &str) -> Result<(), Fault> {
        if !piece.is_empty() {
            self.count(piece.len())?;
            self.reasoning.push_str(piece);
            self.fresh.push(Delta::Reasoning(piece.to_owned()));
        }
        Ok(())
    }

    pub(super) fn add_refusal(&mut self, piece: &str) -> Result<(), Fault> {
        self.count(piece.len())?;
        self.refusal.push_str(piece);
        Ok(())
    }

    pub(super) fn add_call_chars(&mut self, chars: usize) -> Result<(), Fault> {
        self.call_chars += chars;
        self.count(chars)
    }

    /// Begins another call; tells which one it is.
    pub(super) fn add_call(&mut self, call: ToolCall) -> Result<usize, Fault> {
        if self.calls.len() == MOST_CALLS {
            let words = format!("has more than {MOST_CALLS} tool calls");
            return Err(Fault::TooLong(words));
        }
        self.calls.push(call);
        Ok(self.calls.len() - 1)
    }

    /// Whether anything came that somebody may have acted on; reasoning is provisional.
    pub(super) fn is_committed(&self) -> bool {
        !self.text.is_empty() || !self.refusal.is_empty() || self.call_chars > 0
    }

    /// Whether it is longer than so many tokens can be, so that the server does not heed what it was asked for.
    pub(super) fn exceeds(&self, max_tokens: Option<u64>) -> bool {
        let most =
            max_tokens.map(|tokens| tokens.saturating_mul(DENSEST).saturating_add(ALLOWANCE));
        most.is_some_and(|most| self.chars() as u64 > most)
    }

    /// Ends it where it is.
    pub(super) fn cut(&mut self) {
        self.finish = Some(Finish::Length);
        self.warnings
            .push("the server wrote on past `max_output_tokens`, and was cut off".to_owned());
    }

    /// Whether the vendor told of tokens or of a cost.
    pub(super) fn is_charged(&self) -> bool {
        self.usage.is_some_and(|usage| !usage.is_empty())
            || self.cost.is_some_and(|cost| cost > Usd::ZERO)
    }

    /// Takes the end: `done` when the server said that it is one.
    pub(super) fn end(&mut self, done: bool) -> Result<(), Fault> {
        let content = self.is_committed() || !self.calls.is_empty();
        match self.finish {
            None if !done => return Err(Fault::Truncated),
            None | Some(Finish::Stop | Finish::ToolCalls) if !content => return Err(Fault::Empty),
            None => self.finish = Some(Finish::Stop),
            Some(_) => {}
        }
        // Of a call that a limit or a filter cut before its arguments began nobody knows them.
        let is_cut = !matches!(self.finish, Some(Finish::Stop | Finish::ToolCalls));
        let last = self.calls.len().saturating_sub(1);
        for (number, call) in self.calls.iter_mut().enumerate() {
            // Some models write `null` for a tool that needs nothing.
            let is_nothing = match call.arguments.trim() {
                "" => !(is_cut && number == last),
                arguments => arguments == "null",
            };
            if is_nothing {
                "{}".clone_into(&mut call.arguments);
            }
            call.malformed = serde_json::from_str::<IgnoredAny>(&call.arguments).is_err();
        }
        if self.finish == Some(Finish::Stop) && !self.calls.is_empty() {
            self.finish = Some(Finish::ToolCalls);
        }
        if self.finish == Some(Finish::Length) && !content {
            self.warnings.push(
                "the output limit was used up before the answer began; raise `max_output_tokens`"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn count(&mut self, chars: usize) -> Result<(), Fault> {
        self.uncounted += chars;
        self.hold(chars)
    }

    /// Counts what is held beside what is counted for money.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Fault> {
        self.held += bytes;
        if self.held > ANSWER_CAP {
            let words = format!("is longer than {} MiB", ANSWER_CAP >> 20);
            return Err(Fault::TooLong(words));
        }
        Ok(())
    }

    /// Bytes of all that came.
    fn chars(&self) -> usize {
        self.text.len() + self.reasoning.len() + self.refusal.len() + self.call_chars
    }
}
