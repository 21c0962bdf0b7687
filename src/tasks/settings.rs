//! What a configuration can say about a task.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::providers::Seconds;

/// One entry of `tasks:`, as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["steps"]))]
pub struct TaskSettings {
    /// What it is for.
    pub description: String,
    /// What is passed with `--input name=value`.
    pub inputs: BTreeMap<String, InputSettings>,
    /// The steps, in order unless `needs` says otherwise.
    pub steps: Vec<StepSettings>,
}

/// One input of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InputSettings {
    /// Whether the task cannot start without it.
    pub required: bool,
    /// Its value when none is passed.
    pub default: Option<Value>,
    /// What it is for.
    pub description: String,
}

/// One step of a task: exactly one of `agent`, `candidates`, `run`, `gate`, `task` and `steps`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(transform = of_one_kind)]
pub struct StepSettings {
    /// Its name; `step1`, `step2`, … by its place when absent.
    pub id: Option<String>,
    /// The agent that does it.
    pub agent: Option<String>,
    /// What the agent or the candidates are asked, a template.
    pub prompt: Option<String>,
    /// The steps it waits for; the one before it when absent.
    pub needs: Option<Vec<String>>,
    /// An expression; the step is skipped when it is false.
    pub when: Option<String>,
    /// A list, or a template that gives one: the step is done for each `item`.
    pub for_each: Option<ForEach>,
    /// How many items of `for_each`, candidates or steps of a block are worked on at once.
    #[schemars(range(min = 1))]
    pub max_parallel: Option<u32>,
    /// Agents that all answer the prompt.
    pub candidates: Vec<String>,
    /// The agent that chooses among the candidates' answers.
    pub judge: Option<String>,
    /// What the judge looks at.
    pub criteria: Option<String>,
    /// A command that must succeed on a candidate's answer before it is judged.
    pub check: Option<String>,
    /// Seed of the order in which the judge sees the answers.
    pub seed: Option<u64>,
    /// What happens when the judge's verdict cannot be used.
    pub on_bad_verdict: OnBadVerdict,
    /// Whether the answer given most often wins.
    pub vote: bool,
    /// The agent that makes one answer of all.
    pub synthesise: Option<String>,
    /// A command in the sandbox; no model.
    pub run: Option<String>,
    /// A question to a person; the run waits for a yes.
    pub gate: Option<String>,
    /// Does the step, or its `steps`, again until an expression is true.
    pub repeat: Option<RepeatSettings>,
    /// A block of steps.
    pub steps: Vec<Self>,
    /// Another task as a step.
    pub task: Option<String>,
    /// The inputs of that task; texts are templates.
    pub inputs: BTreeMap<String, Value>,
    /// Seconds for one attempt of the step, of one item where there are items.
    pub timeout: Option<Seconds>,
    /// New attempts of the whole step when it fails.
    pub retries: u32,
    /// What a failure means for the task.
    pub on_failure: OnFailure,
    /// JSON Schema of the answer.
    #[schemars(with = "Option<serde_json::Map<String, Value>>")]
    pub output_schema: Option<Value>,
}

/// What a step does: it has exactly one of these.
pub const KINDS: [&str; 6] = ["agent", "candidates", "run", "gate", "task", "steps"];

fn of_one_kind(schema: &mut Schema) {
    let with =
        |kind: &str| json!({"required": [kind], "properties": {kind: {"not": {"type": "null"}}}});
    schema.insert("oneOf".to_owned(), KINDS.map(with).to_vec().into());
}

/// The id of a step that has none, by its place from 0: `step1`, `step2`, … in a task, and
/// `block_1`, `block_2`, … in the block of the step `block`.
pub fn default_step_id(block: Option<&str>, index: usize) -> String {
    let number = index.saturating_add(1);
    match block {
        Some(block) => format!("{block}_{number}"),
        None => format!("step{number}"),
    }
}

/// What a step with `for_each` goes through.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ForEach {
    /// An expression in `{{ }}` that gives a list.
    Template(String),
    /// The items themselves.
    Items(Vec<Value>),
}

impl<'de> Deserialize<'de> for ForEach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ForEachVisitor;
        impl<'de> Visitor<'de> for ForEachVisitor {
            type Value = ForEach;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or a template that gives one")
            }
            fn visit_str<E: de::Error>(self, template: &str) -> Result<ForEach, E> {
                Ok(ForEach::Template(template.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ForEach, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(ForEach::Items(items))
            }
        }
        deserializer.deserialize_any(ForEachVisitor)
    }
}

/// `repeat:` of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepeatSettings {
    /// An expression; true ends the loop.
    pub until: String,
    /// How often at most.
    #[schemars(range(min = 1))]
    pub max: u32,
}

/// What happens when a judge's verdict cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBadVerdict {
    /// The step fails.
    #[default]
    Fail,
    /// The first candidate, as written, that passed the checks wins.
    First,
}

/// What a failed step means for its task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// No further step starts.
    #[default]
    Stop,
    /// Those behind it go on, and see that it failed.
    Continue,
}
