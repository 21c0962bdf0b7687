//! What a tool is: its words for the model, its effect, and what a call gives.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::ToolContext;

/// A line of the table of tools.
pub struct ToolDef {
    /// The name that configurations and models use.
    pub name: &'static str,
    /// What it does, for the model.
    pub about: &'static str,
    /// What it may change.
    pub effect: Effect,
    /// The longest that a call may take; `None` for a tool with a deadline of its own.
    pub limit: Option<Duration>,
    /// JSON Schema of its parameters.
    pub schema: fn() -> Value,
    /// The parameter that approval rules match.
    pub subject: Subject,
    /// Does it. The value is an object that the schema describes.
    pub run: for<'a> fn(&'a ToolContext, Value) -> BoxFuture<'a, ToolAnswer>,
}

/// What running a tool gives.
pub type ToolAnswer = Result<ToolOutput, ToolError>;

/// What a tool may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Read,
    /// Files of the workspace.
    Write,
    /// Whatever a program may change inside the sandbox.
    Execute,
    /// Other machines.
    Network,
}

/// The parameter that approval rules match, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A shell line: its simple commands are matched.
    Command(&'static str),
    /// A path, pattern or URL, matched as it is.
    Text(&'static str),
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// It did what was asked.
    Ok,
    /// It could not: a missing file, a command that failed.
    Failed,
    /// Its time ran out.
    TimedOut,
    /// It was not allowed to.
    Refused,
}

/// What a tool gave, before caps and masking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolOutput {
    /// The text for the model.
    pub content: String,
    /// How it ended.
    pub status: ToolStatus,
    /// The exit code, where a program ran.
    pub exit_code: Option<i32>,
    /// What the user must know.
    pub warnings: Vec<String>,
}

/// A file that a tool changed, with what is needed to undo it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The file, absolute.
    pub path: PathBuf,
    /// What it held.
    pub before: Before,
    /// SHA-256 of what it holds now: an undo of a file that changed since would lose work.
    pub after: [u8; 32],
    /// The directories that were made for it, absolute, the innermost first.
    pub made: Vec<PathBuf>,
}

impl Change {
    /// Whether a file that holds this is as the change left it.
    pub fn is_as_left(&self, now: &Before) -> bool {
        matches!(now, Before::Content(bytes) if <[u8; 32]>::from(Sha256::digest(bytes)) == self.after)
    }
}

/// What a changed file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// There was no file.
    Absent,
    /// These bytes.
    Content(Vec<u8>),
    /// More bytes than are kept.
    TooLarge,
}

/// Why a tool gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// Told to the model; the run goes on.
    #[error("{0}")]
    Tell(String),
    /// Not allowed; told to the model, the run goes on.
    #[error("{0}")]
    Refused(String),
    /// The time ran out; told to the model, the run goes on.
    #[error("{0}")]
    TimedOut(String),
    /// Ends the run.
    #[error("the tools cannot go on")]
    Fatal(#[source] io::Error),
}

impl From<String> for ToolOutput {
    fn from(content: String) -> Self {
        Self {
            content,
            status: ToolStatus::Ok,
            exit_code: None,
            warnings: Vec::new(),
        }
    }
}

impl ToolError {
    /// A failure in words for the model.
    pub fn tell(words: impl Into<String>) -> Self {
        Self::Tell(words.into())
    }

    /// A refusal in words for the model.
    pub fn refused(words: impl Into<String>) -> Self {
        Self::Refused(words.into())
    }
}
