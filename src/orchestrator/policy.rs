//! From the settings of an agent to the one policy value that its tools obey.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use super::Orchestrator;
use crate::agents::AgentSettings;
use crate::config::{Config, Origin};
use crate::costs::Prices;
use crate::error::{ErrorClass, OrchError};
use crate::sandbox::{self, Network, Policy, SandboxSettings};
use crate::tools::Workspace;

/// What decides which files and networks an agent's tools reach; agents with equal rights share one
/// workspace.
pub(super) type Rights = SandboxSettings;

/// The user's own prices, in the state directory.
pub(crate) const PRICE_FILE: &str = "prices.json";

/// The prices that hold for a configuration: the user's own file over the built-in table.
///
/// # Errors
/// When there is such a file and it is wrong: a call must not be charged at a price that was replaced.
pub(super) fn prices(config: &Config) -> Result<Prices, OrchError> {
    Prices::with_user_file(&config.state_dir.join(PRICE_FILE)).map_err(|error| {
        OrchError::new(ErrorClass::Config, "the price file cannot be used")
            .caused_by(&error)
            .with_hint(error.hint())
    })
}

impl Orchestrator {
    /// The workspace that the tools of an agent see; opened when first asked for.
    ///
    /// # Errors
    /// When the workspace cannot be opened or a pattern is wrong.
    pub(super) fn workspace(&self, agent: &AgentSettings) -> Result<Arc<Workspace>, OrchError> {
        let mut rights = self
            .config
            .document
            .settings
            .sandbox
            .for_agent(&agent.sandbox);
        if let Some(tier) = self.options.tier {
            rights.tier = tier;
        }
        let mut open = self
            .workspaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, workspace)) = open.iter().find(|(known, _)| *known == rights) {
            return Ok(Arc::clone(workspace));
        }
        tracing::info!(
            tier = rights.tier.name(),
            network = ?rights.network,
            workspace = %self.config.working_dir.display(),
            "sandbox of the tools"
        );
        let policy = policy(&self.config, &rights)?;
        let workspace = Workspace::open(Arc::new(policy)).map_err(|error| {
            let path = self.config.working_dir.display();
            OrchError::new(
                ErrorClass::Config,
                format!("cannot open the workspace `{path}`"),
            )
            .caused_by(&error)
            .with_hint("`settings.working_dir` names the directory that agents work in")
        })?;
        let workspace = Arc::new(workspace.keeping(self.options.changes.clone()));
        open.push((rights, Arc::clone(&workspace)));
        Ok(workspace)
    }
}

fn policy(config: &Config, rights: &Rights) -> Result<Policy, OrchError> {
    let settings = &config.document.settings;
    let home = config
        .env
        .process("HOME")
        .map_or_else(|| PathBuf::from("/nonexistent"), PathBuf::from);
    let mut policy = Policy::new(&config.working_dir, &home, rights).map_err(|error| {
        OrchError::new(ErrorClass::Config, error.to_string())
            .caused_by_source(&error)
            .with_hint("`settings.working_dir` names the directory that agents work in")
    })?;
    policy.confined = settings.sandbox_paths;
    policy.accept_new_hosts = !settings.ssh_strict_host_checking;
    policy.agent_socket = config.env.process("SSH_AUTH_SOCK").map(PathBuf::from);
    policy
        .allowed_commands
        .clone_from(&settings.allowed_commands);
    policy.state_dir = Some(config.state_dir.clone());
    policy.private.push(real(&config.state_dir));
    policy
        .protected
        .extend(config.path.iter().map(|path| real(path)));
    // Where it is a link, the link must stay what it is.
    policy
        .protected
        .extend(config.path.iter().filter_map(|path| {
            let directory = std::fs::canonicalize(path.parent()?).ok()?;
            Some(directory.join(path.file_name()?)).filter(|path| path.is_symlink())
        }));
    if config.origin != Origin::User {
        policy.configuration_dirs.push(real(&config.base_dir));
    }
    policy
        .configuration_dirs
        .extend(std::env::current_dir().ok());
    let network = rights.network == Network::Allow;
    policy.environment = sandbox::environment(|name| config.env.process(name), network);
    Ok(policy)
}

/// A path with symbolic links resolved, where it exists.
pub(super) fn real(path: &std::path::Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
