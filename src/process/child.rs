//! Starting a child and holding it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, getppid, kill_process,
    set_child_subreaper, set_parent_process_death_signal, setsid, waitid, waitpid,
};
use tokio::net::unix::pipe;

use super::registry::next_marker;
use super::signals::by_default;
use super::table::{MARKER, family};
use super::tree::{Tree, adopted, kill, kill_one};

/// The children that this process started and did not reap yet.
static STARTED: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Children that were dropped and end by themselves.
static LEAVING: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// How often the end of a tree is looked for, and how long between.
const ROUNDS: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(10);

/// What is started.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program: an absolute path, or a name that is looked up in the `PATH` of this process.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment, but for the marker.
    pub environment: BTreeMap<OsString, OsString>,
    /// Where it runs.
    pub directory: PathBuf,
    /// What it reads.
    pub input: Input,
}

/// What a child reads on its standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    #[default]
    Null,
    /// What is written to [`Child::stdin`].
    Pipe,
}

/// A running child. Dropping it ends it and all that it started.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    pid: i32,
    marker: String,
    ended: bool,
    ends_itself: bool,
    /// Where [`Input::Pipe`] writes to.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output.
    pub stdout: Option<pipe::Receiver>,
    /// Its standard error.
    pub stderr: Option<pipe::Receiver>,
}

/// A bare command with nothing of this process's environment, killed when it is dropped.
pub fn command(program: &OsStr) -> tokio::process::Command {
    #[expect(clippy::disallowed_methods, reason = "this is the one door")]
    let mut command = tokio::process::Command::new(program);
    command.env_clear().kill_on_drop(true);
    command
}

impl Command {
    /// Starts it in a session of its own; it dies with the calling thread.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self) -> io::Result<Child> {
        let parent = getpid();
        let mut command = self.prepared();
        #[expect(unsafe_code, reason = "the child must be set up between fork and exec")]
        // SAFETY: the closure only makes system calls and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                setsid()?;
                by_default();
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have died before it was watched.
                if getppid() == Some(parent) {
                    Ok(())
                } else {
                    Err(io::ErrorKind::BrokenPipe.into())
                }
            });
        }
        Self::start(command, false)
    }

    /// Starts a program that sets itself up, under another name and with a socket for its input. It ends by
    /// itself when the socket is closed, so dropping it does not kill it.
    pub(crate) fn spawn_helper(&self, name: &str, socket: OwnedFd) -> io::Result<Child> {
        let mut command = self.prepared();
        // Without a step between fork and exec the quick way to start a process is taken.
        command.arg0(name).stdin(socket).kill_on_drop(false);
        Self::start(command, true)
    }

    fn prepared(&self) -> tokio::process::Command {
        let mut command = command(&self.program);
        command
            .args(&self.arguments)
            .envs(&self.environment)
            .current_dir(&self.directory)
            .stdin(match self.input {
                Input::Null => Stdio::null(),
                Input::Pipe => Stdio::piped(),
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(mut command: tokio::process::Command, ends_itself: bool) -> io::Result<Child> {
        // Orphans of children come to this process instead of to the first one, and are found by that.
        set_child_subreaper(Some(getpid()))?;
        let marker = next_marker(ends_itself);
        command.env(MARKER, &marker);
        // Until it is noted, another thread would take it for an adopted orphan.
        let mut known = started();
        let process = command.spawn()?;
        let pid = process
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or(0);
        known.push(pid);
        drop(known);
        let mut child = Child {
            stdin: None,
            stdout: None,
            stderr: None,
            pid,
            marker,
            ended: false,
            ends_itself,
            process,
        };
        let process = &mut child.process;
        if let Some(stdin) = process.stdin.take() {
            child.stdin = Some(pipe::Sender::from_owned_fd(stdin.into_owned_fd()?)?);
        }
        if let Some(stdout) = process.stdout.take() {
            child.stdout = Some(pipe::Receiver::from_owned_fd(stdout.into_owned_fd()?)?);
        }
        if let Some(stderr) = process.stderr.take() {
            child.stderr = Some(pipe::Receiver::from_owned_fd(stderr.into_owned_fd()?)?);
        }
        Ok(child)
    }
}

impl Child {
    /// Sends a signal to the child alone; nothing when it is gone already.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.unreaped().and_then(Pid::from_raw) {
            // Gone by itself meanwhile is as good.
            _ = kill_process(pid, signal);
        }
    }

    /// Waits for the child itself; what it started may live on until [`end`](Self::end).
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait().await;
        self.forget();
        status
    }

    /// Ends the child and all that it started, and waits until nothing of it is found.
    pub async fn end(&mut self) {
        let mut nothing_before = false;
        for _ in 0..ROUNDS {
            let nothing = self.kill_now() == 0;
            // What gets another parent while it is looked for is seen the next time.
            if nothing && nothing_before {
                break;
            }
            nothing_before = nothing;
            // The child itself must be reaped or it would stay as a zombie.
            drop(tokio::time::timeout(BETWEEN, self.wait()).await);
        }
        drop(tokio::time::timeout(BETWEEN * ROUNDS, self.wait()).await);
        self.ended = true;
        reap_adopted();
    }

    fn kill_now(&self) -> usize {
        let child = self.unreaped();
        let marker = &self.marker;
        kill(Tree { child, marker }) + kill_strays(self.pid)
    }

    /// Kills all of it and sees it gone, for when nothing can be waited for: whoever hears that a run ended finds
    /// nothing of it. What is killed ends within a moment.
    fn kill_and_see_gone(&self) {
        let mut nothing_before = false;
        for _ in 0..ROUNDS {
            let nothing = self.kill_now() == 0;
            // What gets another parent while it is looked for is seen the next time.
            if nothing && nothing_before {
                break;
            }
            nothing_before = nothing;
            if !nothing {
                pause();
            }
        }
    }

    fn unreaped(&self) -> Option<i32> {
        self.process.id().map(|_| self.pid)
    }

    fn forget(&self) {
        started().retain(|pid| *pid != self.pid);
    }
}

