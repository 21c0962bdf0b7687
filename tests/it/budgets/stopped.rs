//! What a run that was stopped says of its cost.

use std::io::Read as _;
use std::process::Stdio;

use serde_json::{Value, json};

use super::{money, priced};
use crate::bad_input::kill;
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
