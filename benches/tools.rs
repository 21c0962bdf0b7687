//! What tools cost, beside what everybody has: `cargo bench --bench tools [-- DIRECTORY]`.
//!
//! `grep` in process against `rg` over a large tree (the sources of the cargo registry unless a
//! directory is named), and a read through the workspace against a plain one. Medians of
//! alternating runs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring script: it starts processes, reads the clock and prints"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orch::event::Events;
use orch::message::ToolCall;
use orch::redact::Redactor;
use orch::sandbox::{Policy, SandboxSettings};
use orch::tools::{Approver, ToolContext, ToolStatus, Workspace, execute};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde_json::{Value, json};

const RUNS: usize = 15;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let directory = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"))
        .map_or_else(registry, PathBuf::from);
    grep(&runtime, &directory);
    reads(&runtime);
}

fn registry() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cargo"),
        PathBuf::from,
    );
    home.join("registry/src")
}

fn context(directory: &Path) -> ToolContext {
    let policy = Policy::new(directory, directory, &SandboxSettings::default()).unwrap();
    ToolContext {
        agent: "bench".into(),
        tools: vec!["grep".to_owned(), "read".to_owned()],
        workspace: Arc::new(Workspace::open(Arc::new(policy)).unwrap()),
        servers: Arc::default(),
        http: Arc::default(),
        approvals: Arc::default(),
        approver: Approver::Nobody,
        redactor: Redactor::default(),
    }
}

fn call(tool: &str, arguments: &Value) -> ToolCall {
    ToolCall {
        id: "1".to_owned(),
        name: tool.to_owned(),
        arguments: arguments.to_string(),
        ..ToolCall::default()
    }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(work());
    start.elapsed()
}

fn grep(runtime: &tokio::runtime::Runtime, directory: &Path) {
    let context = context(directory);
    println!("grep over {} (ms, medians of {RUNS})", directory.display());
    println!("{:>28} {:>8} {:>8} {:>7}", "pattern", "orch", "rg", "ratio");
    for pattern in [
        "unsafe fn \\w+_raw",
        "ZZZ_not_there",
        "fn main\\(",
        "(?i)todo|fixme",
        "impl<.*> .* for",
        "\\bself\\b",
    ] {
        let call = call("grep", &json!({"pattern": pattern, "path": "."}));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(timed(|| {
                let outcome = runtime.block_on(execute(&context, &call, &Events::nobody()));
                assert_eq!(outcome.unwrap().status, ToolStatus::Ok);
            }));
            theirs.push(timed(|| {
                Command::new("rg")
                    .args([
                        "--hidden",
                        "--glob=!.git",
                        "--line-number",
                        "--no-heading",
                        pattern,
                        ".",
                    ])
                    .current_dir(directory)
                    .output()
                    .expect("`rg` (ripgrep) is needed to compare with")
            }));
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "{pattern:>28} {ours:>8.1} {theirs:>8.1} {:>7.2}",
            ours / theirs
        );
    }
    let start = median(
        (0..RUNS)
            .map(|_| timed(|| Command::new("rg").arg("--version").output()))
            .collect(),
    );
    println!("{:>28} {:>8} {start:>8.1}", "(start alone)", "");
}

fn reads(runtime: &tokio::runtime::Runtime) {
    const CALLS: u32 = 20_000;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::create_dir(directory.path().join("d")).unwrap();
    let file = directory.path().join("d/file.txt");
    std::fs::write(&file, "one line of text\n".repeat(60)).unwrap();
    let context = context(directory.path());
    let call = call("read", &json!({"path": "d/file.txt"}));
    let root = rustix::fs::open(directory.path(), OFlags::PATH, Mode::empty()).unwrap();
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let each = |work: &dyn Fn()| {
        let times = (0..RUNS).map(|_| timed(|| (0..CALLS / 10).for_each(|_| work())));
        median(times.collect()) * 1e3 / f64::from(CALLS / 10)
    };
    println!("\na file of 1 KiB (µs a call, medians of {RUNS})");
    for (name, work) in [
        (
            "open (a path)",
            &(|| drop(rustix::fs::open(&file, flags, Mode::empty()))) as &dyn Fn(),
        ),
        ("openat", &|| {
            drop(rustix::fs::openat(
                &root,
                "d/file.txt",
                flags,
                Mode::empty(),
            ));
        }),
        ("openat2, beneath", &|| {
            drop(rustix::fs::openat2(
                &root,
                "d/file.txt",
                flags,
                Mode::empty(),
                resolve,
            ));
        }),
        ("realpath, then open", &|| {
            let real = file.canonicalize().unwrap();
            assert!(real.starts_with(directory.path()));
            drop(rustix::fs::open(&real, flags, Mode::empty()));
        }),
        ("std::fs::read", &|| drop(std::fs::read(&file))),
        ("the read tool, whole", &|| {
            let outcome = runtime.block_on(execute(&context, &call, &Events::nobody()));
            assert_eq!(outcome.unwrap().status, ToolStatus::Ok);
        }),
    ] {
        println!("{name:>28} {:>8.2}", each(work));
    }
}
