//! The CLI as a child process, and the end of everything that it started.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use secrecy::{ExposeSecret, SecretString};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

/// The variable that marks every descendant, whatever session it moves to.
const MARKER: &str = "ORCH_CHILD";

/// How often the end of the descendants is looked for again, and how long between: a process that
/// forks faster than it is found is found in the end.
const ROUNDS: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(10);

/// How long a CLI whose run was dropped may take to end by itself.
const LEAVE: Duration = Duration::from_secs(2);

/// A running CLI. Dropping it ends it and all that it started.
#[derive(Debug)]
pub(super) struct Child {
    process: Option<tokio::process::Child>,
    pid: Option<Pid>,
    mark: String,
    over: bool,
}

/// Its standard streams.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// What is started.
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [OsString],
    pub(super) inherited: &'a [(String, SecretString)],
    pub(super) environment: &'a [(String, String)],
    pub(super) directory: &'a Path,
}

impl Child {
    /// Starts the CLI in a process group and an environment of its own.
    pub(super) fn spawn(start: &Start<'_>) -> io::Result<(Self, Pipes)> {
        let mark = uuid::Uuid::new_v4().simple().to_string();
        #[expect(
            clippy::disallowed_methods,
            reason = "everything that it is for is set below"
        )]
        let mut command = tokio::process::Command::new(start.program);
        command
            .args(start.arguments)
            .env_clear()
            .envs(
                start
                    .inherited
                    .iter()
                    .map(|(name, value)| (name, value.expose_secret())),
            )
            .envs(start.environment.iter().map(|(name, value)| (name, value)))
            .env(MARKER, &mark)
            .current_dir(start.directory)
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let closed = || io::Error::other("a pipe to the CLI is missing");
        let pipes = Pipes {
            stdin: process.stdin.take().ok_or_else(closed)?,
            stdout: process.stdout.take().ok_or_else(closed)?,
            stderr: process.stderr.take().ok_or_else(closed)?,
        };
        let pid = process
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        let child = Self {
            process: Some(process),
            pid,
            mark,
            over: false,
        };
        Ok((child, pipes))
    }

    /// Asks it to end its turn and to tell what it cost.
    pub(super) fn interrupt(&self) {
        if let (Some(pid), true) = (self.pid, self.is_unreaped()) {
            // One that is gone already needs no asking.
            let _ = kill_process(pid, Signal::INT);
        }
    }

    /// Asks it to end without another word: an interrupt after the answer would be answered with a
    /// second result.
    pub(super) fn terminate(&self) {
        if let (Some(pid), true) = (self.pid, self.is_unreaped()) {
            // One that is gone already needs no asking.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Waits for the CLI itself; what it started may live on.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.process {
            Some(process) => process.wait().await,
            None => Err(io::Error::other("the CLI was waited for already")),
        }
    }

    /// Ends it and all that it started.
    pub(super) async fn end(&mut self) {
        for _ in 0..ROUNDS {
            if !kill_all(self.unreaped(), &self.mark) {
                break;
            }
            // Reaps the CLI itself, which else would be found again.
            if let Some(process) = &mut self.process {
                drop(tokio::time::timeout(BETWEEN, process.wait()).await);
            } else {
                tokio::time::sleep(BETWEEN).await;
            }
        }
        self.over = true;
    }

    fn is_unreaped(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.id().is_some())
    }

    fn unreaped(&self) -> Option<Pid> {
        self.pid.filter(|_| self.is_unreaped())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.interrupt();
        let rest = Self {
            process: self.process.take(),
            pid: self.pid,
            mark: std::mem::take(&mut self.mark),
            over: true,
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            kill_all(rest.unreaped(), &rest.mark);
            return;
        };
        // It may still write its session down; when the runtime ends before that, the guard is
        // dropped and everything ends at once.
        let mut guard = AtOnce(rest);
        drop(runtime.spawn(async move {
            if let Some(process) = &mut guard.0.process {
                drop(tokio::time::timeout(LEAVE, process.wait()).await);
            }
            guard.0.end().await;
        }));
    }
}

/// Ends everything at once when dropped before its time.
struct AtOnce(Child);

impl Drop for AtOnce {
    fn drop(&mut self) {
        kill_all(self.0.unreaped(), &self.0.mark);
    }
}

/// Kills every process that carries the mark and every descendant of one; tells whether there was
/// any.
fn kill_all(child: Option<Pid>, mark: &str) -> bool {
    let mut doomed: BTreeSet<i32> = child
        .map(|pid| pid.as_raw_nonzero().get())
        .into_iter()
        .collect();
    let table = processes(mark);
    doomed.extend(
        table
            .iter()
            .filter(|process| process.marked)
            .map(|process| process.pid),
    );
    loop {
        let found: Vec<i32> = table
            .iter()
            .filter(|process| doomed.contains(&process.parent) && !doomed.contains(&process.pid))
            .map(|process| process.pid)
            .collect();
        if found.is_empty() {
            break;
        }
        doomed.extend(found);
    }
    let doomed: Vec<&Process> = table
        .iter()
        .filter(|process| doomed.contains(&process.pid))
        .collect();
    for process in &doomed {
        let Some(pid) = Pid::from_raw(process.pid) else {
            continue;
        };
        // The handle is of one process: the number may be given to another meanwhile, which was
        // not there when the table was made.
        if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
            && start_time(process.pid) == Some(process.started)
        {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
    !doomed.is_empty()
}

/// A process of this machine that is no zombie.
struct Process {
    pid: i32,
    parent: i32,
    started: u64,
    marked: bool,
}

fn processes(mark: &str) -> Vec<Process> {
    let mark = format!("{MARKER}={mark}");
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let (parent, started) = stat(pid)?;
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            Some(Process {
                pid,
                parent,
                started,
                marked: environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == mark.as_bytes()),
            })
        })
        .collect()
}

fn start_time(pid: i32) -> Option<u64> {
    stat(pid).map(|(_, started)| started)
}

/// Parent and start time; `None` for a zombie, which only waits to be reaped.
fn stat(pid: i32) -> Option<(i32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some((parent, started))
}
