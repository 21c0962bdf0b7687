//! What is wrong with the templates of a task, found before anything is spent.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::references::{Form, misplaced, references};
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

/// What is known around a task.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The agent of a name.
    pub agent: &'a dyn Fn(&str) -> Option<&'a AgentSettings>,
    /// Whether at a path from the top of the configuration a key was mistyped or has a value that was refused, so that
    /// nothing follows from what is there or is not.
    pub is_doubtful: &'a dyn Fn(&[String], &str) -> bool,
    /// Names that lead to no one step.
    pub unsure: &'a UnsureNames,
}

/// Names of which nothing can be said, because the `id` of a step was refused or several steps have it.
#[derive(Clone, Debug, Default)]
pub struct UnsureNames {
    /// Those that several steps have, and those that a step may have.
    pub known: BTreeSet<String>,
    /// Some step may have any name.
    pub any: bool,
}

impl UnsureNames {
    /// Whether a name that no step has may be that of one.
    pub fn allow(&self, name: &str) -> bool {
        self.any || self.known.contains(name)
    }
}

/// What is wrong with the templates and expressions of a task: those that are none, and those that
/// name what is not there or not there yet. Whether names of agents, tasks and steps in `needs` exist
/// is not looked at; what hangs on one that does not, or on a value that was refused, is passed over.
pub fn problems<'a>(
    name: &str,
    task: &'a TaskSettings,
    around: Surroundings<'a>,
) -> Vec<TaskProblem> {
    let path = vec!["tasks".to_owned(), name.to_owned()];
    let mut all = BTreeMap::new();
    index(&task.steps, None, &path, &mut all);
    let mut checker = Checker {
        task,
        around,
        path: path.clone(),
        all,
        problems: Vec::new(),
    };
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
    around: Surroundings<'a>,
    /// Where the task is.
    path: Vec<String>,
    /// Every step of the task.
    all: BTreeMap<String, Placed<'a>>,
    problems: Vec<TaskProblem>,
}

/// A step and where it is.
struct Placed<'a> {
    step: &'a StepSettings,
    path: Vec<String>,
}

