//! The same faults in the words of the Messages API.

use std::time::Duration;

use serde_json::{Value, json};

use super::row::{Charged, Row, answered, check_all, failed};
use super::script::{all, chunk, last_chunk, send, status, stream, wait};
use super::server::{Secure, Server, Step};
use crate::support::Context;

fn event(data: &Value) -> Step {
    let name = data["type"].as_str().unwrap();
    chunk(&format!("event: {name}\ndata: {data}\n\n"))
}

fn started() -> Step {
    event(
        &json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
        "role": "assistant", "model": "m", "content": [],
        "usage": {"input_tokens": 1000, "output_tokens": 1}}}),
    )
}

fn said(text: &str) -> Vec<Step> {
    vec![
        event(&json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}})),
        event(&json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "text_delta", "text": text}})),
    ]
}

fn closed(reason: &str) -> Vec<Step> {
    vec![
        event(&json!({"type": "content_block_stop", "index": 0})),
        event(
            &json!({"type": "message_delta", "delta": {"stop_reason": reason},
            "usage": {"output_tokens": 5}}),
        ),
    ]
}

fn stopped() -> Vec<Step> {
    vec![event(&json!({"type": "message_stop"})), last_chunk()]
}

fn answer() -> Vec<Step> {
    all([
        stream(),
        vec![started()],
        said("yes"),
        closed("end_turn"),
        stopped(),
    ])
}

fn error(kind: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"})
        .to_string()
}

fn again(name: &str, bad: Vec<Step>, class: &'static str, charged: Charged) -> Row {
    Row {
        kind: "anthropic",
        ledger: vec![(class, charged), ("answered", Charged::Told)],
        apart: 50,
        ..answered(name, vec![bad, answer()])
    }
}

fn once(name: &str, bad: Vec<Step>, code: i32, class: &'static str, charged: Charged) -> Row {
    Row {
        kind: "anthropic",
        ..failed(name, vec![bad], code, [(class, charged)])
    }
}

