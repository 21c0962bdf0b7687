//! Going on with runs that were stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use super::kept::KeptRun;
use super::task::not_kept;
use super::{AllOrder, Conversation, Options, Orchestrator, Order};
use crate::agents::{AgentSettings, RunResult};
use crate::cancel::Cancel;
use crate::costs::report::Filter;
use crate::costs::{Earlier, Ledger};
use crate::error::{ErrorClass, OrchError};
use crate::event::Events;
use crate::providers::Delivery;
use crate::redact::MASK;
use crate::store::{Durability, StoreError};
use crate::tasks::runs::{self, RunPlace, StoredRun};
use crate::tasks::{self, Plan, RunLock, RunState};
use crate::usage::Usd;

/// How a run that is taken up again is carried out.
#[derive(Clone, Copy, Debug)]
pub struct ResumeOptions {
    /// When it must be over.
    pub deadline: Option<Instant>,
    /// At most this many agents at once.
    pub at_once: usize,
    /// Who takes the answer of one agent while it streams.
    pub delivery: Delivery,
}

/// How many runs are named where one is meant.
const NAMED: usize = 5;

impl Orchestrator {
    /// The run of an id, or of the beginning of one.
    ///
    /// # Errors
    /// When there is none, or which one is not clear.
    pub fn find_run(&self, id: &str) -> Result<StoredRun, OrchError> {
        let Some(store) = &self.store else {
            return Err(unclear(id, &[]));
        };
        let found = runs::find(store, id).map_err(|error| unreadable(&error))?;
        if let Some(run) = found {
            return Ok(run);
        }
        let begun = if id.is_empty() {
            Vec::new()
        } else {
            runs::beginning(store, id, NAMED + 1).map_err(|error| unreadable(&error))?
        };
        Err(unclear(id, &begun))
    }

    /// A filter with the whole id of the run that it names.
    ///
    /// # Errors
    /// When there is no such run, or which one is not clear.
    pub(super) fn of_one_run(&self, filter: Filter) -> Result<Filter, OrchError> {
        let Some(id) = filter.run.clone() else {
            return Ok(filter);
        };
        let run = match self.find_run(&id) {
            Ok(run) => run.listed.run_id,
            Err(error) => {
                // What a part of a run spent stands in the ledger under an id that is not listed.
                let alone = Filter {
                    run: Some(id.clone()),
                    ..Filter::default()
                };
                if self.report(&alone)?.total_requests == 0 {
                    return Err(error);
                }
                id
            }
        };
        Ok(Filter {
            run: Some(run),
            ..filter
        })
    }

    /// Goes on with a run, under the cap that it began with unless there is another one now. One that is done gives
    /// its result again. `finished` is told the result of each agent of several as it comes.
    ///
    /// # Errors
    /// When another process works on it, or it cannot go on.
    pub async fn resume(
        &self,
        run: StoredRun,
        options: ResumeOptions,
        events: &Events,
        cancel: &Cancel,
        finished: &mut (dyn FnMut(&RunResult) + Send),
    ) -> Result<RunResult, OrchError> {
        let capped = Options {
            budget: self.options.budget.or_else(|| kept_of(&run).budget),
            ..self.options.clone()
        };
        let capped = self.renewed(None, capped);
        Box::pin(capped.go_on_with(run, options, events, cancel, finished)).await
    }

