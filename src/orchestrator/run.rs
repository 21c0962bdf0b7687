//! Running one agent once: conversation, run, result.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Orchestrator;
use crate::agents::{self, Agent, AgentSettings, Ask, ErrorReport, Finished, RunResult, Team};
use crate::cancel::Cancel;
use crate::error::{ErrorClass, OrchError};
use crate::event::{EventKind, Events};
use crate::message::Message;
use crate::providers::Delivery;
use crate::sessions::{self, Session};

/// Which conversation a run belongs to.
#[derive(Clone, Debug, Default)]
pub enum Conversation {
    /// A new one.
    #[default]
    New,
    /// The agent's one of this name; a new one when there is none.
    Named(String),
    /// The agent's last one.
    Last,
    /// This one, with what was said in it.
    Open(Session, Vec<Message>),
}

/// What one agent is to do.
#[derive(Clone, Debug)]
pub struct Order {
    /// The run's id.
    pub run_id: Arc<str>,
    /// The agent.
    pub agent: String,
    /// The prompt.
    pub prompt: String,
    /// The conversation.
    pub conversation: Conversation,
    /// When the run must be over.
    pub deadline: Option<Instant>,
    /// Who takes the answer.
    pub delivery: Delivery,
}

/// What a run gave and left.
#[derive(Debug)]
pub struct Done {
    /// The result.
    pub result: RunResult,
    /// The conversation it belongs to.
    pub session: Session,
    /// What it added to the conversation.
    pub messages: Vec<Message>,
}

impl Orchestrator {
    /// Runs an agent. Failures are in the result.
    ///
    /// # Errors
    /// When the run cannot begin: no such agent, no such conversation, a workspace or a store that cannot
    /// be used.
    pub async fn run_agent(
        &self,
        order: Order,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Done, OrchError> {
        let settings = self.settings_of(&order.agent)?;
        self.run_with(settings, order, events, cancel).await
    }

    pub(super) async fn run_with(
        &self,
        settings: &AgentSettings,
        order: Order,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Done, OrchError> {
        let (session, history) = self.conversation(&order.agent, order.conversation)?;
        let known = |name: &str| self.config.document.agents.get(name);
        let (agent, notices) = self.resolve(&order.agent, settings)?;
        let events = events.for_agent(&order.agent);
        let model = agent.chain.first().map(|link| link.canonical.clone());
        events
            .emit(EventKind::RunStarted {
                kind: "agent",
                model,
            })
            .await;
        for notice in &notices {
            events.notice(notice.clone()).await;
        }
        let ask = Ask {
            run_id: Arc::clone(&order.run_id),
            session: Some(session.id.as_str().into()),
            history,
            prompt: order.prompt,
            deadline: order.deadline,
            delivery: order.delivery,
            ..Ask::default()
        };
        let call = |caller: &Agent, name: &str| self.called(caller, name, &known);
        let team = Team::new(&call, self.config.document.settings.delegation);
        let Finished {
            mut result,
            messages,
        } = Box::pin(agents::run(
            &agent,
            ask,
            self.calls()?,
            &team,
            &events,
            cancel,
        ))
        .await;
        result.session = Some(session.name.clone().unwrap_or_else(|| session.id.clone()));
        result.warnings.splice(0..0, notices);
        if !messages.is_empty() {
            self.remember(&session, &order.run_id, &messages, &mut result)
                .await;
        }
        Ok(Done {
            result,
            session,
            messages,
        })
    }

    /// Keeps the turn. One that cannot be kept is no success: the user would miss it later.
    async fn remember(
        &self,
        session: &Session,
        run_id: &str,
        messages: &[Message],
        result: &mut RunResult,
    ) {
        let Some(store) = &self.store else { return };
        let masked = self.masked(messages);
        if let Err(error) = sessions::append(store, session, run_id, &masked).await {
            let message = format!("the conversation could not be kept: {error}");
            if result.error.is_none() {
                result.ok = false;
                result.error = Some(ErrorReport::new(ErrorClass::Failed, message));
            } else {
                result.warnings.push(message);
            }
        }
    }

    /// What enters the store holds no known secret, whoever said it.
    fn masked(&self, messages: &[Message]) -> Vec<Message> {
        let mask = |text: &mut String| {
            if let std::borrow::Cow::Owned(masked) = self.redactor.mask(text) {
                *text = masked;
            }
        };
        let mut messages = messages.to_vec();
        for message in &mut messages {
            match message {
                Message::User { text } => mask(text),
                Message::Assistant(assistant) => {
                    mask(&mut assistant.text);
                    mask(&mut assistant.reasoning);
                    for call in &mut assistant.calls {
                        mask(&mut call.arguments);
                    }
                }
                Message::Tool { results } => {
                    for result in results {
                        mask(&mut result.content);
                    }
                }
            }
        }
        messages
    }

    fn conversation(
        &self,
        agent: &str,
        wanted: Conversation,
    ) -> Result<(Session, Vec<Message>), OrchError> {
        let unreadable = |error: crate::store::StoreError| {
            OrchError::new(ErrorClass::Failed, "the conversation cannot be read").caused_by(&error)
        };
        let Some(store) = &self.store else {
            return Ok((Session::begin(agent, None), Vec::new()));
        };
        let session = match wanted {
            Conversation::New => return Ok((Session::begin(agent, None), Vec::new())),
            Conversation::Open(session, history) => return Ok((session, history)),
            Conversation::Named(name) => {
                match sessions::find(store, agent, &name).map_err(unreadable)? {
                    Some(session) => session,
                    None => return Ok((Session::begin(agent, Some(&name)), Vec::new())),
                }
            }
            Conversation::Last => sessions::last(store, agent)
                .map_err(unreadable)?
                .ok_or_else(|| {
                    OrchError::new(
                        ErrorClass::Usage,
                        format!("there is no conversation of `{agent}` to continue"),
                    )
                    .with_hint("start one without `--continue`")
                })?,
        };
        let history = sessions::history(store, &session).map_err(unreadable)?;
        Ok((session, history))
    }
}

/// A new run's id: sorts by time.
pub fn new_run_id() -> Arc<str> {
    uuid::Uuid::now_v7().to_string().into()
}

/// The deadline of a run that may take this long.
pub fn deadline(limit: Option<Duration>) -> Option<Instant> {
    limit.map(|limit| Instant::now() + limit)
}
