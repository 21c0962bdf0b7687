//! A deep health check asks models, and `--budget` caps all that it asks.

use super::{money, priced};
use crate::support::{Context, Stub, stub};

#[test]
fn a_budget_caps_a_deep_check_as_a_whole() {
    // Five tokens out at a tenth of a cent: half a cent an agent.
    let server = Stub::start(|_| stub::text("OK"));
    for (cap, healthy) in [("0.012", 2), ("0.02", 3)] {
        let context = Context::new();
        let mut yaml = priced(&server.url(), 0.0, 1000.0, "", "max_output_tokens: 5");
        for name in ["b", "c"] {
            yaml.push_str(&format!(
                "  {name}: {{role: R, provider: stub, model: m, max_output_tokens: 5}}\n"
            ));
        }
        context.write("orch.yaml", yaml);
        let args = ["--health", "--deep", "--json", "--budget", cap];
        let checked = context.orch(&args).json();
        let told: Vec<&serde_json::Value> = ["a", "b", "c"]
            .iter()
            .map(|name| &checked[name]["healthy"])
            .collect();
        let good = told.iter().filter(|told| **told == true).count();
        assert_eq!(good, healthy, "{checked:#}");
        if healthy < 3 {
            assert_eq!(checked["c"]["class"], "budget", "{checked:#}");
        }
        let costs = context.orch(&["--costs", "--json"]).exits(0).json();
        let cap = cap.parse::<orch::usage::Usd>().unwrap().pico();
        assert!(money(&costs["total_cost_usd"]) <= cap, "{costs:#}");
    }
}

/// What a model may say at most is held while it is asked: the agents take turns, so that what one holds and does not
/// spend is there for the next.
#[test]
fn what_one_agent_holds_and_does_not_spend_is_there_for_the_next() {
    let server = Stub::start(|_| stub::text("OK"));
    let context = Context::new();
    let mut yaml = priced(&server.url(), 0.0, 1000.0, "", "max_output_tokens: 200");
    for number in 0..5 {
        yaml.push_str(&format!(
            "  b{number}: {{role: R, provider: stub, model: m, max_output_tokens: 200}}\n"
        ));
    }
    context.write("orch.yaml", yaml);
    let args = ["--health", "--deep", "--json", "--budget", "0.3"];
    context.orch(&args).exits(0);
    assert_eq!(server.chats().len(), 6);
}
