//! After a command nothing of it is left: no process, no mount, no file.

use std::io::Write as _;

use serde_json::json;

use super::{Place, processes_with, until};

/// A text that only one test's command lines hold.
fn token() -> String {
    format!("token-{:016x}", fastrand::u64(..))
}

fn entries(directory: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Mounts that belong to somebody's sandbox would lie below these.
fn mounts() -> Vec<String> {
    std::fs::read_to_string("/proc/self/mountinfo")
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_fled_ends_with_the_command() {
    for tier in ["full", "landlock", "off"] {
        let place = Place::new();
        let token = token();
        let mounts_before = mounts();
        let script = format!(
            "(setsid bash -c 'sleep 300; : {token}' >/dev/null 2>&1 &) ; setsid -f bash -c 'sleep 300; : {token}'
             nohup bash -c 'sleep 300; : {token}' >/dev/null 2>&1 & echo started"
        );
        let said = place.tool("bash", &json!({"command": script}), &["--sandbox", tier]);
        assert_eq!(said.content, "started\n", "{tier} {said:?}");
        assert_eq!(processes_with(&token), [""; 0], "{tier}");
        let script = format!(
            "trap '' TERM INT HUP; (setsid bash -c 'sleep 300; : {token}' &); sleep 300 & wait"
        );
        let said = place.tool(
            "bash",
            &json!({"command": script, "timeout": 1}),
            &["--sandbox", tier],
        );
        assert_eq!(said.status, "timeout", "{tier}");
        assert_eq!(processes_with(&token), [""; 0], "{tier}");
        assert_eq!(mounts(), mounts_before);
        assert_eq!(entries(&place.path("work")), [""; 0], "{tier}");
        assert_eq!(
            entries(&place.path("home")),
            [".gitconfig", ".ssh"],
            "{tier}"
        );
    }
}

#[test]
fn killing_the_program_ends_the_command() {
    // Whoever uses this machine may have files with such names.
    let others = entries(&std::env::temp_dir());
    for tier in ["full", "landlock", "off"] {
        let place = Place::new();
        let token = token();
        let mut command = place.command("bash", &["--sandbox", tier]);
        let mut child = command.spawn().unwrap();
        let script = format!(
            "git init -q sub; git -C sub config core.fsmonitor ./evil; echo evil > orch.yaml; setsid -f bash -c 'sleep 300; : {token}'; touch ready; sleep 300; : {token}"
        );
        let parameters = json!({"command": script}).to_string();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(parameters.as_bytes())
            .unwrap();
        until("the command to run", || place.path("work/ready").exists());
        // SIGKILL: the program gets no chance to clean up.
        child.kill().unwrap();
        child.wait().unwrap();
        until("the end of the command", || {
            processes_with(&token).is_empty()
        });
        until("the end of the helper", || {
            !place.path("work/orch.yaml").exists() || tier == "off"
        });
        // With nobody there, the helper looks for what was left behind.
        until("a new repository without programs", || {
            let settings = place.read("work/sub/.git/config");
            settings.contains("taken out: fsmonitor") || tier == "off"
        });
        let left: Vec<String> = entries(&std::env::temp_dir())
            .into_iter()
            .filter(|name| name.starts_with("orch-") && !others.contains(name))
            .filter(|name| processes_with(name).is_empty())
            .collect();
        until("the end of temporary files", || {
            left.iter()
                .all(|name| !std::env::temp_dir().join(name).exists())
        });
    }
}

#[test]
fn a_closed_pipe_and_an_interrupt_end_the_command() {
    let place = Place::new();
    let token = token();
    let mut child = place.command("bash", &[]).spawn().unwrap();
    let script = format!("touch ready; sleep 300; : {token}");
    let parameters = json!({"command": script}).to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(parameters.as_bytes())
        .unwrap();
    until("the command to run", || place.path("work/ready").exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    until("the end of the command", || {
        processes_with(&token).is_empty()
    });
}

#[test]
fn the_program_may_be_removed_while_it_runs() {
    let place = Place::new();
    let copy = place.path("orch");
    std::fs::copy(env!("CARGO_BIN_EXE_orch"), &copy).unwrap();
    let original = place.command("bash", &[]);
    let mut command = std::process::Command::new(&copy);
    command.args(original.get_args()).env_clear();
    for (name, value) in original.get_envs() {
        command.env(name, value.unwrap());
    }
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::fs::remove_file(&copy).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(br#"{"command": "echo still here"}"#)
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("still here"),
        "{output:?}"
    );
}
