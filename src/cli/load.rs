//! Loading the configuration of a call: found, checked, trusted.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::Call;
use crate::config::{self, Config, Env, Source, TrustState};
use crate::error::{ErrorClass, OrchError};
use crate::render;
use crate::tools;

/// The configuration that holds for a call.
///
/// # Errors
/// Everything that is wrong with it, or that it is not trusted.
pub(crate) fn config(call: &Call) -> Result<Config, OrchError> {
    let config = load(call, call.cli.common.config.as_deref())?;
    if let Some((message, hint)) = config::refused_workspace(&config) {
        return Err(OrchError::new(ErrorClass::Config, message).with_hint(hint));
    }
    trusted(&config)?;
    if !call.screen.quiet {
        for notice in &config.notices {
            render::stderr_line(&call.screen.err.dim(&format!("note: {notice}")));
        }
    }
    Ok(config)
}

/// The same file once more; without one, wherever one is found now.
///
/// # Errors
/// As [`config`].
pub(crate) fn reload(call: &Call, before: &Config) -> Result<Config, OrchError> {
    // What was in use is in use: it was trusted or named.
    let config = load(
        call,
        before.path.as_deref().or(call.cli.common.config.as_deref()),
    )?;
    Ok(Config {
        origin: before.origin,
        ..config
    })
}

/// The environment with the `.env` file of this directory, whatever configuration there is.
pub(super) fn environment(call: &Call) -> Env {
    match std::env::current_dir() {
        Ok(current_dir) => config::environment(&current_dir, call.env.clone()),
        Err(_) => call.env.clone(),
    }
}

fn load(call: &Call, named: Option<&Path>) -> Result<Config, OrchError> {
    let current_dir = std::env::current_dir().map_err(|error| {
        OrchError::new(ErrorClass::Config, "the current directory cannot be found")
            .caused_by(&error)
    })?;
    let names = tools::names();
    let source = Source {
        named,
        current_dir: &current_dir,
        tools: &names,
    };
    let env: Env = call.env.clone();
    let config = config::load(source, env)
        .map_err(|error| OrchError::new(ErrorClass::Config, error.to_string()))?;
    call.learn(&config);
    tracing::info!(
        file = config.file,
        agents = config.document.agents.len(),
        state = %config.state_dir.display(),
        "configuration read"
    );
    Ok(config)
}

/// A configuration that was found and asks for much: a terminal is asked once, a script is told how.
fn trusted(config: &Config) -> Result<(), OrchError> {
    let TrustState::Asks(reasons) = config::trust_state(config) else {
        return Ok(());
    };
    let (message, hint) = TrustState::refusal(&reasons, &config.file);
    let refused = || OrchError::new(ErrorClass::Config, message.clone()).with_hint(hint.clone());
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let Some(path) = config.path.as_deref().filter(|_| terminal) else {
        return Err(refused());
    };
    let mut err = std::io::stderr().lock();
    let question = format!("{message}\ntrust it until it changes? [y/N] ");
    let mut line = String::new();
    let asked = err
        .write_all(question.as_bytes())
        .and_then(|()| std::io::stdin().lock().read_line(&mut line));
    drop(err);
    if asked.is_err() || !matches!(line.trim(), "y" | "Y" | "yes") {
        return Err(refused());
    }
    config::trust(&config.trust_dir, path, &config.hash).map_err(|error| {
        OrchError::new(ErrorClass::Config, "the answer cannot be kept").caused_by(&error)
    })
}

/// Trusts a file by name; gives its path.
///
/// # Errors
/// When it cannot be read or the answer cannot be kept.
pub(super) fn trust_file(call: &Call, file: &Path) -> Result<PathBuf, OrchError> {
    // What cannot be loaded need not be trusted.
    let config = load(call, Some(file))?;
    let path = config.path.clone().unwrap_or_else(|| file.to_owned());
    config::trust_file(&config.trust_dir, &path).map_err(|error| {
        OrchError::new(
            ErrorClass::Config,
            format!("`{}` cannot be trusted", file.display()),
        )
        .caused_by(&error)
    })?;
    Ok(path)
}
