//! Keeping a conversation within the window of the model that is asked.

use std::sync::Arc;

use super::journal::Recorded;
use super::state::{State, Stop};
use super::tool_calls::lost;
use super::turns::{Around, call_context};
use crate::costs::Purpose;
use crate::event::EventKind;
use crate::message::Message;
use crate::providers::{FaultKind, Request};
use crate::resilience::{Answer, CallError, CallErrorKind, max_output_tokens};
use crate::sessions::compaction::{self, Compaction, Need, Room, Shortened};
use crate::store::Durability;

/// What a token takes, in hundredths of a byte, until the vendor has counted.
const BYTES: u64 = 400;

/// What a summary may come to, bytes.
const SUMMARY: u64 = 6_000;

/// How often a conversation is shortened further because the vendor says that it is too long.
const MOST_TIGHTER: u32 = 3;

/// What the model is told that sums up older turns.
const SUM_UP: &str = "You are given the older part of a conversation between a user and an assistant that works \
    with tools. Sum it up so that the assistant can go on without it: what the user wants and has decided, what \
    was done and found, with the exact names of files, commands and things and the figures that matter, what \
    is still open. Leave out courtesies and what no longer matters. Answer with the summary alone, in at most 500 \
    words.";

/// How the conversation of a run is shown to the model.
#[derive(Debug, Default)]
pub(super) struct Window {
    shown: Shortened,
    /// The tokens that fit, once the vendor has refused more.
    limit: Option<u64>,
    tighter: u32,
    /// The size of what was sent last, bytes.
    sent: u64,
}

impl Window {
    /// What is to be asked instead of a request that no longer fits; `None` where it fits as it is.
    pub(super) async fn fit(
        &mut self,
        around: &Around<'_>,
        state: &mut State,
        request: &mut Request,
        turn: u32,
    ) -> Result<Option<Request>, Stop> {
        let link = around.agent.chain.first();
        // One that takes its own turns sees to its own window.
        let Some(link) = link.filter(|link| !link.provider.runs_own_tools()) else {
            return Ok(None);
        };
        let known = link.facts.as_ref().and_then(|facts| facts.max_input_tokens);
        if let Some(tokens) = self.limit.or(known) {
            let older = around.ask.history.len();
            let answer = max_output_tokens(link).min(tokens / 4);
            let whole = (tokens - answer).saturating_mul(self.bytes_of_token(state)) / 100;
            let room = Room {
                whole,
                beside: beside(request),
                summary: SUMMARY.min(whole / 8),
            };
            let cut = match self.shown.need(&request.messages, older, room) {
                Need::Nothing => self.shown.cut,
                Need::Cut(cut) => cut,
                Need::Summary { from, cut } => {
                    let summing = self.sum_up(around, state, &request.messages, (from, room), turn);
                    Box::pin(summing).await?;
                    cut
                }
            };
            if cut > self.shown.cut {
                let model = &link.canonical;
                let words =
                    format!("older outputs of tools were cut to fit the window of `{model}`");
                around.events.notice(words.clone()).await;
                state.warn_once(words);
                state.uncount();
            }
            self.shown.cut = cut;
        }
        let view = (!self.shown.is_whole()).then(|| {
            let messages = std::mem::take(&mut request.messages);
            let mut view = request.clone();
            view.messages = self.shown.shown(&messages);
            request.messages = messages;
            view
        });
        let sent = view.as_ref().unwrap_or(request);
        self.sent = beside(sent) + compaction::bytes(&sent.messages);
        Ok(view)
    }

    /// Whether a refused call is to be made again with a shorter conversation.
    pub(super) fn tightens(&mut self, error: &CallError, request: &Request, older: usize) -> bool {
        let is_too_long = error.kind == CallErrorKind::Provider(FaultKind::ContextLength);
        if !is_too_long || self.tighter >= MOST_TIGHTER {
            return false;
        }
        self.tighter += 1;
        let limit = self.sent * 100 / BYTES * 3 / 4;
        let room = Room {
            whole: limit * BYTES / 100,
            beside: beside(request),
            summary: SUMMARY.min(limit / 2),
        };
        self.limit = Some(limit);
        self.shown.need(&request.messages, older, room) != Need::Nothing
    }

