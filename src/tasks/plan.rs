//! What a run of a task will do, settled before it starts and never changed afterwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::runs::RunPlace;
use super::{
    ForEach, InputSettings, OnBadVerdict, OnFailure, RepeatSettings, StepSettings, TaskSettings,
    default_step_id, inputs,
};
use crate::agents::AgentSettings;
use crate::providers::Seconds;
use crate::usage::Usd;

/// The version of the form in which plans are kept.
pub const PLAN_VERSION: u32 = 1;

/// The steps of a task with all defaults put in, the values of its inputs, and its agents as they
/// were configured. It holds no secret: keys are named by the variable that holds them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The task's name.
    pub task: String,
    /// The value of every input.
    pub inputs: Map<String, Value>,
    /// The steps, in the order of the configuration.
    pub steps: Vec<Step>,
    /// Every agent that may take part, those that are delegated to included.
    pub agents: BTreeMap<String, AgentSettings>,
    /// The model that was asked for this run in place of theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The cap of the run over the configured ones, `--budget`: it holds when the run is taken up again, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Usd>,
    /// Where it works; `None` where an earlier version made the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<RunPlace>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique in its task.
    pub id: String,
    /// The steps beside it that it waits for.
    pub needs: Vec<String>,
    /// It is skipped when this expression is false.
    pub when: Option<String>,
    /// It is done for each item of this.
    pub for_each: Option<ForEach>,
    /// How many items, candidates or steps of a block are worked on at once.
    pub max_parallel: Option<u32>,
    /// It is done again until an expression is true.
    pub repeat: Option<RepeatSettings>,
    /// Seconds for one attempt, of one item where there are items.
    pub timeout: Option<Seconds>,
    /// New attempts after one that failed.
    pub retries: u32,
    /// What a failure means for the steps behind it.
    pub on_failure: OnFailure,
    /// What it does.
    pub work: Work,
    /// A secret in its text was masked when it was kept, and nobody knows the text any more.
    #[serde(skip)]
    pub is_masked: bool,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Work {
    /// Asks an agent.
    Agent {
        /// Its name.
        agent: String,
        /// What it is asked, a template.
        prompt: String,
        /// JSON Schema of the answer, over the agent's own.
        output_schema: Option<Value>,
    },
    /// Asks several agents the same and makes one answer of theirs.
    Candidates(Candidates),
    /// Runs a command in the sandbox.
    Run {
        /// The command, a template.
        command: String,
    },
    /// Waits for a person's yes.
    Gate {
        /// What is asked, a template.
        question: String,
    },
    /// Does the steps of a block.
    Block {
        /// The steps.
        steps: Vec<Step>,
    },
    /// Does another task.
    Task {
        /// Its name.
        task: String,
        /// Its inputs; texts are templates.
        inputs: BTreeMap<String, Value>,
        /// What inputs it has.
        declared: BTreeMap<String, InputSettings>,
        /// Its steps.
        steps: Vec<Step>,
    },
}

/// Several agents that are asked the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    /// Their names.
    pub agents: Vec<String>,
    /// What they are asked, a template.
    pub prompt: String,
    /// JSON Schema of the answers, over the agents' own.
    pub output_schema: Option<Value>,
    /// A command that must succeed on an answer before it counts.
    pub check: Option<String>,
    /// How one answer is made of all.
    pub join: Join,
}

/// How one answer is made of those of several candidates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Join {
    /// An agent that is none of them says which is best.
    Judge {
        /// The agent.
        agent: String,
        /// What it looks at.
        criteria: Option<String>,
        /// Seed of the order in which it sees the answers; from the question when absent.
        seed: Option<u64>,
        /// What happens when its verdict cannot be used.
        on_bad_verdict: OnBadVerdict,
    },
    /// The answer given most often wins.
    Vote,
    /// An agent makes one answer of all.
    Synthesise {
        /// The agent.
        agent: String,
    },
}

