//! Agents that others call: what they spend counts where what their callers spend counts.

use serde_json::json;

use super::{money, priced};
use crate::support::stub::Seen;
use crate::support::{Context, Stub, stub};

/// A `boss` that has `helper` do it, at a tenth of a cent a token of output, 300 tokens an answer of the helper.
fn place(server: &Stub, settings: &str) -> Context {
    let context = Context::new();
    let yaml = priced(
        &server.url(),
        0.0,
        1000.0,
        settings,
        "max_output_tokens: 20",
    );
    let team = yaml.replace(
        "  a: {",
        "  helper: {role: You help., provider: stub, model: m, max_output_tokens: 300}\n  \
         boss: {delegates: [helper], ",
    );
    context.write("orch.yaml", team);
    context
}

fn team() -> Stub {
    Stub::start(|seen| {
        let role = seen.body["messages"][0]["content"].as_str().unwrap();
        let called = seen.body["messages"].as_array().unwrap().last().unwrap()["role"] == "tool";
        if role.contains("You help.") {
            return stub::text_with_usage("helped", 10, 300);
        }
        if called {
            return stub::text_with_usage("done", 10, 1);
        }
        stub::tool_calls(&[(
            "c1",
            "delegate",
            json!({"agent": "helper", "prompt": "help"}),
        )])
    })
}

#[test]
fn what_called_agents_spend_counts_in_the_conversation_of_their_caller() {
    let server = team();
    let context = place(&server, "budget: {session_usd: 0.35}");
    let ask = [
        "--agent",
        "boss",
        "--prompt",
        "x",
        "--session",
        "s",
        "--json",
    ];
    let result = context.orch(&ask).exits(0).json();
    let spent = money(&result["cost_usd"]);
    assert!(spent > 300_000_000_000, "{result:#}");
    let helped = |seen: &[Seen]| {
        let role = |seen: &Seen| seen.body["messages"][0]["content"].to_string();
        seen.iter()
            .filter(|seen| role(seen).contains("You help."))
            .count()
    };
    // What is left covers the caller, not another helper: the caller hears of that.
    let next = context.orch(&ask).exits(0).json();
    assert_eq!(helped(&server.chats()), 1, "{next:#}");
    let heard = server.chats().last().unwrap().tool_messages();
    assert!(
        heard.last().unwrap()["content"]
            .to_string()
            .contains("the budget `session` of 0.350000 USD would be exceeded"),
        "{heard:#?}"
    );
    context.orch(&["check", "--store"]).exits(0);
}
