//! Typing: completion, grey words, history, files, the user's own editor, keys that come early.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;

use super::on_terminal;
use crate::support::{Context, Stub, agent_config, stub, terminal::Terminal};

fn start(context: &Context) -> Terminal {
    let set = |command: &mut Command| {
        command.env("EDITOR", "./editor.sh --wait");
    };
    on_terminal(context, set, 80, 24)
}

fn echo() -> Stub {
    Stub::start(|seen| stub::text(&format!("heard {}", seen.last_text().replace('\n', " / "))))
}

#[test]
fn tab_completes_what_may_stand_there() {
    let server = echo();
    let context = Context::with_agent(
        &server.url(),
        "tasks:\n  deploy: {inputs: {target: {default: x}}, steps: [{agent: a, prompt: go}]}\n",
    );
    context.write("notes.txt", "six\n");
    let mut terminal = start(&context);
    terminal.line("/session plan");
    terminal.prompt("[a] >");
    terminal.line("keep this");
    terminal.shows("heard keep this");
    terminal.prompt("[a] >");
    terminal.line("/task deploy");
    terminal.shows("heard go");
    terminal.prompt("[a] >");
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    let run = runs[0]["run_id"].as_str().unwrap();
    let begun = format!("/resume {}", &run[..run.len() - 4]);
    for (typed, expected) in [
        ("/und", "/undo"),
        ("/agent ", "/agent a"),
        ("/task d", "/task deploy"),
        ("/task deploy t", "/task deploy target="),
        ("/session p", "/session plan"),
        ("/model gpt4o-m", "/model gpt4o-mini"),
        (begun.as_str(), &format!("/resume {run}")),
        ("see @no", "see @notes.txt"),
    ] {
        terminal.keys(&format!("{typed}\t"));
        terminal.typed(&format!("[a] > {expected}"));
        // Ctrl-U empties the line.
        terminal.keys("\x15");
        terminal.prompt("[a] >");
    }
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn grey_words_are_taken_over_with_the_right_arrow() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context);
    terminal.line("hello world");
    terminal.shows("heard hello world");
    terminal.prompt("[a] >");
    terminal.keys("/agent");
    terminal.shows("[a] > /agent NAME");
    terminal.typed("[a] > /agent");
    terminal.keys("\x15hel");
    terminal.shows("[a] > hello world");
    terminal.typed("[a] > hel");
    terminal.keys("\x1b[C");
    terminal.typed("[a] > hello world");
    terminal.keys("!\r");
    terminal.shows("heard hello world!");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn history_is_shared_while_sessions_run() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let mut one = start(&context);
    let mut other = start(&context);
    one.line("said in one");
    one.shows("heard said in one");
    one.prompt("[a] >");
    one.line(" a secret of one");
    one.shows("heard  a secret");
    one.prompt("[a] >");
    other.line("/agents");
    other.prompt("[a] >");
    other.keys("\x1b[A");
    other.typed("[a] > /agents");
    other.keys("\x1b[A");
    other.typed("[a] > said in one");
    let history = std::fs::read_to_string(context.state().join("history")).unwrap();
    assert_eq!(history, "#V2\nsaid in one\n/agents\n");
    let mode = std::fs::metadata(context.state().join("history"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    other.keys("\x15");
    other.prompt("[a] >");
    for mut terminal in [one, other] {
        terminal.line("/quit");
        terminal.ends(0);
    }
}

#[test]
fn a_file_that_a_prompt_names_is_taken_along() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    context.write("notes.txt", "six\n");
    context.write(".env", "KEY=hidden\n");
    let mut terminal = start(&context);
    terminal.line("see @notes.txt, @.env, @../x and me@notes.txt");
    terminal.shows("attached notes.txt (4 bytes)");
    terminal.shows("not attached: `.env` may hold secrets: reading and writing it is not allowed");
    terminal.prompt("[a] >");
    assert_eq!(
        server.chats().last().unwrap().last_text(),
        "see @notes.txt, @.env, @../x and me@notes.txt\n\n<file path=\"notes.txt\">\nsix\n</file>"
    );
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn how_much_of_a_large_file_is_taken_along_is_told() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    context.write("big.txt", format!("{}\n", "x".repeat(1023)).repeat(100));
    let mut terminal = start(&context);
    terminal.line("see @big.txt");
    terminal.shows("attached big.txt: only the first 49152 of its 102400 bytes");
    terminal.prompt("[a] >");
    let sent = server.chats().last().unwrap().last_text();
    assert!(
        sent.contains("[lines 1 to 48 of 100;"),
        "{} bytes",
        sent.len()
    );
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn the_last_line_of_a_command_stays_also_without_an_end() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    let mut terminal = start(&context);
    let full = "y".repeat(80);
    for (command, said) in [
        ("!printf abc", "abc\n[a] >"),
        ("!echo def", "def\n[a] >"),
        ("!true", "!true\n[a] >"),
        ("!printf '%080d' 0 | tr 0 y", &format!("{full}\n[a] >")),
    ] {
        terminal.line(command);
        terminal.prompt("[a] >");
        // Row by row: one that was filled goes on in the next for whoever asks for the text.
        terminal.wait(said, |screen| {
            let rows = screen.rows(0, 80).map(|row| row.trim_end().to_owned());
            let rows: Vec<String> = rows.collect();
            rows.join("\n").trim_end().ends_with(said)
        });
    }
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn a_prompt_is_written_in_the_users_editor() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let script = "#!/bin/sh\n[ \"$1\" = --wait ] || exit 3\ngrep -q fail \"$2\" && exit 4\n\
                  stat -c %a \"$2\" > mode\nprintf ' and\\nmore\\n' >> \"$2\"\n";
    context.write("editor.sh", script);
    let path = context.work().join("editor.sh");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut terminal = start(&context);
    terminal.line("/edit one");
    terminal.shows("[a] > one and\nmore");
    terminal.keys("\r");
    terminal.shows("heard one and / more");
    terminal.prompt("[a] >");
    terminal.keys("two");
    terminal.typed("[a] > two");
    terminal.keys("\x18\x05");
    terminal.shows("[a] > two and\nmore");
    terminal.keys("\r");
    terminal.shows("heard two and / more");
    terminal.prompt("[a] >");
    assert_eq!(context.read("mode"), "600\n");
    terminal.line("/edit fail");
    terminal.shows("error: the editor `./editor.sh --wait` failed");
    terminal.typed("[a] > fail");
    terminal.keys("\x15");
    terminal.prompt("[a] >");
    let left = std::fs::read_dir(context.state()).unwrap();
    let left = left.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("prompt-")
    });
    assert_eq!(left.count(), 0);
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn what_the_editor_wrote_stands_at_the_prompt_of_a_dumb_terminal_too() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    context.write("editor.sh", "#!/bin/sh\nprintf ' and\\nmore' >> \"$1\"\n");
    let path = context.work().join("editor.sh");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "dumb").env("EDITOR", "./editor.sh");
    let mut terminal = Terminal::start(command, 80, 24);
    terminal.prompt("[a] >");
    terminal.keys("/edit one\n");
    terminal.shows("[a] > one and\nmore");
    terminal.typed("more");
    terminal.keys(" words\n");
    terminal.shows("heard one and / more words");
    terminal.prompt("[a] >");
    terminal.keys("/quit\n");
    terminal.ends(0);
}