    async fn go_on_with(
        &self,
        run: StoredRun,
        options: ResumeOptions,
        events: &Events,
        cancel: &Cancel,
        finished: &mut (dyn FnMut(&RunResult) + Send),
    ) -> Result<RunResult, OrchError> {
        let run_id: Arc<str> = run.listed.run_id.as_str().into();
        let store = self.runs_store()?;
        let lock = self.lock(&run_id)?;
        // Another process may have worked on it since it was looked up.
        let run = self.find_run(&run_id)?;
        if let (RunState::Done, Some(result)) = (run.listed.state, &run.result) {
            events.notice("the run is done; this is what it gave").await;
            result.results.iter().flatten().for_each(finished);
            return Ok(result.clone());
        }
        self.check_place(&run, events).await?;
        let lost = self.lost_calls(&run).await?;
        for words in &lost {
            events.notice(words.clone()).await;
        }
        let ledger = Ledger::new(store.clone(), Arc::clone(&self.prices));
        let earlier = ledger
            .earlier(&run_id)
            .map_err(|error| unreadable(&error))?;
        if run.listed.kind != "task" {
            let taken = (&run, lock, earlier);
            let agents = self.resume_agents(taken, options, events, cancel, finished);
            let mut result = Box::pin(agents).await?;
            result.warnings.splice(0..0, lost);
            return Ok(result);
        }
        let _lock = lock;
        let mut plan: Plan = serde_json::from_str(&run.plan).map_err(|error| {
            OrchError::new(ErrorClass::Failed, "the plan of the run cannot be read")
                .caused_by(&error)
                .with_hint("it was made by another version of the program")
        })?;
        if plan.version != tasks::PLAN_VERSION {
            let words = format!("the plan of the run has the version {}", plan.version);
            return Err(OrchError::new(ErrorClass::Failed, words).with_hint(format!(
                "this program goes on with plans of the version {}",
                tasks::PLAN_VERSION
            )));
        }
        if run.plan.contains(MASK) {
            self.unmask(&mut plan);
        }
        // Those of a plan that an earlier version made may name no model.
        for settings in plan.agents.values_mut() {
            *settings = self.settled(settings, plan.model.as_deref());
        }
        let model = plan.model.as_deref();
        let settled = |settings: &AgentSettings| self.settled(settings, model);
        self.tell_changes(&plan.agents, &settled, events).await;
        runs::set_state(store, &run_id, RunState::Running, None, Durability::Full)
            .await
            .map_err(|error| not_kept(&error))?;
        let before = (lost, earlier, options.deadline);
        Box::pin(self.work_on(&run_id, &plan, before, events, cancel)).await
    }

    /// Whether a run goes on where it began. Elsewhere the paths of its steps would mean other files; where that place
    /// is gone, it was moved, and the run moves with it.
    async fn check_place(&self, run: &StoredRun, events: &Events) -> Result<(), OrchError> {
        let here = self.place().working_dir;
        let place = kept_of(run).place;
        let elsewhere = |place: &RunPlace| place.working_dir != *self.redactor.mask(&here);
        let Some(place) = place.filter(elsewhere) else {
            return Ok(());
        };
        let began = place.working_dir;
        if !Path::new(&began).is_dir() {
            let words =
                format!("the run began in `{began}`, which is gone; it goes on in `{here}`");
            events.notice(words).await;
            return Ok(());
        }
        let id = &run.listed.run_id;
        let words = format!("the run works in `{began}`, and this configuration in `{here}`");
        Err(
            OrchError::new(ErrorClass::Usage, words).with_hint(match place.config {
                Some(config) => {
                    format!("name its configuration: orch --config {config} --resume {id}")
                }
                None => format!("go there first: cd {began}"),
            }),
        )
    }

    /// Puts the secrets back into the texts of a plan that was kept, from the configuration as it is now.
    fn unmask(&self, plan: &mut Plan) {
        let now = self.plan_of(&plan.task, plan.inputs.clone()).ok();
        let masked = now
            .as_ref()
            .and_then(|now| serde_json::from_str(&self.redactor.json(now)).ok());
        tasks::unmask(plan, now.as_ref(), masked.as_ref(), MASK);
    }

    async fn resume_agents(
        &self,
        (run, lock, earlier): (&StoredRun, RunLock, Earlier),
        options: ResumeOptions,
        events: &Events,
        cancel: &Cancel,
        finished: &mut (dyn FnMut(&RunResult) + Send),
    ) -> Result<RunResult, OrchError> {
        let kept = self.take_up(run, (lock, earlier), events).await?;
        let run_id: Arc<str> = run.listed.run_id.as_str().into();
        let mut result = if run.listed.kind == "all" {
            let order = AllOrder {
                run_id,
                only: Vec::new(),
                prompt: kept.plan.prompt.clone(),
                conversation: Conversation::New,
                deadline: options.deadline,
                at_once: options.at_once,
            };
            self.ask_all(&kept, order, events, cancel, finished).await
        } else {
            self.resume_agent(&kept, options, events, cancel).await?
        };
        kept.end(&mut result).await;
        Ok(result)
    }

