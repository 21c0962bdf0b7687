//! What a turn changed is shown and taken back.

use serde_json::json;

use super::in_terminal;
use crate::support::{Context, Stub, agent_config, stub};

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

/// A screen as one line.
fn folded(screen: &str) -> String {
    screen.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_turn_is_shown_and_taken_back() {
    let server = writer();
    let context = Context::with_agent(&server.url(), "");
    context.write("old.txt", "one\ntwo\n");
    let mut terminal = in_terminal(&context);
    terminal.line("/undo");
    terminal.shows("error: there is no change of a file to show or take back");
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
    let mut terminal = in_terminal(&context);
    terminal.line("write");
    terminal.shows("written");
    terminal.prompt("[a] >");
    context.write("old.txt", "mine\n");
    terminal.line("/undo");
    terminal.shows("removed new.txt");
    // Where the lines break depends on the length of the path.
    let words = "old.txt` was changed since: it is left as it is";
    terminal.wait(words, |screen| folded(&screen.contents()).contains(words));
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
fn what_cannot_be_taken_back_does_not_stand_before_what_can() {
    let server = Stub::start(|seen| {
        let last = seen.body["messages"].as_array().unwrap().last().unwrap();
        if last["role"] == "tool" {
            return stub::text("written");
        }
        let path = format!("{}.txt", seen.last_text());
        stub::tool_calls(&[("c1", "write", json!({"path": path, "content": "agent's"}))])
    });
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = in_terminal(&context);
    for name in ["first", "second"] {
        terminal.line(name);
        terminal.wait("the file", |_| {
            context.work().join(format!("{name}.txt")).exists()
        });
        terminal.prompt("[a] >");
    }
    context.write("second.txt", "mine");
    terminal.line("/undo");
    let words = "`/undo` once more passes over it";
    terminal.wait(words, |screen| folded(&screen.contents()).contains(words));
    terminal.prompt("[a] >");
    assert!(context.work().join("first.txt").exists());
    terminal.line("/undo");
    terminal.shows("removed first.txt");
    terminal.prompt("[a] >");
    assert!(!context.work().join("first.txt").exists());
    assert_eq!(context.read("second.txt"), "mine");
    let screen = folded(&terminal.screen());
    assert_eq!(screen.matches("was changed since").count(), 1, "{screen}");
    terminal.line("/undo");
    terminal.shows("there is no change of a file to show or take back");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn directories_that_a_turn_made_are_taken_back_unless_they_hold_something() {
    let server = Stub::start(|seen| {
        let last = seen.body["messages"].as_array().unwrap().last().unwrap();
        if last["role"] == "tool" {
            return stub::text("written");
        }
        let write = |path| ("write", json!({"path": path, "content": "agent's"}));
        // The outermost directory is made for a file whose name comes first, and that goes last.
        let calls = ["new/b/1.txt", "new/c/2.txt", "sub/d/3.txt"].map(write);
        let [(one, a), (two, b), (three, c)] = calls;
        stub::tool_calls(&[("c1", one, a), ("c2", two, b), ("c3", three, c)])
    });
    let context = Context::with_agent(&server.url(), "");
    context.write("sub/mine.txt", "mine");
    let mut terminal = in_terminal(&context);
    for is_mine in [false, true] {
        terminal.line("write");
        terminal.wait("the last file", |_| {
            context.work().join("sub/d/3.txt").exists()
        });
        terminal.prompt("[a] >");
        if is_mine {
            context.write("new/c/mine.txt", "mine");
        }
        terminal.line("/undo");
        terminal.shows("removed new/b/1.txt");
        terminal.prompt("[a] >");
        let there = |path: &str| context.work().join(path).exists();
        assert_eq!(there("new"), is_mine, "{}", terminal.screen());
        assert_eq!(there("new/c/mine.txt"), is_mine);
        assert!(!there("new/b") && !there("sub/d") && there("sub/mine.txt"));
        terminal.keys("\x0c");
        terminal.prompt("[a] >");
    }
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn what_is_as_it_was_before_is_no_change_to_be_refused() {
    let server = writer();
    let context = Context::with_agent(&server.url(), "");
    context.write("old.txt", "one\ntwo\n");
    let mut terminal = in_terminal(&context);
    terminal.line("write");
    terminal.shows("written");
    terminal.prompt("[a] >");
    context.write("old.txt", "one\ntwo\n");
    std::fs::remove_file(context.work().join("new.txt")).unwrap();
    terminal.line("/undo");
    terminal.shows("old.txt is as it was before\nnew.txt is as it was before\n[a] >");
    terminal.line("/undo");
    terminal.shows("there is no change of a file");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn what_commands_changed_is_told_and_left() {
    let server = Stub::start(|seen| {
        let calls = match seen.last_text().as_str() {
            "both" => vec![
                (
                    "c1",
                    "write",
                    json!({"path": "new.txt", "content": "fresh\n"}),
                ),
                (
                    "c2",
                    "bash",
                    json!({"command": "echo 2 > made.txt; rm old.txt"}),
                ),
            ],
            "command" => vec![("c1", "bash", json!({"command": "echo 3 > sub/third.txt"}))],
            "look" => vec![("c1", "bash", json!({"command": "cat new.txt"}))],
            _ => Vec::new(),
        };
        let last = seen.body["messages"].as_array().unwrap().last().unwrap();
        if last["role"] == "tool" || calls.is_empty() {
            return stub::text("done");
        }
        stub::tool_calls(&calls)
    });
    let context = Context::new();
    let config = agent_config(&server.url(), "").replace("[read,", "[bash, read,");
    context.write(
        "orch.yaml",
        config.replace("settings: {", "settings: {sandbox: {tier: off}, "),
    );
    context.write("old.txt", "one\n");
    context.write("other.txt", "nobody's\n");
    context.write("sub/second.txt", "two\n");
    let mut terminal = in_terminal(&context);
    for line in ["both", "command", "look"] {
        terminal.line(line);
        terminal.shows("done");
        // Files have the time of a clock that goes in steps: what is changed in one step is changed at once.
        context.later();
        terminal.prompt("[a] >");
        terminal.keys("\x0c");
        terminal.wait("a clean screen", |screen| {
            screen.contents().trim_end() == "[a] >"
        });
    }
    // A command that changed nothing hides nothing.
    terminal.line("/diff");
    terminal.prompt("[a] >");
    let said = "since: command it ran `echo 3 > sub/third.txt`: what commands change is not kept and stays as it is; \
                changed meanwhile: sub/third.txt";
    assert!(
        folded(&terminal.screen()).contains(said),
        "{}",
        terminal.screen()
    );
    terminal.line("/undo");
    terminal.shows("once more takes back");
    terminal.prompt("[a] >");
    assert!(context.work().join("sub/third.txt").exists());
    terminal.line("/undo");
    terminal.shows("removed new.txt");
    terminal.prompt("[a] >");
    let said = "note: the turn ran `echo 2 > made.txt; rm old.txt`: what commands change is not kept and stays as it is; \
                changed meanwhile: old.txt (removed), made.txt";
    let shown = folded(&terminal.screen());
    assert!(shown.contains(said), "{}", terminal.screen());
    assert!(!shown.contains("other.txt"), "{}", terminal.screen());
    assert!(!context.work().join("new.txt").exists());
    assert!(context.work().join("made.txt").exists());
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
    let mut terminal = in_terminal(&context);
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
