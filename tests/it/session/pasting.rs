//! What is pasted while nobody asks is no command: it stands at the next prompt as one text.

use serde_json::json;

use super::in_terminal;
use crate::support::{Context, Stub, agent_config, stub, terminal::Terminal};

/// Pastes as a terminal does that was asked to tell what is pasted.
fn paste(terminal: &mut Terminal, text: &str) {
    terminal.wait("a program that is told of pastes", |screen| {
        screen.bracketed_paste()
    });
    terminal.keys(&format!("\x1b[200~{text}\x1b[201~"));
}

/// Leaves a session at whose prompt something stands.
fn leave_from_a_line(mut terminal: Terminal) {
    terminal.keys("\x03");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}

/// A configuration in which `write` asks.
pub(super) fn asking(server: &Stub) -> Context {
    let context = Context::new();
    let config = agent_config(&server.url(), "");
    let asked = "settings: {approvals: {rules: [{tool: write, action: ask}]}, ";
    context.write("orch.yaml", config.replace("settings: {", asked));
    context
}

/// A run of the agent on a terminal of this kind.
fn running(context: &Context, term: &str) -> Terminal {
    let mut command = context.command(&["--config", "orch.yaml", "--agent", "a", "--prompt", "go"]);
    command.env("TERM", term);
    Terminal::start(command, 80, 24)
}

/// A model that writes a file.
pub(super) fn writer() -> Stub {
    Stub::start(|seen| match seen.tool_messages().len() {
        0 => stub::tool_calls(&[("c1", "write", json!({"path": "x", "content": "x"}))]),
        _ => stub::text("done"),
    })
}

