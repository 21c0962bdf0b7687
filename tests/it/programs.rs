//! What scripts get: one result whatever happens, with every field, and nothing beside it.

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bad_input::kill;
use crate::support::{Context, Ran, Stub, agent_config, ran, stub};

/// The fields of a result, in the order of the interface.
const FIELDS: &[&str] = &[
    "schema_version",
    "run_id",
    "kind",
    "agent",
    "ok",
    "output",
    "structured",
    "finish_reason",
    "error",
    "warnings",
    "usage",
    "cost_usd",
    "cost_source",
    "requested_model",
    "model",
    "fallbacks",
    "attempts",
    "retries",
    "turns",
    "tools",
    "session",
    "duration_ms",
];

const ERROR_FIELDS: &[&str] = &[
    "class",
    "message",
    "hint",
    "retryable",
    "retry_after_s",
    "provider",
    "status",
    "attempts",
];

const USAGE_FIELDS: &[&str] = &[
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
];

fn fields(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"))
        .keys()
        .map(String::as_str)
        .collect()
}

/// Fails unless it is a whole result; `more` are the fields that this one has beside those of all.
#[track_caller]
fn whole(result: &Value, more: &[&str]) {
    let found = fields(result);
    for field in FIELDS.iter().chain(more) {
        assert!(found.contains(field), "no {field}: {result:#}");
    }
    let known = |field: &&str| FIELDS.contains(field) || more.contains(field);
    assert!(found.iter().all(known), "{found:?}");
    assert_eq!(fields(&result["usage"]), USAGE_FIELDS);
    assert!(result["cost_usd"].is_string(), "{result:#}");
    assert!(result["run_id"].as_str().unwrap().len() > 8, "{result:#}");
    if result["ok"] == false {
        assert_eq!(fields(&result["error"]), ERROR_FIELDS);
        assert!(!result["error"]["message"].as_str().unwrap().is_empty());
    } else {
        assert_eq!(result["error"], Value::Null);
    }
}

/// The one result at the end of `stream-json`, without what makes it a line.
#[track_caller]
fn last(ran: &Ran) -> Value {
    let lines = ran.json_lines();
    let results = lines.iter().filter(|line| line["type"] == "result").count();
    assert_eq!(results, 1, "{ran:#?}");
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], number, "{ran:#?}");
    }
    let mut result = lines.last().unwrap().clone();
    assert_eq!(result["type"], "result", "{ran:#?}");
    let line = result.as_object_mut().unwrap();
    for field in ["type", "seq", "ts"] {
        line.remove(field).unwrap();
    }
    result
}

