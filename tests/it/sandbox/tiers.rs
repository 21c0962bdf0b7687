//! The weaker tiers, and machines that cannot build the strong one.

use std::process::{Command, Stdio};

use serde_json::json;

use super::Place;

#[test]
fn landlock_confines_without_namespaces() {
    let place = Place::new();
    let outside = place.path("outside").display().to_string();
    let said = place.tool(
        "bash",
        &json!({"command": format!(
            "cat {outside}/secret.txt; echo x > {outside}/new; cat ~/.ssh/id_ed25519; curl -s -m 3 http://127.0.0.1:9/
             echo y > inside; cat inside; mktemp -d >/dev/null && echo temporary; git config user.name"
        )}),
        &["--sandbox", "landlock"],
    );
    assert!(!said.content.contains("CANARY"), "{}", said.content);
    assert!(
        said.content.starts_with("y\ntemporary\nTester\n"),
        "{}",
        said.content
    );
    assert!(!place.path("outside/new").exists());
}

#[test]
fn landlock_puts_back_what_is_protected() {
    let place = Place::new();
    place
        .bash("git init -q . && git commit -q --allow-empty -m one")
        .ok();
    place.write("work/config.yaml", "mine: true\n");
    let config = place.read("work/.git/config");
    let said = place.tool(
        "bash",
        &json!({"command": "echo evil > config.yaml; echo evil >> .git/config; echo evil > .git/hooks/pre-commit; echo evil > orch.yaml; rm .git/hooks/*.sample; rmdir .git/hooks; true"}),
        &["--sandbox", "landlock"],
    );
    assert_eq!(said.status, "ok");
    assert_eq!(place.read("work/config.yaml"), "mine: true\n");
    assert_eq!(place.read("work/.git/config"), config);
    assert!(
        !place.path("work/.git/hooks/pre-commit").exists()
            && !place.path("work/orch.yaml").exists()
    );
    assert!(place.path("work/.git/hooks/pre-commit.sample").exists());
    assert!(
        said.content.contains("config.yaml` is protected"),
        "{}",
        said.content
    );
}

#[test]
fn landlock_is_refused_where_it_cannot_keep_a_promise() {
    let place = Place::new();
    place.write("work/.env", "CANARY");
    let said = place.tool(
        "bash",
        &json!({"command": "true"}),
        &["--sandbox", "landlock"],
    );
    assert_eq!(said.status, "refused");
    assert!(
        said.content.contains(".env` needs mounts"),
        "{}",
        said.content
    );
    let place = Place::new().with_settings(json!({"allowed_commands": ["ls"]}));
    let said = place.tool(
        "bash",
        &json!({"command": "true"}),
        &["--sandbox", "landlock"],
    );
    assert!(
        said.content.contains("`allowed_commands` needs mounts"),
        "{}",
        said.content
    );
}

#[test]
fn off_confines_nothing() {
    let place = Place::new();
    let secret = place.path("outside/secret.txt").display().to_string();
    let script = format!("cat {secret}; env | grep -c CANARY-KEY");
    let said = place.tool("bash", &json!({"command": script}), &["--sandbox", "off"]);
    // But no key is in the environment.
    assert_eq!(said.content, "CANARY-OUTSIDE0\n[exit code 1]");
}

