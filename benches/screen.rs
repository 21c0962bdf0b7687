//! How fast answers are rendered and keys are echoed: `cargo bench --bench screen`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "a measuring script: it starts processes, reads the clock and prints"
)]

#[path = "../tests/it/support/apart.rs"]
mod apart;
#[path = "support/shipped.rs"]
mod shipped;
#[path = "../tests/it/support/stub.rs"]
mod stub;
#[path = "../tests/it/support/terminal.rs"]
mod terminal;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use orch::render::{Style, rendered};
use serde_json::json;
use stub::{Do, Stub};
use terminal::Terminal;

/// Keys that are pressed.
const KEYS: usize = 200;

fn main() {
    markdown();
    echo();
}

fn markdown() {
    let part = "## Title\n\nSome **bold** words, `code`, 漢字 and 😀, and enough of them to be wrapped at eighty \
        columns.\n\n- one\n- two\n\n```rust\nfn main() { println!(\"hello\"); }\n```\n\n| a | b |\n|---|---|\n| x | 1 |\n\n";
    let text = part.repeat(1_000_000 / part.len() + 1);
    let mut times: Vec<Duration> = (0..7)
        .map(|_| {
            let begun = Instant::now();
            assert!(!rendered(&text, Style { color: true }, 80).is_empty());
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{} bytes of Markdown: {:.0?} (200 ms)",
        text.len(),
        times[3]
    );
}

/// From a key to its place on the screen, at the prompt of a session; alone, and while ten agents of
/// another process stream.
fn echo() {
    let server = Stub::start(|_| {
        let mut doing = vec![stub::stream_head()];
        for _ in 0..4_000 {
            doing.push(stub::event(&stub::chunk(
                &json!({"content": "word "}),
                None,
            )));
            doing.push(Do::Wait(Duration::from_millis(5)));
        }
        doing
    });
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(base).unwrap();
    let directory = tempfile::Builder::new()
        .prefix("screen-")
        .tempdir_in(base)
        .unwrap();
    let mut config = format!(
        "providers:\n  stub: {{kind: openai, base_url: \"{}\"}}\nagents:\n",
        server.url()
    );
    for agent in 0..10 {
        config += &format!("  a{agent}: {{role: x, provider: stub, model: m}}\n");
    }
    std::fs::write(directory.path().join("orch.yaml"), config).unwrap();
    let orch = |arguments: &[&str]| {
        let mut command = Command::new(shipped::orch());
        command
            .args(["--config", "orch.yaml"])
            .args(arguments)
            .current_dir(&directory)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", directory.path())
            .env("ORCH_STATE_DIR", directory.path().join("state"))
            .env("TERM", "xterm")
            .stdin(Stdio::null());
        command
    };
    let mut session = Terminal::start(orch(&[]), 100, 24);
    session.prompt("[a0] >");
    measure(&mut session, "alone");
    let mut busy = orch(&["--all", "--prompt", "go"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while server.chats().len() < 10 {
        std::thread::sleep(Duration::from_millis(10));
    }
    measure(&mut session, "beside ten agents that stream");
    busy.kill().unwrap();
    busy.wait().unwrap();
    session.line("/quit");
    session.ends(0);
}

fn measure(session: &mut Terminal, what: &str) {
    let mut times: Vec<Duration> = (0..KEYS)
        .map(|key| {
            let column = u16::try_from("[a0] > ".len() + key % 50 + 1).unwrap();
            let begun = Instant::now();
            session.keys("x");
            session.wait("the key", |screen| screen.cursor_position().1 == column);
            let took = begun.elapsed();
            if key % 50 == 49 {
                session.keys("\x15");
                session.prompt("[a0] >");
            }
            took
        })
        .collect();
    times.sort();
    println!(
        "a key to its echo, {what}: median {:.2?}, 99 of 100 within {:.2?} (5 ms)",
        times[KEYS / 2],
        times[KEYS * 99 / 100]
    );
}
