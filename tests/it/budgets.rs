//! No surprise bill: caps hold over parallel calls, processes, kills; the ledger never says less than was
//! served.

mod at_most;
mod checks;
mod counted;
mod damaged;
mod delegated;
mod disk;
mod dry_run;
mod lies;
mod local;
mod processes;
mod recorded;
mod reports;
mod resumed;
mod shares;
mod spelled;
mod stopped;
mod told;
mod unseen;
mod warned;

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bad_input::kill;
use crate::support::{Context, Stub, ran, stub};

/// Rounds of a random test: few here, as many as promised with `ORCH_TEST_LONG=1`.
pub fn rounds(short: usize, long: usize) -> usize {
    if std::env::var_os("ORCH_TEST_LONG").is_some() {
        long
    } else {
        short
    }
}

fn money(value: &Value) -> i64 {
    let text = value
        .as_str()
        .unwrap_or_else(|| panic!("no money: {value}"));
    text.parse::<orch::usage::Usd>().unwrap().pico()
}

/// A result and what it consists of add up, and to what the ledger says of the run.
pub fn tells_the_ledger(context: &Context, result: &Value, what: &str) {
    let id = result["run_id"].as_str().unwrap();
    let costs = ["--costs", "--run", id, "--json"];
    let costs = context.orch(&costs).exits(0).json();
    for (told, charged) in [
        (&result["cost_usd"], "total_cost_usd"),
        (&result["attempts"], "total_requests"),
        (&result["usage"]["input_tokens"], "total_input_tokens"),
        (&result["usage"]["output_tokens"], "total_output_tokens"),
    ] {
        assert_eq!(told, &costs[charged], "{what}: {charged}: {result:#}");
    }
    adds_up(result, what);
}

fn adds_up(result: &Value, what: &str) {
    let Some(parts) = result["results"].as_array() else {
        return;
    };
    let sum: i64 = parts.iter().map(|part| money(&part["cost_usd"])).sum();
    assert_eq!(sum, money(&result["cost_usd"]), "{what}: {result:#}");
    for part in parts {
        adds_up(part, what);
    }
}

/// One agent `a` of a model at these prices (USD a million tokens), with these settings.
fn priced(url: &str, input: f64, output: f64, settings: &str, agent: &str) -> String {
    format!(
        "settings: {{max_retries: 0, {settings}}}\n\
         providers:\n  stub: {{kind: openai, base_url: \"{url}\", prices: {{m: {{input: {input}, output: {output}}}}}}}\n\
         agents:\n  a: {{role: R, provider: stub, model: m, {agent}}}\n"
    )
}

#[test]
fn eight_processes_of_thirty_cents_share_a_dollar() {
    let server = Stub::start(|_| {
        let mut actions = vec![stub::Do::Wait(Duration::from_millis(1500))];
        actions.extend(stub::text_with_usage("ok", 10, 300));
        actions
    });
    let context = Context::new();
    let yaml = priced(
        &server.url(),
        0.0,
        1000.0,
        "budget: {day_usd: 1.00}",
        "max_output_tokens: 300",
    );
    context.write("orch.yaml", yaml);
    let children: Vec<_> = (0..8)
        .map(|_| {
            context
                .command(&[
                    "--config",
                    "orch.yaml",
                    "--agent",
                    "a",
                    "--prompt",
                    "x",
                    "--json",
                ])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut codes: Vec<i32> = children
        .into_iter()
        .map(|child| ran(child.wait_with_output().unwrap()).code)
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 0, 0, 7, 7, 7, 7, 7]);
    assert_eq!(server.chats().len(), 3);
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_cost_usd"], "0.900000");
    assert_eq!(costs["held_usd"], "0.000000");
    // A run without a server behind it is refused in words.
    let refused = context.orch(&["--agent", "a", "--prompt", "x"]).exits(7);
    for words in ["day", "1.00", "0.10"] {
        assert!(
            refused.stderr.contains(words),
            "{words}: {}",
            refused.stderr
        );
    }
}

