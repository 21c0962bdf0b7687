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
        json!({"prompt_tokens": 10, "completion_tokens": 5, "cost": 0}),
        json!({"prompt_tokens": 10, "completion_tokens": 5, "cost": 0.000_001}),
        json!({"prompt_tokens": 10, "completion_tokens": 5, "cost_in_usd_ticks": 1}),
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

/// A cost that is told counts where the vendor is known to tell what it charges; from anybody else it counts
/// where it is more than the price list says.
#[test]
fn a_cost_below_the_price_list_is_believed_of_vendors_that_bill_by_it() {
    let server = Stub::start(|seen| {
        let cost = if seen.last_text().contains("dear") {
            0.5
        } else {
            0.004
        };
        answer(&json!({"prompt_tokens": 10, "completion_tokens": 5, "cost": cost}))
    });
    let context = Context::new();
    let prices = "prices: {m: {input: 1000, output: 1000}}";
    let url = server.url();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0}}\nproviders:\n  \
             lab: {{kind: openai, base_url: \"{url}\", {prices}}}\n  \
             openrouter: {{base_url: \"{url}\", api_key_env: KEY, {prices}}}\nagents:\n  \
             lab: {{role: R, provider: lab, model: m, tools: []}}\n  \
             router: {{role: R, provider: openrouter, model: m, tools: []}}\n"
        ),
    );
    for (agent, prompt, cost, source) in [
        ("lab", "cheap", "0.015000", "computed"),
        ("lab", "dear", "0.500000", "reported"),
        ("router", "cheap", "0.004000", "reported"),
        ("router", "dear", "0.500000", "reported"),
    ] {
        let ask = [
            "--config",
            "orch.yaml",
            "--agent",
            agent,
            "--prompt",
            prompt,
            "--json",
        ];
        let mut command = context.command(&ask);
        let ran = crate::support::ran(command.env("KEY", "sk-test").output().unwrap());
        let result = ran.exits(0).json();
        assert_eq!(
            (&result["cost_usd"], &result["cost_source"]),
            (&cost.into(), &source.into()),
            "{agent} {prompt}"
        );
    }
}
