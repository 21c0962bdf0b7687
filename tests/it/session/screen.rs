//! What a person sees while answers come and when they are there, on wide, narrow and dumb terminals.

use std::process::Stdio;

use serde_json::{Value, json};

use super::on_terminal;
use crate::support::{Context, Stub, agent_config, stub, terminal::Terminal};

const ANSWER: &str = "# Plan\n\nSome **bold** words, 漢字 and 😀, and enough of them to fill more than one line of \
    any terminal that is narrow.\n\n- one\n- two\n\n```rust\nfn main() {}\n```\n\n| 名前 | n |\n|---|---|\n| 漢字 | 1 |\n| 😀 | 22 |\n";

fn says(text: &str) -> stub::Do {
    stub::event(&stub::chunk(&json!({"content": text}), None))
}

fn ends(reason: &str) -> Vec<stub::Do> {
    vec![
        stub::event(&stub::chunk(&json!({}), Some(reason))),
        stub::event(&stub::usage(10, 5)),
        stub::piece("data: [DONE]\n\n"),
        stub::stream_end(),
    ]
}

/// A model that says this and then nothing more, if it is asked to hang.
fn model(text: &'static str) -> Stub {
    Stub::start(move |seen| {
        let mut doing = vec![stub::stream_head(), says(text)];
        if seen.last_text() == "hang" {
            doing.push(stub::Do::Hang);
        } else {
            doing.extend(ends("stop"));
        }
        doing
    })
}

fn start(context: &Context, term: &str, columns: u16, rows: u16) -> Terminal {
    on_terminal(
        context,
        |command| _ = command.env("TERM", term),
        columns,
        rows,
    )
}

fn leave(mut terminal: Terminal) {
    terminal.line("/quit");
    terminal.ends(0);
}

/// The lines of a screen without the one that tells tokens and time.
fn lines(terminal: &Terminal) -> Vec<String> {
    let screen = terminal.screen();
    let lines = screen.lines().filter(|line| !line.contains(" tokens · "));
    lines.map(str::to_owned).collect()
}

#[test]
fn an_answer_is_shown_as_it_is_meant_to_look() {
    let server = model(ANSWER);
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context, "xterm", 80, 24);
    terminal.line("plan");
    terminal.shows(" tokens · $0.000000");
    terminal.prompt("[a] >");
    let expected = "\
orch 0.1.0 · orch.yaml · 1 agent · /help
[a] > plan
Plan

Some bold words, 漢字 and 😀, and enough of them to fill more than one line of
any terminal that is narrow.

• one
• two

  rust
  fn main() {}

│名前│ n │
├────┼───┤
│漢字│1  │
│😀  │22 │
[a] >";
    assert_eq!(lines(&terminal).join("\n"), expected);
    leave(terminal);
}

#[test]
fn a_narrow_terminal_scrolls_and_wraps() {
    let server = model(ANSWER);
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context, "xterm", 40, 10);
    terminal.line("plan");
    terminal.shows("│😀  │22 │");
    terminal.prompt("[a] >");
    let screen = terminal.screen();
    let expected = [
        "  rust",
        "  fn main() {}",
        "",
        "│名前│ n │",
        "├────┼───┤",
        "│漢字│1  │",
        "│😀  │22 │",
        "stub/stub-model · 10 in / 5 out tokens ·",
        "$0.000000 · ",
    ];
    let expected = expected.join("\n");
    assert!(screen.starts_with(&expected), "{screen}");
    leave(terminal);
}

#[test]
fn a_dumb_terminal_gets_the_answer_as_it_was_written() {
    let server = model("# Plan\n\n| 名前 | **n** |\n");
    let context = Context::with_agent(&server.url(), "");
    for (columns, rows) in [(80, 24), (40, 10)] {
        let mut terminal = start(&context, "dumb", columns, rows);
        terminal.keys("plan\n");
        terminal.shows("[a] > plan\n# Plan\n\n| 名前 | **n** |\n");
        terminal.prompt("[a] >");
        terminal.keys("/quit\n");
        terminal.ends(0);
    }
}

