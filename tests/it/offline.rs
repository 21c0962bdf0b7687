//! The first command of the README: no key, no network, real tools, recorded replies.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Context, Stub, agent_config, ran, stub};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Copies what git tracks, as a clone would have it.
pub fn clone_into(directory: &Path) {
    let list = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(list.status.success(), "{list:?}");
    for name in String::from_utf8(list.stdout)
        .unwrap()
        .split('\0')
        .filter(|name| !name.is_empty())
    {
        let (from, to) = (root().join(name), directory.join(name));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        if from.exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn the_guide_answers_without_key_and_network() {
    let context = Context::new();
    clone_into(&context.work());
    let mut before = Vec::new();
    files(&context.work(), &mut before);
    // An empty network namespace: not even loopback is up.
    let mut command = Command::new("unshare");
    command
        .args([
            "-rn",
            env!("CARGO_BIN_EXE_orch"),
            "--config",
            "examples/offline.yaml",
        ])
        .args([
            "--agent",
            "guide",
            "--prompt",
            "What does this project do?",
            "--output",
            "stream-json",
        ])
        .current_dir(context.work())
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", context.home())
        .env("ORCH_STATE_DIR", context.state());
    let lines = ran(command.output().unwrap()).exits(0).json_lines();
    let result = lines.last().unwrap();
    assert!(
        result["output"]
            .as_str()
            .unwrap()
            .contains("teams of LLM agents"),
        "{result}"
    );
    let tools: Vec<&str> = result["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            assert_eq!(tool["ok"], true, "{tool}");
            tool["tool"].as_str().unwrap()
        })
        .collect();
    assert_eq!(tools, ["list_dir", "read", "grep", "glob"]);
    assert_eq!(
        result["warnings"][0],
        "the replies are recorded; the tools are real"
    );
    assert_eq!(result["cost_usd"], "0.000000");
    // It streams: many pieces, not one.
    assert!(
        lines
            .iter()
            .filter(|line| line["type"] == "text.delta")
            .count()
            > 20
    );
    let mut after = Vec::new();
    files(&context.work(), &mut after);
    after.retain(|path| !before.contains(path));
    // What a run leaves is in directories that git ignores.
    assert_eq!(after, [context.work().join("examples/logs/guide.md")]);
}

#[test]
fn a_team_finishes_its_work_without_key_and_network() {
    let context = Context::new();
    clone_into(&context.work());
    let run = |format: &str| {
        // An empty network namespace: not even loopback is up.
        let mut command = Command::new("unshare");
        command
            .args(["-rn", env!("CARGO_BIN_EXE_orch")])
            .args(["--config", "examples/team.yaml"])
            .args(["--task", "feature", "--output", format])
            .current_dir(context.work())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", context.home())
            .env("ORCH_STATE_DIR", context.state());
        ran(command.output().unwrap()).exits(0)
    };
    let result = run("json").json();
    let parts = result["results"].as_array().unwrap();
    let of = |part: &serde_json::Value| {
        let name = |key: &str| part[key].as_str().unwrap().to_owned();
        (name("step"), name("agent"))
    };
    let pair = |step: &str, agent: &str| (step.to_owned(), agent.to_owned());
    assert_eq!(
        parts.iter().map(of).collect::<Vec<_>>(),
        [
            pair("design", "architect"),
            pair("code", "careful_coder"),
            pair("review", "reviewer"),
            pair("mend", "careful_coder"),
        ]
    );
    let candidates = parts[1]["results"].as_array().unwrap();
    assert_eq!(
        candidates.iter().map(of).collect::<Vec<_>>(),
        [
            pair("code.1", "plain_coder"),
            pair("code.2", "careful_coder"),
            pair("code.judge", "judge"),
        ]
    );
    assert_eq!(candidates[2]["structured"]["winner"], "code.2");
    assert_eq!(parts[2]["structured"]["verdict"], "mend");
    assert_eq!(
        (&parts[0]["tools"][0]["tool"], &parts[0]["tools"][0]["ok"]),
        (&"glob".into(), &true.into())
    );
    assert_eq!(result["output"], parts[3]["output"]);
    // Whoever runs it again gets the same, and that alone on standard output.
    let again = run("text");
    assert_eq!(again.stdout.trim_end(), result["output"].as_str().unwrap());
    assert!(again.stdout.contains("def slug(title"), "{again:?}");
}

#[test]
fn what_was_not_recorded_says_what_was() {
    let context = Context::new();
    clone_into(&context.work());
    let run = context.run(&[
        "--config",
        "examples/offline.yaml",
        "--agent",
        "guide",
        "--prompt",
        "hm?",
    ]);
    let run = run.exits(5);
    assert!(
        run.stderr.contains("`hm?`") && run.stderr.contains("What does this project do?"),
        "{run:?}"
    );
}

/// Nothing is wrong with a provider: the command line or the configuration names what is no recording.
#[test]
fn what_is_no_recording_is_a_mistake_of_the_one_who_names_it() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    context.write("garbage", "hello\n");
    let configured = |name: &str| {
        format!("agents: {{a: {{role: R, provider: replay, model: m, recording: {name}}}}}\n")
    };
    context.write("none.yaml", configured("none"));
    context.write("garbage.yaml", configured("garbage"));
    context.write(
        "nothing.yaml",
        "agents: {a: {role: R, provider: replay, model: m}}\n",
    );
    let (none, garbage) = (
        "none` cannot be read: No such file",
        "garbage` is no recorded reply",
    );
    for (flags, code, words) in [
        (&["--config", "orch.yaml", "--replay", "none"][..], 2, none),
        (
            &["--config", "orch.yaml", "--replay", "garbage"],
            2,
            garbage,
        ),
        (
            &["--config", "none.yaml", "--replay", "garbage"],
            2,
            garbage,
        ),
        (&["--config", "none.yaml"], 3, none),
        (&["--config", "garbage.yaml"], 3, garbage),
        (&["--config", "nothing.yaml"], 3, "has no recording"),
    ] {
        for what in [&["--agent", "a"][..], &["--all"]] {
            let args = [flags, what, &["--prompt", "x", "--json"]].concat();
            let told = context.run(&args).exits(code).json();
            let one = told["results"].get(0).unwrap_or(&told);
            let error = &one["error"];
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(words), "{args:?}: {told:#}");
            assert_eq!(error["retryable"], false, "{told:#}");
            assert!(error["hint"].is_string(), "{told:#}");
        }
    }
}

