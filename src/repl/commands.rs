//! The slash commands.

use std::fmt::Write;
use std::sync::Arc;

use super::input::COMMANDS;
use super::signals::Came;
use super::{Asks, Next, Repl};
use crate::cli;
use crate::error::{ErrorClass, OrchError};
use crate::message::Message;
use crate::sessions::{self, Session};
use crate::store::{Store, StoreError};

/// Conversations that are listed.
const LISTED: u32 = 20;

impl Repl<'_> {
    pub(super) async fn command(&mut self, name: &str, arguments: &str) -> Result<Next, OrchError> {
        match name {
            "status" => self.say(cli::status_text(&self.orchestrator.status()?).trim_end()),
            "agents" => {
                let text = cli::agents_text(self.orchestrator.config(), Some(&self.agent));
                self.say(text.trim_end());
            }
            "agent" => self.switch_agent(arguments)?,
            "models" => self.say(cli::models_text(self.call.screen.columns()).trim_end()),
            "model" => self.switch_model(arguments)?,
            "logs" => self.logs(arguments)?,
            "costs" => self.costs(arguments).await?,
            "health" => return self.health().await,
            "reload" => self.reload()?,
            "all" if arguments.is_empty() => self.asks = Asks::All,
            "edit" if self.editable => return self.edit(arguments).await,
            "edit" => {
                return Err(usage(
                    "there is no terminal to edit on",
                    "write the prompt as a line",
                ));
            }
            "all" => return self.all(arguments).await,
            "session" => self.session(arguments)?,
            "sessions" => self.sessions()?,
            "fork" => self.fork(arguments).await?,
            "export" => self.export(arguments)?,
            "new" => {
                self.conversations.remove(&self.agent);
                self.say(&format!("a new conversation with {}", self.agent));
            }
            "diff" => self.diff()?,
            "undo" => self.undo()?,
            "tools" => self.tools(arguments)?,
            "budget" => self.budget(arguments)?,
            "tasks" => self.say(cli::tasks_text(self.orchestrator.config()).trim_end()),
            "task" => return self.task(arguments).await,
            "runs" => self.runs()?,
            "resume" => return self.resume(arguments).await,
            "help" => self.say(help().trim_end()),
            other => {
                return Err(usage(
                    format!("`/{other}` is not built yet"),
                    "`/help` lists the commands",
                ));
            }
        }
        Ok(Next::Prompt)
    }

    fn switch_agent(&mut self, name: &str) -> Result<(), OrchError> {
        if name.is_empty() {
            return Err(usage("`/agent` needs a name", "`/agents` lists them"));
        }
        self.orchestrator.settings_of(name)?;
        name.clone_into(&mut self.agent);
        self.say(&format!("active agent: {name}"));
        Ok(())
    }

    fn switch_model(&mut self, model: &str) -> Result<(), OrchError> {
        if model.contains(char::is_whitespace) {
            return Err(usage(
                format!("`{model}` is no name of a model: it has blanks"),
                "`/models` lists the aliases",
            ));
        }
        let mut options = self.options.clone();
        options.model = (!model.is_empty()).then(|| model.to_owned());
        let renewed = self.orchestrator.renewed(None, options.clone());
        renewed.check_model([self.agent.as_str()])?;
        self.options = options;
        self.orchestrator = renewed;
        self.say(&match &self.options.model {
            Some(model) => format!("every agent now uses {model}; `/model` alone undoes it"),
            None => "every agent uses its own model".to_owned(),
        });
        Ok(())
    }

    fn logs(&self, name: &str) -> Result<(), OrchError> {
        let name = if name.is_empty() { &self.agent } else { name };
        self.orchestrator.settings_of(name)?;
        let entries = cli::logs_of(self.orchestrator.config(), name)?;
        self.print(&if entries.is_empty() {
            "(empty)".to_owned()
        } else {
            entries.join("\n\n")
        });
        Ok(())
    }

    async fn health(&mut self) -> Result<Next, OrchError> {
        let (_canceller, cancel) = crate::cancel::switch();
        let orchestrator = &self.orchestrator;
        let healths = tokio::select! {
            healths = orchestrator.health(None, false, None, &cancel) => healths?,
            came = self.signals.next() => {
                if let Came::Over(code) = came {
                    return Ok(Next::Leave(code));
                }
                return Err(OrchError::new(ErrorClass::Interrupted, "interrupted"));
            }
        };
        let text = cli::health_text(&healths, self.call.screen.out);
        self.print_styled(&self.call.screen.wrapped(text.trim_end()));
        Ok(Next::Prompt)
    }

    /// Reads the same file again; a broken one changes nothing.
    fn reload(&mut self) -> Result<(), OrchError> {
        let read = cli::reload_config(self.call, self.orchestrator.config()).and_then(|config| {
            let agents = &config.document.agents;
            let agent = agents.names().find(|name| *name == self.agent);
            match agent.or_else(|| agents.names().next()).map(str::to_owned) {
                Some(agent) => Ok((config, agent)),
                None => Err(OrchError::new(ErrorClass::Config, "it has no agents now")
                    .with_hint("add one and `/reload`")),
            }
        });
        let read = read.and_then(|(config, agent)| {
            let config = Arc::new(config);
            let options = self.options.clone();
            let (renewed, prices) = self.orchestrator.reloaded(Arc::clone(&config), options)?;
            let said = changes(self.orchestrator.config(), &config, prices);
            Ok((renewed, agent, said))
        });
        let (renewed, agent, mut said) = read.map_err(|mut error| {
            error.message = format!("the configuration stays as it was: {}", error.message);
            error
        })?;
        self.orchestrator = renewed;
        if agent != self.agent {
            _ = write!(said, "\nactive agent: {agent}");
            self.agent = agent;
        }
        self.say(&said);
        Ok(())
    }

    pub(super) fn session(&mut self, name: &str) -> Result<(), OrchError> {
        if name.is_empty() {
            self.say(&match self.conversations.get(&self.agent) {
                Some((session, messages)) if session.name.is_some() || !messages.is_empty() => {
                    format!("{}: {} messages", title(session), messages.len())
                }
                _ => "nothing was said yet".to_owned(),
            });
            return Ok(());
        }
        let store = self.store()?;
        let found = sessions::find(store, &self.agent, name).map_err(|error| unreadable(&error))?;
        let (session, history, said) = match found {
            Some(session) => {
                let history =
                    sessions::history(store, &session).map_err(|error| unreadable(&error))?;
                let said = format!("{}: {} messages", title(&session), history.len());
                (session, history, said)
            }
            None => (
                Session::begin(&self.agent, Some(name)),
                Vec::new(),
                format!("a new conversation {name}"),
            ),
        };
        self.conversations
            .insert(self.agent.clone(), (session, history));
        self.say(&said);
        Ok(())
    }

    fn sessions(&self) -> Result<(), OrchError> {
        let list = sessions::list(self.store()?, &self.agent, LISTED)
            .map_err(|error| unreadable(&error))?;
        let mut text = String::new();
        for session in &list {
            let time = jiff::Timestamp::from_millisecond(session.updated_ms).unwrap_or_default();
            let time = crate::clock::local(time).strftime("%Y-%m-%d %H:%M");
            let turns = if session.turns == 1 { "turn" } else { "turns" };
            // Writing to a string cannot fail.
            _ = writeln!(
                text,
                "  {time}  {}  {} {turns}",
                title(session),
                session.turns
            );
        }
        self.say(if text.is_empty() {
            "no conversations yet"
        } else {
            text.trim_end()
        });
        Ok(())
    }

    async fn fork(&mut self, name: &str) -> Result<(), OrchError> {
        let name = (!name.is_empty()).then_some(name);
        let (session, history) = self.said("ask something first")?;
        let store = self.store()?;
        if let Some(name) = name
            && sessions::find(store, &self.agent, name)
                .map_err(|error| unreadable(&error))?
                .is_some()
        {
            return Err(usage(
                format!("there is a conversation `{name}` already"),
                "give the copy another name; `/session NAME` goes on with that one",
            ));
        }
        let copy = sessions::fork(store, session, name)
            .await
            .map_err(|error| {
                OrchError::new(ErrorClass::Failed, "the conversation cannot be forked")
                    .caused_by(&error)
            })?;
        let history = history.clone();
        self.say(&format!("going on in {}", title(&copy)));
        self.conversations
            .insert(self.agent.clone(), (copy, history));
        Ok(())
    }

    /// The conversation with the agent, where anything was said in it.
    pub(super) fn said(&self, hint: &str) -> Result<&(Session, Vec<Message>), OrchError> {
        self.conversations
            .get(&self.agent)
            .filter(|(_, messages)| !messages.is_empty())
            .ok_or_else(|| usage("nothing was said yet", hint))
    }

    fn tools(&self, arguments: &str) -> Result<(), OrchError> {
        if !matches!(arguments, "" | "last") {
            return Err(usage(
                format!("`/tools` knows no `{arguments}`"),
                "`/tools` lists what the agent has, `/tools last` what it did",
            ));
        }
        if arguments == "last" {
            let calls = self.last_calls.iter();
            let texts: Vec<String> = calls.map(|call| call.text(self.call.screen.out)).collect();
            let text = self.orchestrator.redactor().mask_owned(texts.concat());
            self.print_styled(if text.is_empty() {
                "no tool ran in the last turn"
            } else {
                text.trim_end()
            });
            return Ok(());
        }
        let settings = self.orchestrator.settings_of(&self.agent)?;
        let mut text = String::new();
        for name in &settings.tools {
            if let Some(spec) = crate::tools::spec(name) {
                let first = spec.description.lines().next().unwrap_or_default();
                _ = writeln!(text, "  {name}: {first}");
            }
        }
        self.say(if text.is_empty() {
            "the agent has no tools"
        } else {
            text.trim_end()
        });
        Ok(())
    }

    pub(super) fn store(&self) -> Result<&Store, OrchError> {
        self.orchestrator.store().ok_or_else(|| {
            OrchError::new(ErrorClass::Failed, "there is no store for conversations")
        })
    }
}