#[test]
fn lines_that_are_pasted_while_an_answer_streams_are_one_text() {
    let gates = [stub::Gate::closed(), stub::Gate::closed()];
    let waits = gates.clone();
    let server = Stub::start(move |seen| {
        let text = seen.last_text();
        let gate = match text.as_str() {
            "slow" => &waits[0],
            "slower" => &waits[1],
            _ => return stub::text(&format!("{} bytes", text.len())),
        };
        let says = |text: &str| stub::event(&stub::chunk(&json!({"content": text}), None));
        vec![
            stub::stream_head(),
            says(&format!("{text} begins\n\n")),
            stub::Do::Gate(gate.clone()),
            says("ends"),
            stub::event(&stub::chunk(&json!({}), Some("stop"))),
            stub::event(&stub::usage(10, 5)),
            stub::piece("data: [DONE]\n\n"),
            stub::stream_end(),
        ]
    });
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = in_terminal(&context);
    terminal.line("slow");
    terminal.shows("slow begins");
    paste(&mut terminal, "first\r!echo mine > pwned\r/quit\rlast");
    assert!(!terminal.screen().contains("ends"), "{}", terminal.screen());
    gates[0].open();
    terminal.shows("[a] > first\n!echo mine > pwned\n/quit\nlast");
    terminal.typed("last");
    assert!(!context.work().join("pwned").exists());
    assert_eq!(server.chats().len(), 1);
    terminal.keys(" line\r");
    terminal.shows("40 bytes");
    terminal.prompt("[a] >");
    assert_eq!(
        server.chats().last().unwrap().last_text(),
        "first\n!echo mine > pwned\n/quit\nlast line"
    );
    // A line that is longer than the ones that terminals make.
    terminal.line("slower");
    terminal.shows("slower begins");
    paste(&mut terminal, &"x".repeat(9000));
    terminal.keys("yz\x7f\r");
    let screen = terminal.screen();
    assert_eq!(screen.matches("ends").count(), 1, "{screen}");
    gates[1].open();
    terminal.shows("9001 bytes");
    terminal.prompt("[a] >");
    let said = server.chats().last().unwrap().last_text();
    assert_eq!(said, format!("{}y", "x".repeat(9000)));
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn lines_that_are_pasted_before_a_question_neither_answer_it_nor_run() {
    let gate = stub::Gate::closed();
    let pasted = gate.clone();
    let server = Stub::start(move |seen| {
        if !seen.tool_messages().is_empty() {
            return stub::text("done");
        }
        let mut calls = stub::tool_calls(&[("c1", "write", json!({"path": "x", "content": "x"}))]);
        calls.insert(0, stub::Do::Gate(pasted.clone()));
        calls
    });
    let context = asking(&server);
    let mut terminal = in_terminal(&context);
    terminal.line("go");
    paste(&mut terminal, "y\r!echo mine > pwned\ry");
    gate.open();
    terminal.shows("allow? [y/N]");
    terminal.keys("n\r");
    terminal.shows("[a] > y\n!echo mine > pwned\ny");
    terminal.typed("y");
    assert!(!context.work().join("x").exists());
    assert!(!context.work().join("pwned").exists());
    leave_from_a_line(terminal);
}

#[test]
fn what_is_pasted_at_a_question_is_no_answer() {
    let server = writer();
    let context = asking(&server);
    let mut terminal = in_terminal(&context);
    terminal.line("go");
    terminal.shows("allow? [y/N]");
    paste(&mut terminal, "y\r!echo mine > pwned\ry");
    terminal.shows("what is pasted is no answer\na wants to run write:\n  x\nallow? [y/N]");
    // Nor is it with an Enter behind it.
    paste(&mut terminal, "yes");
    terminal.keys("\r");
    terminal.wait("the question for the third time", |screen| {
        screen.contents().matches("allow? [y/N]").count() == 3
    });
    assert!(!context.work().join("x").exists());
    terminal.keys("y\r");
    terminal.shows("done");
    terminal.shows("[a] > y\n!echo mine > pwned\nyyes");
    terminal.typed("yyes");
    assert_eq!(context.read("x"), "x");
    assert!(!context.work().join("pwned").exists());
    leave_from_a_line(terminal);
}

#[test]
fn lines_that_come_at_once_on_a_terminal_that_marks_no_pastes_answer_nothing() {
    let server = writer();
    let context = asking(&server);
    let mut terminal = running(&context, "dumb");
    terminal.shows("allow? [y/N]");
    assert!(!terminal.bracketed_paste());
    terminal.keys("y\rsecond\r");
    terminal.shows("what is pasted is no answer");
    assert!(!context.work().join("x").exists());
    terminal.keys("y\r");
    terminal.shows("done");
    terminal.ends(0);
    assert_eq!(context.read("x"), "x");
}

#[test]
fn neither_what_was_typed_before_nor_what_is_pasted_trusts_a_configuration() {
    let server = Stub::start(|_| stub::text("Hello."));
    let context = Context::new();
    let servers = "mcp_servers:\n  git: {command: [sh, -c, 'touch MARK; cat']}\n";
    context.write("orch.yaml", agent_config(&server.url(), "") + servers);
    let mut command = context.command(&["--agent", "a", "--prompt", "hi"]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(command, 80, 24);
    // The program has not begun yet.
    terminal.keys("y\r");
    terminal.shows("trust it until it changes? [y/N]");
    paste(&mut terminal, "y\ry");
    terminal.shows("what is pasted is no answer");
    assert!(!context.work().join("MARK").exists());
    terminal.keys("n\r");
    terminal.shows("orch trust orch.yaml");
    assert!(!terminal.bracketed_paste());
    terminal.ends(3);
    assert!(!context.work().join("MARK").exists());
}

#[test]
fn who_wants_no_question_is_told_how_to_trust_as_a_script_is() {
    let server = Stub::start(|_| stub::text("Hello."));
    let context = Context::new();
    let servers = "mcp_servers:\n  git: {command: [sh, -c, 'touch MARK; cat']}\n";
    context.write("orch.yaml", agent_config(&server.url(), "") + servers);
    let prompt = ["--agent", "a", "--prompt", "hi"];
    for more in [&["--no-input"][..], &["--no-input", "--json"]] {
        let mut command = context.command(&[&prompt[..], more].concat());
        command.env("TERM", "xterm");
        let terminal = Terminal::start(command, 100, 50);
        terminal.shows("orch trust orch.yaml");
        terminal.ends(3);
    }
    let mut session = context.command(&["--no-input"]);
    session.env("TERM", "xterm");
    let terminal = Terminal::start(session, 100, 50);
    terminal.shows("orch trust orch.yaml");
    terminal.ends(3);
    assert!(!context.work().join("MARK").exists());
    assert!(server.seen().is_empty());
}

#[test]
fn a_question_that_is_interrupted_leaves_the_terminal_as_it_was() {
    let server = writer();
    let context = asking(&server);
    let mut terminal = running(&context, "xterm");
    terminal.shows("allow? [y/N]");
    terminal.wait("a program that is told of pastes", |screen| {
        screen.bracketed_paste()
    });
    terminal.keys("\x03");
    terminal.wait("one that is not", |screen| !screen.bracketed_paste());
    terminal.ends(130);
    assert!(!context.work().join("x").exists());
}

/// A model that repeats what it is told.
fn echo() -> Stub {
    Stub::start(|seen| stub::text(&format!("heard {}", seen.last_text())))
}

#[test]
fn a_paste_ends_where_the_terminal_says_so() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = in_terminal(&context);
    // What stands before its end could be the beginning of a key.
    for cut in [
        "\x1b",
        "\x1b\x1b",
        "\x1b\x1b\x1b",
        "\x1b[",
        "\x1bO",
        "\x1b[20",
    ] {
        paste(&mut terminal, &format!("copied{cut}"));
        terminal.typed("[a] > copied");
        terminal.keys(" text\r");
        terminal.shows("heard copied text");
        terminal.prompt("[a] >");
        terminal.keys("\x0c");
        terminal.prompt("[a] >");
    }
    for chat in server.chats() {
        assert_eq!(chat.last_text(), "copied text");
    }
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn what_is_pasted_holds_text_alone_and_no_keys() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = in_terminal(&context);
    paste(
        &mut terminal,
        "bell\x07nul\0del\x7fbs\x08\x18\x05\x03\x1a\x16\x1b[31mred\x1b[A\ttab\r\none\rtwo\\\r漢",
    );
    terminal.typed("漢");
    terminal.keys("\r");
    terminal.shows("heard bell");
    terminal.prompt("[a] >");
    assert_eq!(
        server.chats().last().unwrap().last_text(),
        "bellnuldelbsred\ttab\none\ntwo\\\n漢"
    );
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn what_is_no_text_is_not_taken_and_the_session_goes_on() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = in_terminal(&context);
    terminal.keys("caf");
    terminal.typed("[a] > caf");
    // As a terminal sends an accent that is set to Latin 1.
    terminal.bytes(b"\xe9 ");
    terminal.shows("error: what was typed is not UTF-8 text");
    terminal.typed("[a] > caf");
    terminal.keys("e\r");
    terminal.shows("heard cafe");
    terminal.prompt("[a] >");
    terminal.bytes(b"\x1b[200~caf\xe9 noir\r!echo mine > pwned\r\x1b[201~");
    terminal.wait("the error again", |screen| {
        screen.contents().matches("not UTF-8 text").count() == 2
    });
    terminal.prompt("[a] >");
    terminal.line("after");
    terminal.shows("heard after");
    terminal.prompt("[a] >");
    assert_eq!(server.chats().len(), 2);
    assert!(!context.work().join("pwned").exists());
    terminal.line("/quit");
    terminal.ends(0);
}