#[test]
fn every_failure_is_one_result() {
    let server = Stub::start(|_| stub::text("fine"));
    let context = Context::new();
    context.write(
        "orch.yaml",
        agent_config(
            &server.url(),
            "  lost: {role: R, provider: gone, model: m}\n  \
             keyless: {role: R, provider: openai, model: gpt4o}\n  \
             dear: {role: R, provider: dear, model: m}\n\
             tasks:\n  t: {steps: [{agent: a, prompt: \"{{ inputs.x }}\"}], inputs: {x: {required: true}}}\n",
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
        (
            with(&["--replay", "recording.jsonl"]),
            5,
            "provider",
            "agent",
        ),
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
            assert_eq!(
                value["error"]["message"], result["error"]["message"],
                "{args:?}"
            );
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

#[test]
fn what_is_no_run_is_a_result_of_a_stream_as_well() {
    let server = Stub::start(|_| stub::text("fine"));
    let context = Context::with_agent(
        &server.url(),
        "tasks:\n  t: {steps: [{agent: a, prompt: P}]}\n",
    );
    for (args, kind) in [
        (vec!["--agents"], "agents"),
        (vec!["--models"], "models"),
        (vec!["--status"], "status"),
        (vec!["--health"], "health"),
        (vec!["--costs"], "costs"),
        (vec!["--tasks"], "tasks"),
        (vec!["--runs"], "runs"),
        (vec!["--logs", "a"], "logs"),
        (vec!["--agent", "a", "--prompt", "x", "--dry-run"], "agent"),
        (vec!["--all", "--prompt", "x", "--dry-run"], "all"),
        (vec!["--task", "t", "--dry-run"], "task"),
        (vec!["prices"], "prices"),
        (vec!["prices", "gpt-4o"], "prices"),
        (vec!["schema"], "schema"),
        (vec!["check", "--explain", "a"], "check"),
        (vec!["check", "--store"], "check"),
        (vec!["tool", "list_dir"], "tool"),
    ] {
        let json = [&["--json"], &args[..]].concat();
        let value = context.orch(&json).exits(0).json();
        let stream = [&["--output", "stream-json"], &args[..]].concat();
        let result = last(&context.orch(&stream).exits(0));
        whole(&result, &[]);
        assert_eq!(result["kind"], kind, "{args:?}");
        assert_eq!(result["ok"], true, "{args:?}");
        assert_eq!(result["output"], "", "{args:?}");
        let own = &result["structured"];
        if value.is_array() {
            assert_eq!(
                own.as_array().unwrap().len(),
                value.as_array().unwrap().len(),
                "{args:?}"
            );
        } else {
            assert_eq!(fields(own), fields(&value), "{args:?}");
        }
    }
    for (args, kind, words) in [
        (vec!["completions", "bash"], "completions", "_orch()"),
        (vec!["man"], "man", ".TH orch"),
        (
            vec!["trust", "orch.yaml"],
            "trust",
            "is trusted until it changes",
        ),
        (vec!["init", "--force"], "init", "wrote orch.yaml"),
    ] {
        for form in [&["--json"][..], &["--output", "stream-json"]] {
            let ran = context.run(&[form, &args].concat()).exits(0);
            let result = if form.len() == 1 {
                ran.json()
            } else {
                last(&ran)
            };
            whole(&result, &[]);
            assert_eq!(
                (&result["kind"], &result["ok"]),
                (&kind.into(), &true.into())
            );
            assert!(
                result["output"].as_str().unwrap().contains(words),
                "{result:#}"
            );
        }
    }
}

#[test]
fn successes_have_every_field_too() {
    let server = Stub::start(|_| stub::text("fine"));
    let context = Context::with_agent(
        &server.url(),
        "tasks:\n  t: {steps: [{agent: a, prompt: P}, {run: \"true\"}]}\n",
    );
    for (args, kind) in [
        (vec!["--agent", "a", "--prompt", "x"], "agent"),
        (vec!["--all", "--prompt", "x"], "all"),
        (vec!["--task", "t"], "task"),
    ] {
        let stream = context
            .orch(&[&["--output", "stream-json"], &args[..]].concat())
            .exits(0);
        let object = context.orch(&[&["--json"], &args[..]].concat()).exits(0);
        for result in [last(&stream), object.json()] {
            assert_eq!(
                (&result["kind"], &result["ok"]),
                (&kind.into(), &true.into()),
                "{result:#}"
            );
            if kind == "agent" {
                whole(&result, &[]);
                assert_eq!(result["output"], "fine");
                continue;
            }
            whole(&result, &["results"]);
            for one in result["results"].as_array().unwrap() {
                let more: &[&str] = match one["kind"].as_str().unwrap() {
                    "run" => &["step", "exit_code"],
                    _ if kind == "task" => &["step"],
                    _ => &[],
                };
                whole(one, more);
            }
        }
    }
}

#[test]
fn a_signal_leaves_one_result_wherever_it_comes() {
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        for (again, begun) in [(false, false), (false, true), (true, true)] {
            let server = Stub::start(|_| {
                vec![
                    stub::stream_head(),
                    stub::event(&stub::chunk(&json!({"content": "begun"}), None)),
                    stub::Do::Hang,
                ]
            });
            let context = Context::with_agent(&server.url(), "");
            let prompt: &[&str] = if begun { &["--prompt", "x"] } else { &["-"] };
            let args = [
                &[
                    "--config",
                    "orch.yaml",
                    "--output",
                    "stream-json",
                    "--agent",
                    "a",
                ],
                prompt,
            ]
            .concat();
            let mut child = context
                .command(&args)
                .stdin(if begun { Stdio::null() } else { Stdio::piped() })
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let stdin = child.stdin.take();
            let mut out = child.stdout.take().unwrap();
            let mut text = String::new();
            let mut buffer = [0; 4096];
            if begun {
                while !text.contains("begun") {
                    let count = out.read(&mut buffer).unwrap();
                    assert!(count > 0, "{text}");
                    text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
                }
            } else {
                // It says that it waits, so it watches for signals.
                let mut err = child.stderr.take().unwrap();
                let count = err.read(&mut buffer).unwrap();
                assert!(
                    String::from_utf8_lossy(&buffer[..count])
                        .contains("waiting for standard input")
                );
            }
            kill(child.id(), signal);
            if again {
                kill(child.id(), signal);
            }
            out.read_to_string(&mut text).unwrap();
            let mut ended = ran(child.wait_with_output().unwrap());
            ended.stdout = text;
            drop(stdin);
            let result = last(&ended);
            whole(&result, &[]);
            assert_eq!(
                (ended.code, &result["error"]["class"]),
                (code, &"interrupted".into())
            );
        }
    }
}

#[test]
fn nobody_reads() {
    let server = Stub::start(|_| stub::text("fine"));
    let context = Context::with_agent(&server.url(), "");
    for form in [&[][..], &["--json"], &["--output", "stream-json"]] {
        for (args, codes) in [
            (vec!["--agent", "a", "--prompt", "x"], [0, 0]),
            (vec!["--agent", "b", "--prompt", "x"], [2, 2]),
            (vec!["--frobnicate"], [2, 2]),
            (vec!["--status"], [0, 0]),
            (vec!["--help"], [0, 0]),
        ] {
            let all = [&["--config", "orch.yaml"], form, &args[..]].concat();
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let output = context
                .command(&all)
                .stdout(writer)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
                .wait_with_output()
                .unwrap();
            let ended = ran(output);
            assert!(codes.contains(&ended.code), "{all:?} {ended:#?}");
            assert!(!ended.stderr.contains("panicked"), "{all:?} {ended:#?}");
        }
    }
}

#[test]
fn colours_follow_the_environment() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    for (variables, flags, expected) in [
        (&[][..], &[][..], false),
        (&[("CLICOLOR_FORCE", "1")], &[], true),
        (&[("CLICOLOR_FORCE", "0")], &[], false),
        (&[("CLICOLOR_FORCE", "")], &[], false),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], &[], true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[], false),
        (&[("NO_COLOR", "1")], &["--color", "always"], true),
        (&[("CLICOLOR_FORCE", "1")], &["--color", "never"], false),
    ] {
        let args = [
            &["--config", "orch.yaml", "--agent", "b", "--prompt", "x"],
            flags,
        ]
        .concat();
        let mut command = context.command(&args);
        command.envs(variables.iter().copied());
        let stderr = ran(command.output().unwrap()).exits(2).stderr;
        assert_eq!(
            stderr.contains('\x1b'),
            expected,
            "{variables:?} {flags:?} {stderr:?}"
        );
    }
}
