//! Every call of a model counts, whoever makes it: retries, fallbacks, called agents, judges, checks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Context, Stub, stub};

/// The rows of the ledger by column.
fn rows(context: &Context) -> Vec<BTreeMap<String, String>> {
    let csv = context.orch(&["--costs", "--csv"]).exits(0).stdout;
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| {
        let cells = line.split(',').map(str::to_owned);
        names
            .iter()
            .map(|name| (*name).to_owned())
            .zip(cells)
            .collect()
    };
    lines.map(row).collect()
}

fn column<'a>(rows: &'a [BTreeMap<String, String>], name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[name].as_str()).collect()
}

/// Models `m` and `n` of one server: a tenth of a cent a token, and two of them.
fn config(server: &Stub, settings: &str, agents: &str) -> String {
    format!(
        "settings: {{retry_delay: 0.01, {settings}}}\n\
         providers:\n  stub: {{kind: openai, base_url: \"{}\", prices: {{m: {{input: 1000, output: 1000}}, \
         n: {{input: 2000, output: 2000}}}}}}\nagents:\n{agents}",
        server.url()
    )
}

/// Who is asked: the word behind `You are` in the system message.
fn asked(seen: &stub::Seen) -> String {
    let system = seen.body["messages"][0]["content"].as_str().unwrap();
    let who = system.split("You are ").nth(1).unwrap_or_default();
    who.split('.').next().unwrap().to_owned()
}

#[test]
fn a_retry_after_a_cut_answer_pays_for_both() {
    let server = Stub::start(|seen| {
        if seen.number == 0 {
            let mut cut = vec![stub::stream_head()];
            cut.push(stub::event(&stub::chunk(
                &json!({"role": "assistant", "content": "x".repeat(300)}),
                None,
            )));
            cut.push(stub::Do::Close);
            return cut;
        }
        stub::text("whole")
    });
    let context = Context::new();
    let agents = "  a: {role: You are a., provider: stub, model: m}\n";
    context.write("orch.yaml", config(&server, "max_retries: 2", agents));
    let result = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(0)
        .json();
    assert_eq!(result["attempts"], 2);
    let rows = rows(&context);
    assert_eq!(column(&rows, "attempt"), ["1", "2"]);
    assert_eq!(column(&rows, "state"), ["settled", "settled"]);
    assert_eq!(column(&rows, "cost_source"), ["estimated", "computed"]);
    // 300 bytes at 1.2 times a token for three, and the prompt.
    assert_eq!(column(&rows, "output_tokens"), ["120", "5"]);
    let first: orch::usage::Usd = rows[0]["cost_usd"].parse().unwrap();
    assert!(first.pico() > 120_000_000_000, "{rows:?}");
    assert_eq!(rows[1]["cost_usd"], "0.015000");
    let sum = first + "0.015".parse().unwrap();
    assert_eq!(result["cost_usd"], sum.to_string());
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_cost_usd"], sum.to_string());
}

#[test]
fn a_fallback_is_charged_at_its_own_price() {
    let server = Stub::start(|seen| match seen.body["model"].as_str() {
        Some("n") => stub::text("from n"),
        _ => stub::status(401, &[], r#"{"error": {"message": "no such key"}}"#),
    });
    let context = Context::new();
    let agents = "  a: {role: You are a., provider: stub, model: m, fallback: [stub/n]}\n";
    context.write("orch.yaml", config(&server, "max_retries: 0", agents));
    let result = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .json();
    if result["ok"] == false {
        // A refused key rules the whole provider out: then nothing was charged.
        assert_eq!(result["cost_usd"], "0.000000");
    }
    let rows = rows(&context);
    for row in &rows {
        let expected = if row["model_asked"] == "stub/n" {
            "0.030000"
        } else {
            "0.000000"
        };
        assert_eq!(row["cost_usd"], expected, "{rows:?}");
    }
    assert!(!rows.is_empty());
}

#[test]
fn a_called_agent_spends_the_budget_of_who_called_it() {
    let server = Stub::start(|seen| {
        if asked(seen) == "lead" {
            let call = json!({"agent": "helper", "prompt": "work"});
            return stub::tool_calls(&[("c", "delegate", call)]);
        }
        stub::text("helped")
    });
    let context = Context::new();
    let agents = "  lead: {role: You are lead., provider: stub, model: m, delegates: [helper], budget_usd: 0.06, \
                  max_output_tokens: 5, max_turns: 50}\n  \
                  helper: {role: You are helper., provider: stub, model: m, max_output_tokens: 5}\n";
    // Input is free here, so that five tokens an answer are all that counts.
    let yaml = config(&server, "max_retries: 0", agents).replace("input: 1000", "input: 0");
    context.write("orch.yaml", yaml);
    let result = context
        .orch(&["--agent", "lead", "--prompt", "x", "--json"])
        .exits(7)
        .json();
    // Twelve answers of half a cent, of both.
    assert_eq!(server.chats().len(), 12);
    assert_eq!(result["cost_usd"], "0.060000");
    let message = result["error"]["message"].as_str().unwrap();
    assert!(message.contains("the budget `agent lead`"), "{message}");
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["by_agent"]["lead"]["cost_usd"], "0.030000");
    assert_eq!(costs["by_agent"]["helper"]["cost_usd"], "0.030000");
}