fn index<'a>(
    steps: &'a [StepSettings],
    block: Option<&str>,
    path: &[String],
    all: &mut BTreeMap<String, Placed<'a>>,
) {
    for (place, step) in steps.iter().enumerate() {
        let id = id_of(step, block, place);
        let path = joined(path, &["steps", &place.to_string()]);
        index(&step.steps, Some(&id), &path, all);
        all.insert(id, Placed { step, path });
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
        let needs: Vec<Needs> = (0..)
            .zip(steps)
            .map(|(place, step)| self.needs(step, place, &ids, path))
            .collect();
        for (place, (id, step)) in ids.iter().zip(steps).enumerate() {
            let mut visible = outer.clone();
            for before in before(&needs, place) {
                if let (Some(id), Some(step)) = (ids.get(before), steps.get(before)) {
                    with_inner(id, step, &mut visible.steps);
                }
            }
            let path = joined(path, &["steps", &place.to_string()]);
            self.step(id, step, &path, visible);
        }
    }

    /// The steps that one waits for directly.
    fn needs(&self, step: &StepSettings, place: usize, ids: &[String], block: &[String]) -> Needs {
        let path = joined(block, &["steps", &place.to_string()]);
        if self.is_doubtful(&path, "needs") {
            return Needs::Unknown;
        }
        let Some(written) = &step.needs else {
            return Needs::These(place.checked_sub(1).into_iter().collect());
        };
        let places = written.iter().map(|need| {
            let found = ids.iter().position(|id| id == need);
            found.filter(|found| *found != place && !self.around.unsure.known.contains(need))
        });
        places
            .collect::<Option<_>>()
            .map_or(Needs::Unknown, Needs::These)
    }

    fn is_doubtful(&self, path: &[String], key: &str) -> bool {
        (self.around.is_doubtful)(path, key)
    }

    fn step(&mut self, id: &str, step: &StepSettings, path: &[String], visible: Visible) {
        let expression =
            |text: &Option<String>| text.as_ref().map(|text| (text.clone(), Form::Expression));
        if let Some((text, form)) = expression(&step.when) {
            self.template(&text, form, &joined(path, &["when"]), &visible);
        }
        self.for_each(step, &joined(path, &["for_each"]), &visible);
        let mut within = visible;
        within.has_item |= step.for_each.is_some() || self.is_doubtful(path, "for_each");
        if step.repeat.is_some() || self.is_doubtful(path, "repeat") {
            // Every round sees the round before.
            within.steps.insert(id.to_owned());
            inner(id, step, &mut within.steps);
        }
        if let Some(repeat) = &step.repeat {
            let path = joined(path, &["repeat", "until"]);
            self.template(&repeat.until, Form::Expression, &path, &within);
        }
        for (key, text) in [
            ("prompt", &step.prompt),
            ("criteria", &step.criteria),
            ("gate", &step.gate),
        ] {
            if let Some(text) = text {
                self.template(text, Form::Text, &joined(path, &[key]), &within);
            }
        }
        if let Some(run) = &step.run {
            self.command(run, &joined(path, &["run"]), &within);
        }
        if let Some(check) = &step.check {
            let mut within = within.clone();
            within.also = Some("answer");
            self.command(check, &joined(path, &["check"]), &within);
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

    /// A template in which every value must be an argument.
    fn command(&mut self, source: &str, path: &[String], visible: &Visible) {
        self.template(source, Form::Text, path, visible);
        if let Some(misplaced) = misplaced(source) {
            let hint = Hint::Words(misplaced.hint().to_owned());
            self.add(path, misplaced.to_string(), hint);
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
                let is_there = self.task.inputs.contains_key(*input)
                    || self.is_doubtful(&self.path, "inputs")
                    || self.is_doubtful(&joined(&self.path, &["inputs"]), input);
                if !is_there {
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
        let unsure = self.around.unsure;
        if unsure.known.contains(id) || (!self.all.contains_key(id) && unsure.allow(id)) {
            return;
        }
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
        let Some(Placed { step, path: at }) = self.all.get(id) else {
            return;
        };
        let step = *step;
        let is_unclear = !does_anything(step)
            || ["for_each", "output_schema", "run", "steps", "task"]
                .iter()
                .any(|key| self.is_doubtful(at, key));
        match lookups {
            [] => {}
            ["structured" | "exit_code", ..] if is_unclear => {}
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
        let agent = self.around.agent;
        let mut of_agents = agents
            .clone()
            .filter_map(|name| agent(name)?.output_schema.as_ref());
        let Some(schema) = step.output_schema.as_ref().or_else(|| of_agents.next()) else {
            let mut agents = agents;
            let is_unclear = |name: &String| {
                let at = ["agents".to_owned(), name.clone()];
                agent(name).is_none() || self.is_doubtful(&at, "output_schema")
            };
            if agents.any(is_unclear) {
                return None;
            }
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

/// The places of the steps that one waits for.
enum Needs {
    These(Vec<usize>),
    /// What was written is none, which has been reported.
    Unknown,
}

/// The places of the steps that have surely ended when the one at `place` starts; of all others where it cannot be
/// known.
fn before(needs: &[Needs], place: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut open = vec![place];
    while let Some(next) = open.pop() {
        match needs.get(next) {
            Some(Needs::These(places)) => {
                let places = places.iter().copied();
                open.extend(places.filter(|before| *before != place && found.insert(*before)));
            }
            Some(Needs::Unknown) => {
                return (0..needs.len()).filter(|other| *other != place).collect();
            }
            None => {}
        }
    }
    found
}

/// Whether it is said what a step does.
fn does_anything(step: &StepSettings) -> bool {
    let texts = [&step.agent, &step.run, &step.gate, &step.task];
    texts.iter().any(|text| text.is_some()) || !step.candidates.is_empty() || !step.steps.is_empty()
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
