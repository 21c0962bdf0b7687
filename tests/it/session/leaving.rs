//! Ways out of a session.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{in_terminal, on_terminal};
use crate::sandbox::{processes_with, until};
use crate::support::{Context, Stub, stub, terminal::Terminal};

/// A second Ctrl-C within this time leaves.
const TWICE: Duration = Duration::from_secs(2);

/// Waits for the prompt that is the last of so many on the screen.
fn prompts(terminal: &Terminal, count: usize) {
    terminal.wait("another prompt", |screen| {
        screen.contents().matches("[a] >").count() == count
    });
    terminal.prompt("[a] >");
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
    let mut terminal = in_terminal(&context);
    terminal.line("hang");
    terminal.shows("begun");
    let pressed = Instant::now();
    terminal.keys("\x03");
    terminal.shows("error: interrupted");
    terminal.prompt("[a] >");
    let was_slow = pressed.elapsed() > TWICE / 2;
    terminal.keys("\x03");
    if was_slow {
        // The time may be over: this was the first one then.
        prompts(&terminal, 3);
        terminal.keys("\x03");
    }
    terminal.ends(130);
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_requests"], 1);
}

#[test]
fn two_interrupts_at_an_idle_prompt_leave_unless_they_empty_a_line() {
    let server = hanging();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = in_terminal(&context);
    for line in ["half a line", "another"] {
        terminal.keys(line);
        terminal.typed(&format!("[a] > {line}"));
        terminal.keys("\x03");
        terminal.prompt("[a] >");
    }
    terminal.line("/quit");
    terminal.ends(0);
    let mut terminal = in_terminal(&context);
    terminal.keys("\x03");
    prompts(&terminal, 2);
    terminal.keys("\x03");
    terminal.ends(130);
}

#[test]
fn the_shell_gets_its_terminal_back_on_every_way_out() {
    let server = hanging();
    let context = Context::with_agent(&server.url(), "");
    let orch = context.command(&["--config", "orch.yaml"]);
    // A shell that leaves the terminal as programs leave it.
    let mut shell = Command::new("/bin/dash");
    shell
        .arg("-i")
        .current_dir(context.work())
        .env_clear()
        .envs(
            orch.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("PS1", "$ ")
        .env("TERM", "xterm");
    let mut terminal = Terminal::start(shell, 100, 24);
    terminal.prompt("$");
    let is_as_it_was = |terminal: &mut Terminal, name: &str| {
        terminal.prompt("$");
        terminal.line(&format!("stty -g > {name}"));
        terminal.prompt("$");
        assert_eq!(context.read(name), context.read("before"), "{name}");
        terminal.wait("a terminal that tells no pastes", |screen| {
            !screen.bracketed_paste()
        });
        terminal.line("clear");
        terminal.prompt("$");
    };
    terminal.line("stty -g > before");
    is_as_it_was(&mut terminal, "again");
    let begin = format!("{} --config orch.yaml", env!("CARGO_BIN_EXE_orch"));
    terminal.keys(&format!("{begin}\r"));
    terminal.prompt("[a] >");
    terminal.line("hang");
    terminal.shows("tokens · $0.0000");
    terminal.keys("\x1a");
    is_as_it_was(&mut terminal, "stopped");
    terminal.line("fg");
    terminal.shows("tokens · $0.0000");
    terminal.wait("a session that is told of pastes", |screen| {
        screen.bracketed_paste()
    });
    // In the middle of an answer.
    let id = |terminal: &Terminal| {
        let shell = terminal.id();
        let path = format!("/proc/{shell}/task/{shell}/children");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    };
    let end = |id: &str| {
        let sent = Command::new("kill").args(["-TERM", id]).status().unwrap();
        assert!(sent.success());
    };
    end(&id(&terminal));
    is_as_it_was(&mut terminal, "ended");
    // In the middle of a line.
    terminal.keys(&format!("{begin}\r"));
    terminal.prompt("[a] >");
    terminal.keys("half a line");
    terminal.typed("[a] > half a line");
    end(&id(&terminal));
    terminal.wait("the shell", |screen| {
        screen.contents().trim_end().ends_with('$')
    });
    terminal.keys("\r");
    is_as_it_was(&mut terminal, "killed");
    // With a program of the user's own.
    terminal.keys(&format!("{begin}\r"));
    terminal.prompt("[a] >");
    terminal.line("!stty raw -echo; echo begun; sleep 100000");
    terminal.shows("\nbegun");
    end(&id(&terminal));
    terminal.wait("the shell", |screen| {
        screen.contents().trim_end().ends_with('$')
    });
    terminal.keys("\r");
    is_as_it_was(&mut terminal, "abandoned");
    // By two interrupts.
    terminal.keys(&format!("{begin}\r"));
    terminal.prompt("[a] >");
    terminal.keys("\x03");
    prompts(&terminal, 2);
    terminal.keys("\x03");
    is_as_it_was(&mut terminal, "interrupted");
    terminal.line("exit 5");
    terminal.ends(5);
}

#[test]
fn a_signal_ends_the_program_that_has_the_terminal_and_the_session() {
    let server = hanging();
    let context = Context::with_agent(&server.url(), "");
    let begun = context.work().join("begun");
    // Paths that no other process has in its command line.
    let program = |name: &str, script: &str| {
        context.write(name, script);
        let path = context.work().join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let deaf = program(
        "deaf.sh",
        "#!/bin/sh\ntrap '' TERM HUP\n(sleep 100000; :) &\n: > begun\nsleep 100000\n",
    );
    let polite = program(
        "polite.sh",
        "#!/bin/sh\ntrap 'echo goodbye > said; exit 1' TERM\n: > begun\nsleep 100000\n",
    );
    for (line, running) in [
        (format!("!{deaf}"), &deaf),
        (format!("!{polite}; :"), &polite),
        ("/edit text".to_owned(), &deaf),
    ] {
        for signal in ["-TERM", "-HUP"] {
            let set = |command: &mut Command| {
                command.env("EDITOR", &deaf);
            };
            let mut terminal = on_terminal(&context, set, 100, 24);
            terminal.keys(&format!("{line}\r"));
            until("the program runs", || begun.exists());
            let id = terminal.id().to_string();
            let sent = Command::new("kill").args([signal, &id]).status().unwrap();
            assert!(sent.success());
            terminal.ends(143);
            assert_eq!(processes_with(running), [""; 0], "{line} {signal}");
            std::fs::remove_file(&begun).unwrap();
            if *running == polite {
                assert_eq!(context.read("said"), "goodbye\n");
                std::fs::remove_file(context.work().join("said")).unwrap();
            }
        }
    }
    let left = std::fs::read_dir(context.state()).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("prompt-")
    });
    assert_eq!(left.count(), 0);
}
