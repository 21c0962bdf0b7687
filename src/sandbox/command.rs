//! A command in the sandbox: starting it, talking to it, waiting for it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use super::covers::{forget, look};
use super::helper::NAME;
use super::helper::channel::{pair, receive, send};
use super::plan::{Exceeded, How, Plan, Raw, Report, Request};
use super::policy::Policy;
use super::repository::{Before, disarm_new};
use super::settings::Tier;
use super::turn::{self, Turn};
use super::unavailable::Unavailable;
use super::view::{PlanError, plan};
use crate::process::{self, Caps, Cause, Finished, Input};

/// How often a workspace is looked at again when it changes under our eyes.
const LOOKS: u32 = 5;

/// How long the trial of a sandbox may take.
const PROBE: Duration = Duration::from_secs(20);

/// How long the helper may take to end a command that it was asked to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// What runs in the sandbox.
#[derive(Clone, Debug)]
pub enum Program {
    /// A script for bash.
    Script(OsString),
    /// A program, by absolute path or by name, and its arguments.
    Arguments(Vec<OsString>),
}

/// Something of the machine that a command sees besides what its policy shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is: a file, a directory or a socket.
    pub source: PathBuf,
    /// Where the command finds it, absolute.
    pub target: PathBuf,
    /// Whether it may be written. A socket that is to be connected to must be.
    pub write: bool,
}

/// A command for the sandbox.
#[derive(Clone, Debug)]
pub struct Command {
    /// The rules.
    pub policy: Arc<Policy>,
    /// What runs.
    pub program: Program,
    /// Where it runs, absolute.
    pub directory: PathBuf,
    /// Variables over those of the policy.
    pub environment: BTreeMap<OsString, OsString>,
    /// What it reads.
    pub input: Input,
    /// What it sees besides.
    pub binds: Vec<Bind>,
    /// Whether it sees the workspace.
    pub workspace: bool,
    /// A TCP port of the command's own loopback on which the caller listens; see [`Child::listener`].
    pub listen: Option<u16>,
    /// A directory of the machine that is removed when the command has ended, whatever becomes of the caller.
    pub temporary: Option<PathBuf>,
}

impl Command {
    /// A bash script in the workspace.
    pub fn script(policy: &Arc<Policy>, script: impl Into<OsString>) -> Self {
        Self {
            program: Program::Script(script.into()),
            directory: policy.workspace.clone(),
            policy: Arc::clone(policy),
            environment: BTreeMap::new(),
            input: Input::Null,
            binds: Vec::new(),
            workspace: true,
            listen: None,
            temporary: None,
        }
    }

    /// Starts it; returns when the sandbox stands.
    ///
    /// # Errors
    /// When this machine cannot build the sandbox or the program cannot be started.
    pub async fn spawn(&self) -> Result<Child, SandboxError> {
        for _ in 0..LOOKS {
            let command = self.clone();
            let (plan, turn) = tokio::task::spawn_blocking(move || {
                // One that does not see the workspace changes nothing there, and is in nobody's way.
                let turn = if command.workspace {
                    turn::take(&command.policy.workspace)
                } else {
                    Turn::none()
                };
                plan(&command.policy, &command, turn.is_alone).map(|plan| (plan, turn))
            })
            .await
            .map_err(io::Error::from)??;
            // When somebody renames directories of the workspace, what was found is somewhere else now.
            if let Some(child) = start((&plan, &self.policy), turn, &self.input).await? {
                return Ok(child);
            }
            let policy = Arc::clone(&self.policy);
            tokio::task::spawn_blocking(move || forget(&policy))
                .await
                .map_err(io::Error::from)?;
        }
        Err(SandboxError::Changing)
    }

    /// Starts it, reads its output and waits for its end.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn), and when it cannot be waited for.
    pub async fn run(&self, deadline: Duration) -> Result<Outcome, SandboxError> {
        let limits = self.policy.limits;
        let caps = Caps {
            deadline,
            kept: limits.output_kept,
            output: limits.output,
        };
        // Building the sandbox takes from the same time.
        match tokio::time::timeout(deadline, self.spawn()).await {
            Ok(child) => child?.finish(caps).await,
            Err(_) => Ok(Outcome::too_late()),
        }
    }
}