    /// What has given way to a summary in the history.
    pub(super) fn compaction(self) -> Option<Compaction> {
        (self.shown.from > 0).then_some(Compaction {
            messages: self.shown.from,
            summary: self.shown.summary,
        })
    }

    /// What a token of this conversation takes: as the vendor counted the last prompt, where it did.
    fn bytes_of_token(&self, state: &State) -> u64 {
        match state.counted() {
            Some(counted) if counted.tokens > 0 && self.sent > 0 && self.limit.is_none() => {
                (self.sent * 100 / counted.tokens).clamp(100, BYTES)
            }
            _ => BYTES,
        }
    }

    async fn sum_up(
        &mut self,
        around: &Around<'_>,
        state: &mut State,
        messages: &[Message],
        (from, room): (usize, Room),
        turn: u32,
    ) -> Result<(), Stop> {
        let old = messages.iter().take(from).skip(self.shown.from);
        let old: Vec<Message> = self.shown.summary.iter().chain(old).cloned().collect();
        let most = room
            .whole
            .saturating_sub(SUM_UP.len() as u64 + room.summary);
        let most = usize::try_from(most / 4 * 3).unwrap_or(usize::MAX);
        let mut summary = String::new();
        for (index, piece) in compaction::pieces(&old, most.max(1_000)).iter().enumerate() {
            let prompt = if summary.is_empty() {
                piece.clone()
            } else {
                format!("# What came before, summed up\n\n{summary}\n\n# What followed\n\n{piece}")
            };
            let place = format!("summary{from}.{index}");
            let answer = ask(around, state, prompt, (&place, turn)).await?;
            summary.clone_from(&answer.reply.message.text);
            state.summed_up(&answer);
            if summary.trim().is_empty() {
                let words =
                    "the model gave no summary of the older turns, which its window does not hold";
                return Err(Stop::Unusable(words.to_owned()));
            }
        }
        let before = self.shown.from;
        self.shown.from = from;
        self.shown.summary = compaction::summary_turn(summary.trim());
        state.uncount();
        let messages = from - before;
        around.events.emit(EventKind::Compacted { messages }).await;
        state.warn(&format!(
            "{messages} older messages were summed up to fit the window of the model"
        ));
        Ok(())
    }
}

/// One call for a summary; what an earlier process got is not asked for again.
async fn ask(
    around: &Around<'_>,
    state: &mut State,
    prompt: String,
    (place, turn): (&str, u32),
) -> Result<Answer, Stop> {
    let agent = around.agent;
    let journal = around.ask.journal.under(place);
    if let Recorded::Done(answer) = journal.recall().map_err(lost)? {
        return Ok(answer);
    }
    let mut request = Request {
        agent: Arc::clone(&agent.name),
        system: SUM_UP.to_owned(),
        messages: vec![Message::User { text: prompt }],
        ..Request::default()
    };
    let context = call_context(around, turn, Purpose::Compaction);
    let events = around.events.without_words();
    let asked = around
        .resilience
        .call(&agent.chain, &mut request, &context, &events);
    let result = tokio::select! {
        biased;
        cause = around.cancel.cancelled() => Err(Stop::Cancelled(cause)),
        result = asked => result.map_err(Stop::Call),
    };
    let mut answer =
        result.inspect_err(|stop| state.cut_off(stop, &context.spent, String::new()))?;
    let text = &mut answer.reply.message.text;
    *text = agent.tools.redactor.mask_owned(std::mem::take(text));
    journal
        .keep(Durability::Full, &answer)
        .await
        .map_err(lost)?;
    Ok(answer)
}

/// How many bytes a request takes beside its messages.
fn beside(request: &Request) -> u64 {
    let tools = request
        .tools
        .iter()
        .map(|tool| tool.name.len() + tool.description.len() + tool.parameters.to_string().len());
    let schema = request.output_schema.as_ref();
    let schema = schema.map_or(0, |schema| schema.to_string().len());
    (request.system.len() + schema + tools.sum::<usize>()) as u64
}
