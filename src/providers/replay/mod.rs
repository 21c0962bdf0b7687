//! Answers from a recording, and the making of recordings.

mod record;
mod recording;

pub use record::{RecordFile, Recorder};

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use recording::{Asked, Line, Said, VERSION};

use super::{BoxFuture, ConnectSpec, Endpoint, FaultKind, Provider, ProviderError, Reply, Request};
use crate::event::{EventKind, Events};
use crate::message::Assistant;
use crate::redact::Redactor;
use crate::usage::{Meter, Usd};

/// No reply of a model is longer, bytes; what is no recording may have no line ends at all.
const LONGEST_LINE: u64 = 64 << 20;

/// Answers from a recording. It reads the file when it is asked for the first time.
pub(super) struct Replay {
    endpoint: Endpoint,
    path: PathBuf,
    by_flag: bool,
    redactor: Redactor,
    lines: OnceLock<Result<Vec<Line>, ProviderError>>,
    /// How often each request was asked.
    asked: Mutex<BTreeMap<String, usize>>,
}

impl Replay {
    /// # Errors
    /// When no recording is named.
    pub(super) fn connect(spec: &ConnectSpec) -> Result<Self, ProviderError> {
        let Some(path) = spec.recording.clone() else {
            let words = format!("provider `{}` has no recording", spec.name);
            return Err(ProviderError::new(
                &spec.name,
                FaultKind::Recording { by_flag: false },
                words,
            )
            .with_hint("name a file with `--replay FILE`, or as `recording:` under `providers:`"));
        };
        Ok(Self {
            endpoint: Endpoint {
                provider: spec.name.clone(),
                base_url: path.display().to_string(),
                key_fingerprint: String::new(),
                loopback: true,
            },
            path,
            by_flag: spec.recording_by_flag,
            redactor: spec.redactor.clone(),
            lines: OnceLock::new(),
            asked: Mutex::default(),
        })
    }

    fn lines(&self) -> Result<&[Line], ProviderError> {
        self.lines
            .get_or_init(|| {
                let by_flag = self.by_flag;
                read(
                    &self.path,
                    &self.endpoint.provider,
                    &FaultKind::Recording { by_flag },
                )
            })
            .as_deref()
            .map_err(Clone::clone)
    }

    /// The recorded reply. What was recorded several times is answered in that order; after the last
    /// one, the last one again.
    fn find(&self, request: &Request) -> Result<&Line, ProviderError> {
        let lines = self.lines()?;
        // A recording holds masked texts, and masking them again changes nothing.
        let asked = Asked::of(request, &self.redactor);
        let strict: Vec<&Line> = lines
            .iter()
            .filter(|line| line.asked.strictly == asked.strictly)
            .collect();
        let (key, found) = if strict.is_empty() {
            let loose = lines.iter().filter(|line| line.asked.asked == asked.asked);
            (&asked.asked, loose.collect())
        } else {
            (&asked.strictly, strict)
        };
        let mut counts = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key.clone()).or_insert(0);
        let line = found.get(*count).or(found.last());
        *count += 1;
        line.copied()
            .ok_or_else(|| self.not_recorded(lines, &asked))
    }

    fn not_recorded(&self, lines: &[Line], asked: &Asked) -> ProviderError {
        let words = format!("this was not recorded: {}", difference(lines, asked));
        ProviderError::new(&self.endpoint.provider, FaultKind::NotRecorded, words).with_hint(
            "ask what was recorded, or make a recording with a real provider and `--record FILE`",
        )
    }

    async fn attempt(
        &self,
        request: &Request,
        meter: &Meter,
        events: &Events,
    ) -> Result<Reply, ProviderError> {
        let line = self.find(request)?;
        let (mut text, mut reasoning) = (String::new(), String::new());
        for piece in &line.events {
            let kind = match piece.clone() {
                Said::Text(piece) => {
                    text.push_str(&piece);
                    EventKind::TextDelta { text: piece }
                }
                Said::Reasoning(piece) => {
                    reasoning.push_str(&piece);
                    EventKind::ReasoningDelta { text: piece }
                }
            };
            events.emit(kind).await;
        }
        meter.received(text.len() + reasoning.len());
        if let Some(usage) = line.usage {
            meter.reported(usage);
        }
        // Whatever it cost was paid when it was recorded.
        meter.reported_cost(Usd::ZERO);
        Ok(Reply {
            message: Assistant {
                text,
                reasoning,
                calls: line.calls.clone(),
                vendor: self.endpoint.provider.clone(),
                ..Assistant::default()
            },
            refusal: line.refusal.clone(),
            finish: line.finish,
            usage: line.usage,
            reported_cost: Some(Usd::ZERO),
            model: line.model.clone(),
            structured: line.structured.clone(),
            own_turns: line.own_turns,
            own_tools: line.own_tools.clone(),
            ..Reply::default()
        })
    }
}

