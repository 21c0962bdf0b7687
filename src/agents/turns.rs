//! The turn loop: prompt → model → tools → … → answer.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

use super::bridged::{self, Bridged};
use super::delegation::{self, Team};
use super::journal::{Journal, Recorded};
use super::state::{State, Stop};
use super::tool_calls::{self, Asked, Batch, lost};
use super::window::Window;
use super::{AgentSettings, RunResult, log};
use crate::cancel::Cancel;
use crate::costs::{Caps, Charges, Purpose, Spent};
use crate::event::{EventKind, Events, Said};
use crate::mcp::{self, ServerSpec, Servers};
use crate::message::{Assistant, Message, ToolSpec};
use crate::providers::{BoxFuture, Delivery, OwnLoop, Request, Seconds};
use crate::redact::Redactor;
use crate::resilience::{Answer, CallContext, Link, Resilience};
use crate::sessions::compaction::Compaction;
use crate::store::Durability;
use crate::tools::ToolContext;

/// An agent as it was resolved at the start of a run.
#[derive(Clone)]
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
    /// The MCP servers whose tools it may use.
    pub mcp: Vec<ServerSpec>,
    /// What it is configured to be, with the rights that it has in this run.
    pub settings: AgentSettings,
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
    /// The conversation that this continues, into which its caller enters what comes of it.
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
    /// Whether others may be asked at the same time, out of the same budgets.
    pub siblings: bool,
    /// How many agents of the run are asked at the same time, this one included, as far as that is known.
    pub among: u32,
    /// The agents that called this one, outermost first.
    pub delegators: Vec<Arc<str>>,
    /// The conversation whose budget covers what is spent, where that is not its own: that of the outermost of them,
    /// that in which a task was started, or that which its own was forked from.
    pub charged_session: Option<Arc<str>>,
    /// Where finished turns and tool calls are kept; what is there already is not done again.
    pub journal: Journal,
    /// The account of the run: its own attempts and those of the agents that it calls.
    pub spent: Arc<Spent>,
}

impl Ask {
    /// Waits until the run must be over.
    pub(super) async fn over(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}

/// What a run gave, and what enters the conversation.
#[derive(Debug)]
pub struct Finished {
    /// The result.
    pub result: RunResult,
    /// The whole turn, prompt first; empty when nothing was said and done.
    pub messages: Vec<Message>,
    /// What has given way to a summary in the history that it was asked with.
    pub compaction: Option<Compaction>,
}

/// Runs an agent on a prompt. Whatever happens, what was said, done and spent by then is in the return
/// value.
pub async fn run(
    agent: &Agent,
    mut ask: Ask,
    resilience: &Resilience,
    team: &Team<'_>,
    events: &Events,
    cancel: &Cancel,
) -> Finished {
    let own = agent.settings.timeout.and_then(Seconds::limit);
    let own = own.and_then(|limit| Instant::now().checked_add(limit));
    ask.deadline = [ask.deadline, own].into_iter().flatten().min();
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
    let (servers, in_time) = tokio::select! {
        biased;
        _ = cancel.cancelled() => (Servers::default(), true),
        servers = mcp::start(&agent.mcp) => (servers, true),
        () = ask.over() => (Servers::default(), false),
    };
    request.tools.extend(servers.tools().cloned());
    let around = Around {
        servers: &servers,
        agent,
        ask: &ask,
        resilience,
        team,
        events,
        cancel,
    };
    if !around.may_delegate() {
        request.tools.retain(|tool| tool.name != delegation::TOOL);
    }
    let mut window = Window::default();
    let ended = if in_time {
        with_tools(&around, &mut state, &mut request, &mut window).await
    } else {
        Err(Stop::Deadline("its MCP servers started"))
    };
    for warning in servers.close().await {
        let warning = agent.tools.redactor.mask_owned(warning);
        events.notice(warning.clone()).await;
        state.warn_once(warning);
    }
    let said_before = ask.history.len();
    let mut finished = state.close(agent, request.messages.split_off(said_before), ended.err());
    finished.compaction = window.compaction();
    finished
}

/// [`run`] for an agent that another one calls: a type that is known ends the recursion.
pub(super) fn run_boxed<'a>(
    agent: &'a Agent,
    ask: Ask,
    resilience: &'a Resilience,
    team: &'a Team<'_>,
    events: &'a Events,
    cancel: &'a Cancel,
) -> BoxFuture<'a, Finished> {
    Box::pin(run(agent, ask, resilience, team, events, cancel))
}