#[test]
fn refusals() {
    let refusal = |code, headers: &str, kind, message| status(code, headers, error(kind, message));
    check_all(&[
        Row {
            kind: "anthropic",
            ..answered("a good answer", vec![answer()])
        },
        Row {
            says: vec!["LAB_KEY"],
            ..once("a refused key", refusal(401, "", "authentication_error", "invalid x-api-key"), 4, "auth", Charged::Nothing)
        },
        once("no money", refusal(400, "x-should-retry: true", "invalid_request_error", "Your credit balance is too low to access the Anthropic API."), 4, "quota", Charged::Nothing),
        once("too long", refusal(400, "", "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), 5, "context_length", Charged::Nothing),
        once("too large", refusal(413, "", "request_too_large", "Request exceeds the maximum size"), 5, "bad_request", Charged::Nothing),
        once("unknown", refusal(404, "", "not_found_error", "model: m"), 5, "not_found", Charged::Nothing),
        once("a limit of spending", status(429, "", json!({"type": "error", "error": {"type": "rate_limit_error", "message": "m", "details": {"error_code": "enforced_spend_limit_reached"}}}).to_string()), 4, "quota", Charged::Nothing),
        again("overloaded", refusal(529, "", "overloaded_error", "Overloaded"), "overloaded", Charged::Nothing),
        again("broken", refusal(500, "", "api_error", "Internal server error"), "server", Charged::Nothing),
        Row {
            apart: 400,
            ..again("a rate limit", refusal(429, "retry-after: 0.4", "rate_limit_error", "slow"), "rate_limited", Charged::Nothing)
        },
        Row {
            says: vec!["try again at"],
            ..once("a long rate limit", refusal(429, "retry-after: 3600", "rate_limit_error", "slow"), 5, "rate_limited", Charged::Nothing)
        },
    ]);
}

#[test]
fn streams() {
    let begun = |more: Vec<Step>| all([stream(), vec![started()], more]);
    let told = |kind, message| {
        let data: Value = serde_json::from_str(&error(kind, message)).unwrap();
        vec![event(&data), last_chunk()]
    };
    let ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    let pings = Step::Drip(
        Duration::from_millis(100),
        format!("{:x}\r\n{ping}\r\n", ping.len()).into_bytes(),
    );
    let late = &[
        ("max_retries", "1"),
        ("clocks", "{connect: 20, first_event: 2, idle: 2}"),
    ];
    let estimate = Charged::Estimate;
    check_all(&[
        again(
            "overloaded in the middle",
            begun(all([said("half"), told("overloaded_error", "Overloaded")])),
            "overloaded",
            estimate,
        ),
        again(
            "an error before any text",
            begun(told("api_error", "broken")),
            "server",
            Charged::Held,
        ),
        again(
            "cut after some text",
            begun(said("half")),
            "truncated",
            estimate,
        ),
        again(
            "reset after some text",
            begun(all([said("half"), vec![wait(50), Step::Reset]])),
            "truncated",
            estimate,
        ),
        again(
            "ended without a reason",
            begun(all([said("half"), vec![last_chunk()]])),
            "truncated",
            estimate,
        ),
        again(
            "no JSON",
            begun(all([
                said("half"),
                vec![
                    chunk("event: content_block_delta\ndata: {nonsense\n\n"),
                    last_chunk(),
                ],
            ])),
            "invalid_json",
            estimate,
        ),
        Row {
            kind: "anthropic",
            ..answered(
                "a reason and no stop",
                vec![begun(all([
                    said("yes"),
                    closed("end_turn"),
                    vec![last_chunk()],
                ]))],
            )
        },
        Row {
            kind: "anthropic",
            ..answered(
                "pings between",
                vec![begun(all([
                    vec![chunk(ping)],
                    said("yes"),
                    vec![chunk(ping)],
                    closed("end_turn"),
                    stopped(),
                ]))],
            )
        },
        Row {
            kind: "anthropic",
            ..answered(
                "an event that nobody knows",
                vec![begun(all([
                    said("yes"),
                    vec![event(&json!({"type": "new_thing", "x": 1}))],
                    closed("end_turn"),
                    stopped(),
                ]))],
            )
        },
        Row {
            kind: "anthropic",
            settings: late,
            ..failed(
                "pings for ever",
                vec![begun(vec![pings.clone()])],
                6,
                [("first_event_timeout", Charged::Held); 2],
            )
        },
        Row {
            kind: "anthropic",
            settings: late,
            ..failed(
                "text, then pings for ever",
                vec![begun(all([said("half"), vec![pings]]))],
                6,
                [("idle_timeout", estimate); 2],
            )
        },
        once(
            "a refused key in a stream",
            all([stream(), told("authentication_error", "bad key")]),
            4,
            "auth",
            Charged::Nothing,
        ),
        Row {
            kind: "anthropic",
            code: 1,
            says: vec!["\"ok\": false"],
            ..answered(
                "a refusal of the model",
                vec![begun(all([said("no"), closed("refusal"), stopped()]))],
            )
        },
        once(
            "no server of messages",
            vec![
                Step::Read,
                send(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<html><title>Hi</title>",
                ),
            ],
            5,
            "protocol",
            Charged::Nothing,
        ),
    ]);
}

#[test]
fn a_long_loop_of_tools_pays_the_cached_price() {
    let call = |number: usize| {
        let block = json!({"type": "content_block_start", "index": 0, "content_block":
            {"type": "tool_use", "id": format!("toolu_{number}"), "name": "list_dir", "input": {}}});
        all([
            stream(),
            vec![started(), event(&block)],
            closed("tool_use"),
            stopped(),
        ])
    };
    let server = Server::start(&[call(1), call(2), call(3), answer()], Secure::No);
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "providers:\n  lab: {{kind: anthropic, base_url: \"{}\"}}\n\
             agents:\n  a: {{role: R, provider: lab, model: m, tools: [list_dir, read]}}\n",
            server.url()
        ),
    );
    context.orch(&["--agent", "a", "--prompt", "x"]).exits(0);
    let bodies: Vec<Value> = server
        .connections()
        .into_iter()
        .flat_map(|connection| connection.requests)
        .collect();
    assert_eq!(bodies.len(), 4);
    let mut before: Vec<Value> = Vec::new();
    for body in &bodies {
        let marked =
            |list: &str| body[list].as_array().unwrap().last().unwrap()["cache_control"].clone();
        let ephemeral = json!({"type": "ephemeral"});
        assert_eq!(
            (marked("tools"), marked("system")),
            (ephemeral.clone(), ephemeral.clone())
        );
        let messages = body["messages"].as_array().unwrap();
        let tail = messages.last().unwrap()["content"]
            .as_array()
            .unwrap()
            .last()
            .unwrap();
        assert_eq!(tail["cache_control"], ephemeral);
        assert!(
            body.to_string().matches("cache_control").count() <= 4,
            "{body}"
        );
        // What was sent before is sent again letter by letter, else nothing of it is in the cache.
        let unmarked: Vec<Value> = messages.iter().cloned().map(without_marks).collect();
        assert_eq!(unmarked[..before.len()], before);
        before = unmarked;
        assert_eq!(body["tools"], bodies[0]["tools"]);
        assert_eq!(body["system"], bodies[0]["system"]);
    }
}

fn without_marks(mut message: Value) -> Value {
    for block in message["content"].as_array_mut().unwrap() {
        block.as_object_mut().unwrap().remove("cache_control");
    }
    message
}
