//! What called agents warn of reaches whoever asked.

use serde_json::{Value, json};

use super::priced;
use crate::support::{Context, Stub, stub};

fn context(server: &Stub, settings: &str, model: &str) -> Context {
    let context = Context::new();
    let boss = "  boss: {role: R, provider: stub, model: m, delegates: [helper]}\n";
    let helper = format!("  helper: {{role: R, provider: stub, model: {model}}}\n");
    let yaml = priced(&server.url(), 10.0, 10.0, settings, "") + boss + &helper;
    context.write("orch.yaml", yaml);
    context
}

fn server() -> Stub {
    Stub::start(|seen| {
        if !seen.body["tools"].is_array() {
            stub::text_with_usage("ok", 20_000, 10)
        } else if seen.tool_messages().is_empty() {
            stub::tool_calls(&[("c", "delegate", json!({"agent": "helper", "prompt": "x"}))])
        } else {
            stub::text("done")
        }
    })
}

const ASKED: [&str; 4] = ["--agent", "boss", "--prompt", "x"];

/// A price that is not known and a budget that is nearly used up are said once, in every form of output.
#[test]
fn what_a_called_agent_warns_of_is_told() {
    for (settings, model, words) in [
        ("", "unknown", "the price of `stub/unknown` is not known"),
        (
            "budget: {run_usd: 0.25, warn_at: 0.5}",
            "m",
            "of the run budget of 0.250000 USD is used",
        ),
    ] {
        let server = server();
        let context = context(&server, settings, model);
        let text = context.orch(&ASKED).exits(0);
        assert_eq!(text.stderr.matches(words).count(), 1, "{text:#?}");
        let result = context
            .orch(&[&ASKED[..], &["--json"]].concat())
            .exits(0)
            .json();
        let warnings = result["warnings"].as_array().unwrap();
        let told = warnings.iter().filter_map(Value::as_str);
        let told: Vec<&str> = told.filter(|warning| warning.contains(words)).collect();
        assert_eq!(told.len(), 1, "{words}: {warnings:?}");
        assert!(told[0].starts_with("helper: "), "{told:?}");
    }
}
