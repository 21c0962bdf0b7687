//! Ctrl-Z and `fg` in a shell with job control; a terminal that is closed.

use std::process::Command;

use serde_json::json;

use super::in_terminal;
use super::pasting::{asking, writer};
use crate::support::{Context, Stub, stub, terminal::Terminal};

/// A shell with job control that knows `orch`.
fn shell(context: &Context) -> Terminal {
    let orch = context.command(&[]);
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
    let mut terminal = Terminal::start(shell, 100, 30);
    terminal.prompt("$");
    terminal.line(&format!("alias orch={}", env!("CARGO_BIN_EXE_orch")));
    terminal.prompt("$");
    terminal
}

/// Waits until a text stands on the screen so many times.
fn times(terminal: &Terminal, text: &str, count: usize) {
    terminal.wait(&format!("`{text}` {count} times"), |screen| {
        screen.contents().matches(text).count() == count
    });
}

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
    let mut terminal = shell(&context);
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

#[test]
fn a_question_is_asked_again_after_a_stop() {
    let server = writer();
    let context = asking(&server);
    context.write(
        "orch.yaml",
        format!(
            "{}tasks:\n  ask: {{steps: [{{gate: 'sure?'}}]}}\n",
            context.read("orch.yaml")
        ),
    );
    let mut terminal = shell(&context);
    let stopped = |terminal: &mut Terminal, question: &str| {
        times(terminal, question, 1);
        terminal.keys("\x1a");
        terminal.shows("Stopped");
        terminal.prompt("$");
        terminal.line("fg");
        times(terminal, question, 2);
        terminal.wait("nothing behind the question", |screen| {
            screen.contents().trim_end().ends_with(question)
        });
    };
    terminal.line("orch --config orch.yaml");
    terminal.prompt("[a] >");
    terminal.line("go");
    stopped(&mut terminal, "allow? [y/N]");
    assert!(!context.work().join("x").exists());
    terminal.keys("y\r");
    terminal.shows("done");
    terminal.prompt("[a] >");
    assert_eq!(context.read("x"), "x");
    terminal.keys("\x0c");
    terminal.prompt("[a] >");
    terminal.line("/task ask");
    stopped(&mut terminal, "go on? [y/N]");
    terminal.keys("n\r");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.prompt("$");
    // A run alone as well.
    std::fs::remove_file(context.work().join("x")).unwrap();
    terminal.line("clear");
    terminal.prompt("$");
    terminal.line("orch --config orch.yaml --agent a --prompt go");
    stopped(&mut terminal, "allow? [y/N]");
    terminal.keys("y\r");
    terminal.shows("done");
    terminal.prompt("$");
    assert_eq!(context.read("x"), "x");
    terminal.line("exit 5");
    terminal.ends(5);
}

#[test]
fn a_session_without_a_shell_above_it_is_not_stopped() {
    const NONE: &str = "there is no shell to return to";
    let server = Stub::start(|seen| match seen.last_text().as_str() {
        "hang" => {
            let begun = stub::event(&stub::chunk(&json!({"content": "begun"}), None));
            vec![stub::stream_head(), begun, stub::Do::Hang]
        }
        "go" => stub::tool_calls(&[("c1", "write", json!({"path": "x", "content": "x"}))]),
        text => stub::text(&format!("heard {text}")),
    });
    let context = asking(&server);
    // The program is the first of its terminal.
    let mut terminal = in_terminal(&context);
    terminal.keys("half a line");
    terminal.typed("[a] > half a line");
    terminal.keys("\x1a");
    terminal.shows(NONE);
    terminal.typed("[a] > half a line");
    terminal.keys("\r");
    terminal.shows("heard half a line");
    terminal.prompt("[a] >");
    terminal.line("hang");
    terminal.shows("begun");
    terminal.keys("\x1a");
    times(&terminal, NONE, 2);
    terminal.keys("\x03");
    terminal.shows("error: interrupted");
    terminal.prompt("[a] >");
    terminal.line("!echo runs; read line; echo \"read $line\"");
    terminal.shows("\nruns");
    terminal.keys("\x1a");
    terminal.keys("this\r");
    terminal.shows("read this");
    terminal.prompt("[a] >");
    terminal.line("go");
    terminal.shows("allow? [y/N]");
    terminal.keys("\x1a");
    times(&terminal, "allow? [y/N]", 2);
    terminal.keys("y\r");
    terminal.prompt("[a] >");
    assert_eq!(context.read("x"), "x");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn the_first_session_of_a_container_is_not_stopped() {
    let server = Stub::start(|seen| stub::text(&format!("heard {}", seen.last_text())));
    let context = asking(&server);
    let orch = context.command(&["--config", "orch.yaml"]);
    // Its terminal's session and its group stand outside, where it has no number for them.
    let mut container = Command::new("unshare");
    container
        .args(["--map-root-user", "--pid", "--fork", "--mount-proc"])
        .arg(orch.get_program())
        .args(orch.get_args())
        .current_dir(context.work())
        .env_clear()
        .envs(
            orch.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("TERM", "xterm");
    let mut terminal = Terminal::start(container, 100, 30);
    terminal.prompt("[a] >");
    terminal.keys("half a line\x1a");
    terminal.shows("there is no shell to return to");
    terminal.typed("[a] > half a line");
    terminal.keys("\r");
    terminal.shows("heard half a line");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}
