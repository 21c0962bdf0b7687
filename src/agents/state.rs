//! What a run has gathered so far; nothing of it is thrown away when a later turn fails.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::log::Entry;
use super::tool_calls::Batch;
use super::turns::{Agent, Ask, Finished};
use super::{ErrorReport, RunResult, failure, structured};
use crate::cancel::Cause;
use crate::costs::Spent;
use crate::error::ErrorClass;
use crate::message::{Assistant, Message};
use crate::providers::{Finish, Request};
use crate::resilience::{Answer, CallError, Counted};
use crate::store::StoreError;

/// Why a run ended before its answer.
#[derive(Debug)]
pub(super) enum Stop {
    /// A model call failed.
    Call(Box<CallError>),
    /// Somebody stopped it.
    Cancelled(Cause),
    /// The deadline came while this went on.
    Deadline(&'static str),
    /// The tools cannot go on.
    Tools(String),
    /// What was finished could not be kept, or not be read back.
    Journal(StoreError),
    /// All turns are used up.
    TurnLimit(u32),
    /// The answer is no answer.
    Unusable(String),
    /// A filter of the vendor cut the answer.
    Filtered,
}

#[derive(Debug)]
pub(super) struct State {
    start: Instant,
    result: RunResult,
    /// What the turns said, oldest first.
    said: Vec<String>,
    /// The vendor's structured answer of the last turn.
    structured: Option<Value>,
    /// What the vendor counted of the conversation so far.
    counted: Option<Counted>,
    /// What the run was charged so far.
    spent: Arc<Spent>,
}

impl State {
    pub(super) fn new(agent: &Agent, ask: &Ask) -> Self {
        let mut result =
            RunResult::empty(&ask.run_id, "agent", &agent.name, &agent.requested_model);
        if let Some(link) = agent.chain.first() {
            result.model.clone_from(&link.canonical);
        }
        result.step = ask.step.as_deref().map(str::to_owned);
        result.session = ask.session.as_deref().map(str::to_owned);
        Self {
            start: Instant::now(),
            result,
            said: Vec::new(),
            structured: None,
            counted: None,
            spent: Arc::clone(&ask.spent),
        }
    }

    pub(super) fn turn(&mut self, _turn: u32) {
        self.result.turns += 1;
    }

    /// Something that the user should know.
    pub(super) fn warn(&mut self, words: &str) {
        self.result.warnings.push(words.to_owned());
    }

    /// The same, said once however often it happens.
    pub(super) fn warn_once(&mut self, words: String) {
        if !self.result.warnings.contains(&words) {
            self.result.warnings.push(words);
        }
    }

    /// Takes in what a summary of older turns took.
    pub(super) fn summed_up(&mut self, answer: &Answer) {
        self.result.retries += u32::try_from(answer.failures.len()).unwrap_or(u32::MAX);
        for warning in &answer.warnings {
            self.warn_once(warning.clone());
        }
    }

    /// What was counted is no longer what is sent.
    pub(super) fn uncount(&mut self) {
        self.counted = None;
    }

    /// What the vendor counted of the conversation so far.
    pub(super) fn counted(&self) -> Option<Counted> {
        self.counted
    }

