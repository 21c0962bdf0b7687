//! The line before a server: first come, first served; no minute holds more than its limit; who leaves it in
//! whatever state leaves it as if it had never been there.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bad_input::kill;
use crate::support::stub::{self, Seen};
use crate::support::{Context, Ran, Stub, ran};

/// Agents `a0`, `a1` … of one model of a server; each says who it is.
fn team(url: &str, count: usize, settings: &str) -> String {
    let agents: Vec<String> = (0..count)
        .map(|number| {
            format!(
                "  a{number}: {{role: \"You are {number}.\", provider: lab, model: m, tools: []}}\n"
            )
        })
        .collect();
    format!(
        "settings: {{{settings}}}\n\
         providers:\n  lab: {{kind: openai, base_url: \"{url}\", prices: {{m: {{input: 1000, output: 1000}}}}}}\n\
         agents:\n{}",
        agents.concat()
    )
}

fn start(context: &Context, args: &[&str]) -> Child {
    context
        .command(&[&["--config", "orch.yaml"], args].concat())
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

/// Which agent asks.
fn who(seen: &Seen) -> usize {
    let system = seen.body["messages"][0]["content"].as_str().unwrap();
    let number = system.split("You are ").nth(1).unwrap();
    number.split('.').next().unwrap().parse().unwrap()
}

#[test]
fn who_came_first_is_served_first_and_a_refused_one_keeps_its_place() {
    let server = Stub::start(|seen| match seen.number {
        0 | 20 => stub::status(429, &[("retry-after", "0.3")], "slow"),
        _ => stub::text("yes"),
    });
    let context = Context::new();
    // No more than the runtime polls at one go (128 steps of its budget, some three each): whom it interrupts between
    // the beginning of the turn and the line is overtaken on the way there.
    context.write("orch.yaml", team(&server.url(), 30, "max_concurrency: 1"));
    let all = [
        "--all",
        "--prompt",
        "x",
        "--output",
        "stream-json",
        "--no-log",
    ];
    let events = context.orch(&all).exits(0).json_lines();
    // Who tells first that a turn begins comes first.
    let came = events
        .iter()
        .filter(|event| event["type"] == "turn.started");
    let mut expected: Vec<usize> = came
        .map(|event| event["agent"].as_str().unwrap()[1..].parse().unwrap())
        .collect();
    assert_eq!(expected.len(), 30);
    expected.insert(0, expected[0]);
    expected.insert(20, expected[20]);
    let order: Vec<usize> = server.chats().iter().map(who).collect();
    assert_eq!(order, expected);
}

/// Rounds of processes that come, are stopped or killed; between them the clock of the limit is set
/// on, in place of waiting.
#[test]
fn no_minute_holds_more_requests_than_its_limit_whoever_makes_them() {
    const LIMIT: usize = 10;
    let server = Stub::replies([stub::text("yes")]);
    let context = Context::new();
    let settings = "rate_limit_per_minute: 10, max_retries: 0";
    context.write("orch.yaml", team(&server.url(), 6, settings));
    let mut random = fastrand::Rng::with_seed(4);
    // The times of requests as the limit's clock had them.
    let (mut times, mut shift) = (Vec::new(), Duration::ZERO);
    let began = Instant::now();
    for _ in 0..4 {
        let mut processes = Vec::new();
        for _ in 0..3 {
            let all = [
                "--all",
                "--prompt",
                "x",
                "--json",
                "--no-log",
                "--timeout",
                "4",
            ];
            processes.push(start(&context, &all));
            std::thread::sleep(Duration::from_millis(random.u64(..300)));
        }
        // One is stopped in the middle, one is killed.
        let (stopped, killed) = (processes.remove(0), processes.remove(0));
        kill(stopped.id(), libc::SIGINT);
        kill(killed.id(), libc::SIGKILL);
        for process in [stopped, killed, processes.remove(0)] {
            end(process);
        }
        server.settle();
        let seen = server.chats();
        times.extend(
            seen[times.len()..]
                .iter()
                .map(|seen| seen.at - began + shift),
        );
        let on = Duration::from_secs(random.u64(20..45));
        shift += on;
        let store = rusqlite::Connection::open(context.state().join("orch.db")).unwrap();
        let on = i64::try_from(on.as_millis()).unwrap();
        store
            .execute("UPDATE quota_use SET expires = expires - ?1", [on])
            .unwrap();
    }
    assert!(times.len() > LIMIT, "{times:?}");
    for (first, time) in times.iter().enumerate() {
        // What is sent arrives when the machine has time for it.
        let end = *time + Duration::from_secs(58);
        let inside = times[first..].iter().filter(|time| **time < end).count();
        assert!(inside <= LIMIT, "{inside} from {time:?} on: {times:?}");
    }
}

/// One call that is stopped, and what must be left of it.
struct Stop {
    name: &'static str,
    settings: &'static str,
    /// What the server does with each request; whatever comes later gets an answer.
    script: Vec<Vec<stub::Do>>,
    /// Calls that are answered before it.
    before: usize,
    /// The event that tells of the state, and what it holds.
    event: (&'static str, &'static str),
    /// Requests that the server has seen by then.
    requests: usize,
    /// Requests of the limit, cool-down, breakers.
    left: Value,
    /// Whether money is spent, and whether some is held.
    money: (bool, bool),
    /// Whether the next call is answered, or told to come later without a request.
    next: bool,
}

const ASK: [&str; 7] = [
    "--agent",
    "a0",
    "--prompt",
    "x",
    "--output",
    "stream-json",
    "--no-log",
];

fn check(stop: &Stop) {
    let name = stop.name;
    let mut script = vec![stub::text("yes"); stop.before];
    script.extend(stop.script.iter().cloned());
    script.push(stub::text("yes"));
    let server = Stub::replies(script);
    let context = Context::new();
    let settings = format!("rate_limit_per_minute: 60, {}", stop.settings);
    let settings = if stop.settings.contains("per_minute") {
        stop.settings.to_owned()
    } else {
        settings
    };
    context.write("orch.yaml", team(&server.url(), 1, &settings));
    for _ in 0..stop.before {
        context.orch(&ASK).exits(0);
    }
    let mut child = start(&context, &ASK);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut events = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let (kind, words) = stop.event;
    let is_it = |event: &Value| event["type"] == kind && event.to_string().contains(words);
    assert!(events.any(|event| is_it(&event)), "{name}: no {kind}");
    crate::sandbox::until("requests", || server.chats().len() == stop.requests);
    kill(child.id(), libc::SIGINT);
    let last = events.last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{name}: {last}");
    assert_eq!(server.chats().len(), stop.requests, "{name}");
    let status = status(&context);
    let limit = &status["limits"][0];
    let breakers = status["breakers"].as_array().unwrap();
    let states: Vec<&Value> = breakers.iter().map(|breaker| &breaker["state"]).collect();
    let left = json!([
        limit["requests_per_minute"]["used"],
        limit["cool_down_s"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0),
        states,
    ]);
    assert_eq!(left, stop.left, "{name}: {status}");
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    let money = ["total_cost_usd", "held_usd"].map(|name| costs[name] != "0.000000");
    assert_eq!((money[0], money[1]), stop.money, "{name}: {costs}");
    let next = context.orch(&[&ASK[..], &["--timeout", "6"]].concat());
    if stop.next {
        assert_eq!(next.code, 0, "{name}: {next:#?}");
        assert_eq!(server.chats().len(), stop.requests + 1, "{name}");
    } else {
        assert_ne!(next.code, 0, "{name}: {next:#?}");
        assert!(next.stdout.contains("try again at"), "{name}: {next:#?}");
        assert_eq!(server.chats().len(), stop.requests, "{name}");
    }
}

#[test]
fn who_stops_in_any_state_leaves_nothing_taken() {
    let said = stub::chunk(&json!({"role": "assistant", "content": "ye"}), None);
    let dead = stub::status(500, &[], "dead");
    let row = |name, script: &[Vec<stub::Do>], event| Stop {
        name,
        settings: "",
        script: script.to_vec(),
        before: 0,
        event,
        requests: 1,
        left: json!([1, false, []]),
        money: (false, false),
        next: true,
    };
    let rows = [
        Stop {
            settings: "rate_limit_per_minute: 1",
            before: 1,
            // The answer before it.
            money: (true, false),
            next: false,
            ..row("behind a limit", &[], ("throttled", "lab"))
        },
        Stop {
            left: json!([1, true, []]),
            next: false,
            ..row(
                "in a cool-down",
                &[stub::status(429, &[("retry-after", "30")], "slow")],
                ("retry", "rate_limited"),
            )
        },
        Stop {
            settings: "retry_delay: 30",
            ..row(
                "in a backoff",
                std::slice::from_ref(&dead),
                ("retry", "server"),
            )
        },
        Stop {
            settings: "circuit_breaker_threshold: 1, circuit_breaker_timeout: 30",
            left: json!([1, false, ["open"]]),
            next: false,
            ..row(
                "before an open breaker",
                std::slice::from_ref(&dead),
                ("breaker", "open"),
            )
        },
        Stop {
            settings: "circuit_breaker_threshold: 1, circuit_breaker_timeout: 1, retry_delay: 0.1",
            requests: 2,
            left: json!([2, false, ["half_open"]]),
            // Nobody knows what became of it.
            money: (false, true),
            ..row(
                "while it tries for all",
                &[dead, vec![stub::Do::Hang]],
                ("breaker", "half_open"),
            )
        },
        Stop {
            money: (true, false),
            ..row(
                "in the answer",
                &[vec![
                    stub::stream_head(),
                    stub::event(&said),
                    stub::Do::Hang,
                ]],
                ("text.delta", "ye"),
            )
        },
    ];
    std::thread::scope(|scope| {
        for row in &rows {
            scope.spawn(|| check(row));
        }
    });
}
