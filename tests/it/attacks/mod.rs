//! The corpus of attacks and of legitimate uses, each run through `orch tool` as a user would,
//! judged by what it left behind.

mod place;
mod race;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde::Deserialize;
use serde_json::{Value, json};

use place::{Place, User};

/// Cases at once: most of their time they wait for their servers.
const AT_ONCE: usize = 4;

/// How often a case that races is repeated here; `race.rs` does it in process, far more often.
const REPEAT: u64 = 100;

/// A case as the corpus describes it.
#[derive(Clone, Debug, Deserialize)]
struct Case {
    id: String,
    group: String,
    tool: String,
    params: Value,
    setup: Vec<String>,
    expect: String,
    check: String,
    why: String,
    #[serde(default)]
    config: Value,
    #[serde(default, rename = "requires")]
    _requires: Vec<String>,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/attacks")
}

/// Runs the cases of these tools as a user; fails with every case that came out wrong.
fn hold(tools: &[&str], user: User) {
    let cases: Vec<Case> = ["attacks.json", "more.json"]
        .into_iter()
        .flat_map(|name| {
            let text = std::fs::read_to_string(corpus().join(name)).unwrap();
            serde_json::from_str::<Vec<Case>>(&text).unwrap()
        })
        .filter(|case| tools.contains(&case.tool.as_str()))
        .collect();
    assert!(!cases.is_empty());
    let place = Place::new(user);
    let waiting = Mutex::new(cases);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(case) = waiting.lock().unwrap().pop() else {
                        return;
                    };
                    if let Err(failure) = run(&place, &case) {
                        failures.lock().unwrap().push(failure);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn run(place: &Place, case: &Case) -> Result<(), String> {
    let base = place.case(&case.id);
    let isolated = case.group.contains("http");
    let ports = if isolated {
        [18080, 18081]
    } else {
        place::free_ports()
    };
    let filled = fill(case, place, &base, ports);
    std::fs::write(base.join("case.json"), filled.to_string()).unwrap();
    std::fs::write(base.join("conf/team.yaml"), configuration(&filled, &base)).unwrap();
    place.give_away(&base);
    // Without a network but its own loopback, a guard that fails sends no packet anywhere.
    let mut command = if isolated {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--mount", "python3"]);
        command
    } else {
        Command::new("python3")
    };
    command
        .arg(base.join("corpus/case.py"))
        .arg(&base)
        .arg(place.orch());
    command
        .env_clear()
        .env("PATH", place::PATH)
        .env("LANG", "C.UTF-8");
    command.stdin(Stdio::null());
    place.become_user(&mut command);
    let output = command
        .output()
        .map_err(|error| format!("{}: {error}", case.id))?;
    if output.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Err(format!(
        "{}: {} {}",
        case.id,
        text(&output.stdout),
        text(&output.stderr)
    ))
}

/// The case with every placeholder filled in, and what `case.py` needs beside it.
fn fill(case: &Case, place: &Place, base: &Path, [port, port2]: [u16; 2]) -> Value {
    let at = |name: &str| base.join(name).to_str().unwrap().to_owned();
    let words = BTreeMap::from([
        ("{WORKDIR}", at("work")),
        ("{OUTSIDE}", at("outside")),
        ("{HOME}", at("home")),
        ("{STATE}", at("state")),
        ("{CORPUS}", at("corpus")),
        ("{RESULT}", at("state/result")),
        ("{META}", at("state/meta.json")),
        ("{PORT}", port.to_string()),
        ("{PORT2}", port2.to_string()),
        ("{ID}", case.id.clone()),
    ]);
    let repeat = case.config.get("repeat").map_or(1, |_| REPEAT);
    let mut filled = json!({
        "id": case.id, "tool": case.tool, "params": case.params, "setup": case.setup,
        "expect": case.expect, "check": case.check, "why": case.why, "config": case.config,
        "isolated": case.group.contains("http"), "repeat": repeat,
        "names": case.config.get("test_resolver"), "env": place.environment(base),
    });
    replace(&mut filled, &words);
    filled
}

fn replace(value: &mut Value, words: &BTreeMap<&str, String>) {
    match value {
        Value::String(text) => {
            for (word, filled) in words {
                *text = text.replace(word, filled);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, words)),
        Value::Object(map) => map.values_mut().for_each(|item| replace(item, words)),
        _ => {}
    }
}

/// The configuration of a case; JSON is YAML too.
fn configuration(filled: &Value, base: &Path) -> String {
    let config = &filled["config"];
    let mut settings =
        json!({"working_dir": base.join("work"), "state_dir": base.join("orch-state")});
    if let Some(commands) = config.get("allowed_commands") {
        settings["allowed_commands"] = commands.clone();
    }
    if let Some(http) = config.get("http") {
        settings["http"] = json!({});
        for (name, theirs) in [("allow", "allow"), ("timeout", "timeout_s")] {
            if let Some(value) = http.get(theirs) {
                settings["http"][name] = value.clone();
            }
        }
    }
    let mut servers = config.get("servers").cloned().unwrap_or(json!({}));
    for server in servers.as_object_mut().unwrap().values_mut() {
        let server = server.as_object_mut().unwrap();
        if let Some(key) = server.remove("key_path") {
            server.insert("key".to_owned(), key);
        }
    }
    let names: Vec<&String> = servers.as_object().unwrap().keys().collect();
    let tools = [
        "bash",
        "read",
        "write",
        "edit",
        "glob",
        "grep",
        "list_dir",
        "http_request",
        "web_fetch",
        "ssh",
    ];
    let agent = json!({"role": "tester", "provider": "replay", "recording": "none.jsonl", "tools": tools, "servers": names});
    json!({"settings": settings, "servers": servers, "agents": {"tester": agent}}).to_string()
}

const FILES: &[&str] = &["read", "write", "edit", "glob", "grep", "list_dir"];

#[test]
fn file_tools_as_this_user() {
    hold(FILES, User::This);
}

#[test]
fn file_tools_as_an_ordinary_user() {
    hold(FILES, User::Ordinary);
}

#[test]
fn http_as_this_user() {
    hold(&["http_request", "web_fetch"], User::This);
}

#[test]
fn http_as_an_ordinary_user() {
    hold(&["http_request", "web_fetch"], User::Ordinary);
}

#[test]
fn bash_as_this_user() {
    hold(&["bash"], User::This);
}

#[test]
fn bash_as_an_ordinary_user() {
    hold(&["bash"], User::Ordinary);
}

#[test]
fn ssh_as_this_user() {
    hold(&["ssh"], User::This);
}

#[test]
fn ssh_as_an_ordinary_user() {
    hold(&["ssh"], User::Ordinary);
}
