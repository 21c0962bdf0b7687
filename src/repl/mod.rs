//! The interactive session.
//!
//! May use everything.

mod ahead;
mod attach;
mod calls;
mod changes;
mod commands;
mod complete;
mod costs;
mod draft;
mod editor;
mod export;
mod input;
mod keys;
mod lines;
mod shell;
mod signals;
mod tasks;
mod turn;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use crate::cli::{self, Call};
use crate::error::{ErrorClass, OrchError};
use crate::message::Message;
use crate::orchestrator::{Conversation, Options, Orchestrator};
use crate::render;
use crate::sessions::Session;
use crate::tools::Changes;

use tokio::time::Instant;

use ahead::Ahead;
use calls::LastCall;
use changes::Changed;
use complete::Known;
use editor::{Editor, Line, Question};
use input::Input;
use signals::Signals;

/// What a session holds that changes.
struct Repl<'a> {
    call: &'a Call,
    options: Options,
    orchestrator: Orchestrator,
    /// The agent that is asked.
    agent: String,
    /// The conversation of each agent that was asked.
    conversations: BTreeMap<String, (Session, Vec<Message>)>,
    /// How long one prompt may take.
    limit: Option<Duration>,
    /// The tool calls of the last turn.
    last_calls: Vec<LastCall>,
    /// What the next line is.
    asks: Asks,
    /// What stands at the next prompt already.
    draft: Option<String>,
    /// What was typed ahead and not taken yet.
    ahead: Ahead,
    /// Whether lines come from a terminal.
    editable: bool,
    /// Where the tools keep what they change.
    changes: Changes,
    /// The lines that changed files, the last one last.
    changed: Vec<Changed>,
    signals: Signals,
}

/// What a line is taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// Whatever its first letters say.
    Anything,
    /// A prompt for every agent.
    All,
}

/// What follows a line.
enum Next {
    Prompt,
    Leave(u8),
}

