//! Loading the configuration of a call: found, checked, trusted.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use super::Call;
use super::ask::{ask, terminal_or_stdin};
use super::signals::Signals;
use super::stdin::beside;
use crate::config::{self, Config, Env, Source, TrustState};
use crate::error::{ErrorClass, OrchError};
use crate::render::{self, Screen};
use crate::tools;

/// The configuration that holds for a call.
///
/// # Errors
/// Everything that is wrong with it, or that it is not trusted.
pub(crate) fn config(call: &Call) -> Result<Config, OrchError> {
    let config = load(call, call.cli.common.config.as_deref())?;
    if let Some(question) = question(call, &config)? {
        trusted(&config, &question, is_answered(call.screen, &question.text))?;
    }
    Ok(noted(call, config))
}

/// The same beside signals: a file that does not come and a question that is not answered hold up nobody.
///
/// # Errors
/// As [`config`], and when a signal came first.
pub(super) async fn config_beside(call: &Call, signals: &Signals) -> Result<Config, OrchError> {
    let named = call.cli.common.config.as_deref();
    let config = match named.filter(|path| !path.is_file() && path.exists()) {
        // A pipe, say.
        Some(_) => {
            let asked = asked(call, named)?;
            learned(call, beside(signals, move || asked.load()).await??)
        }
        None => load(call, named)?,
    };
    if let Some(question) = question(call, &config)? {
        let (screen, text) = (call.screen, question.text.clone());
        let answer = beside(signals, move || is_answered(screen, &text)).await?;
        trusted(&config, &question, answer)?;
    }
    let config = noted(call, config);
    signals.check().await?;
    Ok(config)
}

fn noted(call: &Call, config: Config) -> Config {
    if !call.screen.quiet {
        for notice in &config.notices {
            render::aside(call.screen, &format!("note: {notice}"));
        }
    }
    config
}

/// The same file once more; without one, wherever one is found now. What it asks for since must be trusted as what it
/// asked for at first.
///
/// # Errors
/// As [`config`]. Nobody is asked here: who does not trust it yet goes on with the one before.
pub(crate) fn reload(call: &Call, before: &Config) -> Result<Config, OrchError> {
    let asked = asked(call, call.cli.common.config.as_deref())?;
    let config = learned(call, asked.load_again(before)?);
    match question(call, &config)? {
        Some(question) => Err(question.refused()),
        None => Ok(config),
    }
}

/// The environment with the `.env` file of this directory, whatever configuration there is.
pub(super) fn environment(call: &Call) -> Env {
    match std::env::current_dir() {
        Ok(current_dir) => config::environment(&current_dir, call.env.clone()),
        Err(_) => call.env.clone(),
    }
}

fn load(call: &Call, named: Option<&Path>) -> Result<Config, OrchError> {
    Ok(learned(call, asked(call, named)?.load()?))
}

/// What is to be loaded.
struct Asked {
    named: Option<PathBuf>,
    current_dir: PathBuf,
    env: Env,
}

impl Asked {
    fn load(self) -> Result<Config, OrchError> {
        self.loaded(config::load)
    }

    fn load_again(self, before: &Config) -> Result<Config, OrchError> {
        self.loaded(|source, env| config::load_again(source, before, env))
    }

    fn loaded(
        self,
        load: impl FnOnce(Source<'_>, Env) -> Result<Config, config::ConfigError>,
    ) -> Result<Config, OrchError> {
        let names = tools::names();
        let source = Source {
            named: self.named.as_deref(),
            current_dir: &self.current_dir,
            tools: &names,
        };
        load(source, self.env).map_err(|error| {
            let (message, hint) = error.told();
            let error = OrchError::new(ErrorClass::Config, message);
            match hint {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })
    }
}

fn asked(call: &Call, named: Option<&Path>) -> Result<Asked, OrchError> {
    let current_dir = std::env::current_dir().map_err(|error| {
        OrchError::new(ErrorClass::Config, "the current directory cannot be found")
            .caused_by(&error)
    })?;
    Ok(Asked {
        named: named.map(Path::to_owned),
        current_dir,
        env: call.env.clone(),
    })
}

fn learned(call: &Call, config: Config) -> Config {
    call.learn(&config);
    tracing::info!(
        file = config.file,
        agents = config.document.agents.len(),
        state = %config.state_dir.display(),
        "configuration read"
    );
    config
}

/// What a person is asked before a configuration that was found, and asks for much, is used.
struct Question {
    text: String,
    /// What follows from a no.
    refusal: (String, String),
}

impl Question {
    fn refused(&self) -> OrchError {
        let (message, hint) = self.refusal.clone();
        OrchError::new(ErrorClass::Config, message).with_hint(hint)
    }
}

/// The question that stands before a configuration is used; a script, and who wants no question, is told how to answer
/// it.
fn question(call: &Call, config: &Config) -> Result<Option<Question>, OrchError> {
    if let Some((message, hint)) = config::refused_workspace(config) {
        return Err(OrchError::new(ErrorClass::Config, message).with_hint(hint));
    }
    let TrustState::Asks(reasons) = config::trust_state(config) else {
        return Ok(None);
    };
    let refusal = TrustState::refusal(&reasons, &config.file);
    let question = Question {
        text: format!("{}\ntrust it until it changes? [y/N] ", refusal.0),
        refusal,
    };
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !terminal || call.cli.run.no_input || config.path.is_none() {
        return Err(question.refused());
    }
    Ok(Some(question))
}

/// Asks the person at the terminal; whether the answer is yes.
fn is_answered(screen: Screen, question: &str) -> bool {
    terminal_or_stdin().is_some_and(|terminal| ask(&terminal, screen, question, || false))
}

/// Keeps the answer, where it is yes.
fn trusted(config: &Config, question: &Question, answer: bool) -> Result<(), OrchError> {
    let path = config.path.as_deref().filter(|_| answer);
    let path = path.ok_or_else(|| question.refused())?;
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
    config::trust(&config.trust_dir, &path, &config.hash).map_err(|error| {
        OrchError::new(
            ErrorClass::Config,
            format!("`{}` cannot be trusted", file.display()),
        )
        .caused_by(&error)
    })?;
    Ok(path)
}
