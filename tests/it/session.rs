//! The interactive session in a real terminal.

mod changes;
mod editing;
mod exporting;
mod leaving;
mod pasting;
mod pipes;
mod screen;
mod soak;
mod suspend;

use std::process::{Command, Stdio};

use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession as Session;
use expectrl::{ControlCode, Eof, Expect};
use serde_json::json;

use crate::support::terminal::{PATIENCE, Terminal};
use crate::support::{Context, Stub, agent_config, stub};

fn start(context: &Context) -> Session {
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "xterm").stdin(Stdio::inherit());
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(PATIENCE));
    session
}

/// A session on a terminal whose screen can be looked at.
fn in_terminal(context: &Context) -> Terminal {
    on_terminal(context, |_| (), 80, 24)
}

/// A session of the agent `a`, whose prompt stands there; `set` adds to its environment.
fn on_terminal(
    context: &Context,
    set: impl FnOnce(&mut Command),
    columns: u16,
    rows: u16,
) -> Terminal {
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "xterm");
    set(&mut command);
    let terminal = Terminal::start(command, columns, rows);
    terminal.prompt("[a] >");
    terminal
}

fn leave(mut session: Session, code: i32) {
    session.expect(Eof).unwrap();
    let status = session.get_process().wait().unwrap();
    assert!(
        matches!(status, WaitStatus::Exited(_, exit) if exit == code),
        "{status:?}"
    );
}

#[test]
fn a_conversation_goes_on_from_prompt_to_prompt() {
    let server = Stub::start(|seen| {
        let count = seen.body["messages"].as_array().unwrap().len();
        stub::text(&format!("I see {count} messages."))
    });
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "{}  b: {{role: You are b., provider: stub, model: stub-model}}\n",
            agent_config(&server.url(), "")
        ),
    );
    let mut session = start(&context);
    session.expect("[a] > ").unwrap();
    session.send_line("hello").unwrap();
    session.expect("I see 2 messages.").unwrap();
    session.expect("[a] > ").unwrap();
    session.send_line("again").unwrap();
    session.expect("I see 4 messages.").unwrap();
    session.send_line("@b hi").unwrap();
    session.expect("I see 2 messages.").unwrap();
    session.expect("[a] > ").unwrap();
    session.send_line("/agent b").unwrap();
    session.expect("active agent: b").unwrap();
    session.expect("[b] > ").unwrap();
    session.send_line("go on").unwrap();
    session.expect("I see 4 messages.").unwrap();
    session.send_line("/new").unwrap();
    session.expect("a new conversation with b").unwrap();
    session.send_line("//not a command").unwrap();
    session.expect("I see 2 messages.").unwrap();
    assert_eq!(server.chats().last().unwrap().last_text(), "/not a command");
    session.send_line("/costs").unwrap();
    session.expect("month").unwrap();
    session.expect("[b] > ").unwrap();
    session.send_line("/quit").unwrap();
    leave(session, 0);
}

#[test]
fn every_command_answers_and_unknown_ones_get_the_nearest() {
    let server = Stub::start(|_| stub::text("fine"));
    let context = Context::with_agent(&server.url(), "");
    let mut session = start(&context);
    session.expect("[a] > ").unwrap();
    for (line, answer) in [
        ("/help", "/reload"),
        ("/status", "config_path"),
        ("/agents", "* a: stub/stub-model"),
        ("/models", "gpt4o"),
        ("/logs", "(empty)"),
        ("/health", "ok"),
        ("/agent nobody", "there is no agent `nobody`"),
        ("/agnet a", "did you mean `/agent`"),
        ("/frobnicate", "there is no command"),
        ("/tools", "list_dir"),
        ("/sessions", "no conversations yet"),
        ("!echo shell-$((1+1))", "shell-2"),
        ("/reload", "nothing changed"),
        ("/all say it", "fine"),
        ("/tasks", "no tasks"),
        ("/task nobody", "`/tasks` lists them"),
        ("/resume nobody", "`/runs` lists the runs"),
        ("/new topic", "`/new` takes nothing behind it"),
        ("/tools lost", "`/tools` knows no `lost`"),
        ("/fork", "ask something first"),
        ("/agent 'a'", "active agent: a"),
        ("@a", "`/agent a` switches to the agent"),
        ("/model a b", "it has blanks"),
        ("/task t what='a", "a quote is not closed"),
        ("/costs reset please", "takes nothing beside it"),
        ("/budget abc", "`/budget none` lifts it"),
        ("/exi", "did you mean `/exit`"),
        ("/STATUS", "did you mean `/status`"),
    ] {
        session.send_line(line).unwrap();
        session
            .expect(answer)
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        session.expect("[a] > ").unwrap();
    }
    session.send(ControlCode::EndOfTransmission).unwrap();
    leave(session, 0);
}

