//! What the program must be fast at, beside what everybody has: `cargo bench --bench speed`.
//!
//! Medians of alternating runs on one machine, as ratios; the model server is a stub on loopback.
//! `cargo bench --bench speed -- quick` leaves the 10,000 agents out; `-- stream all` measures only those two.

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

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use process::{Took, median, ms, peak, run};
use serde_json::json;
use stub::{Do, Stub};

/// A CLI that answers at once.
const CLI: &str = r#"#!/bin/sh
[ "$1" = --version ] && { echo '2.1.330 (Claude Code)'; exit; }
read -r prompt
echo '{"type":"system","subtype":"init","session_id":"s","model":"m","apiKeySource":"ANTHROPIC_API_KEY","mcp_servers":[]}'
echo '{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"Hello","total_cost_usd":0.01,"modelUsage":{},"model_usage_since_last_result":{"m":{"inputTokens":1,"outputTokens":1,"costUSD":0.01}}}'
"#;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |name: &str| words.iter().any(|word| word == name);
    let quick = is_named("quick");
    // Cargo adds a flag of its own.
    let any = words
        .iter()
        .any(|word| !word.starts_with('-') && word != "quick");
    let wanted = |name: &str| !any || is_named(name);
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(base).unwrap();
    let directory = tempfile::Builder::new()
        .prefix("speed-")
        .tempdir_in(base)
        .unwrap();
    let bench = Bench {
        directory: directory.path().to_owned(),
    };
    let parts: [Part; 6] = [
        ("version", Bench::version),
        ("prompt", Bench::one_prompt),
        ("cli", Bench::agent_cli),
        ("stream", Bench::stream),
        ("all", |bench| {
            bench.all(100, "for the growth");
            bench.all(1_000, "400 ms (aim 320), 80 MB");
        }),
        ("turns", Bench::turns),
    ];
    for (name, part) in parts {
        if wanted(name) {
            part(&bench);
        }
    }
    if wanted("many") && !quick {
        bench.all(10_000, "4 s, 500 MB");
    }
}

