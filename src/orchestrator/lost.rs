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
        let lost = lost.map_err(|error| not_kept(&error))?;
        let mut said: Vec<String> = lost.into_iter().map(words).collect();

        // Each answer is charged first and kept then.
        let kept = runs::kept(store, run_id).map_err(|error| not_kept(&error))?;
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
        let told = Journal::of_run(store.clone(), &run_id.into()).under("!unkept");
        let before = match told.recall::<usize>() {
            Ok(Recorded::Done(before)) => before,
            _ => 0,
        };
        if unkept > before {
            said.push(format!(
                "{} answers of models had come and were not kept yet when the run was cut off: they are \
                 asked for, and paid, again",
                unkept - before
            ));
            told.keep(Durability::Normal, &unkept)
                .await
                .map_err(|error| not_kept(&error))?;
        }
        Ok(said)
    }
}

fn words(call: LostAttempt) -> String {
    let step = call.step.map(|step| format!(" in the step `{step}`"));
    let counts = if call.held == Usd::ZERO {
        String::new()
    } else {
        format!(
            "; the first call counts at the most that it can have cost, ${}",
            call.held
        )
    };
    format!(
        "turn {} of `{}`{} was being asked of `{}` when the run was cut off and is asked again{counts}",
        call.turn,
        call.agent,
        step.unwrap_or_default(),
        call.model
    )
}
