//! What a run that was cut off has lost: the calls that were under way, and answers that had come and were
//! not kept yet. They are asked for again, which costs again, so it is said.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Orchestrator;
use super::task::not_kept;
use crate::agents::{Journal, Recorded};
use crate::costs::{Ledger, LostAttempt};
use crate::error::OrchError;
use crate::store::Durability;
use crate::tasks::runs::{self, StoredRun};
use crate::usage::Usd;

impl Orchestrator {
    /// What is to be said of a run that nobody works on.
    pub(super) async fn lost_calls(&self, run: &StoredRun) -> Result<Vec<String>, OrchError> {
        let store = self.runs_store()?;
        let run_id = run.listed.run_id.as_str();
        let ledger = Ledger::new(store.clone(), Arc::clone(&self.prices));
        let lost = ledger.end_lost(run_id).await;
        let mut lost = lost.map_err(|error| not_kept(&error))?;
        let kept = runs::kept(store, run_id).map_err(|error| not_kept(&error))?;
        let journal = Journal::of_run(store.clone(), &run_id.into());
        let told = journal.under("!given_up");
        let since = noted(&told);
        let given_up = ledger.given_up(run_id, since);
        let (given_up, last) = given_up.map_err(|error| not_kept(&error))?;
        // What a step gave up and ended without is not asked for again.
        let is_over = |call: &LostAttempt| {
            let step = call.step.as_deref();
            kept.iter().any(|kept| step == Some(&kept.key))
        };
        lost.extend(given_up.into_iter().filter(|call| !is_over(call)));
        if last > since {
            note(&told, last).await?;
        }
        let mut said: Vec<String> = lost.into_iter().map(words).collect();

        // Each answer is charged first and kept then.
        let answered = ledger.answered(run_id).map_err(|error| not_kept(&error))?;
        let finished: BTreeSet<&str> = match run.listed.kind.as_str() {
            "all" => kept.iter().filter_map(|kept| kept.whole_part()).collect(),
            _ => BTreeSet::new(),
        };
        let answers = kept
            .iter()
            .filter(|kept| kept.is_answer && !finished.contains(kept.part()));
        let charged = answered
            .iter()
            .filter(|agent| !finished.contains(agent.as_str()));
        let unkept = charged.count().saturating_sub(answers.count());
        let told = journal.under("!unkept");
        let unkept = i64::try_from(unkept).unwrap_or(i64::MAX);
        let before = noted(&told);
        if unkept > before {
            said.push(format!(
                "{} answers of models had come and were not kept yet when the run was cut off: they are \
                 asked for, and paid, again",
                unkept - before
            ));
            note(&told, unkept).await?;
        }
        Ok(said)
    }
}

/// How far it was told before.
fn noted(told: &Journal) -> i64 {
    match told.recall() {
        Ok(Recorded::Done(before)) => before,
        _ => 0,
    }
}

async fn note(told: &Journal, so_far: i64) -> Result<(), OrchError> {
    let kept = told.keep(Durability::Normal, &so_far).await;
    kept.map_err(|error| not_kept(&error))
}

fn words(call: LostAttempt) -> String {
    let step = call.step.map(|step| format!(" in the step `{step}`"));
    let counts = match (call.cost, call.held) {
        (Usd::ZERO, Usd::ZERO) => String::new(),
        (Usd::ZERO, held) => {
            format!("; the first call counts at the most that it can have cost, ${held}")
        }
        (cost, held) => format!(
            "; the first call counts as ${}, by what had come of its answer",
            cost + held
        ),
    };
    format!(
        "turn {} of `{}`{} was being asked of `{}` when the run was cut off and is asked again{counts}",
        call.turn,
        call.agent,
        step.unwrap_or_default(),
        call.model
    )
}
