//! What a user sees of faults: lines, events, the health of agents, and answers that were repaired.

use serde_json::{Value, json};

use crate::support::{Context, Stub, stub};

const ASK: &[&str] = &["--agent", "a", "--prompt", "x"];

fn context(url: &str, settings: &str, agent: &str) -> Context {
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{retry_delay: 0.05, {settings}}}\n\
             providers:\n  lab: {{kind: openai, base_url: \"{url}\"}}\n\
             agents:\n  a: {{role: R, provider: lab, model: m, tools: [], {agent}}}\n"
        ),
    );
    context
}

fn asked(context: &Context, more: &[&str]) -> crate::support::Ran {
    context.orch(&[ASK, more].concat())
}

#[test]
fn each_retry_wait_and_breaker_change_is_a_line_and_an_event() {
    let script = || {
        Stub::replies([
            stub::status(429, &[("retry-after", "0.4")], "slow"),
            stub::status(500, &[("x-request-id", "req_7")], "dead"),
            stub::text("yes"),
            stub::text("yes"),
        ])
    };
    let settings = "circuit_breaker_threshold: 1, circuit_breaker_timeout: 1";
    let server = script();
    let ran = asked(&context(&server.url(), settings, ""), &[]).exits(0);
    assert_eq!(ran.stdout, "yes\n");
    for words in [
        "attempt 1 of 4 at lab failed (rate_limited 429), next in 0.4",
        "attempt 2 of 4 at lab failed (server 500), next in ",
        "breaker of lab is open, tried again in ",
        "breaker of lab is half open",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }

    let server = script();
    let events = asked(
        &context(&server.url(), settings, ""),
        &["--output", "stream-json"],
    )
    .exits(0)
    .json_lines();
    let of = |kind: &str| -> Vec<&Value> {
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .collect()
    };
    let retries = of("retry");
    assert_eq!(retries.len(), 2);
    assert_eq!(
        (
            &retries[0]["class"],
            &retries[0]["status"],
            &retries[0]["told_by"],
            &retries[0]["of"]
        ),
        (
            &json!("rate_limited"),
            &json!(429),
            &json!("header"),
            &json!(4)
        )
    );
    assert_eq!(
        (
            &retries[1]["class"],
            &retries[1]["told_by"],
            &retries[1]["request_id"]
        ),
        (&json!("server"), &json!("backoff"), &json!("req_7"))
    );
    let states: Vec<&Value> = of("breaker").iter().map(|event| &event["state"]).collect();
    assert_eq!(states, ["open", "half_open"]);
    let result = events.last().unwrap();
    assert_eq!(
        (&result["ok"], &result["attempts"]),
        (&json!(true), &json!(3))
    );
}

#[test]
fn a_failed_run_tells_every_attempt() {
    let server = Stub::replies([
        stub::status(503, &[("x-request-id", "req_1")], "busy"),
        vec![stub::stream_head(), stub::Do::Close],
        stub::status(
            401,
            &[],
            r#"{"error":{"message":"bad key","code":"invalid_api_key"}}"#,
        ),
    ]);
    let context = context(&server.url(), "max_retries: 3", "");
    let result = asked(&context, &["--json"]).exits(4).json();
    let error = &result["error"];
    assert_eq!(error["class"], "auth");
    assert_eq!(
        (&error["status"], &error["retryable"]),
        (&json!(401), &json!(false))
    );
    let attempts = error["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            (
                attempt["class"].as_str().unwrap(),
                attempt["status"].as_u64(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("overloaded", Some(503)),
            ("truncated", None),
            ("auth", Some(401))
        ]
    );
    assert_eq!(attempts[0]["request_id"], "req_1");
    assert!(attempts[0]["delay_ms"].as_u64().unwrap() >= 50);
    assert_eq!(attempts[2].get("delay_ms"), None);
}

#[test]
fn health_tells_the_class_of_what_is_wrong() {
    for (name, answer, class, words) in [
        ("a refused key", stub::status(401, &[], "{}"), "auth", "401"),
        ("no money", stub::status(402, &[], "{}"), "auth", "top up"),
        ("broken", stub::status(500, &[], "dead"), "provider", "500"),
        (
            "elsewhere",
            stub::status(302, &[("location", "http://127.0.0.1:9/")], ""),
            "provider",
            "not followed",
        ),
        (
            "nobody's",
            stub::status(404, &[], "nothing here"),
            "provider",
            "404",
        ),
        (
            "reset",
            vec![stub::Do::Reset],
            "provider",
            "broke before the answer",
        ),
        (
            "a limit",
            stub::status(429, &[("retry-after", "30")], "slow"),
            "provider",
            "429",
        ),
    ] {
        let server = Stub::replies([answer]);
        let context = context(&server.url(), "", "");
        let health = context.orch(&["--health", "--json"]).exits(1).json();
        assert_eq!(health["a"]["healthy"], false, "{name}");
        assert_eq!(health["a"]["class"], class, "{name}");
        let message = health["a"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{name}: {message}");
        assert!(server.chats().is_empty(), "{name}");
    }
}

#[test]
fn a_store_that_cannot_share_limits_is_told_once_and_the_run_goes_on() {
    let server = Stub::replies([stub::text("yes")]);
    let context = context(&server.url(), "rate_limit_per_minute: 5", "");
    asked(&context, &[]).exits(0);
    let store = rusqlite::Connection::open(context.state().join("orch.db")).unwrap();
    store.execute_batch("DROP TABLE quota_use").unwrap();
    drop(store);
    let ran = asked(&context, &[]).exits(0);
    assert_eq!(ran.stdout, "yes\n");
    let told = ran
        .stderr
        .matches("rate limits are kept by this process alone");
    assert_eq!(told.count(), 1, "{}", ran.stderr);
    assert_eq!(server.chats().len(), 2);
}

#[test]
fn an_answer_off_its_schema_is_repaired_once_or_fails_clearly() {
    let schema = "output_schema: {type: object, properties: {n: {type: integer}}, required: [n]}";
    let good = || stub::text(r#"{"n": 7}"#);
    let bad = || stub::text(r#"{"n": "seven"}"#);
    for (replies, code, requests) in [
        (vec![good()], 0, 1),
        (vec![bad(), good()], 0, 2),
        (vec![stub::text("seven"), good()], 0, 2),
        (vec![bad(), bad(), good()], 1, 2),
    ] {
        let server = Stub::replies(replies);
        let context = context(&server.url(), "", schema);
        let result = asked(&context, &["--json"]).exits(code).json();
        let chats = server.chats();
        assert_eq!(chats.len(), requests);
        // A server of no known vendor is told in words.
        let system = chats[0].body["messages"][0]["content"].as_str().unwrap();
        assert!(system.contains("meets the JSON Schema"), "{system}");
        if code == 0 {
            assert_eq!(result["structured"], json!({"n": 7}));
        } else {
            assert_eq!(result["error"]["class"], "failed");
            let message = result["error"]["message"].as_str().unwrap();
            assert!(message.contains("schema"), "{message}");
        }
    }
}