/// Why a command did not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This machine cannot build the sandbox.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The program cannot be started.
    #[error("`{program}` cannot be started")]
    NotStarted {
        /// Its name.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// The workspace cannot be looked at.
    #[error("{0}")]
    Workspace(String),
    /// The workspace does not hold still.
    #[error("the workspace changes too quickly to cover its secrets")]
    Changing,
    /// The helper does not answer.
    #[error("the sandbox helper does not answer")]
    Io(#[from] io::Error),
}

impl From<PlanError> for SandboxError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::NoProgram(program) => Self::NotStarted {
                program,
                source: io::ErrorKind::NotFound.into(),
            },
            PlanError::NeedsMounts(what) => Self::Unavailable(Unavailable {
                tier: Tier::Landlock,
                cause: format!("{what} needs mounts, which this tier does without"),
                fix: "run with the full sandbox".to_owned(),
            }),
            error => Self::Workspace(error.to_string()),
        }
    }
}

/// A running command. Dropping it ends it and all that it started.
#[derive(Debug)]
pub struct Child {
    helper: process::Child,
    socket: AsyncFd<OwnedFd>,
    /// Where [`Input::Pipe`] writes to.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output.
    pub stdout: Option<pipe::Receiver>,
    /// Its standard error.
    pub stderr: Option<pipe::Receiver>,
    /// The caller's ear on the command's own loopback, where [`Command::listen`] asked for one.
    pub listener: Option<TcpListener>,
    moved: Vec<Moved>,
    /// What lost its cover, in words.
    uncovered: Vec<String>,
    after: Arc<After>,
}

/// How a command ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// How; `None` when it was ended.
    pub status: Option<ExitStatus>,
    /// The limit that ended it.
    pub limit: Option<Exceeded>,
    /// What took a name that must not come into being.
    pub moved: Vec<Moved>,
    /// What was found in what it left behind, in words.
    pub found: Vec<String>,
}

/// What is looked for when a command has ended.
#[derive(Debug)]
struct After {
    policy: Arc<Policy>,
    searched: Vec<Raw>,
    before: Before,
}

impl Ended {
    /// What the user must know.
    pub fn warnings(&self) -> Vec<String> {
        warnings(&self.moved, &self.found)
    }
}

/// What took protected names, and what was found in what was left behind, in words.
fn warnings(moved: &[Moved], found: &[String]) -> Vec<String> {
    let moved = moved.iter().map(|moved| {
        format!(
            "`{}` is protected: what took its name is now `{}`",
            moved.from.display(),
            moved.to.display()
        )
    });
    moved.chain(found.iter().cloned()).collect()
}

/// What lost its cover, in words.
fn uncovered(path: &Path, how: How, again: bool) -> String {
    let (kept, could) = match how {
        How::Hide | How::HideDirectory => ("hidden", "read or change"),
        How::ReadOnly | How::Pin => ("protected", "change"),
    };
    let until = if again {
        format!(" until it was {kept} again")
    } else {
        String::new()
    };
    format!(
        "`{}` was replaced by another program while the command ran, which could {could} the new one{until}",
        path.display()
    )
}

/// Something that took a protected name and was given another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The path that was taken.
    pub from: PathBuf,
    /// The path that it has now.
    pub to: PathBuf,
}

/// What came of a command.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended and what it wrote.
    pub finished: Finished,
    /// The limit that ended it.
    pub limit: Option<Exceeded>,
    /// What took a name that must not come into being.
    pub moved: Vec<Moved>,
    /// What was found in what it left behind.
    pub found: Vec<String>,
}

impl Outcome {
    /// What the user must know.
    pub fn warnings(&self) -> Vec<String> {
        warnings(&self.moved, &self.found)
    }

    fn too_late() -> Self {
        Self {
            finished: Finished {
                status: None,
                cause: Cause::Deadline,
                stdout: process::Kept::default(),
                stderr: process::Kept::default(),
            },
            limit: None,
            moved: Vec::new(),
            found: Vec::new(),
        }
    }
}