#[test]
fn what_is_under_way_stands_at_the_foot_and_is_gone_at_the_end() {
    let server = model("Done.\n\n| 漢字 | b |\n|---|---|\nHalf a li");
    let context = Context::with_agent(&server.url(), "");
    for (columns, status) in [(80, "a · stub/stub-model · ~"), (40, "a · ~")] {
        let mut terminal = start(&context, "xterm", columns, 10);
        terminal.line("hang");
        terminal.shows("Half a li");
        terminal.wait("the status line", |screen| {
            let foot = foot(screen);
            foot.starts_with(status) && foot.contains(" tokens · $0.0000 · ")
        });
        let screen = terminal.screen();
        assert_eq!(screen.matches(" tokens · ").count(), 1, "{screen}");
        assert!(screen.contains("Half a li\na · "), "{screen}");
        terminal.keys("\x03");
        terminal.shows("error: interrupted");
        terminal.prompt("[a] >");
        let screen = terminal.screen();
        assert!(!screen.contains('~'), "{screen}");
        assert!(screen.contains("Half a li\nerror: interrupted"), "{screen}");
        assert!(screen.contains("hint: go on with `/resume"), "{screen}");
        leave(terminal);
    }
}

#[test]
fn a_window_may_change_its_size_while_an_answer_comes() {
    let server =
        model("One line that is there.\n\nand another one that waits for its end 漢字漢字漢字漢字");
    let context = Context::with_agent(&server.url(), "");
    let mut terminal = start(&context, "xterm", 80, 24);
    terminal.line("hang");
    terminal.shows("tokens · $0.0000");
    for (columns, rows) in [(40, 10), (100, 30), (25, 6), (80, 24)] {
        terminal.resize(columns, rows);
        terminal.wait("one status line that fits", |screen| {
            let foot = foot(screen);
            let filled = usize::from(columns > 60);
            foot.starts_with("a · ")
                && foot.matches("stub-model").count() == filled
                && screen.contents().matches("$0.0000").count() == 1
        });
    }
    terminal.keys("\x03");
    terminal.shows("error: interrupted");
    terminal.prompt("[a] >");
    terminal.line("/agents");
    terminal.shows("* a: stub/stub-model");
    terminal.prompt("[a] >");
    leave(terminal);
}

/// The row of the cursor.
fn foot(screen: &vt100::Screen) -> String {
    let (_, columns) = screen.size();
    let row = usize::from(screen.cursor_position().0);
    screen.rows(0, columns.get()).nth(row).unwrap_or_default()
}

#[test]
fn what_was_said_stands_above_the_question_that_follows() {
    let server = Stub::start(|seen| {
        if !seen.tool_messages().is_empty() {
            return stub::text("Fine.");
        }
        let call = json!({"index": 0, "id": "c1", "type": "function",
            "function": {"name": "write", "arguments": "{\"path\":\"x\",\"content\":\"x\"}"}});
        let call: Value = json!({"tool_calls": [call]});
        let mut doing = vec![stub::stream_head(), says("I would like to write a file")];
        doing.push(stub::event(&stub::chunk(&call, None)));
        doing.extend(ends("tool_calls"));
        doing
    });
    let context = Context::new();
    let config = agent_config(&server.url(), "");
    let asked = "settings: {approvals: {rules: [{tool: write, action: ask}]}, ";
    context.write("orch.yaml", config.replace("settings: {", asked));
    for (term, enter) in [("xterm", "\r"), ("dumb", "\n")] {
        let mut terminal = start(&context, term, 80, 24);
        terminal.keys(&format!("go{enter}"));
        terminal.shows("allow? [y/N]");
        let screen = terminal.screen();
        let expected = "I would like to write a file\na wants to run write:\n  x\nallow? [y/N]";
        let told = screen.replace("> write x content=x\n", "");
        assert!(told.contains(expected), "{term}: {screen}");
        terminal.keys("n\n");
        terminal.shows("Fine.");
        terminal.prompt("[a] >");
        terminal.keys(&format!("/quit{enter}"));
        terminal.ends(0);
    }
}

