//! Runs whose process dies at any moment: what was finished is neither asked nor done nor paid again.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{config, run_id};
use crate::budgets::tells_the_ledger;
use crate::sandbox::until;
use crate::support::{Context, Stub, stub};

/// How often; `ORCH_TEST_LONG=1` makes it 200 times.
const TIMES: u32 = 10;

const GRAPH: &str = "  g:
    steps:
      - {id: start, agent: a, prompt: 'tool start'}
      - {id: left, agent: a, needs: [start], prompt: 'tool left'}
      - {id: right, agent: b, needs: [start], prompt: 'say right'}
      - {id: list, agent: b, needs: [start], prompt: 'list', output_schema: {type: array}}
      - {id: each, needs: [list], for_each: '{{ steps.list.structured }}', max_parallel: 2, agent: a, prompt: 'tool each{{ item }}'}
      - {id: best, needs: [left, right], candidates: [a, b, c], judge: d, prompt: 'say best'}
      - {id: vote, needs: [left], candidates: [b, c], vote: true, prompt: 'say vote'}
      - {id: count, run: 'echo count >> counted.txt; wc -l < counted.txt > /dev/null; echo counted', retries: 3}
      - {id: loop, needs: [best], repeat: {until: 'steps.loop.ok', max: 2}, agent: c, prompt: 'say loop'}
      - {id: sub, needs: [loop, each], task: inner, inputs: {x: '{{ steps.best.output }}'}}
      - {id: check, needs: [sub, vote, count], run: 'echo {{ steps.count.output }} {{ steps.vote.output }}', retries: 3}
      - {id: end, agent: d, prompt: 'say end {{ steps.check.output }} {{ steps.sub.output }}'}
  inner:
    inputs: {x: {}}
    steps:
      - {id: deep, agent: a, prompt: 'tool deep'}
";

