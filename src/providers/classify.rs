//! From an error that a vendor told to its class: the first rule that fits wins.

use super::FaultKind;
use super::error_body::ErrorBody;

/// Words that mean the prompt does not fit.
const TOO_LONG: [&str; 9] = [
    "context_length_exceeded",
    // LiteLLM puts its name of the class before the words of whoever is behind it.
    "contextwindowexceedederror",
    "maximum context length",
    "prompt is too long",
    "exceeds the available context size",
    "exceeds the maximum number of tokens",
    "input tokens exceed",
    "exceed context limit",
    "exceeds the context window",
];

/// Words that mean the money or the quota is used up, with status 429 or without one.
const USED_UP: [&str; 5] = [
    "insufficient_quota",
    "_spend_limit_",
    "credit_balance_exhausted",
    "_usage_limit_exceeded",
    "enforced_spend_limit_reached",
];

/// The same, clear enough to count with any status of a refusal.
const NO_MONEY: [&str; 5] = [
    "credit balance is too low",
    "used all available credits",
    "insufficient balance",
    "insufficient credits",
    "monthly spending limit",
];

/// Words that mean the key is no good, where the status does not say so.
const BAD_KEY: [&str; 6] = [
    "invalid_api_key",
    "api key not valid",
    "authentication_error",
    "permission_error",
    "incorrect api key",
    // What a LiteLLM proxy without a list of keys says to every key that is not its own.
    "no_db_connection",
];

/// Words that mean there is no such model, where the status does not say so.
const UNKNOWN_MODEL: [&str; 5] = [
    "model_not_found",
    "not_found_error",
    "invalid model name",
    "invalid model:",
    "invalid_model",
];

/// The class of an error with a status (200 for one inside a good answer). `waits` says that the
/// server told when to come back.
pub(super) fn classify(status: u16, body: &ErrorBody, waits: bool) -> FaultKind {
    let inside = (200..300).contains(&status);
    let status = match body.status {
        Some(told) if inside => told,
        _ if inside => 0,
        _ => status,
    };
    let words = body.haystack();
    let says = |list: &[&str]| list.iter().any(|entry| words.contains(entry));

    if matches!(status, 0 | 400 | 413 | 422) && says(&TOO_LONG) {
        return FaultKind::ContextLength;
    }
    if says(&["content_policy_violation", "content_filter"]) || (status == 403 && body.flagged) {
        return FaultKind::ContentPolicy;
    }
    if is_quota(status, body, waits, &says) {
        return FaultKind::Quota;
    }
    let refused = matches!(status, 0 | 400);
    if matches!(status, 401 | 403) || (refused && says(&BAD_KEY)) {
        return FaultKind::Auth;
    }
    let gone = ["does not exist", "decommissioned", "not found"];
    if matches!(status, 404 | 410)
        || (refused && says(&UNKNOWN_MODEL))
        || (refused && words.contains("model") && says(&gone))
    {
        return FaultKind::NotFound;
    }
    match status {
        402 | 429 | 498 => FaultKind::RateLimited,
        0 if says(&["rate_limit_error", "rate_limit_exceeded", "slow_down"]) => {
            FaultKind::RateLimited
        }
        0 | 500.. if says(&OVERLOADED) => FaultKind::Overloaded,
        503 | 529 => FaultKind::Overloaded,
        0 if says(&["invalid_request_error", "invalid_argument"]) => FaultKind::BadRequest,
        0 | 408 | 409 | 425 | 499 | 500.. => FaultKind::Server,
        100..=199 | 300..=399 => FaultKind::Protocol,
        _ => FaultKind::BadRequest,
    }
}

const OVERLOADED: [&str; 4] = [
    "overloaded_error",
    "server_is_overloaded",
    "insufficient_system_resource",
    "is overloaded",
];

