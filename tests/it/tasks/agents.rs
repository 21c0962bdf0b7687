//! Runs of agents that are cut off, and go on where they were.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::kill::{asked, lines, said_again};
use super::{config, run_id};
use crate::budgets::tells_the_ledger;
use crate::sandbox::until;
use crate::support::{Context, Stub, stub, terminal::Terminal};

/// How often; `ORCH_TEST_LONG=1` makes it 200 times.
const TIMES: u32 = 6;
/// The turns that ask for tools.
const TURNS: usize = 4;

/// Asks for a line in `log.txt` and for a look at a file in every turn but the last.
fn worker() -> Stub {
    Stub::start(|seen| {
        let wait = 5 + (seen.number as u64 * 7) % 15;
        let mut actions = vec![stub::Do::Wait(Duration::from_millis(wait))];
        let messages = seen.body["messages"].as_array().unwrap();
        let turn = messages.iter().filter(|m| m["role"] == "assistant").count();
        let write = json!({"path": "log.txt", "content": format!("{turn}\n"), "append": true});
        actions.extend(if turn < TURNS {
            stub::tool_calls(&[
                ("1", "write", write),
                ("2", "read", json!({"path": "fixed.txt"})),
            ])
        } else {
            stub::text("all done")
        });
        actions
    })
}

fn context(server: &Stub) -> Context {
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), " {}\n"));
    context.write("fixed.txt", "fixed\n");
    context
}

/// What the conversations hold: the role of every message, turn by turn.
fn conversations(context: &Context) -> Vec<Vec<String>> {
    let database = rusqlite::Connection::open(context.state().join("orch.db")).unwrap();
    // The tables come a little after the file.
    let read = "SELECT messages FROM session_turns ORDER BY session, turn";
    let Ok(mut statement) = database.prepare(read) else {
        return Vec::new();
    };
    let turns = statement
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap();
    turns
        .map(|turn| {
            let messages: Vec<Value> = serde_json::from_str(&turn.unwrap()).unwrap();
            let role = |message: &Value| message["role"].as_str().unwrap().to_owned();
            messages.iter().map(role).collect()
        })
        .collect()
}

const ARGUMENTS: [&str; 5] = ["--agent", "a", "--prompt", "work", "--json"];

