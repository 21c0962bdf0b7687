//! Ten programs with ten conversations at once, three of them killed at any moment, again and again: no
//! process stays, no attempt is missing in the ledger, and no conversation gets into another one.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{is_long, until};
use crate::support::{Context, ran};

const AGENTS: usize = 10;
const KILLED: usize = 3;

/// A CLI that remembers its conversations, starts something that flees, and takes a while. Its model is
/// the name of its agent.
const CLI: &str = r#"#!/bin/bash
D=$(dirname "$0")/memory
case "$1" in
  --version) echo '2.1.330 (Claude Code)'; exit 0;;
esac
while [ $# -gt 0 ]; do
  case "$1" in
    --model) model=$2;;
    --session-id) id=$2; [ -e $D/c-$id ] && { echo "Error: Session ID $id is already in use." >&2; exit 1; };;
    --resume) id=$2; [ -e $D/c-$id ] || { echo "No conversation found with session ID: $id" >&2; exit 1; };;
  esac
  shift
done
prompt=$(cat)
echo "$model $id" >> $D/runs
echo $$ > $D/pid-$model
echo "$model: ${prompt//$'\n'/ }" >> $D/c-$id
setsid sleep 300 < /dev/null > /dev/null 2>&1 &
echo "{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"$id\",\"model\":\"$model\",\"apiKeySource\":\"ANTHROPIC_API_KEY\",\"mcp_servers\":[]}"
sleep 0.$((RANDOM % 3))
echo "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"num_turns\":1,\"result\":\"$model heard ${prompt##*$'\n'}\",\"total_cost_usd\":9,\"modelUsage\":{},\"model_usage_since_last_result\":{\"$model\":{\"inputTokens\":1,\"outputTokens\":1,\"costUSD\":0.001}}}"
"#;

struct Herd {
    context: Context,
}

impl Herd {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let context = Context::new();
        context.write("claude", CLI);
        context.write("memory/runs", "");
        let cli = context.work().join("claude");
        std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
        let agents: Vec<String> = (0..AGENTS)
            .map(|agent| format!("  a{agent}: {{role: R, provider: claude, model: a{agent}}}\n"))
            .collect();
        let agents = agents.concat();
        context.write(
            "orch.yaml",
            format!(
                "settings: {{max_retries: 0, enable_circuit_breaker: false, rate_limit_per_minute: 100000, \
                 sandbox: {{tier: off}}}}\n\
                 providers:\n  claude: {{cli_path: {}}}\nagents:\n{agents}",
                cli.display()
            ),
        );
        Self { context }
    }

    fn start(&self, agent: usize, round: usize) -> Child {
        let (agent, prompt) = (format!("a{agent}"), format!("a{agent} round {round}"));
        let words = ["--config", "orch.yaml", "--agent", &agent, "--session", "s"];
        let mut command = self.context.command(&words);
        command.args(["--prompt", &prompt]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Ends an agent's program, or its CLI if that has begun, in one of three ways.
    fn hit(&self, agent: usize, child: &Child) {
        let (pid, signal) = match fastrand::u8(..3) {
            0 => (Pid::from_child(child), Signal::KILL),
            1 => (Pid::from_child(child), Signal::INT),
            _ => {
                let path = self.context.work().join(format!("memory/pid-a{agent}"));
                let Ok(pid) = std::fs::read_to_string(path) else {
                    return;
                };
                match pid.trim().parse().ok().and_then(Pid::from_raw) {
                    Some(pid) => (pid, Signal::KILL),
                    None => return,
                }
            }
        };
        // It may have ended a moment ago.
        kill_process(pid, signal).ok();
    }

    fn round(&self, round: usize) {
        for agent in 0..AGENTS {
            let path = self.context.work().join(format!("memory/pid-a{agent}"));
            std::fs::remove_file(path).ok();
        }
        let children: Vec<Child> = (0..AGENTS).map(|agent| self.start(agent, round)).collect();
        let mut victims = BTreeSet::new();
        while victims.len() < KILLED {
            victims.insert(fastrand::usize(..AGENTS));
        }
        for agent in &victims {
            std::thread::sleep(Duration::from_millis(fastrand::u64(..200)));
            self.hit(*agent, &children[*agent]);
        }
        for (agent, child) in children.into_iter().enumerate() {
            let ended = ran(child.wait_with_output().unwrap());
            if !victims.contains(&agent) {
                let answer = format!("a{agent} heard a{agent} round {round}\n");
                assert_eq!((ended.code, &ended.stdout), (0, &answer), "{ended:#?}");
            }
        }
    }

    /// The processes that the herd started and that still live.
    fn left(&self) -> Vec<String> {
        let mark = format!("HOME={}", self.context.home().display());
        let is_ours = |process: &std::path::Path| {
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        };
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|process| is_ours(process))
            .map(|process| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default())
            .collect()
    }

    /// How often each agent's CLI was started.
    fn runs(&self) -> BTreeMap<String, usize> {
        let mut runs = BTreeMap::new();
        for line in self.context.read("memory/runs").lines() {
            let (agent, _) = line.split_once(' ').unwrap();
            *runs.entry(agent.to_owned()).or_default() += 1;
        }
        runs
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.context.state().join("orch.db")).unwrap()
    }
}

