//! What the ledger must be fast at: `cargo bench --bench ledger`.
//!
//! Prints what a short command pays for it, how many attempts a second one process settles, and how long an attempt
//! waits for its hold while four processes share one file, beside what the disk takes for the least of that.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring script: it starts processes, reads the clock and prints"
)]

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use orch::costs::report::{Filter, report};
use orch::costs::{
    Attempt, Budget, BudgetSettings, Caps, Ledger, Outcome, PriceOverride, Prices, PromptSize,
    Scope,
};
use orch::store::Store;
use orch::usage::{Meter, Usage, Usd};

/// Each attempt is of a run of its own.
const APART: &str = "--apart";

const AGENT: &str = "reviewer";

fn main() {
    let args: Vec<String> = std::env::args().collect();
    for (flag, is_ledger) in [("--paced", true), ("--overwrite", false)] {
        if let Some(at) = args.iter().position(|arg| arg == flag) {
            let path = Path::new(&args[at + 1]);
            let number = |at: usize| args[at].parse().unwrap();
            let (rate, seconds) = (number(at + 2), number(at + 3));
            let apart = args.iter().any(|arg| arg == APART);
            if is_ledger {
                paced(path, rate, seconds, apart);
            } else {
                overwrite(path, rate, seconds);
            }
            return;
        }
    }
    if let Some(at) = args.iter().position(|arg| arg == "--short") {
        return short_command(Path::new(&args[at + 1]));
    }
    let base = args.iter().position(|arg| arg == "--in");
    let base = base.map_or(env!("CARGO_TARGET_TMPDIR"), |at| &args[at + 1]);
    let directory = tempfile::tempdir_in(base).unwrap();
    let state = |name: &str| directory.path().join(name);
    println!("{:<58} {:>12}  aim", "what", "measured");
    short_command(&state("short"));
    throughput(&state("one"), 1, 2_000);
    throughput(&state("many"), 64, 20_000);
    four_processes(&state("four"), false);
    four_processes(&state("apart"), true);
    reports(&state("many"));
}

fn line(what: &str, measured: &str, aim: &str) {
    println!("{what:<58} {measured:>12}  {aim}");
}

fn attempt(run_id: &str, agent: &str, turn: u32) -> Attempt {
    Attempt {
        run_id: run_id.into(),
        agent: agent.into(),
        session: Some(format!("{run_id}/{agent}").into()),
        turn,
        attempt: 1,
        provider: "openai".to_owned(),
        model: "openai/gpt-4o".to_owned(),
        price: Some(PriceOverride {
            input: "2.5".parse().unwrap(),
            output: "10".parse().unwrap(),
            cache_read: None,
            cache_write: None,
        }),
        prompt: PromptSize::of("a prompt of the usual kind, not long"),
        max_output_tokens: 1_000,
        ..Attempt::default()
    }
}

fn caps(agent: &str) -> Caps {
    let limit = Usd::from_pico(i64::MAX / 2);
    let scopes = [
        Scope::Run,
        Scope::Agent(agent.into()),
        Scope::Session,
        Scope::Day,
        Scope::Month,
    ];
    Caps {
        budgets: scopes.map(|scope| Budget { scope, limit }).into(),
        ..Caps::default()
    }
}

