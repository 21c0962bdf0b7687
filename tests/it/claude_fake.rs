//! A fake `claude`: a script that replays a recording of the real one, or misbehaves.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orch::message::Message;
use orch::providers::claude_cli::{ClaudeCli, ClaudeSpec};
use orch::providers::{Clocks, Request};
use orch::redact::Redactor;
use orch::store::Store;

use crate::claude_outcomes::Recording;
use crate::support::apart::Apart;

/// A directory with a fake CLI and a provider that runs it.
pub struct Fake {
    pub directory: tempfile::TempDir,
    pub provider: Arc<ClaudeCli>,
    _apart: Apart,
}

/// What a CLI does that goes on until a signal comes, once it has said what it does then.
pub const WAIT: &str = "touch $D/waits; sleep 1000 & wait";

/// The longest pause between two lines that are replayed, seconds.
const PAUSE: &str = "0.002";

impl Fake {
    /// A CLI that does what the lines of this script say once it has read its prompt. `$D` is its
    /// directory.
    pub fn new(behaviour: &str) -> Self {
        Self::with_store(behaviour, Store::in_memory().unwrap())
    }

    pub fn with_store(behaviour: &str, store: Store) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let script = format!(
            r#"#!/bin/bash
D='{directory}'
case "$1" in
  --version) echo x >> $D/asked; echo '2.1.330 (Claude Code)'; exit 0;;
  auth) echo '{{"loggedIn": true}}'; exit 0;;
esac
printf '%s\n' "$@" > $D/arguments
/usr/bin/env > $D/environment
for word in "$@"; do
  [ -z "$next" ] || cat "$word" > $D/$next
  next=
  case "$word" in --system-prompt-file) next=system;; --mcp-config) next=mcp;; esac
done
cat > $D/prompt
{behaviour}
"#,
            directory = path.display()
        );
        let cli = path.join("claude");
        std::fs::write(&cli, script).unwrap();
        std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
        let provider = Arc::new(ClaudeCli::new(ClaudeSpec {
            name: "claude".to_owned(),
            cli_path: cli.display().to_string(),
            native_tools: false,
            max_concurrency: Some(4),
            environment: vec![
                ("PATH".to_owned(), "/usr/bin:/bin".to_owned().into()),
                ("RUN".to_owned(), path.display().to_string().into()),
            ],
            state_dir: path.join("state"),
            store: Some(store),
            policy: None,
            redactor: Redactor::default(),
        }));
        Self {
            directory,
            provider,
            _apart: Apart::driver(),
        }
    }

    /// A CLI that replays a recording.
    pub fn replaying(recording: &Recording) -> Self {
        let fake = Self::new(&replay(recording));
        let lines: Vec<&str> = recording.stdout.split_inclusive('\n').collect();
        let (before, after) = lines.split_at(lines_before_signal(recording).min(lines.len()));
        fake.write("before", &before.concat());
        fake.write("after", &after.concat());
        fake.write("stderr", &recording.stderr);
        fake
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The processes that the fake started and that still live.
    pub fn left(&self) -> Vec<PathBuf> {
        let mark = format!("RUN={}", self.path().display());
        let is_marked = |process: &Path| {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        };
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|process| is_marked(process))
            .collect()
    }
}

fn replay(recording: &Recording) -> String {
    let exit = match recording.exit.as_str() {
        "-9" => "kill -9 $$".to_owned(),
        "spawn-failed" => "exit 1".to_owned(),
        code => format!("exit {code}"),
    };
    let lines = format!(
        r#"say() {{
  while IFS= read -r line || [ -n "$line" ]; do
    if [ -n "$line" ]; then printf '%s\n' "$line"; fi
    sleep {PAUSE}
  done < $D/$1
}}"#
    );
    let wait = if recording.ended_by_recorder {
        // As the real one did: it went on until it was told to end.
        format!("trap 'cat $D/after; {exit}' INT TERM; {WAIT}")
    } else {
        String::new()
    };
    // It said all this, whenever it was asked to end: a shell that is asked between two lines would not.
    let lines = format!("trap '' INT\n{lines}");
    format!("{lines}\nsay before\ncat $D/stderr >&2\n{wait}\nsay after\n{exit}")
}

/// How many lines came before the signal that ended it.
fn lines_before_signal(recording: &Recording) -> usize {
    if !recording.ended_by_recorder {
        return usize::MAX;
    }
    let lines: Vec<&str> = recording.stdout.lines().collect();
    let first_of = |needle: &str| lines.iter().position(|line| line.contains(needle));
    match first_of("\"type\":\"result\"") {
        Some(at) if recording.exit == "143" => at + 1,
        // The result was the answer to the signal, and so was the end of the tool.
        Some(at) => first_of("\"type\":\"user\"").unwrap_or(at),
        None => first_of("\"type\":\"user\"").unwrap_or(usize::MAX),
    }
}

/// A request with one prompt and short clocks.
pub fn request(prompt: &str) -> Request {
    Request {
        agent: "tester".into(),
        model: "sonnet".to_owned(),
        system: "You test.".to_owned(),
        messages: vec![Message::User {
            text: prompt.to_owned(),
        }],
        idempotency_key: format!("{:016x}", fastrand::u64(..)),
        clocks: Clocks {
            connect: None,
            first_event: Some(Duration::from_secs(20)),
            idle: Some(Duration::from_secs(20)),
            total: Some(Duration::from_mins(1)),
        },
        ..Request::default()
    }
}
