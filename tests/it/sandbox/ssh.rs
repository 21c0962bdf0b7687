//! The ssh tool with the real OpenSSH client against Debian's server on the loopback.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use orch::event::Events;
use orch::message::ToolCall;
use orch::sandbox::environment;
use orch::tools::{Approver, Server, ToolContext, Workspace, execute};
use serde_json::{Value, json};

use super::{Place, Said, until};

/// A server with keys of its own that ends with the test.
struct Sshd {
    process: Child,
    port: u16,
    log: PathBuf,
    user: String,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Sshd {
    /// Starts it; the key of the place's home may log in, and the home knows the server when asked to.
    fn start(place: &Place, known: bool) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let at = |name: &str| place.path(&format!("sshd/{name}"));
        std::fs::create_dir_all(at("")).unwrap();
        generate(&at("host_key"));
        let key = place.path("home/.ssh/id_ed25519");
        std::fs::remove_file(&key).unwrap();
        generate(&key);
        std::fs::copy(key.with_extension("pub"), at("authorized_keys")).unwrap();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             LogLevel VERBOSE\nMaxStartups 100\n",
            at("host_key").display(),
            at("authorized_keys").display()
        );
        std::fs::write(at("config"), config).unwrap();
        if rustix::process::geteuid().is_root() {
            // Where the server of root separates its privileges.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let log = at("log");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(at("config"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("this test needs /usr/sbin/sshd: apt-get install openssh-server");
        if known {
            let host_key = std::fs::read_to_string(at("host_key.pub")).unwrap();
            place.write(
                "home/.ssh/known_hosts",
                &format!("[127.0.0.1]:{port} {host_key}"),
            );
        }
        until("the server", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let user = Command::new("id").arg("-un").output().unwrap();
        Self {
            process,
            port,
            log,
            user: String::from_utf8(user.stdout).unwrap().trim().to_owned(),
        }
    }

    fn entry(&self) -> Value {
        json!({"host": "127.0.0.1", "port": self.port, "user": self.user, "key": "~/.ssh/id_ed25519"})
    }

    fn logins(&self) -> usize {
        std::fs::read_to_string(&self.log)
            .unwrap()
            .matches("Accepted publickey")
            .count()
    }
}

fn generate(key: &std::path::Path) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(key)
        .status()
        .unwrap();
    assert!(status.success());
}

fn run(place: &Place, command: &str) -> Said {
    place.tool(
        "ssh",
        &json!({"host": "web", "command": command, "timeout": 30}),
        &[],
    )
}

#[test]
fn commands_run_on_the_server() {
    let place = Place::new();
    let sshd = Sshd::start(&place, true);
    for tier in ["full", "off"] {
        let place = &mut Place {
            servers: json!({"web": sshd.entry()}),
            ..Place::new()
        };
        copy_ssh(&sshd, place);
        let run = |command: &str| {
            place.tool(
                "ssh",
                &json!({"host": "web", "command": command, "timeout": 30}),
                &["--sandbox", tier],
            )
        };
        assert_eq!(
            run("echo out; echo err >&2; echo $((1 + 1))").ok(),
            "out\n2\n[stderr]\nerr\n",
            "{tier}"
        );
        let said = run("exit 7");
        assert_eq!(
            (said.content.as_str(), said.exit_code),
            ("[exit code 7]", Some(7)),
            "{tier}"
        );
        // Quotes and options are the remote shell's business.
        assert_eq!(
            run("printf '%s\n' -oProxyCommand=x \"a  b\"").ok(),
            "-oProxyCommand=x\na  b\n",
            "{tier}"
        );
        let said = place.tool(
            "ssh",
            &json!({"host": "web", "command": "sleep 60", "timeout": 1}),
            &["--sandbox", tier],
        );
        assert_eq!(said.status, "timeout", "{tier}");
        let said = run("head -c 1000000 /dev/zero | tr '\\0' x");
        assert!(said.content.contains("left out"), "{tier}");
    }
}

/// Gives a place the key and the known hosts of the server's own place.
fn copy_ssh(sshd: &Sshd, place: &Place) {
    let from = sshd
        .log
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("home/.ssh");
    for name in ["id_ed25519", "known_hosts"] {
        std::fs::copy(from.join(name), place.path("home/.ssh").join(name)).unwrap();
    }
}

#[test]
fn unknown_and_changed_servers_are_refused() {
    let place = Place::new();
    let sshd = Sshd::start(&place, false);
    let place = place.with_servers(json!({"web": sshd.entry()}));
    let said = run(&place, "echo connected");
    assert_eq!(said.status, "error");
    assert!(
        said.content.contains("not in the user's known_hosts"),
        "{}",
        said.content
    );
    assert_eq!(sshd.logins(), 0);
    // New ones are accepted on request and remembered; changed ones never.
    let place = place.with_settings(json!({"ssh_strict_host_checking": false}));
    assert_eq!(run(&place, "echo connected").ok(), "connected\n");
    let known = place.read("home/.ssh/known_hosts");
    assert!(known.contains("ssh-ed25519"), "{known}");
    let (_, key) = known.split_once("ssh-ed25519 ").unwrap();
    let other: String = key
        .chars()
        .rev()
        .filter(|c| c.is_alphanumeric())
        .take(20)
        .collect();
    place.write(
        "home/.ssh/known_hosts",
        &known.replace(&key[40..60], &other),
    );
    let said = run(&place, "echo connected");
    assert_eq!(said.status, "error", "{said:?}");
    assert!(
        said.content.contains("somebody may be listening in") && !said.content.contains("by hand"),
        "{said:?}"
    );
}

