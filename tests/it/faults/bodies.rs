//! Bodies that are packed, huge, of another kind or no answer at all.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::row::{Charged, Row, answered, check_all, failed};
use super::script::{BROKEN, document, head, send, status, then_answer};
use super::server::Step;

const STREAM: &str = "content-type: text/event-stream";
const PACKED: &str = "content-encoding: gzip\ncontent-type: text/event-stream";

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A good stream without its chunks.
fn plain() -> String {
    let data = [
        super::script::choice(&serde_json::json!({"content": "yes"}), Some("stop")),
        serde_json::json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 5}}),
    ];
    format!("{}data: [DONE]\n\n", super::script::events(&data))
}

#[test]
fn answers_of_any_kind_are_read() {
    let document = document().to_string();
    check_all(&[
        answered("a document", vec![status(200, "", &document)]),
        answered(
            "a document named a stream",
            vec![status(200, STREAM, &document)],
        ),
        answered(
            "a document named a page",
            vec![status(200, "content-type: text/html", &document)],
        ),
        answered(
            "a document without a length",
            vec![vec![
                Step::Read,
                Step::Send(head(200, "", None)),
                send(&document),
            ]],
        ),
        answered(
            "a document after blank lines",
            vec![status(200, "", format!("\n\n \n{document}"))],
        ),
        answered("a stream named a document", vec![status(200, "", plain())]),
        answered(
            "a stream named bytes",
            vec![status(
                200,
                "content-type: application/octet-stream",
                plain(),
            )],
        ),
        answered(
            "a stream named text of some charset",
            vec![status(
                200,
                "content-type: text/plain; charset=latin1",
                plain(),
            )],
        ),
        answered(
            "a packed stream",
            vec![status(200, PACKED, gzip(plain().as_bytes()))],
        ),
        answered(
            "a packed document",
            vec![status(
                200,
                "content-encoding: gzip",
                gzip(document.as_bytes()),
            )],
        ),
    ]);
}

#[test]
fn what_is_no_answer_is_said_to_be_none() {
    let page = "<html><title>Sign in</title></html>";
    let mut rows = Vec::new();
    for (name, headers, body) in [
        ("a page", "content-type: text/html", page),
        (
            "a page named a document",
            "content-type: application/json",
            page,
        ),
        ("words", "content-type: text/plain", "It works!"),
        ("some other document", "", r#"{"message": "welcome"}"#),
        ("a number", "", "42"),
        ("null", "", "null"),
        (
            "packed in a way nobody asked for",
            "content-encoding: br",
            "\u{1}\u{2}\u{3}",
        ),
    ] {
        rows.push(Row {
            says: vec!["what answered is no model server", "base_url"],
            ..failed(
                name,
                vec![status(200, headers, body)],
                5,
                [("protocol", Charged::Nothing)],
            )
        });
    }
    let again = |name: &str, body: &str, class, charged| Row {
        ledger: vec![(class, charged), ("answered", Charged::Told)],
        apart: 50,
        ..answered(name, then_answer(status(200, "", body)))
    };
    rows.extend([
        again("nothing", "", "truncated", Charged::Held),
        again(
            "half a document",
            r#"{"choices": [{"mess"#,
            "invalid_json",
            Charged::Held,
        ),
        again(
            "an error with status 200",
            BROKEN,
            "server",
            Charged::Nothing,
        ),
        again(
            "an error in a list",
            &format!("[{BROKEN}]"),
            "server",
            Charged::Nothing,
        ),
        again(
            "an error of its own code",
            r#"{"error":{"message":"m","code":503}}"#,
            "overloaded",
            Charged::Nothing,
        ),
        failed(
            "no money with status 200",
            vec![status(
                200,
                "",
                r#"{"error":{"message":"m","code":"insufficient_quota"}}"#,
            )],
            4,
            [("quota", Charged::Nothing)],
        ),
        failed(
            "no choices",
            vec![status(
                200,
                "",
                r#"{"id":"c","object":"chat.completion","choices":[]}"#,
            )],
            1,
            [("empty", Charged::Held); 3],
        ),
        again("a length that is too large", "", "truncated", Charged::Held),
    ]);
    let short = vec![
        Step::Read,
        Step::Send(head(200, STREAM, Some(100_000))),
        send(&plain()[..40]),
    ];
    rows.push(Row {
        ledger: vec![("truncated", Charged::Held), ("answered", Charged::Told)],
        ..answered("less than its length", then_answer(short))
    });
    check_all(&rows);
}

#[test]
fn floods_are_cut_off_and_not_held_in_memory() {
    let mebibyte = vec![b'x'; 1 << 20];
    let flood = |begin: &str, headers: &str| {
        vec![
            Step::Read,
            Step::Send(head(200, headers, None)),
            send(begin),
            Step::Flood(mebibyte.clone(), 100),
        ]
    };
    let bomb = |begin: &str, size: usize| gzip(&[begin.as_bytes(), &vec![b'x'; size]].concat());
    let once: &[(&str, &str)] = &[("max_retries", "0")];
    let cut = |name: &str, script: Vec<Step>, says| Row {
        settings: once,
        says: vec![says],
        memory: Some(150),
        ..failed(name, vec![script], 5, [("invalid_json", Charged::Held)])
    };
    let long = "longer than 16 MiB";
    check_all(&[
        cut("a line of 100 MB", flood("data: ", STREAM), long),
        Row {
            ledger: vec![("invalid_json", Charged::Held)],
            ..cut("a comment of 100 MB", flood(": ", STREAM), long)
        },
        cut(
            "a packed line of 100 MB",
            status(200, PACKED, bomb("data: ", 100 << 20)),
            long,
        ),
        cut(
            "many lines of one event",
            vec![
                Step::Read,
                Step::Send(head(200, STREAM, None)),
                Step::Flood(format!("data: {}\n", "x".repeat(1 << 20)).into_bytes(), 100),
            ],
            long,
        ),
        cut("a document of 100 MB", flood("{\"x\": \"", ""), long),
        cut(
            "a packed document of 300 MB",
            status(200, "content-encoding: gzip", bomb("{\"x\": \"", 300 << 20)),
            long,
        ),
        Row {
            memory: Some(150),
            says: vec!["what answered is no model server"],
            ..failed(
                "a page of 100 MB",
                vec![flood("<html>", "content-type: text/html")],
                5,
                [("protocol", Charged::Nothing)],
            )
        },
        Row {
            memory: Some(150),
            ..failed(
                "a refusal of 100 MB",
                vec![vec![
                    Step::Read,
                    Step::Send(head(400, "", None)),
                    Step::Flood(mebibyte.clone(), 100),
                ]],
                5,
                [("bad_request", Charged::Nothing)],
            )
        },
        Row {
            memory: Some(150),
            ..failed(
                "a packed refusal of 300 MB",
                vec![status(401, "content-encoding: gzip", bomb("", 300 << 20))],
                4,
                [("auth", Charged::Nothing)],
            )
        },
        Row {
            settings: once,
            ..failed(
                "packed, it says",
                vec![status(200, PACKED, plain())],
                5,
                [("truncated", Charged::Held)],
            )
        },
        Row {
            ..failed(
                "a refusal that drips",
                vec![vec![
                    Step::Read,
                    Step::Send(head(404, "", None)),
                    Step::Drip(Duration::from_millis(20), b"x".to_vec()),
                ]],
                5,
                [("not_found", Charged::Nothing)],
            )
        },
    ]);
}
