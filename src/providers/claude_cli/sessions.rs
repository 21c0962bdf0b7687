//! Which conversation of the CLI goes on which of ours.
//!
//! The CLI keeps whole conversations itself. One that holds exactly what ours holds is resumed; in
//! every other case, such as after an answer of another model or a compaction, a new one begins with
//! ours as its prompt. The CLI has no lock of its own, so each of our conversations has one here.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, params};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::files::private_dir;
use crate::message::{Assistant, Message};
use crate::providers::Request;
use crate::store::{Durability, Store, StoreError};
use crate::usage::{Usage, Usd};

use super::argv::SessionChoice;
use super::money::{Bill, ModelUsage};
use super::prompt;
use super::spec::hex;

/// How long what is known of a cut run outside any conversation is of use, milliseconds.
const FORGET_AFTER_MS: i64 = 24 * 3600 * 1000;

/// What is known of a conversation of the CLI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The CLI's id.
    pub uuid: String,
    /// The fingerprint of the messages that it holds.
    pub known: String,
    /// The logical call whose answer was cut after it had begun.
    pub unfinished: Option<String>,
    /// What it has cost by now.
    pub total: ModelUsage,
}

/// What a run does with the CLI's conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which one it works on.
    pub choice: SessionChoice,
    /// What it is told, not escaped yet.
    pub prompt: String,
    /// What the conversation has cost before.
    pub before: ModelUsage,
}

/// The key of our conversation, or of the logical call of a run outside any: its retries may go on
/// where it was cut. `None` when there is neither.
pub fn key(request: &Request) -> Option<String> {
    match &request.session {
        Some(session) => Some(session.to_string()),
        None if request.idempotency_key.is_empty() => None,
        None => Some(format!("call:{}", request.idempotency_key)),
    }
}

/// Decides how a run begins, from what is known of the CLI's conversation. `new` is a fresh UUID.
pub fn start(request: &Request, known: Option<&Known>, new: String) -> Start {
    let earlier = request
        .messages
        .split_last()
        .map_or(&[][..], |(_, earlier)| earlier);
    let resume = |known: &Known, prompt: String| Start {
        choice: SessionChoice::Resume(known.uuid.clone()),
        prompt,
        before: known.total,
    };
    match known {
        Some(known)
            if known.unfinished.as_ref() == Some(&request.idempotency_key)
                && !request.idempotency_key.is_empty() =>
        {
            resume(known, prompt::GO_ON.to_owned())
        }
        Some(known) if !earlier.is_empty() && known.known == fingerprint(earlier) => {
            resume(known, prompt::last(&request.messages))
        }
        _ => Start {
            choice: match key(request) {
                Some(_) => SessionChoice::New(new),
                None => SessionChoice::Throwaway,
            },
            prompt: prompt::whole(&request.messages),
            before: ModelUsage::default(),
        },
    }
}

/// What is known while a run goes on: should this program die, its next start goes on there.
pub fn at_start(request: &Request, start: &Start) -> Option<Known> {
    Some(Known {
        uuid: uuid(&start.choice)?,
        known: fingerprint(&request.messages),
        unfinished: None,
        total: start.before,
    })
}

/// What is known after a run that ended well: `None` when nothing needs to be, as after a run
/// outside any conversation.
pub fn after_answer(
    request: &Request,
    start: &Start,
    answer: &Assistant,
    bill: Option<Bill>,
) -> Option<Known> {
    request.session.as_ref()?;
    let mut messages = request.messages.clone();
    messages.push(Message::Assistant(answer.clone()));
    Some(Known {
        uuid: uuid(&start.choice)?,
        known: fingerprint(&messages),
        unfinished: None,
        total: bill.map_or(start.before, |bill| bill.total),
    })
}

/// What is known after a run that failed. A new conversation in which nothing was said is as good as
/// none.
pub fn after_failure(
    request: &Request,
    start: &Start,
    began: bool,
    bill: Option<Bill>,
) -> Option<Known> {
    let resumed = matches!(start.choice, SessionChoice::Resume(_));
    if !began && !resumed {
        return None;
    }
    let earlier = request
        .messages
        .split_last()
        .map_or(&[][..], |(_, earlier)| earlier);
    Some(Known {
        uuid: uuid(&start.choice)?,
        known: fingerprint(earlier),
        unfinished: (began || start.prompt == prompt::GO_ON)
            .then(|| request.idempotency_key.clone()),
        total: bill.map_or(start.before, |bill| bill.total),
    })
}

