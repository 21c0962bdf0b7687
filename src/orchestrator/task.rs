//! Running tasks, and going on with runs that were stopped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::time::Instant;

use super::step_files::StepFiles;
use super::{Orchestrator, nearest};
use crate::agents::{Agent, AgentSettings, Journal, RunResult};
use crate::cancel::Cancel;
use crate::costs::{Earlier, Ledger};
use crate::error::{ErrorClass, OrchError};
use crate::event::Events;
use crate::store::{Durability, Store, StoreError};
use crate::tasks::runs;
use crate::tasks::{self, Plan, PlanError, RunLock, RunState, Sources, TaskSettings};
use crate::tools::ToolContext;
use crate::usage::Usd;

/// A run as `--runs` lists it.
#[derive(Clone, Debug, Serialize)]
pub struct RunInfo {
    /// Its id.
    pub run_id: String,
    /// `agent`, `all` or `task`.
    pub kind: String,
    /// The name of the agent or task.
    pub name: String,
    /// How it stands.
    pub state: RunState,
    /// When it began, RFC 3339.
    pub started: String,
    /// What it has cost so far.
    pub cost_usd: Usd,
    /// What its calls hold that are under way, or of which nobody knows what became of them.
    pub held_usd: Usd,
}

impl Orchestrator {
    /// The settings of a task.
    ///
    /// # Errors
    /// When there is no such task; the hint names the nearest.
    pub fn task_of(&self, name: &str) -> Result<&TaskSettings, OrchError> {
        let tasks = &self.config.document.tasks;
        tasks.get(name).ok_or_else(|| {
            let names: Vec<&str> = tasks.names().collect();
            let error = OrchError::new(ErrorClass::Usage, format!("there is no task `{name}`"));
            error.with_hint(match nearest(name, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`orch --tasks` lists them".to_owned(),
            })
        })
    }

    /// The plan of a task with these inputs, `name=value` each.
    ///
    /// # Errors
    /// When there is no such task, or the inputs do not fit.
    pub fn task_plan(&self, name: &str, written: &[String]) -> Result<Plan, OrchError> {
        let task = self.task_of(name)?;
        let document = &self.config.document;
        self.check_model(document.agents.names())?;
        let refused = |error: tasks::inputs::InputError| {
            let inputs: Vec<&str> = task.inputs.keys().map(String::as_str).collect();
            let hint = if inputs.is_empty() {
                "it takes no inputs".to_owned()
            } else {
                format!(
                    "its inputs are `{}`; pass them with `--input name=value`",
                    inputs.join("`, `")
                )
            };
            OrchError::new(ErrorClass::Usage, error.to_string()).with_hint(hint)
        };
        let given = tasks::inputs::parse(&task.inputs, written).map_err(refused)?;
        // What is kept holds no known secret, and a run goes on with what is kept.
        let mut given = serde_json::Value::Object(given);
        self.redactor.mask_json(&mut given);
        let given = given.as_object().cloned().unwrap_or_default();
        self.plan_of(name, given).map_err(|error| match error {
            PlanError::Inputs(error) => refused(error),
            error => OrchError::new(ErrorClass::Config, error.to_string()),
        })
    }