/// Answers after a while; `tool NAME` first asks for a line in `log.txt` and for a look at it.
fn server() -> Stub {
    Stub::start(|seen| {
        let messages = seen.body["messages"].as_array().unwrap();
        let asked = messages[1]["content"].as_str().unwrap();
        let wait = stub::Do::Wait(Duration::from_millis(10 + (seen.number as u64 * 7) % 20));
        let mut actions = vec![wait];
        actions.extend(match asked.split_once(' ') {
            Some(("tool", name)) if messages.len() == 2 => stub::tool_calls(&[
                (
                    "1",
                    "write",
                    json!({"path": "log.txt", "content": format!("{name}\n"), "append": true}),
                ),
                ("2", "read", json!({"path": "fixed.txt"})),
            ]),
            Some(("tool", name)) => stub::text(&format!("did {name}")),
            Some(("say", words)) => stub::text(words),
            _ if asked == "list" => stub::text("[1, 2, 3]"),
            _ => stub::text(r#"{"reason": "r", "marks": {"A": 1, "B": 1, "C": 1}}"#),
        });
        actions
    })
}

/// How often each model turn was asked for: by what the agent was asked and which turn it is.
pub(super) fn asked(server: &Stub) -> BTreeMap<(String, usize), usize> {
    let mut counts = BTreeMap::new();
    for chat in server.chats() {
        let messages = chat.body["messages"].as_array().unwrap();
        let system = messages[0]["content"].as_str().unwrap();
        let prompt = messages[1]["content"].as_str().unwrap();
        let turn = messages
            .iter()
            .filter(|message| message["role"] == "assistant")
            .count()
            + 1;
        let who = system.lines().next().unwrap();
        *counts.entry((format!("{who} {prompt}"), turn)).or_default() += 1;
    }
    counts
}

/// The model turns and tool calls that the journal has finished.
fn finished(context: &Context) -> Vec<String> {
    let path = context.state().join("orch.db");
    let Ok(database) = rusqlite::Connection::open(&path) else {
        return Vec::new();
    };
    let Ok(mut statement) = database.prepare("SELECT key FROM journal WHERE value IS NOT NULL")
    else {
        return Vec::new();
    };
    let keys = statement
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap();
    keys.map(Result::unwrap).collect()
}

/// What a run gave, without what a cut may change: times, warnings, the reports of tools.
fn essence(result: &Value) -> Value {
    let parts: Vec<Value> = result["results"]
        .as_array()
        .into_iter()
        .flatten()
        .map(essence)
        .collect();
    let keys = [
        "step",
        "kind",
        "agent",
        "ok",
        "output",
        "structured",
        "exit_code",
        "turns",
    ];
    let mut essence: Value = keys
        .iter()
        .map(|key| ((*key).to_owned(), result[*key].clone()))
        .collect();
    essence["results"] = Value::from(parts);
    essence
}

pub(super) fn lines(context: &Context, file: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let text = std::fs::read_to_string(context.work().join(file)).unwrap_or_default();
    for line in text.lines() {
        *counts.entry(line.to_owned()).or_default() += 1;
    }
    counts
}

/// How many answers a resumed run says that it asks for again.
pub(super) fn said_again(result: &Value) -> usize {
    let warnings = result["warnings"].as_array().unwrap();
    let count = |warning: &Value| {
        let words = warning.as_str().unwrap();
        match words.split_once(" answers of models had come and were not kept") {
            Some((number, _)) => number.parse().unwrap(),
            None => usize::from(words.contains("when the run was cut off and is asked again")),
        }
    };
    warnings.iter().map(count).sum()
}

fn context(server: &Stub) -> Context {
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), GRAPH));
    context.write("fixed.txt", "fixed\n");
    context
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_was() {
    let undisturbed_server = server();
    let undisturbed = context(&undisturbed_server);
    let start = Instant::now();
    let expected = undisturbed.orch(&["--task", "g", "--json"]).exits(0).json();
    let whole = start.elapsed();
    let turns = asked(&undisturbed_server);
    assert!(turns.values().all(|count| *count == 1), "{turns:?}");

    let long = std::env::var("ORCH_TEST_LONG").is_ok();
    let times = if long { 200 } else { TIMES };
    let mut cut_off = 0;
    for time in 0..times {
        let server = Arc::new(server());
        let context = context(&server);
        let moment = whole.mul_f64(fastrand::f64() * 1.05);
        let mut child = context
            .command(&["--config", "orch.yaml", "--task", "g", "--json"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        server.settle();
        let before = asked(&server);
        let done = finished(&context);
        let logged = lines(&context, "log.txt");
        if !context.state().join("orch.db").exists()
            || context.orch(&["--runs", "--json"]).exits(0).json() == json!([])
        {
            // It had not begun.
            assert_eq!(server.chats().len(), 0);
            continue;
        }
        let id = run_id(&context);
        let result = context.orch(&["--resume", &id, "--json"]).exits(0).json();
        let at = format!("killed at {moment:?} ({time}): {done:?}");
        assert_eq!(essence(&result), essence(&expected), "{at}");
        tells_the_ledger(&context, &result, &at);
        let after = asked(&server);
        assert_eq!(
            after.keys().collect::<Vec<_>>(),
            turns.keys().collect::<Vec<_>>(),
            "{at}"
        );
        let twice: usize = after.values().map(|count| count - 1).sum();
        assert!(after.values().all(|count| *count <= 2), "{after:?} {at}");
        cut_off += twice;
        // Every turn that was kept was asked for once; those that were not may have been under way.
        let kept = done.iter().filter(|key| is_turn(key)).count();
        assert!(before.len() - kept >= twice, "{before:?} {after:?} {at}");
        let warnings = result["warnings"].to_string();
        assert!(twice <= said_again(&result), "{twice} {warnings} {at}");
        // A tool that writes never runs twice, and one whose end was kept ran once.
        let now = lines(&context, "log.txt");
        assert!(now.values().all(|count| *count == 1), "{now:?} {at}");
        assert!(
            logged.iter().all(|(line, count)| now[line] == *count),
            "{at}"
        );
        let missing = ["start", "left", "each1", "each2", "each3", "deep"]
            .iter()
            .filter(|name| !now.contains_key(**name))
            .count();
        let said = result
            .to_string()
            .matches("its outcome is not known")
            .count();
        assert!(missing <= said, "{missing} {said} {at}");
        let counted = lines(&context, "counted.txt")["count"];
        assert!((1..=2).contains(&counted), "{at}");
        let runs = context.orch(&["--runs", "--json"]).exits(0).json();
        assert_eq!(runs[0]["state"], "done");
    }
    assert!(
        cut_off > 0 || times < 50,
        "no kill hit a call that was under way"
    );
}

/// `RUN/left/t1`, not `RUN/left` and not `RUN/left/t1/0`.
fn is_turn(key: &str) -> bool {
    let last = key.rsplit('/').next().unwrap_or_default();
    last.strip_prefix('t')
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

#[test]
fn two_processes_never_work_on_one_run() {
    let server = Stub::start(|_| vec![stub::stream_head(), stub::Do::Hang]);
    let context = Context::new();
    context.write(
        "orch.yaml",
        config(&server.url(), "  t: {steps: [{agent: b, prompt: x}]}\n"),
    );
    let mut first = context
        .command(&["--config", "orch.yaml", "--task", "t"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("a question", || !server.chats().is_empty());
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    assert_eq!(runs[0]["state"], "running");
    let id = runs[0]["run_id"].as_str().unwrap();
    let second = context.orch(&["--resume", id]).exits(2);
    assert!(
        second
            .stderr
            .contains(&format!("another process works on the run `{id}`"))
    );
    first.kill().unwrap();
    first.wait().unwrap();
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    assert_eq!(runs[0]["state"], "interrupted");
    assert_eq!(server.chats().len(), 1);
}

#[test]
fn a_command_whose_end_was_missed_is_asked_about() {
    let context = Context::new();
    let tasks = "  t: {steps: [{id: slow, run: 'echo once >> ran.txt; sleep 30'}]}\n";
    context.write("orch.yaml", config("http://127.0.0.1:9", tasks));
    let mut child = context
        .command(&["--config", "orch.yaml", "--task", "t"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the command to run", || {
        !lines(&context, "ran.txt").is_empty()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let id = run_id(&context);
    let parked = context.orch(&["--resume", &id]).exits(9);
    assert!(
        parked.stderr.contains(
            "was running when the run was interrupted, and may have done its work; run it again?"
        ),
        "{}",
        parked.stderr
    );
    assert_eq!(context.read("ran.txt"), "once\n");
}