    async fn resume_agent(
        &self,
        run: &KeptRun,
        options: ResumeOptions,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<RunResult, OrchError> {
        let asked = run.plan.asked.first().ok_or_else(|| {
            OrchError::new(ErrorClass::Failed, "the plan of the run names no agent")
        })?;
        let order = Order {
            run_id: Arc::clone(&run.run_id),
            agent: asked.agent.clone(),
            prompt: run.plan.prompt.clone(),
            conversation: Conversation::New,
            deadline: options.deadline,
            delivery: options.delivery,
        };
        let opened = self.opened(&asked.agent, asked.conversation.clone())?;
        let ready = self.ready(&run.plan, order, opened)?;
        // What became of the run is kept by whoever took it up.
        let place = (ready, run.journal.clone());
        Ok(self
            .run_ready(run, place, |_| None, events, cancel)
            .await
            .result)
    }

    /// Says which agents of a plan are configured otherwise now. `settled` is applied to those of the
    /// configuration before they are compared.
    pub(super) async fn tell_changes(
        &self,
        planned: &BTreeMap<String, AgentSettings>,
        settled: &(dyn Fn(&AgentSettings) -> AgentSettings + Sync),
        events: &Events,
    ) {
        for (name, settings) in planned {
            let now = self.config.document.agents.get(name);
            if now.map(settled).as_ref() != Some(settings) {
                let words = format!(
                    "the configuration of `{name}` has changed; the run goes on with what it began with"
                );
                events.notice(words).await;
            }
        }
    }
}

/// What plans of every kind keep.
#[derive(Default, serde::Deserialize)]
struct KeptOfAll {
    /// The cap that a run began with, `--budget`.
    budget: Option<Usd>,
    place: Option<RunPlace>,
}

fn kept_of(run: &StoredRun) -> KeptOfAll {
    // A plan that cannot be read is told of by whoever goes on with it.
    serde_json::from_str(&run.plan).unwrap_or_default()
}

fn unreadable(error: &StoreError) -> OrchError {
    OrchError::new(ErrorClass::Failed, "the run cannot be read")
        .caused_by(error)
        .with_hint(error.hint())
}

/// No run was found by what was given; these begin with it.
fn unclear(id: &str, begun: &[String]) -> OrchError {
    let error = |words: String| OrchError::new(ErrorClass::Usage, words);
    match begun {
        [] => error(format!("there is no run `{id}`")).with_hint("`orch --runs` lists the runs"),
        [only] => error(format!("`{id}` is too short for a run's id"))
            .with_hint(format!("did you mean `{only}`?")),
        several => {
            let named: Vec<&str> = several.iter().take(NAMED).map(String::as_str).collect();
            let more = if several.len() > NAMED {
                " and others"
            } else {
                ""
            };
            let named = named.join(", ");
            error(format!("`{id}` begins several runs: {named}{more}"))
                .with_hint("give more of the id; `orch --runs` lists the runs")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_five_runs_are_named_that_may_be_meant() {
        let ids = |count: usize| -> Vec<String> { (1..=count).map(|n| format!("r{n}")).collect() };
        for (begun, message, hint) in [
            (0, "there is no run `r`", "`orch --runs` lists the runs"),
            (1, "`r` is too short for a run's id", "did you mean `r1`?"),
            (
                5,
                "`r` begins several runs: r1, r2, r3, r4, r5",
                "give more of the id; `orch --runs` lists the runs",
            ),
            (
                6,
                "`r` begins several runs: r1, r2, r3, r4, r5 and others",
                "give more of the id; `orch --runs` lists the runs",
            ),
        ] {
            let error = unclear("r", &ids(begun));
            assert_eq!(
                (error.message.as_str(), error.hint.as_deref()),
                (message, Some(hint))
            );
        }
    }
}
