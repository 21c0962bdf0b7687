//! Whole runs in one process, with models that follow a script.

mod again;
mod candidates;
mod graph;
mod results;
mod resume;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::agents::testing::{Lab, Model};
use crate::agents::{Agent, AgentSettings, DelegationSettings, Journal, RunResult};
use crate::cancel::{self, Cancel, Canceller};
use crate::costs::{Ledger, Prices};
use crate::event::Events;
use crate::tools::Approver;

/// A lab with a plan in it.
struct Bench {
    lab: Lab,
    plan: Plan,
    model: Arc<Model>,
    approver: Approver,
    canceller: Canceller,
    cancel: Cancel,
    /// The steps that have ended, in order.
    ended: Mutex<Vec<String>>,
}

impl Bench {
    /// The task `t` of a configuration's `tasks:`, whose agents are `a` to `d` and all have this model.
    fn new(tasks: &str, model: &Arc<Model>) -> Self {
        Self::with_inputs(tasks, model, &[])
    }

    fn with_inputs(tasks: &str, model: &Arc<Model>, inputs: &[&str]) -> Self {
        let tasks: BTreeMap<String, TaskSettings> = serde_yaml::from_str(tasks).unwrap();
        let agents: BTreeMap<String, AgentSettings> = ["a", "b", "c", "d"]
            .into_iter()
            .map(|name| (name.to_owned(), AgentSettings::default()))
            .collect();
        for (name, task) in &tasks {
            let around = check::Surroundings {
                agent: &|name| agents.get(name),
                is_doubtful: &|_, _| false,
                unsure: &check::UnsureNames::default(),
            };
            let problems = check::problems(name, task, around);
            assert_eq!(problems, [], "{name}");
        }
        let written: Vec<String> = inputs.iter().map(ToString::to_string).collect();
        let given = inputs::parse(&tasks["t"].inputs, &written).unwrap();
        let sources = Sources {
            task: &|name| tasks.get(name),
            agent: &|name| agents.get(name),
        };
        let plan = Plan::new("t", sources, given).unwrap();
        // What is kept of a plan is the plan.
        let kept: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
        assert_eq!(kept, plan);
        let (canceller, cancel) = cancel::switch();
        Self {
            lab: Lab::new(),
            plan,
            model: Arc::clone(model),
            approver: Approver::Nobody,
            canceller,
            cancel,
            ended: Mutex::default(),
        }
    }

    /// The same run in a new process.
    fn restarted(self) -> Self {
        let (canceller, cancel) = cancel::switch();
        Self {
            canceller,
            cancel,
            ended: Mutex::default(),
            ..self
        }
    }

    async fn run(&self) -> Ended {
        let run_id: Arc<str> = "r".into();
        let task: Arc<str> = self.plan.task.as_str().into();
        let agents: BTreeMap<String, Agent> = self
            .plan
            .agents
            .iter()
            .map(|(name, settings)| {
                (
                    name.clone(),
                    self.lab.agent(name, &self.model, settings.clone()),
                )
            })
            .collect();
        let mut commands = self.lab.tools("", &[]);
        commands.approver = self.approver.clone();
        let ledger = Ledger::new(self.lab.store.clone(), Arc::new(Prices::built_in()));
        let finished =
            |label: &str, _: &RunResult| self.ended.lock().unwrap().push(label.to_owned());
        run(
            &Around {
                run_id: &run_id,
                task: &task,
                agents: &agents,
                resolve: &|_, name| Err(format!("there is no agent `{name}`")),
                delegation: DelegationSettings::default(),
                commands: &commands,
                resilience: &self.lab.resilience,
                journal: &Journal::of_run(self.lab.store.clone(), &run_id),
                charged_session: None,
                earlier: &ledger.earlier(&run_id).unwrap(),
                events: &Events::nobody(),
                cancel: &self.cancel,
                deadline: None,
                finished: &finished,
            },
            &self.plan,
        )
        .await
    }

    fn ended(&self) -> Vec<String> {
        self.ended.lock().unwrap().clone()
    }

    /// The keys of the journal that have a value, in order.
    async fn keys(&self) -> Vec<String> {
        self.lab
            .store
            .write(crate::store::Durability::Normal, |transaction| {
                transaction
                    .prepare("SELECT key FROM journal WHERE value IS NOT NULL ORDER BY key")?
                    .query_map([], |row| row.get(0))?
                    .collect()
            })
            .await
            .unwrap()
    }
}

/// The step and the output of every result.
fn outputs(result: &RunResult) -> Vec<(&str, &str)> {
    let results = result.results.iter().flatten();
    results
        .map(|result| (result.step.as_deref().unwrap_or(""), result.output.as_str()))
        .collect()
}

fn error_of(ended: &Ended) -> (&'static str, &str) {
    let error = ended.result.error.as_ref().unwrap();
    (error.class.name(), &error.message)
}
