//! One prompt of a session, and shell lines of the user's own.

use std::sync::Arc;

use tokio::time::Instant;

use super::signals::{Came, Signals};
use super::{Next, Repl, calls, input};
use crate::agents::RunResult;
use crate::cancel::{Canceller, Cause, switch};
use crate::cli::signals::show;
use crate::error::OrchError;
use crate::event::Events;
use crate::orchestrator::{
    AllOrder, Conversation, Options, Orchestrator, Order, deadline, new_run_id,
};
use crate::providers::Delivery;
use crate::render::{self, Form, View};
use crate::sessions::Session;

impl Repl<'_> {
    /// Asks an agent; the conversation goes on from turn to turn.
    pub(super) async fn turn(&mut self, agent: &str, prompt: &str) -> Result<Next, OrchError> {
        let prompt = self.with_files(prompt, &[agent])?;
        self.catch_up(agent)?;
        let conversation = match self.conversations.get(agent) {
            Some((session, history)) => Conversation::Open(session.clone(), history.clone()),
            None => Conversation::New,
        };
        let order = Order {
            run_id: new_run_id(),
            agent: agent.to_owned(),
            prompt,
            conversation,
            deadline: deadline(self.limit),
            delivery: Delivery::Live,
        };
        let (session, turns) = match &order.conversation {
            Conversation::Open(session, _) => {
                let charged = self.orchestrator.charged_session(session)?;
                (Some(charged), session.turns)
            }
            _ => (None, 0),
        };
        let left = self
            .orchestrator
            .left(&order.run_id, Some(agent), session.as_deref());
        let (canceller, cancel) = switch();
        let mut view =
            View::new(Form::Text, self.call.screen, self.orchestrator.redactor()).with_left(left);
        let (events, receiver) = Events::channel(&order.run_id);
        let orchestrator = &self.orchestrator;
        let running = async {
            let events = events;
            orchestrator.run_agent(order, &events, &cancel).await
        };
        let watching = show(&mut view, receiver, &canceller);
        let work = async { tokio::join!(running, watching) };
        let (done, watched) = match stoppable(Box::pin(work), &mut self.signals, &canceller).await {
            Ok((done, watched)) => (done?, watched),
            Err(code) => return Ok(Next::Leave(code)),
        };
        self.last_calls = calls::of(&done.result.tools, &done.messages);
        // What cannot be shown is in the log and in the conversation.
        _ = watched.and_then(|()| view.finish(&in_session(done.result)));
        let entry = self
            .conversations
            .entry(agent.to_owned())
            .or_insert_with(|| (done.session.clone(), Vec::new()));
        entry.0 = done.session;
        // What was said elsewhere meanwhile is not known here until the next turn.
        entry.0.turns = entry.0.turns.min(turns + 1);
        if let Some(compaction) = done.compaction {
            entry.1.splice(..compaction.messages, compaction.summary);
        }
        entry.1.extend(done.messages);
        Ok(Next::Prompt)
    }

    /// For what is asked from within the conversation of the agent, and whose budget covers that: the conversation,
    /// which begins with it where there is none.
    pub(super) fn charging(&mut self) -> Result<(Orchestrator, Arc<str>), OrchError> {
        let begun = || (Session::begin(&self.agent, None), Vec::new());
        let (session, _) = self
            .conversations
            .entry(self.agent.clone())
            .or_insert_with(begun);
        let charged = self.orchestrator.charged_session(session)?;
        let options = Options {
            charged_session: Some(Arc::clone(&charged)),
            ..self.options.clone()
        };
        Ok((self.orchestrator.renewed(None, options), charged))
    }

    /// Asks every agent, in parallel.
    pub(super) async fn all(&mut self, prompt: &str) -> Result<Next, OrchError> {
        let agents = &self.orchestrator.config().document.agents;
        let prompt = self.with_files(prompt, &agents.names().collect::<Vec<_>>())?;
        let order = AllOrder {
            run_id: new_run_id(),
            only: Vec::new(),
            prompt,
            conversation: Conversation::New,
            deadline: deadline(self.limit),
            at_once: crate::cli::at_once(),
        };
        let (canceller, cancel) = switch();
        let (charging, charged) = self.charging()?;
        let left = charging.left(&order.run_id, None, Some(&charged));
        let mut view = View::new(Form::Text, self.call.screen, charging.redactor())
            .with_left(left)
            .without_text();
        let (events, receiver) = Events::channel(&order.run_id);
        let (orchestrator, screen) = (&charging, self.call.screen);
        let finished = view.finished();
        let running = async {
            let events = events;
            orchestrator
                .run_all(order, &events, &cancel, |result| {
                    finished.note(&result.agent);
                    let result = in_session(result.clone());
                    _ = render::answer(&result, screen, orchestrator.redactor());
                })
                .await
        };
        let watching = show(&mut view, receiver, &canceller);
        let work = async { tokio::join!(running, watching) };
        let (done, watched) = match stoppable(work, &mut self.signals, &canceller).await {
            Ok((done, watched)) => (done?, watched),
            Err(code) => return Ok(Next::Leave(code)),
        };
        _ = watched.and_then(|()| view.finish(&in_session(done)));
        Ok(Next::Prompt)
    }
}

/// A result whose hint names the commands of a session.
pub(super) fn in_session(mut result: RunResult) -> RunResult {
    if let Some(error) = &mut result.error {
        error.hint = error.hint.take().map(|hint| input::in_session(&hint));
    }
    result
}

/// Does work that Ctrl-C stops in good order; a second Ctrl-C or a SIGTERM leaves it and gives the exit code.
///
/// A Ctrl-C that came before, meant for something else, stops nothing.
pub(super) async fn stoppable<T>(
    work: impl Future<Output = T>,
    signals: &mut Signals,
    canceller: &Canceller,
) -> Result<T, u8> {
    signals.forget_interrupt();
    tokio::pin!(work);
    loop {
        let came = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            came = signals.next() => came,
        };
        match came {
            Came::Interrupt => canceller.cancel(Cause::Interrupt),
            Came::Over(code) => {
                render::hurry(Instant::now());
                return Err(code);
            }
        }
    }
}
