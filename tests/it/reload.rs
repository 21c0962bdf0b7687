//! `/reload`: what a configuration is, found, named or the user's own, stays what it is.

use crate::support::{Context, Stub, agent_config, stub};

#[test]
fn what_a_found_configuration_asks_for_since_must_be_trusted_too() {
    let server = Stub::start(|_| stub::text("Hello."));
    let context = Context::new();
    let before = agent_config(&server.url(), "");
    context.write("orch.yaml", &before);
    for (more, reason) in [
        (
            "mcp_servers:\n  git: {command: [sh, -c, 'touch MARK; cat']}\n",
            "it starts the MCP server `git`",
        ),
        (
            "  b: {role: R, provider: stub, model: m, sandbox: {network: allow}}\n",
            "it lets commands of `b` reach the network",
        ),
    ] {
        context.write("new.yaml", format!("{before}{more}"));
        let script = "!cp new.yaml orch.yaml\n/reload\n@a hi\n@b hi\n";
        let ran = context.run_with_stdin(&[], script.as_bytes());
        let told =
            "the configuration stays as it was: `orch.yaml` was found here and is not trusted";
        assert!(ran.stderr.contains(told), "{ran:#?}");
        assert!(ran.stderr.contains(reason), "{ran:#?}");
        assert!(ran.stderr.contains("orch trust orch.yaml"), "{ran:#?}");
        assert!(!context.work().join("MARK").exists(), "{ran:#?}");
        context.write("orch.yaml", &before);
    }
    // What asks for nothing, and what was trusted meanwhile, is taken over.
    let harmless =
        format!("{before}  c: {{role: You are c., provider: stub, model: stub-model}}\n");
    context.write("new.yaml", harmless);
    let script = "!cp new.yaml orch.yaml\n/reload\n/agent c\n";
    let ran = context.run_with_stdin(&[], script.as_bytes());
    let expected = ("reloaded: added c\nactive agent: c\n", "");
    assert_eq!((&*ran.stdout, &*ran.stderr), expected, "{ran:#?}");
    let more = "tasks:\n  t: {steps: [{agent: a, prompt: x}]}\n";
    context.write("new.yaml", context.read("orch.yaml") + more);
    let ran = context.run_with_stdin(&[], b"!cp new.yaml orch.yaml\n/reload\n");
    assert_eq!(ran.stdout, "reloaded: tasks changed\n", "{ran:#?}");
}

#[test]
fn the_users_own_configuration_stays_at_work_in_the_current_directory() {
    let server = Stub::start(|_| stub::text("Hello."));
    let context = Context::new();
    let own = context.home().join(".config/orch");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("config.yaml"), agent_config(&server.url(), "")).unwrap();
    let ran = context.run_with_stdin(&[], b"/reload\n@a hi\n");
    assert!(ran.stdout.contains("Hello."), "{ran:#?}");
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 1, "{ran:#?}");
    assert!(context.state().join("logs/a.md").exists(), "{ran:#?}");
}

/// A price that was installed while a session runs counts from its `/reload` on.
#[test]
fn new_prices_count_after_a_reload() {
    let server = Stub::start(|_| stub::text_with_usage("Hello.", 100, 10));
    let context = Context::new();
    let url = server.url();
    context.write(
        "orch.yaml",
        format!(
            "providers:\n  lab: {{kind: openai, base_url: \"{url}\", prices: {{other: {{input: 1, output: 1}}}}}}\n\
             agents:\n  a: {{role: R, provider: lab, model: m, tools: []}}\n"
        ),
    );
    let costing = |dollars: u32| {
        let rates = format!(r#"{{"input_per_mtok": {dollars}, "output_per_mtok": {dollars}}}"#);
        format!(r#"{{"schema": 1, "models": {{"lab/m": {rates}}}}}"#)
    };
    context.write("cheap.json", costing(1));
    context.write("dear.json", costing(100));
    context.orch(&["prices", "--update", "cheap.json"]).exits(0);
    let orch = env!("CARGO_BIN_EXE_orch");
    let script = format!(
        "hi\n!{orch} --config orch.yaml prices --update dear.json >update.txt\nhi\n/reload\nhi\n/reload\n"
    );
    let ran = context.run_with_stdin(&[], script.as_bytes());
    let told = ["reloaded: prices changed\n", "nothing changed\n"];
    assert!(
        told.iter().all(|words| ran.stdout.contains(words)),
        "{ran:#?}"
    );
    let csv = context.orch(&["--costs", "--csv"]).exits(0).stdout;
    let mut lines = csv.lines();
    let cost = lines
        .next()
        .unwrap()
        .split(',')
        .position(|name| name == "cost_usd");
    let costs: Vec<&str> = lines
        .map(|line| line.split(',').nth(cost.unwrap()).unwrap())
        .collect();
    assert_eq!(costs, ["0.000110", "0.000110", "0.011000"]);
}
