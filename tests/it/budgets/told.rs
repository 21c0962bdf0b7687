//! What servers tell of tokens and money in their own ways: all of it is charged.

use serde_json::{Value, json};

use crate::support::{Context, Stub, ran, stub};

/// A model `m` at 10, 100 and 1 USD a million tokens of input, output and cache. `openrouter` is a vendor
/// that bills by what it tells.
fn context(url: &str) -> Context {
    let context = Context::new();
    let prices =
        "prices: {m: {input: 10, output: 100, cache_read: 1}, free: {input: 0, output: 0}}";
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0, enable_circuit_breaker: false}}\nproviders:\n  \
             lab: {{kind: openai, base_url: \"{url}\", {prices}}}\n  \
             claude-like: {{kind: anthropic, base_url: \"{url}\", {prices}}}\n  \
             openrouter: {{base_url: \"{url}\", api_key_env: KEY, {prices}}}\nagents:\n  \
             lab: {{role: R, provider: lab, model: m, tools: []}}\n  \
             messages: {{role: R, provider: claude-like, model: m, tools: []}}\n  \
             router: {{role: R, provider: openrouter, model: m, tools: []}}\n  \
             gift: {{role: R, provider: openrouter, model: free, tools: []}}\n"
        ),
    );
    context
}

fn ask(context: &Context, agent: &str) -> Value {
    let ask = [
        "--config",
        "orch.yaml",
        "--agent",
        agent,
        "--prompt",
        "x",
        "--json",
    ];
    let mut command = context.command(&ask);
    ran(command.env("KEY", "sk-test").output().unwrap()).json()
}

/// What the calls of an agent are charged, where the server gives these answers in turn.
fn charged(agent: &str, answers: Vec<Vec<stub::Do>>) -> Vec<(String, String)> {
    let count = answers.len();
    let server = Stub::replies(answers);
    let context = context(&server.url());
    let charge = |_| {
        let result = ask(&context, agent);
        let text = |key: &str| result[key].as_str().unwrap().to_owned();
        (text("cost_usd"), text("cost_source"))
    };
    let charges = (0..count).map(charge).collect();
    assert_eq!(server.chats().len(), count);
    charges
}

fn chat(usages: &[Value]) -> Vec<stub::Do> {
    let said = json!({"role": "assistant", "content": "a fair answer"});
    let mut events = vec![stub::chunk(&said, None)];
    events.extend(
        usages
            .iter()
            .map(|usage| json!({"choices": [], "usage": usage})),
    );
    events.push(stub::chunk(&json!({}), Some("stop")));
    stub::sse(&events)
}

#[test]
fn tokens_told_beside_or_in_parts_are_counted() {
    let rows = [
        (
            vec![json!({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1500})],
            "0.060000",
        ),
        (
            vec![json!({"prompt_tokens": 1000, "completion_tokens": 100,
                "completion_tokens_details": {"reasoning_tokens": 400}})],
            "0.060000",
        ),
        (
            vec![
                json!({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 101_100,
                "prompt_tokens_details": {"cached_tokens": 100_000}}),
            ],
            "0.120000",
        ),
        (
            vec![
                json!({"prompt_tokens": 100_000}),
                json!({"completion_tokens": 100}),
            ],
            "1.010000",
        ),
        (
            vec![
                json!({"prompt_tokens": 100_000, "completion_tokens": 100}),
                json!({"prompt_tokens": "n/a", "completion_tokens": 0}),
            ],
            "1.010000",
        ),
    ];
    let answers = rows.iter().map(|(usages, _)| chat(usages)).collect();
    for ((usages, cost), charge) in rows.iter().zip(charged("lab", answers)) {
        let expected = ((*cost).to_owned(), "computed".to_owned());
        assert_eq!(charge, expected, "{usages:?}");
    }
}