/// An agent whose model has a price, with these budgets.
fn priced(server: &Stub, budget: &str) -> String {
    let prices = "kind: openai, prices: {stub-model: {input: 1000, output: 2000}},";
    let settings = format!("settings: {{budget: {{{budget}}}, max_output_tokens: 100, ");
    agent_config(&server.url(), "")
        .replace("kind: openai,", prices)
        .replace(
            "tools: [read, write, edit, glob, grep, list_dir]",
            "tools: []",
        )
        .replace("settings: {", &settings)
}

#[test]
fn money_is_told_while_it_is_spent_and_day_by_day() {
    let server = model("So it is.");
    let context = Context::new();
    let config = priced(&server, "day_usd: 5, month_usd: 80");
    context.write("orch.yaml", config);
    let mut terminal = start(&context, "xterm", 80, 30);
    terminal.line("go");
    terminal.shows("$0.020000");
    terminal.prompt("[a] >");
    terminal.line("hang");
    terminal.shows("$4.9800 left");
    terminal.keys("\x03");
    terminal.shows("interrupted");
    terminal.prompt("[a] >");
    terminal.line("/costs");
    terminal.shows("14 days   ▁▁▁▁▁▁▁▁▁▁▁▁▁█  at most $");
    terminal.prompt("[a] >");
    leave(terminal);
}

#[test]
fn help_and_errors_break_between_words() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    for (columns, expected) in [
        (
            80,
            "  /undo                Take back what the last turn changed in files\n",
        ),
        (
            40,
            "  /undo                Take back what\n                       the last turn\n                       \
             changed in files\n",
        ),
    ] {
        let mut terminal = start(&context, "xterm", columns, 90);
        terminal.line("/help");
        terminal.shows(expected);
        terminal.prompt("[a] >");
        terminal.line("/costs what");
        terminal.prompt("[a] >");
        let screen = terminal.screen();
        let hint = screen.split("hint: ").nth(1).unwrap();
        assert!(!hint.contains("\n,") && hint.contains("csv"), "{screen}");
        leave(terminal);
    }
}

#[test]
fn several_agents_and_tasks_tell_what_is_left_too() {
    let server = model("So it is.");
    let context = Context::new();
    let config = agent_config(
        &server.url(),
        "tasks: {t: {steps: [{agent: a, prompt: hang}]}}\n",
    );
    let prices = "kind: openai, prices: {stub-model: {input: 1000, output: 2000}},";
    let config = config.replace("kind: openai,", prices);
    let config = config.replace(
        "settings: {",
        "settings: {budget: {day_usd: 50}, max_output_tokens: 100, ",
    );
    context.write("orch.yaml", config);
    for args in [&["--all", "--prompt", "hang"][..], &["--task", "t"]] {
        let mut command = context.command(&[&["--config", "orch.yaml"], args].concat());
        command.env("TERM", "xterm");
        let asked = server.chats().len();
        let mut terminal = Terminal::start(command, 80, 24);
        terminal.wait("what is left", |screen| {
            let foot = foot(screen);
            // The tokens of what came are guessed: by then the question was asked.
            server.chats().len() > asked
                && foot.contains(" · ~")
                && foot.starts_with("0 of 1 done · ")
                && foot.contains(" left · ")
        });
        terminal.keys("\x03");
        terminal.ends(130);
    }
}