    /// Takes an answer in; gives the message that enters the conversation. `asked` is how many messages
    /// the request had.
    pub(super) fn answered(&mut self, answer: Answer, asked: usize) -> Assistant {
        let Answer {
            mut reply,
            cost_source,
            prompt_tokens,
            model,
            failures,
            fallbacks,
            warnings,
            ..
        } = answer;
        let result = &mut self.result;
        let first = fallbacks.is_empty();
        self.counted = prompt_tokens.filter(|_| first).map(|tokens| Counted {
            tokens,
            messages: asked,
        });
        // It counts where nothing was charged, as on a subscription that told no tokens.
        result.cost_source = cost_source;
        result.retries += u32::try_from(failures.len()).unwrap_or(u32::MAX);
        result.turns += reply.own_turns.saturating_sub(1);
        result
            .tools
            .extend(reply.own_tools.iter().map(|tool| super::ToolReport {
                tool: tool.tool.clone(),
                ok: tool.ok,
                ms: tool.ms,
            }));
        result.model = model;
        result.fallbacks.extend(fallbacks);
        result.finish_reason = Some(reply.finish);
        for warning in warnings
            .into_iter()
            .chain(std::mem::take(&mut reply.warnings))
        {
            if !result.warnings.contains(&warning) {
                result.warnings.push(warning);
            }
        }
        if reply.finish == Finish::ContentFilter {
            // Nothing of it is run, and no more of it goes back than its text.
            reply.message.calls.clear();
            reply.message.vendor_extra = Value::Null;
        }
        let refused = reply.message.text.is_empty() && !reply.refusal.is_empty();
        self.said.push(if refused {
            reply.refusal.clone()
        } else {
            reply.message.text.clone()
        });
        if refused && reply.finish != Finish::ContentFilter {
            reply.message.text = reply.refusal;
        }
        self.structured = reply.structured;
        reply.message
    }

    /// Decides about an answer without tool calls: `None` when the run is done, else what the model is told.
    pub(super) fn conclude(
        &mut self,
        agent: &Agent,
        repaired: bool,
    ) -> Result<Option<String>, Stop> {
        let text = self.said.last().map_or("", String::as_str);
        match self.result.finish_reason {
            Some(Finish::ContentFilter) => return Err(Stop::Filtered),
            Some(Finish::Length) => {
                self.result
                    .warnings
                    .push("the answer was cut by the output limit".to_owned());
            }
            _ => {}
        }
        if text.trim().is_empty() && self.structured.is_none() {
            return Err(Stop::Unusable("the model gave an empty answer".to_owned()));
        }
        let Some(schema) = &agent.output_schema else {
            return Ok(None);
        };
        match structured::check(schema, self.structured.as_ref(), text) {
            Ok(value) => {
                self.result.structured = Some(value);
                Ok(None)
            }
            Err(error) if repaired => Err(Stop::Unusable(format!(
                "the answer does not fit the `output_schema`: {error}"
            ))),
            Err(error) => Ok(Some(structured::repair_prompt(&error))),
        }
    }

    /// Takes the results of a batch of tools in; gives the reason to stop, if there is one.
    pub(super) fn ran_tools(&mut self, mut batch: Batch, request: &mut Request) -> Option<Stop> {
        request.messages.push(Message::Tool {
            results: std::mem::take(&mut batch.results),
        });
        self.ran_over_bridge(batch)
    }

    /// Takes in what calls gave whose results went back to the model already; gives the reason to
    /// stop, if there is one.
    pub(super) fn ran_over_bridge(&mut self, batch: Batch) -> Option<Stop> {
        self.result.tools.extend(batch.reports);
        self.result.retries += batch.retries;
        self.result.warnings.extend(batch.warnings);
        for words in batch.child_warnings {
            self.warn_once(words);
        }
        batch.stop
    }

    /// A model call ended without an answer: keeps what it said. `spent` is its own account.
    pub(super) fn cut_off(&mut self, stop: &Stop, spent: &Spent, heard: String) {
        let mut text = heard;
        if let Stop::Call(error) = stop {
            let attempts = u32::try_from(error.attempts.len()).unwrap_or(u32::MAX);
            self.result.retries += attempts.saturating_sub(1);
            self.result
                .fallbacks
                .extend(error.fallbacks.iter().cloned());
            if text.is_empty() {
                text.clone_from(&error.partial.text);
            }
            for warning in &error.warnings {
                self.warn_once(warning.clone());
            }
        } else {
            self.result.retries += spent.so_far().attempts.saturating_sub(1);
        }
        self.said.push(text);
    }

