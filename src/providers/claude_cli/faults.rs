//! The class of a failure that the CLI tells of: its status first, then its reasons, its texts last.

use std::time::Duration;

use jiff::ZonedDateTime;

use crate::providers::{FaultKind, StreamFault};

use super::reset;
use super::stream::{ApiRetry, ResultLine};

/// The class of a failure, and when it may be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The class.
    pub kind: FaultKind,
    /// The wait that was told.
    pub retry_after: Option<Duration>,
}

impl From<FaultKind> for Fault {
    fn from(kind: FaultKind) -> Self {
        Self {
            kind,
            retry_after: None,
        }
    }
}

/// A backoff of the CLI's own begins at half a second and a bit; a longer first wait was told.
const TOLD_FROM_MS: u64 = 1000;

/// The class of what a result line tells. `word` is the CLI's word for the error in the message
/// that it made up to tell of it.
pub fn of_result(line: &ResultLine, word: Option<&str>, now: &ZonedDateTime) -> Fault {
    let text = told(line).to_lowercase();
    let reason = line.terminal_reason.as_deref().unwrap_or_default();
    if let Some(status) = line.api_error_status {
        return of_status(status, reason, &text, now);
    }
    let by_reason = match (line.subtype.as_str(), reason) {
        ("error_max_turns", _) | (_, "max_turns") => Some(FaultKind::TurnLimit),
        ("error_max_budget_usd", _) | (_, "budget_exhausted") => Some(FaultKind::Budget),
        ("error_max_structured_output_retries", _) | (_, "structured_output_retry_exhausted") => {
            Some(FaultKind::Schema)
        }
        (_, "prompt_too_long" | "blocking_limit") => Some(FaultKind::ContextLength),
        (_, "image_error") => Some(FaultKind::BadRequest),
        (_, reason) if reason.starts_with("aborted") => {
            Some(FaultKind::Stream(StreamFault::Truncated))
        }
        _ => None,
    };
    if let Some(kind) = by_reason {
        return kind.into();
    }
    if line.stop_reason.as_deref() == Some("refusal") {
        return FaultKind::ContentPolicy.into();
    }
    let words = [
        line.api_error.as_deref(),
        line.api_error_type.as_deref(),
        word,
    ];
    let by_word = words.into_iter().flatten().find_map(of_word);
    match by_word {
        Some(FaultKind::RateLimited) => limited(&text, now),
        Some(kind) => kind.into(),
        None => of_text(&text, now),
    }
}

/// The class of a failure that the CLI is about to try again itself.
pub fn of_retry(retry: &ApiRetry, now: &ZonedDateTime) -> Fault {
    let mut fault = match retry.status {
        Some(status) => of_status(status, "", "", now),
        None => of_word(&retry.error)
            .unwrap_or(FaultKind::Network { permanent: false })
            .into(),
    };
    if fault.kind == FaultKind::Quota {
        fault.kind = FaultKind::RateLimited;
    }
    if retry.attempt <= 1 && retry.delay_ms > TOLD_FROM_MS {
        fault.retry_after = Some(Duration::from_millis(retry.delay_ms));
    }
    fault
}

/// The class of what the CLI says on standard error before it did anything.
pub fn of_usage_error(stderr: &str) -> FaultKind {
    let text = stderr.to_lowercase();
    if text.contains("unknown option") {
        FaultKind::Unavailable
    } else if text.contains("exceeds 10mb") {
        FaultKind::ContextLength
    } else if text.contains("not logged in") || text.contains("/login") {
        FaultKind::Auth
    } else {
        FaultKind::BadRequest
    }
}

/// The words in which a result line tells its error.
pub fn told(line: &ResultLine) -> String {
    if line.errors.is_empty() {
        line.result.clone()
    } else {
        line.errors.join("; ")
    }
}

fn of_status(status: u16, reason: &str, text: &str, now: &ZonedDateTime) -> Fault {
    match status {
        429 => limited(text, now),
        400 | 413 | 422 if reason == "prompt_too_long" || is_too_long(text) => {
            FaultKind::ContextLength.into()
        }
        400 if text.contains("credit balance") => FaultKind::Quota.into(),
        401 | 403 => FaultKind::Auth.into(),
        402 => FaultKind::Quota.into(),
        404 => FaultKind::NotFound.into(),
        503 | 529 => FaultKind::Overloaded.into(),
        408 | 409 | 425 | 500.. => FaultKind::Server.into(),
        _ => FaultKind::BadRequest.into(),
    }
}

/// A refusal for the rate. A limit of a subscription or an account says so; without a time it is of
/// no use to wait for.
fn limited(text: &str, now: &ZonedDateTime) -> Fault {
    let retry_after = reset::wait(text, now);
    let used_up = ["credit balance", "spend limit", "billing", "quota"]
        .into_iter()
        .any(|words| text.contains(words))
        || is_usage_limit(text);
    let kind = if used_up && retry_after.is_none() {
        FaultKind::Quota
    } else {
        FaultKind::RateLimited
    };
    Fault { kind, retry_after }
}

fn of_word(word: &str) -> Option<FaultKind> {
    Some(match word {
        "authentication_failed"
        | "authentication_error"
        | "permission_error"
        | "oauth_org_not_allowed" => FaultKind::Auth,
        "billing_error" => FaultKind::Quota,
        "rate_limit" | "rate_limit_error" => FaultKind::RateLimited,
        "overloaded" | "overloaded_error" => FaultKind::Overloaded,
        "server_error" | "api_error" => FaultKind::Server,
        "not_found_error" | "model_not_found" => FaultKind::NotFound,
        "invalid_request" | "invalid_request_error" => FaultKind::BadRequest,
        "connection_failed" => FaultKind::Network { permanent: false },
        "timeout" | "timeout_error" => FaultKind::Stream(StreamFault::FirstEvent),
        "max_output_tokens" => FaultKind::Stream(StreamFault::Truncated),
        _ => return None,
    })
}

fn of_text(text: &str, now: &ZonedDateTime) -> Fault {
    const TABLE: [(&[&str], FaultKind); 9] = [
        (
            &["not logged in", "/login", "invalid api key", "oauth token"],
            FaultKind::Auth,
        ),
        (&["credit balance"], FaultKind::Quota),
        (
            &["safeguards flagged", "usage policy"],
            FaultKind::ContentPolicy,
        ),
        (&["issue with the selected model"], FaultKind::NotFound),
        (
            &["timed out", "timeout"],
            FaultKind::Stream(StreamFault::FirstEvent),
        ),
        (&["certificate"], FaultKind::Network { permanent: true }),
        (
            &[
                "connection",
                "unable to connect",
                "econn",
                "enotfound",
                "socket",
                "network",
            ],
            FaultKind::Network { permanent: false },
        ),
        (
            &["json parse error"],
            FaultKind::Stream(StreamFault::InvalidJson),
        ),
        (&["empty or malformed response"], FaultKind::Protocol),
    ];
    if is_usage_limit(text) {
        return limited(text, now);
    }
    if is_too_long(text) {
        return FaultKind::ContextLength.into();
    }
    TABLE
        .into_iter()
        .find(|(words, _)| words.iter().any(|word| text.contains(word)))
        .map_or(FaultKind::Server, |(_, kind)| kind)
        .into()
}

fn is_too_long(text: &str) -> bool {
    text.contains("prompt is too long")
}

fn is_usage_limit(text: &str) -> bool {
    text.contains("limit reached")
        || text.contains("hit your limit")
        || (text.contains("limit") && text.contains("reset"))
}
