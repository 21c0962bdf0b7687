//! The sandbox of commands on the kernel that the tests run on: through `orch tool bash` as a user would, and
//! through the library where a caller talks to a running command.

mod beside;
mod development;
mod fuzz;
mod leftovers;
mod limits;
mod nested;
mod network;
mod protected;
mod remembered;
mod repositories;
mod running;
mod ssh;
mod tiers;
mod unreadable;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use orch::sandbox::{Policy, SandboxSettings, use_helper};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A workspace with a home, a neighbour that no command may reach, and a configuration.
pub struct Place {
    base: TempDir,
    settings: Value,
    servers: Value,
    environment: Vec<(String, String)>,
}

/// What `orch tool` said.
#[derive(Debug)]
pub struct Said {
    pub status: String,
    pub content: String,
    pub exit_code: Option<i64>,
}

impl Said {
    /// The content of a call that went well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, "ok", "{self:?}");
        self.content
    }
}

impl Place {
    pub fn new() -> Self {
        // Not below `/tmp`, which a command sees as its own.
        let base = tempfile::Builder::new()
            .prefix("sandbox-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let place = Self {
            base,
            settings: json!({}),
            servers: json!({}),
            environment: Vec::new(),
        };
        for name in ["work", "home", "outside", "conf"] {
            std::fs::create_dir(place.path(name)).unwrap();
        }
        place.write(
            "home/.gitconfig",
            "[user]\n\tname = Tester\n\temail = t@example.com\n",
        );
        place.write("home/.ssh/id_ed25519", "CANARY-HOME");
        place.write("outside/secret.txt", "CANARY-OUTSIDE");
        place
    }

    pub fn with_settings(mut self, settings: Value) -> Self {
        self.settings = settings;
        self
    }

    pub fn with_servers(mut self, servers: Value) -> Self {
        self.servers = servers;
        self
    }

    pub fn with_variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// `work`, `home`, `outside`, or something in them.
    pub fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// A script in the sandbox.
    #[track_caller]
    pub fn bash(&self, script: &str) -> Said {
        self.tool("bash", &json!({"command": script, "timeout": 120}), &[])
    }

    #[track_caller]
    pub fn tool(&self, tool: &str, parameters: &Value, flags: &[&str]) -> Said {
        let mut child = self.command(tool, flags).spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(parameters.to_string().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let Ok(said) = serde_json::from_slice::<Value>(&output.stdout) else {
            panic!("{}\n{errors}", String::from_utf8_lossy(&output.stdout));
        };
        Said {
            status: said["status"].as_str().unwrap().to_owned(),
            content: said["content"].as_str().unwrap().to_owned(),
            exit_code: said["exit_code"].as_i64(),
        }
    }

    /// `orch tool`, which reads its parameters from standard input.
    pub fn command(&self, tool: &str, flags: &[&str]) -> Command {
        let mut settings = self.settings.clone();
        settings["working_dir"] = json!(self.path("work"));
        settings["state_dir"] = json!(self.path("state"));
        let config = json!({
            "settings": settings,
            "servers": self.servers,
            "agents": {"tester": {"role": "test", "provider": "openai", "model": "gpt4o", "tools": ["bash"]}},
        });
        self.write("conf/team.yaml", &config.to_string());
        let mut command = Command::new(env!("CARGO_BIN_EXE_orch"));
        command
            .args(["tool", tool, "-", "--json", "--config"])
            .arg(self.path("conf/team.yaml"))
            .args(flags)
            .current_dir(self.path("conf"))
            .env_clear()
            .env("PATH", path())
            .env("HOME", self.path("home"))
            .env("LANG", "C.UTF-8")
            .env("OPENAI_API_KEY", "CANARY-KEY-0123456789")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A policy for the library.
    pub fn policy(&self) -> Policy {
        use_helper(env!("CARGO_BIN_EXE_orch"));
        let settings = SandboxSettings::default();
        let mut policy = Policy::new(&self.path("work"), &self.path("home"), &settings).unwrap();
        policy.environment.insert("PATH".into(), path().into());
        policy
    }

    pub fn shared_policy(&self) -> Arc<Policy> {
        Arc::new(self.policy())
    }
}

/// The path of whoever runs the tests, so that their compilers are found.
pub fn path() -> String {
    std::env::var("PATH").unwrap()
}

/// Numbers of the processes whose command line holds a text.
pub fn processes_with(text: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|pid| {
            let line =
                std::fs::read(Path::new("/proc").join(pid).join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

/// Waits until something holds. The minute is a bound against hangs, not a measure.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < std::time::Duration::from_mins(1),
            "waited in vain: {what}"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// A script in a sandbox of its own that goes on until it is waited for.
pub fn started(place: &Place, script: &str) -> Child {
    let mut child = place.command("bash", &[]).spawn().unwrap();
    let parameters = json!({"command": script, "timeout": 120}).to_string();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(parameters.as_bytes()).unwrap();
    child
}

#[track_caller]
pub fn finished(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits in a script for a file.
pub fn wait_for(name: &str) -> String {
    format!("while [ ! -e {name} ]; do sleep 0.05; done")
}

/// Whether random tests run at full length.
pub fn is_long() -> bool {
    std::env::var_os("ORCH_TEST_LONG").is_some()
}
