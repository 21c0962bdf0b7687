//! The CLI in a sandbox: its own files, the way to its API, and the workspace only when it works on
//! it with tools of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::process::Input;
use crate::providers::ToolBridge;
use crate::sandbox::{Bind, Command, Network, Policy, Program, Tier};

use super::ClaudeSpec;
use super::child::Start;
use super::proxy::PORT;

/// Memory that a CLI and its tools may use: its runtime reserves far more than it touches.
const MEMORY: u64 = 16 << 30;

/// What the CLI sees besides the system.
pub(super) struct Seen<'a> {
    /// Its binary.
    pub(super) binary: &'a Path,
    /// What it may read besides: the files of the run.
    pub(super) read: Vec<&'a Path>,
    /// Where it keeps its own state; the user's, where the login is there.
    pub(super) config: Option<&'a Path>,
    /// Our tools.
    pub(super) bridge: Option<&'a ToolBridge>,
    /// Whether it works on the workspace.
    pub(super) workspace: bool,
}

/// Whether the CLI runs in a sandbox under this policy: the tier without namespaces cannot give it a
/// way to its API alone.
pub(super) fn is_confined(spec: &ClaudeSpec) -> Option<&Arc<Policy>> {
    spec.policy
        .as_ref()
        .filter(|policy| policy.tier == Tier::Full)
}

/// The command of a CLI that is confined.
pub(super) fn command(
    spec: &ClaudeSpec,
    policy: &Policy,
    start: &Start<'_>,
    seen: &Seen<'_>,
) -> Command {
    let mut policy = policy.clone();
    policy.network = Network::Deny;
    policy.limits.memory = policy.limits.memory.max(MEMORY);
    // Which programs its shell may start is for the tools of ours; the CLI itself must start.
    policy.allowed_commands.clear();
    let mut binds: Vec<Bind> = seen.read.iter().map(|path| read(path)).collect();
    if !(seen.workspace && seen.binary.starts_with(&policy.workspace)) {
        binds.push(read(&package(seen.binary, &policy)));
    }
    match seen.config {
        Some(config) => binds.push(write(config)),
        None => binds.extend(login(spec, &policy.home).iter().map(|path| write(path))),
    }
    if let Some(bridge) = seen.bridge {
        binds.extend(bridge.socket.parent().map(write));
        binds.extend(bridge.relay.first().map(|program| read(Path::new(program))));
    }
    let program = std::iter::once(OsString::from(start.program));
    Command {
        program: Program::Arguments(program.chain(start.arguments.iter().cloned()).collect()),
        directory: start.directory.to_owned(),
        environment: start.variables(),
        input: Input::Pipe,
        binds,
        workspace: seen.workspace,
        listen: Some(PORT),
        policy: Arc::new(policy),
        temporary: None,
    }
}

/// The files of the user's login, where they are.
fn login(spec: &ClaudeSpec, home: &Path) -> Vec<PathBuf> {
    let files = match spec.variable("CLAUDE_CONFIG_DIR") {
        Some(directory) => vec![PathBuf::from(directory)],
        None => vec![home.join(".claude"), home.join(".claude.json")],
    };
    files.into_iter().filter(|path| path.exists()).collect()
}

/// What belongs to the binary: its package, or else its directory. The binary alone where that holds
/// what the CLI must not see.
fn package(binary: &Path, policy: &Policy) -> PathBuf {
    let directory = binary.parent().unwrap_or(binary);
    let is_package = |path: &&Path| path.join("package.json").is_file();
    let package = directory.ancestors().take(3).find(is_package);
    let package = package.unwrap_or(directory);
    let hidden = [&policy.home, &policy.workspace];
    let holds_hidden = hidden
        .into_iter()
        .chain(&policy.state_dir)
        .any(|path| path.starts_with(package));
    if holds_hidden { binary } else { package }.to_owned()
}

fn read(path: &Path) -> Bind {
    bind(path, false)
}

fn write(path: &Path) -> Bind {
    bind(path, true)
}

fn bind(path: &Path, write: bool) -> Bind {
    Bind {
        source: path.to_owned(),
        target: path.to_owned(),
        write,
    }
}
