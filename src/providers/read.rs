//! Reads an answer to its end: clocks, deltas, meter, and what an end without an end means.

use reqwest::Response;
use serde_json::Value;

use super::answer::{Answer, Delta, Fault, Step};
use super::body::{Body, Broken, Piece};
use super::classify::classify;
use super::json::{MOST_VALUES, is_heavy};
use super::sse::LINE_CAP;
use super::target::Target;
use super::text_tools::Blocks;
use super::watch::Watch;
use super::{
    FaultKind, Finish, Partial, ProviderError, Reply, Request, StreamFault, anthropic, call_ids,
    openai,
};
use crate::event::{EventKind, Events};
use crate::message::Assistant;
use crate::usage::Meter;

/// How many pieces are shown together at most, however fast they come.
const AT_ONCE: usize = 64;

/// Puts the pieces of a protocol together.
pub(super) enum Decoder {
    Chat(openai::Decoder),
    Messages(anthropic::Decoder),
}

impl Decoder {
    fn take(&mut self, piece: Piece, answer: &mut Answer) -> Result<Step, Fault> {
        let last = Step {
            progress: true,
            done: true,
        };
        let text = match &piece {
            Piece::Event(event) => event.data.as_bytes(),
            Piece::Document(document) => document,
            Piece::End => &[],
        };
        if is_heavy(text) {
            let words = format!("has an event of more than {MOST_VALUES} values");
            return Err(Fault::TooLong(words));
        }
        match (self, piece) {
            (_, Piece::End) => Ok(Step::default()),
            (Self::Chat(decoder), Piece::Event(event)) => decoder.event(&event, answer),
            (Self::Messages(decoder), Piece::Event(event)) => decoder.event(&event, answer),
            (Self::Chat(decoder), Piece::Document(document)) => {
                decoder.document(&document, answer).map(|()| last)
            }
            (Self::Messages(decoder), Piece::Document(document)) => {
                decoder.document(&document, answer).map(|()| last)
            }
        }
    }

    fn count(&mut self, told: &Value, answer: &mut Answer) {
        match self {
            Self::Chat(decoder) => decoder.count(told, answer),
            Self::Messages(decoder) => decoder.count(told, answer),
        }
    }

    /// Takes what a refusal says that the call used: then a model worked.
    pub(super) fn charge(mut self, told: &Value, partial: &mut Partial) {
        let mut answer = Answer::default();
        self.count(told, &mut answer);
        partial.usage = answer.usage;
        partial.reported_cost = answer.cost;
        partial.reached_model |= answer.is_charged();
    }
}

/// What the reading of one answer needs.
pub(super) struct Reading<'a> {
    pub target: &'a Target,
    pub request: &'a Request,
    pub meter: &'a Meter,
    pub events: &'a Events,
    /// Tools are offered in words: calls are looked for in the text.
    pub text_tools: bool,
    /// What is known by now.
    pub warnings: Vec<String>,
}

/// Why reading ended early.
enum Failed {
    Broken(Broken),
    Fault(Fault),
}

/// Reads an answer whose head was good.
///
/// # Errors
/// When it is none, or has no good end; what had come is in the error's `partial`.
pub(super) async fn read(
    reading: Reading<'_>,
    response: Response,
    mut decoder: Decoder,
    mut watch: Watch,
) -> Result<Reply, ProviderError> {
    let limits = reading.target.limits(response.headers());
    let request_id = reading.target.request_id(response.headers());
    let mut body = Body::new(response);
    let mut answer = Answer::default();
    let mut blocks = reading.text_tools.then(Blocks::default);
    let result = take_all(
        &reading,
        &mut body,
        &mut decoder,
        &mut answer,
        &mut blocks,
        &mut watch,
    )
    .await;
    if let Err(Failed::Fault(Fault::Told(body))) = &result {
        decoder.count(&body.usage, &mut answer);
    }
    hand_out(&reading, &mut answer, &mut blocks).await;
    if let Err(failed) = result {
        let mut error = failed_error(&reading, failed, &answer, &watch);
        error.request_id = request_id;
        error.limits = limits;
        return Err(error);
    }
    body.drain().await;
    if let Some(blocks) = blocks {
        take_blocks(&reading, blocks, &mut answer).await;
    }
    // One key serves a whole turn at most; the length tells its requests apart.
    let key = format!(
        "{} {}",
        reading.request.idempotency_key,
        reading.request.messages.len()
    );
    call_ids::complete(&mut answer.calls, &key);
    let mut warnings = reading.warnings;
    warnings.append(&mut answer.warnings);
    Ok(Reply {
        message: Assistant {
            text: answer.text,
            reasoning: answer.reasoning,
            calls: answer.calls,
            vendor_extra: answer.extra,
            vendor: reading.target.name().to_owned(),
        },
        refusal: answer.refusal,
        finish: answer.finish.unwrap_or_default(),
        usage: answer.usage,
        reported_cost: answer.cost,
        model: answer.model.map(|model| reading.target.masked(model)),
        request_id,
        limits,
        warnings,
        first_event: watch.first(),
        ..Reply::default()
    })
}