impl Child {
    /// Sends a signal to the command itself; nothing when it is gone already.
    pub fn signal(&self, signal: Signal) {
        // The helper may be gone.
        drop(send(
            self.socket.get_ref(),
            &Request::Signal(signal.as_raw()),
            &[],
        ));
    }

    /// Asks for the end of the command and all that it started.
    pub fn kill(&self) {
        // The helper may be gone, and everything with it.
        drop(send(self.socket.get_ref(), &Request::Kill, &[]));
    }

    /// Waits until the command and all that it started have ended.
    ///
    /// # Errors
    /// When the helper is gone without a word.
    pub async fn wait(&mut self) -> io::Result<Ended> {
        loop {
            match hear(&self.socket).await? {
                Some((Report::Ended { status, limit }, _)) => {
                    let after = Arc::clone(&self.after);
                    let found = tokio::task::spawn_blocking(move || {
                        let look = |root: &Path| look(&after.policy, root);
                        disarm_new(&after.searched, &after.before, look)
                    });
                    let mut told = std::mem::take(&mut self.uncovered);
                    told.append(&mut found.await.map_err(io::Error::from)?);
                    // The helper may be gone: then it has nothing to do either.
                    drop(send(self.socket.get_ref(), &Request::Done, &[]));
                    self.helper.wait().await?;
                    return Ok(Ended {
                        status: status.map(ExitStatus::from_raw),
                        limit,
                        moved: std::mem::take(&mut self.moved),
                        found: told,
                    });
                }
                Some((Report::Uncovered { path, how, again }, _)) => {
                    self.uncovered.push(uncovered(path.path(), how, again));
                }
                Some((
                    Report::MovedAside {
                        directory,
                        name,
                        now,
                    },
                    _,
                )) => self.moved.push(Moved {
                    from: directory.path().join(name.path()),
                    to: directory.path().join(now.path()),
                }),
                Some((Report::NotStarted { errno }, _)) => {
                    return Err(io::Error::from_raw_os_error(errno));
                }
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Reads what the command writes until it ends or a cap is reached.
    ///
    /// # Errors
    /// When the helper is gone without a word.
    pub async fn finish(mut self, caps: Caps) -> Result<Outcome, SandboxError> {
        let streams = (self.stdout.take(), self.stderr.take());
        let mut ended = None;
        let collected = process::collect(streams, caps, async {
            let (status, rest) = match self.wait().await {
                Ok(end) => (Ok(end.status), Some(end)),
                Err(error) => (Err(error), None),
            };
            ended = rest;
            status
        })
        .await;
        if ended.is_none() {
            self.kill();
            ended = tokio::time::timeout(PATIENCE, self.wait())
                .await
                .ok()
                .transpose()?;
            self.helper.end().await;
        }
        let Ended {
            limit,
            moved,
            found,
            ..
        } = ended.unwrap_or_default();
        Ok(Outcome {
            finished: collected.finish().await?,
            limit,
            moved,
            found,
        })
    }
}

/// Starts the helper; `None` when the workspace changed meanwhile.
async fn start(
    (plan, policy): (&Plan, &Arc<Policy>),
    turn: Turn,
    input: &Input,
) -> Result<Option<Child>, SandboxError> {
    let text = serde_json::to_vec(plan).map_err(io::Error::from)?;
    let mut file = File::from(memfd_create("plan", MemfdFlags::CLOEXEC).map_err(io::Error::from)?);
    file.write_all(&text)?;
    file.rewind()?;
    let (ours, theirs) = pair()?;
    let mut helper = process::Command {
        program: helper_program().into(),
        arguments: Vec::new(),
        environment: BTreeMap::new(),
        directory: "/".into(),
        input: Input::Null,
    }
    .spawn_helper(NAME, theirs)?;
    let mut stdin = None;
    // The mark has its place in the list, also where there is none.
    let nothing = File::open("/dev/null")?;
    let mark = turn
        .file
        .as_ref()
        .map_or(nothing.as_fd(), |mark| mark.as_fd());
    let mut files = vec![file.as_fd(), mark];
    let reader;
    if *input == Input::Pipe {
        let (read, write) = io::pipe()?;
        reader = read;
        files.push(reader.as_fd());
        stdin = Some(pipe::Sender::from_owned_fd(write.into())?);
    }
    send(&ours, &(), &files)?;
    rustix::io::ioctl_fionbio(&ours, true).map_err(io::Error::from)?;
    #[expect(unsafe_code, reason = "the reactor watches a bare number")]
    // SAFETY: the socket is owned by what is registered, and closed only with it.
    let socket = unsafe { AsyncFd::register_with_interest(ours, Interest::READABLE) }
        .map_err(io::Error::from)?;
    let mut moved = Vec::new();
    loop {
        match hear(&socket).await? {
            Some((Report::Running { tcp, .. }, files)) => {
                return Ok(Some(Child {
                    stdout: helper.stdout.take(),
                    stderr: helper.stderr.take(),
                    helper,
                    socket,
                    stdin,
                    listener: files
                        .into_iter()
                        .next()
                        .filter(|_| tcp)
                        .map(TcpListener::from),
                    moved,
                    uncovered: Vec::new(),
                    after: Arc::new(After {
                        policy: Arc::clone(policy),
                        searched: plan.searched.clone(),
                        before: plan.before.clone(),
                    }),
                }));
            }
            Some((Report::Changed, _)) => {
                // It waits for a word before it ends, as after any command.
                while let Some((report, _)) = hear(&socket).await? {
                    if matches!(report, Report::Ended { .. }) {
                        drop(send(socket.get_ref(), &Request::Done, &[]));
                        break;
                    }
                }
                helper.wait().await?;
                return Ok(None);
            }
            Some((Report::Failed { step, errno }, _)) => {
                return Err(Unavailable::new(plan.tier, &step, errno).into());
            }
            Some((Report::NotStarted { errno }, _)) => {
                return Err(SandboxError::NotStarted {
                    program: plan.program.path().display().to_string(),
                    source: io::Error::from_raw_os_error(errno),
                });
            }
            Some((
                Report::MovedAside {
                    directory,
                    name,
                    now,
                },
                _,
            )) => moved.push(Moved {
                from: directory.path().join(name.path()),
                to: directory.path().join(now.path()),
            }),
            // Nothing runs yet that could see it.
            Some((Report::Uncovered { .. }, _)) => {}
            Some((Report::Ended { .. }, _)) | None => {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

/// The next report and its files; `None` at the end.
async fn hear(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<(Report, Vec<OwnedFd>)>> {
    loop {
        let mut ready = socket.readable().await?;
        if let Ok(received) = ready.try_io(|socket| receive(socket.get_ref())) {
            return received;
        }
    }
}

/// Whether this machine can build the sandbox of a policy: builds it and runs `true` in it.
///
/// # Errors
/// When it cannot, with the cause and what would help.
pub async fn probe(policy: &Arc<Policy>) -> Result<(), SandboxError> {
    // What only looks makes no state directory.
    let mut here = Arc::clone(policy);
    if here.state_dir.as_deref().is_some_and(|dir| !dir.exists()) {
        Arc::make_mut(&mut here).state_dir = None;
    }
    let outcome = Command::script(&here, "true").run(PROBE).await?;
    match outcome.finished.status {
        Some(status) if status.success() => Ok(()),
        status => Err(SandboxError::Unavailable(Unavailable {
            tier: policy.tier,
            cause: format!(
                "`true` does not run in it: {}",
                match status {
                    Some(status) => status.to_string(),
                    None => "it did not end".to_owned(),
                }
            ),
            fix: "run with `--sandbox landlock`, or look at what `orch tool bash` says".to_owned(),
        })),
    }
}

static HELPER: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that is started as the helper, for callers that are not this program themselves, such as
/// tests. The first call holds.
pub fn use_helper(program: impl Into<PathBuf>) {
    // A second call changes nothing.
    drop(HELPER.set(program.into()));
}

/// This program, even when its file was replaced or removed meanwhile.
fn helper_program() -> &'static OsStr {
    HELPER.get().map_or_else(
        || OsStr::new("/proc/self/exe"),
        |program| program.as_os_str(),
    )
}