fn is_quota(status: u16, body: &ErrorBody, waits: bool, says: &dyn Fn(&[&str]) -> bool) -> bool {
    match status {
        402 => !waits,
        // Google says "quota" and "billing" of a minute's quota as well: its ids know better.
        429 if !body.quotas.is_empty() => body.quotas.iter().any(|quota| quota.contains("PerDay")),
        // Groq advertises its billing page in the words of a limit that passes in seconds.
        429 if says(&["billing"]) && !waits && !says(&["rate_limit_exceeded"]) => true,
        0 | 429 => says(&USED_UP) || says(&NO_MONEY),
        400 | 403 => says(&NO_MONEY),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::told;
    use crate::providers::vectors;
    use http::{HeaderMap, HeaderName, HeaderValue};
    use std::time::{Duration, SystemTime};

    #[test]
    fn every_refusal_of_the_table_has_its_class_and_its_delay() {
        let mut checked = 0;
        for vector in vectors::errors() {
            // An answer that is a page is found out by who reads it.
            if vector.class == "protocol" {
                continue;
            }
            let headers: HeaderMap = vector
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = value.as_str().expect("a text");
                    (
                        HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                        HeaderValue::from_str(value).expect("a value"),
                    )
                })
                .collect();
            let body = ErrorBody::parse(&vector.body);
            let wait = told::wait(&headers, &body, SystemTime::now());
            let class = classify(vector.status, &body, wait.is_some());
            assert_eq!(class.class(), vector.class, "{}", vector.id);
            if let Some(ms) = vector.delay_ms {
                let after = wait.map(|wait| wait.after);
                assert_eq!(after, Some(Duration::from_millis(ms)), "{}", vector.id);
            }
            checked += 1;
        }
        assert_eq!(checked, 44);
    }

    #[test]
    fn further_refusals_that_vendors_send_have_their_class() {
        for (status, body, class) in [
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
                "quota",
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]"#,
                "auth",
            ),
            (
                429,
                r#"[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","details":[{"violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}]}}]"#,
                "rate_limited",
            ),
            (
                403,
                r#"{"code":"Some resource has been exhausted","error":"Your team has used all available credits or reached its monthly spending limit."}"#,
                "quota",
            ),
            (
                400,
                r#"{"error":{"message":"the tool call id does not exist"}}"#,
                "bad_request",
            ),
            (
                200,
                r#"{"error":{"message":"x","type":"invalid_request_error"}}"#,
                "bad_request",
            ),
            (
                200,
                r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#,
                "rate_limited",
            ),
            (
                200,
                r#"{"type":"error","error":{"type":"authentication_error","message":"x"}}"#,
                "auth",
            ),
            (
                200,
                r#"{"type":"error","error":{"type":"api_error","message":"x"}}"#,
                "server",
            ),
            (
                500,
                r#"{"error":{"message":"That model is overloaded"}}"#,
                "overloaded",
            ),
            (
                400,
                r#"{"error":{"message":"litellm.ContextWindowExceededError: litellm.BadRequestError: 300000 tokens are too many","type":null,"param":null,"code":"400"}}"#,
                "context_length",
            ),
            (
                400,
                r#"{"error":{"message":"/chat/completions: Invalid model name passed in model=m","type":"invalid_request_error","param":"model","code":"400"}}"#,
                "not_found",
            ),
            (
                400,
                r#"{"object":"error","message":"Invalid model: m","type":"invalid_model","param":null,"code":"1500"}"#,
                "not_found",
            ),
            (
                400,
                r#"{"error":{"message":"No connected db.","type":"no_db_connection","param":null,"code":"400"}}"#,
                "auth",
            ),
            (101, "", "protocol"),
            (302, "", "protocol"),
            (405, "", "bad_request"),
            (418, "", "bad_request"),
            (522, "", "server"),
        ] {
            let body = ErrorBody::parse(body);
            assert_eq!(classify(status, &body, false).class(), class, "{body:?}");
        }
    }
}
