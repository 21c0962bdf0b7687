//! A run of a task, from its plan to its result.

use super::around::{Around, Halt, Place};
use super::block::{self, Block};
use super::{Plan, RunState};
use crate::agents::{ErrorReport, RunResult, failure};
use crate::error::ErrorClass;
use crate::event::EventKind;

/// How a run ended, or why it stands still.
#[derive(Debug)]
pub struct Ended {
    /// What it gave.
    pub result: RunResult,
    /// What is to be remembered of it.
    pub state: RunState,
}

/// Runs a task, or goes on with it where an earlier process stopped.
pub async fn run(around: &Around<'_>, plan: &Plan) -> Ended {
    let started = EventKind::RunStarted {
        kind: "task",
        model: None,
    };
    around.events.emit(started).await;
    let start = tokio::time::Instant::now();
    let place = Place::top(around, &plan.task, plan.inputs.clone());
    let worked = block::run(around, &plan.steps, &place, None).await;
    let (mut result, state) = match worked {
        Ok(block) => finished(around, plan, block),
        Err(halted) => {
            let so_far = halted.so_far.map(|so_far| *so_far);
            let mut result =
                so_far.unwrap_or_else(|| RunResult::empty(around.run_id, "task", &plan.task, ""));
            result.agent.clone_from(&plan.task);
            result.ok = false;
            let (error, state) = standing(around, &halted.why);
            result.error = Some(error);
            (result, state)
        }
    };
    result.charge(place.spent.so_far());
    result.duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let steps = result.results.iter().flatten();
    result.warnings = steps
        .flat_map(|step| {
            let name = step.step.as_deref().unwrap_or_default();
            step.warnings
                .iter()
                .map(move |words| format!("{name}: {words}"))
        })
        .collect();
    Ended { result, state }
}

/// Why a run that is not over stands still.
fn standing(around: &Around<'_>, halt: &Halt) -> (ErrorReport, RunState) {
    match halt {
        Halt::Stopped(cause) => {
            let resume = format!("go on with `orch --resume {}`", around.run_id);
            let error = ErrorReport {
                hint: Some(resume),
                ..failure::stopped(*cause)
            };
            (error, RunState::Interrupted)
        }
        Halt::Parked { question } => {
            let error = ErrorReport {
                hint: Some(format!(
                    "say yes with `orch --resume {} --yes`, or answer on a terminal with `orch --resume {}`",
                    around.run_id, around.run_id
                )),
                ..ErrorReport::new(
                    ErrorClass::Denied,
                    format!("the run waits for a yes: {question}"),
                )
            };
            (error, RunState::Parked)
        }
        Halt::Journal(error) => {
            let report = ErrorReport {
                hint: Some(error.hint().to_owned()),
                ..ErrorReport::new(
                    ErrorClass::Failed,
                    format!("what was finished could not be kept: {error}"),
                )
            };
            (report, RunState::Interrupted)
        }
    }
}

fn finished(around: &Around<'_>, plan: &Plan, block: Block) -> (RunResult, RunState) {
    let stopped = block.stopped;
    let mut result = block.into_result(around, "task", &plan.task);
    let mut all = 0;
    let mut failed = Vec::new();
    leaves(
        result.results.as_deref().unwrap_or_default(),
        &mut all,
        &mut failed,
    );
    result.error = error_of(&failed, all);
    if let Some(error) = &mut result.error {
        let again = if stopped {
            let id = around.run_id;
            format!("try what failed again with `orch --resume {id}`")
        } else {
            // What came behind has seen that it failed.
            "the task went on without it, and is at its end: start it anew".to_owned()
        };
        error.hint = Some(match error.hint.take() {
            Some(hint) => format!("{hint}; {again}"),
            None => again,
        });
    }
    result.ok = result.error.is_none();
    let state = if result.ok {
        RunState::Done
    } else {
        RunState::Failed
    };
    (result, state)
}

/// The steps that did something themselves: those of blocks and tasks, not these.
fn leaves<'r>(results: &'r [RunResult], all: &mut usize, failed: &mut Vec<&'r RunResult>) {
    for result in results {
        match &result.results {
            Some(inner) if result.kind == "task" && !inner.is_empty() => {
                leaves(inner, all, failed);
                // A loop may fail although none of its steps did.
                let inner_failed = inner.iter().any(|step| !step.ok);
                if !result.ok && !inner_failed {
                    *all += 1;
                    failed.push(result);
                }
            }
            _ => {
                *all += 1;
                if !result.ok {
                    failed.push(result);
                }
            }
        }
    }
}

/// The class that all failures share; another one where something else finished.
fn error_of(failed: &[&RunResult], all: usize) -> Option<ErrorReport> {
    let error = failed.iter().find_map(|result| result.error.as_ref())?;
    let name = |result: &RunResult| {
        let step = result.step.as_deref();
        step.unwrap_or(&result.agent).to_owned()
    };
    let message = if let [only] = failed {
        format!("the step `{}` failed: {}", name(only), error.message)
    } else {
        let names: Vec<String> = failed.iter().take(10).map(|result| name(result)).collect();
        let (count, names) = (failed.len(), names.join(", "));
        format!("{count} of {all} steps failed ({names}): {}", error.message)
    };
    let mut classes = failed
        .iter()
        .filter_map(|result| Some(result.error.as_ref()?.class));
    let class = if failed.len() < all {
        ErrorClass::Partial
    } else if classes.all(|class| class == error.class) {
        error.class
    } else {
        ErrorClass::Failed
    };
    Some(ErrorReport {
        class,
        message,
        ..error.clone()
    })
}
