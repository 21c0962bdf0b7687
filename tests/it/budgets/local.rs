//! Servers on this machine: free, unless they are known to cost something.

use serde_json::json;

use super::priced;
use crate::support::{Context, Stub, agent_config, stub};

#[test]
fn a_model_without_a_price_beside_priced_ones_is_not_free() {
    let server = Stub::replies([stub::text("Hello.")]);
    let ask = ["--agent", "a", "--prompt", "x", "--json"];
    let context = Context::new();
    context.write("orch.yaml", agent_config(&server.url(), ""));
    let free = context
        .orch(&[&ask[..], &["--budget", "1"]].concat())
        .exits(0)
        .json();
    assert_eq!(
        (&free["cost_usd"], &free["cost_source"]),
        (&"0.000000".into(), &"computed".into())
    );

    context.write("orch.yaml", priced(&server.url(), 1.0, 1.0, "", ""));
    let mistyped = [&ask[..], &["--model", "stub/n", "--budget", "1"]].concat();
    let refused = context.orch(&mistyped).exits(7).json();
    let told = "the price of `stub/n` is not known, so no budget can cover it";
    assert_eq!(refused["error"]["message"], told, "{refused:#}");
    let unpriced = context
        .orch(&[&ask[..], &["--model", "stub/n"]].concat())
        .exits(0)
        .json();
    assert_eq!(unpriced["cost_source"], "unpriced", "{unpriced:#}");
    assert_eq!(server.seen().len(), 2);
}

/// A gateway on this machine may tell what its calls cost: that is charged, and a budget stops what comes after.
#[test]
fn a_server_that_tells_what_no_price_list_has_is_stopped_by_the_budget() {
    for what in ["on this machine", "at no price", "without a price"] {
        let server = Stub::start(|_| {
            let mut told = stub::usage(10, 5);
            told["usage"]["cost"] = json!(0.4);
            let call = json!({"index": 0, "id": "c1", "type": "function",
                "function": {"name": "list_dir", "arguments": "{}"}});
            stub::sse(&[
                stub::chunk(&json!({"role": "assistant", "tool_calls": [call]}), None),
                stub::chunk(&json!({}), Some("tool_calls")),
                told,
            ])
        });
        let context = Context::new();
        let (tools, settings) = ("tools: [list_dir]", "budget: {on_unpriced: allow}");
        let config = match what {
            "on this machine" => agent_config(&server.url(), ""),
            "at no price" => priced(&server.url(), 0.0, 0.0, "", tools),
            _ => priced(&server.url(), 0.0, 0.0, settings, tools)
                .replace("prices: {m:", "prices: {n:"),
        };
        context.write("orch.yaml", config);
        let ask = [
            "--agent", "a", "--prompt", "x", "--json", "--budget", "1.00",
        ];
        let result = context.orch(&ask).exits(7).json();
        let message = result["error"]["message"].as_str().unwrap();
        let words = "the budget `--budget` of 1.000000 USD would be exceeded: 0.800000 spent";
        assert!(message.starts_with(words), "{what}: {message}");
        assert_eq!(server.chats().len(), 2, "{what}");
    }
}

/// What one process has found out is in the ledger for the next one; and a budget that is exceeded stops everything.
#[test]
fn what_a_server_told_once_the_next_process_holds() {
    let server = Stub::start(|_| {
        let mut told = stub::usage(10, 5);
        told["usage"]["cost"] = json!(0.8);
        stub::sse(&[
            stub::chunk(&json!({"role": "assistant", "content": "ok"}), None),
            stub::chunk(&json!({}), Some("stop")),
            told,
        ])
    });
    let context = Context::new();
    let yaml = priced(&server.url(), 0.0, 0.0, "budget: {day_usd: 1.00}", "");
    context.write("orch.yaml", yaml);
    let ask = ["--agent", "a", "--prompt", "x", "--json"];
    context.orch(&ask).exits(0);
    let refusal = || {
        let refused = context.orch(&ask).exits(7).json();
        refused["error"]["message"].as_str().unwrap().to_owned()
    };
    let would_be = "the budget `day` of 1.000000 USD would be exceeded: 0.800000 spent, 0.000000 held, 0.200000 left, \
                    and this call may cost 0.800000";
    assert!(refusal().starts_with(would_be), "{}", refusal());
    let lower = priced(&server.url(), 0.0, 0.0, "budget: {day_usd: 0.50}", "");
    context.write(
        "orch.yaml",
        lower
            .replace("m: {", "n: {")
            .replace("model: m", "model: n"),
    );
    let is = "the budget `day` of 0.500000 USD is exceeded: 0.800000 spent, 0.000000 held";
    assert!(refusal().starts_with(is), "{}", refusal());
    assert_eq!(server.chats().len(), 1);
    // A free call under a budget of nothing is none that exceeds it.
    let free = Stub::start(|_| stub::text("ok"));
    let context = Context::new();
    context.write("orch.yaml", agent_config(&free.url(), ""));
    context
        .orch(&[&ask[..], &["--budget", "0"]].concat())
        .exits(0);
}