fn ledger(state: &Path) -> Ledger {
    Ledger::new(Store::open(state).unwrap(), Arc::new(Prices::built_in()))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

/// One attempt; what it waited for.
async fn one(ledger: &Ledger, caps: &Caps, run_id: &str, turn: u32) -> [Duration; 2] {
    of_agent(ledger, caps, (run_id, AGENT), turn).await
}

/// One attempt of an agent; how long it waited for its hold, and from the beginning for its leave to be sent.
async fn of_agent(
    ledger: &Ledger,
    caps: &Caps,
    (run_id, agent): (&str, &str),
    turn: u32,
) -> [Duration; 2] {
    let attempt = attempt(run_id, agent, turn);
    let began = Instant::now();
    let hold = ledger
        .start_attempt(&attempt, caps, Arc::new(Meter::default()))
        .await
        .unwrap();
    let held = began.elapsed();
    hold.clearance().wait().await.unwrap();
    let may_leave = began.elapsed();
    let outcome = Outcome {
        usage: Some(Usage {
            input_tokens: 300,
            output_tokens: 200,
            ..Usage::default()
        }),
        ..Outcome::default()
    };
    hold.settle(outcome).await.unwrap();
    [held, may_leave]
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

/// As many bytes as two transactions write.
const WRITTEN: usize = 16 << 10;

/// The least that a durable hold needs of a disk: writes over a part of a file that has its size, and syncs it, as often
/// as a hold is made; prints what each took.
fn overwrite(file: &Path, rate: u32, seconds: u32) {
    let file = std::fs::File::options().write(true).open(file).unwrap();
    let parts = usize::try_from(file.metadata().unwrap().len()).unwrap() / WRITTEN;
    let mut part = std::process::id() as usize * 97;
    let period = Duration::from_secs(1) / rate;
    let mut due = Instant::now();
    for _ in 0..rate * seconds {
        due += period;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        part = (part + 1) % parts;
        let began = Instant::now();
        file.write_all_at(&[7; WRITTEN], (part * WRITTEN) as u64)
            .unwrap();
        file.sync_data().unwrap();
        println!("{}", began.elapsed().as_micros());
    }
}

fn short_command(state: &Path) {
    let runtime = runtime();
    let mut took: Vec<Duration> = Vec::new();
    let mut parts = [const { Vec::new() }; 3];
    for _ in 0..1_001 {
        let run_id = uuid::Uuid::now_v7().to_string();
        let began = Instant::now();
        let ledger = ledger(state);
        let opened = Instant::now();
        runtime.block_on(one(&ledger, &caps(AGENT), &run_id, 1));
        let settled = Instant::now();
        drop(ledger);
        took.push(began.elapsed());
        parts[0].push(opened - began);
        parts[1].push(settled - opened);
        parts[2].push(settled.elapsed());
    }
    let first = took.remove(0);
    for (name, mut part) in ["open", "hold, settle", "close"].into_iter().zip(parts) {
        part.sort();
        line(
            &format!("  {name}: median"),
            &format!("{:.0?}", percentile(&part, 50)),
            "",
        );
    }
    took.sort();
    let (median, worst) = (percentile(&took, 50), percentile(&took, 99));
    line(
        "open, hold, settle, close: the first ever",
        &format!("{first:.1?}"),
        "",
    );
    line(
        "open, hold, settle, close: median",
        &format!("{median:.0?}"),
        "1.5 ms",
    );
    line(
        "open, hold, settle, close: p99",
        &format!("{worst:.1?}"),
        "",
    );
}

fn throughput(state: &Path, in_flight: u32, attempts: u32) {
    let ledger = ledger(state);
    let caps = caps(AGENT);
    let run_id = uuid::Uuid::now_v7().to_string();
    let began = Instant::now();
    runtime().block_on(async {
        let lanes = (0..in_flight).map(|lane| {
            let (ledger, caps, run_id) = (&ledger, &caps, &run_id);
            async move {
                for turn in 0..attempts / in_flight {
                    one(ledger, caps, run_id, lane * 10_000 + turn).await;
                }
            }
        });
        futures_util::future::join_all(lanes).await;
    });
    drop(ledger);
    let per_second = f64::from(attempts) / began.elapsed().as_secs_f64();
    let aim = if in_flight > 1 { "5000" } else { "" };
    line(
        &format!("settled attempts a second, {in_flight} in flight"),
        &format!("{per_second:.0}"),
        aim,
    );
}

/// As many attempts as are due, none waiting for the one before, of ten agents of one run or, `apart`, each of a run of
/// its own; prints what each waited for its hold, and until it could be sent.
fn paced(state: &Path, rate: u32, seconds: u32, apart: bool) {
    let ledger = ledger(state);
    let names: Vec<String> = if apart {
        vec![AGENT.to_owned()]
    } else {
        (0..10).map(|number| format!("{AGENT}-{number}")).collect()
    };
    let agents: Vec<_> = names
        .into_iter()
        .map(|name| Arc::new((caps(&name), name)))
        .collect();
    let new_run = || uuid::Uuid::now_v7().to_string();
    let the_run = new_run();
    let waits = runtime().block_on(async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
        let mut running = tokio::task::JoinSet::new();
        for turn in 0..rate * seconds {
            ticks.tick().await;
            let agent = Arc::clone(&agents[turn as usize % agents.len()]);
            let run_id = if apart { new_run() } else { the_run.clone() };
            let ledger = ledger.clone();
            running.spawn(async move {
                let (caps, name) = &*agent;
                of_agent(&ledger, caps, (&run_id, name), turn).await
            });
        }
        running.join_all().await
    });
    for [held, may_leave] in waits {
        println!("{} {}", held.as_micros(), may_leave.as_micros());
    }
}

/// The columns of what four processes of this program print at once, each in order, and how many lines a second.
fn four(args: &[&str], path: &Path) -> (Vec<Vec<Duration>>, f64) {
    let began = Instant::now();
    let children: Vec<_> = (0..4)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .arg(args[0])
                .arg(path)
                .args(["500", "5"])
                .args(&args[1..])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut columns: Vec<Vec<Duration>> = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            for (at, number) in line.split(' ').enumerate() {
                columns.resize(columns.len().max(at + 1), Vec::new());
                columns[at].push(Duration::from_micros(number.parse().unwrap()));
            }
        }
    }
    let per_second = columns[0].len() as f64 / began.elapsed().as_secs_f64();
    for column in &mut columns {
        column.sort();
    }
    (columns, per_second)
}

