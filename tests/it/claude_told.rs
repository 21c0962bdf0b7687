//! What the Claude CLI tells of its costs, and leaves out: a run is charged what it cost all the same.

use serde_json::{Value, json};

use crate::support::Context;

/// A CLI that takes ten tokens and says five, and then prints the lines of a file.
const CLI: &str = r#"#!/usr/bin/python3 -ESs
import json, os, sys
if "--version" in sys.argv:
    print("2.1.330 (Claude Code)")
    sys.exit()
def say(**line):
    print(json.dumps(line), flush=True)
sys.stdin.read()
model = sys.argv[sys.argv.index("--model") + 1]
say(type="system", subtype="init", session_id="s", model=model, apiKeySource="ANTHROPIC_API_KEY", mcp_servers=[])
usage = {"input_tokens": 10, "output_tokens": 1}
say(type="stream_event", event={"type": "message_start", "message": {"id": "m", "usage": usage}})
say(type="stream_event", event={"type": "content_block_delta", "delta": {"type": "text_delta", "text": "done"}})
say(type="stream_event", event={"type": "message_delta", "usage": {"output_tokens": 5}})
say(type="stream_event", event={"type": "message_stop"})
print(open(os.path.dirname(sys.argv[0]) + "/lines").read(), flush=True)
"#;

/// A tenth of a cent a token of the small model, and ten times as much of the large one.
fn context() -> Context {
    use std::os::unix::fs::PermissionsExt as _;
    let context = Context::new();
    context.write("claude", CLI);
    let cli = context.work().join("claude");
    std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0, sandbox: {{tier: off}}}}\n\
             providers:\n  claude: {{cli_path: {}, prices: {{haiku: {{input: 1000, output: 1000}}, \
             opus: {{input: 10000, output: 10000}}}}}}\n\
             agents:\n  a: {{role: R, provider: claude, model: haiku, fallback: [opus]}}\n",
            cli.display()
        ),
    );
    context
}

fn result(told: &Value) -> Value {
    let mut line = json!({"type": "result", "subtype": "success", "is_error": false, "num_turns": 1,
        "result": "done", "stop_reason": "end_turn"});
    let all = line.as_object_mut().unwrap();
    all.extend(told.as_object().unwrap().clone());
    line
}

/// What a run is charged whose CLI ends with these lines.
fn charged(context: &Context, lines: &Value, more: &[&str]) -> (String, String) {
    context.write("lines", lines.to_string());
    let ask = [&["--agent", "a", "--prompt", "x", "--json"], more].concat();
    let result = context.orch(&ask).json();
    let text = |key: &str| result[key].as_str().unwrap().to_owned();
    (text("cost_usd"), text("cost_source"))
}

#[test]
fn a_cost_that_is_not_told_is_computed() {
    let context = context();
    let models =
        |cost: Value| json!({"haiku": {"inputTokens": 10, "outputTokens": 5, "costUSD": cost}});
    let tokens = json!({"haiku": {"inputTokens": 10, "outputTokens": 5}});
    let told = ("0.250000", "reported");
    let computed = ("0.015000", "computed");
    for (line, expected) in [
        (json!({"total_cost_usd": 0.25}), told),
        (json!({"modelUsage": models(json!(0.25))}), told),
        (
            json!({"total_cost_usd": 0, "modelUsage": models(json!(0.25))}),
            told,
        ),
        (
            json!({"total_cost_usd": 0.25, "modelUsage": models(json!(0.25)),
                "model_usage_since_last_result": tokens}),
            told,
        ),
        (
            json!({"total_cost_usd": 0.25, "modelUsage": models(json!(0.25)),
                "model_usage_since_last_result": {}}),
            told,
        ),
        (json!({}), computed),
        (json!({"modelUsage": tokens}), computed),
        (
            json!({"total_cost_usd": 0, "modelUsage": models(json!(0))}),
            computed,
        ),
        (
            json!({"total_cost_usd": "0.25", "modelUsage": models(json!("0.25"))}),
            computed,
        ),
        (
            json!({"total_cost_usd": -0.25, "modelUsage": models(json!(-0.25))}),
            computed,
        ),
    ] {
        let (cost, source) = charged(&context, &result(&line), &[]);
        assert_eq!((cost.as_str(), source.as_str()), expected, "{line}");
    }
}

#[test]
fn every_prompt_of_a_conversation_is_charged() {
    let told = |cost: f64, times: u64| {
        result(&json!({"total_cost_usd": cost, "modelUsage":
            {"haiku": {"inputTokens": 10 * times, "outputTokens": 5 * times, "costUSD": cost}}}))
    };
    let context = context();
    // A CLI that adds up, and one that tells of each run alone.
    for times in [1u32, 2, 3] {
        let more = ["--session", "sums"];
        let charge = charged(
            &context,
            &told(0.25 * f64::from(times), u64::from(times)),
            &more,
        );
        assert_eq!(charge.0, "0.250000", "{times}");
    }
    for run in 1..=3 {
        let charge = charged(&context, &told(0.25, 1), &["--session", "alone"]);
        assert_eq!(charge.0, "0.250000", "{run}");
    }
    // One that leaves out what it did is charged what was heard of it, and nothing of former runs.
    for expected in ["1.000000", "0.015000"] {
        let charge = charged(&context, &told(1.0, 4), &["--session", "less"]);
        assert_eq!(charge.0, expected);
    }
}

/// The ledger knows which model a CLI turned to, also where it died before it told what that cost.
#[test]
fn the_model_of_a_cli_that_died_is_known() {
    let context = context();
    let line = json!({"type": "system", "subtype": "model_fallback", "original_model": "haiku",
        "fallback_model": "opus", "trigger": "overloaded"});
    charged(&context, &line, &[]);
    let csv = context.orch(&["--costs", "--csv"]).exits(0).stdout;
    assert!(csv.lines().nth(1).unwrap().contains(",opus,"), "{csv}");
}
