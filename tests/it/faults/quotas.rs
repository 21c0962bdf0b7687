//! Limits that pass and money that is gone, in the words and shapes of each vendor.

use super::row::{Charged, Row, answered, check_all, failed};
use super::script::{status, then_answer};

const NOTHING: Charged = Charged::Nothing;

/// What passes is waited for and asked again; the wait is the backoff's where none is told.
#[test]
fn limits_that_pass_are_waited_for() {
    let google = |quota: &str, delay: &str| {
        format!(
            r#"[{{"error":{{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{quota}"}}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}]"#
        )
    };
    let mut rows = Vec::new();
    for (name, code, headers, body, apart) in [
        (
            "openai, a minute",
            429,
            "retry-after-ms: 400\nretry-after: 60",
            r#"{"error":{"message":"Rate limit reached for m on tokens per min (TPM): Limit 30000, Used 29900. Visit https://platform.openai.com/account/rate-limits.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#.to_owned(),
            400,
        ),
        (
            "openai, too fast",
            429,
            "",
            r#"{"error":{"message":"Your request rate increased too quickly","type":"requests","code":"slow_down"}}"#.to_owned(),
            50,
        ),
        (
            "anthropic",
            429,
            "retry-after: 0.4",
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit"},"request_id":"req_1"}"#.to_owned(),
            400,
        ),
        (
            "anthropic's headers alone",
            429,
            "anthropic-ratelimit-output-tokens-remaining: 0\nanthropic-ratelimit-output-tokens-reset: 2026-11-22T10:00:01Z\ndate: Sun, 22 Nov 2026 10:00:00 GMT",
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}"#.to_owned(),
            1000,
        ),
        (
            "gemini, a minute",
            429,
            "",
            google("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "0.4s"),
            400,
        ),
        (
            "groq, which advertises its billing page",
            429,
            "retry-after: 1",
            r#"{"error":{"message":"Rate limit reached for model m on tokens per minute (TPM): Limit 6000. Need more tokens? Upgrade at https://console.groq.com/settings/billing","type":"tokens","code":"rate_limit_exceeded"}}"#.to_owned(),
            1000,
        ),
        (
            "groq, out of capacity",
            498,
            "",
            r#"{"error":{"message":"capacity exceeded","type":"capacity_exceeded","code":"capacity_exceeded"}}"#.to_owned(),
            50,
        ),
        (
            "openrouter, whose code is a number",
            429,
            "retry-after: 0.4",
            r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"m is temporarily rate-limited upstream","provider_name":"X"}}}"#.to_owned(),
            400,
        ),
        (
            "openrouter, money that other calls hold",
            402,
            "retry-after: 0.4",
            r#"{"error":{"message":"Insufficient credits for calls in flight","code":402}}"#.to_owned(),
            400,
        ),
        (
            "mistral",
            429,
            "",
            r#"{"object":"error","message":"Requests rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}"#.to_owned(),
            50,
        ),
        (
            "xai",
            429,
            "",
            r#"{"code":"Some resource has been exhausted","error":"Too many requests for team"}"#.to_owned(),
            50,
        ),
        (
            "a body that is a text",
            429,
            "",
            r#"{"error":"too many concurrent requests"}"#.to_owned(),
            50,
        ),
        ("FastAPI", 429, "", r#"{"detail":"Too Many Requests"}"#.to_owned(), 50),
        (
            "a proxy's page",
            429,
            "content-type: text/html\nretry-after: 0.4",
            "<html><title>429 Too Many Requests</title></html>".to_owned(),
            400,
        ),
        ("no body", 429, "", String::new(), 50),
    ] {
        rows.push(Row {
            ledger: vec![("rate_limited", NOTHING), ("answered", Charged::Told)],
            apart,
            ..answered(name, then_answer(status(code, headers, body)))
        });
    }
    check_all(&rows);
}

/// What does not pass is asked once, whatever headers say, and the hint is where the money goes.
#[test]
fn money_and_quotas_that_are_gone_are_asked_for_once() {
    let mut rows = Vec::new();
    let openai = |code: &str| {
        [
            format!(r#"{{"error":{{"message":"m","type":"x","param":null,"code":"{code}"}}}}"#),
            format!(r#"{{"error":{{"message":"m","type":"{code}","param":null,"code":null}}}}"#),
        ]
    };
    let codes = [
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    ];
    let mut bodies: Vec<(u16, String)> = codes
        .into_iter()
        .flat_map(openai)
        .map(|body| (429, body))
        .collect();
    for (code, body) in [
        // Anthropic's own limit of what may be spent, which tells no wait.
        (
            429,
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
        ),
        (
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing"}}"#,
        ),
        // A day's quota of Gemini is none that this run outlives, though it tells a wait.
        (
            429,
            r#"[{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.4s"}]}}]"#,
        ),
        (
            429,
            r#"{"code":"Some resource has been exhausted","error":"Your team has either used all available credits or reached its monthly spending limit"}"#,
        ),
        (
            403,
            r#"{"code":"The caller does not have permission","error":"Your team has used all available credits"}"#,
        ),
        (
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
        ),
        (
            402,
            r#"{"error":{"message":"This request requires more credits","code":402}}"#,
        ),
    ] {
        bodies.push((code, body.to_owned()));
    }
    for (code, body) in bodies {
        for headers in ["", "x-should-retry: true"] {
            rows.push(Row {
                says: vec!["top up"],
                ..failed(
                    format!("{code} {body} {headers}"),
                    vec![status(code, headers, &body)],
                    4,
                    [("quota", NOTHING)],
                )
            });
        }
    }
    check_all(&rows);
}
