//! `--timeout` ends a run in time, whatever it waits for, and says what that was.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::terminal::Terminal;
use crate::support::{Context, Stub, stub};

/// More than a run may take whose time is four seconds: a tool is ended, a child is waited for.
const SOON: Duration = Duration::from_secs(20);

fn calls(tool: &str, arguments: &serde_json::Value) -> Vec<stub::Do> {
    stub::tool_calls(&[("1", tool, arguments.clone())])
}

fn place(server: &Stub, settings: &str, agent: &str, more: &str) -> Context {
    let context = Context::new();
    context.write("server.py", include_str!("fixtures/mcp_server.py"));
    let url = server.url();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{{settings}}}\n\
             providers:\n  stub: {{kind: openai, base_url: \"{url}\"}}\n\
             {more}agents:\n  a: {{role: R, provider: stub, model: m{agent}}}\n"
        ),
    );
    context
}

const ASK: [&str; 8] = [
    "--config",
    "orch.yaml",
    "--agent",
    "a",
    "--prompt",
    "x",
    "--timeout",
    "4",
];

#[test]
fn a_run_ends_in_time_whatever_it_waits_for() {
    let sleep = || calls("bash", &json!({"command": "sleep 1000"}));
    let look = || calls("list_dir", &json!({}));
    let later = || stub::status(429, &[("retry-after", "30")], "{}");
    let mute = "mcp_servers:\n  mute: {command: [python3, server.py, mute], timeout: 100}\n";
    for (what, replies, (settings, agent, more), words) in [
        (
            "a command",
            sleep(),
            ("max_retries: 0", ", tools: [bash]", ""),
            "the deadline was reached while tools ran",
        ),
        // What cannot go before its time is up does not wait for it.
        (
            "the limiter",
            look(),
            ("rate_limit_per_minute: 1", ", tools: [list_dir]", ""),
            "the call cannot go before its time is up: limit of 1 requests a minute",
        ),
        ("a retry", later(), ("max_retries: 3", "", ""), "HTTP 429"),
        (
            "a server that is mute",
            stub::text("never"),
            ("max_retries: 0", ", mcp_servers: [mute]", mute),
            "the deadline was reached while its MCP servers started",
        ),
        (
            "the model",
            vec![stub::stream_head(), stub::Do::Hang],
            ("max_retries: 0", "", ""),
            "the answer was not finished within",
        ),
    ] {
        let server = Stub::replies([replies]);
        let context = place(&server, settings, agent, more);
        let start = Instant::now();
        let ran = context.run(&[&ASK[..], &["--json"]].concat());
        let took = start.elapsed();
        let error = &ran.json()["error"];
        assert!(took < SOON, "{what}: {took:?}");
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{what}: {error}"
        );
        assert!(error["hint"].as_str().is_some(), "{what}: {error}");
        let code = if ["the limiter", "a retry"].contains(&what) {
            5
        } else {
            6
        };
        assert_eq!(ran.code, code, "{what}: {error}");
    }
}

#[test]
fn a_question_that_nobody_answers_ends_in_time() {
    let touch = calls("bash", &json!({"command": "touch made.txt"}));
    let server = Stub::replies([touch]);
    let approvals = "max_retries: 0, approvals: {default: ask}";
    let context = place(&server, approvals, ", tools: [bash]", "");
    let mut command = context.command(&ASK);
    command.env("TERM", "xterm");
    let start = Instant::now();
    let terminal = Terminal::start(command, 80, 24);
    terminal.shows("allow? [y/N]");
    terminal.shows("the deadline was reached while tools ran");
    terminal.ends(6);
    assert!(start.elapsed() < SOON);
    assert!(!context.work().join("made.txt").exists());
}
