//! Every status that a server can refuse with.

use serde_json::Value;

use super::row::{Charged, Row, answered, check, check_all, failed};
use super::script::{BROKEN, all, answer, head, send, status, then_answer, wait};
use super::server::Step;

const NOTHING: Charged = Charged::Nothing;

#[test]
fn what_cannot_help_is_asked_once() {
    let mut rows = Vec::new();
    for (code, exit, class) in [
        (400, 5, "bad_request"),
        (401, 4, "auth"),
        (402, 4, "quota"),
        (403, 4, "auth"),
        (404, 5, "not_found"),
        (405, 5, "bad_request"),
        (410, 5, "not_found"),
        (413, 5, "bad_request"),
        (415, 5, "bad_request"),
        (418, 5, "bad_request"),
        (422, 5, "bad_request"),
        (451, 5, "bad_request"),
    ] {
        // A header must never make a refused key or an empty account loop.
        for headers in ["", "x-should-retry: true\n"] {
            let name = format!("{code} {headers:?}");
            let refusal = status(code, headers, r#"{"error":{"message":"no"}}"#);
            rows.push(failed(name, vec![refusal], exit, [(class, NOTHING)]));
        }
    }
    for code in [300, 301, 302, 303, 304, 307, 308] {
        let refusal = status(code, "location: http://127.0.0.1:9/v1", "");
        rows.push(Row {
            says: vec!["which is not followed", "base_url"],
            ..failed(
                format!("{code} elsewhere"),
                vec![refusal],
                5,
                [("protocol", NOTHING)],
            )
        });
    }
    for (body, exit, class, says) in [
        (
            r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#,
            4,
            "quota",
            "top up",
        ),
        (
            r#"{"error":{"message":"m","code":"project_spend_limit_exceeded"}}"#,
            4,
            "quota",
            "top up",
        ),
        (
            r#"{"error":{"message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#,
            4,
            "quota",
            "top up",
        ),
    ] {
        for headers in ["", "retry-after: 1\nx-should-retry: true"] {
            rows.push(Row {
                says: vec![says],
                ..failed(
                    format!("429 {body} {headers:?}"),
                    vec![status(429, headers, body)],
                    exit,
                    [(class, NOTHING)],
                )
            });
        }
    }
    for (code, body, exit, class, says) in [
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens","code":"context_length_exceeded"}}"#,
            5,
            "context_length",
            "shorten the prompt",
        ),
        (
            413,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            5,
            "context_length",
            "shorten the prompt",
        ),
        (
            400,
            r#"{"error":{"message":"flagged","code":"content_policy_violation"}}"#,
            1,
            "content_policy",
            "change the prompt",
        ),
        (
            400,
            r#"{"error":{"message":"The model `m` has been decommissioned"}}"#,
            5,
            "not_found",
            "check the name `m`",
        ),
        (
            401,
            r#"{"error":{"message":"bad key","code":"invalid_api_key"}}"#,
            4,
            "auth",
            "LAB_KEY",
        ),
    ] {
        rows.push(Row {
            says: vec![says],
            ..failed(
                format!("{code} {class}"),
                vec![status(code, "retry-after: 1", body)],
                exit,
                [(class, NOTHING)],
            )
        });
    }
    check_all(&rows);
}

