//! Tasks: run, continued, drawn, listed.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::json;

use super::args::OutputForm;
use super::room::at_once;
use super::run::{config_by, delivery, finish, left, options, time_limit, until};
use super::signals::{Signals, show, watch_signals};
use super::{Call, load, plan};
use crate::agents::RunResult;
use crate::cancel::Cause;
use crate::error::OrchError;
use crate::event::Events;
use crate::orchestrator::{Orchestrator, ResumeOptions};
use crate::render::{self, Form};
use crate::tasks::{Plan, draw};
use crate::usage::Usd;

/// The most runs that are listed for people.
const LISTED: u32 = 200;

/// Runs a task, or says what it would do.
pub(super) async fn task(call: &Call, name: &str) -> Result<u8, OrchError> {
    let limit = time_limit(call)?;
    let options = options(call)?;
    watch_signals(call, async |signals: &Signals| {
        let deadline = until(limit);
        let config = config_by(call, signals, deadline).await?;
        if call.cli.run.dry_run {
            let orchestrator = Orchestrator::look(config, options)?;
            let plan = orchestrator.task_plan(name, &call.cli.actions.input)?;
            return dry_run(call, &orchestrator, &plan);
        }
        let orchestrator = Orchestrator::open(config, options)?;
        let plan = match orchestrator.task_plan(name, &call.cli.actions.input) {
            Ok(plan) => plan,
            Err(error) => {
                orchestrator.close().await?;
                return Err(error);
            }
        };
        let run_id = call.run_id();
        let plan = &plan;
        let id = &run_id;
        watched(
            call,
            signals,
            orchestrator,
            (&run_id, false),
            async |work| {
                work.orchestrator
                    .run_task(id, plan, deadline, work.events, &work.signals.cancel)
                    .await
            },
        )
        .await
    })
    .await?
}

/// Goes on with a run.
pub(super) async fn resume(call: &Call, id: &str) -> Result<u8, OrchError> {
    let limit = time_limit(call)?;
    let options = options(call)?;
    watch_signals(call, async |signals: &Signals| {
        let deadline = until(limit);
        let config = config_by(call, signals, deadline).await?;
        let orchestrator = Orchestrator::open(config, options)?;
        let run = match orchestrator.find_run(id) {
            Ok(run) => run,
            Err(error) => {
                orchestrator.close().await?;
                return Err(error);
            }
        };
        let run_id = call.goes_on_with(&run.listed.run_id);
        let resume = ResumeOptions {
            deadline,
            at_once: at_once(),
            delivery: delivery(call),
        };
        let is_alone = run.listed.kind == "agent";
        // Of several agents each answer is printed as it comes.
        let one_by_one = run.listed.kind == "all" && call.form() == Form::Text;
        watched(
            call,
            signals,
            orchestrator,
            (&run_id, is_alone),
            async |work| {
                let signals = work.signals;
                let redactor = work.orchestrator.redactor();
                let mut finished = |result: &RunResult| {
                    if one_by_one && render::answer(result, call.screen, redactor).is_err() {
                        signals.canceller.cancel(Cause::Closed);
                    }
                };
                work.orchestrator
                    .resume(run, resume, work.events, &signals.cancel, &mut finished)
                    .await
            },
        )
        .await
    })
    .await?
}

/// What a run that is watched works with.
struct Work<'a> {
    orchestrator: &'a Orchestrator,
    events: &'a Events,
    signals: &'a Signals,
}

/// Does a run with somebody watching, to its exit code. The answer of one that is an agent's alone streams.
async fn watched(
    call: &Call,
    signals: &Signals,
    orchestrator: Orchestrator,
    (run_id, is_alone): (&Arc<str>, bool),
    work: impl AsyncFnOnce(Work<'_>) -> Result<RunResult, OrchError>,
) -> Result<u8, OrchError> {
    let left = left(call, &orchestrator, run_id, None);
    let mut view = call.view(orchestrator.redactor()).with_left(left);
    if !is_alone {
        view = view.of_task();
    }
    let (events, receiver) = Events::channel(run_id);
    let running = async {
        // Dropping the events ends the view.
        let events = events;
        work(Work {
            orchestrator: &orchestrator,
            events: &events,
            signals,
        })
        .await
    };
    let watching = show(&mut view, receiver, &signals.canceller);
    let (done, watched) = tokio::join!(running, watching);
    let closed = orchestrator.close().await;
    let result = done.unwrap_or_else(|error| call.failed(error));
    finish(call, signals, &mut view, result, (watched, closed)).await
}

fn dry_run(call: &Call, orchestrator: &Orchestrator, plan: &Plan) -> Result<u8, OrchError> {
    let priced = orchestrator.price_task(plan)?;
    let over = plan::refused(priced.refused.as_ref())
        .or_else(|| plan::over(priced.is_over_budget(), priced.lowest_usd, priced.left_usd));
    if call.cli.output.output == OutputForm::Mermaid {
        call.print(&draw::mermaid(&plan.steps));
        return over.map_or(Ok(0), Err);
    }
    if call.json() {
        let value = json!({"dry_run": true, "kind": "task", "ok": over.is_none(), "plan": priced});
        return Ok(call.print_verdict(&value, over));
    }
    let costs = priced.costs();
    let mut text = format!("{}\n", plan.task);
    for (name, value) in &plan.inputs {
        // Writing to a string cannot fail.
        _ = writeln!(text, "  {name} = {value}");
    }
    text.push_str(&draw::text(&plan.steps, &|step| {
        costs.get(step.id.as_str()).cloned()
    }));
    let highest = plan::most(priced.highest_usd);
    _ = writeln!(text, "cost: at least ${}, {highest}", priced.lowest_usd);
    if let Some(left) = priced.left_usd {
        _ = writeln!(text, "budget: ${left} left");
    }
    for notice in &priced.notices {
        _ = writeln!(text, "note: {notice}");
    }
    call.list(&text);
    over.map_or(Ok(0), Err)
}

/// The runs that are known.
pub(super) fn runs(call: &Call) -> Result<u8, OrchError> {
    let config = Arc::new(load::config(call)?);
    let orchestrator = Orchestrator::look(config, options(call)?)?;
    if call.json() {
        let (runs, _) = orchestrator.runs(u32::MAX)?;
        return Ok(call.print_json(&json!(runs)));
    }
    Ok(call.list(&runs_text(&orchestrator)?))
}

/// The runs for people: the newest, since a screen shows the end.
pub(crate) fn runs_text(orchestrator: &Orchestrator) -> Result<String, OrchError> {
    let (runs, older) = orchestrator.runs(LISTED)?;
    let mut text = String::new();
    for run in &runs {
        let started = run
            .started
            .get(..19)
            .unwrap_or(&run.started)
            .replace('T', " ");
        let cost = match (run.cost_usd, run.held_usd) {
            (Usd::ZERO, Usd::ZERO) => String::new(),
            (cost, Usd::ZERO) => format!("  ${cost}"),
            (cost, held) => format!("  ${cost} + ${held} held"),
        };
        // Writing to a string cannot fail.
        _ = writeln!(
            text,
            "  {}  {:<11}  {started}  {} {}{cost}",
            run.run_id,
            run.state.name(),
            run.kind,
            run.name
        );
    }
    if text.is_empty() {
        text.push_str("no runs\n");
    }
    if older > 0 {
        _ = writeln!(
            text,
            "{older} older ones are left out; `orch --runs --json` lists every run"
        );
    }
    Ok(text)
}
