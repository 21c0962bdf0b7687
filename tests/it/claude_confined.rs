//! The real `orch` with a fake `claude`: what it sees, and how it calls our tools.

use crate::support::{Context, Ran};

/// A CLI that tells what it sees, and calls a tool of ours as the real one does: over the MCP server
/// that it is told to start.
const CLI: &str = r#"#!/usr/bin/python3
import json, os, socket, subprocess, sys
def can(what):
    try:
        what(); return True
    except OSError:
        return False
home, work = os.environ["HOME"], os.path.dirname(os.path.abspath(sys.argv[0]))
if sys.argv[1] in ("--version", "auth"):
    # What it may do then shows by what is left.
    can(lambda: open(home + "/.ssh/id") and open(work + "/asked", "w"))
    print("2.1.330 (Claude Code)" if sys.argv[1] == "--version" else '{"loggedIn": true}'); sys.exit()
prompt = sys.stdin.read()
def flag(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None
seen = {
    "keys": sorted(name for name in os.environ if name.endswith("_KEY")),
    "ssh": can(lambda: open(home + "/.ssh/id").read()),
    "write": can(lambda: open(work + "/new", "w")),
    "network": can(lambda: socket.create_connection(("127.0.0.1", int(prompt)), 2)),
    "model": flag("--model"), "tools": flag("--tools"),
}
servers = []
if flag("--mcp-config"):
    server = json.load(open(flag("--mcp-config")))["mcpServers"]["orch"]
    relay = subprocess.Popen([server["command"], *server["args"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    def ask(number, method, params):
        print(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}), file=relay.stdin, flush=True)
        return json.loads(relay.stdout.readline())["result"]
    ask(1, "initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}})
    print(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}), file=relay.stdin, flush=True)
    seen["offered"] = sorted(tool["name"] for tool in ask(2, "tools/list", {})["tools"])
    called = ask(3, "tools/call", {"name": "read", "arguments": {"path": "note.txt"}})
    seen["read"] = called["content"][0]["text"]
    refused = ask(4, "tools/call", {"name": "bash", "arguments": {"command": "id"}})
    seen["bash"] = refused["isError"]
    servers = [{"name": "orch", "status": "connected"}]
    relay.stdin.close()
say = lambda line: print(json.dumps(line), flush=True)
say({"type": "system", "subtype": "init", "session_id": "s", "model": "m", "apiKeySource": "ANTHROPIC_API_KEY", "mcp_servers": servers})
say({"type": "result", "subtype": "success", "is_error": False, "num_turns": 1, "result": json.dumps(seen),
     "total_cost_usd": 0.5, "modelUsage": {}, "model_usage_since_last_result": {"m": {"inputTokens": 10, "outputTokens": 5, "costUSD": 0.001}}})
"#;

fn context(more: &str) -> Context {
    use std::os::unix::fs::PermissionsExt as _;
    let context = Context::new();
    context.write("claude", CLI);
    let cli = context.work().join("claude");
    std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
    context.write("note.txt", "a note");
    std::fs::create_dir(context.home().join(".ssh")).unwrap();
    std::fs::write(context.home().join(".ssh/id"), "secret").unwrap();
    context.write(
        "orch.yaml",
        format!(
            "providers:\n  claude: {{cli_path: {}{more}}}\n\
             agents:\n  a: {{role: R, provider: claude, model: sonnet, tools: [read, list_dir]}}\n",
            cli.display()
        ),
    );
    context
}

fn run(context: &Context, more: &[&str]) -> Ran {
    // A server that the CLI must not reach.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let mut words = vec![
        "--config",
        "orch.yaml",
        "--agent",
        "a",
        "--prompt",
        &port,
        "--json",
    ];
    words.extend(more);
    let mut command = context.command(&words);
    command
        .env("ANTHROPIC_API_KEY", "sk-ant-0123456789abcdef")
        .env("OPENAI_API_KEY", "sk-other-0123456789abcdef");
    crate::support::ran(command.output().unwrap())
}