async fn take_all(
    reading: &Reading<'_>,
    body: &mut Body,
    decoder: &mut Decoder,
    answer: &mut Answer,
    blocks: &mut Option<Blocks>,
    watch: &mut Watch,
) -> Result<(), Failed> {
    // The first piece is shown at once.
    let mut together = AT_ONCE;
    loop {
        let piece = match body.next(watch, reading.meter).await {
            Ok(piece) => piece,
            // It said why it ends; only the end itself is missing.
            Err(Broken::Late(_) | Broken::Cut(_)) if answer.finish.is_some() => Piece::End,
            Err(broken) => return Err(Failed::Broken(broken)),
        };
        let is_end = piece == Piece::End;
        let step = decoder.take(piece, answer).map_err(Failed::Fault)?;
        if step.progress {
            watch.progress();
        }
        if answer.finish.is_some() {
            watch.ending();
        } else if answer.exceeds(reading.request.max_output_tokens) {
            // Nobody else stops what it writes, and is paid for.
            answer.cut();
            return answer.end(true).map_err(Failed::Fault);
        }
        if step.done || is_end {
            return answer.end(step.done).map_err(Failed::Fault);
        }
        together += 1;
        // What came together is shown together.
        if together > AT_ONCE || !body.has_more().await {
            together = 0;
            hand_out(reading, answer, blocks).await;
            if step.progress {
                // The time that a slow watcher took is not the model's.
                watch.progress();
            }
        }
    }
}

/// Counts what came and shows it.
async fn hand_out(reading: &Reading<'_>, answer: &mut Answer, blocks: &mut Option<Blocks>) {
    let uncounted = std::mem::take(&mut answer.uncounted);
    if uncounted > 0 {
        reading.meter.received(uncounted);
    }
    if let Some(model) = &answer.model {
        reading.meter.answers(model);
    }
    if let Some(usage) = answer.usage {
        reading.meter.reported(usage);
    }
    if let Some(cost) = answer.cost {
        reading.meter.reported_cost(cost);
    }
    let mut merged: Vec<Delta> = Vec::new();
    for delta in answer.fresh.drain(..) {
        let delta = match (delta, blocks.as_mut()) {
            (Delta::Text(piece), Some(blocks)) => Delta::Text(blocks.push(&piece)),
            (delta, _) => delta,
        };
        match (merged.last_mut(), delta) {
            (Some(Delta::Text(text)), Delta::Text(piece))
            | (Some(Delta::Reasoning(text)), Delta::Reasoning(piece)) => text.push_str(&piece),
            (_, delta) => merged.push(delta),
        }
    }
    for delta in merged {
        let (text, kind): (_, fn(String) -> EventKind) = match delta {
            Delta::Text(text) => (text, |text| EventKind::TextDelta { text }),
            Delta::Reasoning(text) => (text, |text| EventKind::ReasoningDelta { text }),
        };
        if !text.is_empty() {
            reading.events.emit(kind(text)).await;
        }
    }
}

/// Splits a finished answer into its text and the calls in it.
async fn take_blocks(reading: &Reading<'_>, blocks: Blocks, answer: &mut Answer) {
    let shown = blocks.shown();
    let (visible, calls) = blocks.finish();
    if let Some(rest) = visible.get(shown..).filter(|rest| !rest.is_empty()) {
        let text = rest.to_owned();
        reading.events.emit(EventKind::TextDelta { text }).await;
    }
    answer.text = visible;
    if !calls.is_empty() {
        answer.calls.extend(calls);
        if answer.finish == Some(Finish::Stop) {
            answer.finish = Some(Finish::ToolCalls);
        }
    }
}

fn failed_error(
    reading: &Reading<'_>,
    failed: Failed,
    answer: &Answer,
    watch: &Watch,
) -> ProviderError {
    let (target, model) = (reading.target, &reading.request.model);
    // What was received may be quoted in the words: a whole event, a key.
    let stream =
        |fault, words: String| target.fault(FaultKind::Stream(fault), target.quoted(&words), model);
    let anything = answer.is_committed() || !answer.reasoning.is_empty() || answer.is_charged();
    let mut reached = true;
    let mut error = match failed {
        Failed::Broken(Broken::Late(late)) => target.late(late, model, watch),
        Failed::Broken(Broken::Cut(cause)) => stream(
            StreamFault::Truncated,
            format!("the connection broke in the middle of the answer: {cause}"),
        ),
        Failed::Broken(Broken::TooLong) => stream(
            StreamFault::InvalidJson,
            format!("a line of the answer is longer than {} MiB", LINE_CAP >> 20),
        ),
        Failed::Broken(Broken::Foreign(text)) | Failed::Fault(Fault::Foreign(text)) => {
            reached = false;
            target.foreign(&text, reading.request)
        }
        Failed::Fault(Fault::Told(body)) => {
            reached = anything;
            let words = match body.message.as_str() {
                "" => "the answer is an error without a word".to_owned(),
                message => format!("the answer is an error: {message}"),
            };
            let kind = classify(200, &body, false);
            target.told(kind, &words, &body, reading.request)
        }
        Failed::Fault(Fault::Invalid(cause)) => stream(
            StreamFault::InvalidJson,
            format!("an event of the answer cannot be read: {cause}"),
        ),
        Failed::Fault(Fault::TooLong(words)) => {
            stream(StreamFault::InvalidJson, format!("the answer {words}"))
        }
        Failed::Fault(Fault::Truncated) => stream(
            StreamFault::Truncated,
            "the answer ended before it was finished".to_owned(),
        ),
        Failed::Fault(Fault::Empty) => stream(StreamFault::Empty, "the answer is empty".to_owned()),
    };
    error.committed = answer.is_committed();
    *error.partial = Partial {
        text: answer.text.clone(),
        reasoning: answer.reasoning.clone(),
        call_chars: answer.call_chars,
        usage: answer.usage,
        reported_cost: answer.cost,
        model: answer.model.clone().map(|model| target.masked(model)),
        reached_model: reached,
        ..Partial::default()
    };
    error
}