/// Runs a session to its exit code.
pub(crate) async fn run(call: &Call) -> Result<u8, OrchError> {
    let changes = Changes::default();
    let given = cli::options(call)?;
    let options = Options {
        changes: Some(changes.clone()),
        // It caps each run, and a whole conversation as `/budget` does.
        session_budget: given.budget,
        ..given
    };
    let limit = cli::time_limit(call)?;
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
    let mut conversations = BTreeMap::new();
    match cli::conversation(call) {
        Conversation::New => {}
        asked => {
            let opened = orchestrator.opened(&agent, asked)?;
            conversations.insert(agent.clone(), opened);
        }
    }
    let mut repl = Repl {
        call,
        options,
        orchestrator,
        agent,
        conversations,
        limit,
        last_calls: Vec::new(),
        asks: Asks::Anything,
        draft: None,
        ahead: Ahead::default(),
        editable: std::io::stdin().is_terminal(),
        changes,
        changed: Vec::new(),
        signals: Signals::watch()?,
    };
    let mut editor = Editor::start(&history, call.screen)?;
    render::write_apart();
    if repl.editable {
        repl.greet();
        if !repl.conversations.is_empty() && render::stdout_is_terminal() {
            repl.session("")?;
        }
    }
    let code = repl.converse(&mut editor).await;
    editor.restore();
    render::end_pastes(call.screen);
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
                let here = std::env::current_dir().unwrap_or_default();
                path.strip_prefix(&here)
                    .unwrap_or(path)
                    .display()
                    .to_string()
            });
        let agents = config.document.agents.len();
        let plural = if agents == 1 { "agent" } else { "agents" };
        let words = format!(
            "orch {} · {path} · {agents} {plural} · /help",
            env!("CARGO_PKG_VERSION")
        );
        let screen = self.call.screen;
        if render::stdout_is_terminal() {
            self.print_styled(&screen.wrapped(&screen.out.dim(&words)));
        } else {
            self.aside(&words);
        }
    }

    async fn converse(&mut self, editor: &mut Editor) -> u8 {
        loop {
            let asks = std::mem::replace(&mut self.asks, Asks::Anything);
            let line = if let Some(line) = self.early_line() {
                self.print(&format!("{}{line}", self.prompt(asks)));
                Line::Text(line)
            } else {
                // The editor and programs write to the screen by themselves.
                let drained = tokio::select! {
                    biased;
                    // First, so that the editor does not take a terminal that is to be given back.
                    code = self.signals.over() => {
                        render::hurry(Instant::now());
                        return code;
                    }
                    drained = render::drained() => drained,
                };
                // Nobody wants to know more. A terminal that is gone says so by a signal.
                if render::is_reader_gone() || (drained.is_err() && !self.editable) {
                    return 0;
                }
                editor.ask(self.question(asks));
                tokio::select! {
                    line = editor.line() => line,
                    code = self.signals.over() => return code,
                    () = render::reader_gone() => return 0,
                }
            };
            let text = match line {
                Line::Text(text) => text,
                Line::Edit(text) => {
                    self.asks = asks;
                    let done = self.edit(&text).await;
                    if let Some(code) = self.told(done) {
                        return code;
                    }
                    continue;
                }
                Line::Suspend(text) => {
                    self.asks = asks;
                    self.draft = Some(text);
                    signals::stop();
                    continue;
                }
                // Ctrl-C at the prompt only empties the line, unless there is none to empty.
                Line::Interrupted(text) => {
                    if self.signals.is_second_interrupt() && text.is_empty() {
                        return signals::INTERRUPTED;
                    }
                    continue;
                }
                Line::Garbled(text) => {
                    self.asks = asks;
                    self.draft = Some(text);
                    let error = OrchError::new(
                        ErrorClass::Usage,
                        "what was typed is not UTF-8 text, and was not taken",
                    );
                    self.told(Err(error.with_hint(
                        "set the terminal to UTF-8, or convert the text first, for example with \
                         `iconv -f latin1 -t utf-8`",
                    )));
                    continue;
                }
                Line::End => return 0,
                Line::Broken(error) => {
                    render::stderr_line(&format!("error: cannot read the next line: {error}"));
                    return 1;
                }
            };
            // From the end of one line to the next prompt, keys are for the latter.
            let muted = render::mute(self.call.screen);
            let done = match asks {
                Asks::All => match input::read(&text, &[]) {
                    Input::Prompt(prompt) => self.all(prompt).await,
                    // A command is one here too, and the question is over.
                    _ => self.obey(&text).await,
                },
                Asks::Anything => self.obey(&text).await,
            };
            drop(muted);
            self.keep_changes(&text);
            if let Some(code) = self.told(done) {
                return code;
            }
        }
    }

    /// Tells what went wrong; gives the exit code where the session ends.
    fn told(&self, done: Result<Next, OrchError>) -> Option<u8> {
        match done {
            Ok(Next::Prompt) => None,
            Ok(Next::Leave(code)) => Some(code),
            Err(mut error) => {
                error.hint = error.hint.map(|hint| input::in_session(&hint));
                let text = render::error_text(&error.into(), self.call.screen);
                render::styled_stderr_line(&self.call.screen.wrapped(&text));
                None
            }
        }
    }

    fn prompt(&self, asks: Asks) -> String {
        match asks {
            Asks::Anything => format!("[{}] > ", self.agent),
            Asks::All => "[all agents] > ".to_owned(),
        }
    }

    /// A line that was typed before a question was asked during the last turn.
    fn early_line(&mut self) -> Option<String> {
        self.ahead.press(&render::early());
        self.ahead.line()
    }

    fn question(&mut self, asks: Asks) -> Question {
        let config = self.orchestrator.config();
        let owned = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
        let inputs = config.document.tasks.iter().map(|(name, task)| {
            let inputs = owned(&mut task.inputs.keys().map(String::as_str));
            (name.to_owned(), inputs)
        });
        Question {
            prompt: self.prompt(asks),
            known: Known {
                agents: owned(&mut config.document.agents.names()),
                tasks: inputs.collect(),
                agent: self.agent.clone(),
                store: self.orchestrator.store().cloned(),
                workspace: config.working_dir.clone(),
            },
            draft: self.draft.take().unwrap_or_else(|| self.ahead.begun()),
        }
    }

    async fn obey(&mut self, line: &str) -> Result<Next, OrchError> {
        let names = self.orchestrator.config().document.agents.names();
        let names: Vec<String> = names.map(str::to_owned).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        match input::read(line, &names) {
            Input::Empty => Ok(Next::Prompt),
            Input::Needless(name) => Err(OrchError::new(
                ErrorClass::Usage,
                format!("`/{name}` takes nothing behind it"),
            )
            .with_hint(format!("`/{name}` alone does it"))),
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
            Input::At(agent, "") => Err(OrchError::new(
                ErrorClass::Usage,
                format!("`@{agent}` needs a text behind it"),
            )
            .with_hint(format!("`/agent {agent}` switches to the agent"))),
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

    /// Prints what the session itself says, as it fits on the screen.
    fn say(&self, text: &str) {
        self.print(&self.call.screen.wrapped(text));
    }

    /// Prints lines that stay as they are, but for what a terminal would obey: what was said before, what files hold,
    /// what programs read.
    #[expect(
        clippy::unused_self,
        reason = "the session says it, wherever that goes"
    )]
    fn print(&self, text: &str) {
        // A session without a screen ends with its input.
        _ = render::stdout(&format!("{}\n", render::plain(text)));
    }

    /// Prints lines that hold styles of our own; foreign text in them is plain.
    #[expect(
        clippy::unused_self,
        reason = "the session says it, wherever that goes"
    )]
    fn print_styled(&self, text: &str) {
        _ = render::styled_stdout(&format!("{text}\n"));
    }

    /// Prints a line that is no answer.
    fn aside(&self, text: &str) {
        if !self.call.screen.quiet {
            render::aside(self.call.screen, text);
        }
    }
}