/// Waits for the children that were dropped and end by themselves, for when the program ends: whoever hears that it
/// ended finds nothing of it. Such a child takes all that it started along, within some milliseconds.
pub fn see_gone(limit: Duration) {
    let children = std::mem::take(&mut *leaving());
    let waits = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let mut rounds = limit.as_millis();
    for pid in children.into_iter().filter_map(Pid::from_raw) {
        // One that was reaped is nobody's child any more.
        while rounds > 0 && matches!(waitid(WaitId::Pid(pid), waits), Ok(None)) {
            pause();
            rounds -= 1;
        }
    }
}

fn leaving() -> MutexGuard<'static, Vec<i32>> {
    LEAVING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ends_itself && self.unreaped().is_some() {
            leaving().push(self.pid);
        }
        if !self.ended && !self.ends_itself {
            self.kill_and_see_gone();
            // It is reaped by the runtime; this is for what it left behind.
            reap_adopted();
        }
        self.forget();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "in a drop, where nothing can be awaited; a millisecond, and seldom more than one"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

fn started() -> MutexGuard<'static, Vec<i32>> {
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills orphans without a marker, which can be of any tree: only while no other tree runs.
fn kill_strays(pid: i32) -> usize {
    // Locked all along: what starts meanwhile is nobody's orphan.
    let known = started();
    if known.iter().any(|other| *other != pid) {
        return 0;
    }
    let table = family();
    let strays: Vec<_> = adopted(&table, own(), &known)
        .into_iter()
        .filter(|process| !process.zombie)
        .collect();
    for process in &strays {
        kill_one(process);
    }
    strays.len()
}

/// Reaps orphans that came to this process and ended.
fn reap_adopted() {
    // Locked all along: what starts meanwhile is nobody's orphan.
    let known = started();
    for process in adopted(&family(), own(), &known) {
        if process.zombie
            && let Some(pid) = Pid::from_raw(process.pid)
        {
            // Another thread may have been quicker.
            _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

fn own() -> i32 {
    getpid().as_raw_nonzero().get()
}
