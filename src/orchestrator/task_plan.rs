//! What a task would do and cost, without doing it.

use std::collections::BTreeMap;

use serde::Serialize;

use serde_json::Value;

use super::Orchestrator;
use super::plan::{Talk, Told, longest_answer, most_turns};
use super::told::Known;
use crate::costs::Refused;
use crate::error::OrchError;
use crate::tasks::{
    Candidates, ForEach, Join, OnFailure, Plan, Step, Work, judge_words, synthesis_words,
};
use crate::usage::Usd;

/// What a task would do.
#[derive(Clone, Debug, Serialize)]
pub struct TaskPlan {
    /// The task.
    pub task: String,
    /// Its steps, those of blocks and other tasks after the step that they lie in.
    pub steps: Vec<StepPlan>,
    /// The cheapest outcome.
    pub lowest_usd: Usd,
    /// The dearest outcome; `None` where the number of items or a price is not known. Of what earlier steps say, a
    /// prompt is counted with the longest answers that their models may give.
    pub highest_usd: Option<Usd>,
    /// What is left of the budgets that cover it, where that is least.
    pub left_usd: Option<Usd>,
    /// What is worth knowing.
    pub notices: Vec<String>,
    /// Why the first call of a step without which the task fails would not be made.
    #[serde(skip)]
    pub refused: Option<Refused>,
    /// The agents of such steps whose own budgets do not pay for the cheapest outcome.
    #[serde(skip)]
    pub over: Vec<String>,
}

/// What a step would cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepPlan {
    /// The step.
    pub step: String,
    /// The steps that it waits for.
    pub needs: Vec<String>,
    /// The cheapest outcome.
    pub lowest_usd: Usd,
    /// The dearest outcome; `None` where it is not known.
    pub highest_usd: Option<Usd>,
}

/// The cheapest and the dearest outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    lowest: Usd,
    highest: Option<Usd>,
    /// What those agents of the cheapest outcome spend in it without whom the task fails.
    needed: BTreeMap<String, Usd>,
}

impl Range {
    const NOTHING: Self = Self {
        lowest: Usd::ZERO,
        highest: Some(Usd::ZERO),
        needed: BTreeMap::new(),
    };

    fn and(mut self, other: Self) -> Self {
        for (agent, lowest) in other.needed {
            *self.needed.entry(agent).or_default() += lowest;
        }
        Self {
            needed: self.needed,
            lowest: self.lowest + other.lowest,
            highest: self
                .highest
                .zip(other.highest)
                .map(|(one, other)| one + other),
        }
    }

    /// So many times; `None` for a number that is not known.
    fn times(self, least: u64, most: Option<u64>) -> Self {
        let needed = self.needed.into_iter();
        Self {
            needed: needed
                .map(|(agent, lowest)| (agent, lowest.times(least)))
                .collect(),
            lowest: self.lowest.times(least),
            highest: self
                .highest
                .zip(most)
                .map(|(highest, most)| highest.times(most)),
        }
    }
}

impl Orchestrator {
    /// What a plan would do and cost; nobody is called and nothing is written.
    ///
    /// # Errors
    /// When the run could not begin.
    pub fn price_task(&self, plan: &Plan) -> Result<TaskPlan, OrchError> {
        let answers = self.answers(plan);
        let longest = |name: &str, in_all| answers.get(name).map(|answers| answers.longest(in_all));
        let mut pricing = Pricing {
            known: Known::of(&plan.inputs, &plan.steps, &longest),
            longest: &longest,
            orchestrator: self,
            plan,
            steps: Vec::new(),
            left: None,
            notices: Vec::new(),
            is_needed: true,
            refused: None,
            own: BTreeMap::new(),
        };
        let whole = pricing.block(&plan.steps, "")?;
        let over = pricing.over(&whole.needed);
        Ok(TaskPlan {
            over,
            task: plan.task.clone(),
            lowest_usd: whole.lowest,
            highest_usd: match (whole.highest, pricing.left) {
                (Some(highest), Some(left)) => Some(highest.min(left)),
                (highest, left) => highest.or(left),
            },
            left_usd: pricing.left,
            steps: pricing.steps,
            notices: pricing.notices,
            refused: pricing.refused,
        })
    }

    /// How much the agents of a plan may answer; those that cannot be asked are left out.
    fn answers<'p>(&self, plan: &'p Plan) -> BTreeMap<&'p str, Answers> {
        let agents = plan.agents.iter();
        agents
            .filter_map(|(name, settings)| {
                let (agent, _) = self.resolve(name, settings).ok()?;
                let answers = Answers {
                    tokens: longest_answer(&agent),
                    // A step may bring a schema, and with it one turn more.
                    turns: most_turns(&agent).max(2),
                };
                Some((name.as_str(), answers))
            })
            .collect()
    }
}

