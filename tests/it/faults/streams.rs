//! Streams that stop, drip, lie or break, and what of them is asked again.

use std::time::Duration;

use serde_json::json;

use super::row::{Charged, Row, answered, check_all, failed};
use super::script::{
    all, answer, choice, chunk, delta, done, event, events, finish, last_chunk, stream, usage, wait,
};
use super::server::Step;

/// Clocks that run out soon after the first event.
const IDLE: &[(&str, &str)] = &[
    ("max_retries", "1"),
    ("clocks", "{connect: 20, first_event: 20, idle: 2}"),
];

/// Clocks that run out soon before the first event.
const FIRST: &[(&str, &str)] = &[
    ("max_retries", "1"),
    ("clocks", "{connect: 20, first_event: 2, idle: 20}"),
];

fn begun(more: impl IntoIterator<Item = Step>) -> Vec<Step> {
    all([stream(), more.into_iter().collect()])
}

/// A bad first answer, which nobody has acted on, then a good one.
fn again(name: &str, bad: Vec<Step>, class: &'static str, charged: Charged) -> Row {
    Row {
        ledger: vec![(class, charged), ("answered", Charged::Told)],
        apart: 50,
        ..answered(name, vec![bad, answer()])
    }
}

#[test]
fn a_stream_without_a_good_end_is_no_answer() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
        "function": {"name": "list_dir", "arguments": "{\"path\": "}}]});
    check_all(&[
        again(
            "closed after the head",
            begun([]),
            "truncated",
            Charged::Held,
        ),
        again(
            "reset after the head",
            begun([wait(50), Step::Reset]),
            "truncated",
            Charged::Held,
        ),
        again(
            "ended without an event",
            begun([last_chunk()]),
            "truncated",
            Charged::Held,
        ),
        again(
            "closed after some text",
            begun([delta("half")]),
            "truncated",
            Charged::Estimate,
        ),
        again(
            "reset after some text",
            begun([delta("half"), wait(50), Step::Reset]),
            "truncated",
            Charged::Estimate,
        ),
        again(
            "ended after some text",
            begun([delta("half"), last_chunk()]),
            "truncated",
            Charged::Estimate,
        ),
        again(
            "cut in the middle of an event",
            begun([delta("half"), chunk("data: {\"choi"), last_chunk()]),
            "truncated",
            Charged::Estimate,
        ),
        again(
            "cut in the middle of a tool call",
            begun([event(&choice(&call, None)), last_chunk()]),
            "truncated",
            Charged::Estimate,
        ),
        again(
            "closed in the middle of a chunk",
            begun([delta("half"), super::script::send("40\r\ndata: {")]),
            "truncated",
            Charged::Estimate,
        ),
        again(
            "a chunk of no size",
            begun([delta("half"), super::script::send("zz\r\n\r\n")]),
            "truncated",
            Charged::Estimate,
        ),
    ]);
}

