//! What every test needs: a directory with a configuration, the real binary, a model server.

pub mod apart;
pub mod stub;
pub mod terminal;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub use stub::Stub;

/// A workspace of its own with a state directory, a home and the real `orch`.
pub struct Context {
    directory: tempfile::TempDir,
}

/// What a finished `orch` left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; 128 + n when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON on stdout: {error}\n{self:#?}"))
    }

    /// Standard output as one JSON value a line.
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
            .collect()
    }

    /// Fails unless the exit code is as told.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

impl Context {
    /// An empty workspace.
    pub fn new() -> Self {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(base).expect("the directory for test files");
        let directory = tempfile::Builder::new()
            .prefix("orch-")
            .tempdir_in(base)
            .expect("a directory");
        for name in ["work", "home", "state"] {
            std::fs::create_dir(directory.path().join(name)).expect("a directory");
        }
        Self { directory }
    }

    /// A workspace with a configuration for one agent `a` of a server at `url`.
    pub fn with_agent(url: &str, more: &str) -> Self {
        let context = Self::new();
        context.write("orch.yaml", agent_config(url, more));
        context
    }

    /// The workspace.
    pub fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// The home directory.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Writes a file of the workspace.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("a file");
    }

    /// Waits for the next step of the clock that files have their times from, a few milliseconds at most.
    pub fn later(&self) {
        let time = || {
            let probe = self.home().join("probe");
            std::fs::write(&probe, "").unwrap();
            probe.metadata().unwrap().modified().unwrap()
        };
        let before = time();
        while time() == before {
            std::thread::yield_now();
        }
    }

    /// Reads a file of the workspace.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.work().join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The real binary in this workspace, with nothing of the surrounding environment, nor the signals that are ignored
    /// there: whoever runs in the background of a shell ignores interrupts.
    pub fn command(&self, args: &[&str]) -> Command {
        self.wrapped(&[], args)
    }

    /// The same, started by another program that gets the path of the binary as its last argument but
    /// those of the binary.
    pub fn wrapped(&self, wrapper: &[&str], args: &[&str]) -> Command {
        let words = [wrapper, &[env!("CARGO_BIN_EXE_orch")], args].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(self.work())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.home())
            .env("ORCH_STATE_DIR", self.state())
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        #[expect(unsafe_code, reason = "the standard library resets no signals")]
        // SAFETY: signal may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
                    libc::signal(signal, libc::SIG_DFL);
                }
                Ok(())
            });
        }
        command
    }

    /// Runs the real binary to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().expect("orch runs"))
    }

    /// Runs the configuration of the workspace, named, so that it needs no trust.
    pub fn orch(&self, args: &[&str]) -> Ran {
        let mut all = vec!["--config", "orch.yaml"];
        all.extend(args);
        self.run(&all)
    }

    /// Runs with bytes on standard input.
    pub fn run_with_stdin(&self, args: &[&str], stdin: &[u8]) -> Ran {
        use std::io::Write;
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("orch runs");
        let mut pipe = child.stdin.take().expect("stdin");
        let stdin = stdin.to_vec();
        let writer = std::thread::spawn(move || pipe.write_all(&stdin).ok());
        let output = child.wait_with_output().expect("orch ends");
        writer.join().expect("the writer ends");
        ran(output)
    }
}

/// A configuration for one agent `a` of a server at `url`, with more YAML behind it.
pub fn agent_config(url: &str, more: &str) -> String {
    format!(
        "settings: {{max_retries: 0}}\n\
         providers:\n  stub: {{kind: openai, base_url: \"{url}\"}}\n\
         agents:\n  a: {{role: You are a., provider: stub, model: stub-model, \
         tools: [read, write, edit, glob, grep, list_dir]}}\n{more}"
    )
}

/// The parts of a finished process.
#[expect(
    clippy::needless_pass_by_value,
    reason = "what is left of a process is used up here"
)]
pub fn ran(output: Output) -> Ran {
    use std::os::unix::process::ExitStatusExt;
    Ran {
        code: output
            .status
            .code()
            .unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
