//! The `ssh` tool: a command on a configured server.

mod argv;
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::bash::{deadline, refusal, told, without_nul};
use super::{Server, ToolAnswer, ToolContext, ToolError, params};
use crate::files;
use crate::process::Input;
use crate::sandbox::{Bind, Command, Network, Policy, Program, Tier};
use argv::{Files, Sharing, arguments, ports};
use shared::{SOCKET, connection};

/// Where a command finds the socket of an open connection: the names of sockets are short.
const SHARED: &str = "/run/ssh";

/// Where clients are looked for when `PATH` leads to none.
const USUAL: &str = "/usr/bin/ssh";

/// With this code the client ends when it could not run the command.
const CLIENT_FAILED: i32 = 255;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The name of the server.
    host: String,
    /// The command line to run there.
    command: String,
    /// Seconds that it may take; 120 by default.
    timeout: Option<f64>,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("ssh", &value)?;
        let deadline = deadline(params.timeout)?;
        without_nul(&params.command)?;
        if params.command.trim().is_empty() {
            return Err(ToolError::tell("`command` is empty"));
        }
        let server = context.servers.get(&params.host).ok_or_else(|| {
            let names: Vec<String> = context
                .servers
                .keys()
                .map(|name| format!("`{name}`"))
                .collect();
            let known = if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            };
            ToolError::refused(format!(
                "`{}` is not one of your servers, which are: {known}",
                params.host
            ))
        })?;
        let connecting = Connecting::new(context.workspace.policy(), server)?;
        let outcome = connecting.run(&params.command, deadline).await?;
        let said = outcome.finished.stderr.text(&context.redactor);
        let mut output = told(outcome, deadline, &context.redactor);
        if output.exit_code == Some(CLIENT_FAILED)
            && let Some(advice) = about_key(&said)
        {
            output.content.push_str(&format!("\n[{advice}]"));
        }
        Ok(output)
    })
}

/// What to do about a key that the client did not accept.
fn about_key(said: &str) -> Option<&'static str> {
    if !said.contains("Host key verification failed") {
        return None;
    }
    if said.contains("IDENTIFICATION HAS CHANGED") || said.contains("REVOKED HOST KEY") {
        return Some(
            "the key of this server is not the one in the user's known_hosts: somebody may be listening in. \
             Do not connect; the user has to ask those who run the server whether they changed its key",
        );
    }
    Some(
        "the key of this server is not in the user's known_hosts: the user has to connect once by hand",
    )
}

/// A server and what is needed to reach it.
struct Connecting<'a> {
    policy: Arc<Policy>,
    server: &'a Server,
    files: Files,
}

impl<'a> Connecting<'a> {
    fn new(policy: &Policy, server: &'a Server) -> Result<Self, ToolError> {
        let client =
            client(policy).ok_or_else(|| ToolError::tell("there is no ssh on this machine"))?;
        let key = key(policy, server);
        let agent = policy.agent_socket.clone().filter(|_| server.agent);
        if agent.is_none() && !key.exists() {
            return Err(ToolError::tell(format!(
                "the key `{}` of the server is missing",
                key.display()
            )));
        }
        let known_hosts = known_hosts(policy)
            .map_err(|error| ToolError::tell(format!("known_hosts cannot be made: {error}")))?;
        // An agent answers only its own user, which a command of root is not.
        let confined =
            policy.tier == Tier::Full && !(agent.is_some() && rustix::process::geteuid().is_root());
        let mut own = policy.clone();
        own.tier = if confined { Tier::Full } else { Tier::Off };
        own.network = Network::Allow;
        own.ports = Some(ports(server));
        own.allowed_commands.clear();
        own.read.clear();
        own.write.clear();
        Ok(Self {
            policy: Arc::new(own),
            server,
            files: Files {
                client,
                key,
                known_hosts,
                accept_new: policy.accept_new_hosts,
                agent,
            },
        })
    }

