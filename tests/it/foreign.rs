//! What models, tools, files and servers say gives a terminal no orders, wherever it is shown.

use serde_json::json;

use crate::support::terminal::Terminal;
use crate::support::{Context, Stub, agent_config, stub};

/// Hides what follows, writes to the clipboard, names the window.
const ORDERS: &str = "\x1b[8m\x1b]52;c;QQ==\x07\x1b]0;title\x07\u{9b}5m";

/// What is left of it.
const DEFUSED: &str = "]52;c;QQ==]0;title5m";

fn with_orders(word: &str) -> String {
    format!("{word}{ORDERS}{word}")
}

fn model() -> Stub {
    Stub::start(|seen| {
        let messages = seen.body["messages"].as_array().unwrap();
        if messages.last().unwrap()["role"] == "tool" {
            return stub::text("it is done");
        }
        let write = json!({"path": with_orders("file"), "content": with_orders("content")});
        match seen.last_text().as_str() {
            "name" => stub::tool_calls(&[("1", &with_orders("tool"), json!({}))]),
            "write" => stub::tool_calls(&[("1", "write", write)]),
            "fail" => {
                let error = json!({"error": {"message": with_orders("server")}});
                stub::status(400, &[], &error.to_string())
            }
            _ => stub::text(&with_orders("answer")),
        }
    })
}

/// Fails where orders of others are among what was written, also of those that change only looks.
#[track_caller]
fn obeys_nothing(written: &str) {
    for order in ["\x1b[8m", "\x1b]52", "\x1b]0", "\u{9b}"] {
        assert!(!written.contains(order), "{order:?} in {written:?}");
    }
}

#[test]
fn a_session_shows_what_others_say_and_obeys_none_of_it() {
    let server = model();
    let context = Context::with_agent(&server.url(), "");
    context.write("file.txt", "");
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(command, 100, 60);
    terminal.prompt("[a] >");
    let tool = format!("> tool{DEFUSED}tool failed");
    let file = format!("file{DEFUSED}file");
    for (line, shown) in [
        ("say it", format!("answer{DEFUSED}answer")),
        ("/logs", "RESULT".to_owned()),
        ("/all again", "── a ".to_owned()),
        ("fail", format!("server{DEFUSED}server")),
        ("name", tool),
        ("/tools last", "FAIL tool".to_owned()),
        ("write", format!("> write {file}")),
        ("/diff", format!("+++ b/{file}")),
    ] {
        terminal.line(line);
        terminal.shows(&shown);
        terminal.prompt("[a] >");
    }
    for line in ["see @fi", "!ls fi"] {
        // The file with the orders in its name begins so, too, and is not offered.
        terminal.keys(&format!("{line}\t"));
        terminal.typed(&format!("[a] > {line}le.txt"));
        terminal.keys("\x15");
        terminal.prompt("[a] >");
    }
    terminal.line("/undo");
    terminal.shows(&format!("removed {file}"));
    terminal.prompt("[a] >");
    // What was typed stays to be seen.
    assert!(terminal.screen().contains("[a] > /undo"));
    obeys_nothing(&terminal.written());
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn what_is_no_terminal_gets_no_colours_of_others() {
    let server = model();
    let context = Context::new();
    let second = "  b: {role: R, provider: stub, model: stub-model}\n";
    context.write("orch.yaml", agent_config(&server.url(), second));
    let failed = context.orch(&["--agent", "a", "--prompt", "fail"]).exits(5);
    let words = format!("server{DEFUSED}server");
    assert!(failed.stderr.contains(&words), "{}", failed.stderr);
    obeys_nothing(&failed.stderr);
    let named = context.orch(&["--agent", "a", "--prompt", "name"]).exits(0);
    assert!(named.stderr.contains("tool]52"), "{}", named.stderr);
    obeys_nothing(&named.stderr);
    let all = context.orch(&["--all", "--prompt", "fail"]).exits(5);
    obeys_nothing(&all.stderr);
    // The answer itself is for whoever reads it, byte for byte.
    let said = context.orch(&["--agent", "a", "--prompt", "say"]).exits(0);
    assert_eq!(said.stdout, format!("{}\n", with_orders("answer")));
    let logs = context.orch(&["--logs", "a"]).exits(0);
    assert!(logs.stdout.contains(&format!("answer{DEFUSED}answer")));
    obeys_nothing(&logs.stdout);
}
