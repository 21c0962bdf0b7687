//! Servers that tell wrong counts: nothing costs nothing for it, and no report breaks.

use serde_json::{Value, json};

use super::{money, priced};
use crate::support::{Context, Stub, stub};

/// A tenth of a cent a token: the least that a prompt and an answer of one token each cost.
const LEAST: i64 = 2_000_000_000;

fn answer(usage: &Value) -> Vec<stub::Do> {
    let mut last = stub::usage(10, 5);
    last["usage"] = usage.clone();
    stub::sse(&[
        stub::chunk(
            &json!({"role": "assistant", "content": "a fair answer"}),
            None,
        ),
        stub::chunk(&json!({}), Some("stop")),
        last,
    ])
}

#[test]
fn a_server_that_lies_about_its_counts_is_charged_for_what_came() {
    let lies = [
        json!(null),
        json!({}),
        json!([]),
        json!("many"),
        json!({"prompt_tokens": -10, "completion_tokens": -5}),
        json!({"prompt_tokens": -10, "completion_tokens": 5}),
        json!({"prompt_tokens": 10, "completion_tokens": -5}),
        json!({"prompt_tokens": 0, "completion_tokens": 0}),
        json!({"prompt_tokens": 10, "completion_tokens": 0}),
        json!({"prompt_tokens": "10", "completion_tokens": "five"}),
        json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX, "total_tokens": u64::MAX,
            "completion_tokens_details": {"reasoning_tokens": u64::MAX}}),
        json!({"prompt_tokens": 1e300, "completion_tokens": 1e18}),
        json!({"prompt_tokens": 10, "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": u64::MAX, "cache_write_tokens": u64::MAX}}),
        json!({"prompt_tokens": 10, "completion_tokens": 5, "cost": -1}),
        json!({"prompt_tokens": 10, "completion_tokens": 5, "cost": "free"}),
        json!({"prompt_tokens": 10, "completion_tokens": 5, "cost": 1e300}),
    ];
    let count = lies.len();
    let told = lies.clone();
    let server = Stub::start(move |seen| answer(&told[seen.number % count]));
    let context = Context::new();
    let yaml = priced(&server.url(), 1000.0, 1000.0, "", "max_output_tokens: 500");
    context.write("orch.yaml", yaml);
    let mut sum = 0;
    for lie in &lies {
        let result = context
            .orch(&["--agent", "a", "--prompt", "x", "--json"])
            .exits(0)
            .json();
        let cost = money(&result["cost_usd"]);
        // Never nothing, and never more than what was told to be the most: 0.5 for 500 tokens and the prompt.
        assert!(
            (LEAST..1_000_000_000_000).contains(&cost),
            "{lie}: {result}"
        );
        sum += cost;
    }
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(money(&costs["total_cost_usd"]), sum);
    context.orch(&["--costs", "--csv"]).exits(0);
    context.orch(&["check", "--store"]).exits(0);
}

/// Who says that it used more than was asked for is charged that, and the budget stops what comes after.
#[test]
fn a_server_that_takes_more_than_was_held_stops_the_next_call() {
    let server = Stub::start(|_| stub::text_with_usage("ok", 10, 900_000));
    let context = Context::new();
    let yaml = priced(
        &server.url(),
        0.0,
        1.0,
        "budget: {day_usd: 0.5}",
        "max_output_tokens: 5",
    );
    context.write("orch.yaml", yaml);
    let ask = ["--agent", "a", "--prompt", "x", "--json"];
    let result = context.orch(&ask).exits(0).json();
    assert_eq!(result["cost_usd"], "0.900000");
    let refused = context.orch(&ask).exits(7);
    assert!(refused.stdout.contains("0.000000 left"), "{refused:#?}");
    assert_eq!(server.chats().len(), 1);
}