#[test]
fn a_machine_that_cannot_is_told_why_and_nothing_runs() {
    let place = Place::new();
    let output = without_namespaces(&place.command("bash", &[]), r#"{"command": "touch ran"}"#);
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("user.max_user_namespaces=0") && said.contains("--sandbox landlock"),
        "{said}"
    );
    assert!(!place.path("work/ran").exists());
    // So is whoever checks the configuration, in words and for programs.
    for json in [false, true] {
        let mut check = place.command("bash", &[]);
        let config = place.path("conf/team.yaml");
        check = arguments(&check, &["check", "--config", config.to_str().unwrap()]);
        if json {
            check.arg("--json");
        }
        let output = without_namespaces(&check, "");
        assert_eq!(output.status.code(), Some(9), "{output:?}");
        let said = if json {
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["tiers"]["full"]
                .to_string()
        } else {
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        assert!(
            said.contains("user.max_user_namespaces=0") && said.contains("--sandbox landlock"),
            "{said}"
        );
    }
}

#[test]
fn check_tries_each_tier_and_tells_the_rights() {
    let place = Place::new();
    let command = place.command("bash", &[]);
    let config = place.path("conf/team.yaml");
    let mut check = arguments(&command, &["check", "--config", config.to_str().unwrap()]);
    let output = check.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    for words in [
        "  full: works",
        "tester may:\n  use bash — tools\n",
        "no network but a loopback of the command's own — sandbox.network: deny",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn less_confinement_is_said_each_time() {
    let place = Place::new();
    for (tier, words) in [
        ("full", ""),
        ("landlock", "weaker tier `landlock`"),
        ("off", "the sandbox is off"),
    ] {
        let mut child = place.command("bash", &["--sandbox", tier]).spawn().unwrap();
        {
            use std::io::Write as _;
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(br#"{"command": "true"}"#).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(words) && said.is_empty() == words.is_empty(),
            "{tier}: {said}"
        );
    }
}

/// The same command with other arguments.
fn arguments(command: &Command, arguments: &[&str]) -> Command {
    let mut other = Command::new(command.get_program());
    other.args(arguments).env_clear();
    other.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    other.current_dir(command.get_current_dir().unwrap());
    other
}

/// Runs a command in a user namespace in which no further ones may be made.
fn without_namespaces(program: &Command, input: &str) -> std::process::Output {
    use std::io::Write as _;
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "bash", "-c", script, "-"]);
    command
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that reads nothing may be gone.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    child.wait_with_output().unwrap()
}

#[test]
fn nested_namespaces_are_no_obstacle() {
    let place = Place::new();
    let program = place.command("bash", &[]);
    let mut command = std::process::Command::new("unshare");
    command.args([
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
    ]);
    command
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear();
    for (name, value) in program.get_envs() {
        command.env(name, value.unwrap());
    }
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    {
        use std::io::Write as _;
        let mut stdin = child.stdin.take().unwrap();
        stdin
            .write_all(br#"{"command": "echo ran > ran; cat ran"}"#)
            .unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("ran\\n"),
        "{output:?}"
    );
}

#[test]
fn only_listed_programs_start() {
    let place = Place::new()
        .with_settings(json!({"allowed_commands": ["ls", "git", "python3"]}))
        .with_variable("PATH", "/usr/local/bin:/usr/bin:/bin");
    let said = place.bash(
        "ls -d .; git init -q . && echo git; python3 -c 'print(\"python\")'; touch marker; sh -c 'echo sh'
         cp /bin/ls . ; printf '#!/bin/bash\\necho script' > s; chmod +x s; ./s; /usr/bin/touch marker
         python3 -c 'import os; fd = os.memfd_create(\"x\")'; ls /usr/bin | wc -l",
    );
    assert!(
        said.content.starts_with(".\ngit\npython\n"),
        "{}",
        said.content
    );
    for absent in ["\nsh\n", "script\n"] {
        assert!(!said.content.contains(absent), "{}", said.content);
    }
    assert!(
        said.content.contains("memfd_create") || said.content.contains("not permitted"),
        "{}",
        said.content
    );
    assert!(!place.path("work/marker").exists());
}

#[test]
fn the_whole_disk_on_request_but_for_what_is_protected() {
    let place = Place::new().with_settings(json!({"sandbox_paths": false}));
    place.write("work/.env", "CANARY-ENV");
    let outside = place.path("outside").display().to_string();
    let conf = place.path("conf/team.yaml").display().to_string();
    let state = place.path("state").display().to_string();
    let said = place.bash(&format!(
        "cat {outside}/secret.txt; echo x > {outside}/new; cat .env; echo evil >> {conf}; ls {state}; echo $$"
    ));
    assert!(
        said.content.contains("CANARY-OUTSIDE") && !said.content.contains("CANARY-ENV"),
        "{}",
        said.content
    );
    assert_eq!(place.read("outside/new"), "x\n");
    assert!(!place.read("conf/team.yaml").contains("evil"));
}