/// Why there is no plan; the configuration check finds all but the inputs beforehand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A name that is not there.
    #[error("there is no {what} `{name}`")]
    Unknown {
        /// `task` or `agent`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Tasks call each other for ever.
    #[error("the task `{0}` calls itself")]
    Recursion(String),
    /// A step without anything to do.
    #[error("the step `{0}` has nothing to do")]
    Empty(String),
    /// The inputs do not fit.
    #[error("{0}")]
    Inputs(#[from] inputs::InputError),
}

/// Where plans take their parts from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The task of a name.
    pub task: &'a dyn Fn(&str) -> Option<&'a TaskSettings>,
    /// The agent of a name.
    pub agent: &'a dyn Fn(&str) -> Option<&'a AgentSettings>,
}

impl Plan {
    /// The plan of a task with these inputs.
    ///
    /// # Errors
    /// When a name is not there, tasks call each other for ever, or the inputs do not fit.
    pub fn new(
        name: &str,
        sources: Sources<'_>,
        given: Map<String, Value>,
    ) -> Result<Self, PlanError> {
        let mut compiler = Compiler {
            sources,
            within: Vec::new(),
            agents: BTreeMap::new(),
        };
        let (declared, steps) = compiler.task(name)?;
        Ok(Self {
            version: PLAN_VERSION,
            task: name.to_owned(),
            inputs: inputs::resolve(name, &declared, given)?,
            steps,
            agents: compiler.agents,
            model: None,
            budget: None,
            place: None,
        })
    }
}

/// Every step of a list, those of blocks and of other tasks included, with the task it belongs to.
pub fn walk<'p>(task: &'p str, steps: &'p [Step], visit: &mut impl FnMut(&'p str, &'p Step)) {
    for step in steps {
        visit(task, step);
        match &step.work {
            Work::Block { steps } => walk(task, steps, visit),
            Work::Task { task, steps, .. } => walk(task, steps, visit),
            _ => {}
        }
    }
}

/// Puts the texts of a plan of now into one that was kept, in which secrets were masked: where a step and
/// an agent of now, `masked` in the same way, is what was kept. The steps that differ are marked.
pub fn unmask(kept: &mut Plan, now: Option<&Plan>, masked: Option<&Plan>, mask: &str) {
    let steps = |plan: Option<&Plan>| plan.map_or_else(Vec::new, |plan| plan.steps.clone());
    unmask_steps(&mut kept.steps, &steps(now), &steps(masked), mask);
    for (name, settings) in &mut kept.agents {
        let same = masked.and_then(|masked| masked.agents.get(name)) == Some(&*settings);
        let now = now.and_then(|now| now.agents.get(name));
        if let Some(now) = now.filter(|_| same) {
            settings.clone_from(now);
        }
    }
}

fn unmask_steps(kept: &mut [Step], now: &[Step], masked: &[Step], mask: &str) {
    for step in kept {
        let inner = step.inner_mut().map(std::mem::take);
        let found = now
            .iter()
            .zip(masked)
            .find(|(_, masked)| masked.id == step.id);
        let of_now = found.map_or((&[][..], &[][..]), |(now, masked)| {
            (now.inner(), masked.inner())
        });
        let text = serde_json::to_string(step).unwrap_or_default();
        if text.contains(mask) {
            let same = found.filter(|(_, masked)| masked.alone() == *step);
            match same {
                Some((now, _)) => *step = now.alone(),
                None => step.is_masked = true,
            }
        }
        if let (Some(mut inner), Some(place)) = (inner, step.inner_mut()) {
            unmask_steps(&mut inner, of_now.0, of_now.1, mask);
            *place = inner;
        }
    }
}

impl Step {
    /// The steps within.
    fn inner(&self) -> &[Self] {
        match &self.work {
            Work::Block { steps } | Work::Task { steps, .. } => steps,
            _ => &[],
        }
    }

    fn inner_mut(&mut self) -> Option<&mut Vec<Self>> {
        match &mut self.work {
            Work::Block { steps } | Work::Task { steps, .. } => Some(steps),
            _ => None,
        }
    }

    /// The same without the steps within.
    fn alone(&self) -> Self {
        let mut alone = self.clone();
        if let Some(steps) = alone.inner_mut() {
            steps.clear();
        }
        alone
    }
}

struct Compiler<'a> {
    sources: Sources<'a>,
    /// The tasks that call each other down to here.
    within: Vec<String>,
    agents: BTreeMap<String, AgentSettings>,
}