#[test]
fn what_may_pass_is_asked_again() {
    let mut rows = Vec::new();
    for (code, class) in [
        (408, "server"),
        (409, "server"),
        (425, "server"),
        (429, "rate_limited"),
        (498, "rate_limited"),
        (499, "server"),
        (500, "server"),
        (501, "server"),
        (502, "server"),
        (503, "overloaded"),
        (505, "server"),
        (507, "server"),
        (520, "server"),
        (521, "server"),
        (522, "server"),
        (523, "server"),
        (525, "server"),
        (526, "server"),
        (527, "server"),
        (529, "overloaded"),
        (530, "server"),
        (599, "server"),
    ] {
        rows.push(Row {
            ledger: vec![(class, NOTHING), ("answered", Charged::Told)],
            apart: 50,
            ..answered(
                format!("{code}, then an answer"),
                then_answer(status(code, "", BROKEN)),
            )
        });
    }
    // The gateway gave up; the model may have worked all the same.
    for code in [504, 524] {
        rows.push(Row {
            ledger: vec![("server", Charged::Held), ("answered", Charged::Told)],
            apart: 50,
            ..answered(
                format!("{code}, then an answer"),
                then_answer(status(code, "", BROKEN)),
            )
        });
    }
    rows.push(Row {
        apart: 50,
        ..failed(
            "500 for ever",
            vec![status(500, "", BROKEN)],
            5,
            [("server", NOTHING); 3],
        )
    });
    rows.push(Row {
        settings: &[("max_retries", "0")],
        ..failed(
            "500 with no retry allowed",
            vec![status(500, "", BROKEN)],
            5,
            [("server", NOTHING)],
        )
    });
    for code in [429, 500, 503] {
        let refusal = status(code, "x-should-retry: false\nretry-after: 0.1", BROKEN);
        let class = match code {
            429 => "rate_limited",
            500 => "server",
            _ => "overloaded",
        };
        rows.push(failed(
            format!("{code} and told not to retry"),
            vec![refusal],
            5,
            [(class, NOTHING)],
        ));
    }
    let tool = r#"{"error":{"message":"Failed to call a function","code":"tool_use_failed"}}"#;
    rows.push(failed(
        "a call that could not be made is tried once more",
        vec![status(400, "", tool)],
        5,
        [("bad_request", NOTHING); 2],
    ));
    rows.push(Row {
        ledger: vec![("rate_limited", NOTHING), ("answered", Charged::Told)],
        apart: 200,
        ..answered(
            "402 with a wait",
            then_answer(status(402, "retry-after: 0.2", BROKEN)),
        )
    });
    let refused = r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","code":"unsupported_parameter","param":"max_tokens"}}"#;
    rows.push(Row {
        connections: Some(2..=2),
        ..answered(
            "a field that is refused is left out",
            then_answer(status(400, "", refused)),
        )
    });
    check_all(&rows);
}

#[test]
fn heads_before_the_head_and_heads_without_a_body() {
    let early = |first: &str| {
        let mut script = answer();
        script.insert(1, send(first));
        script
    };
    let continued = "HTTP/1.1 100 Continue\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let lonely = |bytes: &[u8]| vec![vec![Step::Read, Step::Send(bytes.to_vec())]];
    check_all(&[
        answered("100 before the answer", vec![early(continued)]),
        answered("103 before the answer", vec![early(hints)]),
        answered(
            "many 100 before the answer",
            vec![early(&continued.repeat(20))],
        ),
        failed(
            "101 for somebody else",
            lonely(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            ),
            5,
            [("protocol", NOTHING)],
        ),
        failed(
            "204",
            lonely(b"HTTP/1.1 204 No Content\r\n\r\n"),
            5,
            [("truncated", Charged::Held); 3],
        ),
        failed(
            "205",
            lonely(&head(205, "", Some(0))),
            5,
            [("truncated", Charged::Held); 3],
        ),
        answered(
            "206 of a good answer",
            vec![vec![
                Step::Read,
                Step::Send(head(206, "", None)),
                send(&super::script::document().to_string()),
            ]],
        ),
        Row {
            ..failed(
                "a refusal whose body never comes",
                vec![vec![
                    Step::Read,
                    Step::Send(head(401, "", Some(100))),
                    Step::Hang,
                ]],
                4,
                [("auth", NOTHING)],
            )
        },
        failed(
            "a refusal whose body drips for ever",
            vec![vec![
                Step::Read,
                Step::Send(head(400, "", None)),
                Step::Drip(std::time::Duration::from_millis(50), b"x".to_vec()),
            ]],
            5,
            [("bad_request", NOTHING)],
        ),
        failed(
            "a refusal whose body breaks",
            vec![vec![
                Step::Read,
                Step::Send(head(403, "", Some(100))),
                send("{\"err"),
                wait(20),
                Step::Reset,
            ]],
            4,
            [("auth", NOTHING)],
        ),
    ]);
}