#[test]
fn a_broken_configuration_is_not_taken_over() {
    let server = Stub::start(|_| stub::text("still here"));
    let context = Context::with_agent(&server.url(), "");
    let good = context.read("orch.yaml");
    let mut session = start(&context);
    session.expect("[a] > ").unwrap();
    context.write("orch.yaml", good.replace("agents:", "agnets:"));
    session.send_line("/reload").unwrap();
    session.expect("stays as it was").unwrap();
    session.expect("[a] > ").unwrap();
    session.send_line("hi").unwrap();
    session.expect("still here").unwrap();
    session.expect("[a] > ").unwrap();
    let (without, _) = good.split_once("agents:").unwrap();
    context.write("orch.yaml", without);
    session.send_line("/reload").unwrap();
    session
        .expect("stays as it was: it has no agents now")
        .unwrap();
    session.expect("[a] > ").unwrap();
    session.send_line("hello").unwrap();
    session.expect("still here").unwrap();
    context.write("orch.yaml", good.replace("  a:", "  z:"));
    session.send_line("/reload").unwrap();
    session.expect("added z; removed a").unwrap();
    session.expect("active agent: z").unwrap();
    session.expect("[z] > ").unwrap();
    session.send_line("/quit").unwrap();
    leave(session, 0);
}

#[test]
fn ctrl_c_stops_the_turn_and_twice_leaves() {
    let server = Stub::start(|seen| {
        if seen.last_text() == "hang" {
            let begun = stub::event(&stub::chunk(&json!({"content": "begun"}), None));
            vec![stub::stream_head(), begun, stub::Do::Hang]
        } else {
            let messages = seen.body["messages"].as_array().unwrap();
            let before = messages[messages.len() - 2]["content"]
                .as_str()
                .unwrap_or_default();
            stub::text(&format!("before: {before}"))
        }
    });
    let context = Context::with_agent(&server.url(), "");
    let mut session = start(&context);
    session.expect("[a] > ").unwrap();
    // At the prompt it only empties the line.
    session.send("half a line").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("[a] > ").unwrap();
    session.send_line("hang").unwrap();
    session.expect("begun").unwrap();
    session.send(ControlCode::EndOfText).unwrap();
    session.expect("interrupted").unwrap();
    session.expect("[a] > ").unwrap();
    session.send_line("what was said?").unwrap();
    session.expect("before: begun").unwrap();
    session.send_line("/quit").unwrap();
    leave(session, 0);
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_requests"], 2);
}

#[test]
fn lines_from_a_pipe_are_obeyed() {
    let server = Stub::start(|_| stub::text("piped"));
    let context = Context::with_agent(&server.url(), "");
    let ran = context
        .run_with_stdin(&["--config", "orch.yaml"], b"hello\n/agents\n")
        .exits(0);
    assert!(ran.stdout.contains("piped\n"), "{ran:?}");
    assert!(ran.stdout.contains("* a: stub/stub-model"), "{ran:?}");
}

#[test]
fn an_answer_is_rendered_on_a_terminal_and_left_alone_on_a_dumb_one() {
    let server = Stub::start(|_| stub::text("# Title\n\nSome **bold** words.\n"));
    let context = Context::with_agent(&server.url(), "");
    for (term, expected) in [
        ("xterm", "Some bold words."),
        ("dumb", "Some **bold** words."),
    ] {
        let mut command = context.command(&["--config", "orch.yaml"]);
        command
            .env("TERM", term)
            .env("NO_COLOR", "1")
            .stdin(Stdio::inherit());
        let mut session = Session::spawn(command).unwrap();
        session.set_expect_timeout(Some(PATIENCE));
        session.expect("[a] > ").unwrap();
        session.send_line("hi").unwrap();
        session
            .expect(expected)
            .unwrap_or_else(|error| panic!("{term}: {error}"));
        session.expect("[a] > ").unwrap();
        session.send_line("/quit").unwrap();
        leave(session, 0);
    }
}
