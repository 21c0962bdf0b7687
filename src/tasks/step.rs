//! One step: whether it is done at all, its items, its attempts, its rounds.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::Value;
use tokio::time::Instant;

use super::around::{Around, Halt, Halted, Place, failed};
use super::block::{self, add_up};
use super::scope::Board;
use super::{ForEach, Step, StepOut, Work, template, work};
use crate::agents::journal::Recorded;
use crate::agents::{ErrorReport, RunResult};
use crate::error::ErrorClass;
use crate::event::EventKind;
use crate::providers::Seconds;
use crate::store::Durability;

/// How many items are worked on at once when the step does not say.
const ITEMS_AT_ONCE: usize = 8;
/// The most items of one step.
const MOST_ITEMS: usize = 100_000;

/// Does a step, unless an earlier process has. Whatever happens is in the outcome; only what lets the
/// whole run stand still is an error.
pub(super) async fn run(
    around: &Around<'_>,
    step: &Step,
    outer: &Place,
) -> Result<StepOut, Halted> {
    let place = outer.of_step(around, &step.id);
    if let Recorded::Done(out) = place.journal.recall::<StepOut>()?
        && (!out.is_failed() || step.on_failure == super::OnFailure::Continue)
    {
        if !out.skipped {
            (around.finished)(&place.label, &out.result);
        }
        block::show_inner(around, step, &out.result, &place.scope.board);
        return Ok(out);
    }
    let events = around.events.for_step(&place.label);
    let wanted = match &step.when {
        Some(when) => template::condition(when, &place.scope),
        None => Ok(true),
    };
    let mut result = match wanted {
        Ok(false) => {
            events.notice("skipped").await;
            let out = block::skipped(around, step);
            place.journal.keep(Durability::Normal, &out).await?;
            block::show_inner(around, step, &out.result, &place.scope.board);
            return Ok(out);
        }
        Err(error) => failed(
            around,
            work::kind(&step.work),
            work::name(&step.work),
            ErrorReport::new(ErrorClass::Failed, format!("`when`: {error}")),
        ),
        Ok(true) if step.is_masked => failed(
            around,
            work::kind(&step.work),
            work::name(&step.work),
            ErrorReport {
                hint: Some("start the task anew".to_owned()),
                ..ErrorReport::new(
                    ErrorClass::Config,
                    "the step was kept without the secret in its text, and the configuration has \
                     another text for it now",
                )
            },
        ),
        Ok(true) => {
            events.emit(EventKind::StepStarted {}).await;
            let worked = match &step.for_each {
                None => attempts(around, step, &place).await,
                Some(each) => items(around, step, each, &place).await,
            };
            let worked = place.charged(worked, || nothing(around, step, &step.id));
            worked.map_err(|halt| halt.of_step(&step.id))?
        }
    };
    result.step = Some(step.id.clone());
    let out = StepOut {
        skipped: false,
        result,
    };
    // What agents did is kept turn by turn; only what is kept nowhere else needs to be on the disk.
    let durability = match step.work {
        Work::Run { .. } | Work::Gate { .. } => Durability::Full,
        _ => Durability::Normal,
    };
    place.journal.keep(durability, &out).await?;
    block::show_inner(around, step, &out.result, &place.scope.board);
    let ok = out.result.ok;
    events.emit(EventKind::StepFinished { ok }).await;
    (around.finished)(&place.label, &out.result);
    Ok(out)
}