/// The holds of four processes, beside what their disk takes.
fn four_processes(state: &Path, apart: bool) {
    let (who, more) = if apart {
        ("each attempt a run", &["--paced", APART][..])
    } else {
        ("each a run of ten agents", &["--paced"][..])
    };
    let bare = state.with_extension("disk");
    let file = std::fs::File::create(&bare).unwrap();
    (&file).write_all(&vec![0; 16 << 20]).unwrap();
    file.sync_all().unwrap();
    let (syncs, _) = four(&["--overwrite"], &bare);
    for percent in [50, 99] {
        let what = format!("four processes that only write and sync: p{percent}");
        line(
            &what,
            &format!("{:.0?}", percentile(&syncs[0], percent)),
            "",
        );
    }
    drop(ledger(state));
    let (waits, per_second) = four(more, state);
    let per_second = format!("{per_second:.0}");
    let what = format!("four processes, {who}: a second, together");
    line(&what, &per_second, "2000");
    for (percent, aim) in [(50, "0.3 ms"), (90, ""), (99, "5 ms"), (100, "")] {
        let what = format!("four processes, {who}: p{percent} of a hold");
        line(
            &what,
            &format!("{:.0?}", percentile(&waits[0], percent)),
            aim,
        );
    }
    for percent in [50, 99] {
        let what = format!("  and until it is on the disk: p{percent}");
        line(
            &what,
            &format!("{:.0?}", percentile(&waits[1], percent)),
            "",
        );
    }
}

fn reports(state: &Path) {
    let store = Store::open(state).unwrap();
    let began = Instant::now();
    let report = report(
        &store,
        &Filter::default(),
        &BudgetSettings::default(),
        SystemTime::now(),
    )
    .unwrap();
    let what = format!("a report over {} attempts", report.total_requests);
    line(&what, &format!("{:.1?}", began.elapsed()), "");
}
