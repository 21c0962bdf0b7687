//! Every way to fail, with its exit code and class, as text, as JSON and as a stream.

use serde_json::{Value, json};

use super::{last, whole};
use crate::support::{Context, Stub, agent_config, stub};

#[test]
fn every_failure_is_one_result() {
    let server = Stub::start(|seen| match seen.body["model"].as_str() {
        Some("hangs") => vec![stub::Do::Hang],
        Some("loops") => stub::tool_calls(&[("c", "list_dir", json!({}))]),
        _ => stub::text("fine"),
    });
    let context = Context::new();
    context.write(
        "orch.yaml",
        agent_config(
            &server.url(),
            "  slow: {role: R, provider: stub, model: hangs}\n  \
             loops: {role: R, provider: stub, model: loops, tools: [list_dir], max_turns: 2}\n  \
             lost: {role: R, provider: gone, model: m}\n  \
             keyless: {role: R, provider: openai, model: gpt4o}\n  \
             dear: {role: R, provider: dear, model: m}\n\
             tasks:\n  t: {steps: [{agent: a, prompt: \"{{ inputs.x }}\"}], inputs: {x: {required: true}}}\n  \
             gated: {steps: [{gate: \"Go on?\"}]}\n  \
             late: {steps: [{agent: slow, prompt: P, timeout: 0.2}]}\n",
        )
        .replace(
            "agents:",
            "  gone: {kind: openai, base_url: \"http://127.0.0.1:9/v1\"}\n  \
             dear: {kind: openai, base_url: \"http://127.0.0.1:9/v1\", prices: {m: {input: 9, output: 9}}}\n\
             agents:",
        ),
    );
    context.write("broken.yaml", "agents: [\n");
    context.write("none.yaml", "settings: {}\n");
    context.write("recording.jsonl", "nonsense\n");
    std::fs::create_dir(context.work().join("directory")).unwrap();
    let agent = ["--agent", "a", "--prompt", "x"];
    let with = |more: &[&'static str]| [&agent[..], more].concat();
    let table: Vec<(Vec<&str>, i32, &str, &str)> = vec![
        // Wrong flags.
        (with(&["--frobnicate"]), 2, "usage", "agent"),
        (vec!["--frobnicate", "--all"], 2, "usage", "all"),
        (vec!["--task"], 2, "usage", "task"),
        (vec!["--agent"], 2, "usage", "agent"),
        (vec!["frobnicate"], 2, "usage", "agent"),
        (vec!["--agent", "a", "--all"], 2, "usage", "all"),
        (vec!["--all", "--costs"], 2, "usage", "all"),
        (vec!["--deep"], 2, "usage", "agent"),
        (with(&["--timeout", "soon"]), 2, "usage", "agent"),
        (with(&["--color", "blue"]), 2, "usage", "agent"),
        (with(&["--sandbox", "strong"]), 2, "usage", "agent"),
        (with(&["--yes", "--no-input"]), 2, "usage", "agent"),
        (with(&["--session", "s", "--continue"]), 2, "usage", "agent"),
        (
            with(&["--record", "a", "--replay", "b"]),
            2,
            "usage",
            "agent",
        ),
        (with(&["--agents-only", "a"]), 2, "usage", "agent"),
        (with(&["--input", "k=v"]), 2, "usage", "agent"),
        (with(&["--deep"]), 2, "usage", "agent"),
        (vec!["--status", "--since", "7d"], 2, "usage", "status"),
        (vec!["--status", "--csv"], 2, "usage", "status"),
        (with(&["--prompt-file", "p"]), 2, "usage", "agent"),
        (vec!["completions", "tcsh"], 2, "usage", "agent"),
        // Flags that fit together and mean nothing.
        (vec![], 2, "usage", "agent"),
        (vec!["--agent", "a"], 2, "usage", "agent"),
        (vec!["--prompt", "x"], 2, "usage", "agent"),
        (vec!["--all"], 2, "usage", "all"),
        (vec!["--agent", "b", "--prompt", "x"], 2, "usage", "agent"),
        (vec!["--agent", "a", "--prompt", ""], 2, "usage", "agent"),
        (vec!["--agent", "a", "-"], 2, "usage", "agent"),
        (
            vec!["--agent", "a", "--prompt-file", "nowhere"],
            2,
            "usage",
            "agent",
        ),
        (with(&["--context", "nowhere"]), 2, "usage", "agent"),
        (with(&["--timeout", "0"]), 2, "usage", "agent"),
        (with(&["--budget", "much"]), 2, "usage", "agent"),
        (with(&["--continue"]), 2, "usage", "agent"),
        (
            vec!["--all", "--agents-only", "b", "--prompt", "x"],
            2,
            "usage",
            "all",
        ),
        (vec!["--task", "none"], 2, "usage", "task"),
        (vec!["--task", "t"], 2, "usage", "task"),
        (vec!["--task", "t", "--input", "y=1"], 2, "usage", "task"),
        (vec!["--task", "t", "--prompt", "x"], 2, "usage", "task"),
        (vec!["--resume", "none"], 2, "usage", "task"),
        (vec!["--logs", "b"], 2, "usage", "logs"),
        (vec!["--costs", "--since", "yore"], 2, "usage", "costs"),
        (vec!["--costs", "--csv"], 2, "usage", "costs"),
        (vec!["check", "--explain", "b"], 2, "usage", "check"),
        (vec!["tool", "hammer"], 2, "usage", "tool"),
        // The configuration.
        (with(&["--config", "nowhere.yaml"]), 3, "config", "agent"),
        (with(&["--config", "directory"]), 3, "config", "agent"),
        (with(&["--config", "broken.yaml"]), 3, "config", "agent"),
        (
            vec!["--config", "broken.yaml", "--status"],
            3,
            "config",
            "status",
        ),
        (
            vec!["--config", "broken.yaml", "--health"],
            3,
            "config",
            "health",
        ),
        (
            vec!["--config", "broken.yaml", "check"],
            3,
            "config",
            "check",
        ),
        (
            vec!["--config", "broken.yaml", "--task", "t"],
            3,
            "config",
            "task",
        ),
        (
            vec!["--config", "none.yaml", "--all", "--prompt", "x"],
            3,
            "config",
            "all",
        ),
        (
            vec!["--config", "none.yaml", "--agent", "a", "--prompt", "x"],
            3,
            "config",
            "agent",
        ),
        // What goes wrong later.
        (with(&["--replay", "recording.jsonl"]), 2, "usage", "agent"),
        (
            vec!["--agent", "keyless", "--prompt", "x"],
            4,
            "auth",
            "agent",
        ),
        (
            vec!["--agent", "lost", "--prompt", "x"],
            5,
            "provider",
            "agent",
        ),
        (
            vec!["--all", "--agents-only", "lost", "--prompt", "x"],
            5,
            "provider",
            "all",
        ),
        (
            vec!["--agent", "dear", "--prompt", "x", "--budget", "0"],
            7,
            "budget",
            "agent",
        ),
        (
            vec!["--all", "--agents-only", "a,lost", "--prompt", "x"],
            8,
            "partial",
            "all",
        ),
        (
            vec!["--agent", "slow", "--prompt", "x", "--timeout", "0.2"],
            6,
            "timeout",
            "agent",
        ),
        (
            vec![
                "--all",
                "--agents-only",
                "slow",
                "--prompt",
                "x",
                "--timeout",
                "0.2",
            ],
            6,
            "timeout",
            "all",
        ),
        (vec!["--task", "late"], 6, "timeout", "task"),
        (
            vec![
                "tool",
                "--sandbox",
                "off",
                "bash",
                "{\"command\": \"sleep 9\", \"timeout\": 0.2}",
            ],
            6,
            "timeout",
            "tool",
        ),
        (vec!["--task", "gated"], 9, "denied", "task"),
        (
            vec!["tool", "write", "{\"path\": \".env\", \"content\": \"x\"}"],
            9,
            "denied",
            "tool",
        ),
        (
            vec!["--agent", "loops", "--prompt", "x"],
            10,
            "turn_limit",
            "agent",
        ),
        (
            vec!["--all", "--agents-only", "loops", "--prompt", "x"],
            10,
            "turn_limit",
            "all",
        ),
        (with(&["--record", "directory"]), 2, "usage", "agent"),
        (
            vec![
                "--agent",
                "dear",
                "--prompt",
                "x",
                "--budget",
                "0",
                "--dry-run",
            ],
            7,
            "budget",
            "agent",
        ),
        (vec!["--health", "--agent", "lost"], 1, "failed", "health"),
        (
            vec!["tool", "read", "{\"path\": \"nowhere\"}"],
            1,
            "failed",
            "tool",
        ),
    ];
    for (args, code, class, kind) in table {
        let named = args.contains(&"--config");
        let config: &[&str] = if named {
            &[]
        } else {
            &["--config", "orch.yaml"]
        };
        let form = ["--output", "stream-json"];
        let stream = context.run(&[&form[..], config, &args].concat());
        let result = last(&stream);
        assert_eq!(
            (
                stream.code,
                result["error"]["class"].as_str(),
                result["kind"].as_str()
            ),
            (code, Some(class), Some(kind)),
            "{args:?} {stream:#?}"
        );
        assert_eq!(result["ok"], false, "{args:?}");
        let more: &[&str] = if result.get("results").is_some() {
            &["results"]
        } else {
            &[]
        };
        whole(&result, more);

        let object = context.run(&[&["--json"], config, &args].concat());
        assert_eq!(object.code, code, "{args:?} {object:#?}");
        let value = object.json();
        // What `--health`, `tool` and a dry run print has a form of its own.
        if value.get("schema_version").is_some() {
            // What is left of a deadline is never the same twice.
            let words = |result: &Value| {
                let message = result["error"]["message"].as_str().unwrap().to_owned();
                message.split(" within ").next().unwrap().to_owned()
            };
            assert_eq!(words(&value), words(&result), "{args:?}");
            whole(&value, more);
        } else {
            assert!(
                ["health", "tool", "agent"].contains(&kind),
                "{args:?} {value:#}"
            );
        }

        let text = context.run(&[config, &args[..]].concat());
        if args.is_empty() || args.contains(&"--csv") {
            // Without a form for programs it is a session, and a table of its own.
            continue;
        }
        assert_eq!(text.code, code, "{args:?} {text:#?}");
        for (what, streams) in [("text", &text), ("json", &object), ("stream", &stream)] {
            assert!(!streams.stderr.contains("panicked"), "{what}: {streams:#?}");
        }
        if class != "partial" && !["health", "tool"].contains(&kind) {
            assert!(
                text.stderr.starts_with("error: ") || text.stderr.contains("\nerror: "),
                "{args:?} {text:#?}"
            );
        }
    }
}
