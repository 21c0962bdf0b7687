//! Secrets in what models say never reach a screen or a pipe, also when they come in pieces.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::event::{Event, EventKind};
use crate::redact::{Redactor, StreamRedactor};

/// The maskers of one view: one for each agent's text and one for its reasoning.
#[derive(Debug)]
pub(super) struct Masks {
    redactor: Redactor,
    streams: BTreeMap<(Arc<str>, Stream), (StreamRedactor, Event)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stream {
    Text,
    Reasoning,
}

impl Masks {
    pub(super) fn new(redactor: &Redactor) -> Self {
        Self {
            redactor: redactor.clone(),
            streams: BTreeMap::new(),
        }
    }

    /// The event with what may be told of it by now. What could become a secret is held back until the
    /// agent says more or does something else.
    pub(super) fn pass(&mut self, event: Event) -> Vec<Event> {
        let (stream, piece) = match &event.kind {
            EventKind::TextDelta { text } => (Stream::Text, text),
            EventKind::ReasoningDelta { text } => (Stream::Reasoning, text),
            _ => {
                let mut events = self.rest_of(&event.agent);
                let mut event = event;
                self.kind(&mut event.kind);
                events.push(event);
                return events;
            }
        };
        let key = (Arc::clone(&event.agent), stream);
        let entry = self
            .streams
            .entry(key)
            .or_insert_with(|| (self.redactor.stream(), event.clone()));
        let sure = entry.0.push(piece);
        if sure.is_empty() {
            Vec::new()
        } else {
            vec![with_text(&event, stream, sure)]
        }
    }

    /// What was held back of every agent.
    pub(super) fn rest(&mut self) -> Vec<Event> {
        let agents: Vec<Arc<str>> = self
            .streams
            .keys()
            .map(|(agent, _)| Arc::clone(agent))
            .collect();
        agents
            .iter()
            .flat_map(|agent| self.rest_of(agent))
            .collect()
    }

    fn rest_of(&mut self, agent: &Arc<str>) -> Vec<Event> {
        if self.streams.is_empty() {
            return Vec::new();
        }
        [Stream::Reasoning, Stream::Text]
            .into_iter()
            .filter_map(|stream| {
                let (mut mask, event) = self.streams.remove(&(Arc::clone(agent), stream))?;
                let rest = mask.finish();
                (!rest.is_empty()).then(|| with_text(&event, stream, rest))
            })
            .collect()
    }

    /// Masks what comes from models and from servers.
    fn kind(&self, kind: &mut EventKind) {
        let mask = |text: &mut String| {
            if let Cow::Owned(masked) = self.redactor.mask(text) {
                *text = masked;
            }
        };
        match kind {
            EventKind::ToolStarted {
                call_id,
                tool,
                arguments,
            } => {
                mask(call_id);
                mask(tool);
                self.redactor.mask_json(arguments);
            }
            EventKind::ToolFinished {
                call_id,
                tool,
                summary,
                ..
            } => [call_id, tool, summary].into_iter().for_each(mask),
            EventKind::Retry {
                code, request_id, ..
            } => code.iter_mut().chain(request_id).for_each(mask),
            EventKind::Throttled { reason, .. } => mask(reason),
            EventKind::Approval { tool, action, .. } => [tool, action].into_iter().for_each(mask),
            EventKind::Notice { text } => mask(text),
            EventKind::RunStarted { .. }
            | EventKind::TurnStarted { .. }
            | EventKind::TextDelta { .. }
            | EventKind::ReasoningDelta { .. }
            | EventKind::Fallback { .. }
            | EventKind::Breaker { .. }
            | EventKind::StreamReset
            | EventKind::Usage { .. }
            | EventKind::BudgetWarning { .. }
            | EventKind::Compacted { .. }
            | EventKind::StepStarted {}
            | EventKind::StepFinished { .. } => {}
        }
    }

    /// A text, masked.
    pub(super) fn text(&self, text: &str) -> String {
        self.redactor.mask(text).into_owned()
    }

    /// A value for programs, masked and written.
    pub(super) fn indented(&self, value: &impl Serialize) -> String {
        self.redactor.json_indented(value)
    }

    /// A value for programs, masked.
    pub(super) fn value(&self, value: &impl Serialize) -> Value {
        let mut value = serde_json::to_value(value).unwrap_or_default();
        self.redactor.mask_json(&mut value);
        value
    }
}

fn with_text(event: &Event, stream: Stream, text: String) -> Event {
    let kind = match stream {
        Stream::Text => EventKind::TextDelta { text },
        Stream::Reasoning => EventKind::ReasoningDelta { text },
    };
    Event {
        kind,
        ..event.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;

    #[tokio::test]
    async fn secrets_in_pieces_are_masked_and_nothing_else_is_held() {
        let (run, mut receiver) = Events::channel("r");
        let events = run.for_agent("a");
        drop(run);
        for piece in [
            "the key is ",
            "sk-Ab3dEf6h",
            "Ij9kLm2nOp5qRs8tUv1w",
            " and more",
        ] {
            events
                .emit(EventKind::TextDelta { text: piece.into() })
                .await;
        }
        events.emit(EventKind::TurnStarted { turn: 2 }).await;
        drop(events);
        let mut masks = Masks::new(&Redactor::new([]));
        let mut shown = Vec::new();
        while let Some(event) = receiver.recv().await {
            shown.extend(masks.pass(event).into_iter().map(|event| event.kind));
        }
        let text: String = shown
            .iter()
            .filter_map(|kind| match kind {
                EventKind::TextDelta { text } => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(text, "the key is [redacted] and more");
        assert_eq!(
            shown.first(),
            Some(&EventKind::TextDelta {
                text: "the key is ".into()
            })
        );
        assert_eq!(shown.last(), Some(&EventKind::TurnStarted { turn: 2 }));
        assert!(masks.rest().is_empty());
    }
}