pub(super) fn usage(message: impl Into<String>, hint: &str) -> OrchError {
    OrchError::new(ErrorClass::Usage, message).with_hint(hint)
}

pub(super) fn unreadable(error: &StoreError) -> OrchError {
    OrchError::new(ErrorClass::Failed, "the conversations cannot be read").caused_by(error)
}

fn title(session: &Session) -> &str {
    session.name.as_deref().unwrap_or(&session.id)
}

/// What a reload changed, in one line.
fn changes(before: &crate::config::Config, after: &crate::config::Config, prices: bool) -> String {
    let (old, new) = (&before.document, &after.document);
    let mut said = Vec::new();
    let listed = |names: Vec<&str>, what: &str| {
        (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
    };
    said.extend(listed(
        new.agents
            .names()
            .filter(|name| !old.agents.contains(name))
            .collect(),
        "added",
    ));
    said.extend(listed(
        old.agents
            .names()
            .filter(|name| !new.agents.contains(name))
            .collect(),
        "removed",
    ));
    let changed = new
        .agents
        .iter()
        .filter(|(name, agent)| old.agents.get(name).is_some_and(|before| before != *agent));
    said.extend(listed(changed.map(|(name, _)| name).collect(), "changed"));
    if old.settings != new.settings {
        said.push("settings changed".to_owned());
    }
    if old.providers != new.providers || old.servers != new.servers {
        said.push("providers or servers changed".to_owned());
    }
    if prices {
        said.push("prices changed".to_owned());
    }
    if old.mcp_servers != new.mcp_servers {
        said.push("MCP servers changed".to_owned());
    }
    if old.tasks != new.tasks {
        said.push("tasks changed".to_owned());
    }
    if said.is_empty() {
        "nothing changed".to_owned()
    } else {
        format!("reloaded: {}", said.join("; "))
    }
}

fn help() -> String {
    let mut text = String::new();
    for command in COMMANDS {
        let form = format!("/{} {}", command.name, command.arguments);
        _ = writeln!(text, "  {form:20} {}", command.about);
    }
    text.push_str(
        "\n  anything else is a prompt; `//` begins one with a slash\n  \
         @agent text          ask another agent without switching\n  \
         @path                in a prompt: take the file along\n  \
         !command             run a shell line of your own\n  \
         Ctrl-C stops the turn, twice leaves; a trailing \\ or Alt-Enter begins a new line\n  \
         Tab completes; Ctrl-X Ctrl-E opens the line in your editor\n",
    );
    text
}
