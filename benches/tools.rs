//! What tools cost, beside what everybody has: `cargo bench --bench tools [-- DIRECTORY]`.
//!
//! A command in the sandbox against a plain one and against `codex sandbox` (from npm, where it is in
//! `PATH`); `grep` in process against `rg` over a large tree (the sources of the cargo registry unless
//! a directory is named); a read through the workspace against a plain one. Medians of alternating
//! runs. `-- commands` measures only the first.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a measuring script: it starts processes, reads the clock and prints"
)]

#[path = "support/shipped.rs"]
mod shipped;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
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

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // Commands in the sandbox start this program again.
    if let Some(code) = orch::sandbox::run_as_helper(&arguments) {
        return code;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let word = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    commands(&runtime);
    if word.as_deref() == Some("commands") {
        return ExitCode::SUCCESS;
    }
    let directory = word.map_or_else(registry, PathBuf::from);
    grep(&runtime, &directory);
    reads(&runtime);
    ExitCode::SUCCESS
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
        tools: ["bash", "grep", "read"].map(str::to_owned).into(),
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

/// How long a directory must have been left alone to be known again by its time.
const SETTLED: Duration = Duration::from_secs(4);

/// What the sandbox adds to a command, and what the size of the workspace adds to that.
fn commands(runtime: &tokio::runtime::Runtime) {
    const RUNS: usize = 60;
    const SIZES: [usize; 3] = [0, 10_000, 100_000];
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = |name: &str| directory.path().join(name);
    let of_size = |entries: usize| {
        let workspace = path(&entries.to_string());
        std::fs::create_dir(&workspace).unwrap();
        for number in 0..entries / 100 {
            let below = workspace.join(format!("d{number}"));
            std::fs::create_dir(&below).unwrap();
            for number in 0..99 {
                std::fs::write(below.join(number.to_string()), "").unwrap();
            }
        }
        context(&workspace)
    };
    let contexts = SIZES.map(|entries| (entries, of_size(entries)));
    let yaml = "agents: {a: {role: R, provider: openai, model: openai/gpt-4o, tools: [bash]}}\n";
    for entries in SIZES {
        std::fs::write(path(&format!("{entries}/orch.yaml")), yaml).unwrap();
    }
    std::thread::sleep(SETTLED);
    let command = |words: &[&str], entries: usize| {
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(path(&entries.to_string()))
            .env("HOME", directory.path())
            .env("ORCH_STATE_DIR", path("state"));
        command
    };
    let tool = [
        shipped::orch().to_str().unwrap(),
        "tool",
        "bash",
        r#"{"command": "true"}"#,
    ];
    let mut alone = SIZES.map(|entries| command(&tool, entries));
    let mut plain = command(&["bash", "-c", "true"], 0);
    let mut peer = command(&["codex", "sandbox", "--", "bash", "-c", "true"], 0);
    let has_peer = succeeds(&mut peer);
    // The first process reads a workspace, and the others know it.
    assert!(alone.iter_mut().all(succeeds));
    let mut took = [const { Vec::new() }; 8];
    for _ in 0..RUNS {
        took[0].push(timed(|| assert!(succeeds(&mut plain))));
        if has_peer {
            took[1].push(timed(|| assert!(succeeds(&mut peer))));
        }
        for (took, alone) in took[2..5].iter_mut().zip(&mut alone) {
            took.push(timed(|| assert!(succeeds(alone))));
        }
        for (took, (_, context)) in took[5..].iter_mut().zip(&contexts) {
            let call = call("bash", &json!({"command": "true"}));
            took.push(timed(|| {
                let outcome = runtime.block_on(execute(context, &call, &Events::nobody()));
                assert_eq!(outcome.unwrap().status, ToolStatus::Ok);
            }));
        }
    }
    let [plain, peer, rest @ ..] =
        took.map(|took| if took.is_empty() { 0.0 } else { median(took) });
    let more = rest.map(|took| took - plain);
    println!("a command that does nothing (ms, medians of {RUNS}); bash alone {plain:.2}");
    println!(
        "`orch tool bash`, empty workspace: {:.2} more (8, aim 5)",
        more[0]
    );
    if has_peer {
        let peer = peer - plain;
        println!(
            "`codex sandbox`: {peer:.2} more; of that `orch tool bash` {:.2}, a call within a run {:.2} (0.2)",
            more[0] / peer,
            more[SIZES.len()] / peer
        );
    } else {
        println!("`codex` is not in PATH: not compared");
    }
    for (kind, more) in ["`orch tool bash`", "a call within a run"]
        .into_iter()
        .zip(more.chunks(SIZES.len()))
    {
        for (entries, more) in SIZES.iter().zip(more) {
            println!("{kind}, {entries} entries: {more:.2} more (1 for 10,000 entries)");
        }
    }
    println!();
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
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