#[test]
fn eight_parallel_agents_of_thirty_cents_share_a_dollar() {
    let server = Stub::start(|_| {
        let mut actions = vec![stub::Do::Wait(Duration::from_millis(500))];
        actions.extend(stub::text_with_usage("ok", 10, 300));
        actions
    });
    let context = Context::new();
    let mut yaml = priced(
        &server.url(),
        0.0,
        1000.0,
        "budget: {run_usd: 1.00}",
        "max_output_tokens: 300",
    );
    for number in 0..7 {
        yaml.push_str(&format!(
            "  b{number}: {{role: R, provider: stub, model: m, max_output_tokens: 300}}\n"
        ));
    }
    context.write("orch.yaml", yaml);
    let result = context
        .orch(&["--all", "--prompt", "x", "--json"])
        .exits(8)
        .json();
    assert_eq!(server.chats().len(), 3);
    assert_eq!(result["cost_usd"], "0.900000");
    let refused: Vec<&Value> = result["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|result| result["error"]["class"] == "budget")
        .collect();
    assert_eq!(refused.len(), 5);
}

#[test]
fn a_run_stops_at_its_budget_and_keeps_what_was_finished() {
    let server = Stub::start(|_| stub::tool_calls(&[("c", "list_dir", json!({}))]));
    let context = Context::new();
    let yaml = priced(
        &server.url(),
        0.0,
        1000.0,
        "",
        "max_output_tokens: 5, max_turns: 100, tools: [list_dir]",
    );
    context.write("orch.yaml", yaml);
    let result = context
        .orch(&[
            "--agent", "a", "--prompt", "x", "--budget", "0.018", "--json",
        ])
        .exits(7)
        .json();
    // Five tokens a turn at a tenth of a cent: three turns fit, a fourth would be over.
    assert_eq!(result["cost_usd"], "0.015000");
    assert_eq!(result["tools"].as_array().unwrap().len(), 3);
    assert_eq!(server.chats().len(), 3);
}

#[test]
fn whatever_is_killed_is_in_the_ledger() {
    // Ten tokens in and five out at a tenth of a cent each: 0.015 USD an answer.
    let server = Stub::start(|seen| {
        let mut actions = vec![stub::Do::Wait(Duration::from_millis(3))];
        if seen.tool_messages().len() < 6 {
            actions.extend(stub::tool_calls(&[("c", "list_dir", json!({}))]));
        } else {
            actions.extend(stub::text("done"));
        }
        actions
    });
    let context = Context::new();
    let yaml = priced(
        &server.url(),
        1000.0,
        1000.0,
        "budget: {day_usd: 40}",
        "max_output_tokens: 5, tools: [list_dir]",
    );
    context.write("orch.yaml", yaml);
    let (mut random, mut finished) = (fastrand::Rng::with_seed(7), 0);
    for _ in 0..rounds(15, 200) {
        let mut child = context
            .command(&[
                "--config",
                "orch.yaml",
                "--agent",
                "a",
                "--prompt",
                "x",
                "--no-log",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_micros(random.u64(2_000..90_000));
        while Instant::now() < until && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if child.try_wait().unwrap().is_none() {
            kill(child.id(), libc::SIGKILL);
        }
        let status = child.wait().unwrap();
        finished += usize::from(status.success());
    }
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    let (spent, held) = (money(&costs["total_cost_usd"]), money(&costs["held_usd"]));
    let served = i64::try_from(server.served()).unwrap() * 15_000_000_000;
    assert!(
        spent + held >= served,
        "ledger {spent} + {held}, served {served}, finished {finished}"
    );
    assert!(
        spent + held <= 40_000_000_000_000,
        "over the budget: {costs}"
    );
    assert!(served <= 40_000_000_000_000);
    // Every attempt is one row, nothing twice, and the rows add up.
    let csv = context.orch(&["--costs", "--csv"]).exits(0).stdout;
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|title| *title == name)
            .unwrap_or_else(|| panic!("{header:?}"))
    };
    let (run, turn, attempt) = (column("run_id"), column("turn"), column("attempt"));
    let mut keys: Vec<String> = lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .map(|cells| format!("{} {} {}", cells[run], cells[turn], cells[attempt]))
        .collect();
    assert_eq!(costs["total_requests"], keys.len());
    assert!(keys.len() >= server.served());
    keys.sort_unstable();
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count);
    // A store that was left in the middle is sound.
    context.orch(&["check", "--store"]).exits(0);
}
