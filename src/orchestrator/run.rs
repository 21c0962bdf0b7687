//! Running one agent once: conversation, run, result.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::Instrument as _;

use super::Orchestrator;
use super::kept::{AgentsPlan, KeptRun};
use crate::agents::{self, Agent, Ask, ErrorReport, Finished, Journal, RunResult, Team};
use crate::cancel::Cancel;
use crate::costs::Spent;
use crate::error::{ErrorClass, OrchError};
use crate::event::{EventKind, Events};
use crate::message::Message;
use crate::providers::Delivery;
use crate::resilience::Resilience;
use crate::sessions::compaction::Compaction;
use crate::sessions::{self, Session};
use crate::store::{Job, StoreError};

/// Which conversation a run belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conversation {
    /// A new one.
    #[default]
    New,
    /// The agent's one of this name; a new one when there is none.
    Named(String),
    /// The agent's last one.
    Last,
    /// This one, with what was said in it.
    Open(Session, #[serde(skip)] Vec<Message>),
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
    /// What has given way to a summary in the conversation as it was before.
    pub compaction: Option<Compaction>,
}

/// An agent that can be asked, and the conversation that it is asked in.
pub(super) struct Ready<'a> {
    calls: &'a Resilience,
    order: Order,
    agent: Agent,
    notices: Vec<String>,
    session: Session,
    /// The conversation whose budget covers it.
    charged_session: Arc<str>,
    history: Vec<Message>,
}

impl Orchestrator {
    /// Runs an agent. Failures are in the result.
    ///
    /// # Errors
    /// When the run cannot begin: no such agent, no such conversation, a workspace or a store that cannot
    /// be used.
    pub async fn run_agent(
        &self,
        mut order: Order,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<Done, OrchError> {
        self.settings_of(&order.agent)?;
        self.check_model([order.agent.as_str()])?;
        let opened = self.opened(&order.agent, std::mem::take(&mut order.conversation))?;
        let settled = Conversation::Open(opened.0.clone(), Vec::new());
        let plan = self.agent_plan(&order, settled);
        let name = order.agent.clone();
        let ready = self.ready(&plan, order, opened)?;
        let run = self
            .begin(&ready.order.run_id.clone(), ("agent", &name), plan)
            .await?;
        let (journal, ending) = (run.journal.clone(), |result: &mut RunResult| {
            run.ending(result)
        });
        Ok(self
            .run_ready(&run, (ready, journal), ending, events, cancel)
            .await)
    }

    /// Gets an agent of a plan ready.
    pub(super) fn ready(
        &self,
        plan: &AgentsPlan,
        order: Order,
        (session, history): (Session, Vec<Message>),
    ) -> Result<Ready<'_>, OrchError> {
        let known = |name: &str| plan.agents.get(name);
        let settings = known(&order.agent)
            .ok_or_else(|| OrchError::new(ErrorClass::Config, "the agent is not in the plan"))?;
        let (agent, notices) = self.resolve_among(&order.agent, settings, &known)?;
        Ok(Ready {
            calls: self.calls()?,
            order,
            agent,
            notices,
            charged_session: self.charged_session(&session)?,
            session,
            history,
        })
    }

