//! Sessions whose lines come from a pipe, or whose answers go to one or to a file; two in one conversation.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bad_input::kill;
use crate::sandbox::until;
use crate::support::{Context, Stub, stub, terminal::Terminal};

fn echo() -> Stub {
    Stub::start(|seen| match seen.last_text().as_str() {
        "hang" => {
            let begun = stub::event(&stub::chunk(&json!({"content": "begun\n"}), None));
            vec![stub::stream_head(), begun, stub::Do::Hang]
        }
        text => stub::text(&format!("heard {}", text.replace('\n', " / "))),
    })
}

#[test]
fn a_backslash_at_the_end_of_a_piped_line_goes_on_too() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let lines = b"one\\\r\ntwo\n!echo joined\\\n-words\nthree\\";
    let ran = context
        .run_with_stdin(&["--config", "orch.yaml"], lines)
        .exits(0);
    assert_eq!(ran.stdout, "heard one / two\njoined-words\nheard three\n");
}

#[test]
fn a_piped_line_that_is_no_text_is_refused_and_the_next_one_is_taken() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let lines = b"one\nbad \xff \\\n!echo the same line\nthree\n";
    let ran = context
        .run_with_stdin(&["--config", "orch.yaml"], lines)
        .exits(0);
    assert_eq!(ran.stdout, "heard one\nheard three\n");
    assert!(
        ran.stderr
            .contains("error: what was typed is not UTF-8 text"),
        "{ran:?}"
    );
    assert_eq!(server.chats().len(), 2);
}

#[test]
fn a_session_ends_when_nobody_reads_it_any_more() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    // At the prompt, and in the middle of an answer.
    for (line, answer) in [("one\n", "heard one\n"), ("hang\n", "begun\n")] {
        let before = server.chats().len();
        let mut child = context
            .command(&["--config", "orch.yaml"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        assert_eq!(said, answer);
        if line == "hang\n" {
            stdin.write_all(b"two\nthree\n").unwrap();
        }
        drop(stdout);
        // Its input goes on.
        let mut ended = None;
        until("the session ends", || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        });
        assert_eq!(ended.unwrap().code(), Some(0));
        assert_eq!(server.chats().len(), before + 1, "{line}");
        drop(stdin);
    }
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(
        (&costs["total_requests"], &costs["held_usd"]),
        (&json!(2), &json!("0.000000"))
    );
}

/// A session on a terminal whose answers go to a file.
fn into_file(context: &Context, term: &str) -> Terminal {
    let shell = ["/bin/sh", "-c", "exec \"$0\" \"$@\" > answers"];
    let mut command = context.wrapped(&shell, &["--config", "orch.yaml"]);
    command.env("TERM", term);
    let terminal = Terminal::start(command, 80, 24);
    terminal.prompt("[a] >");
    terminal
}

#[test]
fn answers_go_to_a_file_and_what_is_asked_to_the_terminal() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    for term in ["xterm", "dumb"] {
        let mut terminal = into_file(&context, term);
        terminal.keys("hello\r");
        terminal.wait("another prompt", |screen| {
            screen.contents().matches("[a] >").count() == 2
        });
        terminal.prompt("[a] >");
        terminal.keys("/quit\r");
        terminal.ends(0);
        assert_eq!(context.read("answers"), "heard hello\n", "{term}");
    }
    let mut terminal = into_file(&context, "xterm");
    terminal.wait("a program that is told of pastes", |screen| {
        screen.bracketed_paste()
    });
    terminal.keys("half a line");
    terminal.typed("[a] > half a line");
    kill(terminal.id().try_into().unwrap(), libc::SIGTERM);
    terminal.wait("one that is not", |screen| !screen.bracketed_paste());
    terminal.ends(143);
}

#[test]
fn two_sessions_in_one_conversation_hear_of_each_other() {
    let server = Stub::start(|seen| {
        let count = seen.body["messages"].as_array().unwrap().len();
        stub::text(&format!("I see {count} messages."))
    });
    let context = Context::with_agent(&server.url(), "");
    let start = || {
        let mut command: Command = context.command(&["--config", "orch.yaml", "--session", "plan"]);
        command.env("TERM", "xterm");
        let terminal = Terminal::start(command, 80, 24);
        terminal.prompt("[a] >");
        terminal
    };
    let (mut one, mut other) = (start(), start());
    one.line("from one");
    one.shows("I see 2 messages.");
    one.prompt("[a] >");
    other.line("from the other");
    other.shows("the conversation went on elsewhere: 2 messages");
    other.shows("I see 4 messages.");
    other.prompt("[a] >");
    one.line("again from one");
    one.shows("the conversation went on elsewhere: 4 messages");
    one.shows("I see 6 messages.");
    one.prompt("[a] >");
    one.line("once more");
    one.shows("I see 8 messages.");
    one.prompt("[a] >");
    assert_eq!(one.screen().matches("went on elsewhere").count(), 1);
    for mut terminal in [one, other] {
        terminal.line("/quit");
        terminal.ends(0);
    }
}
