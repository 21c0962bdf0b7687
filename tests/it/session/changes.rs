//! What a turn changed is shown and taken back.

use serde_json::json;

use crate::support::{Context, Stub, stub, terminal::Terminal};

fn start(context: &Context) -> Terminal {
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "xterm");
    let terminal = Terminal::start(command, 80, 24);
    terminal.prompt("[a] >");
    terminal
}

/// A model that writes two files when it is asked to, and says so.
fn writer() -> Stub {
    Stub::start(|seen| {
        if !seen.tool_messages().is_empty()
            && seen.body["messages"].as_array().unwrap().last().unwrap()["role"] == "tool"
        {
            return stub::text("written");
        }
        if seen.last_text() != "write" {
            return stub::text("nothing to do");
        }
        let old = json!({"path": "old.txt", "old_string": "two", "new_string": "2"});
        stub::tool_calls(&[
            ("c1", "edit", old),
            (
                "c2",
                "write",
                json!({"path": "new.txt", "content": "fresh\n"}),
            ),
        ])
    })
}

#[test]
fn a_turn_is_shown_and_taken_back() {
    let server = writer();
    let context = Context::with_agent(&server.url(), "");
    context.write("old.txt", "one\ntwo\n");
    let mut terminal = start(&context);
    terminal.line("/undo");
    terminal.shows("error: no file was changed by a tool in this session");
    terminal.prompt("[a] >");
    terminal.line("write");
    terminal.shows("written");
    terminal.prompt("[a] >");
    // A turn that changes nothing does not hide the one before it.
    terminal.line("thanks");
    terminal.shows("nothing to do");
    terminal.prompt("[a] >");
    terminal.line("/diff");
    terminal.shows("+fresh");
    terminal.prompt("[a] >");
    let screen = terminal.screen();
    let expected = "since: write
--- /dev/null
+++ b/new.txt
@@ -0,0 +1 @@
+fresh
--- a/old.txt
+++ b/old.txt
@@ -1,2 +1,2 @@
 one
-two
+2
[a] >";
    assert!(screen.ends_with(expected), "{screen}");
    terminal.line("/undo");
    terminal.shows("restored old.txt\nremoved new.txt");
    terminal.prompt("[a] >");
    assert_eq!(context.read("old.txt"), "one\ntwo\n");
    assert!(!context.work().join("new.txt").exists());
    terminal.line("/undo");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn what_was_changed_since_is_left_alone() {
    let server = writer();
    let context = Context::with_agent(&server.url(), "");
    context.write("old.txt", "one\ntwo\n");
    let mut terminal = start(&context);
    terminal.line("write");
    terminal.shows("written");
    terminal.prompt("[a] >");
    context.write("old.txt", "mine\n");
    terminal.line("/undo");
    terminal.shows("removed new.txt");
    terminal.shows("old.txt` was changed since: it is left as it is");
    terminal.prompt("[a] >");
    assert_eq!(context.read("old.txt"), "mine\n");
    terminal.line("/diff");
    terminal.shows("old.txt was changed since\n--- a/old.txt");
    terminal.shows("-one\n-two\n+mine");
    terminal.prompt("[a] >");
    context.write("old.txt", "one\n2\n");
    terminal.line("/undo");
    terminal.shows("restored old.txt");
    terminal.prompt("[a] >");
    assert_eq!(context.read("old.txt"), "one\ntwo\n");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn what_called_agents_and_all_changed_is_taken_back_too() {
    let server = Stub::start(|seen| {
        let role = seen.body["messages"][0]["content"]
            .as_str()
            .unwrap()
            .to_owned();
        let last = seen.body["messages"].as_array().unwrap().last().unwrap()["role"].clone();
        match (role.contains("You are b."), last == "tool") {
            (_, true) => stub::text("done"),
            (true, false) => {
                stub::tool_calls(&[("c1", "write", json!({"path": "b.txt", "content": "from b"}))])
            }
            (false, false) => {
                stub::tool_calls(&[("c1", "delegate", json!({"agent": "b", "prompt": "write"}))])
            }
        }
    });
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0}}\nproviders:\n  stub: {{kind: openai, base_url: \"{}\"}}\nagents:\n  \
             a: {{role: You are a., provider: stub, model: m, tools: [write], delegates: [b]}}\n  \
             b: {{role: You are b., provider: stub, model: m, tools: [write]}}\n",
            server.url()
        ),
    );
    let mut terminal = start(&context);
    for line in ["go", "/all go"] {
        terminal.line(line);
        terminal.shows("done");
        terminal.prompt("[a] >");
        assert_eq!(context.read("b.txt"), "from b", "{line}");
        terminal.line("/undo");
        terminal.shows("removed b.txt");
        terminal.prompt("[a] >");
        assert!(!context.work().join("b.txt").exists(), "{line}");
        // So that the next round sees its own words.
        terminal.keys("\x0c");
        terminal.prompt("[a] >");
    }
    terminal.line("/quit");
    terminal.ends(0);
}
