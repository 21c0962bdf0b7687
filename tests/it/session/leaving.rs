//! Ways out of a session.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Context, Stub, stub, terminal::Terminal};

/// A second Ctrl-C within this time leaves.
const TWICE: Duration = Duration::from_secs(2);

fn start(context: &Context) -> Terminal {
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "xterm");
    let terminal = Terminal::start(command, 80, 24);
    terminal.prompt("[a] >");
    terminal
}

/// A model that begins to speak and goes on for ever.
fn hanging() -> Stub {
    Stub::start(|_| {
        let begun = stub::event(&stub::chunk(&json!({"content": "begun"}), None));
        vec![stub::stream_head(), begun, stub::Do::Hang]
    })
}

#[test]
fn a_second_interrupt_leaves_also_where_the_first_has_ended_the_turn() {
    let server = hanging();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context);
    terminal.line("hang");
    terminal.shows("begun");
    let pressed = Instant::now();
    terminal.keys("\x03");
    terminal.shows("error: interrupted");
    terminal.prompt("[a] >");
    let was_slow = pressed.elapsed() > TWICE / 2;
    terminal.keys("\x03");
    if was_slow {
        // The time may be over: this is the first one then.
        terminal.keys("\x03");
    }
    terminal.ends(130);
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_requests"], 1);
}

#[test]
fn two_interrupts_at_an_idle_prompt_leave() {
    let server = hanging();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context);
    // The first one only empties a line, and so does each one that finds something to empty.
    terminal.keys("half a line");
    terminal.typed("[a] > half a line");
    terminal.keys("\x03");
    terminal.prompt("[a] >");
    terminal.keys("another");
    terminal.typed("[a] > another");
    terminal.keys("\x03");
    terminal.prompt("[a] >");
    terminal.keys("\x03\x03");
    terminal.ends(130);
}
