//! What a CLI calls over the bridge goes the way of every other tool call: rules, journal, ledger, agents
//! that are called.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::sandbox::until;
use crate::support::Context;

fn context(agents: &str, more: &str) -> Context {
    use std::os::unix::fs::PermissionsExt as _;
    let context = Context::new();
    context.write("claude", include_str!("fixtures/claude_calls.py"));
    let cli = context.work().join("claude");
    std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0, sandbox: {{tier: off}}, \
             approvals: {{rules: [{{tool: edit, action: deny}}]}}}}\n\
             providers:\n  claude: {{cli_path: {}, max_concurrency: 1}}\nagents:\n{agents}{more}",
            cli.display()
        ),
    );
    context
}

/// What the CLIs heard, in order.
fn heard(context: &Context) -> Vec<Value> {
    let lines = context.read("heard.jsonl");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_agent_on_the_cli_calls_another_one_on_it() {
    let context = context(
        "  boss: {role: R, provider: claude, model: sonnet, delegates: [worker], tools: [read]}\n\
         \x20 worker: {role: W, provider: claude, model: haiku}\n",
        "",
    );
    let prompt = json!([["delegate", {"agent": "worker", "prompt": "do it"}]]).to_string();
    let words = [
        "--agent",
        "boss",
        "--prompt",
        &prompt,
        "--json",
        "--budget",
        "10",
        "--timeout",
        "60",
    ];
    let result = context.orch(&words).exits(0).json();
    let gave: Value = serde_json::from_str(result["output"].as_str().unwrap()).unwrap();
    assert_eq!(gave[0][0], false, "{gave}");
    let told: Value = serde_json::from_str(gave[0][1].as_str().unwrap()).unwrap();
    assert_eq!(
        told,
        json!({"agent": "worker", "ok": true, "output": "heard: do it"})
    );
    assert_eq!(result["tools"][0]["tool"], "delegate");
    assert_eq!(
        (&result["attempts"], &result["cost_usd"]),
        (&json!(2), &json!("0.002000"))
    );
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["by_agent"]["boss"]["cost_usd"], "0.001000", "{costs}");
    assert_eq!(
        costs["by_agent"]["worker"]["cost_usd"], "0.001000",
        "{costs}"
    );
    assert_eq!(costs["held_usd"], "0.000000");
    // Neither may spend what the other could need.
    let heard = heard(&context);
    for (cli, most) in heard.iter().zip([5.0, 2.5]) {
        let budget: f64 = cli["budget"].as_str().unwrap().parse().unwrap();
        assert!(budget > 0.0 && budget < most, "{heard:?}");
    }
}

