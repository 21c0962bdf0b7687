//! What tasks and conversations must be fast at: `cargo bench --bench tasks`.
//!
//! The model server is a stub on loopback. `cargo bench --bench tasks -- --in DIR` uses another disk.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    unreachable_pub,
    dead_code,
    clippy::zombie_processes,
    reason = "a measuring script: it starts processes, reads the clock and prints"
)]

#[path = "support/process.rs"]
mod process;
#[path = "support/shipped.rs"]
mod shipped;
#[path = "../tests/it/support/stub.rs"]
mod stub;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use orch::message::{Assistant, Message};
use orch::sessions::{self, Session};
use orch::store::{Durability, Store};
use orch::tasks::RunLock;
use orch::tasks::runs::{self, RunState};
use process::{median, ms, peak, run};
use stub::{Do, Stub};

/// How long the server takes for an answer.
const ANSWER: Duration = Duration::from_millis(50);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let base = args.iter().position(|arg| arg == "--in");
    let base = base.map_or(env!("CARGO_TARGET_TMPDIR"), |at| &args[at + 1]);
    let directory = tempfile::tempdir_in(base).unwrap();
    println!("{:<64} {:>12}  aim", "what", "measured");
    wide(directory.path(), 1_000);
    in_order(directory.path(), 200);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(async {
        conversation(&directory.path().join("conversation")).await;
        resumable(&directory.path().join("resumable")).await;
    });
}

fn line(what: &str, measured: &str, aim: &str) {
    println!("{what:<64} {measured:>12}  {aim}");
}

fn configure(directory: &Path, server: &Stub, task: &str) {
    let yaml = format!(
        "settings: {{max_retries: 0}}\nproviders:\n  stub: {{kind: openai, base_url: \"{}\"}}\n\
         agents:\n  a: {{role: You are a., provider: stub, model: stub-model}}\ntasks:\n{task}",
        server.url()
    );
    std::fs::write(directory.join("orch.yaml"), yaml).unwrap();
}

fn task(directory: &Path) -> Command {
    let mut command = Command::new(shipped::orch());
    command
        .args(["--config", "orch.yaml", "--task", "t", "--json", "--no-log"])
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", directory)
        .env("ORCH_STATE_DIR", directory.join("state"));
    command
}

/// Steps that need nobody, 64 at a time.
fn wide(directory: &Path, steps: usize) {
    let server = Stub::start(|_| {
        let mut actions = vec![Do::Wait(ANSWER)];
        actions.extend(stub::text("done"));
        actions
    });
    let step = |step| format!("          - {{id: s{step}, agent: a, needs: [], prompt: p}}\n");
    let inner = (0..steps).map(step).collect::<Vec<_>>().concat();
    let task_of = format!(
        "  t:\n    steps:\n      - id: all\n        max_parallel: 64\n        steps:\n{inner}"
    );
    configure(directory, &server, &task_of);
    let took = [(); 3].map(|()| run(task(directory)));
    let ideal = ANSWER * u32::try_from(steps.div_ceil(64)).unwrap();
    let wall = median(&took, |took| took.wall);
    line(
        &format!(
            "{steps} steps, 64 at once, 50 ms each (ideal {})",
            ms(ideal)
        ),
        &ms(wall),
        &format!(
            "{:.2} of the ideal, at most 1.3",
            wall.as_secs_f64() / ideal.as_secs_f64()
        ),
    );
    let memory = format!("{:.0} MB", peak(&took) as f64 / 1024.0);
    line("  their memory at its peak", &memory, "under 100 MB");
}

/// Steps one after the other over a server that answers at once: the call itself is in it.
fn in_order(directory: &Path, steps: usize) {
    let server = Stub::replies([stub::text("done")]);
    let step = |step| format!("      - {{id: s{step}, agent: a, prompt: p}}\n");
    let chain = |count: usize| {
        let inner = (0..count).map(step).collect::<Vec<_>>().concat();
        configure(directory, &server, &format!("  t:\n    steps:\n{inner}"));
        let took = [(); 3].map(|()| run(task(directory)));
        median(&took, |took| took.wall)
    };
    let (short, long) = (chain(1), chain(steps + 1));
    let each = long.saturating_sub(short) / u32::try_from(steps).unwrap();
    line(
        "a step after another, its call included",
        &ms(each),
        "journal under 3 ms",
    );
}

fn turn(number: usize) -> Vec<Message> {
    let text = format!("{number} {}", "what was said ".repeat(20));
    vec![
        Message::User { text: text.clone() },
        Message::Assistant(Assistant {
            text,
            ..Assistant::default()
        }),
    ]
}

/// A conversation of 5,000 turns.
async fn conversation(state: &Path) {
    let store = Store::open_direct(state).unwrap();
    let mut session = Session::begin("a", None);
    let mut took = Vec::new();
    for number in 0..5_000 {
        let turn = turn(number);
        let start = Instant::now();
        session = sessions::append(&store, &session, &number.to_string(), &turn, Vec::new())
            .await
            .unwrap();
        took.push(start.elapsed());
    }
    let middle = |part: &[Duration]| {
        let mut part = part.to_vec();
        part.sort();
        part[part.len() / 2]
    };
    line(
        "a turn appended to a new conversation",
        &ms(middle(&took[..500])),
        "",
    );
    line(
        "a turn appended to 5,000",
        &ms(middle(&took[4_500..])),
        "the same",
    );
    drop(store);
    let mut opened: Vec<Duration> = (0..9)
        .map(|_| {
            let start = Instant::now();
            let store = Store::open_direct(state).unwrap();
            let session = sessions::last(&store, "a").unwrap().unwrap();
            assert_eq!(sessions::history(&store, &session).unwrap().len(), 10_000);
            start.elapsed()
        })
        .collect();
    opened.sort();
    line(
        "a conversation of 5,000 turns opened",
        &ms(opened[4]),
        "under 50 ms",
    );
}

/// What one prompt pays for a run that can be gone on with: the lock, the entry and the end of it, which
/// is a part of the turn's own transaction in a run and stands alone here.
async fn resumable(state: &Path) {
    let store = Store::open_direct(state).unwrap();
    let plan = "x".repeat(1_000);
    let mut took: Vec<Duration> = Vec::new();
    for number in 0..400 {
        let run = format!("run-{number}");
        let start = Instant::now();
        let lock = RunLock::take(state, &run).unwrap().unwrap();
        let (named, normal) = (("agent", "a"), Durability::Normal);
        runs::enter(&store, &run, named, plan.clone(), normal)
            .await
            .unwrap();
        runs::set_state(&store, &run, RunState::Done, Some(plan.clone()), normal)
            .await
            .unwrap();
        drop(lock);
        took.push(start.elapsed());
    }
    took.sort();
    line(
        "what a prompt pays for a run that can be resumed, at most",
        &ms(took[took.len() / 2]),
        "under 0.2 ms",
    );
}