#[test]
fn what_a_command_says_of_keys_is_not_taken_for_the_servers() {
    let place = Place::new();
    let sshd = Sshd::start(&place, true);
    let place = place.with_servers(json!({"web": sshd.entry()}));
    let said = run(&place, "echo Host key verification failed. >&2; exit 1");
    assert!(
        said.content.contains("verification") && !said.content.contains("known_hosts"),
        "{said:?}"
    );
}

#[test]
fn the_model_decides_nothing_but_the_command() {
    let place = Place::new();
    let sshd = Sshd::start(&place, true);
    let place = place.with_servers(json!({"web": sshd.entry()}));
    for (parameters, status) in [
        (json!({"host": "127.0.0.1", "command": "id"}), "refused"),
        (json!({"host": "web ", "command": "id"}), "refused"),
        (
            json!({"host": "-oProxyCommand=touch x", "command": "id"}),
            "refused",
        ),
        (json!({"host": "root@web", "command": "id"}), "refused"),
        (
            json!({"host": "web", "command": "id", "user": "root"}),
            "error",
        ),
        (
            json!({"host": "web", "command": "id", "key_path": "/etc/shadow"}),
            "error",
        ),
        (json!({"host": "web", "command": "id", "port": 22}), "error"),
        (json!({"host": "web", "command": "a\u{0}b"}), "error"),
        (json!({"host": "web", "command": " "}), "error"),
    ] {
        let said = place.tool("ssh", &parameters, &[]);
        assert_eq!(said.status, status, "{parameters} {said:?}");
    }
    assert_eq!(sshd.logins(), 0);
}

#[test]
fn another_host_is_jumped_over() {
    let place = Place::new();
    let sshd = Sshd::start(&place, true);
    let mut entry = sshd.entry();
    entry["jump"] = json!(format!("{}@127.0.0.1:{}", sshd.user, sshd.port));
    let place = place.with_servers(json!({"web": entry}));
    assert_eq!(run(&place, "echo far away").ok(), "far away\n");
    assert_eq!(sshd.logins(), 2);
}

#[test]
fn what_the_client_sees_is_its_key_alone() {
    // A client that shows its view instead of connecting.
    let place = Place::new();
    let sshd = Sshd::start(&place, true);
    place.write("bin/ssh", "#!/bin/bash\nls -A ~/.ssh; cat ~/.gitconfig WORK/file OUTSIDE/secret.txt 2>&1 | grep -c 'No such'\n");
    let script = place.read("bin/ssh");
    let script = script.replace("WORK", place.path("work").to_str().unwrap());
    place.write(
        "bin/ssh",
        &script.replace("OUTSIDE", place.path("outside").to_str().unwrap()),
    );
    place.write("work/file", "");
    std::fs::set_permissions(
        place.path("bin/ssh"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let path = format!("{}:{}", place.path("bin").display(), super::path());
    let place = place
        .with_servers(json!({"web": sshd.entry()}))
        .with_variable("PATH", path);
    assert_eq!(run(&place, "id").ok(), "id_ed25519\nknown_hosts\n3\n");
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let place = Place::new();
    let sshd = Sshd::start(&place, true);
    let mut policy = place.policy();
    policy.state_dir = Some(place.path("state"));
    policy.environment = environment(|name| (name == "PATH").then(super::path), false);
    let server: Server = serde_json::from_value(sshd.entry()).unwrap();
    let context = ToolContext {
        agent: "tester".into(),
        tools: vec!["ssh".to_owned()],
        workspace: Arc::new(Workspace::open(Arc::new(policy)).unwrap()),
        servers: Arc::new(BTreeMap::from([("web".to_owned(), server)])),
        http: Arc::default(),
        approvals: Arc::default(),
        approver: Approver::Nobody,
        redactor: orch::redact::Redactor::default(),
    };
    for round in 0..4 {
        let call = ToolCall {
            id: "1".to_owned(),
            name: "ssh".to_owned(),
            arguments: json!({"host": "web", "command": format!("echo {round}")}).to_string(),
            ..ToolCall::default()
        };
        let outcome = execute(&context, &call, &Events::nobody()).await.unwrap();
        assert_eq!(outcome.content, format!("{round}\n"));
    }
    // The first for itself, the second for all that follow.
    assert_eq!(sshd.logins(), 2);
}