#[test]
fn the_cli_sees_its_own_and_calls_our_tools_from_inside() {
    let context = context("");
    let result = run(&context, &[]).exits(0).json();
    let seen: serde_json::Value = serde_json::from_str(result["output"].as_str().unwrap()).unwrap();
    let expected = serde_json::json!({
        "keys": ["ANTHROPIC_API_KEY"], "ssh": false, "write": seen["write"], "network": false,
        "model": "sonnet", "tools": "", "offered": ["list_dir", "read"],
        "read": seen["read"], "bash": true,
    });
    assert_eq!(seen, expected);
    assert!(seen["read"].as_str().unwrap().contains("a note"));
    // What stands where the workspace is, is a directory of its own.
    assert!(!context.work().join("new").exists());
    assert_eq!(result["cost_usd"], "0.001000");
    assert_eq!(result["cost_source"], "reported");
    let tools = result["tools"].as_array().unwrap();
    let names: Vec<&str> = tools
        .iter()
        .map(|tool| tool["tool"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["read", "bash"]);
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_cost_usd"], "0.001000");
    for left in ["bridge", "claude/locks"] {
        assert_eq!(
            std::fs::read_dir(context.state().join(left))
                .unwrap()
                .count(),
            0,
            "{left}"
        );
    }
}

#[test]
fn with_tools_of_its_own_it_works_on_the_workspace() {
    let context = context(", native_tools: true");
    let result = run(&context, &[]).exits(0).json();
    let seen: serde_json::Value = serde_json::from_str(result["output"].as_str().unwrap()).unwrap();
    assert_eq!(seen["tools"], "Read");
    assert_eq!(
        (&seen["write"], &seen["ssh"], &seen["network"]),
        (&true.into(), &false.into(), &false.into())
    );
    assert!(context.work().join("new").exists());
}

#[test]
fn questions_to_it_are_confined_too() {
    for more in ["", ", native_tools: true"] {
        let context = context(more);
        run(&context, &[]).exits(0);
        context.orch(&["--health"]).exits(0);
        assert!(!context.work().join("asked").exists());
    }
}

#[test]
fn a_tier_that_cannot_confine_it_says_so_on_every_run() {
    const LANDLOCK: &str =
        "the Claude CLI is not confined at this tier: it may do whatever you may do";
    let context = context("");
    for (tier, expected) in [
        ("landlock", Some(LANDLOCK)),
        ("off", Some("the sandbox is off")),
        ("full", None),
    ] {
        for _ in 0..2 {
            let result = run(&context, &["--sandbox", tier]).exits(0).json();
            let warnings: Vec<&str> = result["warnings"]
                .as_array()
                .unwrap()
                .iter()
                .map(|warning| warning.as_str().unwrap())
                .collect();
            assert!(
                expected.map_or(warnings.is_empty(), |line| warnings
                    .iter()
                    .any(|warning| warning.starts_with(line))),
                "{tier}: {warnings:?}"
            );
            // It is true: what is not confined sees what the user sees.
            let seen: serde_json::Value =
                serde_json::from_str(result["output"].as_str().unwrap()).unwrap();
            assert_eq!(seen["ssh"], expected.is_some(), "{tier}");
        }
        let words = ["--agent", "a", "--prompt", "9", "--sandbox", tier];
        let ran = context.orch(&words).exits(0);
        assert_eq!(
            ran.stderr.contains(expected.unwrap_or("confined")),
            expected.is_some(),
            "{tier}: {}",
            ran.stderr
        );
    }
}

/// A CLI that makes a repository with a program in it and a configuration, then answers or fails.
const PLANTING: &str = r#"#!/usr/bin/python3
import json, os, subprocess, sys
if sys.argv[1] == "--version":
    print("2.1.330 (Claude Code)"); sys.exit()
if sys.argv[1] == "auth":
    print('{"loggedIn": true}'); sys.exit()
prompt = sys.stdin.read()
work = os.path.dirname(os.path.abspath(sys.argv[0]))
subprocess.run(["git", "init", "-q", "sub"], cwd=work, check=True)
subprocess.run(["git", "-C", "sub", "config", "core.fsmonitor", "touch pwn"], cwd=work, check=True)
open(work + "/config.yml", "w").write("agents: {}")
say = lambda line: print(json.dumps(line), flush=True)
say({"type": "system", "subtype": "init", "session_id": "s", "model": "m", "apiKeySource": "ANTHROPIC_API_KEY",
     "mcp_servers": [{"name": "orch", "status": "connected"}]})
if "fail" in prompt: sys.exit(1)
say({"type": "result", "subtype": "success", "is_error": False, "num_turns": 1, "result": "done",
     "total_cost_usd": 0.5, "modelUsage": {}, "model_usage_since_last_result": {"m": {"inputTokens": 10, "outputTokens": 5, "costUSD": 0.001}}})
"#;

#[test]
fn what_was_taken_out_of_the_workspace_after_its_own_tools_is_said() {
    use std::os::unix::fs::PermissionsExt as _;
    for (prompt, exit) in [("x", 0), ("fail", 5)] {
        let context = context(", native_tools: true");
        let cli = context.work().join("claude");
        std::fs::write(&cli, PLANTING).unwrap();
        std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
        let words = ["--config", "orch.yaml", "--agent", "a", "--prompt", prompt];
        let run = |more: &[&str]| {
            let words: Vec<&str> = words.iter().chain(more).copied().collect();
            let mut command = context.command(&words);
            command.env("ANTHROPIC_API_KEY", "sk-ant-0123456789abcdef");
            crate::support::ran(command.output().unwrap())
        };
        let told = ["core.fsmonitor", "config.yml` is protected"];
        let result = run(&["--json"]).exits(exit).json();
        let warnings = result["warnings"].to_string();
        std::fs::remove_dir_all(context.work().join("sub")).unwrap();
        let ran = run(&[]).exits(exit);
        for words in told {
            assert!(warnings.contains(words), "{prompt}: {warnings}");
            assert_eq!(
                ran.stderr.matches(words).count(),
                1,
                "{prompt}: {}",
                ran.stderr
            );
        }
        let config = std::fs::read_to_string(context.work().join("sub/.git/config")).unwrap();
        assert!(config.contains("; taken out: fsmonitor"), "{config}");
        assert!(!context.work().join("config.yml").exists());
    }
}