/// What every turn of one run needs and none changes.
pub(super) struct Around<'a> {
    pub(super) servers: &'a Servers,
    pub(super) agent: &'a Agent,
    pub(super) ask: &'a Ask,
    pub(super) resilience: &'a Resilience,
    pub(super) team: &'a Team<'a>,
    pub(super) events: &'a Events,
    pub(super) cancel: &'a Cancel,
}

impl Around<'_> {
    /// Whether the agent may call others.
    pub(super) fn may_delegate(&self) -> bool {
        !self.agent.settings.delegates.is_empty() && self.team.reaches(self.ask.delegators.len())
    }
}

/// The turns, with the tools served to a model that calls them while it takes its own turns.
async fn with_tools(
    around: &Around<'_>,
    state: &mut State,
    request: &mut Request,
    window: &mut Window,
) -> Result<(), Stop> {
    let agent = around.agent;
    for failed in &around.servers.failed {
        let message = failed.message();
        if failed.required {
            return Err(Stop::Tools(message));
        }
        around.events.notice(message.clone()).await;
        state.warn(&message);
    }
    for warning in &around.servers.warnings {
        let warning = agent.tools.redactor.mask_owned(warning.clone());
        around.events.notice(warning.clone()).await;
        state.warn(&warning);
    }
    let mut bridged = Bridged::open(agent, &request.tools)?;
    request.own_loop = OwnLoop {
        max_turns: Some(agent.max_turns),
        workspace: agent.tools.workspace.policy().workspace.clone(),
        nested: !around.ask.delegators.is_empty(),
        shares: around.may_delegate() || around.ask.siblings || !around.ask.delegators.is_empty(),
        bridge: bridged.as_ref().map(Bridged::address),
        ..OwnLoop::default()
    };
    turns(around, state, request, (window, &mut bridged)).await
}

async fn turns(
    around: &Around<'_>,
    state: &mut State,
    request: &mut Request,
    (window, bridged): (&mut Window, &mut Option<Bridged>),
) -> Result<(), Stop> {
    let mut repaired = false;
    let mut place = around.ask.journal.clone();
    for turn in 1..=around.agent.max_turns {
        around.events.emit(EventKind::TurnStarted { turn }).await;
        let mut journal = place.under(&format!("t{turn}"));
        state.turn(turn);
        let mut messages = request.messages.len();
        let (answer, asked) = match journal.recall().map_err(lost)? {
            Recorded::Done(answer) => (recalled(around, answer).await, Asked::Before),
            known => {
                let begun = known == Recorded::Begun;
                // What follows from an answer of now was never done before.
                (place, journal) = (place.anew(), journal.anew());
                let answer = loop {
                    let mut view = window.fit(around, state, request, turn).await?;
                    let sent = view.as_mut().unwrap_or(request);
                    messages = sent.messages.len();
                    let place = (&journal, begun, &mut *bridged);
                    match ask_model(around, state, sent, turn, place).await {
                        Err(Stop::Call(error))
                            if window.tightens(&error, request, around.ask.history.len()) => {}
                        answer => break answer?,
                    }
                };
                (answer, Asked::Now)
            }
        };
        let message = state.answered(answer, messages);
        let calls = message.calls.clone();
        request.messages.push(Message::Assistant(message));
        if calls.is_empty() {
            match state.conclude(around.agent, repaired)? {
                None => return Ok(()),
                Some(repair) => {
                    repaired = true;
                    request.messages.push(Message::User { text: repair });
                    continue;
                }
            }
        }
        let batch = tool_calls::run(around, &calls, asked, &journal).await;
        let stop = state.ran_tools(batch, request);
        if let Some(stop) = stop {
            return Err(stop);
        }
    }
    Err(Stop::TurnLimit(around.agent.max_turns))
}

/// An answer that an earlier process got: shown like any other, and not paid again.
async fn recalled(around: &Around<'_>, answer: Answer) -> Answer {
    let text = &answer.reply.message.text;
    if !text.is_empty() {
        let text = text.clone();
        around.events.emit(EventKind::TextDelta { text }).await;
    }
    answer
}

