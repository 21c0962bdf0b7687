//! A model has several names; a price that is written under any of them is its price.

use serde_json::Value;

use crate::support::{Context, Stub, stub};

const NAMES: [&str; 3] = ["gpt4o", "gpt-4o", "openai/gpt-4o"];

/// The answer of a run of a model for which this is configured.
fn cost(server: &Stub, model: &str, configured: &str) -> Value {
    let context = Context::new();
    context.write(".env", "OPENAI_API_KEY=sk-test-0123456789abcdef\n");
    let yaml = format!(
        "providers:\n  openai: {{base_url: \"{}\", {configured}}}\n\
         agents:\n  a: {{role: R, provider: openai, model: {model}, tools: []}}\n",
        server.url()
    );
    context.write("orch.yaml", yaml);
    let args = ["--agent", "a", "--prompt", "x", "--json"];
    let answer = context.orch(&args).exits(0).json();
    let told = context.orch(&["prices", model, "--json"]).exits(0).json();
    let is_configured = configured.starts_with("prices");
    assert_eq!(told["source"] == "config", is_configured, "{told}");
    answer
}

#[test]
fn a_price_counts_under_every_name_of_its_model() {
    // Ten tokens in and five out, at a tenth of a cent each.
    let server = Stub::start(|_| stub::text("ok"));
    for key in NAMES {
        for model in NAMES {
            let prices = format!("prices: {{{key}: {{input: 1000, output: 1000}}}}");
            let answer = cost(&server, model, &prices);
            assert_eq!(answer["cost_usd"], "0.015000", "{key} for {model}");
        }
    }
}

/// A snapshot that no list has costs what its model costs: here what the configuration says of that.
#[test]
fn a_price_counts_for_the_snapshots_of_its_model_that_are_not_listed_themselves() {
    let server = Stub::start(|_| stub::text("ok"));
    let prices = "prices: {gpt4o: {input: 1000, output: 1000}}";
    let answer = cost(&server, "gpt-4o-2031-01-02", prices);
    assert_eq!(answer["cost_usd"], "0.015000", "{answer:#}");
    // Ten tokens at 5 and five at 15 dollars a million: a listed snapshot has a price of its own.
    let answer = cost(&server, "gpt-4o-2024-05-13", "windows: {gpt4o: 9000}");
    assert_eq!(answer["cost_usd"], "0.000125", "{answer:#}");
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!("providers: {{openai: {{{prices}}}}}\n"),
    );
    let told = context.orch(&["prices", "gpt-4o-2024-05-13", "--json"]);
    assert_eq!(told.exits(0).json()["source"], "builtin");
}

#[test]
fn a_window_counts_under_every_name_of_its_model() {
    let server = Stub::start(|_| stub::text("ok"));
    for key in NAMES {
        let context = Context::new();
        context.write(".env", "OPENAI_API_KEY=sk-test-0123456789abcdef\n");
        // The last of the turns in a conversation that fills its window is no larger than that.
        let yaml = |key: &str| {
            format!(
                "providers:\n  openai: {{base_url: \"{}\", prices: {{gpt-4o: {{input: 1000, output: 0}}}}, \
                 windows: {{{key}: 2000}}}}\n\
                 agents:\n  a: {{role: R, provider: openai, model: gpt-4o, tools: [glob], max_turns: 9}}\n",
                server.url()
            )
        };
        let highest = |key: &str| {
            context.write("orch.yaml", yaml(key));
            let args = ["--agent", "a", "--prompt", "x", "--dry-run", "--json"];
            let plan = context.orch(&args).exits(0).json()["plan"].clone();
            super::money(&plan["highest_usd"])
        };
        assert_eq!(highest(key), highest("gpt-4o"), "{key}");
    }
}

/// A price that nobody pays is taken for one that holds.
#[test]
fn rows_that_no_model_is_looked_up_by_are_told() {
    let context = Context::new();
    let price = "{input: 1, output: 1}";
    context.write(
        "orch.yaml",
        format!(
            "providers:\n  openai:\n    prices: {{claude-opus-5-5: {price}, gpt-4o-mini: {price}, \
             gtp-4o: {price}, my-own: {price}}}\n    windows: {{anthropic/x: 1000}}\n  \
             lab: {{base_url: \"http://127.0.0.1:9/v1\", prices: {{openai/gpt-4o: {price}, any: {price}}}}}\n\
             agents:\n  a: {{role: R, provider: openai, model: openai/my-own}}\n"
        ),
    );
    let check = context.orch(&["check", "--json"]).exits(0).json();
    let told = [
        "providers.openai.prices: `claude-opus-5-5` means anthropic/claude-opus-5-5, which `openai` is never asked for; \
         write it under `anthropic`",
        "providers.openai.prices: `gtp-4o` is no listed model and no agent's; did you mean `gpt-4o`?",
        "providers.openai.windows: `anthropic/x` means anthropic/x, which `openai` is never asked for; \
         write it under `anthropic`",
    ];
    assert_eq!(check["notices"], serde_json::json!(told), "{check:#}");
    let text = context.orch(&["check"]).exits(0).stdout;
    for words in told {
        assert!(text.contains(&format!("\nnote: {words}\n")), "{text}");
    }
}

#[test]
fn two_names_of_one_model_in_one_table_are_refused() {
    for (table, value) in [("prices", "{input: 1, output: 1}"), ("windows", "1000")] {
        let context = Context::new();
        context.write(
            "orch.yaml",
            format!(
                "providers:\n  openai:\n    {table}:\n      gpt4o: {value}\n      gpt-4.1: {value}\n      \
                 openai/gpt-4o: {value}\nagents:\n  a: {{role: R, provider: openai, model: gpt-4o}}\n"
            ),
        );
        let refused = context.orch(&["check"]).exits(3);
        let words = format!(
            "orch.yaml:6:7: `gpt4o` and `openai/gpt-4o` are one model, listed twice in `{table}`"
        );
        assert!(refused.stderr.contains(&words), "{refused:#?}");
    }
}