/// Does a step for each item.
async fn items(
    around: &Around<'_>,
    step: &Step,
    each: &ForEach,
    place: &Place,
) -> Result<RunResult, Halted> {
    let start = Instant::now();
    let mut whole = RunResult::empty(around.run_id, "all", work::name(&step.work), "");
    let items = match each {
        ForEach::Items(items) => items.clone(),
        ForEach::Template(source) => match template::value(source, &place.scope) {
            Ok(Value::Array(items)) => items,
            Ok(_) => {
                return Ok(unusable(
                    whole,
                    format!("`for_each` gave no list: `{source}`"),
                ));
            }
            Err(error) => return Ok(unusable(whole, format!("`for_each`: {error}"))),
        },
    };
    if items.len() > MOST_ITEMS {
        let words = format!(
            "`for_each` gave {} items, more than {MOST_ITEMS}",
            items.len()
        );
        return Ok(unusable(whole, words));
    }
    let at_once = step.max_parallel.map_or(ITEMS_AT_ONCE, |most| {
        usize::try_from(most).unwrap_or(ITEMS_AT_ONCE)
    });
    let at_once = at_once.min(items.len()).max(1);
    let beside = place.side_by_side(at_once);
    let mut running = stream::iter(items.into_iter().enumerate())
        .map(|(index, item)| one_item(around, step, &beside, index, item))
        .buffered(at_once);
    let mut results = Vec::new();
    let mut halted = None;
    while let Some(outcome) = running.next().await {
        match outcome {
            Ok(result) => results.push(result),
            Err(mut halt) => {
                results.extend(halt.so_far.take().map(|so_far| *so_far));
                let is_broken = matches!(halt.why, Halt::Journal(_));
                halted.get_or_insert(halt);
                // What is stopped ends at once by itself, and tells what it was charged.
                if is_broken {
                    break;
                }
            }
        }
    }
    drop(running);
    add_up(&mut whole, &results);
    let bad: Vec<&RunResult> = results.iter().filter(|result| !result.ok).collect();
    whole.ok = bad.is_empty();
    if let Some(first) = bad.first().and_then(|result| result.error.as_ref()) {
        let words = format!(
            "{} of {} items failed: {}",
            bad.len(),
            results.len(),
            first.message
        );
        let mut classes = bad.iter().filter_map(|result| result.error.as_ref());
        let class = if bad.len() < results.len() {
            ErrorClass::Partial
        } else if classes.all(|error| error.class == first.class) {
            first.class
        } else {
            ErrorClass::Failed
        };
        whole.error = Some(ErrorReport {
            hint: first.hint.clone(),
            ..ErrorReport::new(class, words)
        });
    }
    let outputs: Vec<&str> = results
        .iter()
        .map(|result| result.output.as_str())
        .collect();
    whole.output = outputs.join("\n\n");
    let value = |result: &RunResult| {
        let structured = result.structured.clone();
        structured.unwrap_or_else(|| Value::from(result.output.as_str()))
    };
    whole.structured = Some(results.iter().map(value).collect());
    whole.results = Some(results);
    whole.duration_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    match halted {
        None => Ok(whole),
        Some(halt) => Err(halt.with(whole)),
    }
}

fn unusable(result: RunResult, words: String) -> RunResult {
    RunResult {
        error: Some(ErrorReport::new(ErrorClass::Failed, words)),
        ..result
    }
}

async fn one_item(
    around: &Around<'_>,
    step: &Step,
    place: &Place,
    index: usize,
    item: Value,
) -> Result<RunResult, Halted> {
    let mut place = place.part(around, &format!("[{index}]"));
    if let Recorded::Done(result) = place.journal.recall::<RunResult>()?
        && result.ok
    {
        return Ok(result);
    }
    let name = format!("{}[{index}]", step.id);
    if let Some(cause) = around.cancel.cause() {
        let stopped = Err(Halted::new(Halt::Stopped(cause)));
        return place.charged(stopped, || nothing(around, step, &name));
    }
    place.scope.item = Some(Arc::new(item));
    place.scope.board = Board::above(&place.scope.board);
    let events = around.events.for_step(&place.label);
    events.emit(EventKind::StepStarted {}).await;
    let name = format!("{}[{index}]", step.id);
    let worked = attempts(around, step, &place).await;
    let worked = place.charged(worked, || nothing(around, step, &name));
    let mut result = worked.map_err(|halt| halt.of_step(&name))?;
    result.step = Some(name);
    place.journal.keep(Durability::Normal, &result).await?;
    let ok = result.ok;
    events.emit(EventKind::StepFinished { ok }).await;
    Ok(result)
}

/// The result of a step of which nothing is left but what it was charged.
fn nothing(around: &Around<'_>, step: &Step, name: &str) -> RunResult {
    let (kind, who) = (work::kind(&step.work), work::name(&step.work));
    let mut result = RunResult::empty(around.run_id, kind, who, "");
    result.step = Some(name.to_owned());
    result
}

/// Does a step until it works out, as often as it may. Attempts of an earlier process count, but leave
/// one more: whoever continues a run wants what failed to be tried again.
async fn attempts(around: &Around<'_>, step: &Step, place: &Place) -> Result<RunResult, Halted> {
    let mut before = before(step, place)?;
    loop {
        let attempt = before.attempt;
        let mark = format!("#{attempt}");
        let record = place.journal.beside(&mark);
        let mut at = if attempt == 1 {
            place.clone()
        } else {
            // So that a later process does not go on with the attempt before.
            record.begin(Durability::Normal).await?;
            place.repeated(&mark)
        };
        at.again = std::mem::take(&mut before.again);
        let limit = step.timeout.and_then(Seconds::limit);
        let at = at.until(limit.and_then(|limit| Instant::now().checked_add(limit)));
        let mut result = match rounds(around, step, &at).await {
            Ok(result) => result,
            Err(halt) => return Err(halt.after(&before.spent)),
        };
        before.left = before.left.saturating_sub(1);
        if !result.ok {
            // Of what failed, only that it did and what it cost is kept here; its parts keep themselves.
            record.keep(Durability::Normal, &result).await?;
            let is_worth_it = result.error.as_ref().is_some_and(is_worth_trying_again);
            if before.left > 0 && is_worth_it {
                let words = result
                    .error
                    .as_ref()
                    .map_or("it failed", |error| &error.message);
                let words = format!("attempt {attempt} failed, trying again: {words}");
                around.events.for_step(&place.label).notice(words).await;
                add_up(&mut before.spent, &[result]);
                before.attempt = attempt.saturating_add(1);
                continue;
            }
        }
        add_up(&mut result, &[before.spent]);
        return Ok(result);
    }
}

