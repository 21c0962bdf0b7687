//! Steps that hang together: each starts as soon as what it needs is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::around::{Around, Halted, Place};
use super::graph::{Done, is_stopped, ready};
use super::scope::Board;
use super::{Step, StepOut, Work, step};
use crate::agents::RunResult;
use crate::providers::BoxFuture;

/// How many steps of a block work at once when it does not say.
const AT_ONCE: usize = 64;

/// What came of a block.
pub(super) struct Block {
    /// The results of its steps, those that were left out aside, in its order.
    pub(super) results: Vec<RunResult>,
    /// The last step in its order that did something.
    pub(super) last: Option<RunResult>,
    /// Whether a failure ended it.
    pub(super) stopped: bool,
}

/// Does the steps of a block. A type that is known ends the recursion.
pub(super) fn run<'a>(
    around: &'a Around<'_>,
    steps: &'a [Step],
    place: &'a Place,
    max_parallel: Option<u32>,
) -> BoxFuture<'a, Result<Block, Halted>> {
    Box::pin(work_through(around, steps, place, max_parallel))
}

async fn work_through(
    around: &Around<'_>,
    steps: &[Step],
    place: &Place,
    max_parallel: Option<u32>,
) -> Result<Block, Halted> {
    let at_once = max_parallel.map_or(AT_ONCE, |most| usize::try_from(most).unwrap_or(AT_ONCE));
    let mut done = Done::new();
    let mut halted: Option<Halted> = None;
    let mut partial: BTreeMap<String, RunResult> = BTreeMap::new();
    let mut started: BTreeSet<&str> = BTreeSet::new();
    let mut running = FuturesUnordered::new();
    loop {
        if halted.is_none() {
            for step in ready(steps, &done) {
                if running.len() >= at_once {
                    break;
                }
                if started.insert(&step.id) {
                    running.push(async move { (&step.id, step::run(around, step, place).await) });
                }
            }
        }
        let Some((id, outcome)) = running.next().await else {
            break;
        };
        match outcome {
            Ok(out) => {
                let out = Arc::new(out);
                place.scope.board.put(id, Arc::clone(&out));
                done.insert(id.clone(), out);
            }
            Err(mut halt) => {
                if let Some(so_far) = halt.so_far.take() {
                    partial.insert(id.clone(), *so_far);
                }
                halted.get_or_insert(halt);
            }
        }
    }
    drop(running);
    let of_step = |step: &Step| match done.get(&step.id) {
        Some(out) if out.skipped => None,
        Some(out) => Some(out.result.clone()),
        None => partial.get(&step.id).cloned(),
    };
    let results: Vec<RunResult> = steps.iter().filter_map(of_step).collect();
    let block = Block {
        last: results.last().cloned(),
        stopped: is_stopped(steps, &done),
        results,
    };
    match halted {
        None => Ok(block),
        Some(halt) => Err(halt.with(block.into_result(around, "task", ""))),
    }
}

impl Block {
    /// One result for the block: what its last step gave, and the sums of all.
    pub(super) fn into_result(
        self,
        around: &Around<'_>,
        kind: &'static str,
        name: &str,
    ) -> RunResult {
        let mut whole = RunResult::empty(around.run_id, kind, name, "");
        whole.ok = !self.stopped;
        add_up(&mut whole, &self.results);
        let failed = self.results.iter().filter(|result| !result.ok);
        if self.stopped {
            whole.error = failed.filter_map(|result| result.error.clone()).next_back();
        }
        if let Some(last) = self.last {
            whole.output = last.output;
            whole.structured = last.structured;
        }
        whole.results = Some(self.results);
        whole
    }
}

/// Adds what parts have taken. What they were charged stands in the account of the whole.
pub(super) fn add_up(whole: &mut RunResult, parts: &[RunResult]) {
    for part in parts {
        if part.attempts > 0 {
            whole.cost_source = whole.cost_source.max(part.cost_source);
        }
        whole.retries += part.retries;
        whole.turns += part.turns;
    }
}

/// A step that was left out.
pub(super) fn skipped(around: &Around<'_>, step: &Step) -> StepOut {
    let mut result = RunResult::empty(around.run_id, "task", "", "");
    result.step = Some(step.id.clone());
    StepOut {
        skipped: true,
        result,
    }
}

/// Shows the steps of a block that has ended to those behind it: what its result says of them, and that
/// the others were left out. Those of one item are seen in `items` only.
pub(super) fn show_inner(around: &Around<'_>, step: &Step, result: &RunResult, board: &Board) {
    let (Work::Block { steps }, None) = (&step.work, &step.for_each) else {
        return;
    };
    for inner in steps {
        let parts = result.results.iter().flatten();
        let mut of_inner = parts.filter(|part| part.step.as_deref() == Some(&inner.id));
        let out = match of_inner.next() {
            Some(part) => StepOut {
                skipped: false,
                result: part.clone(),
            },
            None => skipped(around, inner),
        };
        show_inner(around, inner, &out.result, board);
        board.put(&inner.id, Arc::new(out));
    }
}
