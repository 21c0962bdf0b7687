//! The format of recordings: one JSON line a model reply.
//!
//! A reply is found again by what was asked: the agent, and the conversation so far. Of the user's
//! and the model's words everything counts; of a tool's result only which tool gave it, since tools
//! run for real and a repository changes. System prompt, tools on offer, model and call ids do not
//! count: they hold paths and names of one machine. A second, strict hash over what tools returned
//! and over the system prompt tells apart what the first one cannot.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::message::{Assistant, Message, ToolCall};
use crate::providers::{Finish, OwnTool, Request};
use crate::redact::Redactor;
use crate::usage::Usage;

/// The version that is written.
pub(super) const VERSION: u32 = 1;

/// How many characters of a message are kept to be shown.
const EXCERPT: usize = 80;

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// [`VERSION`].
    pub v: u32,
    /// What was asked.
    #[serde(flatten)]
    pub asked: Asked,
    /// The pieces of the answer in the order they came.
    pub events: Vec<Said>,
    /// Why it ended.
    pub finish: Finish,
    /// The calls it asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// A refusal apart from the text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refusal: String,
    /// The structured answer, where it came apart from the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured: Option<Value>,
    /// What the vendor counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Turns that the provider took itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub own_turns: u32,
    /// Tools that the provider ran itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_tools: Vec<OwnTool>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if wants this form"
)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Said {
    /// Of its text.
    Text(String),
    /// Of its reasoning.
    Reasoning(String),
}

/// What was asked, as hashes and as excerpts that can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Who asked.
    pub agent: String,
    /// The hash that a request is found by.
    pub asked: String,
    /// The hash over everything.
    pub strictly: String,
    /// The conversation, one entry a message.
    pub messages: Vec<Item>,
}

/// One message as the hash sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Item {
    /// `user`, `assistant` or `tools`.
    pub role: Cow<'static, str>,
    /// Its beginning.
    pub says: String,
    /// Its hash.
    pub hash: String,
}

impl Asked {
    /// Of a request, with secrets masked before anything is hashed or kept.
    pub(super) fn of(request: &Request, redactor: &Redactor) -> Self {
        let messages: Vec<Item> = request
            .messages
            .iter()
            .map(|message| Item::of(message, redactor))
            .collect();
        let mut loose = Sha256::new();
        loose.update(request.agent.as_bytes());
        for item in &messages {
            loose.update([0]);
            loose.update(item.role.as_bytes());
            loose.update(item.hash.as_bytes());
        }
        let mut strict = loose.clone();
        strict.update(normal(&redactor.mask(&request.system)).as_bytes());
        for message in &request.messages {
            if let Message::Tool { results } = message {
                for result in results {
                    strict.update([0]);
                    strict.update(redactor.mask(&result.content).as_bytes());
                }
            }
        }
        Self {
            agent: request.agent.to_string(),
            asked: hex(&loose.finalize()),
            strictly: hex(&strict.finalize()),
            messages,
        }
    }
}

impl Item {
    fn of(message: &Message, redactor: &Redactor) -> Self {
        let (role, says) = match message {
            Message::User { text } => ("user", normal(&redactor.mask(text))),
            Message::Assistant(said) => ("assistant", assistant(said, redactor)),
            Message::Tool { results } => {
                let tools: Vec<&str> = results.iter().map(|result| result.tool.as_str()).collect();
                ("tools", tools.join(", "))
            }
        };
        Self {
            role: Cow::Borrowed(role),
            hash: hex(&Sha256::digest(says.as_bytes())),
            says: excerpt(&says),
        }
    }
}

/// Words and calls of a model, each call with its arguments in one order of keys.
fn assistant(said: &Assistant, redactor: &Redactor) -> String {
    let mut parts = vec![normal(&redactor.mask(&said.text))];
    parts.extend(said.calls.iter().map(|call| {
        let arguments = redactor.mask(&call.arguments).into_owned();
        let arguments = serde_json::from_str::<Value>(&arguments).map_or(arguments, |mut value| {
            value.sort_all_objects();
            value.to_string()
        });
        format!("{}({arguments})", call.name)
    }));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// Line ends and blanks around a text mean nothing.
fn normal(text: &str) -> String {
    text.replace("\r\n", "\n").trim().to_owned()
}

fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Half of a hash is plenty here.
fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().take(16).fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _written = write!(hex, "{byte:02x}");
        hex
    })
}