#[test]
fn all_asks_for_its_prompt() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context);
    terminal.line("/all");
    terminal.prompt("[all agents] >");
    terminal.line("");
    terminal.prompt("[a] >");
    terminal.line("/all");
    terminal.prompt("[all agents] >");
    terminal.line("@b agents");
    terminal.shows("── a \nheard @b agents");
    terminal.prompt("[a] >");
    // Commands are none of the agents' business, and end the question.
    for (line, shown) in [
        ("/agents", "* a: stub/stub-model"),
        ("!echo mine-$((40+2))", "mine-42"),
        ("/agnets", "did you mean `/agents`?"),
    ] {
        terminal.line("/all");
        terminal.prompt("[all agents] >");
        terminal.line(line);
        terminal.shows(shown);
        terminal.prompt("[a] >");
    }
    assert_eq!(server.chats().len(), 1);
    terminal.line("/all");
    terminal.prompt("[all agents] >");
    terminal.line("//agents");
    terminal.shows("── a \nheard /agents");
    terminal.prompt("[a] >");
    terminal.line("/all");
    terminal.prompt("[all agents] >");
    terminal.keys("/quit\r");
    terminal.ends(0);
}

#[test]
fn a_backslash_before_enter_is_a_new_line_and_not_sent() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context);
    terminal.keys("one\\\rtwo\\\nthree\r");
    terminal.shows("heard one / two / three");
    terminal.prompt("[a] >");
    // What is pasted keeps its own.
    terminal.keys("\x1b[200~make \\\rall\x1b[201~\r");
    terminal.shows("heard make \\ / all");
    terminal.prompt("[a] >");
    // In a shell line it is the shell's.
    terminal.keys("!echo joined\\\r-words\r");
    terminal.shows("\njoined-words");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn a_backslash_before_enter_is_not_sent_from_a_dumb_terminal_either() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "dumb");
    let mut terminal = Terminal::start(command, 80, 24);
    terminal.prompt("[a] >");
    terminal.keys("one\\\ntwo\n");
    terminal.shows("heard one / two");
    terminal.prompt("[a] >");
    terminal.keys("!echo joined\\\n-words\n");
    terminal.shows("\njoined-words");
    terminal.prompt("[a] >");
    terminal.keys("/quit\n");
    terminal.ends(0);
}

