//! The CLI as a child process, and the end of everything that it started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::unix::pipe;

use crate::process::{self, Input};
use crate::sandbox;

/// How long a CLI whose run was dropped may take to end by itself.
const LEAVE: Duration = Duration::from_secs(2);

/// How long the sandbox may take to end what it was asked to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// A running CLI. Dropping it ends it and all that it started.
#[derive(Debug)]
pub(super) struct Child {
    /// Taken when what is left of it is handed on.
    running: Option<Running>,
    over: bool,
    /// What the user must know of what it left behind; filled in at its end.
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Running {
    /// With the rights of the user.
    Free(Box<process::Child>),
    /// In a sandbox.
    Confined(Box<sandbox::Child>),
}

/// Its standard streams.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: pipe::Sender,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
}

/// What is started.
pub(super) struct Start<'a> {
    pub(super) program: &'a Path,
    pub(super) arguments: &'a [OsString],
    pub(super) inherited: &'a [(String, SecretString)],
    pub(super) environment: &'a [(String, String)],
    pub(super) directory: &'a Path,
}

impl Start<'_> {
    /// The whole environment of the CLI.
    pub(super) fn variables(&self) -> BTreeMap<OsString, OsString> {
        let inherited = self
            .inherited
            .iter()
            .map(|(name, value)| (name.into(), value.expose_secret().into()));
        let own = self
            .environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        inherited.chain(own).collect()
    }
}

impl Child {
    /// Starts the CLI with the rights of the user.
    pub(super) fn spawn(start: &Start<'_>) -> io::Result<(Self, Pipes)> {
        let mut child = process::Command {
            program: start.program.into(),
            arguments: start.arguments.to_vec(),
            environment: start.variables(),
            directory: start.directory.to_owned(),
            input: Input::Pipe,
        }
        .spawn()?;
        let pipes = pipes(child.stdin.take(), child.stdout.take(), child.stderr.take())?;
        Ok((Self::of(Running::Free(Box::new(child))), pipes))
    }

    /// Takes over a CLI that was started in a sandbox.
    pub(super) fn confined(mut child: sandbox::Child) -> io::Result<(Self, Pipes)> {
        let pipes = pipes(child.stdin.take(), child.stdout.take(), child.stderr.take())?;
        Ok((Self::of(Running::Confined(Box::new(child))), pipes))
    }

    fn of(running: Running) -> Self {
        Self {
            running: Some(running),
            over: false,
            warnings: Vec::new(),
        }
    }

    /// Asks it to end its turn and to tell what it cost.
    pub(super) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Asks it to end without another word: an interrupt after the answer would be answered with a
    /// second result.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        match &self.running {
            Some(Running::Free(child)) => child.signal(signal),
            Some(Running::Confined(child)) => child.signal(signal),
            None => {}
        }
    }

    /// Waits for the CLI itself; what it started may live on until [`end`](Self::end).
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.running {
            Some(Running::Free(child)) => child.wait().await,
            Some(Running::Confined(child)) => {
                let ended = child.wait().await?;
                self.warnings.extend(ended.warnings());
                // One that was ended from outside was killed.
                Ok(ended
                    .status
                    .unwrap_or_else(|| ExitStatus::from_raw(Signal::KILL.as_raw())))
            }
            None => Err(io::Error::other("the CLI was waited for already")),
        }
    }

    /// What the user must know of what it left behind.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    /// Ends it and all that it started.
    pub(super) async fn end(&mut self) {
        match &mut self.running {
            Some(Running::Free(child)) => child.end().await,
            Some(Running::Confined(child)) => {
                child.kill();
                if let Ok(Ok(ended)) = tokio::time::timeout(PATIENCE, child.wait()).await {
                    self.warnings.extend(ended.warnings());
                }
            }
            None => {}
        }
        self.over = true;
        // Dropping is the end of whatever would still be there.
        self.running = None;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.interrupt();
        let rest = Self {
            running: self.running.take(),
            over: true,
            warnings: Vec::new(),
        };
        // It may still write its session down. When the runtime ends before that, or there is none,
        // the rest is dropped, and everything ends at once.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(async move {
                let mut rest = rest;
                drop(tokio::time::timeout(LEAVE, rest.wait()).await);
                rest.end().await;
                for warning in rest.take_warnings() {
                    tracing::warn!("{warning}");
                }
            }));
        }
    }
}

fn pipes(
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
) -> io::Result<Pipes> {
    let missing = || io::Error::other("a pipe to the CLI is missing");
    Ok(Pipes {
        stdin: stdin.ok_or_else(missing)?,
        stdout: stdout.ok_or_else(missing)?,
        stderr: stderr.ok_or_else(missing)?,
    })
}