/// Asks the model and keeps its answer before anything follows from it. `begun`: an earlier process
/// asked too and did not live to see the answer.
async fn ask_model(
    around: &Around<'_>,
    state: &mut State,
    request: &mut Request,
    turn: u32,
    (journal, begun, bridged): (&Journal, bool, &mut Option<Bridged>),
) -> Result<Answer, Stop> {
    let agent = around.agent;
    let context = CallContext {
        counted: state.counted(),
        ..call_context(around, turn, around.ask.purpose)
    };
    // Only a provider that runs tools itself does work whose end may be missed.
    if agent
        .chain
        .iter()
        .any(|link| link.provider.runs_own_tools())
    {
        if begun {
            state.warn("the agent was cut off in the middle of its work and was asked again");
            request.messages.push(Message::User {
                text: CUT_OFF.to_owned(),
            });
        }
        journal.begin(Durability::Full).await.map_err(lost)?;
    }
    let said = Said::default();
    let heard = around.events.keeping(&said);
    let mut batch = Batch::default();
    let result = tokio::select! {
        biased;
        cause = around.cancel.cancelled() => Err(Stop::Cancelled(cause)),
        stop = bridged::serve(bridged, around, journal, &mut batch) => Err(stop),
        result = around.resilience.call(&agent.chain, request, &context, &heard) => {
            result.map_err(Stop::Call)
        }
    };
    state.ran_over_bridge(batch);
    let mut answer =
        result.inspect_err(|stop| state.cut_off(stop, &context.spent, said.take().0))?;
    // A name that holds a secret would be repeated wherever the call is told of.
    for call in &mut answer.reply.message.calls {
        agent.tools.redactor.mask_name(&mut call.id);
        agent.tools.redactor.mask_name(&mut call.name);
    }
    if !matches!(journal, Journal::None) && !is_kept_with_its_conversation(around, &answer) {
        let mut kept = answer.clone();
        mask(&agent.tools.redactor, &mut kept.reply.message);
        if let Err(error) = journal.keep(Durability::Full, &kept).await {
            // What was said and spent is told all the same.
            state.answered(answer, request.messages.len());
            return Err(lost(error));
        }
    }
    Ok(answer)
}

/// Who asks, for whom, and until when.
pub(super) fn call_context(around: &Around<'_>, turn: u32, purpose: Purpose) -> CallContext {
    let (agent, ask) = (around.agent, around.ask);
    CallContext {
        run_id: Arc::clone(&ask.run_id),
        task: ask.task.clone(),
        step: ask.step.clone(),
        session: ask
            .charged_session
            .as_ref()
            .or(ask.session.as_ref())
            .cloned(),
        agent: Arc::clone(&agent.name),
        turn,
        purpose,
        delegators: ask.delegators.clone(),
        deadline: ask.deadline,
        caps: Arc::clone(&agent.caps),
        spent: Spent::part_of(&ask.spent, Charges::default()),
        among: ask.among,
        counted: None,
    }
}

/// Whether an answer ends a turn of a conversation at once, so that what enters the store with that turn
/// says that the run is at its end: it needs no entry of its own before.
fn is_kept_with_its_conversation(around: &Around<'_>, answer: &Answer) -> bool {
    let agent = around.agent;
    let own_tools = |link: &Link| link.provider.runs_own_tools();
    around.ask.session.is_some()
        && answer.reply.message.calls.is_empty()
        && agent.output_schema.is_none()
        // Their servers are ended first, and their work is long.
        && agent.mcp.is_empty()
        && !agent.chain.iter().any(own_tools)
}

/// What an agent that runs its own tools is told when it was cut off before.
const CUT_OFF: &str = "You were asked this before and interrupted in the middle: some of the work may \
    be done already. Look at how things stand before you repeat anything.";

/// Masks what a model said, but for what only its vendor understands.
fn mask(redactor: &Redactor, message: &mut Assistant) {
    let texts = [&mut message.text, &mut message.reasoning];
    let arguments = message.calls.iter_mut().map(|call| &mut call.arguments);
    for text in texts.into_iter().chain(arguments) {
        if let Cow::Owned(masked) = redactor.mask(text) {
            *text = masked;
        }
    }
}