    /// The plan of a task, whose agents have the providers and models of this call.
    pub(super) fn plan_of(
        &self,
        name: &str,
        given: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Plan, PlanError> {
        let document = &self.config.document;
        let sources = Sources {
            task: &|name| document.tasks.get(name),
            agent: &|name| document.agents.get(name),
        };
        let mut plan = Plan::new(name, sources, given)?;
        plan.budget = self.options.budget;
        plan.model.clone_from(&self.options.model);
        plan.place = Some(self.place());
        for settings in plan.agents.values_mut() {
            *settings = self.settled(settings, plan.model.as_deref());
        }
        Ok(plan)
    }

    /// Runs a task from its plan.
    ///
    /// # Errors
    /// When the run cannot begin: a workspace or a store that cannot be used.
    pub async fn run_task(
        &self,
        run_id: &Arc<str>,
        plan: &Plan,
        deadline: Option<Instant>,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<RunResult, OrchError> {
        let store = self.runs_store()?;
        let _lock = self.lock(run_id)?;
        let kept = self.redactor.json(plan);
        let named = ("task", plan.task.as_str());
        runs::enter(store, run_id, named, kept, Durability::Full)
            .await
            .map_err(|error| not_kept(&error))?;
        let fresh = (Vec::new(), Earlier::default(), deadline);
        self.work_on(run_id, plan, fresh, events, cancel).await
    }

    pub(super) async fn work_on(
        &self,
        run_id: &Arc<str>,
        plan: &Plan,
        (lost, earlier, deadline): (Vec<String>, Earlier, Option<Instant>),
        events: &Events,
        cancel: &Cancel,
    ) -> Result<RunResult, OrchError> {
        let store = self.runs_store()?;
        let known = |name: &str| plan.agents.get(name);
        let mut agents = BTreeMap::new();
        let mut told: Vec<String> = Vec::new();
        for (name, settings) in &plan.agents {
            let (agent, notices) = self.resolve_among(name, settings, &known)?;
            agents.insert(name.clone(), agent);
            for notice in notices {
                if !told.contains(&notice) {
                    events.notice(notice.clone()).await;
                    told.push(notice);
                }
            }
        }
        let commands = self.commands()?;
        let files = StepFiles::begin(&self.config.outputs_dir, &plan.task, run_id);
        let directory = files.path().to_owned();
        let written = Mutex::new(files);
        let ended = tasks::run(
            &tasks::Around {
                run_id,
                task: &plan.task.as_str().into(),
                agents: &agents,
                resolve: &|caller: &Agent, name: &str| self.called(caller, name, &known),
                delegation: self.config.document.settings.delegation,
                commands: &commands,
                resilience: self.calls()?,
                journal: &Journal::of_run(store.clone(), run_id),
                charged_session: self.options.charged_session.as_ref(),
                earlier: &earlier,
                events,
                cancel,
                deadline,
                finished: &|label, result| {
                    let files = written.lock().unwrap_or_else(PoisonError::into_inner);
                    files.step(label, &self.redactor.mask(&result.output));
                },
            },
            plan,
        )
        .await;
        let mut result = ended.result;
        result.warnings.splice(0..0, lost.into_iter().chain(told));
        let files = written.into_inner().unwrap_or_else(PoisonError::into_inner);
        let whole = self.pretty_json(&result);
        if let Err(error) = files.end(whole).await {
            let words = format!(
                "the results cannot be written below `{}`: {error}",
                directory.display()
            );
            result.warnings.push(words);
        }
        // Whoever goes on with the run finds all that it finished, only not that it is at its end.
        let kept = Some(self.redactor.json(&result));
        let full = Durability::Full;
        if let Err(error) = runs::set_state(store, run_id, ended.state, kept, full).await {
            result
                .warnings
                .push(format!("the end of the run could not be kept: {error}"));
        }
        Ok(result)
    }

    /// What commands of the configuration work with: the rights of the settings, and no questions, since
    /// they are the user's own.
    fn commands(&self) -> Result<ToolContext, OrchError> {
        let context = self.tools("", &[], &AgentSettings::default(), BTreeMap::new())?;
        Ok(ToolContext {
            approvals: Arc::default(),
            ..context
        })
    }

    fn pretty_json(&self, result: &RunResult) -> String {
        let mut value = serde_json::to_value(result).unwrap_or_default();
        self.redactor.mask_json(&mut value);
        serde_json::to_string_pretty(&value).unwrap_or_default()
    }

    pub(super) fn runs_store(&self) -> Result<&Store, OrchError> {
        self.store.as_ref().ok_or_else(|| {
            OrchError::new(
                ErrorClass::Failed,
                "there is no store, so no run can be kept",
            )
        })
    }

    pub(super) fn lock(&self, run_id: &str) -> Result<RunLock, OrchError> {
        let lock = RunLock::take(&self.config.state_dir, run_id).map_err(|error| {
            OrchError::new(ErrorClass::Failed, "the run cannot be locked")
                .caused_by(&error)
                .with_hint(
                    "make the state directory writable, or name another with `settings.state_dir`",
                )
        })?;
        lock.ok_or_else(|| {
            OrchError::new(
                ErrorClass::Usage,
                format!("another process works on the run `{run_id}`"),
            )
            .with_hint("wait for it, or stop it first")
        })
    }

    /// The runs that are kept, newest first, at most so many; and how many older ones there are.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn runs(&self, most: u32) -> Result<(Vec<RunInfo>, usize), OrchError> {
        let Some(store) = &self.store else {
            return Ok((Vec::new(), 0));
        };
        let unreadable = |error: StoreError| {
            OrchError::new(ErrorClass::Failed, "the runs cannot be read").caused_by(&error)
        };
        let ledger = Ledger::new(store.clone(), Arc::clone(&self.prices));
        let listed = runs::list(store, most).map_err(unreadable)?;
        let older = runs::count(store).map_err(unreadable)?;
        let older = older.saturating_sub(listed.len());
        let listed: Result<Vec<RunInfo>, OrchError> = listed
            .into_iter()
            .map(|run| {
                let spending = ledger.run_cost(&run.run_id).map_err(unreadable)?;
                let is_dead = run.state == RunState::Running
                    && !RunLock::is_taken(&self.config.state_dir, &run.run_id);
                let started = jiff::Timestamp::from_millisecond(run.started_ms).unwrap_or_default();
                Ok(RunInfo {
                    state: if is_dead {
                        RunState::Interrupted
                    } else {
                        run.state
                    },
                    run_id: run.run_id,
                    kind: run.kind,
                    name: run.name,
                    started: started.to_string(),
                    cost_usd: spending.spent,
                    held_usd: spending.held,
                })
            })
            .collect();
        Ok((listed?, older))
    }
}

pub(super) fn not_kept(error: &StoreError) -> OrchError {
    OrchError::new(
        ErrorClass::Failed,
        "the run cannot be kept, so it did not start",
    )
    .caused_by(error)
    .with_hint(error.hint())
}
