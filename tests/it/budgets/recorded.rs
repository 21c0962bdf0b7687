//! Recorded replies were paid for when they were recorded.

use super::priced;
use crate::support::{Context, Stub, stub};

#[test]
fn a_replayed_run_costs_and_holds_nothing() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = Context::new();
    let yaml = |settings: &str| priced(&server.url(), 1000.0, 1000.0, settings, "tools: []");
    context.write("orch.yaml", yaml(""));
    let ask = ["--agent", "a", "--prompt", "x", "--json"];
    let recorded = context
        .orch(&[&ask[..], &["--record", "r.jsonl"]].concat())
        .exits(0)
        .json();
    assert_eq!(recorded["cost_usd"], "0.015000");
    let replay = [&ask[..], &["--replay", "r.jsonl"]].concat();
    // By flag against a day that is used up, and as the agent's own provider.
    context.write("orch.yaml", yaml("budget: {day_usd: 0.001}"));
    let by_flag = context.orch(&replay).exits(0).json();
    let plan = context
        .orch(&[&replay[..], &["--dry-run"]].concat())
        .exits(0)
        .json();
    let own = context
        .read("orch.yaml")
        .replace("provider: stub", "provider: replay, recording: r.jsonl")
        .replace(
            "  stub:",
            "  replay: {prices: {m: {input: 9, output: 9}}}\n  stub:",
        );
    context.write("orch.yaml", own);
    let by_provider = context.orch(&ask).exits(0).json();
    for answer in [by_flag, by_provider] {
        assert_eq!(answer["output"], "ok", "{answer:#}");
        assert_eq!(answer["cost_usd"], "0.000000", "{answer:#}");
    }
    for cost in ["lowest_usd", "highest_usd"] {
        assert_eq!(plan["plan"][cost], "0.000000", "{plan:#}");
    }
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_cost_usd"], "0.015000");
    assert_eq!(costs["held_usd"], "0.000000");
    assert_eq!(server.chats().len(), 1);
}