#[test]
fn a_bill_of_the_vendor_behind_a_router_is_charged() {
    let told = |more: Value| {
        let mut usage = json!({"prompt_tokens": 1000, "completion_tokens": 100});
        let all = usage.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
        usage
    };
    let upstream = |cost: f64| json!({"upstream_inference_cost": cost});
    let rows = [
        (
            json!({"cost": 0, "is_byok": true, "cost_details": upstream(0.036)}),
            ("0.036000", "reported"),
        ),
        (
            json!({"cost": 0.002, "is_byok": true, "cost_details": upstream(0.036)}),
            ("0.038000", "reported"),
        ),
        (
            json!({"cost": 0.002, "is_byok": true}),
            ("0.020000", "computed"),
        ),
        (
            json!({"cost": 0.036, "is_byok": false, "cost_details": upstream(0.036)}),
            ("0.036000", "reported"),
        ),
        (json!({"cost": 0}), ("0.020000", "computed")),
    ];
    let answers = rows.iter().map(|(more, _)| chat(&[told(more.clone())]));
    for ((more, expected), charge) in rows.iter().zip(charged("router", answers.collect())) {
        assert_eq!((charge.0.as_str(), charge.1.as_str()), *expected, "{more}");
    }
    let gift = charged("gift", vec![chat(&[told(json!({"cost": 0}))])]);
    assert_eq!(gift, [("0.000000".to_owned(), "reported".to_owned())]);
}

#[test]
fn no_count_of_messages_is_taken_back() {
    let messages = |begun: Value, ended: &[Value]| {
        let mut events = vec![
            json!({"type": "message_start", "message": {"model": "m", "usage": begun}}),
            json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": "a fair answer"}}),
        ];
        for usage in ended {
            let stop = json!({"stop_reason": "end_turn"});
            events.push(json!({"type": "message_delta", "delta": stop, "usage": usage}));
        }
        events.push(json!({"type": "message_stop"}));
        stub::sse(&events)
    };
    let answers = vec![
        messages(
            json!({"input_tokens": 1000}),
            &[json!({"input_tokens": "n/a", "output_tokens": 100})],
        ),
        messages(
            json!({"input_tokens": 1000}),
            &[json!({"output_tokens": 100}), json!({"output_tokens": 2})],
        ),
        messages(
            json!({"input_tokens": 1000}),
            &[json!({"input_tokens": 10, "output_tokens": 100})],
        ),
    ];
    let expected = ("0.020000".to_owned(), "computed".to_owned());
    assert_eq!(charged("messages", answers), vec![expected; 3]);
}

#[test]
fn an_error_with_a_bill_is_charged() {
    let usage = json!({"prompt_tokens": 1000, "completion_tokens": 100, "cost": 0.5});
    let body = json!({"error": {"message": "no", "type": "t"}, "usage": usage});
    let inside = json!({"error": {"message": "no", "type": "t", "usage": usage}});
    let free = json!({"error": {"message": "no"}, "usage": {"prompt_tokens": 0, "cost": 0}});
    let mut answers: Vec<_> = [402, 429, 529, 200]
        .iter()
        .map(|&status| stub::status(status, &[], &body.to_string()))
        .collect();
    answers.push(stub::sse(std::slice::from_ref(&body)));
    answers.push(stub::status(503, &[], &inside.to_string()));
    let billed = answers.len();
    answers.push(stub::status(429, &[], &free.to_string()));
    answers.push(stub::status(402, &[], r#"{"error": {"message": "no"}}"#));
    let charges = charged("router", answers);
    let (costly, refused) = charges.split_at(billed);
    for (cost, source) in costly {
        assert_eq!((cost.as_str(), source.as_str()), ("0.500000", "reported"));
    }
    assert!(
        refused.iter().all(|(cost, _)| cost == "0.000000"),
        "{refused:?}"
    );
    let told = json!({"type": "error", "error": {"type": "overloaded_error", "message": "no"},
        "usage": {"input_tokens": 1000, "output_tokens": 100}});
    let answers = vec![
        stub::status(529, &[], &told.to_string()),
        stub::sse(&[told]),
    ];
    for (cost, _) in charged("messages", answers) {
        assert_eq!(cost, "0.020000");
    }
}

/// Which model worked is in the ledger, also where its answer was cut.
#[test]
fn the_model_of_a_cut_answer_is_known() {
    let said = stub::chunk(&json!({"role": "assistant", "content": "half"}), None);
    let server =
        Stub::start(move |_| vec![stub::stream_head(), stub::event(&said), stub::Do::Close]);
    let context = context(&server.url());
    assert_eq!(ask(&context, "lab")["ok"], false);
    let csv = context.orch(&["--costs", "--csv"]).exits(0).stdout;
    assert!(csv.contains(",stub-model,"), "{csv}");
}
