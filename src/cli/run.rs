//! Runs: one agent, all of them.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::approve::approver;
use super::args::TierArg;
use super::signals::{Signals, show, stopped, unread, watch_signals};
use super::{Call, load, room, stdin};
use crate::agents::{ErrorReport, RunResult};
use crate::cancel::Cause;
use crate::config::Config;
use crate::error::{ErrorClass, OrchError};
use crate::event::Events;
use crate::orchestrator::{AllOrder, Conversation, Options, Orchestrator, Order, deadline, named};
use crate::providers::Delivery;
use crate::render::{self, Closed, Form, View};
use crate::repl;
use crate::sandbox::Tier;
use crate::store::Tidying;
use crate::usage::Usd;
use tokio::time::Instant;

/// No run is given more time than this, as no setting can be: clocks do not reach much further.
const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// One agent on one prompt, or a session when there is no prompt.
pub(super) async fn agent_or_session(call: &Call) -> Result<u8, OrchError> {
    let prompts = &call.cli.prompt;
    let asked =
        prompts.prompt.is_some() || prompts.prompt_file.is_some() || prompts.stdin.is_some();
    match (&call.cli.actions.agent, asked) {
        (Some(agent), true) => Box::pin(agent_once(call, agent)).await,
        (None, true) => Err(
            OrchError::new(ErrorClass::Usage, "`--prompt` needs an agent")
                .with_hint("name one with `--agent NAME`, or ask every one with `--all`"),
        ),
        (Some(_), false) if call.json() || !std::io::stdin().is_terminal() => {
            // A script that forgot the prompt must not fall into a session.
            Err(
                OrchError::new(ErrorClass::Usage, "`--agent` needs a prompt")
                    .with_hint("give one with `--prompt TEXT`, `--prompt-file FILE` or `-`"),
            )
        }
        (None, false) if call.json() => Err(OrchError::new(
            ErrorClass::Usage,
            "a session has no output for programs",
        )
        .with_hint("name what to do, for example `--agent NAME --prompt TEXT`")),
        (_, false) => Box::pin(repl::run(call)).await,
    }
}

async fn agent_once(call: &Call, agent: &str) -> Result<u8, OrchError> {
    room::expect_growth(256 << 10);
    let limit = time_limit(call)?;
    let options = options(call)?;
    watch_signals(call, async |signals: &Signals| {
        let deadline = until(limit);
        let config = config_by(call, signals, deadline).await?;
        let prompt = prompt_by(call, signals, deadline)
            .await?
            .unwrap_or_default();
        let orchestrator = if call.cli.run.dry_run {
            Orchestrator::look(config, options)?
        } else {
            Orchestrator::open_for_one(config, options)?
        };
        let order = Order {
            run_id: call.run_id(),
            agent: agent.to_owned(),
            prompt,
            conversation: conversation(call),
            deadline,
            delivery: delivery(call),
        };
        if call.cli.run.dry_run {
            return super::plan::agent(call, &orchestrator, &order);
        }
        let left = left(call, &orchestrator, &order.run_id, Some(agent));
        let mut view = call.view(orchestrator.redactor()).with_left(left);
        let (events, receiver) = Events::channel(&order.run_id);
        let running = async {
            // Dropping the events ends the view.
            let events = events;
            orchestrator
                .run_agent(order, &events, &signals.cancel)
                .await
        };
        let watching = show(&mut view, receiver, &signals.canceller);
        let (done, watched) = tokio::join!(running, watching);
        let mut result = match done {
            Ok(done) => done.result,
            Err(error) => call.failed(error),
        };
        let saved = save(call, &orchestrator, &mut result);
        let closed = orchestrator.close().await;
        let code = finish(call, signals, &mut view, result, (watched, closed)).await;
        told(call, saved);
        code
    })
    .await?
}

