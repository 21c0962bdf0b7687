//! What came of a run: a reply or a classified failure, decided from all that the CLI printed and
//! how it ended. Neither the exit code nor the subtype decides alone.

use std::time::Duration;

use jiff::ZonedDateTime;

use crate::clock;
use crate::message::Assistant;
use crate::providers::{FaultKind, Finish, Partial, ProviderError, Reply, StreamFault};
use crate::usage::Usage;

use super::faults::{self, Fault};
use super::heard::{Heard, MOST};
use super::money::{Bill, ModelUsage, bill};
use super::stream::{Init, ResultLine};

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why we ended it, unless it ended itself.
    pub stopped: Option<Stopped>,
}

/// Why we end a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It went silent after its result.
    AfterResult,
    /// No sign of the model within the first-event clock.
    FirstEvent,
    /// No progress within the idle clock.
    Idle,
    /// The clock for the whole run.
    Deadline,
    /// It was about to send its first request again, which is not its decision.
    Retry,
    /// It printed a line without an end.
    EndlessLine,
    /// It said far more than any answer takes.
    TooMuch,
    /// It could not start the relay to our tools.
    NoTools,
}

/// What else the decision needs.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    /// The provider's name.
    pub provider: &'a str,
    /// The end of what it wrote to standard error.
    pub stderr: &'a str,
    /// What its conversation had cost before.
    pub before: ModelUsage,
    /// Whether `none` as the source of its key means a subscription login.
    pub may_subscribe: bool,
    /// The clock that was in force, for the words.
    pub limit: Option<Duration>,
    /// The time of the wall, for limits that tell when they are refilled.
    pub now: &'a ZonedDateTime,
}

/// What to do without a login.
pub const LOGIN_HINT: &str = "set ANTHROPIC_API_KEY, or run `claude` and `/login`";

/// The CLI's own diagnosis after it was interrupted: nothing that a user should read.
const DIAGNOSTIC: &str = "[ede_diagnostic]";

/// Decides what came of a run, and what its conversation has cost by now.
pub fn decide(
    heard: Heard,
    ended: &Ended,
    circumstances: &Circumstances<'_>,
) -> (Result<Reply, Box<ProviderError>>, Option<Bill>) {
    let bill = bill(&heard.results, circumstances.before, heard.usage());
    let subscription =
        circumstances.may_subscribe && heard.init.as_ref().is_some_and(Init::is_on_subscription);
    let outcome = match heard.results.last().cloned() {
        Some(line) if is_success(&line, ended) => {
            reply(heard, line, bill, subscription, circumstances)
        }
        Some(line) if is_cut_by_length(&line) && !heard.text.is_empty() => {
            let text = heard.text.clone();
            reply(heard, line, bill, subscription, circumstances).map(|mut reply| {
                reply.message.text = text;
                reply.finish = Finish::Length;
                reply
            })
        }
        line => Err(failure(heard, line, ended, bill, circumstances)),
    };
    (outcome, bill)
}

fn is_success(line: &ResultLine, ended: &Ended) -> bool {
    line.subtype == "success"
        && !line.is_error
        && line.num_turns > 0
        && (ended.code == Some(0) || ended.stopped.is_some())
}

fn is_cut_by_length(line: &ResultLine) -> bool {
    line.api_error.as_deref() == Some("max_output_tokens")
}