#[test]
fn an_agent_that_is_killed_goes_on_where_it_was() {
    let undisturbed_server = worker();
    let undisturbed = context(&undisturbed_server);
    let start = Instant::now();
    let expected = undisturbed.orch(&ARGUMENTS).exits(0).json();
    let whole = start.elapsed();
    let turns = asked(&undisturbed_server);
    assert_eq!(turns.len(), TURNS + 1);
    let spoken = conversations(&undisturbed);

    let long = std::env::var("ORCH_TEST_LONG").is_ok();
    for time in 0..if long { 200 } else { TIMES } {
        let server = worker();
        let context = context(&server);
        let moment = whole.mul_f64(fastrand::f64() * 1.05);
        let mut child = context
            .command(&[&["--config", "orch.yaml"][..], &ARGUMENTS].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        let at = format!("killed at {moment:?} ({time})");
        let logged = lines(&context, "log.txt");
        if !context.state().join("orch.db").exists()
            || context.orch(&["--runs", "--json"]).exits(0).json() == json!([])
        {
            // It had not begun.
            assert_eq!(server.chats().len(), 0, "{at}");
            continue;
        }
        let runs = context.orch(&["--runs", "--json"]).exits(0).json();
        assert_eq!(
            (&runs[0]["kind"], &runs[0]["name"]),
            (&json!("agent"), &json!("a")),
            "{at}"
        );
        let id = run_id(&context);
        let result = context.orch(&["--resume", &id, "--json"]).exits(0).json();
        for key in ["run_id", "output", "turns", "finish_reason"] {
            let same = if key == "run_id" {
                &json!(id)
            } else {
                &expected[key]
            };
            assert_eq!(&result[key], same, "{key} {at}");
        }
        tells_the_ledger(&context, &result, &at);
        // The one turn that was under way may have been asked for twice.
        let after = asked(&server);
        assert!(after.keys().eq(turns.keys()), "{after:?} {at}");
        let again: usize = after.values().map(|count| count - 1).sum();
        assert!(again <= 1, "{after:?} {at}");
        let said = result["warnings"].to_string();
        assert!(again <= said_again(&result), "{said} {at}");
        // A tool that writes never runs twice, and one that may not have run is said.
        let now = lines(&context, "log.txt");
        assert!(now.values().all(|count| *count == 1), "{now:?} {at}");
        assert!(logged.keys().all(|line| now.contains_key(line)), "{at}");
        let said = said.matches("its outcome is not known").count();
        assert!(TURNS - now.len() <= said, "{now:?} {result} {at}");
        // The conversation has the turn once, whole.
        assert_eq!(conversations(&context), spoken, "{at}");
        let runs = context.orch(&["--runs", "--json"]).exits(0).json();
        assert_eq!(runs[0]["state"], "done", "{at}");
        // It gives its answer again, for nothing.
        let again = context.orch(&["--resume", &id]).exits(0);
        assert_eq!(again.stdout, "all done\n", "{at}");
        assert_eq!(asked(&server), after, "{at}");
    }
}

#[test]
fn what_had_broken_off_in_a_conversation_is_made_whole() {
    let server = Stub::start(|seen| match (seen.number, seen.last_text().as_str()) {
        (_, "first") => stub::text("1"),
        (1, _) => stub::tool_calls(&[("1", "read", json!({"path": "orch.yaml"}))]),
        (2, _) => vec![stub::stream_head(), stub::Do::Hang],
        _ => stub::text("after all"),
    });
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), " {}\n"));
    let session = ["--agent", "a", "--session", "s", "--prompt"];
    context.orch(&[&session[..], &["first"]].concat()).exits(0);
    let stopped = context
        .orch(&[&session[..], &["second", "--timeout", "6"]].concat())
        .exits(6);
    let id = run_id(&context);
    assert!(
        stopped
            .stderr
            .contains(&format!("orch --config orch.yaml --resume {id}`")),
        "{}",
        stopped.stderr
    );
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    assert_eq!(
        (&runs[0]["state"], &runs[1]["state"]),
        (&json!("failed"), &json!("done"))
    );
    let done = context.orch(&["--resume", &id]).exits(0);
    assert_eq!(done.stdout, "after all\n");
    assert_eq!(server.chats().len(), 4);
    let turns = conversations(&context);
    assert_eq!(
        turns,
        [
            vec!["user", "assistant"],
            vec!["user", "assistant", "tool", "assistant"]
        ]
    );
    // The configuration may change meanwhile; a run that could not begin is not kept.
    context
        .orch(&["--agent", "b", "--continue", "--prompt", "x"])
        .exits(2);
    assert_eq!(
        context
            .orch(&["--runs", "--json"])
            .exits(0)
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn of_many_agents_only_those_without_an_answer_are_asked_again() {
    let server = Stub::start(|seen| {
        let system = seen.body["messages"][0]["content"].as_str().unwrap();
        if system.starts_with("# c\n") && seen.number < 4 {
            return vec![stub::stream_head(), stub::Do::Hang];
        }
        stub::text(&system[2..3])
    });
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), " {}\n"));
    let mut child = context
        .command(&["--config", "orch.yaml", "--all", "--prompt", "who?"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Three conversations are kept when three have answered.
    until("three answers", || {
        context.state().join("orch.db").exists() && conversations(&context).len() == 3
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(server.chats().len(), 4);
    let id = run_id(&context);
    let result = context.orch(&["--resume", &id, "--json"]).exits(0).json();
    let answers: Vec<(&str, &str)> = result["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (
                one["agent"].as_str().unwrap(),
                one["output"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(answers, [("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")]);
    assert_eq!(server.chats().len(), 5);
    assert_eq!(conversations(&context).len(), 4);
    let again = context.orch(&["--resume", &id]).exits(0);
    for name in ["a", "b", "c", "d"] {
        assert!(again.stdout.contains(name), "{}", again.stdout);
    }
    assert_eq!(server.chats().len(), 5);
}

#[test]
fn the_answer_of_an_agent_that_goes_on_streams() {
    let gates = [stub::Gate::closed(), stub::Gate::closed()];
    let waits = gates.clone();
    let server = Stub::start(move |seen| {
        let says = |text: &str| stub::event(&stub::chunk(&json!({"content": text}), None));
        let answers = |gate: &stub::Gate| {
            vec![
                stub::stream_head(),
                says("It begins\n\n"),
                stub::Do::Gate(gate.clone()),
                says("and ends."),
                stub::event(&stub::chunk(&json!({}), Some("stop"))),
                stub::event(&stub::usage(10, 5)),
                stub::piece("data: [DONE]\n\n"),
                stub::stream_end(),
            ]
        };
        match seen.number {
            0 | 3 => stub::tool_calls(&[("1", "read", json!({"path": "fixed.txt"}))]),
            1 | 4 => stub::status(500, &[], "{}"),
            2 => answers(&waits[0]),
            _ => answers(&waits[1]),
        }
    });
    let context = context(&server);
    let failed = ["--agent", "a", "--prompt", "work"];
    context.orch(&failed).exits(5);
    let mut command = context.command(&["--config", "orch.yaml", "--resume", &run_id(&context)]);
    command.env("TERM", "xterm");
    let terminal = Terminal::start(command, 80, 24);
    terminal.shows("It begins");
    gates[0].open();
    terminal.shows("and ends.");
    let screen = terminal.screen();
    assert_eq!(screen.matches("It begins").count(), 1, "{screen}");
    terminal.ends(0);

    context.orch(&failed).exits(5);
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(command, 80, 24);
    terminal.prompt("[a] >");
    terminal.line(&format!("/resume {}", run_id(&context)));
    terminal.shows("It begins");
    gates[1].open();
    terminal.shows("and ends.");
    terminal.prompt("[a] >");
    let screen = terminal.screen();
    assert_eq!(screen.matches("It begins").count(), 1, "{screen}");
    terminal.line("/quit");
    terminal.ends(0);
}

#[test]
fn a_run_goes_on_with_the_model_that_was_asked_for_and_needs_its_providers() {
    let server = Stub::start(|seen| match seen.number {
        0 => stub::tool_calls(&[("1", "read", json!({"path": "orch.yaml"}))]),
        1 => vec![stub::stream_head(), stub::Do::Hang],
        _ => stub::text("after all"),
    });
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), " {}\n"));
    let model = ["--agent", "a", "--model", "stub/other-model"];
    let asked = ["--prompt", "x", "--timeout", "6"];
    context.orch(&[model, asked].concat()).exits(6);
    let id = run_id(&context);
    context.write(
        "elsewhere.yaml",
        "agents:\n  z: {role: R, provider: openai, model: gpt4o}\n",
    );
    let elsewhere = ["--config", "elsewhere.yaml", "--resume", &id, "--json"];
    let result = context.run(&elsewhere).exits(3).json();
    assert_eq!(result["error"]["class"], "config", "{result}");
    assert_eq!(
        result["error"]["message"],
        "provider `stub` has no `base_url`"
    );
    let done = context.orch(&["--resume", &id]).exits(0);
    assert_eq!(done.stdout, "after all\n");
    assert!(!done.stderr.contains("has changed"), "{}", done.stderr);
    let asked = server.chats();
    assert_eq!(asked.last().unwrap().body["model"], "other-model");
}