/// Every agent on one prompt.
pub(super) async fn all(call: &Call) -> Result<u8, OrchError> {
    room::expect_growth(1 << 20);
    let limit = time_limit(call)?;
    let options = options(call)?;
    watch_signals(call, async |signals: &Signals| {
        let deadline = until(limit);
        let config = config_by(call, signals, deadline).await?;
        let prompt = prompt_by(call, signals, deadline).await?;
        let prompt = prompt.ok_or_else(|| {
            OrchError::new(ErrorClass::Usage, "`--all` needs a prompt")
                .with_hint("give one with `--prompt TEXT`, `--prompt-file FILE` or `-`")
        })?;
        let orchestrator = if call.cli.run.dry_run {
            Orchestrator::look(config, options)?
        } else {
            room::reserve(config.document.agents.len());
            Orchestrator::open(config, options)?
        };
        let order = AllOrder {
            run_id: call.run_id(),
            only: call.cli.actions.agents_only.clone(),
            prompt,
            conversation: conversation(call),
            deadline,
            at_once: room::at_once(),
        };
        if call.cli.run.dry_run {
            return super::plan::all(call, &orchestrator, &order);
        }
        let left = left(call, &orchestrator, &order.run_id, None);
        let mut view = call
            .view(orchestrator.redactor())
            .with_left(left)
            .without_text();
        let finished = view.finished();
        let (events, receiver) = Events::channel(&order.run_id);
        let running = async {
            let events = events;
            let text = call.form() == Form::Text;
            orchestrator
                .run_all(order, &events, &signals.cancel, |result| {
                    finished.note(&result.agent);
                    if text && render::answer(result, call.screen, orchestrator.redactor()).is_err()
                    {
                        signals.canceller.cancel(Cause::Closed);
                    }
                })
                .await
        };
        let watching = show(&mut view, receiver, &signals.canceller);
        let (done, watched) = tokio::join!(running, watching);
        let mut result = done.unwrap_or_else(|error| call.failed(error));
        let results = result.results.iter_mut().flatten();
        let saved: Vec<PathBuf> = results
            .filter_map(|one| save(call, &orchestrator, one))
            .collect();
        let closed = orchestrator.close().await;
        let code = finish(call, signals, &mut view, result, (watched, closed)).await;
        told(call, saved);
        code
    })
    .await?
}

/// The end of a run: what is printed last and the exit code. How its events were shown and its store was closed
/// belongs to it.
pub(super) async fn finish(
    call: &Call,
    signals: &Signals,
    view: &mut View,
    mut result: RunResult,
    (watched, mut closed): (Result<(), Closed>, Result<Tidying, OrchError>),
) -> Result<u8, OrchError> {
    if let Err(Closed::Gone | Closed::Failed(_)) = watched {
        // A reader that is gone wants nothing more, and that is no failure. What could not be written is told at the
        // very end.
        return closed.map(|_tidying| 0);
    }
    call.name_config(&mut result);
    // The store is put in order while the end is printed.
    let _tidying = closed.as_mut().ok().map(std::mem::take);
    // What was not kept is told in the one result that there is.
    match (closed, &result.error) {
        (Ok(_), _) => {}
        (Err(error), None) => {
            result.ok = false;
            result.error = Some(error.into());
        }
        (Err(error), Some(_)) => result.warnings.push(ErrorReport::from(error).message),
    }
    let told = match watched.and_then(|()| view.finish(&result)) {
        Ok(()) => {
            let is_told = result.error.is_some();
            (render::drained().await, is_told)
        }
        Err(closed) => (Err(closed), false),
    };
    // Nobody reads the end: how it ended stays what it is.
    let (Err(Closed::Unread), is_told) = told else {
        return Ok(result.exit_code());
    };
    // A run whose answer did not arrive is not done.
    let report = match result.error {
        Some(report) => report,
        None => unread(signals.cancel.cause()).into(),
    };
    if !is_told {
        call.say(&report);
    }
    Ok(report.class.exit_code())
}

/// The time by which a run is to end. Its reader is not waited for much longer.
pub(super) fn until(limit: Option<Duration>) -> Option<Instant> {
    let deadline = deadline(limit);
    if let Some(deadline) = deadline {
        render::hurry(deadline);
    }
    deadline
}

/// The configuration of a run, unless a signal or the end of its time comes first.
pub(super) async fn config_by(
    call: &Call,
    signals: &Signals,
    deadline: Option<Instant>,
) -> Result<Arc<Config>, OrchError> {
    let loaded = load::config_beside(call, signals);
    in_time(deadline, "the configuration", loaded)
        .await
        .map(Arc::new)
}

/// The prompt of a run, unless a signal or the end of its time comes first.
async fn prompt_by(
    call: &Call,
    signals: &Signals,
    deadline: Option<Instant>,
) -> Result<Option<String>, OrchError> {
    let read = async {
        tokio::select! {
            biased;
            cause = signals.cancel.cancelled() => Err(stopped(cause)),
            prompt = stdin::prompt(&call.cli.prompt) => prompt,
        }
    };
    let read = in_time(deadline, "the prompt", read).await;
    let is_piped = !call.cli.prompt.no_stdin;
    read.map_err(|error| match error.class {
        ErrorClass::Timeout if is_piped => {
            error.with_hint("`--no-stdin` leaves standard input alone; or give more time")
        }
        _ => error,
    })
}