#[test]
fn an_end_that_was_told_is_one() {
    let ended = |more: Vec<Step>| {
        vec![all([
            stream(),
            vec![delta("yes"), finish("stop"), usage()],
            more,
        ])]
    };
    let text = |text: &str| vec![begun([chunk(text), last_chunk()])];
    let whole = events(&[
        choice(&json!({"role": "assistant", "content": ""}), None),
        choice(&json!({"content": "yes"}), None),
        choice(&json!({}), Some("stop")),
        json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 5}}),
    ]);
    let bytes = whole
        .as_bytes()
        .iter()
        .map(|byte| chunk(std::str::from_utf8(&[*byte]).unwrap()));
    check_all(&[
        answered("no DONE", ended(vec![last_chunk()])),
        Row {
            ledger: vec![("answered", Charged::Estimate)],
            says: vec![r#""output": "half""#],
            ..answered(
                "DONE and no reason why it ends",
                vec![begun([delta("half"), done(), last_chunk()])],
            )
        },
        answered("no DONE and closed", ended(vec![])),
        answered("no DONE and reset", ended(vec![wait(50), Step::Reset])),
        answered("no DONE and silence", ended(vec![Step::Hang])),
        answered(
            "no DONE and pings for ever",
            ended(vec![Step::Drip(
                Duration::from_millis(100),
                b"8\r\n: ping\n\n\r\n".to_vec(),
            )]),
        ),
        answered("DONE and silence", ended(vec![done(), Step::Hang])),
        answered(
            "DONE and more",
            ended(vec![done(), delta("no"), last_chunk()]),
        ),
        answered(
            "DONE without a blank line",
            ended(vec![chunk("data: [DONE]"), last_chunk()]),
        ),
        answered(
            "no space after the colon",
            text(&whole.replace("data: ", "data:")),
        ),
        answered("CR LF", text(&whole.replace('\n', "\r\n"))),
        answered("CR", text(&whole.replace('\n', "\r"))),
        answered("a byte order mark", text(&format!("\u{feff}{whole}"))),
        answered(
            "comments, ids and unknown fields between",
            text(&whole.replace("data: ", ": hi\nid: 7\nretry: 10\nfoo: bar\ndata: ")),
        ),
        answered(
            "each byte alone",
            vec![all([stream(), bytes.collect(), vec![last_chunk()]])],
        ),
        answered(
            "slowly",
            vec![begun([
                wait(300),
                delta("y"),
                wait(300),
                delta("e"),
                wait(300),
                delta("s"),
                wait(300),
                finish("stop"),
                usage(),
                done(),
                last_chunk(),
            ])],
        ),
        Row {
            code: 0,
            says: vec!["cut", "\"finish_reason\": \"length\""],
            ..answered(
                "an answer cut by its length",
                vec![begun([
                    delta("yes"),
                    finish("length"),
                    usage(),
                    done(),
                    last_chunk(),
                ])],
            )
        },
        Row {
            code: 1,
            says: vec!["content_filter"],
            ..answered(
                "an answer that a filter stopped",
                vec![begun([
                    delta("yes"),
                    finish("content_filter"),
                    usage(),
                    done(),
                    last_chunk(),
                ])],
            )
        },
    ]);
}

#[test]
fn events_that_are_none_are_not_passed_over() {
    let told = |error: serde_json::Value| begun([event(&error), last_chunk()]);
    let late = |error: serde_json::Value| begun([delta("half"), event(&error), last_chunk()]);
    let server = json!({"error": {"message": "it broke", "type": "server_error"}});
    let rate = json!({"error": {"message": "slow", "code": 429}});
    let quota = json!({"error": {"message": "no money", "code": "insufficient_quota"}});
    let long = json!({"error": {"message": "maximum context length is 8192", "code": "context_length_exceeded"}});
    let over = json!({"error": {"message": "x", "code": "server_is_overloaded"}});
    let key = json!({"error": {"message": "x", "code": 401}});
    check_all(&[
        again(
            "no JSON",
            begun([chunk("data: {nonsense\n\n"), last_chunk()]),
            "invalid_json",
            Charged::Held,
        ),
        again(
            "no JSON after some text",
            begun([delta("half"), chunk("data: {nonsense\n\n"), last_chunk()]),
            "invalid_json",
            Charged::Estimate,
        ),
        again(
            "no text at all",
            begun([
                Step::Send(b"6\r\ndata: \r\n4\r\n\xff\xfe\xfd\n\r\n1\r\n\n\r\n".to_vec()),
                last_chunk(),
            ]),
            "invalid_json",
            Charged::Held,
        ),
        again("an error", told(server.clone()), "server", Charged::Nothing),
        again(
            "an error after some text",
            late(server),
            "server",
            Charged::Estimate,
        ),
        again("a rate limit", told(rate), "rate_limited", Charged::Nothing),
        again("overloaded", told(over), "overloaded", Charged::Nothing),
        again(
            "the server has no room in the middle",
            begun([
                delta("half"),
                finish("insufficient_system_resource"),
                done(),
                last_chunk(),
            ]),
            "overloaded",
            Charged::Estimate,
        ),
        failed(
            "no money",
            vec![told(quota.clone())],
            4,
            [("quota", Charged::Nothing)],
        ),
        failed(
            "no money after some text",
            vec![late(quota)],
            4,
            [("quota", Charged::Estimate)],
        ),
        failed(
            "too long",
            vec![told(long)],
            5,
            [("context_length", Charged::Nothing)],
        ),
        failed(
            "a refused key",
            vec![told(key)],
            4,
            [("auth", Charged::Nothing)],
        ),
        failed(
            "an answer without a word",
            vec![begun([finish("stop"), usage(), done(), last_chunk()])],
            1,
            [("empty", Charged::Estimate); 3],
        ),
        failed(
            "nothing but DONE",
            vec![begun([done(), last_chunk()])],
            1,
            [("empty", Charged::Held); 3],
        ),
    ]);
}

