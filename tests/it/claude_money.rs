//! What the Claude CLI really charges stays below the caps of all processes, and in the ledger when its
//! `orch` is killed.

use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::budgets::rounds;
use crate::sandbox::{processes_with, until};
use crate::support::{Context, ran};

/// A CLI whose replies are all as long as they may be. Each is charged before it is told, one line a
/// reply, in microdollars. It looks at its budget after a reply, as the real one does.
const CLI: &str = r#"#!/usr/bin/python3 -ESs
import json, os, sys, time
if "--version" in sys.argv:
    print("2.1.330 (Claude Code)")
    sys.exit()
def flag(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None
def say(**line):
    print(json.dumps(line), flush=True)
prompt = sys.stdin.read()
model, cap, turns = flag("--model"), flag("--max-budget-usd"), int(flag("--max-turns"))
say(type="system", subtype="init", session_id="s", model=model, apiKeySource="ANTHROPIC_API_KEY", mcp_servers=[])
here = os.path.dirname(sys.argv[0])
if "hang" in prompt:
    open(here + "/hangs", "w").close()
    time.sleep(300)
tokens = int(os.environ["CLAUDE_CODE_MAX_OUTPUT_TOKENS"])
charged = os.open(here + "/charged", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
replies, spent, subtype = 0, 0.0, "success"
while replies < turns:
    usage = {"input_tokens": 1, "output_tokens": 1}
    say(type="stream_event", event={"type": "message_start", "message": {"id": f"m{replies}", "usage": usage}})
    time.sleep(0.01)
    os.write(charged, b"%d\n" % (tokens * 1000))
    replies, spent = replies + 1, spent + tokens / 1000
    text = "x" * tokens
    say(type="assistant", message={"id": f"m{replies - 1}", "model": model, "usage": usage,
        "content": [{"type": "text", "text": text}]})
    if cap and spent >= float(cap):
        subtype = "error_max_budget_usd"
        break
used = {model: {"inputTokens": replies, "outputTokens": tokens * replies, "costUSD": spent}}
say(type="result", subtype=subtype, is_error=subtype != "success", num_turns=replies, result="done",
    errors=["Reached maximum budget"], total_cost_usd=spent, modelUsage=used, model_usage_since_last_result=used)
sys.exit(subtype != "success")
"#;

/// A reply of fifty tokens at a tenth of a cent each.
const REPLY: i64 = 50_000_000_000;

fn context(settings: &str) -> Context {
    use std::os::unix::fs::PermissionsExt as _;
    let context = Context::new();
    context.write("claude", CLI);
    let cli = context.work().join("claude");
    std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0, sandbox: {{tier: off}}, {settings}}}\n\
             providers:\n  claude: {{cli_path: {}, max_concurrency: 4, prices: {{sonnet: {{input: 0, output: 1000}}}}}}\n\
             agents:\n  a: {{role: R, provider: claude, model: sonnet, max_output_tokens: 50, max_turns: 12}}\n  \
             b: {{role: R, provider: claude, model: sonnet, max_output_tokens: 50, max_turns: 12}}\n",
            cli.display()
        ),
    );
    context
}

fn start(context: &Context, args: &[&str]) -> Child {
    let mut command = context.command(&[&["--config", "orch.yaml"], args].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// What the CLI has charged, picodollars.
fn charged(context: &Context) -> i64 {
    let lines = std::fs::read_to_string(context.work().join("charged")).unwrap_or_default();
    let microdollars = lines.lines().map(|line| line.parse::<i64>().unwrap());
    microdollars.sum::<i64>() * 1_000_000
}

/// What the ledger says is spent, and what is held.
fn ledger(context: &Context) -> (i64, i64) {
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    let money = |value: &Value| {
        let text = value.as_str().unwrap();
        text.parse::<orch::usage::Usd>().unwrap().pico()
    };
    (money(&costs["total_cost_usd"]), money(&costs["held_usd"]))
}

#[test]
fn two_processes_of_two_clis_each_stay_below_the_cap_of_a_day() {
    let context = context("budget: {day_usd: 1.00}");
    let all = ["--all", "--prompt", "x", "--json"];
    let mut before = -1;
    // Until nothing is left that a reply could cost.
    while charged(&context) > before {
        before = charged(&context);
        let both = [start(&context, &all), start(&context, &all)];
        for child in both {
            let ended = ran(child.wait_with_output().unwrap());
            assert!([0, 7, 8].contains(&ended.code), "{ended:#?}");
        }
        let sum = charged(&context);
        assert!(sum <= 1_000_000_000_000, "{sum} of a dollar");
        assert_eq!(ledger(&context), (sum, 0));
    }
    assert!(
        charged(&context) >= 800_000_000_000,
        "{}",
        charged(&context)
    );
}

#[test]
fn a_cli_without_a_cap_is_in_the_ledger_when_its_orch_is_killed() {
    let context = context("");
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..rounds(6, 60) {
        let before = charged(&context);
        let mut child = start(&context, &["--agent", "a", "--prompt", "x", "--no-log"]);
        // After some of its twelve replies.
        let replies = random.i64(1..12);
        until("the CLI to reply", || {
            charged(&context) >= before + replies * REPLY
        });
        child.kill().unwrap();
        child.wait().unwrap();
        let cli = context.work().join("claude").display().to_string();
        until("the end of the CLI", || processes_with(&cli).is_empty());
        let (spent, held) = ledger(&context);
        let sum = charged(&context);
        assert!(
            spent + held >= sum,
            "round {round}: {spent} and {held} of {sum}"
        );
    }
}

/// Before the first byte at most one reply was under way: the rest of the budget is free again.
#[test]
fn a_cli_that_was_stopped_before_it_said_anything_holds_one_reply() {
    let context = context("budget: {day_usd: 1.00}");
    let child = start(&context, &["--agent", "a", "--prompt", "hang"]);
    until("the CLI to have its prompt", || {
        context.work().join("hangs").exists()
    });
    assert_eq!(ledger(&context), (0, 20 * REPLY));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ended = ran(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 130, "{ended:#?}");
    assert_eq!(ledger(&context), (0, REPLY));
    let check = context
        .orch(&["check", "--store", "--json"])
        .exits(0)
        .json();
    assert_eq!(check["wrong_totals"], serde_json::json!([]), "{check}");
    context.orch(&["--agent", "a", "--prompt", "x"]).exits(0);
}

/// Behind an address of the user's own may be a gateway with a key of its own: what it is asked is neither free nor
/// covered by a subscription.
#[test]
fn a_cli_behind_a_gateway_is_paid_for() {
    let context = context("");
    let cli = context.read("claude");
    context.write("claude", cli.replace("ANTHROPIC_API_KEY", "none"));
    let yaml = context.read("orch.yaml");
    let free = "prices: {sonnet: {input: 0, output: 1000}}";
    context.write(
        "orch.yaml",
        yaml.replace(free, "base_url: \"http://127.0.0.1:9\""),
    );
    let ask = ["--agent", "a", "--prompt", "x", "--json"];
    let planned = context.orch(&[&ask[..], &["--dry-run"]].concat());
    let plan = planned.exits(0).json()["plan"].clone();
    assert_ne!(plan["lowest_usd"], "0.000000", "{plan:#}");
    let result = context.orch(&ask).exits(0).json();
    assert_eq!(result["cost_source"], "reported", "{result:#}");
    assert_eq!(ledger(&context), (charged(&context), 0));
}
