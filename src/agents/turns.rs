//! The turn loop: prompt → model → tools → … → answer.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::state::{State, Stop};
use super::tool_calls;
use super::{RunResult, log};
use crate::cancel::Cancel;
use crate::costs::{Caps, Purpose};
use crate::event::{EventKind, Events, Said};
use crate::message::{Message, ToolSpec};
use crate::providers::{Delivery, Request};
use crate::resilience::{CallContext, Link, Resilience};
use crate::tools::{Change, ToolContext};

/// An agent as it was resolved at the start of a run.
pub struct Agent {
    /// Its name.
    pub name: Arc<str>,
    /// Its system prompt.
    pub system: String,
    /// Its model as the user wrote it.
    pub requested_model: String,
    /// Its model, then those that answer when it cannot.
    pub chain: Vec<Link>,
    /// The tools that models are told about.
    pub specs: Vec<ToolSpec>,
    /// What its tools may do.
    pub tools: Arc<ToolContext>,
    /// Model turns in one run.
    pub max_turns: u32,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// JSON Schema of its answer.
    pub output_schema: Option<Value>,
    /// The budgets that cover its calls.
    pub caps: Arc<Caps>,
    /// Its Markdown log.
    pub log: Option<log::Log>,
}

/// What an agent is asked, and in which surroundings.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The run.
    pub run_id: Arc<str>,
    /// The task, where there is one.
    pub task: Option<Arc<str>>,
    /// The step of the task.
    pub step: Option<Arc<str>>,
    /// The conversation that this continues.
    pub session: Option<Arc<str>>,
    /// What was said in it before.
    pub history: Vec<Message>,
    /// The prompt.
    pub prompt: String,
    /// Why the model is asked.
    pub purpose: Purpose,
    /// When the run must be over.
    pub deadline: Option<Instant>,
    /// Who takes the answer.
    pub delivery: Delivery,
}

/// What a run gave, and what enters the conversation.
#[derive(Debug)]
pub struct Finished {
    /// The result.
    pub result: RunResult,
    /// The whole turn, prompt first; empty when nothing was said and done.
    pub messages: Vec<Message>,
    /// The files that tools changed, in order.
    pub changes: Vec<Change>,
}

/// Runs an agent on a prompt. Whatever happens, what was said, done and spent by then is in the return
/// value.
pub async fn run(
    agent: &Agent,
    ask: Ask,
    resilience: &Resilience,
    events: &Events,
    cancel: &Cancel,
) -> Finished {
    let mut state = State::new(agent, &ask);
    state.log(agent, log::Entry::Prompt, &ask.prompt);
    let mut request = Request {
        agent: Arc::clone(&agent.name),
        system: agent.system.clone(),
        messages: ask.history.clone(),
        tools: agent.specs.clone(),
        temperature: agent.temperature,
        output_schema: agent.output_schema.clone(),
        delivery: ask.delivery,
        session: ask.session.clone(),
        ..Request::default()
    };
    request.messages.push(Message::User {
        text: ask.prompt.clone(),
    });
    let around = Around {
        agent,
        ask: &ask,
        resilience,
        events,
        cancel,
    };
    let ended = turns(&around, &mut state, &mut request).await;
    let said_before = ask.history.len();
    state.close(agent, request.messages.split_off(said_before), ended.err())
}

/// What every turn of one run needs and none changes.
struct Around<'a> {
    agent: &'a Agent,
    ask: &'a Ask,
    resilience: &'a Resilience,
    events: &'a Events,
    cancel: &'a Cancel,
}

async fn turns(around: &Around<'_>, state: &mut State, request: &mut Request) -> Result<(), Stop> {
    let Around {
        agent,
        ask,
        events,
        cancel,
        ..
    } = *around;
    let mut repaired = false;
    for turn in 1..=agent.max_turns {
        events.emit(EventKind::TurnStarted { turn }).await;
        let answer = ask_model(around, state, request, turn).await?;
        let message = state.answered(answer, request.messages.len());
        let calls = message.calls.clone();
        request.messages.push(Message::Assistant(message));
        if calls.is_empty() {
            match state.conclude(agent, repaired)? {
                None => return Ok(()),
                Some(repair) => {
                    repaired = true;
                    request.messages.push(Message::User { text: repair });
                    continue;
                }
            }
        }
        let batch = tool_calls::run(&agent.tools, &calls, events, cancel, ask.deadline).await;
        let stop = state.ran_tools(batch, request);
        if let Some(stop) = stop {
            return Err(stop);
        }
    }
    Err(Stop::TurnLimit(agent.max_turns))
}

async fn ask_model(
    around: &Around<'_>,
    state: &mut State,
    request: &mut Request,
    turn: u32,
) -> Result<crate::resilience::Answer, Stop> {
    let Around {
        agent,
        ask,
        resilience,
        events,
        cancel,
    } = *around;
    let context = CallContext {
        run_id: Arc::clone(&ask.run_id),
        task: ask.task.clone(),
        step: ask.step.clone(),
        session: ask.session.clone(),
        agent: Arc::clone(&agent.name),
        turn,
        purpose: ask.purpose,
        deadline: ask.deadline,
        caps: Arc::clone(&agent.caps),
        counted: state.counted(),
        ..CallContext::default()
    };
    state.turn(turn);
    let said = Said::default();
    let heard = events.keeping(&said);
    let result = tokio::select! {
        biased;
        cause = cancel.cancelled() => Err(Stop::Cancelled(cause)),
        result = resilience.call(&agent.chain, request, &context, &heard) => {
            result.map_err(Stop::Call)
        }
    };
    result.inspect_err(|stop| state.cut_off(stop, said.take().0))
}
