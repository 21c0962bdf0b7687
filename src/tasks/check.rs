//! What is wrong with the templates of a task, found before anything is spent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::references::{Form, references};
use super::{ForEach, StepSettings, TaskSettings, default_step_id, scope, template};
use crate::agents::AgentSettings;

/// Something that is wrong with a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskProblem {
    /// What it is about, as keys and list positions from the top of the configuration:
    /// `tasks`, `deploy`, `steps`, `2`, `prompt`.
    pub path: Vec<String>,
    /// Lower case, no full stop.
    pub message: String,
    /// The fix.
    pub hint: Hint,
}

/// What helps against a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nothing is known.
    None,
    /// These words.
    Words(String),
    /// One of these names was probably meant.
    OneOf {
        /// What was written.
        word: String,
        /// What is there.
        known: Vec<String>,
        /// What those are.
        what: &'static str,
    },
}

/// What is wrong with the templates and expressions of a task: those that are none, and those that
/// name what is not there or not there yet. Whether names of agents, tasks and steps in `needs` exist
/// is not looked at; what hangs on one that does not is passed over.
pub fn problems<'a>(
    name: &str,
    task: &'a TaskSettings,
    agent: &'a dyn Fn(&str) -> Option<&'a AgentSettings>,
) -> Vec<TaskProblem> {
    let mut all = BTreeMap::new();
    index(&task.steps, None, &mut all);
    let mut checker = Checker {
        task,
        agent,
        all,
        problems: Vec::new(),
    };
    let path = vec!["tasks".to_owned(), name.to_owned()];
    checker.block(&task.steps, None, &path, &Visible::default());
    checker.problems
}

/// What a template may name.
#[derive(Clone, Debug, Default)]
struct Visible {
    steps: BTreeSet<String>,
    has_item: bool,
    also: Option<&'static str>,
}

struct Checker<'a> {
    task: &'a TaskSettings,
    agent: &'a dyn Fn(&str) -> Option<&'a AgentSettings>,
    /// Every step of the task.
    all: BTreeMap<String, &'a StepSettings>,
    problems: Vec<TaskProblem>,
}

fn index<'a>(
    steps: &'a [StepSettings],
    block: Option<&str>,
    all: &mut BTreeMap<String, &'a StepSettings>,
) {
    for (place, step) in steps.iter().enumerate() {
        let id = id_of(step, block, place);
        index(&step.steps, Some(&id), all);
        all.insert(id, step);
    }
}

fn id_of(step: &StepSettings, block: Option<&str>, place: usize) -> String {
    let written = step.id.clone();
    written.unwrap_or_else(|| default_step_id(block, place))
}

/// A step and the steps of its block, by id, as later steps may name them.
fn with_inner(id: &str, step: &StepSettings, names: &mut BTreeSet<String>) {
    names.insert(id.to_owned());
    // What happens for one item is seen in `items` only.
    if step.for_each.is_none() {
        inner(id, step, names);
    }
}

fn inner(id: &str, step: &StepSettings, names: &mut BTreeSet<String>) {
    for (place, step) in step.steps.iter().enumerate() {
        with_inner(&id_of(step, Some(id), place), step, names);
    }
}