#[test]
fn rules_hold_for_what_comes_over_the_bridge() {
    let context = context(
        "  a: {role: R, provider: claude, model: sonnet, tools: [read, write, edit]}\n",
        "",
    );
    context.write("note.txt", "a note");
    let prompt = json!([
        ["write", {"path": "made.txt", "content": "x"}],
        ["edit", {"path": "note.txt", "old_string": "a", "new_string": "b"}],
        ["bash", {"command": "echo > more.txt"}],
        ["read", {"path": "/etc/shadow"}],
    ]);
    let words = [
        "--agent",
        "a",
        "--prompt",
        &prompt.to_string(),
        "--output",
        "stream-json",
    ];
    let lines = context.orch(&words).exits(0).json_lines();
    let result = lines.last().unwrap();
    let ok: Vec<bool> = result["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["ok"].as_bool().unwrap())
        .collect();
    assert_eq!(ok, [true, false, false, false], "{result}");
    assert_eq!(
        (context.read("made.txt"), context.read("note.txt")),
        ("x".into(), "a note".into())
    );
    assert!(!context.work().join("more.txt").exists());
    let finished = lines.iter().filter(|line| line["type"] == "tool.finished");
    assert_eq!(finished.count(), 4);
}

#[test]
fn what_was_done_over_the_bridge_is_in_the_journal_when_the_run_dies() {
    let context = context(
        "  a: {role: R, provider: claude, model: sonnet, tools: [write]}\n",
        "tasks:\n  t: {inputs: {calls: {}}, steps: [{id: one, agent: a, prompt: '{{ inputs.calls }}'}]}\n",
    );
    let calls =
        json!([["write", {"path": "made.txt", "content": "x", "append": true}], ["hang", {}]]);
    let input = format!("calls={calls}");
    let words = ["--config", "orch.yaml", "--task", "t", "--input", &input];
    let mut command = context.command(&words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    until("the CLI to hang", || context.work().join("hangs").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(context.read("made.txt"), "x");
    let database = rusqlite::Connection::open(context.state().join("orch.db")).unwrap();
    let kept: i64 = database
        .query_row(
            "SELECT count(*) FROM journal WHERE key LIKE '%/one/t1/mcp_%' AND value IS NOT NULL",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, 1);
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    let run = runs[0]["run_id"].as_str().unwrap().to_owned();
    let result = context.orch(&["--resume", &run, "--json"]).exits(0).json();
    let again = heard(&context).pop().unwrap();
    assert!(
        again["prompt"]
            .as_str()
            .unwrap()
            .contains("interrupted in the middle"),
        "{again}"
    );
    assert!(
        result
            .to_string()
            .contains("cut off in the middle of its work"),
        "{result}"
    );
    assert_eq!(context.read("made.txt"), "x");
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_requests"], 2, "{costs}");
}

#[test]
fn the_next_model_of_the_cli_is_told_to_it() {
    let context = context(
        "  a: {role: R, provider: claude, model: sonnet, fallback: [opus, gemini-pro]}\n\
         \x20 b: {role: R, provider: claude, model: sonnet, fallback: [gemini-pro, opus]}\n",
        "",
    );
    for agent in ["a", "b"] {
        context.orch(&["--agent", agent, "--prompt", "hi"]).exits(0);
    }
    let told: Vec<Value> = heard(&context)
        .iter()
        .map(|cli| cli["fallback"].clone())
        .collect();
    assert_eq!(told, [json!("opus"), Value::Null]);
}

#[test]
fn check_says_what_tools_of_its_own_lose() {
    let agents = "  a: {role: R, provider: claude, model: sonnet, tools: [bash, ssh, read], sandbox: {network: allow}}\n\
                  \x20 b: {role: R, provider: claude, model: sonnet, tools: [ssh]}\n";
    for native in [false, true] {
        let context = context(agents, "");
        let config = context.read("orch.yaml");
        let entry = format!("max_concurrency: 1, native_tools: {native}");
        context.write("orch.yaml", config.replace("max_concurrency: 1", &entry));
        let check = context.orch(&["check", "--json"]).exits(0).json();
        let lines = |agent: &str| -> Vec<String> {
            let rights = check["rights"][agent].as_array().unwrap();
            let lines = rights.iter().map(|line| line.as_str().unwrap().to_owned());
            lines
                .filter(|line| line.ends_with("providers.claude.native_tools"))
                .collect()
        };
        assert_eq!(lines("b"), [""; 0]);
        let expected: &[&str] = if native {
            &[
                "use the Claude CLI's own tools for bash, read: without approvals, allowed_commands, output caps, \
                 /undo and a journal",
                "read the CLI's environment and login in its shell",
                "work under settings.sandbox, not under the agent's own `sandbox`, with these",
                "do whatever you may do, with these: the CLI is confined at the full tier alone",
            ]
        } else {
            &[]
        };
        let expected: Vec<String> = expected
            .iter()
            .map(|line| format!("{line} — providers.claude.native_tools"))
            .collect();
        assert_eq!(lines("a"), expected);
    }
}

#[test]
fn a_cli_that_waits_for_another_one_says_so() {
    let context = context(
        "  a: {role: R, provider: claude, model: m1}\n  b: {role: R, provider: claude, model: m2}\n",
        "",
    );
    let slow = context.read("claude").replace(
        "prompt = sys.stdin.read()",
        "prompt = sys.stdin.read(); time.sleep(1)",
    );
    context.write("claude", slow);
    let ran = context
        .orch(&["--all", "--prompt", "hi", "--output", "stream-json"])
        .exits(0);
    let lines = ran.json_lines();
    let waits: Vec<&Value> = lines
        .iter()
        .filter(|line| line["type"] == "throttled")
        .collect();
    assert_eq!(waits.len(), 1, "{ran:#?}");
    assert_eq!(waits[0]["reason"], "for a free CLI (1 of 1 in use)");
    let shown = context.orch(&["--all", "--prompt", "hi"]).exits(0);
    let line = "waiting at claude: for a free CLI (1 of 1 in use)";
    assert!(shown.stderr.contains(line), "{}", shown.stderr);
}

#[test]
fn agents_on_the_cli_at_the_same_time_share_a_budget() {
    let context = context(
        "  a: {role: R, provider: claude, model: sonnet}\n  b: {role: R, provider: claude, model: sonnet}\n",
        "",
    );
    let config = context
        .read("orch.yaml")
        .replace("max_concurrency: 1", "max_concurrency: 2");
    context.write("orch.yaml", config);
    let slow = context.read("claude").replace(
        "prompt = sys.stdin.read()",
        "prompt = sys.stdin.read(); time.sleep(1)",
    );
    context.write("claude", slow);
    let words = ["--all", "--prompt", "hi", "--json", "--budget", "10"];
    let result = context.orch(&words).exits(0).json();
    assert_eq!(result["cost_usd"], "0.002000");
    for cli in heard(&context) {
        let budget: f64 = cli["budget"].as_str().unwrap().parse().unwrap();
        assert!(budget > 0.0 && budget < 5.0, "{cli}");
    }
}