#[test]
fn the_last_calls_are_shown_with_what_they_gave() {
    let server = Stub::replies([
        stub::tool_calls(&[
            ("c1", "read", json!({"path": "notes.txt"})),
            ("c2", "read", json!({"path": "none.txt"})),
        ]),
        stub::text("done"),
    ]);
    let context = Context::with_agent(&server.url(), "");
    context.write("notes.txt", "one\ntwo\n");
    let mut terminal = start(&context);
    terminal.line("/tools last");
    terminal.shows("no tool ran in the last turn");
    terminal.prompt("[a] >");
    terminal.line("look");
    terminal.shows("done");
    terminal.prompt("[a] >");
    terminal.line("/tools last");
    terminal.shows("  path: notes.txt\n  | one\n  | two\nFAIL read");
    terminal.shows("  path: none.txt\n  | `none.txt` does not exist\n[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn keys_that_come_early_are_kept_and_disturb_nothing() {
    let gate = stub::Gate::closed();
    let typed = gate.clone();
    let server = Stub::start(move |seen| match seen.last_text().as_str() {
        "slow" => {
            let says = |text: &str| stub::event(&stub::chunk(&json!({"content": text}), None));
            vec![
                stub::stream_head(),
                says("one\n\n"),
                stub::Do::Gate(typed.clone()),
                says("two"),
                stub::event(&stub::chunk(&json!({}), Some("stop"))),
                stub::event(&stub::usage(10, 5)),
                stub::piece("data: [DONE]\n\n"),
                stub::stream_end(),
            ]
        }
        text => stub::text(&format!("heard {text}")),
    });
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context);
    terminal.line("slow");
    terminal.shows("one");
    terminal.keys("second\rthi");
    gate.open();
    terminal.shows("heard second");
    terminal.typed("[a] > thi");
    let screen = terminal.screen();
    let lines: Vec<&str> = screen
        .lines()
        .filter(|line| !line.contains("stub-model ·"))
        .collect();
    let expected = [
        "[a] > slow",
        "one",
        "",
        "two",
        "[a] > second",
        "heard second",
        "[a] > thi",
    ];
    assert_eq!(lines[1..], expected, "{screen}");
    terminal.keys("rd\r");
    terminal.shows("heard third");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn what_was_typed_before_a_question_is_no_answer_to_it() {
    let gate = stub::Gate::closed();
    let typed = gate.clone();
    let server = Stub::start(move |seen| {
        if !seen.tool_messages().is_empty() {
            return stub::text(&format!("heard {}", seen.last_text()));
        }
        let mut calls = stub::tool_calls(&[("c1", "write", json!({"path": "x", "content": "x"}))]);
        calls.insert(0, stub::Do::Gate(typed.clone()));
        calls
    });
    let context = Context::new();
    let config = agent_config(&server.url(), "");
    let asked = "settings: {approvals: {rules: [{tool: write, action: ask}]}, ";
    context.write("orch.yaml", config.replace("settings: {", asked));
    let mut terminal = start(&context);
    terminal.line("go");
    terminal.keys("y\ry");
    gate.open();
    terminal.shows("allow? [y/N]");
    assert!(!context.work().join("x").exists());
    terminal.keys("n\r");
    terminal.shows("[a] > y\n");
    terminal.typed("[a] > y");
    assert!(!context.work().join("x").exists());
    terminal.keys("\x15");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn an_interrupt_that_was_meant_for_a_command_stops_no_turn() {
    let server = echo();
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context);
    // What a shell replaces itself by can miss a signal; what is built into it cannot.
    terminal.line("!echo begun; read x");
    terminal.shows("read x\nbegun");
    terminal.keys("\x03");
    terminal.prompt("[a] >");
    terminal.line("hello");
    terminal.shows("heard hello");
    terminal.prompt("[a] >");
    terminal.line("/quit");
    terminal.ends(0);
}