#[test]
fn a_recording_is_made_and_answers() {
    let server = Stub::replies([
        stub::tool_calls(&[("c1", "read", serde_json::json!({"path": "secret.txt"}))]),
        stub::text("It says sk-Ab3dEf6hIj9kLm2nOp5qRs8tUv1w."),
    ]);
    let context = Context::new();
    context.write("orch.yaml", agent_config(&server.url(), ""));
    context.write("secret.txt", "key sk-Ab3dEf6hIj9kLm2nOp5qRs8tUv1w\n");
    let args = ["--agent", "a", "--prompt", "What is in it?", "--json"];
    let first = context
        .orch(&[&args[..], &["--record", "r.jsonl"]].concat())
        .exits(0)
        .json();
    drop(server);
    let again = context
        .orch(&[&args[..], &["--replay", "r.jsonl"]].concat())
        .exits(0)
        .json();
    assert_eq!(first["output"], "It says [redacted].");
    assert_eq!(again["output"], "It says [redacted].");
    assert_eq!(
        again["tools"].as_array().unwrap().len(),
        first["tools"].as_array().unwrap().len()
    );
    assert!(!context.read("r.jsonl").contains("Ab3dEf6hIj9k"));
    assert!(!context.read("logs/a.md").contains("Ab3dEf6hIj9k"));
}