/// What can be asked for by its name.
type Part = (&'static str, fn(&Bench));

struct Bench {
    directory: PathBuf,
}

impl Bench {
    fn orch(&self, args: &[&str]) -> Command {
        let mut command = Command::new(shipped::orch());
        command
            .args(["--config", "orch.yaml"])
            .args(args)
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.directory)
            .env("ORCH_STATE_DIR", self.directory.join("state"));
        command
    }

    fn configure(&self, url: &str, agents: usize) {
        let mut yaml = format!(
            "settings: {{max_retries: 0}}\nproviders:\n  stub: {{kind: openai, base_url: \"{url}\"}}\nagents:\n"
        );
        for number in 0..agents {
            yaml.push_str(&format!(
                "  a{number}: {{role: You are a., provider: stub, model: stub-model}}\n"
            ));
        }
        std::fs::write(self.directory.join("orch.yaml"), yaml).unwrap();
    }

    fn version(&self) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            ours.push(run(self.orch(&["--version"])));
            theirs.push(run(Command::new("true")));
        }
        let (ours, theirs) = (
            median(&ours, |took| took.cpu),
            median(&theirs, |took| took.cpu),
        );
        println!(
            "orch --version: {} CPU, true: {}, difference {} (at most 3 ms)",
            ms(ours),
            ms(theirs),
            ms(ours.saturating_sub(theirs))
        );
    }

    fn one_prompt(&self) {
        let server = Stub::replies([stub::text("Hello from the stub.")]);
        self.configure(&server.url(), 1);
        let body = json!({"model": "stub-model", "stream": true,
            "stream_options": {"include_usage": true},
            "messages": [{"role": "system", "content": "You are a."},
                {"role": "user", "content": "Say hello."}]});
        std::fs::write(self.directory.join("body.json"), body.to_string()).unwrap();
        let url = format!("{}/chat/completions", server.url());
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            ours.push(run(self.orch(&["--agent", "a0", "--prompt", "Say hello."])));
            theirs.push(run(self.curl(&url)));
        }
        report("one prompt", &ours, &theirs, "at most 0.65, aim 0.5");
        println!(
            "  peak memory {:.1} MB (under 12, aim 10)",
            peak(&ours) as f64 / 1024.0
        );
    }

    /// What the driver of the Claude CLI adds to one that answers at once.
    fn agent_cli(&self) {
        use std::os::unix::fs::PermissionsExt;
        let cli = self.directory.join("claude");
        std::fs::write(&cli, CLI).unwrap();
        std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
        let yaml = format!(
            "settings: {{rate_limit_per_minute: 100000}}\nproviders:\n  claude: {{cli_path: {}}}\n\
             agents:\n  a0: {{role: R, provider: claude, model: sonnet}}\n",
            cli.display()
        );
        std::fs::write(self.directory.join("orch.yaml"), yaml).unwrap();
        for tier in ["full", "off"] {
            let words = ["--agent", "a0", "--prompt", "Say hello.", "--sandbox", tier];
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..60 {
                ours.push(run(self.orch(&words)));
                theirs.push(run(Command::new(&cli)));
            }
            let (mine, alone) = (
                median(&ours, |took| took.wall),
                median(&theirs, |took| took.wall),
            );
            println!(
                "the Claude CLI, sandbox {tier}: {} wall, the CLI alone {}, difference {} (under 15 ms); \
                 peak memory {:.1} MB (3 MB more than one prompt)",
                ms(mine),
                ms(alone),
                ms(mine.saturating_sub(alone)),
                peak(&ours) as f64 / 1024.0
            );
        }
    }

    fn curl(&self, url: &str) -> Command {
        let mut command = Command::new("curl");
        command
            .args([
                "-sN",
                "-H",
                "content-type: application/json",
                "--data-binary",
                "@body.json",
                url,
            ])
            .current_dir(&self.directory);
        command
    }

    fn stream(&self) {
        for chunks in [200, 2_000, 20_000] {
            let server = Stub::start(move |_| {
                let mut actions = vec![stub::stream_head()];
                let content = json!({"content": "word "});
                actions.extend((0..chunks).map(|_| stub::event(&stub::chunk(&content, None))));
                actions.push(stub::event(&stub::chunk(&json!({}), Some("stop"))));
                actions.push(stub::piece("data: [DONE]\n\n"));
                actions.push(stub::stream_end());
                actions
            });
            self.configure(&server.url(), 1);
            let url = format!("{}/chat/completions", server.url());
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..15 {
                ours.push(run(self.orch(&["--agent", "a0", "--prompt", "Count."])));
                theirs.push(run(self.curl(&url)));
            }
            report(
                &format!("a stream of {chunks} chunks"),
                &ours,
                &theirs,
                "at most 1",
            );
            println!(
                "  first text {} after the start, curl {}",
                ms(median(&ours, |took| took.first_byte)),
                ms(median(&theirs, |took| took.first_byte))
            );
        }
    }

    fn all(&self, agents: usize, limit: &str) {
        let server = Stub::start(|_| {
            let mut actions = vec![Do::Wait(Duration::from_millis(200))];
            actions.extend(stub::text("Hello from the stub."));
            actions
        });
        self.configure(&server.url(), agents);
        let runs: Vec<Took> = (0..5)
            .map(|_| run(self.orch(&["--all", "--prompt", "Say hello.", "--json", "--no-log"])))
            .collect();
        println!(
            "--all over {agents} agents: {} wall, {} CPU, {:.0} MB ({limit})",
            ms(median(&runs, |took| took.wall)),
            ms(median(&runs, |took| took.cpu)),
            peak(&runs) as f64 / 1024.0
        );
    }

    fn turns(&self) {
        for turns in [5, 50, 200] {
            let server = Stub::start(move |seen| {
                if seen.tool_messages().len() < turns {
                    stub::tool_calls(&[("c", "list_dir", json!({"path": "."}))])
                } else {
                    stub::text("Done.")
                }
            });
            let url = server.url();
            let yaml = format!(
                "providers:\n  stub: {{kind: openai, base_url: \"{url}\"}}\nagents:\n  a0: {{role: R, \
                 provider: stub, model: m, tools: [list_dir], max_turns: 1000}}\n"
            );
            std::fs::write(self.directory.join("orch.yaml"), yaml).unwrap();
            let runs: Vec<Took> = (0..5)
                .map(|_| run(self.orch(&["--agent", "a0", "--prompt", "Go."])))
                .collect();
            println!(
                "{turns} tool turns: {} wall",
                ms(median(&runs, |took| took.wall))
            );
        }
    }
}

fn report(what: &str, ours: &[Took], theirs: &[Took], limit: &str) {
    let (mine, curl) = (
        median(ours, |took| took.wall),
        median(theirs, |took| took.wall),
    );
    println!(
        "{what}: {} wall, curl {}, ratio {:.2} ({limit})",
        ms(mine),
        ms(curl),
        mine.as_secs_f64() / curl.as_secs_f64()
    );
}