#[test]
fn candidates_judges_and_mergers_count_in_the_run_and_in_the_task() {
    let server = Stub::start(|seen| match asked(seen).as_str() {
        "d" => stub::text(r#"{"reason": "r", "marks": {"A": 5, "B": 4}}"#),
        who => stub::text(&format!("answer of {who}")),
    });
    let context = Context::new();
    let agents = "  a: {role: You are a., provider: stub, model: m}\n  \
                  b: {role: You are b., provider: stub, model: m}\n  \
                  d: {role: You are d., provider: stub, model: n}\n\
                  tasks:\n  t:\n    steps:\n      \
                  - {id: best, candidates: [a, b], judge: d, criteria: short, prompt: x}\n      \
                  - {id: sum, candidates: [a, b], synthesise: d, prompt: y}\n";
    context.write("orch.yaml", config(&server, "max_retries: 0", agents));
    let result = context.orch(&["--task", "t", "--json"]).exits(0).json();
    let rows = rows(&context);
    let mut purposes = column(&rows, "purpose");
    purposes.sort_unstable();
    let judges = purposes
        .iter()
        .filter(|purpose| **purpose == "judge")
        .count();
    assert!(judges >= 1, "{purposes:?}");
    assert!(purposes.contains(&"synthesis"), "{purposes:?}");
    assert_eq!(
        purposes
            .iter()
            .filter(|purpose| **purpose == "agent")
            .count(),
        4
    );
    assert_eq!(rows.len(), server.chats().len());
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_cost_usd"], result["cost_usd"]);
    assert_eq!(costs["by_task"]["t"]["cost_usd"], result["cost_usd"]);
    assert_eq!(costs["by_agent"]["d"]["requests"], judges + 1);
    assert_eq!(costs["by_model"]["stub/m"]["cost_usd"], "0.060000");
}

#[test]
fn a_deep_health_check_counts_and_obeys_the_budget() {
    let server = Stub::start(|seen| {
        if seen.method == "GET" {
            return stub::status(200, &[], r#"{"data": []}"#);
        }
        stub::text("OK")
    });
    let context = Context::new();
    let agents = "  a: {role: You are a., provider: stub, model: m}\n";
    context.write("orch.yaml", config(&server, "max_retries: 0", agents));
    context.orch(&["--health"]).exits(0);
    assert_eq!(server.chats().len(), 0);
    context.orch(&["--health", "--deep"]).exits(0);
    let checks = rows(&context);
    assert_eq!(column(&checks, "purpose"), ["health"]);
    assert_eq!(column(&checks, "cost_usd"), ["0.015000"]);
    let settings = "max_retries: 0, budget: {day_usd: 0.015}";
    context.write("orch.yaml", config(&server, settings, agents));
    let refused = context
        .orch(&["--health", "--deep", "--json"])
        .exits(1)
        .json();
    assert_eq!(refused["a"]["class"], "budget");
    assert_eq!(server.chats().len(), 1);
}

#[test]
fn a_model_without_a_price_is_denied_warned_of_or_allowed() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = Context::new();
    // What runs on this machine is free; this one is a vendor's, and what it is listed at is doubtful.
    let agents =
        "  a: {role: You are a., provider: together_ai, model: Prism-ML/Ternary-Bonsai-27B}\n";
    let yaml = |budget: &str| {
        format!(
            "settings: {{max_retries: 0, budget: {{{budget}}}}}\nproviders:\n  \
             together_ai: {{base_url: \"{}\", api_key_env: KEY}}\nagents:\n{agents}",
            server.url()
        )
    };
    let run = |budget: &str| {
        context.write("orch.yaml", yaml(budget));
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
        crate::support::ran(command.env("KEY", "sk-test").output().unwrap())
    };
    let warned = run("").exits(0).json();
    let warning = |result: &Value| result["warnings"].to_string().contains("is not known");
    assert!(warning(&warned), "{warned}");
    assert_eq!(warned["cost_source"], "unpriced");
    let denied = run("day_usd: 1").exits(7).json();
    assert_eq!(denied["error"]["class"], "budget");
    assert!(
        denied["error"]["hint"]
            .as_str()
            .unwrap()
            .contains("on_unpriced")
    );
    let asked = server.chats().len();
    assert_eq!(asked, 1);
    assert!(warning(
        &run("day_usd: 1, on_unpriced: warn").exits(0).json()
    ));
    let allowed = run("on_unpriced: allow").exits(0).json();
    assert!(!warning(&allowed), "{allowed}");
    run("on_unpriced: deny").exits(7);
    assert_eq!(server.chats().len(), 3);
    let costs = context.orch(&["--costs"]);
    assert!(costs.stdout.contains("without a known price"), "{costs:#?}");
}

#[test]
fn a_budget_that_is_nearly_used_up_is_told_at_its_threshold() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = Context::new();
    let agents = "  a: {role: You are a., provider: stub, model: m, max_output_tokens: 5}\n";
    let run = |warn_at: &str| {
        let settings = format!("max_retries: 0, budget: {{day_usd: 100{warn_at}}}");
        context.write("orch.yaml", config(&server, &settings, agents));
        context
            .orch(&["--agent", "a", "--prompt", "x", "--output", "stream-json"])
            .exits(0)
    };
    let warnings = |ran: &crate::support::Ran| -> Vec<Value> {
        let lines = ran.json_lines();
        lines
            .into_iter()
            .filter(|line| line["type"] == "budget.warning")
            .collect()
    };
    assert_eq!(warnings(&run("")).len(), 0);
    // 0.03 of 100 dollars are spent by the second run.
    let told = warnings(&run(", warn_at: 0.0003"));
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["budget"], &told[0]["limit_usd"]),
        (&"day".into(), &"100.000000".into())
    );
    assert_eq!(told[0]["used_usd"], "0.030000");
    let text = context.orch(&["--agent", "a", "--prompt", "x"]).exits(0);
    assert!(
        text.stderr
            .contains("warning: 0.045000 of the day budget of 100.000000 USD is used"),
        "{text:#?}"
    );
    // Who reads only the object learns of it, too.
    let result = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(0)
        .json();
    assert!(
        result["warnings"].to_string().contains("day budget"),
        "{result}"
    );
}