    /// The end of the run: the result, and what enters the conversation.
    pub(super) fn close(
        mut self,
        agent: &Agent,
        mut messages: Vec<Message>,
        stop: Option<Stop>,
    ) -> Finished {
        self.result.charge(self.spent.so_far());
        self.result.duration_ms =
            u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        match stop {
            None => {
                self.result.ok = true;
                self.result.output = self.said.pop().unwrap_or_default();
                self.log(agent, Entry::Result, &self.result.output.clone());
            }
            Some(stop) => {
                self.said.retain(|text| !text.is_empty());
                self.result.output = self.said.join("\n\n");
                close_conversation(&mut messages, &stop, self.said.last());
                let error = report(stop);
                let mut entry = error.message.clone();
                if !self.result.output.is_empty() {
                    entry.push_str(&format!("\n\nWhat was said:\n\n{}", self.result.output));
                }
                self.result.error = Some(error);
                self.log(agent, Entry::Error, &entry);
            }
        }
        Finished {
            result: self.result,
            messages,
            compaction: None,
        }
    }

    pub(super) fn log(&mut self, agent: &Agent, entry: Entry, text: &str) {
        let Some(log) = &agent.log else { return };
        let time = crate::clock::stamp();
        if let Err(error) = log.append(entry, &time, &agent.tools.redactor.mask(text)) {
            let warning = format!("the log of `{}` cannot be written: {error}", agent.name);
            if !self.result.warnings.contains(&warning) {
                self.result.warnings.push(warning);
            }
        }
    }
}

/// A turn enters a conversation whole: what broke off ends with a message of the assistant that says so.
/// A turn in which nothing was said and done does not enter at all.
fn close_conversation(messages: &mut Vec<Message>, stop: &Stop, last: Option<&String>) {
    let note = format!("[stopped here: {}]", brief(stop));
    let nothing = messages.len() <= 1 && last.is_none_or(String::is_empty);
    match messages.last() {
        // The whole answer is there; it was only not what was wanted.
        Some(Message::Assistant(assistant)) if assistant.calls.is_empty() => {}
        Some(Message::User { .. }) if nothing => {
            messages.clear();
        }
        _ => {
            let text = match (stop, last) {
                (Stop::Call(_) | Stop::Cancelled(_), Some(said)) if !said.is_empty() => {
                    format!("{said}\n\n{note}")
                }
                _ => note,
            };
            messages.push(Message::Assistant(Assistant {
                text,
                ..Assistant::default()
            }));
        }
    }
}

fn brief(stop: &Stop) -> &'static str {
    match stop {
        Stop::Call(_) => "the model call failed",
        Stop::Cancelled(_) => "interrupted",
        Stop::Deadline(_) => "the deadline was reached",
        Stop::Tools(_) => "the tools could not go on",
        Stop::Journal(_) => "the journal could not be written",
        Stop::TurnLimit(_) => "the turn limit was reached",
        Stop::Unusable(_) | Stop::Filtered => "the answer was not usable",
    }
}

fn report(stop: Stop) -> ErrorReport {
    match stop {
        Stop::Call(error) => failure::report(*error),
        Stop::Cancelled(cause) => failure::stopped(cause),
        Stop::Deadline(while_what) => ErrorReport {
            hint: Some("allow more time with `--timeout` or the agent's `timeout`".to_owned()),
            retryable: true,
            ..ErrorReport::new(
                ErrorClass::Timeout,
                format!("the deadline was reached while {while_what}"),
            )
        },
        Stop::Tools(message) => ErrorReport::new(ErrorClass::Denied, message),
        Stop::Journal(error) => ErrorReport {
            hint: Some(error.hint().to_owned()),
            ..ErrorReport::new(
                ErrorClass::Failed,
                format!("what was finished could not be kept: {error}"),
            )
        },
        Stop::TurnLimit(turns) => ErrorReport {
            hint: Some("raise `max_turns` of the agent, or go on with `--continue`".to_owned()),
            ..ErrorReport::new(
                ErrorClass::TurnLimit,
                format!("no answer after {turns} turns, the most that this agent may take"),
            )
        },
        Stop::Unusable(message) => ErrorReport::new(ErrorClass::Failed, message),
        Stop::Filtered => ErrorReport::new(
            ErrorClass::Failed,
            "a content filter of the vendor cut the answer",
        ),
    }
}