/// What is known of the attempts at a step that came before.
struct Before {
    /// What those have spent that are not gone on with.
    spent: RunResult,
    /// How many attempts are left.
    left: u32,
    /// The attempt that is next.
    attempt: u32,
    /// It failed and is gone on with.
    again: bool,
}

/// The attempts of earlier processes.
fn before(step: &Step, place: &Place) -> Result<Before, Halted> {
    let mut before = Before {
        spent: RunResult::empty("", "agent", "", ""),
        left: step.retries.saturating_add(1),
        attempt: 1,
        again: false,
    };
    let mut last = None;
    loop {
        let record = place.journal.beside(&format!("#{}", before.attempt));
        match record.recall::<RunResult>()? {
            Recorded::Done(failed) => {
                add_up(&mut before.spent, last.replace(failed).as_slice());
                before.left = before.left.saturating_sub(1).max(1);
                before.attempt = before.attempt.saturating_add(1);
            }
            Recorded::Begun => {
                add_up(&mut before.spent, last.as_slice());
                return Ok(before);
            }
            Recorded::Never => break,
        }
    }
    match last {
        // What it finished is neither done nor paid again, and stands in the result of the next.
        Some(failed) if !must_begin_anew(step, &failed) => {
            before.attempt = before.attempt.saturating_sub(1);
            before.again = true;
        }
        failed => add_up(&mut before.spent, failed.as_slice()),
    }
    Ok(before)
}

/// Whether going on with a failed attempt would end as it did: an answer or a loop was finished and no
/// good. Blocks, tasks and candidates keep what is finished part by part.
fn must_begin_anew(step: &Step, failed: &RunResult) -> bool {
    match (&step.work, &step.repeat) {
        (Work::Agent { .. }, _) => work::is_no_good(failed),
        (_, Some(_)) => {
            let class = failed.error.as_ref().map(|error| error.class);
            class == Some(ErrorClass::Failed)
        }
        (_, None) => false,
    }
}

/// Whether a new attempt may end otherwise.
fn is_worth_trying_again(error: &ErrorReport) -> bool {
    match error.class {
        ErrorClass::Failed
        | ErrorClass::Provider
        | ErrorClass::Timeout
        | ErrorClass::Partial
        | ErrorClass::TurnLimit => true,
        ErrorClass::Usage
        | ErrorClass::Config
        | ErrorClass::Auth
        | ErrorClass::Budget
        | ErrorClass::Denied
        | ErrorClass::Interrupted
        | ErrorClass::Terminated => false,
    }
}

/// Does a step again until its condition is true, as often as it may.
async fn rounds(around: &Around<'_>, step: &Step, place: &Place) -> Result<RunResult, Halted> {
    let Some(repeat) = &step.repeat else {
        return work::run(around, step, place).await;
    };
    let mut pending = (*place.scope.pending).clone();
    pending.push(step.id.clone());
    work::inner_ids(&step.work, &mut pending);
    let mut place = place.clone();
    place.scope.pending = Arc::new(pending);
    let mut before = RunResult::empty(around.run_id, "agent", "", "");
    for round in 1..=repeat.max {
        let at = if round == 1 {
            place.clone()
        } else {
            place.repeated(&format!("~{round}"))
        };
        // A round that was followed by another one is finished, however it ended.
        let record = place.journal.beside(&format!("~{round}"));
        let mut result = match record.recall::<RunResult>()? {
            Recorded::Done(result) => result,
            _ => match work::run(around, step, &at).await {
                Ok(result) => result,
                Err(halt) => return Err(halt.after(&before)),
            },
        };
        let out = Arc::new(StepOut {
            skipped: false,
            result: result.clone(),
        });
        block::show_inner(around, step, &out.result, &place.scope.board);
        place.scope.board.put(&step.id, Arc::clone(&out));
        let is_met = template::condition(&repeat.until, &place.scope);
        add_up(&mut result, std::slice::from_ref(&before));
        let hopeless = result
            .error
            .as_ref()
            .is_some_and(|error| error.class != ErrorClass::Failed);
        match is_met {
            _ if hopeless => return Ok(result),
            Ok(true) => {
                result.ok = true;
                result.error = None;
                return Ok(result);
            }
            Err(error) => {
                if result.ok {
                    result = unusable(result, format!("`until`: {error}"));
                }
                result.ok = false;
                return Ok(result);
            }
            Ok(false) if round == repeat.max => {
                let words = format!("`{}` was not true after {round} rounds", repeat.until);
                result.ok = false;
                return Ok(unusable(result, words));
            }
            Ok(false) => {
                record.keep(Durability::Normal, &out.result).await?;
                before = RunResult::empty(around.run_id, "agent", "", "");
                add_up(&mut before, &[result]);
            }
        }
    }
    Ok(before)
}
