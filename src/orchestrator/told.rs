//! How much of what earlier steps say may come into the prompt of a step: the most that their models may answer.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::costs::PromptSize;
use crate::tasks::{ForEach, InputSettings, Join, Mention, OnFailure, Step, Work, mentions};

/// The most of the words of a failure, tokens.
const ERROR: u64 = 4096;

/// The most that a command gives, tokens: each is at least one of the bytes that are kept of its output.
const COMMAND: u64 = 32 * 1024;

/// The yes of a person.
const YES: u64 = 16;

/// The most that a step may say, in tokens; `None` where nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Most {
    /// As its output.
    said: Option<u64>,
    /// In all its parts.
    parts: Option<u64>,
}

/// What is known, before a task runs, of what its templates will hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    steps: BTreeMap<String, Most>,
    inputs: BTreeMap<String, Option<u64>>,
    item: Option<u64>,
}

/// The most output tokens of an agent's answer; with `true`, of all that it says in a run that fails.
pub(super) type Longest<'a> = &'a dyn Fn(&str, bool) -> Option<u64>;

impl Known {
    /// Of a task with these inputs and steps.
    pub(super) fn of(inputs: &Map<String, Value>, steps: &[Step], longest: Longest<'_>) -> Self {
        let inputs = inputs.iter();
        let mut known = Self {
            inputs: inputs
                .map(|(name, value)| (name.clone(), Some(tokens(value))))
                .collect(),
            ..Self::default()
        };
        known.add(steps, longest);
        known
    }

    /// Of a task that is a step of the one that this is of.
    pub(super) fn of_inner(
        &self,
        written: &BTreeMap<String, Value>,
        declared: &BTreeMap<String, InputSettings>,
        steps: &[Step],
        longest: Longest<'_>,
    ) -> Self {
        let mut inner = Self::default();
        for (name, input) in declared {
            let value = written.get(name).or(input.default.as_ref());
            let most = value.map_or(Some(0), |value| self.value(value));
            inner.inputs.insert(name.clone(), most);
        }
        inner.add(steps, longest);
        inner
    }

    /// The same for the items of a step.
    #[must_use]
    pub(super) fn with_items(mut self, each: Option<&ForEach>) -> Self {
        match each {
            None => {}
            Some(ForEach::Items(items)) => {
                self.item = Some(items.iter().map(tokens).max().unwrap_or(0));
            }
            Some(ForEach::Template(_)) => self.item = None,
        }
        self
    }

    /// How many tokens may come into a template beside its own words; `None` where nobody knows.
    pub(super) fn told(&self, template: &str) -> Option<u64> {
        let found = mentions(template);
        if found.is_endless {
            return None;
        }
        let most = |(mention, times): (&Mention, &u64)| {
            let once = match mention {
                Mention::Said(id) => self.steps.get(id)?.said?,
                Mention::Error(_) => ERROR,
                // The answer in two forms, and what went wrong.
                Mention::Step(id) => {
                    let parts = self.steps.get(id)?.parts?;
                    parts.saturating_mul(2).saturating_add(ERROR)
                }
                Mention::Input(name) => (*self.inputs.get(name)?)?,
                Mention::Item => self.item?,
            };
            Some(once.saturating_mul(*times))
        };
        let mut whole = 0_u64;
        for mention in &found.times {
            whole = whole.saturating_add(most(mention)?);
        }
        Some(whole)
    }

    fn value(&self, value: &Value) -> Option<u64> {
        Some(match value {
            Value::String(template) => self.told(template)?.saturating_add(tokens(value)),
            Value::Array(items) => items.iter().try_fold(tokens(value), |whole, item| {
                Some(whole.saturating_add(self.value(item)?))
            })?,
            Value::Object(entries) => entries.values().try_fold(tokens(value), |whole, item| {
                Some(whole.saturating_add(self.value(item)?))
            })?,
            plain => tokens(plain),
        })
    }

    fn add(&mut self, steps: &[Step], longest: Longest<'_>) {
        for step in steps {
            if let Work::Block { steps } = &step.work {
                self.add(steps, longest);
            }
            self.steps.insert(step.id.clone(), most(step, longest));
        }
    }
}

