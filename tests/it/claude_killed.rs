//! What a killed `orch` leaves is ended by the next one, and nothing else is.

use std::process::{Child, Stdio};

use orch::store::Store;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::sandbox::{processes_with, until};
use crate::support::{Context, ran};

/// A CLI that answers the prompt `quick`, and else starts a process that flees and waits for ever.
const CLI: &str = r#"#!/bin/bash
case "$1" in
  --version) echo '2.1.330 (Claude Code)'; exit 0;;
esac
grep SigIgn /proc/self/status > "${0%/*}/ignored"
prompt=$(cat)
if [ "$prompt" != quick ]; then
  setsid bash -c "sleep 300; : $prompt" < /dev/null > /dev/null 2>&1 &
  sleep 300
fi
echo '{"type":"system","subtype":"init","session_id":"s","model":"m","apiKeySource":"ANTHROPIC_API_KEY","mcp_servers":[]}'
echo '{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"done","total_cost_usd":0.01,"modelUsage":{},"model_usage_since_last_result":{"m":{"inputTokens":1,"outputTokens":1,"costUSD":0.01}}}'
"#;

/// An MCP server that never says anything, and what it starts flees.
const SERVER: &str = "#!/bin/bash\nsetsid bash -c \"sleep 300; : $1\" &\nsleep 300\n";

fn context(token: &str) -> Context {
    use std::os::unix::fs::PermissionsExt as _;
    let context = Context::new();
    for (name, script) in [("claude", CLI), ("server", SERVER)] {
        context.write(name, script);
        let path = context.work().join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let work = context.work();
    let work = work.display();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{sandbox: {{tier: off}}}}\n\
             providers:\n  claude: {{cli_path: {work}/claude, max_concurrency: 2}}\n\
             mcp_servers: {{mute: {{command: [{work}/server, {token}]}}}}\n\
             agents:\n  a: {{role: R, provider: claude, model: sonnet}}\n\
             \x20 m: {{role: R, provider: claude, model: sonnet, mcp_servers: [mute]}}\n"
        ),
    );
    context
}

fn start(context: &Context, agent: &str, prompt: &str) -> Child {
    let words = [
        "--config",
        "orch.yaml",
        "--agent",
        agent,
        "--prompt",
        prompt,
    ];
    let mut command = context.command(&words);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn quick(context: &Context) {
    let ran = context
        .orch(&["--agent", "a", "--prompt", "quick"])
        .exits(0);
    assert_eq!(ran.stdout, "done\n");
}

fn token() -> String {
    format!("token-{:016x}", fastrand::u64(..))
}

/// How many processes that fled have this token.
fn fled(token: &str) -> usize {
    processes_with(&format!("; : {token}")).len()
}

/// How many programs are remembered.
fn remembered(context: &Context) -> i64 {
    let store = Store::open_read_only(&context.state()).unwrap().unwrap();
    let count = |connection: &rusqlite::Connection| {
        connection.query_row("SELECT count(*) FROM parents", [], |row| row.get(0))
    };
    store.read(count).unwrap()
}

#[test]
fn the_next_start_ends_what_a_killed_one_left_and_nobody_else() {
    let (dead, alive) = (token(), token());
    let context = context(&token());
    let mut killed = start(&context, "a", &dead);
    let mut other = start(&context, "a", &alive);
    for token in [&dead, &alive] {
        // The CLI's child, and what that became.
        until("the CLI to start something", || fled(token) > 0);
    }
    // Not ours, though it looks as if it were.
    let mut stranger = std::process::Command::new("/bin/sleep")
        .arg("300")
        .env(orch::process::MARKER, "00000000000000000000000000000000-0k")
        .spawn()
        .unwrap();
    killed.kill().unwrap();
    assert!(fled(&dead) > 0, "it fled into its own session");
    assert_eq!(remembered(&context), 2);
    // It was not waited for: what is left of it is no running program.
    quick(&context);
    assert_eq!(fled(&dead), 0);
    assert!(fled(&alive) > 0);
    assert!(stranger.try_wait().unwrap().is_none());
    assert_eq!(remembered(&context), 1);
    kill_process(Pid::from_child(&other), Signal::INT).unwrap();
    assert_eq!(other.wait().unwrap().code(), Some(130));
    assert_eq!(fled(&alive), 0);
    assert_eq!(remembered(&context), 0);
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    killed.wait().unwrap();
}

#[test]
fn a_server_is_ended_even_when_its_helper_was_killed_too() {
    let token = token();
    let context = context(&token);
    let mut killed = start(&context, "m", "x");
    until("the server to start something", || fled(&token) > 0);
    let helper = children(killed.id());
    assert_eq!(helper.len(), 1, "{helper:?}");
    killed.kill().unwrap();
    kill_process(Pid::from_raw(helper[0]).unwrap(), Signal::KILL).unwrap();
    killed.wait().unwrap();
    quick(&context);
    assert_eq!(processes_with(&token), [""; 0]);
    assert_eq!(remembered(&context), 0);
}

/// What a shell starts in the background ignores interrupts, and hands that on to all that it starts.
#[test]
fn what_is_started_heeds_signals_wherever_it_is_started_from() {
    let context = context(&token());
    let background = ["/bin/sh", "-c", "trap '' INT QUIT TERM; exec \"$0\" \"$@\""];
    let run = |args: &[&str]| {
        let all = [&["--config", "orch.yaml"], args].concat();
        let ended = context.wrapped(&background, &all).output().unwrap();
        ran(ended).exits(0).stdout
    };
    let ignored = |said: &str| {
        let (_, mask) = said.split_once("SigIgn:\t").unwrap();
        let mask = u64::from_str_radix(&mask[..16], 16).unwrap();
        [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM].map(|signal| mask >> (signal - 1) & 1)
    };
    let command = json!({"command": "grep SigIgn /proc/self/status"}).to_string();
    let yaml = context.read("orch.yaml");
    let mut wrong = Vec::new();
    for tier in ["off", "landlock", "full"] {
        context.write(
            "orch.yaml",
            yaml.replace("tier: off", &format!("tier: {tier}")),
        );
        let said = run(&["tool", "bash", &command]);
        if ignored(&said) != [0; 3] {
            wrong.push(format!("{tier}: {said}"));
        }
    }
    context.write("orch.yaml", yaml);
    run(&["--agent", "a", "--prompt", "quick"]);
    let said = context.read("ignored");
    if ignored(&said) != [0; 3] {
        wrong.push(format!("the CLI: {said}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

/// The children of a process.
fn children(pid: u32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    list.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}
