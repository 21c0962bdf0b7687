//! What scripts get: one result whatever happens, with every field, and nothing beside it.

mod ends;
mod failures;

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bad_input::kill;
use crate::support::{Context, Ran, Stub, ran, stub};

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
        (vec!["--help"], "help", "Run teams of LLM agents"),
        (vec!["init", "--help"], "help", "Write orch.yaml"),
        (vec!["--version"], "version", "orch "),
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
    for (signal, code) in [
        (libc::SIGINT, 130),
        (libc::SIGTERM, 143),
        (libc::SIGQUIT, 143),
    ] {
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