#[test]
fn progress_begins_a_line_where_both_streams_are_one() {
    let server = Stub::start(|seen| {
        if !seen.tool_messages().is_empty() {
            return stub::text("Seen.");
        }
        let call = json!({"index": 0, "id": "c1", "type": "function",
            "function": {"name": "read", "arguments": "{\"path\":\"x\"}"}});
        let mut doing = vec![stub::stream_head(), says("I look")];
        doing.push(stub::event(&stub::chunk(
            &json!({"tool_calls": [call]}),
            None,
        )));
        doing.extend(ends("tool_calls"));
        doing
    });
    let context = Context::with_agent(&server.url(), "");
    context.write("x", "content\n");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = context.command(&["--config", "orch.yaml", "--agent", "a", "--prompt", "go"]);
    command.stdin(Stdio::null());
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut merged = String::new();
    std::io::Read::read_to_string(&mut reader, &mut merged).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(merged.starts_with("I look\n> read x\n"), "{merged}");
    assert!(merged.contains("\nSeen.\nstub/stub-model · "), "{merged}");
    // Apart, nothing is put into the answer.
    let apart = context.orch(&["--agent", "a", "--prompt", "go"]).exits(0);
    assert_eq!(apart.stdout, "I look\n\nSeen.\n");
}

#[test]
fn a_terminal_obeys_neither_models_nor_tools() {
    let server = model("first\n\n\u{1b}[2J\u{1b}[Hsecond\u{1b}]0;title\u{7}\n");
    let context = Context::with_agent(&server.url(), "");
    for term in ["xterm-256color", "dumb"] {
        let mut terminal = start(&context, term, 80, 24);
        terminal.line("go");
        terminal.shows("second");
        terminal.prompt("[a] >");
        let screen = terminal.screen();
        assert!(
            screen.contains("first") && screen.contains("go"),
            "{term}: {screen}"
        );
        leave(terminal);
    }
    // What a tool gave, and what is said about it: the agent chose the name of the directory.
    let command = "printf 'first\\n\\033[2J\\033[Hsecond\\n'; git init -q $'x\\e[2Jx'; \
                   git -C $'x\\e[2Jx' config core.pager x";
    let parameters = json!({"command": command}).to_string();
    let mut orch = context.command(&["tool", "bash", &parameters, "--config", "orch.yaml"]);
    orch.env("TERM", "xterm-256color");
    let terminal = Terminal::start(orch, 200, 24);
    terminal.shows("second");
    terminal.wait("the note that ends the content", |screen| {
        screen.contents().contains("[the new repository")
    });
    let screen = terminal.screen();
    assert!(
        screen.contains("first") && screen.contains("warning: the new repository"),
        "{screen}"
    );
    terminal.ends(0);
}

/// The rows between a command at the prompt and the next prompt.
fn said(terminal: &Terminal, command: &str) -> Vec<String> {
    let screen = terminal.screen();
    let (_, rows) = screen.rsplit_once(command).unwrap();
    let rows = rows.lines().map(str::to_owned);
    rows.filter(|row| !row.starts_with("[a] >")).collect()
}

#[test]
fn what_a_session_says_fits_a_narrow_screen() {
    let server = model("So it is.");
    let context = Context::new();
    let config = priced(&server, "day_usd: 5");
    context.write("a-directory-of-a-name/orch.yaml", config);
    let mut command = context.command(&["--config", "a-directory-of-a-name/orch.yaml"]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(command, 40, 150);
    terminal.prompt("[a] >");
    let greeting = "orch 0.1.0 ·\na-directory-of-a-name/orch.yaml · 1\nagent · /help\n[a] >";
    assert_eq!(terminal.screen(), greeting);
    terminal.line("go");
    terminal.shows("$0.020000");
    terminal.prompt("[a] >");
    terminal.line("/costs");
    terminal.prompt("[a] >");
    let costs = said(&terminal, "/costs").join("\n");
    let table = "\nmodel\nrequests  input  output     cost\nstub/stub-model\n       1     10       5  $0.0200\n";
    assert!(costs.contains(table), "{costs}");
    assert!(
        costs.contains("\ntoday       $0.0200 of $5.00, $4.98\n            left, resets "),
        "{costs}"
    );
    terminal.line("/models");
    terminal.prompt("[a] >");
    let models = said(&terminal, "/models").join("\n");
    assert!(
        models.contains("\n  gpt4o\n      openai/gpt-4o\n"),
        "{models}"
    );
    assert!(
        models.contains("\nby name or `vendor/model`, under any\nHTTP provider:\n"),
        "{models}"
    );
    leave(terminal);
}