/// Two megabytes are on their way when the server has seen enough: what it says counts, not that the rest
/// could not be sent.
#[test]
fn a_refusal_before_the_prompt_is_read_is_heard() {
    let mut rows = Vec::new();
    for (code, exit, class) in [
        (400, 5, "bad_request"),
        (401, 4, "auth"),
        (413, 5, "bad_request"),
        (429, 5, "rate_limited"),
    ] {
        let body = r#"{"error":{"message":"enough"}}"#;
        let refusal = |end: Vec<Step>| {
            let mut bytes = head(code, "x-should-retry: false", Some(body.len()));
            bytes.extend_from_slice(body.as_bytes());
            all([vec![Step::ReadHead, Step::Send(bytes)], end])
        };
        for (name, end) in [
            ("and takes in the rest", vec![Step::Linger]),
            ("and closes a while later", vec![wait(300)]),
            ("and resets a while later", vec![wait(300), Step::Reset]),
            ("and stays", vec![wait(20_000)]),
        ] {
            rows.push(Row {
                context: 2 << 20,
                args: &["--json", "--no-log"],
                says: vec!["enough"],
                ..failed(
                    format!("{code} {name}"),
                    vec![refusal(end)],
                    exit,
                    [(class, NOTHING)],
                )
            });
        }
    }
    check_all(&rows);
}

/// What such a server said and that it is gone come at once, often between two writes: which is heard first is a
/// matter of luck, so it is tried some times, one after the other.
#[test]
fn a_refusal_of_a_server_that_goes_at_once_is_heard() {
    let body = r#"{"error":{"message":"enough"}}"#;
    let mut bytes = head(413, "", Some(body.len()));
    bytes.extend_from_slice(body.as_bytes());
    let row = |end: Vec<Step>| Row {
        context: 2 << 20,
        args: &["--json", "--no-log"],
        says: vec!["enough"],
        // A connection that breaks while it is written to is made once more.
        connections: Some(1..=2),
        ..failed(
            format!("then {end:?}"),
            vec![all([vec![Step::ReadHead, Step::Send(bytes.clone())], end])],
            5,
            [("bad_request", NOTHING)],
        )
    };
    let rows = [row(vec![]), row(vec![Step::Reset])];
    let wrong: Vec<String> = rows.iter().cycle().take(16).map(check).collect();
    assert_eq!(wrong.concat(), "");
}

#[test]
fn every_refusal_of_the_table_of_vectors() {
    let table = include_str!("../fixtures/error-vectors.json");
    let table: Value = serde_json::from_str(table).unwrap();
    let vectors = table["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 45);
    let rows: Vec<Row> = vectors.iter().map(vector).collect();
    check_all(&rows);
}

fn vector(vector: &Value) -> Row {
    let headers: Vec<String> = vector["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}: {}", value.as_str().unwrap()))
        .collect();
    let code = u16::try_from(vector["status"].as_u64().unwrap()).unwrap();
    let body = vector["body"].as_str().unwrap();
    let class: &'static str = Box::leak(
        vector["class"]
            .as_str()
            .unwrap()
            .to_owned()
            .into_boxed_str(),
    );
    let retry = vector.get("effective_retry").unwrap_or(&vector["retry"]);
    let delay = vector["delay_ms"].as_u64().unwrap_or(0);
    // A wait that would outlast the run is not begun.
    let again = retry == true && delay < 2000;
    let exit = match class {
        "auth" | "quota" => 4,
        "content_policy" => 1,
        _ => 5,
    };
    let charged = match code {
        504 | 524 => Charged::Held,
        _ => NOTHING,
    };
    let id = vector["id"].as_str().unwrap();
    // The third that tells of a refused field is about one that is not sent.
    let adapted = matches!(id, "E09" | "E10");
    Row {
        settings: &[
            ("max_retries", "1"),
            ("timeout", "2"),
            ("temperature", "0.2"),
        ],
        args: &["--json"],
        ledger: vec![(class, charged); if again { 2 } else { 1 }],
        connections: adapted.then_some(2..=2),
        ..failed(id, vec![status(code, &headers.join("\n"), body)], exit, [])
    }
}
