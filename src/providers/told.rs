//! What headers and bodies tell about waiting and about limits.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use jiff::Timestamp;

use super::LimitNews;
use super::error_body::ErrorBody;

/// A wait that a server asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub after: Duration,
    /// `header` or `body`.
    pub told_by: &'static str,
}

/// The wait that a refusal asks for: the first that makes sense of `retry-after-ms`, `retry-after`,
/// the body's `retryDelay`, and when an allowance that is used up is filled again.
pub(super) fn wait(headers: &HeaderMap, body: &ErrorBody, now: SystemTime) -> Option<Wait> {
    let by_header = |after| Wait {
        after,
        told_by: "header",
    };
    text(headers, "retry-after-ms")
        .and_then(|ms| number(ms).and_then(|ms| seconds(ms / 1000.0)))
        .or_else(|| text(headers, "retry-after").and_then(|told| until(told, headers, now)))
        .map(by_header)
        .or_else(|| {
            Some(Wait {
                after: body.delay?,
                told_by: "body",
            })
        })
        .or_else(|| exhausted_for(headers, now).map(by_header))
}

/// What the headers of any answer tell about limits. `daily_requests` is for vendors whose limit of
/// requests counts days.
pub(super) fn limits(headers: &HeaderMap, daily_requests: bool, now: SystemTime) -> LimitNews {
    let first = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| text(headers, name)?.parse::<u64>().ok())
    };
    LimitNews {
        requests_per_minute: first(&[
            "x-ratelimit-limit-requests",
            "anthropic-ratelimit-requests-limit",
        ])
        .filter(|_| !daily_requests),
        tokens_per_minute: first(&[
            "x-ratelimit-limit-tokens",
            "anthropic-ratelimit-tokens-limit",
        ]),
        exhausted_for: exhausted_for(headers, now),
    }
}

/// The vendor's id of a request.
pub(super) fn request_id(headers: &HeaderMap) -> Option<String> {
    [
        "x-request-id",
        "request-id",
        "x-generation-id",
        "mistral-correlation-id",
    ]
    .iter()
    .find_map(|name| text(headers, name))
    .map(str::to_owned)
}

/// `x-should-retry`.
pub(super) fn should_retry(headers: &HeaderMap) -> Option<bool> {
    text(headers, "x-should-retry")?.parse().ok()
}

/// The headers that tell what is left of an allowance, and when it is filled again.
const ALLOWANCES: [(&str, &str); 6] = [
    (
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    (
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ),
    (
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ),
    (
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ),
    (
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ),
];

/// The longest time until an allowance that is used up is filled again.
fn exhausted_for(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    ALLOWANCES
        .iter()
        .filter(|(remaining, _)| text(headers, remaining).and_then(number) == Some(0.0))
        .filter_map(|(_, reset)| {
            let told = text(headers, reset)?;
            span(told).or_else(|| until(told, headers, now))
        })
        .max()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// A time span that a server can mean.
fn seconds(seconds: f64) -> Option<Duration> {
    sensible(Duration::try_from_secs_f64(seconds).ok()?)
}

/// A time span that a server can mean: above zero and no longer than a century. Clocks do not reach much
/// further.
fn sensible(span: Duration) -> Option<Duration> {
    const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);
    Some(span).filter(|span| !span.is_zero() && *span <= CENTURY)
}

/// Seconds, or a date as HTTP or RFC 3339 writes it, measured from the server's own clock where it
/// tells it.
fn until(told: &str, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if let Some(number) = number(told) {
        return seconds(number);
    }
    let date = |text: &str| {
        jiff::fmt::rfc2822::parse(text)
            .map(|date| date.timestamp())
            .or_else(|_| text.parse::<Timestamp>())
            .ok()
    };
    let now = text(headers, "date")
        .and_then(date)
        .or_else(|| Timestamp::try_from(now).ok())?;
    let wait = date(told)?.duration_since(now);
    sensible(Duration::try_from(wait).ok()?)
}

/// A time span such as `1s`, `6m0s`, `59.56ms` or `1h2m3.5s`, above zero.
pub(super) fn span(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (amount, after) = rest.split_at(digits);
        let unit = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += amount.parse::<f64>().ok()? * scale;
        rest = after;
    }
    seconds(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| {
                let value = http::HeaderValue::from_static(value);
                (http::HeaderName::from_static(name), value)
            })
            .collect()
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    #[test]
    fn told_waits_are_understood_and_nonsense_is_not() {
        for (pairs, expected) in [
            (&[("retry-after", "2")][..], Some(2000)),
            (&[("retry-after", "0.5")], Some(500)),
            (&[("retry-after", "0")], None),
            (&[("retry-after", "-1")], None),
            (&[("retry-after", "NaN")], None),
            (&[("retry-after", "inf")], None),
            (&[("retry-after", "")], None),
            (&[("retry-after", "soon")], None),
            (&[("retry-after", "1e400")], None),
            (&[("retry-after", "1e30")], None),
            (&[("retry-after", "1e9")], Some(1_000_000_000_000)),
            (&[("retry-after", "1e10")], None),
            (&[("retry-after", "1e19")], None),
            (&[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")], None),
            (&[("retry-after", "86400")], Some(86_400_000)),
            (
                &[("retry-after-ms", "1500"), ("retry-after", "9")],
                Some(1500),
            ),
            (&[("retry-after-ms", "x"), ("retry-after", "9")], Some(9000)),
            (
                &[("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT")],
                Some(3000),
            ),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT")], None),
            (
                &[
                    ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT"),
                    ("date", "Sun, 06 Nov 1994 08:49:30 GMT"),
                ],
                Some(10_000),
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "3"),
                    ("x-ratelimit-reset-requests", "1s"),
                ],
                None,
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "0"),
                    ("x-ratelimit-reset-requests", "6m0s"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "59.56ms"),
                ],
                Some(360_000),
            ),
            (
                &[
                    ("anthropic-ratelimit-input-tokens-remaining", "0"),
                    (
                        "anthropic-ratelimit-input-tokens-reset",
                        "1994-11-06T08:49:42Z",
                    ),
                ],
                Some(5000),
            ),
        ] {
            let told = wait(&headers(pairs), &ErrorBody::default(), now());
            let expected = expected.map(|ms| Wait {
                after: Duration::from_millis(ms),
                told_by: "header",
            });
            assert_eq!(told, expected, "{pairs:?}");
        }
    }

    #[test]
    fn spans_are_read_as_go_writes_them() {
        for (text, expected) in [
            ("1s", Some(1_000_000)),
            ("59.56ms", Some(59_560)),
            ("1h2m3.5s", Some(3_723_500_000)),
            ("31s", Some(31_000_000)),
            ("12", None),
            ("", None),
            ("s", None),
            ("1x", None),
            ("0s", None),
            ("1.2.3s", None),
        ] {
            let expected = expected.map(Duration::from_micros);
            assert_eq!(span(text), expected, "{text}");
        }
    }

    #[test]
    fn limits_are_told_by_headers() {
        let told = headers(&[
            ("x-ratelimit-limit-requests", "14400"),
            ("x-ratelimit-limit-tokens", "6000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "2s"),
        ]);
        let expected = LimitNews {
            requests_per_minute: Some(14_400),
            tokens_per_minute: Some(6000),
            exhausted_for: Some(Duration::from_secs(2)),
        };
        assert_eq!(limits(&told, false, now()), expected);
        let daily = LimitNews {
            requests_per_minute: None,
            ..expected
        };
        assert_eq!(limits(&told, true, now()), daily);
    }
}