fn read(path: &Path, name: &str, kind: &FaultKind) -> Result<Vec<Line>, ProviderError> {
    let shown = path.display();
    let wrong = |words: String| {
        ProviderError::new(name, kind.clone(), words)
            .with_hint("a recording is a file that `--record FILE` wrote")
    };
    let unreadable =
        |error: io::Error| wrong(format!("the recording `{shown}` cannot be read: {error}"));
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut replies = Vec::new();
    let mut text = String::new();
    for number in 1_u64.. {
        text.clear();
        let read = file.by_ref().take(LONGEST_LINE).read_line(&mut text);
        let read = read.map_err(unreadable)? as u64;
        let is_no_reply =
            |why: &dyn fmt::Display| wrong(format!("line {number} of `{shown}` {why}"));
        if read == 0 {
            break;
        }
        if read == LONGEST_LINE {
            return Err(is_no_reply(&"is too long for a recorded reply"));
        }
        if text.trim().is_empty() {
            continue;
        }
        let parsed: Line = serde_json::from_str(&text)
            .map_err(|error| is_no_reply(&format_args!("is no recorded reply: {error}")))?;
        if parsed.v != VERSION {
            let version = parsed.v;
            let why = format_args!("has version {version}, known is {VERSION}").to_string();
            return Err(is_no_reply(&why));
        }
        replies.push(parsed);
    }
    Ok(replies)
}

/// The first thing that differs from the recorded conversation that is most alike.
fn difference(lines: &[Line], asked: &Asked) -> String {
    let agent = &asked.agent;
    let same = |line: &Line| {
        let pairs = line.asked.messages.iter().zip(&asked.messages);
        pairs
            .take_while(|(recorded, item)| recorded == item)
            .count()
    };
    // The first of the longest: `max_by_key` gives the last.
    let of_agent = lines.iter().rev().filter(|line| line.asked.agent == *agent);
    let likeness = |line: &&Line| {
        let (alike, recorded) = (same(line), line.asked.messages.len());
        let apart = recorded.abs_diff(asked.messages.len());
        (alike, recorded > alike, Reverse(apart))
    };
    let Some(closest) = of_agent.max_by_key(likeness) else {
        let mut agents: Vec<&str> = lines.iter().map(|line| line.asked.agent.as_str()).collect();
        agents.sort_unstable();
        agents.dedup();
        return match agents.as_slice() {
            [] => "the recording is empty".to_owned(),
            agents => format!(
                "`{agent}` is not in the recording, only `{}`",
                agents.join("`, `")
            ),
        };
    };
    let position = same(closest);
    let number = position + 1;
    match (
        asked.messages.get(position),
        closest.asked.messages.get(position),
    ) {
        (Some(item), Some(recorded)) if item.role == recorded.role => format!(
            "message {number} ({}) of `{agent}` is `{}`, recorded is `{}`",
            item.role, item.says, recorded.says
        ),
        (Some(item), Some(recorded)) => format!(
            "message {number} of `{agent}` is {} `{}`, recorded is {} `{}`",
            item.role, item.says, recorded.role, recorded.says
        ),
        (Some(item), None) => format!(
            "the conversation of `{agent}` goes on with message {number} ({}) `{}`, the recording \
             ends before it",
            item.role, item.says
        ),
        (None, Some(recorded)) => format!(
            "the conversation of `{agent}` ends before message {number}, recorded is {} `{}`",
            recorded.role, recorded.says
        ),
        (None, None) => format!("the conversation of `{agent}` differs"),
    }
}

impl Provider for Replay {
    fn name(&self) -> &str {
        &self.endpoint.provider
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn is_recorded(&self) -> bool {
        true
    }

    fn complete<'a>(
        &'a self,
        request: &'a Request,
        meter: &'a Meter,
        events: &'a Events,
    ) -> BoxFuture<'a, Result<Reply, ProviderError>> {
        Box::pin(self.attempt(request, meter, events))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async { self.lines().map(|_| ()) })
    }
}

#[cfg(test)]
mod tests;
