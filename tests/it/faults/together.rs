//! Many calls and many processes against one server: what one learns all know, and none of them floods it.

use std::process::{Child, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::until;
use crate::support::stub::{self, Seen};
use crate::support::{Context, Ran, Stub, ran};

/// Agents `a0`, `a1` … of one model of a server.
fn team(url: &str, count: usize, settings: &str) -> String {
    let agents: Vec<String> = (0..count)
        .map(|number| format!("  a{number}: {{role: R, provider: lab, model: m, tools: []}}\n"))
        .collect();
    format!(
        "settings: {{{settings}}}\n\
         providers:\n  lab: {{kind: openai, base_url: \"{url}\"}}\n\
         agents:\n{}",
        agents.concat()
    )
}

const ONE: &[&str] = &[
    "--config",
    "orch.yaml",
    "--agent",
    "a0",
    "--prompt",
    "x",
    "--json",
];
const ALL: &[&str] = &["--config", "orch.yaml", "--all", "--prompt", "x", "--json"];

fn start(context: &Context, args: &[&str]) -> Child {
    context
        .command(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(child: Child) -> Ran {
    ran(child.wait_with_output().unwrap())
}

fn status(context: &Context) -> Value {
    context.orch(&["--status", "--json"]).exits(0).json()
}

/// The failures of all agents of a run.
fn errors(result: &Value) -> Vec<&Value> {
    let results = result["results"].as_array().unwrap();
    results
        .iter()
        .map(|result| &result["error"])
        .filter(|error| !error.is_null())
        .collect()
}

/// Requests go 20 ms apart. They are seen when the machine has time for it, which pushes some together, so
/// all are looked at, and a quarter of their time is enough: a herd comes within a few milliseconds.
fn assert_paced(seen: &[Seen]) {
    let [first, .., last] = seen else {
        panic!("{} requests", seen.len())
    };
    let (span, apart) = (last.at - first.at, Duration::from_millis(5));
    assert!(
        span >= apart * u32::try_from(seen.len() - 1).unwrap(),
        "{span:?} for {}",
        seen.len()
    );
}

#[test]
fn a_dead_server_is_not_flooded_by_a_hundred_agents() {
    for breaker in ["true", "false"] {
        let server = Stub::replies([stub::status(500, &[], "dead")]);
        let context = Context::new();
        let settings = format!(
            "retry_delay: 0.2, timeout: 40, circuit_breaker_timeout: 1, enable_circuit_breaker: {breaker}"
        );
        context.write("orch.yaml", team(&server.url(), 100, &settings));
        let started = Instant::now();
        let result = context.run(ALL).json();
        let took = started.elapsed();
        // They wait for the breaker as long as they may; when its next trial would come too late, they end. The
        // time of one that is to try may be up just then.
        let errors = errors(&result);
        assert_eq!(errors.len(), 100);
        let is_expected =
            |error: &&Value| ["provider", "timeout"].contains(&error["class"].as_str().unwrap());
        assert!(errors.iter().all(is_expected), "{result}");
        // A first try each, twenty retries that a full budget pays for, and the trials of the breaker.
        let requests = server.chats().len();
        assert!(requests <= 145, "{requests} requests, breaker: {breaker}");
        // Who comes when it has opened makes no first try.
        let least = if breaker == "true" { 5 } else { 100 };
        assert!(requests >= least, "{requests} requests, breaker: {breaker}");
        assert!(took < Duration::from_mins(1), "{took:?}");
    }
}

#[test]
fn a_server_that_recovers_serves_a_hundred_agents_one_by_one() {
    // All have asked before one hears that it is dead, which it is for some seconds more.
    let (all, dead_until) = (stub::Gate::closed(), Arc::new(OnceLock::new()));
    let dead = Arc::clone(&dead_until);
    let server = Stub::start(move |seen| {
        if seen.number == 99 {
            dead.get_or_init(|| seen.at + Duration::from_secs(3));
            all.open();
        }
        if seen.number < 100 || seen.at < *dead.get().unwrap() {
            let dead = stub::status(503, &[], "dead");
            [vec![stub::Do::Gate(all.clone())], dead].concat()
        } else {
            stub::text("yes")
        }
    });
    let context = Context::new();
    let settings = "circuit_breaker_timeout: 2";
    context.write("orch.yaml", team(&server.url(), 100, settings));
    let mut args = ALL.to_vec();
    args.extend(["--timeout", "60"]);
    let result = context.run(&args).exits(0).json();
    assert!(errors(&result).is_empty());
    let seen = server.chats();
    let is_answered = |seen: &Seen| seen.at >= *dead_until.get().unwrap();
    let answered = seen.len() - seen.iter().position(is_answered).unwrap();
    assert_eq!(answered, 100);
    // One has tried before the others.
    assert_paced(&seen[seen.len() - 99..]);
}

#[test]
fn only_one_call_tries_an_endpoint_that_rests() {
    let trial = Duration::from_millis(1500);
    let server = Stub::start(move |seen| match seen.number {
        0..=4 => stub::status(500, &[], "dead"),
        5 => [vec![stub::Do::Wait(trial)], stub::text("yes")].concat(),
        _ => stub::text("yes"),
    });
    let context = Context::new();
    let settings = "max_retries: 0, timeout: 60, circuit_breaker_timeout: 1";
    context.write("orch.yaml", team(&server.url(), 5, settings));
    context.run(ALL).exits(5);
    assert_eq!(server.chats().len(), 5);
    context.write("orch.yaml", team(&server.url(), 100, settings));
    context.run(ALL).exits(0);
    let seen = server.chats();
    assert_eq!(seen.len(), 105);
    let beside_it = seen[6..]
        .iter()
        .filter(|other| other.at < seen[5].at + trial);
    assert_eq!(beside_it.count(), 0);
}

#[test]
fn a_rate_limit_that_fifty_met_is_left_one_by_one() {
    // All have asked before one is refused.
    let all = stub::Gate::closed();
    let server = Stub::start(move |seen| {
        if seen.number == 49 {
            all.open();
        }
        if seen.number < 50 {
            let slow = stub::status(429, &[("retry-after", "1")], "slow");
            [vec![stub::Do::Gate(all.clone())], slow].concat()
        } else {
            stub::text("yes")
        }
    });
    let context = Context::new();
    context.write("orch.yaml", team(&server.url(), 50, ""));
    let result = context.run(ALL).exits(0).json();
    assert!(errors(&result).is_empty());
    let seen = server.chats();
    assert_eq!(seen.len(), 100);
    assert!(seen[50].at - seen[0].at > Duration::from_secs(1));
    assert_paced(&seen[50..]);
}

#[test]
fn a_run_that_is_stopped_in_the_line_leaves_the_line_as_it_was() {
    let server = Stub::replies([vec![stub::Do::Hang]]);
    let context = Context::new();
    context.write(
        "orch.yaml",
        team(&server.url(), 3, "rate_limit_per_minute: 2"),
    );
    let child = start(&context, ALL);
    until("two requests", || server.chats().len() == 2);
    crate::bad_input::kill(child.id(), libc::SIGINT);
    assert_eq!(end(child).code, 130);
    assert_eq!(server.chats().len(), 2);
    let status = status(&context);
    let used = &status["limits"][0]["requests_per_minute"];
    assert_eq!(
        *used,
        serde_json::json!({"used": 2, "limit": 2}),
        "what went stays counted"
    );
    assert_eq!(status["costs"]["total_requests"], 2);
    assert_eq!(status["breakers"], serde_json::json!([]));
}

#[test]
fn a_rate_limit_that_one_process_met_all_know() {
    let server = Stub::replies([stub::status(429, &[("retry-after", "3600")], "slow")]);
    let context = Context::new();
    context.write("orch.yaml", team(&server.url(), 1, ""));
    for requests in [1, 1] {
        let error = &context.run(ONE).exits(5).json()["error"];
        assert!(
            error["hint"].as_str().unwrap().starts_with("try again at "),
            "{error}"
        );
        assert!(error["retry_after_s"].as_f64().unwrap() > 3500.0, "{error}");
        assert_eq!(error["retryable"], true);
        assert_eq!(server.chats().len(), requests);
    }
    let status = status(&context);
    let limit = &status["limits"][0];
    assert_eq!(limit["endpoint"], "lab");
    assert!(limit["cool_down_s"].as_f64().unwrap() > 3500.0, "{status}");
    let words = context.orch(&["--status"]).exits(0).stdout;
    assert!(
        words.contains("lab/m: rate limited by the server for "),
        "{words}"
    );
}

#[test]
fn a_breaker_that_one_process_opened_is_open_for_all() {
    let server = Stub::replies([
        stub::status(500, &[], "dead"),
        stub::status(500, &[], "dead"),
        stub::text("yes"),
    ]);
    let context = Context::new();
    let settings =
        "max_retries: 0, timeout: 20, circuit_breaker_threshold: 2, circuit_breaker_timeout: 60";
    context.write("orch.yaml", team(&server.url(), 2, settings));
    context.run(ALL).exits(5);
    assert_eq!(server.chats().len(), 2);
    let refused = context.run(ONE).exits(5).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("left alone for a while"), "{message}");
    assert_eq!(server.chats().len(), 2);
    let words = context.orch(&["--status"]).exits(0).stdout;
    assert!(words.contains("lab: open for "), "{words}");
    let looked = Instant::now();
    let open = &status(&context)["breakers"][0];
    assert_eq!(open["state"], "open", "{open}");
    let left = open["retry_in_s"].as_f64().unwrap();
    assert!((3.0..=72.0).contains(&left), "{open}");
    // All but three seconds of it pass at once.
    let store = rusqlite::Connection::open(context.state().join("orch.db")).unwrap();
    let on = (left - 3.0) * 1000.0;
    store
        .execute(
            "UPDATE quota_breakers SET open_until = open_until - ?1",
            [on.round()],
        )
        .unwrap();
    // A run that has the time for it waits, and closes it for all.
    let answer = context.run(ONE).exits(0).json();
    assert_eq!(answer["output"], "yes");
    let rested = server.chats()[2].at - looked;
    assert!(rested > Duration::from_secs(2), "{rested:?}");
    context.run(ONE).exits(0);
    assert_eq!(status(&context)["breakers"], serde_json::json!([]));
}

#[test]
fn processes_share_one_limit_and_a_third_one_sees_it() {
    let server = Stub::replies([stub::text("yes")]);
    let context = Context::new();
    context.write(
        "orch.yaml",
        team(&server.url(), 6, "rate_limit_per_minute: 7"),
    );
    let mut args = ALL.to_vec();
    args.extend(["--timeout", "30"]);
    let both = [start(&context, &args), start(&context, &args)];
    let both = both.map(|child| end(child).json());
    assert_eq!(server.chats().len(), 7);
    let failed: Vec<&Value> = both.iter().flat_map(errors).collect();
    assert_eq!(failed.len(), 5, "{both:#?}");
    for error in failed {
        assert!(
            error["hint"].as_str().unwrap().contains("try again at"),
            "{error}"
        );
        assert_eq!(error["retryable"], true);
    }
    let used = &status(&context)["limits"][0]["requests_per_minute"];
    assert_eq!(*used, serde_json::json!({"used": 7, "limit": 7}));
    let words = context.orch(&["--status"]).exits(0).stdout;
    assert!(
        words.contains("lab/m: 7 of 7 requests a minute\n"),
        "{words}"
    );
}

/// A team with a task: three steps that ask `x` and may fail, then one that asks `wait`.
fn failing_then_waiting(team: &str) -> String {
    let steps: Vec<String> = (0..3)
        .map(|number| {
            format!(
                "      - {{id: f{number}, agent: a{number}, prompt: x, on_failure: continue}}\n"
            )
        })
        .collect();
    let steps = steps.concat();
    format!("{team}tasks:\n  t:\n    steps:\n{steps}      - {{id: w, agent: a0, prompt: wait}}\n")
}

const TASK: &[&str] = &["--config", "orch.yaml", "--task", "t"];

/// Two processes with three failures each reach a limit of five together, and neither does alone.
#[test]
fn failures_of_two_processes_open_one_breaker() {
    // The three of the second process are all on their way before one of them fails.
    let all = stub::Gate::closed();
    let server = Stub::start(move |seen| match seen.number {
        _ if seen.last_text() == "wait" => vec![stub::Do::Hang],
        0..3 => stub::status(500, &[], "dead"),
        number => {
            if number == 6 {
                all.open();
            }
            let dead = stub::status(500, &[], "dead");
            [vec![stub::Do::Gate(all.clone())], dead].concat()
        }
    });
    let context = Context::new();
    let settings = "max_retries: 0, timeout: 20, circuit_breaker_timeout: 60";
    let team = team(&server.url(), 3, settings);
    context.write("orch.yaml", failing_then_waiting(&team));
    let mut waiting = start(&context, TASK);
    until("three failures", || server.chats().len() == 4);
    assert_eq!(status(&context)["breakers"], serde_json::json!([]));
    let mut events = ALL.to_vec();
    events.pop();
    events.extend(["--output", "stream-json"]);
    let lines = context.run(&events).exits(5).json_lines();
    assert_eq!(server.chats().len(), 7);
    let open = &status(&context)["breakers"][0];
    assert_eq!(
        (&open["name"], &open["state"]),
        (&"lab".into(), &"open".into())
    );
    // Who had the fifth failure says so.
    let opened = lines
        .iter()
        .filter(|line| line["type"] == "breaker" && line["state"] == "open");
    assert_eq!(opened.count(), 1, "{lines:#?}");
    // A third one leaves it alone.
    let refused = context.run(ONE).exits(5).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("left alone for a while"), "{message}");
    assert_eq!(server.chats().len(), 7);
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}

/// An answer that any process has heard ends the row of failures, also for those who heard none. What
/// processes have met that are gone does not count: who starts the program again learns at once that it
/// fails.
#[test]
fn an_answer_or_the_end_of_a_process_ends_its_row_of_failures() {
    let server = Stub::start(|seen| match seen.last_text().as_str() {
        "wait" => vec![stub::Do::Hang],
        "good" => stub::text("yes"),
        _ => stub::status(500, &[], "dead"),
    });
    let context = Context::new();
    let settings = "max_retries: 0, timeout: 60, circuit_breaker_timeout: 60";
    let team = team(&server.url(), 3, settings);
    context.write("orch.yaml", failing_then_waiting(&team));
    let mut waiting = start(&context, TASK);
    until("three failures", || server.chats().len() == 4);
    let good = [&ONE[..4], &["--prompt", "good"]].concat();
    context.run(&good).exits(0);
    for requests in [8, 11] {
        context.run(ALL).exits(5);
        assert_eq!(server.chats().len(), requests);
        assert_eq!(status(&context)["breakers"], serde_json::json!([]));
    }
    // Without an answer between them, the three of one that runs count.
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    let mut waiting = start(&context, TASK);
    until("three failures", || server.chats().len() == 15);
    context.run(&[ALL, &["--timeout", "30"]].concat()).exits(5);
    assert_eq!(status(&context)["breakers"][0]["state"], "open");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
}