    /// Runs an agent of a run, or goes on with it; what it finishes is kept in the journal, and with its
    /// last answer what `ending` says.
    pub(super) async fn run_ready(
        &self,
        run: &KeptRun,
        (ready, journal): (Ready<'_>, Journal),
        ending: impl FnOnce(&mut RunResult) -> Option<Job>,
        events: &Events,
        cancel: &Cancel,
    ) -> Done {
        let Ready {
            calls,
            order,
            agent,
            notices,
            charged_session,
            mut session,
            history,
        } = ready;
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
        let said_before = history.len();
        let ask = Ask {
            run_id: Arc::clone(&order.run_id),
            session: Some(session.id.as_str().into()),
            history,
            prompt: order.prompt,
            deadline: order.deadline,
            delivery: order.delivery,
            siblings: run.plan.asked.len() > 1,
            charged_session: Some(charged_session),
            among: u32::try_from(run.plan.asked.len()).unwrap_or(u32::MAX),
            journal,
            spent: Spent::after(run.earlier.of_agent(&order.agent)),
            ..Ask::default()
        };
        let known = |name: &str| run.agent(name);
        let call = |caller: &Agent, name: &str| self.called(caller, name, &known);
        let team = Team::new(&call, self.config.document.settings.delegation);
        let Finished {
            mut result,
            messages,
            compaction,
        } = Box::pin(
            agents::run(&agent, ask, calls, &team, &events, cancel)
                .instrument(tracing::info_span!("run", id = %order.run_id, agent = order.agent)),
        )
        .await;
        result.session = Some(session.name.clone().unwrap_or_else(|| session.id.clone()));
        result.warnings.splice(0..0, notices);
        let summing_up = compaction.as_ref().map(|compaction| {
            let kept = said_before.saturating_sub(compaction.messages);
            sessions::summing_up(&session, kept, &self.masked(&compaction.summary))
        });
        let jobs = summing_up.into_iter().chain(ending(&mut result)).collect();
        if messages.is_empty() {
            run.keep(jobs, &mut result).await;
        } else {
            self.remember(&mut session, &order.run_id, &messages, jobs, &mut result)
                .await;
        }
        Done {
            result,
            session,
            messages,
            compaction,
        }
    }

    /// Keeps the turn. One that cannot be kept is no success: the user would miss it later.
    async fn remember(
        &self,
        session: &mut Session,
        run_id: &str,
        messages: &[Message],
        also: Vec<Job>,
        result: &mut RunResult,
    ) {
        let Some(store) = &self.store else { return };
        let masked = self.masked(messages);
        match sessions::append(store, session, run_id, &masked, also).await {
            Ok(kept) => *session = kept,
            Err(error) => {
                let message = format!("the conversation could not be kept: {error}");
                if result.error.is_none() {
                    result.ok = false;
                    result.error = Some(ErrorReport::new(ErrorClass::Failed, message));
                } else {
                    result.warnings.push(message);
                }
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

    /// The conversation that is meant, with what was said in it.
    pub(crate) fn opened(
        &self,
        agent: &str,
        wanted: Conversation,
    ) -> Result<(Session, Vec<Message>), OrchError> {
        let (session, history) = match wanted {
            Conversation::Open(session, history) => (session, history),
            other => (self.conversation(agent, other)?, Vec::new()),
        };
        match &self.store {
            Some(store) if history.is_empty() && session.turns > 0 => {
                let history =
                    sessions::history(store, &session).map_err(|error| unreadable(&error))?;
                Ok((session, history))
            }
            _ => Ok((session, history)),
        }
    }

    /// The conversation whose budget covers what is spent in this one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn charged_session(&self, session: &Session) -> Result<Arc<str>, OrchError> {
        let found = match (&self.options.charged_session, &self.store) {
            (Some(charged), _) => return Ok(Arc::clone(charged)),
            (None, Some(store)) => sessions::charged(store, session),
            (None, None) => Ok(session.id.clone()),
        };
        let id = found.map_err(|error| unreadable(&error))?;
        Ok(id.into())
    }

    /// The conversation that is meant.
    pub(super) fn conversation(
        &self,
        agent: &str,
        wanted: Conversation,
    ) -> Result<Session, OrchError> {
        let Some(store) = &self.store else {
            return Ok(Session::begin(agent, None));
        };
        match wanted {
            Conversation::New => Ok(Session::begin(agent, None)),
            Conversation::Open(session, _) => Ok(session),
            Conversation::Named(name) => {
                let found =
                    sessions::find(store, agent, &name).map_err(|error| unreadable(&error))?;
                Ok(found.unwrap_or_else(|| Session::begin(agent, Some(&name))))
            }
            Conversation::Last => sessions::last(store, agent)
                .map_err(|error| unreadable(&error))?
                .ok_or_else(|| {
                    OrchError::new(
                        ErrorClass::Usage,
                        format!("there is no conversation of `{agent}` to continue"),
                    )
                    .with_hint("start one without `--continue`")
                }),
        }
    }
}

fn unreadable(error: &StoreError) -> OrchError {
    OrchError::new(ErrorClass::Failed, "the conversation cannot be read")
        .caused_by(error)
        .with_hint(error.hint())
}

/// A new run's id: sorts by time.
pub fn new_run_id() -> Arc<str> {
    uuid::Uuid::now_v7().to_string().into()
}

/// The deadline of a run that may take this long.
pub fn deadline(limit: Option<Duration>) -> Option<Instant> {
    limit.map(|limit| Instant::now() + limit)
}
