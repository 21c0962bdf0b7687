//! Models that answer in place of others, and when none may.

use serde_json::{Value, json};

use crate::support::{Context, Stub, stub};

/// An agent of `first/m` that falls back on these models; `second` and the other models of `first` are
/// there as well.
fn context(first: &Stub, second: &Stub, fallback: &str, settings: &str) -> Context {
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{retry_delay: 0.05, max_retries: 1, enable_circuit_breaker: false{settings}}}\n\
             providers:\n  first: {{kind: openai, base_url: \"{}\", api_key_env: KEY}}\n  \
             second: {{kind: openai, base_url: \"{}\", api_key_env: OTHER_KEY}}\n\
             agents:\n  a: {{role: R, provider: first, model: m, tools: [], fallback: [{fallback}]}}\n",
            first.url(),
            second.url()
        ),
    );
    context
}

fn ask(context: &Context, code: i32) -> Value {
    let args = [
        "--config",
        "orch.yaml",
        "--agent",
        "a",
        "--prompt",
        "x",
        "--json",
    ];
    let mut command = context.command(&args);
    command
        .env("KEY", "sk-first-0123456789")
        .env("OTHER_KEY", "sk-second-0123456789");
    crate::support::ran(command.output().unwrap())
        .exits(code)
        .json()
}

fn error(code: u16, body: &str) -> Vec<stub::Do> {
    stub::status(code, &[], body)
}

#[test]
fn another_model_answers_where_the_class_allows_it() {
    let quota = r#"{"error":{"message":"m","code":"insufficient_quota"}}"#;
    for (name, refusal, asked, class) in [
        ("broken", error(500, "dead"), 2, "server"),
        ("overloaded", error(503, "dead"), 2, "overloaded"),
        (
            "cut",
            vec![stub::stream_head(), stub::Do::Close],
            2,
            "truncated",
        ),
        ("reset", vec![stub::Do::Reset], 2, "network"),
        ("a refused key", error(401, "{}"), 1, "auth"),
        ("no money", error(429, quota), 1, "quota"),
        ("gone", error(404, "{}"), 1, "not_found"),
        (
            "a long rate limit",
            stub::status(429, &[("retry-after", "3600")], "slow"),
            1,
            "rate_limited",
        ),
    ] {
        let first = Stub::replies([refusal]);
        let second = Stub::replies([stub::text("from the second")]);
        let result = ask(&context(&first, &second, "second/n", ""), 0);
        assert_eq!(result["output"], "from the second", "{name}");
        assert_eq!(result["requested_model"], "m", "{name}");
        assert_eq!(result["model"], "second/n", "{name}");
        let fallback = &result["fallbacks"][0];
        assert_eq!(
            (&fallback["from"], &fallback["to"], &fallback["class"]),
            (&json!("first/m"), &json!("second/n"), &json!(class)),
            "{name}"
        );
        assert_eq!(
            (first.chats().len(), second.chats().len()),
            (asked, 1),
            "{name}"
        );
        assert_eq!(second.chats()[0].body["model"], "n", "{name}");
        assert_eq!(result["attempts"], asked + 1, "{name}");
    }
}

#[test]
fn a_bare_name_stays_with_the_server_of_its_agent() {
    let lab = Stub::start(|seen| match seen.body["model"].as_str() {
        Some("small") => stub::text("from the lab"),
        _ => error(500, "dead"),
    });
    let vendor = Stub::replies([stub::text("from the vendor")]);
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{retry_delay: 0.05, max_retries: 0}}\n\
             providers: {{lab: {{base_url: \"{}\"}}}}\n\
             agents:\n  a: {{role: R, provider: lab, model: big, fallback: [small]}}\n  \
             b: {{role: R, provider: lab, model: big, fallback: [gpt4o]}}\n",
            lab.url()
        ),
    );
    let run = |args: &[&str]| {
        let mut command = context.command(&[&["--config", "orch.yaml"], args].concat());
        command
            .env("OPENAI_API_KEY", "sk-test-0123456789abcdef")
            .env("OPENAI_BASE_URL", vendor.url());
        crate::support::ran(command.output().unwrap()).exits(0)
    };
    let result = run(&["--agent", "a", "--prompt", "x", "--json"]).json();
    assert_eq!(
        (&result["model"], &result["output"]),
        (&json!("lab/small"), &json!("from the lab"))
    );
    assert!(vendor.seen().is_empty());
    let told = run(&["check"]).stdout;
    for line in [
        "  ask lab/big, then lab/small — model, fallback\n",
        "  ask lab/big, then openai/gpt-4o — model, fallback\n",
    ] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn nobody_else_is_asked_where_it_cannot_help() {
    for (name, refusal, code) in [
        (
            "a bad request",
            error(400, r#"{"error":{"message":"no such field"}}"#),
            5,
        ),
        (
            "a filter",
            error(
                400,
                r#"{"error":{"message":"m","code":"content_policy_violation"}}"#,
            ),
            1,
        ),
        (
            "a page",
            stub::status(200, &[("content-type", "text/html")], "<html>hi"),
            5,
        ),
        (
            "too long for a model of unknown size",
            error(
                400,
                r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#,
            ),
            5,
        ),
    ] {
        let first = Stub::replies([refusal]);
        let second = Stub::replies([stub::text("never")]);
        let result = ask(&context(&first, &second, "second/n", ""), code);
        assert_eq!(result["fallbacks"], json!([]), "{name}");
        assert_eq!(
            (first.chats().len(), second.chats().len()),
            (1, 0),
            "{name}"
        );
    }
}

#[test]
fn an_empty_account_is_not_asked_by_another_name() {
    let quota = r#"{"error":{"message":"m","code":"insufficient_quota"}}"#;
    for (refusal, class) in [(error(429, quota), "quota"), (error(401, "{}"), "auth")] {
        let first = Stub::replies([refusal]);
        let second = Stub::replies([stub::text("from the second")]);
        let shared = context(&first, &second, "first/other, first/third", "");
        let result = ask(&shared, 4);
        assert_eq!(result["error"]["attempts"][0]["class"], class);
        assert_eq!(first.chats().len(), 1);
        let passed_by = context(&first, &second, "first/other, second/n", "");
        assert_eq!(ask(&passed_by, 0)["model"], "second/n");
        assert_eq!((first.chats().len(), second.chats().len()), (2, 1));
    }
}

#[test]
fn the_time_of_the_call_is_shared_and_all_failing_is_told() {
    let hang = || Stub::replies([vec![stub::Do::Hang]]);
    let (first, second) = (hang(), hang());
    let clocks = ", timeout: 6, clocks: {first_event: 3.5}";
    let started = std::time::Instant::now();
    let result = ask(&context(&first, &second, "second/n", clocks), 6);
    assert!(started.elapsed() < std::time::Duration::from_mins(1));
    let classes: Vec<&Value> = result["error"]["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| &attempt["class"])
        .collect();
    assert_eq!(classes.last(), Some(&&json!("deadline")), "{result}");

    let dead = || Stub::replies([error(500, "dead")]);
    let (first, second) = (dead(), dead());
    let result = ask(&context(&first, &second, "second/n, second/o", ""), 5);
    assert_eq!((first.chats().len(), second.chats().len()), (2, 4));
    assert_eq!(result["error"]["attempts"].as_array().unwrap().len(), 6);
    assert_eq!(result["fallbacks"].as_array().unwrap().len(), 2);
}