fn reply(
    heard: Heard,
    line: ResultLine,
    bill: Option<Bill>,
    subscription: bool,
    circumstances: &Circumstances<'_>,
) -> Result<Reply, Box<ProviderError>> {
    if line.result.is_empty() && line.structured_output.is_none() {
        let mut error = ProviderError::new(
            circumstances.provider,
            FaultKind::Stream(StreamFault::Empty),
            "the model gave an empty answer",
        );
        error.partial = Box::new(partial(heard, bill));
        return Err(Box::new(error));
    }
    let mut warnings = heard.denied;
    for tool in &line.denied {
        if !warnings
            .iter()
            .any(|warning| warning.starts_with(&format!("`{tool}`")))
        {
            warnings.push(format!("`{tool}` was refused"));
        }
    }
    warnings.extend(heard.fallback);
    warnings.extend(heard.left);
    Ok(Reply {
        message: Assistant {
            text: line.result,
            reasoning: heard.thinking,
            ..Assistant::default()
        },
        finish: match line.stop_reason.as_deref() {
            Some("max_tokens") => Finish::Length,
            _ => Finish::Stop,
        },
        usage: bill.map(|bill| bill.run.usage),
        reported_cost: bill.and_then(|bill| bill.run.cost),
        subscription,
        model: heard.model,
        request_id: heard.request_id,
        structured: line.structured_output,
        own_turns: heard.turns.max(1),
        own_tools: heard.own_tools,
        warnings,
        ..Reply::default()
    })
}

fn failure(
    heard: Heard,
    line: Option<ResultLine>,
    ended: &Ended,
    bill: Option<Bill>,
    circumstances: &Circumstances<'_>,
) -> Box<ProviderError> {
    let (fault, message) = match (ended.stopped, &line) {
        (Some(stopped), line) if !matches!((stopped, line), (Stopped::AfterResult, Some(_))) => {
            let retry = heard.retry.clone().unwrap_or_default();
            let fault = match stopped {
                Stopped::FirstEvent => FaultKind::Stream(StreamFault::FirstEvent).into(),
                Stopped::Idle => FaultKind::Stream(StreamFault::Idle).into(),
                Stopped::Deadline => FaultKind::Deadline.into(),
                Stopped::EndlessLine | Stopped::TooMuch => {
                    FaultKind::Stream(StreamFault::InvalidJson).into()
                }
                Stopped::NoTools => FaultKind::Unavailable.into(),
                Stopped::AfterResult => FaultKind::Stream(StreamFault::Truncated).into(),
                Stopped::Retry => faults::of_retry(&retry, circumstances.now),
            };
            let message = match stopped {
                Stopped::Retry => match retry.status {
                    Some(status) => format!("the API answered {status} (`{}`)", retry.error),
                    None => format!("the API could not be reached (`{}`)", retry.error),
                },
                other => stopped_words(other, circumstances.limit),
            };
            (fault, message)
        }
        (_, Some(line)) => of_result_line(line, &heard, ended, circumstances),
        (_, None) => without_result(&heard, ended, circumstances.stderr),
    };
    let status = line
        .as_ref()
        .and_then(|line| line.api_error_status)
        .or_else(|| match ended.stopped {
            Some(Stopped::Retry) => heard.retry.as_ref().and_then(|retry| retry.status),
            _ => None,
        });
    let code = line
        .and_then(|line| line.api_error_type.or(line.api_error))
        .or_else(|| heard.error_word.clone());
    let mut error = ProviderError::new(circumstances.provider, fault.kind, message);
    error.status = status;
    error.code = code;
    error.retry_after = fault.retry_after;
    if fault.retry_after.is_some() {
        error.told_by = if ended.stopped == Some(Stopped::Retry) {
            "header"
        } else {
            "body"
        };
    }
    error.request_id.clone_from(&heard.request_id);
    error.committed = heard.began();
    error.hint = hint(&error.kind).map(str::to_owned);
    error.partial = Box::new(partial(heard, bill));
    Box::new(error)
}