fn uuid(choice: &SessionChoice) -> Option<String> {
    match choice {
        SessionChoice::New(uuid) | SessionChoice::Resume(uuid) => Some(uuid.clone()),
        SessionChoice::Throwaway => None,
    }
}

/// A hash of what was said, the vendor's own additions left out.
fn fingerprint(messages: &[Message]) -> String {
    let mut hash = Sha256::new();
    let mut part = |name: &str, text: &str| {
        hash.update(name);
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
    for message in messages {
        match message {
            Message::User { text } => part("user", text),
            Message::Assistant(assistant) => {
                part("assistant", &assistant.text);
                for call in &assistant.calls {
                    part("call", &call.name);
                    part("arguments", &call.arguments);
                }
            }
            Message::Tool { results } => {
                for result in results {
                    part("result", &result.content);
                }
            }
        }
    }
    hex(&hash.finalize())
}

/// What the store knows of a conversation.
///
/// # Errors
/// When the store cannot be read.
pub fn load(store: &Store, session: &str, agent: &str) -> Result<Option<Known>, StoreError> {
    let (session, agent) = (session.to_owned(), agent.to_owned());
    store.read(move |connection| {
        connection
            .query_row(
                "SELECT uuid, known, unfinished, cost_pico, usage FROM claude_sessions
                 WHERE session = ?1 AND agent = ?2",
                params![session, agent],
                |row| {
                    let usage: String = row.get(4)?;
                    Ok(Known {
                        uuid: row.get(0)?,
                        known: row.get(1)?,
                        unfinished: row.get(2)?,
                        total: ModelUsage {
                            cost: Some(Usd::from_pico(row.get(3)?))
                                .filter(|cost| *cost > Usd::ZERO),
                            usage: serde_json::from_str::<Usage>(&usage).unwrap_or_default(),
                        },
                    })
                },
            )
            .optional()
    })
}

/// Keeps what is known of a conversation, or forgets it.
///
/// # Errors
/// The future yields why the store could not be written.
pub fn save(
    store: &Store,
    (session, agent): (&str, &str),
    known: Option<Known>,
    durability: Durability,
) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
    let (session, agent) = (session.to_owned(), agent.to_owned());
    store.write(durability, move |transaction| {
        let now_ms = now_ms();
        transaction.execute(
            "DELETE FROM claude_sessions WHERE session LIKE 'call:%' AND updated_ms < ?1",
            params![now_ms - FORGET_AFTER_MS],
        )?;
        let Some(known) = known else {
            transaction.execute(
                "DELETE FROM claude_sessions WHERE session = ?1 AND agent = ?2",
                params![session, agent],
            )?;
            return Ok(());
        };
        let usage = serde_json::to_string(&known.total.usage).unwrap_or_default();
        transaction.execute(
            "INSERT INTO claude_sessions (session, agent, uuid, known, unfinished, cost_pico, usage, updated_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (session, agent) DO UPDATE SET uuid = excluded.uuid, known = excluded.known,
             unfinished = excluded.unfinished, cost_pico = excluded.cost_pico, usage = excluded.usage,
             updated_ms = excluded.updated_ms",
            params![
                session, agent, known.uuid, known.known, known.unfinished,
                known.total.cost.unwrap_or_default().pico(), usage, now_ms
            ],
        )?;
        Ok(())
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The one right to write to a conversation; given back when dropped, or when the process dies.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    /// Its lock ends when it is closed.
    file: File,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is locked: who waits for it finds out that it is gone, and makes a new one.
        drop(std::fs::remove_file(&self.path));
        // A file that stays locked is let go when it is closed, right after this.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// How often a conversation that somebody else writes to is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Waits for the right to write to a conversation; `waiting` is called once if there is a wait.
///
/// # Errors
/// When the lock's file cannot be made.
pub async fn lock(
    directory: &Path,
    session: &str,
    agent: &str,
    waiting: impl FnOnce(),
) -> io::Result<Turn> {
    private_dir(directory)?;
    let text = format!("{session}\n{agent}");
    let name = fingerprint(&[Message::User { text }]);
    let path = directory.join(format!("{}.lock", name.get(..32).unwrap_or(&name)));
    let mut waiting = Some(waiting);
    loop {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&file, &path) => return Ok(Turn { path, file }),
            // It was removed between the opening and the locking.
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                if let Some(tell) = waiting.take() {
                    tell();
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the file is still the one at the path.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