    async fn run(
        &self,
        command: &str,
        deadline: std::time::Duration,
    ) -> Result<crate::sandbox::Outcome, ToolError> {
        let shared = match &self.policy.state_dir {
            Some(state_dir) if self.policy.tier == Tier::Full => {
                let open = |directory: &Path| Some(self.offering(directory));
                connection(&self.name(), open, state_dir).await
            }
            _ => None,
        };
        let socket = Path::new(SHARED).join(SOCKET);
        let sharing = if shared.is_some() {
            Sharing::Use(&socket)
        } else {
            Sharing::None
        };
        let mut client = self.command(arguments(self.server, &self.files, sharing, command));
        client
            .binds
            .extend(shared.iter().map(|shared| at_shared(&shared.directory)));
        client.run(deadline).await.map_err(refusal)
    }

    /// The client that keeps a connection open.
    fn offering(&self, directory: &Path) -> Command {
        let socket = Path::new(SHARED).join(SOCKET);
        let words = arguments(self.server, &self.files, Sharing::Offer(&socket), "");
        let mut client = self.command(words);
        client.binds.push(at_shared(directory));
        client
    }

    /// A client that sees its key, the known hosts and nothing else of the user's.
    fn command(&self, words: Vec<std::ffi::OsString>) -> Command {
        let Files {
            key,
            known_hosts,
            accept_new,
            agent,
            ..
        } = &self.files;
        let bind = |path: &Path, write| Bind {
            source: path.to_owned(),
            target: path.to_owned(),
            write,
        };
        let mut binds = Vec::new();
        if key.exists() {
            binds.push(bind(key, false));
        }
        if known_hosts.is_file() {
            binds.push(bind(known_hosts, *accept_new));
        }
        binds.extend(agent.iter().map(|agent| bind(agent, true)));
        Command {
            program: Program::Arguments(words),
            directory: "/".into(),
            environment: BTreeMap::new(),
            input: Input::Null,
            binds,
            workspace: false,
            ..Command::script(&self.policy, "")
        }
    }

    /// Everything that a connection depends on.
    fn name(&self) -> String {
        let Server {
            host,
            user,
            port,
            jump,
            ..
        } = self.server;
        let Files {
            key,
            known_hosts,
            accept_new,
            agent,
            ..
        } = &self.files;
        let (key, known_hosts) = (key.display(), known_hosts.display());
        format!("{user}@{host}:{port} {jump:?} {key} {known_hosts} {accept_new} {agent:?}")
    }
}

fn at_shared(directory: &Path) -> Bind {
    Bind {
        source: directory.to_owned(),
        target: SHARED.into(),
        write: true,
    }
}

/// The client as `PATH` finds it, but never one that an agent could have put there.
fn client(policy: &Policy) -> Option<PathBuf> {
    let path = policy.environment.get(std::ffi::OsStr::new("PATH"));
    let path = path
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_default();
    path.split(':')
        .filter(|directory| directory.starts_with('/'))
        .filter_map(|directory| std::fs::canonicalize(Path::new(directory).join("ssh")).ok())
        .chain([PathBuf::from(USUAL)])
        .find(|client| {
            client.is_file()
                && !client.starts_with(&policy.workspace)
                && !policy.write.iter().any(|root| client.starts_with(root))
        })
}

/// The key of the server's entry, else the user's usual one.
fn key(policy: &Policy, server: &Server) -> PathBuf {
    if let Some(key) = &server.key {
        return policy.expand(key);
    }
    let usual =
        ["id_rsa", "id_ed25519", "id_ecdsa"].map(|name| policy.home.join(".ssh").join(name));
    usual
        .iter()
        .find(|key| key.exists())
        .or(usual.first())
        .cloned()
        .unwrap_or_default()
}

/// The user's file of known hosts; made where new hosts are to be added to it.
fn known_hosts(policy: &Policy) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let directory = policy.home.join(".ssh");
    let file = directory.join("known_hosts");
    if policy.accept_new_hosts && !file.exists() {
        files::private_dir(&directory)?;
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&file)?;
    }
    Ok(file)
}