#[test]
fn ten_conversations_of_which_three_are_killed_lose_and_mix_nothing() {
    let herd = Herd::new();
    let rounds = if is_long() { 100 } else { 3 };
    for round in 0..rounds {
        herd.round(round);
    }
    // Whoever starts next ends what is left.
    herd.start(0, rounds).wait().unwrap();
    until("the end of everything", || herd.left().is_empty());
    let database = herd.database();
    let count = |sql: &str, agent: &str| -> usize {
        database
            .query_row(sql, [agent], |row| row.get::<_, i64>(0))
            .unwrap()
            .try_into()
            .unwrap()
    };
    for (agent, runs) in herd.runs() {
        let rows = count("SELECT count(*) FROM attempts WHERE agent = ?1", &agent);
        assert!(rows >= runs, "{agent}: {runs} runs, {rows} rows");
        // One that answered costs what the CLI said of it, whatever its conversation had cost before.
        let wrong = "SELECT count(*) FROM attempts WHERE agent = ?1 AND outcome = 'answered'
                     AND (cost <> 1000000000 OR state <> 'settled')";
        assert_eq!(count(wrong, &agent), 0, "{agent}");
        let running = "SELECT count(*) FROM attempts WHERE agent = ?1 AND state = 'settled' AND ended_at IS NULL";
        assert_eq!(count(running, &agent), 0, "{agent}");
        // One conversation, once it is kept, with what this agent was told and nothing else.
        let sessions = count("SELECT count(*) FROM sessions WHERE agent = ?1", &agent);
        assert!(sessions <= 1, "{agent}: {sessions}");
        let mut turns = database
            .prepare(
                "SELECT messages FROM session_turns JOIN sessions ON id = session WHERE agent = ?1",
            )
            .unwrap();
        let turns = turns
            .query_map([&agent], |row| row.get::<_, String>(0))
            .unwrap();
        for turn in turns {
            let turn = turn.unwrap();
            assert!(
                turn.contains(&format!("\"{agent} round ")),
                "{agent}: {turn}"
            );
        }
        let mut known = database
            .prepare("SELECT uuid FROM claude_sessions WHERE agent = ?1")
            .unwrap();
        let known = known.query_map([&agent], |row| row.get::<_, String>(0));
        for uuid in known.unwrap() {
            let path = format!("memory/c-{}", uuid.unwrap());
            if herd.context.work().join(&path).exists() {
                let own = herd.context.read(&path);
                let start = format!("{agent}: ");
                assert!(own.lines().all(|line| line.starts_with(&start)), "{own}");
            }
        }
    }
    let conversations = std::fs::read_dir(herd.context.work().join("memory")).unwrap();
    for path in conversations.map(|entry| entry.unwrap().path()) {
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("c-")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            let agents: BTreeSet<&str> = text
                .lines()
                .filter_map(|line| line.split(':').next())
                .collect();
            assert_eq!(agents.len(), 1, "{text}");
        }
    }
    let parents: i64 = database
        .query_row("SELECT count(*) FROM parents", [], |row| row.get(0))
        .unwrap();
    assert_eq!(parents, 0);
}
