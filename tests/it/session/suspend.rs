//! Ctrl-Z and `fg` in a shell with job control; a terminal that is closed.

use std::process::Command;

use serde_json::json;

use crate::support::{Context, Stub, stub, terminal::Terminal};

#[test]
fn a_session_stops_and_goes_on() {
    let server = Stub::start(|seen| {
        if seen.last_text() == "hang" {
            let begun = stub::event(&stub::chunk(&json!({"content": "begun"}), None));
            return vec![stub::stream_head(), begun, stub::Do::Hang];
        }
        stub::text(&format!("heard {}", seen.last_text()))
    });
    let context = Context::with_agent(&server.url(), "");
    let orch = context.command(&["--config", "orch.yaml"]);
    let mut shell = Command::new("/bin/bash");
    shell
        .args(["--norc", "--noprofile", "-i"])
        .current_dir(context.work())
        .env_clear()
        .env("PS1", "$ ")
        .env("TERM", "xterm")
        .envs(
            orch.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let mut terminal = Terminal::start(shell, 100, 24);
    terminal.prompt("$");
    terminal.line(&format!("alias orch={}", env!("CARGO_BIN_EXE_orch")));
    terminal.prompt("$");
    terminal.line("orch --config orch.yaml");
    terminal.prompt("[a] >");
    // In the middle of an answer.
    terminal.line("hang");
    terminal.shows("tokens · $0.0000");
    terminal.keys("\x1a");
    terminal.shows("Stopped");
    terminal.prompt("$");
    let screen = terminal.screen();
    assert!(!screen.contains("tokens · $0.0000"), "{screen}");
    terminal.line("echo $((40+2))");
    terminal.shows("\n42");
    terminal.prompt("$");
    terminal.line("fg");
    terminal.shows("tokens · $0.0000");
    terminal.keys("\x03");
    terminal.shows("error: interrupted");
    terminal.prompt("[a] >");
    // In the middle of a line.
    terminal.keys("half a line");
    terminal.typed("[a] > half a line");
    terminal.keys("\x1a");
    terminal.prompt("$");
    terminal.line("fg");
    terminal.typed("[a] > half a line");
    terminal.keys("\r");
    terminal.shows("heard half a line");
    terminal.prompt("[a] >");
    // With a command of the user's own.
    terminal.line("!echo runs; sleep 1; echo slept");
    terminal.shows("slept\nruns");
    terminal.keys("\x1a");
    terminal.prompt("$");
    terminal.line("fg");
    terminal.shows("\nslept");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.prompt("$");
    terminal.line("exit 5");
    terminal.ends(5);
}

#[test]
fn a_terminal_that_is_closed_ends_the_session_in_good_order() {
    let server = Stub::start(|_| {
        let begun = stub::event(&stub::chunk(&json!({"content": "begun"}), None));
        vec![stub::stream_head(), begun, stub::Do::Hang]
    });
    let context = Context::with_agent(&server.url(), "");
    for line in ["", "hang"] {
        let mut command = context.command(&["--config", "orch.yaml"]);
        command.env("TERM", "xterm");
        let mut terminal = Terminal::start(command, 80, 24);
        terminal.prompt("[a] >");
        if !line.is_empty() {
            terminal.line(line);
            terminal.shows("begun");
        }
        let id = terminal.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &id]).status().unwrap();
        assert!(sent.success());
        terminal.ends(143);
    }
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(
        (&costs["total_requests"], &costs["held_usd"]),
        (&json!(1), &json!("0.000000"))
    );
}