/// What a run waits for before it begins counts against its time as well.
async fn in_time<T>(
    deadline: Option<Instant>,
    what: &str,
    work: impl Future<Output = Result<T, OrchError>>,
) -> Result<T, OrchError> {
    let Some(deadline) = deadline else {
        return work.await;
    };
    let in_time = tokio::time::timeout_at(deadline, work).await;
    in_time.unwrap_or_else(|_| {
        let words = format!("{what} was not there before the time of `--timeout` was up");
        Err(OrchError::new(ErrorClass::Timeout, words).with_hint("give more time"))
    })
}

/// What budgets leave to a run. Nobody looks it up who does not see it.
pub(super) fn left(
    call: &Call,
    orchestrator: &Orchestrator,
    run_id: &Arc<str>,
    agent: Option<&str>,
) -> Option<Usd> {
    let left = || orchestrator.left(run_id, agent, None);
    call.screen.live.then(left).flatten()
}

/// Who takes the answer while it streams.
pub(super) fn delivery(call: &Call) -> Delivery {
    match call.form() {
        Form::Json => Delivery::Buffered,
        // Whoever reads the events is told when a text is void.
        Form::StreamJson => Delivery::Live,
        Form::Text if render::stdout_is_terminal() => Delivery::Live,
        Form::Text => Delivery::Raw,
    }
}

pub(crate) fn conversation(call: &Call) -> Conversation {
    match &call.cli.prompt.session {
        _ if call.cli.prompt.continue_last => Conversation::Last,
        Some(name) => Conversation::Named(name.clone()),
        None => Conversation::New,
    }
}

/// What the flags add to the configuration.
pub(crate) fn options(call: &Call) -> Result<Options, OrchError> {
    let run = &call.cli.run;
    let budget = match &run.budget {
        Some(text) => Some(parse_budget(text)?),
        None => None,
    };
    if let Some(model) = &run.model {
        named(model)?;
    }
    Ok(Options {
        model: run.model.clone(),
        budget,
        tier: run.sandbox.map(tier),
        session_budget: None,
        charged_session: None,
        approver: approver(run.yes, run.no_input, call.screen),
        no_log: run.no_log,
        record: run.record.clone(),
        replay: run.replay.clone(),
        changes: None,
    })
}

pub(crate) fn parse_budget(text: &str) -> Result<Usd, OrchError> {
    let amount: Result<Usd, _> = text.parse();
    let wrong = match amount {
        Ok(amount) if amount >= Usd::ZERO => return Ok(amount),
        Ok(_) => format!("a budget of `{text}` is below zero"),
        Err(error) => error.to_string(),
    };
    Err(OrchError::new(ErrorClass::Usage, wrong).with_hint("give US dollars, such as 0.50"))
}

pub(super) fn tier(tier: TierArg) -> Tier {
    match tier {
        TierArg::Full => Tier::Full,
        TierArg::Landlock => Tier::Landlock,
        TierArg::Off => Tier::Off,
    }
}

pub(crate) fn time_limit(call: &Call) -> Result<Option<Duration>, OrchError> {
    let Some(seconds) = call.cli.run.timeout else {
        return Ok(None);
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() && limit <= LONGEST => Ok(Some(limit)),
        _ => Err(OrchError::new(
            ErrorClass::Usage,
            format!("`--timeout {seconds}` is no time span"),
        )
        .with_hint("give the seconds, for example `--timeout 60`")),
    }
}

/// Writes the answer under `outputs/<agent>/` when `--save` is given; says where.
fn save(call: &Call, orchestrator: &Orchestrator, result: &mut RunResult) -> Option<PathBuf> {
    if !call.cli.output.save || result.output.is_empty() {
        return None;
    }
    match orchestrator.save(result) {
        Ok(path) => Some(path),
        Err(error) => {
            let message = format!("the answer could not be saved: {error}");
            result.warnings.push(message);
            None
        }
    }
}

/// Tells where answers were saved: behind them, where both go to one place.
fn told(call: &Call, saved: impl IntoIterator<Item = PathBuf>) {
    for path in saved.into_iter().filter(|_| !call.screen.quiet) {
        render::aside(call.screen, &format!("saved {}", path.display()));
    }
}
