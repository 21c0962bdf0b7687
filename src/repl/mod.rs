//! The interactive session.
//!
//! May use everything.

mod changes;
mod commands;
mod editor;
mod input;
mod tasks;
mod turn;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agents::ToolReport;
use crate::cli::{self, Call};
use crate::error::{ErrorClass, OrchError};
use crate::message::Message;
use crate::orchestrator::{Options, Orchestrator};
use crate::render;
use crate::sessions::Session;
use crate::tools::Changes;

use changes::Changed;
use editor::{Editor, Line};
use input::Input;

/// What a session holds that changes.
struct Repl<'a> {
    call: &'a Call,
    options: Options,
    orchestrator: Orchestrator,
    /// The agent that is asked.
    agent: String,
    /// The conversation of each agent that was asked.
    conversations: BTreeMap<String, (Session, Vec<Message>)>,
    /// The tools of the last turn.
    last_tools: Vec<ToolReport>,
    /// Where the tools keep what they change.
    changes: Changes,
    /// The lines that changed files, the last one last.
    changed: Vec<Changed>,
    interrupt: Signal,
    terminate: Signal,
}

/// What follows a line.
enum Next {
    Prompt,
    Leave(u8),
}

/// Runs a session to its exit code.
pub(crate) async fn run(call: &Call) -> Result<u8, OrchError> {
    let changes = Changes::default();
    let options = Options {
        changes: Some(changes.clone()),
        ..cli::options(call)?
    };
    let config = Arc::new(cli::load_config(call)?);
    let first = match call.agent() {
        Some(name) => Some(name.to_owned()),
        None => config.document.agents.names().next().map(str::to_owned),
    };
    let Some(agent) = first else {
        return Err(
            OrchError::new(ErrorClass::Config, "there are no agents to talk to")
                .with_hint("`orch init` writes a configuration with one"),
        );
    };
    let history = config.state_dir.join("history");
    let orchestrator = Orchestrator::open(config, options.clone())?;
    orchestrator.settings_of(&agent)?;
    let watch = |kind| {
        signal(kind).map_err(|error| {
            OrchError::new(ErrorClass::Failed, "cannot watch for signals").caused_by(&error)
        })
    };
    let mut repl = Repl {
        call,
        options,
        orchestrator,
        agent,
        conversations: BTreeMap::new(),
        last_tools: Vec::new(),
        changes,
        changed: Vec::new(),
        interrupt: watch(SignalKind::interrupt())?,
        terminate: watch(SignalKind::terminate())?,
    };
    let mut editor = Editor::start(&history)?;
    if std::io::stdin().is_terminal() {
        repl.greet();
    }
    let code = repl.converse(&mut editor).await;
    editor.restore();
    repl.orchestrator.close().await?;
    Ok(code)
}

impl Repl<'_> {
    fn greet(&self) {
        let config = self.orchestrator.config();
        let path = config
            .path
            .as_ref()
            .map_or("no configuration".to_owned(), |path| {
                path.display().to_string()
            });
        let agents = config.document.agents.len();
        let plural = if agents == 1 { "agent" } else { "agents" };
        self.say(&self.call.screen.out.dim(&format!(
            "orch {} · {path} · {agents} {plural} · /help",
            env!("CARGO_PKG_VERSION")
        )));
    }

    async fn converse(&mut self, editor: &mut Editor) -> u8 {
        loop {
            let names: Vec<String> = self
                .orchestrator
                .config()
                .document
                .agents
                .names()
                .map(str::to_owned)
                .collect();
            editor.ask(&format!("[{}] > ", self.agent), names.clone());
            let line = tokio::select! {
                line = editor.line() => line,
                _ = self.terminate.recv() => return 143,
            };
            let text = match line {
                Line::Text(text) => text,
                // Ctrl-C at the prompt only empties the line.
                Line::Interrupted => continue,
                Line::End => return 0,
                Line::Broken(error) => {
                    render::stderr_line(&format!("error: cannot read the next line: {error}"));
                    return 1;
                }
            };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let done = self.obey(input::read(&text, &names)).await;
            self.keep_changes(&text);
            match done {
                Ok(Next::Prompt) => {}
                Ok(Next::Leave(code)) => return code,
                Err(error) => {
                    render::stderr_line(&render::error_text(&error.into(), self.call.screen));
                }
            }
        }
    }

    async fn obey(&mut self, input: Input<'_>) -> Result<Next, OrchError> {
        match input {
            Input::Empty => Ok(Next::Prompt),
            Input::Command("quit", _) => Ok(Next::Leave(0)),
            Input::Command(name, arguments) => self.command(name, arguments).await,
            Input::Unknown(name, nearest) => {
                let error =
                    OrchError::new(ErrorClass::Usage, format!("there is no command `/{name}`"));
                Err(error.with_hint(match nearest {
                    Some(near) => format!("did you mean `/{near}`?"),
                    None => "`/help` lists the commands".to_owned(),
                }))
            }
            Input::Shell(command) => self.shell(command).await,
            Input::At(agent, text) => {
                let agent = agent.to_owned();
                self.turn(&agent, text).await
            }
            Input::Prompt(text) => {
                let agent = self.agent.clone();
                self.turn(&agent, text).await
            }
        }
    }

    /// Prints a line of the session itself.
    #[expect(
        clippy::unused_self,
        reason = "the session says it, wherever that goes"
    )]
    fn say(&self, text: &str) {
        // A session without a screen ends with its input.
        _ = render::stdout(&format!("{text}\n"));
    }
}
