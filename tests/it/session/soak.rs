//! A session that is used for a while, at random, and stays usable and small.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Context, Stub, agent_config, stub, terminal::Terminal};

/// How long; `ORCH_TEST_LONG=1` makes it ten minutes.
fn how_long() -> Duration {
    if std::env::var_os("ORCH_TEST_LONG").is_some() {
        Duration::from_mins(10)
    } else {
        Duration::from_secs(20)
    }
}

/// Memory beyond this is no play of the allocator, KiB.
const GROWTH: u64 = 8 * 1024;

const SIZES: [(u16, u16); 4] = [(80, 24), (60, 12), (100, 30), (80, 24)];

fn resident_kib(id: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "a round at random is told, to be repeated"
)]
fn a_session_stays_usable_and_small() {
    let server = Stub::start(|seen| {
        if seen.last_text().starts_with("hang") {
            let words = format!("begun {}", seen.number);
            let begun = stub::event(&stub::chunk(&json!({"content": words}), None));
            return vec![stub::stream_head(), begun, stub::Do::Hang];
        }
        stub::text(&format!(
            "# Answer {}\n\n| 漢字 | b |\n|---|---|\n| 😀 | {} |\n",
            seen.number,
            "x ".repeat(200)
        ))
    });
    let context = Context::new();
    let good = format!(
        "{}  b: {{role: You are b., provider: stub, model: stub-model}}\n",
        agent_config(&server.url(), "")
    );
    context.write("orch.yaml", &good);
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(command, 80, 24);
    terminal.prompt("[a] >");

    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    let begun = Instant::now();
    let (mut agent, mut small, mut rounds) = ("a", None, 0);
    while begun.elapsed() < how_long() {
        rounds += 1;
        let prompt = format!("[{agent}] >");
        match random.u8(..10) {
            0..=2 => {
                let number = server.chats().len();
                terminal.line("say it");
                terminal.wait("an answer", |_| server.chats().len() > number);
            }
            3..=5 => {
                let number = server.seen().len();
                terminal.line("hang on");
                terminal.wait("its beginning", |screen| {
                    server.seen().len() > number && screen.contents().contains("begun")
                });
                std::thread::sleep(Duration::from_millis(random.u64(..60)));
                terminal.keys("\x03");
            }
            6 => {
                context.write("orch.yaml", good.replace("agents:", "agnets:"));
                terminal.line("/reload");
                terminal.shows("the configuration stays as it was");
                terminal.prompt(&prompt);
                let changed = format!("{good}  c{rounds}: {{role: x, provider: stub, model: m}}\n");
                context.write("orch.yaml", changed);
                terminal.line("/reload");
                terminal.shows(&format!("added c{rounds}"));
            }
            7 => {
                agent = if agent == "a" { "b" } else { "a" };
                terminal.line(&format!("/agent {agent}"));
            }
            8 => {
                let (columns, rows) = SIZES[random.usize(..SIZES.len())];
                terminal.resize(columns, rows);
            }
            _ => {
                terminal.line("/new");
            }
        }
        terminal.prompt(&format!("[{agent}] >"));
        // Words of this round are not those of the next one.
        terminal.keys("\x0c");
        terminal.wait("a clean screen", |screen| {
            screen.contents().trim_end() == format!("[{agent}] >")
        });
        if small.is_none() && begun.elapsed() > how_long() / 4 {
            small = Some(resident_kib(terminal.id()));
        }
    }
    let (small, large) = (small.unwrap(), resident_kib(terminal.id()));
    println!("{rounds} rounds, {small} KiB after a quarter of them, {large} KiB at the end");
    assert!(rounds > 10, "{rounds} rounds");
    assert!(large < small + GROWTH, "{small} KiB became {large} KiB");
    terminal.line("/quit");
    terminal.ends(0);
}
