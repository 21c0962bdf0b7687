//! What a run that was stopped says of its cost.

use std::io::Read as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{money, priced, tells_the_ledger};
use crate::bad_input::kill;
use crate::support::terminal::Terminal;
use crate::support::{Context, Stub, ran, stub};

/// The ledger charges an estimate of what had come by then; the result says the same.
#[test]
fn a_stopped_run_tells_what_the_ledger_charged() {
    let server = Stub::start(|_| {
        vec![
            stub::stream_head(),
            stub::event(&stub::chunk(&json!({"content": "begun, and more"}), None)),
            stub::Do::Hang,
        ]
    });
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let context = Context::new();
        context.write("orch.yaml", priced(&server.url(), 1000.0, 1000.0, "", ""));
        let arguments = "--config orch.yaml --output stream-json --agent a --prompt x";
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let mut child = context
            .command(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        while !text.contains("begun") {
            let count = out.read(&mut buffer).unwrap();
            assert!(count > 0, "{text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        kill(child.id(), signal);
        out.read_to_string(&mut text).unwrap();
        let ended = ran(child.wait_with_output().unwrap());
        assert_eq!(ended.code, code, "{ended:#?}");
        let result: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        let costs = context.orch(&["--costs", "--json"]).exits(0).json();
        assert!(money(&result["cost_usd"]) > 0, "{result}");
        assert_eq!(result["cost_usd"], costs["total_cost_usd"]);
        assert_eq!(result["cost_source"], "estimated");
        assert_eq!(result["attempts"], 1);
        let tokens = ["input_tokens", "output_tokens"].map(|class| {
            let told = result["usage"][class].as_u64().unwrap();
            assert!(told > 0, "{result}");
            told
        });
        assert_eq!(costs["total_input_tokens"], tokens[0], "{costs}");
        assert_eq!(costs["total_output_tokens"], tokens[1], "{costs}");
    }
}

/// Comments keep a connection open while a model has not begun: nobody knows what it does, so the hold stays.
#[test]
fn a_call_that_only_kept_its_connection_open_stays_at_its_hold() {
    let waits = |more: Vec<stub::Do>| {
        let server = Stub::start(move |_| {
            let mut actions = vec![stub::stream_head()];
            actions.extend(more.clone());
            actions.push(stub::Do::Hang);
            actions
        });
        let context = Context::new();
        let settings = "clocks: {first_event: 0.3, idle: 0.3}";
        let yaml = priced(
            &server.url(),
            0.0,
            1000.0,
            settings,
            "max_output_tokens: 300",
        );
        context.write("orch.yaml", yaml);
        context.orch(&["--agent", "a", "--prompt", "x"]).exits(6);
        let costs = context.orch(&["--costs", "--json"]).exits(0).json();
        (money(&costs["total_cost_usd"]), money(&costs["held_usd"]))
    };
    let held = (0, 300_000_000_000);
    assert_eq!(waits(Vec::new()), held);
    let comment = stub::piece(": OPENROUTER PROCESSING\n\n");
    assert_eq!(waits(vec![comment]), held);
    let piece = stub::event(&stub::chunk(&json!({"content": "begun"}), None));
    let (spent, held) = waits(vec![piece]);
    assert!(spent > 0 && held == 0, "{spent} {held}");
}

/// A boss that calls a helper, and tasks of every form that has parts.
const PARTS: &str = "
  boss: {role: R, provider: stub, model: m, delegates: [a]}
tasks:
  one: {steps: [{id: e, agent: boss, prompt: x}]}
  each:
    steps:
      - {id: e, for_each: [x, y, z, hang 1, hang 2, hang 3], max_parallel: 3, agent: a, prompt: '{{ item }}'}
  some: {steps: [{id: e, candidates: [a, boss], vote: true, prompt: hang}]}
  rounds:
    steps:
      - {id: e, agent: a, prompt: \"{{ 'hang' if steps.e.output else 'go' }}\", repeat: {until: 'false', max: 3}}
  again: {steps: [{id: e, agent: a, prompt: hang, timeout: 1, retries: 2}]}
  judged:
    steps:
      - {id: e, candidates: [a, a], judge: boss, prompt: x}
  mixed: {steps: [{id: e, candidates: [a, a], synthesise: boss, prompt: x}]}
  checked: {steps: [{id: e, candidates: [a, a], vote: true, check: sleep 30, prompt: x}]}
  block: {steps: [{id: e, steps: [{id: i, agent: a, prompt: x}, {id: j, agent: a, prompt: hang}]}]}
";

/// Lets a boss call its helper; what is to hang does so after a few words.
fn parts_server() -> Stub {
    Stub::start(|seen| {
        let is_boss = seen.body["tools"].is_array();
        let hangs = seen.last_text().contains("hang");
        if is_boss && seen.tool_messages().is_empty() {
            stub::tool_calls(&[("c", "delegate", json!({"agent": "a", "prompt": "hang"}))])
        } else if hangs {
            let words = json!({"content": "some words that came"});
            vec![
                stub::stream_head(),
                stub::event(&stub::chunk(&words, None)),
                stub::Do::Hang,
            ]
        } else {
            stub::text("go")
        }
    })
}

/// Whatever was under way in whatever part of a run, the result leaves none of it out.
#[test]
fn a_stopped_run_tells_what_all_of_its_parts_were_charged() {
    let signals = [(libc::SIGINT, 130), (libc::SIGTERM, 143)];
    for (index, (arguments, chats)) in [
        ("--agent boss --prompt x", 2),
        ("--all --prompt x", 3),
        ("--task one", 2),
        ("--task each", 6),
        ("--task some", 3),
        ("--task rounds", 2),
        ("--task again", 2),
        ("--task judged", 4),
        ("--task mixed", 4),
        ("--task checked", 2),
        ("--task block", 2),
    ]
    .into_iter()
    .enumerate()
    {
        let server = parts_server();
        let context = Context::new();
        let yaml = priced(&server.url(), 10.0, 10.0, "", "") + PARTS;
        context.write("orch.yaml", yaml);
        let mut all = vec!["--config", "orch.yaml", "--json"];
        all.extend(arguments.split(' '));
        let child = context
            .command(&all)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        server.has_said(chats);
        let (signal, code) = signals[index % 2];
        kill(child.id(), signal);
        let result = ran(child.wait_with_output().unwrap()).exits(code).json();
        assert!(money(&result["cost_usd"]) > 0, "{arguments}: {result}");
        tells_the_ledger(&context, &result, arguments);
    }
}

/// The line below a turn of a session counts what a called agent was charged as well.
#[test]
fn a_turn_that_is_stopped_tells_what_called_agents_were_charged() {
    let server = parts_server();
    let context = Context::new();
    let yaml = priced(&server.url(), 100_000.0, 100_000.0, "", "") + PARTS;
    context.write("orch.yaml", yaml);
    let command = context.command(&["--config", "orch.yaml", "--agent", "boss"]);
    let mut terminal = Terminal::start(command, 100, 30);
    terminal.prompt("[boss] >");
    terminal.line("go");
    server.has_said(2);
    terminal.keys("\u{3}");
    terminal.shows("about $");
    terminal.prompt("[boss] >");
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_requests"], 2);
    let told = costs["total_cost_usd"].as_str().unwrap();
    terminal.shows(&format!("about ${told}, 1 tool call"));
    terminal.line("/quit");
    terminal.ends(0);
}
