//! Waits that a server tells, in all spellings, nonsense included.

use std::time::{Duration, Instant, SystemTime};

use super::row::{Charged, Row, answered, check, check_all, failed};
use super::script::{BROKEN, answer, status, then_answer};

const AGAIN: [(&str, Charged); 2] = [
    ("rate_limited", Charged::Nothing),
    ("answered", Charged::Told),
];

/// A date so many seconds from now, as HTTP writes it.
fn date(seconds: i64) -> String {
    let now = i64::try_from(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    );
    let time = jiff::Timestamp::from_second(now.unwrap() + seconds).unwrap();
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&time)
        .unwrap()
}

#[test]
fn a_told_wait_is_kept_and_nonsense_is_none() {
    let mut rows = Vec::new();
    let (past, soon) = (date(-60), date(4));
    for (headers, apart) in [
        // The first, so that most of it is left when it is told.
        (format!("retry-after: {soon}"), 1000),
        ("retry-after: 0.4".to_owned(), 400),
        ("retry-after: 1".to_owned(), 1000),
        ("Retry-After:    0.3   ".to_owned(), 300),
        ("retry-after-ms: 400".to_owned(), 400),
        ("retry-after-ms: 350.5\nretry-after: 9000".to_owned(), 350),
        ("retry-after-ms: soon\nretry-after: 0.4".to_owned(), 400),
        ("retry-after-ms: -5\nretry-after: 0.4".to_owned(), 400),
        (
            format!("date: {}\nretry-after: {}", date(-3600), date(-3599)),
            1000,
        ),
        (
            "x-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 400ms".to_owned(),
            400,
        ),
        (
            "x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 0.4s".to_owned(),
            400,
        ),
        // What follows tells no wait that makes sense: the backoff counts.
        (String::new(), 50),
        ("retry-after: 0".to_owned(), 50),
        ("retry-after: -1".to_owned(), 50),
        ("retry-after: NaN".to_owned(), 50),
        ("retry-after: inf".to_owned(), 50),
        ("retry-after: -inf".to_owned(), 50),
        ("retry-after:".to_owned(), 50),
        ("retry-after: soon".to_owned(), 50),
        ("retry-after: 1e400".to_owned(), 50),
        ("retry-after: 1e30".to_owned(), 50),
        ("retry-after: 1e19".to_owned(), 50),
        ("retry-after: 9e18".to_owned(), 50),
        ("retry-after-ms: 1e22".to_owned(), 50),
        ("retry-after: Fri, 31 Dec 9999 23:59:59 GMT".to_owned(), 50),
        (
            "x-ratelimit-remaining-tokens: 0\nx-ratelimit-reset-tokens: 99999999999999d".to_owned(),
            50,
        ),
        ("retry-after: 0x10".to_owned(), 50),
        ("retry-after: 10 minutes".to_owned(), 50),
        ("retry-after: \u{fc}bermorgen".to_owned(), 50),
        ("retry-after: Thu, 99 Foo 2026 25:61:61 GMT".to_owned(), 50),
        (format!("retry-after: {past}"), 50),
        (
            "x-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: never".to_owned(),
            50,
        ),
        (
            "x-ratelimit-remaining-requests: 3\nx-ratelimit-reset-requests: 30s".to_owned(),
            50,
        ),
    ] {
        rows.push(Row {
            ledger: AGAIN.to_vec(),
            apart,
            ..answered(
                format!("{headers:?}"),
                then_answer(status(429, &headers, BROKEN)),
            )
        });
    }
    for (code, class) in [(500, "server"), (503, "overloaded"), (529, "overloaded")] {
        rows.push(Row {
            ledger: vec![(class, Charged::Nothing), ("answered", Charged::Told)],
            apart: 400,
            ..answered(
                format!("{code} with a wait"),
                then_answer(status(code, "retry-after: 0.4", BROKEN)),
            )
        });
    }
    let body = r#"[{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.4s"}]}}]"#;
    rows.push(Row {
        ledger: AGAIN.to_vec(),
        apart: 400,
        ..answered("a wait in the body", then_answer(status(429, "", body)))
    });
    rows.push(Row {
        ledger: vec![AGAIN[0], AGAIN[0], AGAIN[1]],
        apart: 300,
        ..answered(
            "a wait each time",
            vec![
                status(429, "retry-after: 0.3", BROKEN),
                status(429, "retry-after: 0.3", BROKEN),
                answer(),
            ],
        )
    });
    check_all(&rows);
}

#[test]
fn a_wait_that_is_too_long_is_not_begun() {
    let later = date(7200);
    let mut rows = Vec::new();
    for headers in [
        "retry-after: 3600".to_owned(),
        "retry-after: 1e9".to_owned(),
        "retry-after-ms: 3600000".to_owned(),
        format!("retry-after: {later}"),
        "x-ratelimit-remaining-requests: 0\nx-ratelimit-reset-requests: 6h0m0s".to_owned(),
    ] {
        for (code, class) in [(429, "rate_limited"), (503, "overloaded")] {
            rows.push(Row {
                says: vec!["try again at"],
                ..failed(
                    format!("{code} {headers:?}"),
                    vec![status(code, &headers, BROKEN)],
                    5,
                    [(class, Charged::Nothing)],
                )
            });
        }
    }
    rows.push(Row {
        args: &["--json", "--timeout", "5"],
        says: vec!["try again at"],
        ..failed(
            "a wait beyond the run",
            vec![status(429, "retry-after: 30", BROKEN)],
            5,
            [("rate_limited", Charged::Nothing)],
        )
    });
    rows.push(Row {
        settings: &[("timeout", "5")],
        says: vec!["try again at"],
        ..failed(
            "a wait beyond the call",
            vec![status(503, "retry-after: 30", BROKEN)],
            5,
            [("overloaded", Charged::Nothing)],
        )
    });
    check_all(&rows);
}

/// What the wait costs is nothing: the same refusal without one takes as long. Each is made three times, since
/// the machine may be busy with something else.
#[test]
fn an_hour_is_told_in_less_than_a_second() {
    let refused = |code, headers, class, says| Row {
        args: &[],
        says: vec![says],
        ..failed(
            headers,
            vec![status(code, headers, BROKEN)],
            5,
            [(class, Charged::Nothing)],
        )
    };
    let hour = refused(429, "retry-after: 3600", "rate_limited", "try again at ");
    let none = refused(400, "", "bad_request", "it broke");
    let took = |row: &Row| {
        let began = Instant::now();
        let differences = check(row);
        assert!(differences.is_empty(), "{differences}");
        began.elapsed()
    };
    let (hours, nones): (Vec<_>, Vec<_>) = (0..3).map(|_| (took(&hour), took(&none))).unzip();
    let (hour, none) = (hours.iter().min().unwrap(), nones.iter().min().unwrap());
    let second = Duration::from_secs(1);
    assert!(*hour < *none + second, "{hours:?}, without it {nones:?}");
}