/// How much an agent may answer.
#[derive(Clone, Copy, Debug)]
struct Answers {
    /// The tokens of one answer.
    tokens: u64,
    /// How many turns it may take.
    turns: u32,
}

impl Answers {
    fn longest(self, in_all_turns: bool) -> u64 {
        let turns = if in_all_turns { self.turns } else { 1 };
        self.tokens.saturating_mul(u64::from(turns))
    }
}

struct Pricing<'a> {
    orchestrator: &'a Orchestrator,
    plan: &'a Plan,
    steps: Vec<StepPlan>,
    left: Option<Usd>,
    notices: Vec<String>,
    /// Whether the task fails with the step that is looked at.
    is_needed: bool,
    refused: Option<Refused>,
    /// What the own budgets of agents that are needed leave.
    own: BTreeMap<String, Usd>,
    /// What is known of what templates will hold.
    known: Known,
    longest: super::told::Longest<'a>,
}

/// What an agent is asked in a step.
struct Asked<'a> {
    prompt: &'a str,
    output_schema: Option<&'a Value>,
    /// Tokens that come into the prompt at most.
    told: Option<u64>,
}

impl Pricing<'_> {
    /// The agents whose own budgets do not pay for what they spend at least.
    fn over(&self, needed: &BTreeMap<String, Usd>) -> Vec<String> {
        let is_over = |(agent, left): (&String, &Usd)| {
            let lowest = needed.get(agent).copied().unwrap_or_default();
            (lowest > *left).then(|| agent.clone())
        };
        self.own.iter().filter_map(is_over).collect()
    }

    fn block(&mut self, steps: &[Step], label: &str) -> Result<Range, OrchError> {
        let mut whole = Range::NOTHING;
        for step in steps {
            let label = if label.is_empty() {
                step.id.clone()
            } else {
                format!("{label}/{}", step.id)
            };
            let place = self.steps.len();
            self.steps.push(StepPlan {
                step: label.clone(),
                needs: step.needs.clone(),
                lowest_usd: Usd::ZERO,
                highest_usd: None,
            });
            let range = self.step(step, &label)?;
            if let Some(entry) = self.steps.get_mut(place) {
                entry.lowest_usd = range.lowest;
                entry.highest_usd = range.highest;
            }
            whole = whole.and(range);
        }
        Ok(whole)
    }

    fn step(&mut self, step: &Step, label: &str) -> Result<Range, OrchError> {
        let is_needed = self.is_needed;
        self.is_needed = is_needed && must_work(step);
        let known = self.known.clone();
        self.known = known.clone().with_items(step.for_each.as_ref());
        let once = match &step.work {
            Work::Agent {
                agent,
                prompt,
                output_schema,
            } => {
                let asked = Asked {
                    told: self.told(prompt),
                    prompt,
                    output_schema: output_schema.as_ref(),
                };
                self.agent(agent, &asked)?
            }
            Work::Candidates(asked) => self.candidates(asked)?,
            Work::Run { .. } | Work::Gate { .. } => Range::NOTHING,
            Work::Block { steps } => self.block(steps, label)?,
            Work::Task {
                inputs,
                declared,
                steps,
                ..
            } => {
                let within = self.known.of_inner(inputs, declared, steps, self.longest);
                self.known = within;
                self.block(steps, label)?
            }
        };
        self.known = known;
        self.is_needed = is_needed;
        let rounds = step
            .repeat
            .as_ref()
            .map_or(1, |repeat| u64::from(repeat.max));
        let attempts = u64::from(step.retries) + 1;
        let once = once.times(1, Some(rounds * attempts));
        let once = match &step.for_each {
            None => once,
            Some(ForEach::Items(items)) => {
                let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
                once.times(count, Some(count))
            }
            Some(ForEach::Template(_)) => once.times(0, None),
        };
        Ok(if step.when.is_some() {
            once.times(0, Some(1))
        } else {
            once
        })
    }

    fn candidates(&mut self, asked: &Candidates) -> Result<Range, OrchError> {
        let mut whole = Range::NOTHING;
        // Where one is refused others may answer; then there may be nothing to judge.
        let is_needed = std::mem::replace(&mut self.is_needed, false);
        let told = self.told(&asked.prompt);
        let question = Asked {
            prompt: &asked.prompt,
            output_schema: asked.output_schema.as_ref(),
            told,
        };
        for agent in &asked.agents {
            whole = whole.and(self.agent(agent, &question)?);
        }
        self.is_needed = is_needed && matches!(asked.join, Join::Synthesise { .. });
        // Who joins them is shown the question and every answer.
        let answers = asked.agents.iter();
        let shown = answers.fold(told, |told, agent| {
            Some(told?.saturating_add((self.longest)(agent, false)?))
        });
        let count = asked.agents.len();
        Ok(match &asked.join {
            Join::Vote => whole,
            // Where one answer alone holds there is nothing to judge.
            Join::Judge {
                agent, criteria, ..
            } => {
                let criteria = criteria.as_deref();
                let (prompt, schema) = judge_words(&asked.prompt, criteria, count);
                let of_criteria = self.told(criteria.unwrap_or_default());
                let judging = Asked {
                    prompt: &prompt,
                    output_schema: Some(&schema),
                    told: shown
                        .zip(of_criteria)
                        .map(|(shown, more)| shown.saturating_add(more)),
                };
                let judge = self.agent(agent, &judging)?;
                whole.and(judge.times(0, Some(1)))
            }
            Join::Synthesise { agent } => {
                let joining = Asked {
                    prompt: &synthesis_words(&asked.prompt, count),
                    told: shown,
                    ..question
                };
                whole.and(self.agent(agent, &joining)?)
            }
        })
    }

    /// How many tokens may come into a template; says so where that is what earlier steps say.
    fn told(&mut self, template: &str) -> Option<u64> {
        let told = self.known.told(template);
        if told.is_some_and(|told| told > 0) && template.contains("steps") {
            self.note("what earlier steps say is counted with the longest answers that their models may give");
        }
        told
    }

    fn note(&mut self, words: &str) {
        if !self.notices.iter().any(|notice| notice == words) {
            self.notices.push(words.to_owned());
        }
    }

    fn agent(&mut self, name: &str, asked: &Asked<'_>) -> Result<Range, OrchError> {
        let Some(settings) = self.plan.agents.get(name) else {
            return Ok(Range::NOTHING);
        };
        // A step is in no conversation that goes on.
        let talk = Talk {
            prompt: asked.prompt,
            output_schema: asked.output_schema,
            told: asked.told.map_or(Told::Unknown, Told::AtMost),
            ..Talk::default()
        };
        let plan = self.orchestrator.plan_with(name, settings, talk)?;
        self.left = [self.left, plan.shared_left()].into_iter().flatten().min();
        let lowest = plan.lowest_usd.unwrap_or(Usd::ZERO);
        let mut needed = BTreeMap::new();
        if self.is_needed {
            if let Some(left) = plan.own_left() {
                self.own.insert(name.to_owned(), left);
            }
            self.refused = self.refused.take().or(plan.refused);
            needed.insert(name.to_owned(), lowest);
        }
        for notice in &plan.notices {
            self.note(notice);
        }
        if asked.told.is_none() && plan.highest_usd.is_none() {
            self.note("how much comes into a prompt from what is not known yet cannot be told, nor the most");
        }
        Ok(Range {
            lowest,
            highest: plan.highest_usd,
            needed,
        })
    }
}

/// Whether a task fails when what a step asks for is refused: it is done, and its failure ends the task.
fn must_work(step: &Step) -> bool {
    let is_done = match &step.for_each {
        None => true,
        Some(ForEach::Items(items)) => !items.is_empty(),
        Some(ForEach::Template(_)) => false,
    };
    is_done && step.when.is_none() && step.on_failure == OnFailure::Stop
}

/// The costs of every step by its name, in words.
impl TaskPlan {
    /// Whether not even the cheapest outcome is affordable.
    pub fn is_over_budget(&self) -> bool {
        !self.over.is_empty() || self.left_usd.is_some_and(|left| self.lowest_usd > left)
    }

    /// What each step costs, by its id: those that cost nothing are left out.
    pub fn costs(&self) -> BTreeMap<&str, String> {
        self.steps
            .iter()
            .filter_map(|step| {
                let id = step.step.rsplit('/').next()?;
                let words = match (step.lowest_usd, step.highest_usd) {
                    (Usd::ZERO, Some(Usd::ZERO)) => return None,
                    (lowest, Some(highest)) => format!("${lowest} to ${highest}"),
                    (lowest, None) => format!("from ${lowest}"),
                };
                Some((id, words))
            })
            .collect()
    }
}
