//! What a configuration file says, whole.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::mask::{secrets_of_url, sounds_secret};
use super::{Entries, Env, Settings};
use crate::agents::AgentSettings;
use crate::mcp::McpServer;
use crate::providers::ProviderSettings;
use crate::tasks::TaskSettings;
use crate::tools::Server;

/// A configuration file, with the defaults of what is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    /// What holds for every agent.
    pub settings: Settings,
    /// Model servers and agent CLIs; the known vendors need no entry.
    pub providers: Entries<ProviderSettings>,
    /// Machines that the ssh tool may reach.
    pub servers: Entries<Server>,
    /// MCP servers whose tools agents may use.
    pub mcp_servers: Entries<McpServer>,
    /// The agents.
    pub agents: Entries<AgentSettings>,
    /// Work in steps.
    pub tasks: Entries<TaskSettings>,
    /// What runs tasks.
    pub engine: Engine,
}

/// What runs tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// This process.
    #[default]
    Local,
    /// Many machines; not built yet.
    Restate,
}

/// How a configuration was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By `--config` or `$ORCH_CONFIG`.
    Named,
    /// In the current directory.
    Found,
    /// In the user's own configuration directory.
    User,
    /// There is none; everything has its default.
    Nowhere,
}

/// What decided that ssh hosts nobody knows are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// `settings.ssh_strict_host_checking`.
    File,
    /// `SSH_KNOWN_HOSTS_CHECK` of the process environment.
    Process,
    /// `SSH_KNOWN_HOSTS_CHECK` of a `.env` file.
    Dotenv,
}

impl DecidedBy {
    /// The rule as people know it.
    pub fn rule(self) -> &'static str {
        match self {
            Self::File => "settings.ssh_strict_host_checking",
            Self::Process => "SSH_KNOWN_HOSTS_CHECK",
            Self::Dotenv => "SSH_KNOWN_HOSTS_CHECK of .env",
        }
    }
}

/// A loaded configuration: immutable, complete, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file, absolute; `None` when there is none.
    pub path: Option<PathBuf>,
    /// The file as the user knows it, for messages.
    pub file: String,
    /// How it was come by.
    pub origin: Origin,
    /// The directory that relative paths of the file start from: that of the file; the current
    /// directory for the user's own configuration.
    pub base_dir: PathBuf,
    /// What it says.
    pub document: Document,
    /// The workspace of tools (`settings.working_dir`), absolute.
    pub working_dir: PathBuf,
    /// Where the agents' Markdown logs go; not created by loading.
    pub logs_dir: PathBuf,
    /// Where saved answers go; not created by loading.
    pub outputs_dir: PathBuf,
    /// Where the ledger, sessions and runs are kept; not created by loading.
    pub state_dir: PathBuf,
    /// Where it is kept which found configurations are trusted: never where the configuration
    /// itself could put it.
    pub trust_dir: PathBuf,
    /// The environment, `.env` files included.
    pub env: Env,
    /// What decided that servers whose host key nobody knows yet are accepted; `None` where they are refused, or there
    /// are no servers.
    pub accepts_hosts: Option<DecidedBy>,
    /// What trust is given to, as SHA-256 in hexadecimal: the file's bytes and what else decides over what it may do;
    /// empty for the user's own configuration.
    pub hash: String,
    /// What the user should know but which stops nothing, one line each.
    pub notices: Vec<String>,
}

impl Config {
    /// A path that the configuration names: `~` is the home directory, relative paths start at
    /// `base_dir`.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.base_dir.join(self.env.expand(path))
    }

    /// A program that the configuration names: what has a `/` is a path that starts at the file, for the user's own
    /// configuration too, which must start nothing of whatever directory it is used in. Anything else is a name for
    /// `PATH`.
    pub fn program(&self, written: &str) -> OsString {
        if !written.contains('/') {
            return written.into();
        }
        let beside = self.path.as_deref().and_then(Path::parent);
        let path = beside
            .unwrap_or(&self.base_dir)
            .join(self.env.expand(written));
        // Without the `.` of `./program`.
        path.components().collect::<PathBuf>().into_os_string()
    }

    /// Every value that must appear on no surface: keys and passwords of the environment, of
    /// variables that `api_key_env` names, and those written into headers, addresses and variables of servers.
    pub fn secrets(&self) -> Vec<SecretString> {
        let document = &self.document;
        let providers = || document.providers.iter().map(|(_, provider)| provider);
        let servers = || document.mcp_servers.iter().map(|(_, server)| server);
        let named =
            providers().filter_map(|provider| self.env.secret(provider.api_key_env.as_deref()?));
        let written = providers()
            .flat_map(|provider| &provider.headers)
            .chain(servers().flat_map(|server| server.headers.iter().chain(&server.env)))
            .filter(|(name, _)| sounds_secret(name))
            .map(|(_, value)| SecretString::from(value.as_str()));
        let addresses = providers()
            .filter_map(|provider| provider.base_url.as_deref())
            .chain(servers().filter_map(|server| server.url.as_deref()));
        let in_addresses = addresses.flat_map(secrets_of_url).map(SecretString::from);
        let all = self.env.secrets().chain(named).chain(written);
        all.chain(in_addresses).collect()
    }
}