#[test]
fn what_shows_no_progress_keeps_no_clock_from_running_out() {
    let every = |data: &str| {
        let bytes = format!("{:x}\r\n{data}\r\n", data.len()).into_bytes();
        Step::Drip(Duration::from_millis(100), bytes)
    };
    let role = format!("data: {}\n\n", choice(&json!({"role": "assistant"}), None));
    let empty = format!("data: {}\n\n", choice(&json!({"content": ""}), None));
    let mut rows = Vec::new();
    // Comments and blank lines keep a connection open and are nothing of an answer.
    for (name, noise, charged) in [
        ("pings", ": ping\n\n", Charged::Held),
        ("blank lines", "\n\n", Charged::Held),
        ("empty data", "data:\n\n", Charged::Held),
        ("roles", role.as_str(), Charged::Held),
        ("empty text", empty.as_str(), Charged::Held),
    ] {
        rows.push(Row {
            settings: FIRST,
            ..failed(
                format!("{name} for ever"),
                vec![begun([every(noise)])],
                6,
                [("first_event_timeout", charged); 2],
            )
        });
        rows.push(Row {
            settings: IDLE,
            ..failed(
                format!("text, then {name} for ever"),
                vec![begun([delta("half"), every(noise)])],
                6,
                [("idle_timeout", Charged::Estimate); 2],
            )
        });
    }
    rows.push(Row {
        settings: FIRST,
        ..failed(
            "silence before the head",
            vec![vec![Step::Read, Step::Hang]],
            6,
            [("first_event_timeout", Charged::Held); 2],
        )
    });
    rows.push(Row {
        settings: FIRST,
        ..failed(
            "silence after the head",
            vec![begun([Step::Hang])],
            6,
            [("first_event_timeout", Charged::Held); 2],
        )
    });
    rows.push(Row {
        settings: IDLE,
        ..failed(
            "silence after some text",
            vec![begun([delta("half"), Step::Hang])],
            6,
            [("idle_timeout", Charged::Estimate); 2],
        )
    });
    rows.push(Row {
        settings: IDLE,
        ..again(
            "silence once",
            begun([delta("half"), Step::Hang]),
            "idle_timeout",
            Charged::Estimate,
        )
    });
    let drip = Step::Drip(Duration::from_millis(50), {
        let data = format!("data: {}\n\n", choice(&json!({"content": "x"}), None));
        format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
    });
    rows.push(Row {
        settings: &[("timeout", "4")],
        ..failed(
            "an answer that never ends",
            vec![begun([drip.clone()])],
            6,
            [("deadline", Charged::Estimate)],
        )
    });
    rows.push(Row {
        args: &["--json", "--timeout", "4"],
        ..failed(
            "an answer that never ends, and a run that does",
            vec![begun([drip])],
            6,
            [("deadline", Charged::Estimate)],
        )
    });
    check_all(&rows);
}

#[test]
fn text_that_is_out_is_taken_back_once_or_never() {
    let half = || begun([delta("half"), wait(100), Step::Reset]);
    check_all(&[
        Row {
            args: &[],
            says: vec!["half", "the connection broke"],
            ..failed(
                "a pipe takes nothing back",
                vec![half(), answer()],
                5,
                [("truncated", Charged::Estimate)],
            )
        },
        Row {
            args: &[],
            says: vec!["yes\n"],
            ..again(
                "a pipe that got nothing yet",
                begun([]),
                "truncated",
                Charged::Held,
            )
        },
        Row {
            args: &["--output", "stream-json"],
            says: vec![
                "\"type\":\"stream.reset\"",
                "\"type\":\"retry\"",
                "\"output\":\"yes\"",
            ],
            ..again(
                "a live view takes it back once",
                half(),
                "truncated",
                Charged::Estimate,
            )
        },
        Row {
            args: &["--output", "stream-json"],
            says: vec!["\"type\":\"stream.reset\"", "\"ok\":false"],
            ..failed(
                "a live view takes it back no second time",
                vec![half()],
                5,
                [("truncated", Charged::Estimate); 2],
            )
        },
        Row {
            ..failed(
                "a whole answer is retried as often as allowed",
                vec![half()],
                5,
                [("truncated", Charged::Estimate); 3],
            )
        },
    ]);
}
