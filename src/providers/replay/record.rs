//! A provider around a provider that writes down every reply.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::recording::{Asked, Line, Said, VERSION};
use crate::event::{EventKind, Events};
use crate::message::ToolCall;
use crate::providers::{BoxFuture, Endpoint, Provider, ProviderError, Reply, Request, Seat};
use crate::redact::Redactor;
use crate::usage::Meter;

/// The file that replies are recorded in; one for a whole run.
pub struct RecordFile {
    file: Mutex<File>,
    path: PathBuf,
    redactor: Redactor,
}

impl RecordFile {
    /// Opens a file for more lines; it is made, for its owner alone, when there is none. Secrets are
    /// masked by `redactor`.
    ///
    /// # Errors
    /// What opening it gave.
    pub fn open(path: &Path, redactor: Redactor) -> io::Result<Arc<Self>> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        Ok(Arc::new(Self {
            file: Mutex::new(file),
            path: path.to_owned(),
            redactor,
        }))
    }

    fn write(&self, asked: Asked, said: Vec<Said>, reply: &Reply) -> io::Result<()> {
        let line = Line {
            v: VERSION,
            asked,
            events: self.masked(said, reply),
            finish: reply.finish,
            calls: reply
                .message
                .calls
                .iter()
                .map(|call| self.call(call))
                .collect(),
            refusal: self.redactor.mask(&reply.refusal).into_owned(),
            structured: reply.structured.clone().map(|mut value| {
                self.redactor.mask_json(&mut value);
                value
            }),
            usage: reply.usage,
            model: reply.model.clone(),
            own_turns: reply.own_turns,
            own_tools: reply.own_tools.clone(),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        // One write to a file that is appended to: lines of several processes never mix.
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&text)
    }

    /// The pieces as they came, unless a secret runs through them or they are not the whole answer:
    /// then the answer in one piece.
    fn masked(&self, said: Vec<Said>, reply: &Reply) -> Vec<Said> {
        let message = &reply.message;
        let (text, reasoning) = (
            self.redactor.mask(&message.text).into_owned(),
            self.redactor.mask(&message.reasoning).into_owned(),
        );
        let (mut all_text, mut all_reasoning) = (String::new(), String::new());
        for piece in &said {
            match piece {
                Said::Text(piece) => all_text.push_str(piece),
                Said::Reasoning(piece) => all_reasoning.push_str(piece),
            }
        }
        if all_text == text && all_reasoning == reasoning {
            return said;
        }
        let pieces = [Said::Reasoning(reasoning), Said::Text(text)];
        pieces
            .into_iter()
            .filter(|piece| !matches!(piece, Said::Text(text) | Said::Reasoning(text) if text.is_empty()))
            .collect()
    }

    fn call(&self, call: &ToolCall) -> ToolCall {
        let mut call = ToolCall {
            arguments: self.redactor.mask(&call.arguments).into_owned(),
            extra: serde_json::Value::Null,
            ..call.clone()
        };
        self.redactor.mask_name(&mut call.id);
        self.redactor.mask_name(&mut call.name);
        call
    }
}

/// Writes down every reply of the provider within.
pub struct Recorder {
    inner: Arc<dyn Provider>,
    file: Arc<RecordFile>,
}

impl Recorder {
    /// A recorder around a provider.
    pub fn new(inner: Arc<dyn Provider>, file: Arc<RecordFile>) -> Self {
        Self { inner, file }
    }

    async fn attempt(
        &self,
        request: &Request,
        meter: &Meter,
        events: &Events,
    ) -> Result<Reply, ProviderError> {
        let asked = Asked::of(request, &self.file.redactor);
        // The pieces pass through here on their way to whoever watches.
        let (own, mut passing) = Events::channel(events.run_id());
        let mut said = Vec::new();
        let mut answer = self.inner.complete(request, meter, &own);
        let result = loop {
            tokio::select! {
                biased;
                Some(event) = passing.recv() => {
                    note(&mut said, &event.kind);
                    events.emit(event.kind).await;
                }
                result = &mut answer => break result,
            }
        };
        while let Ok(event) = passing.try_recv() {
            note(&mut said, &event.kind);
            events.emit(event.kind).await;
        }
        let mut reply = result?;
        if let Err(error) = self.file.write(asked, said, &reply) {
            let path = self.file.path.display();
            reply.warnings.push(format!(
                "the reply could not be recorded in `{path}`: {error}"
            ));
        }
        Ok(reply)
    }
}

fn note(said: &mut Vec<Said>, kind: &EventKind) {
    match kind {
        EventKind::TextDelta { text } => said.push(Said::Text(text.clone())),
        EventKind::ReasoningDelta { text } => said.push(Said::Reasoning(text.clone())),
        EventKind::StreamReset => said.clear(),
        _ => {}
    }
}

impl Provider for Recorder {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn endpoint(&self) -> &Endpoint {
        self.inner.endpoint()
    }

    fn runs_own_tools(&self) -> bool {
        self.inner.runs_own_tools()
    }

    fn tells_cost(&self) -> bool {
        self.inner.tells_cost()
    }

    fn hides_reasoning(&self) -> bool {
        self.inner.hides_reasoning()
    }

    fn waits_for_clearance(&self) -> bool {
        self.inner.waits_for_clearance()
    }

    fn is_recorded(&self) -> bool {
        self.inner.is_recorded()
    }

    fn seat<'a>(&'a self, request: &'a Request, events: &'a Events) -> BoxFuture<'a, Option<Seat>> {
        self.inner.seat(request, events)
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
        self.inner.health()
    }
}