/// The most that a step may say.
fn most(step: &Step, longest: Longest<'_>) -> Most {
    // What an agent said in all its turns is seen only where its failure is.
    let may_be_seen_to_fail = step.on_failure == OnFailure::Continue || step.repeat.is_some();
    let all = |said: Option<u64>| Most { said, parts: said };
    let of_agent = |agent: &str| longest(agent, may_be_seen_to_fail);
    let once = match &step.work {
        Work::Agent { agent, .. } => all(of_agent(agent)),
        Work::Candidates(asked) => {
            let each: Option<Vec<u64>> = asked.agents.iter().map(|agent| of_agent(agent)).collect();
            let joined = match &asked.join {
                Join::Vote => Some(0),
                Join::Judge { agent, .. } | Join::Synthesise { agent } => of_agent(agent),
            };
            let said = match asked.join {
                Join::Synthesise { .. } => joined,
                _ => each.as_ref().and_then(|each| each.iter().max().copied()),
            };
            Most {
                said,
                parts: each.zip(joined).map(|(each, joined)| {
                    let sum = each.into_iter().fold(joined, u64::saturating_add);
                    // Beside them stands the one that was chosen.
                    sum.saturating_add(said.unwrap_or(0))
                }),
            }
        }
        Work::Run { .. } => all(Some(COMMAND)),
        Work::Gate { .. } => all(Some(YES)),
        Work::Block { steps } | Work::Task { steps, .. } => {
            let each: Vec<Most> = steps.iter().map(|step| most(step, longest)).collect();
            let said: Option<Vec<u64>> = each.iter().map(|most| most.said).collect();
            let parts: Option<Vec<u64>> = each.iter().map(|most| most.parts).collect();
            Most {
                said: said.map(|said| said.into_iter().max().unwrap_or(0)),
                parts: parts.map(|parts| parts.into_iter().fold(0, u64::saturating_add)),
            }
        }
    };
    let count = match &step.for_each {
        None => return once,
        Some(ForEach::Items(items)) => u64::try_from(items.len()).ok(),
        Some(ForEach::Template(_)) => None,
    };
    // Between two of them stands an empty line, or a comma and quotes.
    let times = |most: Option<u64>| Some(most?.saturating_add(4).saturating_mul(count?));
    Most {
        said: times(once.said),
        parts: times(once.parts),
    }
}

/// The most tokens of a value as a template puts it in.
fn tokens(value: &Value) -> u64 {
    let most = |text: &str| PromptSize::of(text).text_tokens();
    match value {
        Value::String(text) => most(text),
        other => most(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(id: &str, work: Value, more: Value) -> Step {
        let mut step = json!({"id": id, "needs": [], "when": null, "for_each": null, "max_parallel": null,
            "repeat": null, "timeout": null, "retries": 0, "on_failure": "stop"});
        if let (Value::Object(step), Value::Object(more)) = (&mut step, more) {
            step.insert("work".to_owned(), work);
            step.extend(more);
        }
        serde_json::from_value(step).unwrap()
    }

    #[test]
    fn a_step_says_no_more_than_its_models_may_answer() {
        let agent = |name: &str| json!({"kind": "agent", "agent": name, "prompt": "", "output_schema": null});
        let candidates = |join: Value| {
            json!({"kind": "candidates", "agents": ["a", "b"], "prompt": "", "output_schema": null,
                "check": null, "join": join})
        };
        let steps = [
            step("one", agent("a"), json!({})),
            step("seen", agent("a"), json!({"on_failure": "continue"})),
            step("each", agent("a"), json!({"for_each": [1, 2, 3]})),
            step("many", agent("a"), json!({"for_each": "{{ inputs.x }}"})),
            step("best", candidates(json!({"by": "vote"})), json!({})),
            step(
                "made",
                candidates(json!({"by": "synthesise", "agent": "c"})),
                json!({}),
            ),
            step("ran", json!({"kind": "run", "command": "x"}), json!({})),
            step(
                "block",
                json!({"kind": "block", "steps": [step("within", agent("b"), json!({}))]}),
                json!({}),
            ),
        ];
        let longest = |agent: &str, in_all: bool| {
            let once = match agent {
                "a" => 100,
                "b" => 200,
                _ => 300,
            };
            Some(if in_all { once * 10 } else { once })
        };
        let inputs = json!({"x": "1234567890"});
        let known = Known::of(inputs.as_object().unwrap(), &steps, &longest);
        for (template, told) in [
            ("nothing", Some(0)),
            (
                "{{ steps.one.output }} and {{ steps.one.structured.x }}",
                Some(200),
            ),
            ("{{ steps.seen.output }}", Some(1_000)),
            ("{{ steps.each.output }}", Some(312)),
            ("{{ steps.many.output }}", None),
            ("{{ steps.best.output }}", Some(200)),
            ("{{ steps.best }}", Some(2 * 500 + ERROR)),
            ("{{ steps.made.output }}", Some(300)),
            ("{{ steps.ran.output }}", Some(32_768)),
            (
                "{{ steps.block.output }}{{ steps.within.output }}",
                Some(400),
            ),
            ("{{ steps.one.error }}", Some(ERROR)),
            ("{{ inputs.x }}{{ inputs.x }}", Some(20)),
            ("{{ item }}", None),
            ("{{ steps.one.output * 2 }}", None),
        ] {
            assert_eq!(known.told(template), told, "{template}");
        }
        let items = ForEach::Items(vec![json!("12"), json!("123")]);
        assert_eq!(
            known.clone().with_items(Some(&items)).told("{{ item }}"),
            Some(3)
        );
        let written = json!({"y": "7: {{ steps.one.output }}"});
        let written: BTreeMap<String, Value> = serde_json::from_value(written).unwrap();
        let declared: BTreeMap<String, InputSettings> =
            serde_json::from_value(json!({"y": {}, "z": {"default": "12"}, "none": {}})).unwrap();
        let inner = known.of_inner(&written, &declared, &[], &longest);
        let own = tokens(&json!("7: {{ steps.one.output }}"));
        assert_eq!(inner.told("{{ inputs.y }}"), Some(own + 100));
        assert_eq!(inner.told("{{ inputs.z }}{{ inputs.none }}"), Some(2));
    }
}