impl Compiler<'_> {
    fn task(
        &mut self,
        name: &str,
    ) -> Result<(BTreeMap<String, InputSettings>, Vec<Step>), PlanError> {
        if self.within.iter().any(|outer| outer == name) {
            return Err(PlanError::Recursion(name.to_owned()));
        }
        let task = (self.sources.task)(name).ok_or_else(|| PlanError::Unknown {
            what: "task",
            name: name.to_owned(),
        })?;
        self.within.push(name.to_owned());
        let steps = self.block(&task.steps, None)?;
        self.within.pop();
        Ok((task.inputs.clone(), steps))
    }

    fn block(
        &mut self,
        steps: &[StepSettings],
        parent: Option<&str>,
    ) -> Result<Vec<Step>, PlanError> {
        let mut compiled: Vec<Step> = Vec::with_capacity(steps.len());
        for (index, settings) in steps.iter().enumerate() {
            let before = compiled.last().map(|step| step.id.clone());
            let id = settings.id.clone();
            let id = id.unwrap_or_else(|| default_step_id(parent, index));
            compiled.push(Step {
                needs: match &settings.needs {
                    Some(needs) => needs.clone(),
                    None => before.into_iter().collect(),
                },
                when: settings.when.clone(),
                for_each: settings.for_each.clone(),
                max_parallel: settings.max_parallel,
                repeat: settings.repeat.clone(),
                timeout: settings.timeout,
                retries: settings.retries,
                on_failure: settings.on_failure,
                work: self.work(settings, &id)?,
                is_masked: false,
                id,
            });
        }
        Ok(compiled)
    }

    fn work(&mut self, settings: &StepSettings, id: &str) -> Result<Work, PlanError> {
        let prompt = settings.prompt.clone().unwrap_or_default();
        if let Some(agent) = &settings.agent {
            self.agent(agent)?;
            Ok(Work::Agent {
                agent: agent.clone(),
                prompt,
                output_schema: settings.output_schema.clone(),
            })
        } else if !settings.candidates.is_empty() {
            for agent in &settings.candidates {
                self.agent(agent)?;
            }
            Ok(Work::Candidates(Candidates {
                agents: settings.candidates.clone(),
                prompt,
                output_schema: settings.output_schema.clone(),
                check: settings.check.clone(),
                join: self.join(settings)?,
            }))
        } else if let Some(command) = &settings.run {
            Ok(Work::Run {
                command: command.clone(),
            })
        } else if let Some(question) = &settings.gate {
            Ok(Work::Gate {
                question: question.clone(),
            })
        } else if let Some(task) = &settings.task {
            let (declared, steps) = self.task(task)?;
            Ok(Work::Task {
                task: task.clone(),
                inputs: settings.inputs.clone(),
                declared,
                steps,
            })
        } else if !settings.steps.is_empty() {
            Ok(Work::Block {
                steps: self.block(&settings.steps, Some(id))?,
            })
        } else {
            Err(PlanError::Empty(id.to_owned()))
        }
    }

    fn join(&mut self, settings: &StepSettings) -> Result<Join, PlanError> {
        if let Some(agent) = &settings.judge {
            self.agent(agent)?;
            Ok(Join::Judge {
                agent: agent.clone(),
                criteria: settings.criteria.clone(),
                seed: settings.seed,
                on_bad_verdict: settings.on_bad_verdict,
            })
        } else if let Some(agent) = &settings.synthesise {
            self.agent(agent)?;
            Ok(Join::Synthesise {
                agent: agent.clone(),
            })
        } else {
            Ok(Join::Vote)
        }
    }

    /// Takes an agent in, and those that it may call.
    fn agent(&mut self, name: &str) -> Result<(), PlanError> {
        if self.agents.contains_key(name) {
            return Ok(());
        }
        let settings = (self.sources.agent)(name).ok_or_else(|| PlanError::Unknown {
            what: "agent",
            name: name.to_owned(),
        })?;
        self.agents.insert(name.to_owned(), settings.clone());
        settings
            .delegates
            .iter()
            .try_for_each(|delegate| self.agent(delegate))
    }
}