impl Checker<'_> {
    fn block(
        &mut self,
        steps: &[StepSettings],
        block: Option<&str>,
        path: &[String],
        outer: &Visible,
    ) {
        let ids: Vec<String> = steps
            .iter()
            .enumerate()
            .map(|(place, step)| id_of(step, block, place))
            .collect();
        for (place, (id, step)) in ids.iter().zip(steps).enumerate() {
            let mut visible = outer.clone();
            for before in before(&ids, steps, place) {
                if let (Some(id), Some(step)) = (ids.get(before), steps.get(before)) {
                    with_inner(id, step, &mut visible.steps);
                }
            }
            let path = joined(path, &["steps", &place.to_string()]);
            self.step(id, step, &path, visible);
        }
    }

    fn step(&mut self, id: &str, step: &StepSettings, path: &[String], visible: Visible) {
        let expression =
            |text: &Option<String>| text.as_ref().map(|text| (text.clone(), Form::Expression));
        if let Some((text, form)) = expression(&step.when) {
            self.template(&text, form, &joined(path, &["when"]), &visible);
        }
        self.for_each(step, &joined(path, &["for_each"]), &visible);
        let mut within = visible;
        within.has_item |= step.for_each.is_some();
        if let Some(repeat) = &step.repeat {
            // Every round sees the round before.
            within.steps.insert(id.to_owned());
            inner(id, step, &mut within.steps);
            let path = joined(path, &["repeat", "until"]);
            self.template(&repeat.until, Form::Expression, &path, &within);
        }
        for (key, text) in [
            ("prompt", &step.prompt),
            ("criteria", &step.criteria),
            ("run", &step.run),
            ("gate", &step.gate),
        ] {
            if let Some(text) = text {
                self.template(text, Form::Text, &joined(path, &[key]), &within);
            }
        }
        if let Some(check) = &step.check {
            let mut within = within.clone();
            within.also = Some("answer");
            self.template(check, Form::Text, &joined(path, &["check"]), &within);
        }
        for (name, value) in &step.inputs {
            self.values(value, &joined(path, &["inputs", name]), &within);
        }
        self.block(&step.steps, Some(id), path, &within);
    }

    fn for_each(&mut self, step: &StepSettings, path: &[String], visible: &Visible) {
        let Some(ForEach::Template(text)) = &step.for_each else {
            return;
        };
        if template::only_expression(text).is_some() {
            self.template(text, Form::Expression, path, visible);
        } else {
            self.add(
                path,
                format!("`{text}` is no list"),
                Hint::Words("write a list, or one `{{ expression }}` that gives one".to_owned()),
            );
        }
    }

    /// Every text in a value is a template.
    fn values(&mut self, value: &Value, path: &[String], visible: &Visible) {
        match value {
            Value::String(text) => self.template(text, Form::Text, path, visible),
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    self.values(item, &joined(path, &[&place.to_string()]), visible);
                }
            }
            Value::Object(entries) => {
                for (key, value) in entries {
                    self.values(value, &joined(path, &[key]), visible);
                }
            }
            _ => {}
        }
    }

    fn template(&mut self, source: &str, form: Form, path: &[String], visible: &Visible) {
        let found = match references(source, form) {
            Ok(found) => found,
            Err(message) => return self.add(path, message, Hint::None),
        };
        for unknown in found.unknown {
            self.add(path, format!("there is no {unknown}"), Hint::None);
        }
        for reference in &found.paths {
            self.reference(reference, path, visible);
        }
    }

    fn reference(&mut self, reference: &[String], path: &[String], visible: &Visible) {
        let names: Vec<&str> = reference.iter().map(String::as_str).collect();
        match names.as_slice() {
            ["inputs" | "steps" | "run"] | [] => {}
            ["inputs", input, ..] => {
                if !self.task.inputs.contains_key(*input) {
                    let hint = one_of(input, self.task.inputs.keys(), "the inputs");
                    self.add(path, format!("the task has no input `{input}`"), hint);
                }
            }
            ["steps", id, lookups @ ..] => self.step_reference(id, lookups, path, visible),
            ["run", field, ..] => {
                if !["id", "task"].contains(field) {
                    let hint = one_of(field, ["id", "task"], "it has");
                    self.add(path, format!("`run` has no `{field}`"), hint);
                }
            }
            ["item", ..] => {
                if !visible.has_item {
                    let hint = Hint::Words("`item` is there in a step with `for_each`".to_owned());
                    self.add(path, "there is no `item` here".to_owned(), hint);
                }
            }
            [name, ..] if visible.also == Some(*name) => {}
            [name, ..] => {
                let known = scope::NAMES.into_iter().chain(visible.also);
                let hint = one_of(name, known, "known here");
                self.add(path, format!("`{name}` is not known here"), hint);
            }
        }
    }

    fn step_reference(&mut self, id: &str, lookups: &[&str], path: &[String], visible: &Visible) {
        if !visible.steps.contains(id) {
            let (message, hint) = if self.all.contains_key(id) {
                (
                    format!("the step `{id}` may not have ended when this is needed"),
                    Hint::Words(format!("add `{id}` to `needs`, or put this step behind it")),
                )
            } else {
                (
                    format!("unknown step `{id}`"),
                    one_of(id, &visible.steps, "steps before this one"),
                )
            };
            return self.add(path, message, hint);
        }
        let Some(step) = self.all.get(id).copied() else {
            return;
        };
        match lookups {
            [] => {}
            ["structured", names @ ..] => {
                if let Some(message) = self.structured(id, step, names) {
                    self.add(path, message, Hint::None);
                }
            }
            ["exit_code", ..] if step.run.is_none() || step.for_each.is_some() => {
                let message = format!("the step `{id}` is no command: it has no `exit_code`");
                self.add(path, message, Hint::None);
            }
            [field, ..] => {
                if !scope::FIELDS.contains(field) {
                    let hint = one_of(field, scope::FIELDS, "it has");
                    self.add(path, format!("a step has no `{field}`"), hint);
                }
            }
        }
    }

    /// What is wrong with naming this part of a structured answer.
    fn structured(&self, id: &str, step: &StepSettings, names: &[&str]) -> Option<String> {
        if step.for_each.is_some() || step.task.is_some() || !step.steps.is_empty() {
            return None;
        }
        let agents = step
            .agent
            .iter()
            .chain(&step.candidates)
            .chain(&step.synthesise);
        let mut of_agents = agents.filter_map(|name| (self.agent)(name)?.output_schema.as_ref());
        let Some(schema) = step.output_schema.as_ref().or_else(|| of_agents.next()) else {
            return Some(format!(
                "the step `{id}` has no `output_schema`: there is no `structured`"
            ));
        };
        let mut schema = schema;
        for name in names {
            let open = [
                "additionalProperties",
                "patternProperties",
                "$ref",
                "allOf",
                "anyOf",
                "oneOf",
            ];
            let is_open = open
                .iter()
                .any(|key| schema.get(key).is_some_and(|value| value != false));
            let properties = schema.get("properties").and_then(Value::as_object)?;
            match properties.get(*name) {
                Some(inner) => schema = inner,
                None if is_open => return None,
                None => {
                    return Some(format!(
                        "the `output_schema` of the step `{id}` has no `{name}`"
                    ));
                }
            }
        }
        None
    }

    fn add(&mut self, path: &[String], message: String, hint: Hint) {
        self.problems.push(TaskProblem {
            path: path.to_vec(),
            message,
            hint,
        });
    }
}

/// The places of the steps that have surely ended when the one at `place` starts.
fn before(ids: &[String], steps: &[StepSettings], place: usize) -> BTreeSet<usize> {
    let needs = |place: usize| -> Vec<usize> {
        match steps.get(place).and_then(|step| step.needs.as_ref()) {
            Some(needs) => needs
                .iter()
                .filter_map(|need| ids.iter().position(|id| id == need))
                .collect(),
            None => place.checked_sub(1).into_iter().collect(),
        }
    };
    let mut found = BTreeSet::new();
    let mut open = needs(place);
    while let Some(next) = open.pop() {
        if next != place && found.insert(next) {
            open.extend(needs(next));
        }
    }
    found
}

fn joined(path: &[String], more: &[&str]) -> Vec<String> {
    let more = more.iter().map(ToString::to_string);
    path.iter().cloned().chain(more).collect()
}

fn one_of<T: AsRef<str>>(
    word: &str,
    known: impl IntoIterator<Item = T>,
    what: &'static str,
) -> Hint {
    Hint::OneOf {
        word: word.to_owned(),
        known: known
            .into_iter()
            .map(|name| name.as_ref().to_owned())
            .collect(),
        what,
    }
}

#[cfg(test)]
mod tests;