fn of_result_line(
    line: &ResultLine,
    heard: &Heard,
    ended: &Ended,
    circumstances: &Circumstances<'_>,
) -> (Fault, String) {
    let told = faults::told(line);
    if line.is_error || line.subtype != "success" {
        let message = if told.is_empty() || told.starts_with(DIAGNOSTIC) {
            let reason = line.terminal_reason.as_deref().unwrap_or(&line.subtype);
            format!("the run ended early (`{reason}`)")
        } else {
            first_line(&told).to_owned()
        };
        let fault = faults::of_result(line, heard.error_word.as_deref(), circumstances.now);
        return (fault, message);
    }
    if line.num_turns == 0 {
        let message = format!(
            "the CLI took the prompt as a command of its own: {}",
            first_line(&told)
        );
        return (FaultKind::BadRequest.into(), message);
    }
    let reason = last_line(circumstances.stderr).unwrap_or("it says nothing on standard error");
    (
        FaultKind::BadRequest.into(),
        format!(
            "the CLI ended with {} after its answer: {reason}",
            end_words(ended)
        ),
    )
}

fn without_result(heard: &Heard, ended: &Ended, stderr: &str) -> (Fault, String) {
    let began = heard.init.is_some() || heard.began();
    if !began && ended.signal.is_none() && ended.code != Some(0) {
        let said = last_line(stderr).or_else(|| last_line(&heard.noise));
        if let Some(said) = said {
            let words = said.strip_prefix("Error: ").unwrap_or(said);
            return (faults::of_usage_error(stderr).into(), words.to_owned());
        }
    }
    let noise = last_line(&heard.noise).map(|line| format!("; it printed `{line}`"));
    let complaint = last_line(stderr).map(|line| format!(": {line}"));
    (
        FaultKind::Stream(StreamFault::Truncated).into(),
        format!(
            "the CLI ended with {} and without a result{}{}",
            end_words(ended),
            noise.unwrap_or_default(),
            complaint.unwrap_or_default(),
        ),
    )
}

fn stopped_words(stopped: Stopped, limit: Option<Duration>) -> String {
    let limit = limit.map_or_else(String::new, |limit| {
        format!(" in {} s", clock::seconds(limit))
    });
    match stopped {
        Stopped::FirstEvent => format!("no sign of the model{limit}"),
        Stopped::Idle => format!("the CLI made no progress{limit}"),
        Stopped::Deadline => format!("the run did not end{limit}"),
        Stopped::EndlessLine => "the CLI printed a line without an end".to_owned(),
        Stopped::TooMuch => format!("the CLI said more than {} MiB", MOST >> 20),
        Stopped::NoTools => "the CLI could not start the relay to the agent's tools".to_owned(),
        Stopped::AfterResult | Stopped::Retry => "the CLI was ended".to_owned(),
    }
}

fn end_words(ended: &Ended) -> String {
    match (ended.code, ended.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

fn hint(kind: &FaultKind) -> Option<&'static str> {
    Some(match kind {
        FaultKind::Auth => LOGIN_HINT,
        FaultKind::Quota => "add credit or wait until the limit is refilled, or use another model",
        FaultKind::Unavailable => {
            "bring the CLI up to date: `npm install -g @anthropic-ai/claude-code`"
        }
        FaultKind::TurnLimit => "raise `max_turns` of the agent",
        FaultKind::Budget => "raise the budget",
        _ => return None,
    })
}

fn partial(heard: Heard, bill: Option<Bill>) -> Partial {
    // A result line does not cover the replies that came after it.
    let told = [Some(heard.usage()), bill.map(|bill| bill.run.usage)];
    let usage = told.into_iter().flatten().max_by_key(Usage::total_tokens);
    let reached_model = match bill {
        Some(bill) => bill.run != ModelUsage::default() || heard.began(),
        // Without a result line nothing tells whether the request was sent after the start.
        None => heard.init.is_some() || heard.began(),
    };
    Partial {
        text: heard.text,
        reasoning: heard.thinking,
        call_chars: heard.call_bytes,
        usage,
        reported_cost: bill.and_then(|bill| bill.run.cost),
        model: heard.model,
        own_tools: heard.own_tools,
        warnings: heard.left,
        reached_model,
    }
}

fn last_line(text: &str) -> Option<&str> {
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
}

fn first_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}
