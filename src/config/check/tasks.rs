//! The `tasks:` section: steps that hang together.

use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use super::circle::circle;
use super::names::Section;
use crate::config::node::{Data, Key, Node};
use crate::config::problem::{At, Problem};
use crate::config::scalar::{Number, number, truth};
use crate::tasks::check::UnsureNames;
use crate::tasks::{KINDS, default_step_id};

/// The ways to make one answer of those of several candidates.
const JOINS: [&str; 3] = ["judge", "vote", "synthesise"];
/// Keys that go with some kinds of steps only, and with which.
const LIMITED: [(&str, &[&str]); 10] = [
    ("prompt", &["agent", "candidates"]),
    ("output_schema", &["agent", "candidates"]),
    ("judge", &["candidates"]),
    ("criteria", &["candidates"]),
    ("check", &["candidates"]),
    ("seed", &["candidates"]),
    ("on_bad_verdict", &["candidates"]),
    ("vote", &["candidates"]),
    ("synthesise", &["candidates"]),
    ("inputs", &["task"]),
];

/// A step of a block and its name.
struct Step<'n> {
    id: String,
    /// Several steps have this name: who writes it may mean any of them.
    is_shared: bool,
    node: &'n Node<'n>,
}

/// The names of the steps of a task.
#[derive(Default)]
struct Taken {
    /// Where each is.
    ids: BTreeMap<String, At>,
    /// Those that nothing can be said of.
    unsure: UnsureNames,
}

impl Checker<'_> {
    pub(in crate::config) fn task(&mut self, key: &Key<'_>, node: &Node<'_>) {
        self.file_name("a task", key);
        if node.get("steps").is_none() {
            self.needs(key, node, &["steps"], "`steps`");
        }
        let mut taken = Taken::default();
        self.block(node, None, &mut taken);
        self.unsure_steps.insert(key.text.to_string(), taken.unsure);
    }

    /// Checks the steps under `node`; `taken` are the names of all steps of the task so far.
    fn block(&mut self, node: &Node<'_>, parent: Option<&str>, taken: &mut Taken) {
        let items = node.get("steps").map(Node::items).unwrap_or_default();
        let mut steps: Vec<Step<'_>> = Vec::with_capacity(items.len());
        let mut perhaps = UnsureNames::default();
        let mut firsts: BTreeMap<String, usize> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            self.perhaps_named(item, "id", &mut perhaps);
            self.perhaps_named(item, "steps", &mut taken.unsure);
            let written = item.get("id").and_then(Node::text).map(str::to_owned);
            let at = item.get("id").unwrap_or(item).place();
            let id = written.unwrap_or_else(|| default_step_id(parent, index));
            self.step_name(&id, at, taken);
            let first = *firsts.entry(id.clone()).or_insert(index);
            if let Some(same) = steps.get_mut(first) {
                same.is_shared = true;
            }
            let is_shared = first != index;
            steps.push(Step {
                id,
                is_shared,
                node: item,
            });
        }
        let names: BTreeSet<&str> = steps.iter().map(|step| step.id.as_str()).collect();
        for step in &steps {
            if matches!(step.node.data(), Data::Mapping(_) | Data::Null) {
                self.step(step);
                self.step_needs(step, &names, &perhaps);
                self.block(step.node, Some(&step.id), taken);
            }
        }
        taken.unsure.known.extend(perhaps.known);
        taken.unsure.any |= perhaps.any;
        self.step_circle(&steps);
    }

    /// Adds the names that a step may have, where what a key says of names was refused: with a mistyped key they are
    /// among its texts, otherwise they are not known.
    fn perhaps_named(&self, step: &Node<'_>, key: &str, names: &mut UnsureNames) {
        match step.entry(key) {
            _ if !self.is_doubtful(step, key) => {}
            Some(_) => names.any = true,
            None => texts(step, &mut names.known),
        }
    }

    /// Whether the key was mistyped in the mapping or has a value of a wrong type.
    pub(super) fn is_doubtful(&self, node: &Node<'_>, key: &str) -> bool {
        self.findings.is_meant(node.place(), key)
            || node
                .get(key)
                .is_some_and(|value| self.findings.is_wrong(value.place()))
    }

    /// Reports an id that is no name or is there already.
    fn step_name(&mut self, id: &str, at: At, taken: &mut Taken) {
        let is_name = !id.is_empty()
            && id.len() <= 60
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            && !id.starts_with('-');
        if !is_name {
            let problem = Problem::new(at, format!("`{id}` cannot be the id of a step"))
                .with_hint("letters, digits, `_` and `-`, at most 60".to_owned());
            self.findings.add_about(at, problem);
        } else if let Some(first) = taken.ids.get(id) {
            taken.unsure.known.insert(id.to_owned());
            let problem = Problem::new(at, format!("two steps have the id `{id}`"))
                .with_hint(format!("the other is on line {}", first.line));
            self.findings.add_about(at, problem);
        } else {
            taken.ids.insert(id.to_owned(), at);
        }
    }

    fn step(&mut self, step: &Step<'_>) {
        let node = step.node;
        self.refuse_written_zero(node, "max_parallel");
        if let Some(repeat) = node.get("repeat") {
            self.refuse_written_zero(repeat, "max");
        }
        self.schema(node);
        let kinds: Vec<&Key<'_>> = node
            .entries()
            .iter()
            .filter(|(key, value)| KINDS.contains(&&*key.text) && !value.is_null())
            .map(|(key, _)| key)
            .collect();
        match kinds.as_slice() {
            [] => {
                if !KINDS.iter().any(|kind| self.is_doubtful(node, kind)) {
                    let message = format!("the step `{}` has nothing to do", step.id);
                    let hint = format!("give it one of `{}`", KINDS.join("`, `"));
                    self.findings
                        .add(Problem::new(node.at, message).with_hint(hint));
                }
            }
            [kind] => self.step_of_kind(&kind.text, step),
            [first, second, ..] => {
                let message = format!(
                    "`{}` and `{}` exclude each other in a step",
                    first.text, second.text
                );
                let hint = "make two steps of it".to_owned();
                self.findings
                    .add(Problem::new(second.at, message).with_hint(hint));
            }
        }
    }

    fn step_of_kind(&mut self, kind: &str, step: &Step<'_>) {
        let node = step.node;
        for (key, value) in node.entries() {
            let limited = LIMITED.iter().find(|(name, _)| *name == key.text);
            if limited.is_some_and(|(_, kinds)| !kinds.contains(&kind)) && !value.is_null() {
                let message = format!("`{}` means nothing in a step with `{kind}`", key.text);
                self.findings.add(Problem::new(key.at, message));
            }
        }
        if matches!(kind, "agent" | "candidates")
            && node.get("prompt").is_none()
            && !self.is_doubtful(node, "prompt")
        {
            let message = format!("the step `{}` needs a `prompt`", step.id);
            self.findings.add(Problem::new(node.at, message));
        }
        match kind {
            "agent" => {
                if let Some(agent) = node.get("agent") {
                    self.refers(agent, Section::Agents);
                }
            }
            "candidates" => self.candidates(step),
            "task" => {
                if let Some(task) = node.get("task") {
                    self.refers(task, Section::Tasks);
                }
            }
            _ => {
                if node
                    .get(kind)
                    .and_then(Node::text)
                    .is_some_and(|text| text.trim().is_empty())
                {
                    self.findings.refuse(node, kind, "is empty", None);
                }
            }
        }
    }

    fn candidates(&mut self, step: &Step<'_>) {
        let node = step.node;
        self.list_refers(node, "candidates", Section::Agents);
        let names: Vec<&str> = node
            .get("candidates")
            .map(Node::items)
            .unwrap_or_default()
            .iter()
            .filter_map(Node::text)
            .collect();
        if names.is_empty() && !self.is_doubtful(node, "candidates") {
            self.findings
                .refuse(node, "candidates", "names nobody", None);
        }
        let joins: Vec<&Key<'_>> = node
            .entries()
            .iter()
            .filter(|(key, value)| {
                JOINS.contains(&&*key.text)
                    && !value.is_null()
                    && !(key.text == "vote" && said(Some(value)) == Some(false))
            })
            .map(|(key, _)| key)
            .collect();
        match joins.as_slice() {
            [] if JOINS.iter().any(|join| self.is_doubtful(node, join)) => {}
            [] => {
                let message = format!(
                    "the step `{}` does not say how one answer is chosen",
                    step.id
                );
                let hint = format!("give it one of `{}`", JOINS.join("`, `"));
                self.findings
                    .add(Problem::new(node.at, message).with_hint(hint));
            }
            [_] => {}
            [first, second, ..] => {
                let message = format!("`{}` and `{}` exclude each other", first.text, second.text);
                self.findings.add(Problem::new(second.at, message));
            }
        }
        for key in ["judge", "synthesise"] {
            let Some(agent) = node.get(key) else { continue };
            self.refers(agent, Section::Agents);
            if key == "judge" && agent.text().is_some_and(|judge| names.contains(&judge)) {
                let problem = Problem::new(
                    agent.place(),
                    format!(
                        "`{}` cannot judge answers of which one is its own",
                        agent.text().unwrap_or_default()
                    ),
                );
                self.findings.add_about(agent.place(), problem);
            }
        }
        for key in ["criteria", "seed", "on_bad_verdict"] {
            if node.get(key).is_some()
                && node.get("judge").is_none()
                && !self.is_doubtful(node, "judge")
            {
                let Some((name, _)) = node.entry(key) else {
                    continue;
                };
                self.findings.add(Problem::new(
                    name.at,
                    format!("`{key}` means nothing without a `judge`"),
                ));
            }
        }
    }

    /// What is passed to another task: inputs that it has, and all that it needs.
    fn passed_inputs(&mut self, task: &Node<'_>, node: &Node<'_>) {
        let Some(called) = task
            .text()
            .and_then(|name| self.root.get("tasks")?.get(name))
        else {
            return;
        };
        if self.is_doubtful(called, "inputs") || self.is_doubtful(node, "inputs") {
            return;
        }
        let name = task.text().unwrap_or_default();
        let inputs = called.get("inputs").map(Node::entries).unwrap_or_default();
        let passed = node.get("inputs").map(Node::entries).unwrap_or_default();
        for (key, _) in passed {
            if !inputs.iter().any(|(input, _)| input.text == key.text) {
                let known: Vec<&str> = inputs.iter().map(|(input, _)| &*input.text).collect();
                let hint = crate::config::findings::suggestion(&key.text, &known, "its inputs");
                let message = format!("the task `{name}` has no input `{}`", key.text);
                self.findings
                    .add(Problem::new(key.at, message).with_hint(hint));
            }
        }
        for (input, settings) in inputs {
            let is_required =
                said(settings.get("required")) == Some(true) && settings.get("default").is_none();
            if is_required && !passed.iter().any(|(key, _)| key.text == input.text) {
                let message = format!("the task `{name}` needs the input `{}`", input.text);
                self.findings.add(Problem::new(task.place(), message));
            }
        }
    }

    /// Reports steps in `needs` that are not beside the step; `perhaps` may be the names of some of those.
    fn step_needs(&mut self, step: &Step<'_>, names: &BTreeSet<&str>, perhaps: &UnsureNames) {
        for item in step.node.get("needs").map(Node::items).unwrap_or_default() {
            let Some(name) = item.text() else { continue };
            let at = item.place();
            if name == step.id && !step.is_shared {
                let problem = Problem::new(at, format!("the step `{name}` waits for itself"));
                self.findings.add_about(at, problem);
            } else if !names.contains(name) && !perhaps.allow(name) {
                let is_few = self.findings.may_suggest();
                let others = names.iter().filter(|id| is_few && **id != step.id);
                let known: Vec<&str> = others.copied().collect();
                let hint = crate::config::findings::suggestion(name, &known, "steps beside it");
                let problem = Problem::new(at, format!("unknown step `{name}`"));
                self.findings.add_about(at, problem.with_hint(hint));
            }
        }
    }

    /// Reports steps that wait for each other.
    fn step_circle(&mut self, steps: &[Step<'_>]) {
        // A name that several steps have leads nowhere: those steps are told apart by their places.
        let names: Vec<String> = (0..)
            .zip(steps)
            .map(|(place, step): (usize, _)| {
                if step.is_shared {
                    format!("{place} {}", step.id)
                } else {
                    step.id.clone()
                }
            })
            .collect();
        let mut previous: Option<&str> = None;
        let mut waits: Vec<(&str, Vec<&str>)> = Vec::with_capacity(steps.len());
        for (step, name) in steps.iter().zip(&names) {
            let needs = match step.node.entry("needs") {
                Some((_, needs)) if !needs.is_null() => needs
                    .items()
                    .iter()
                    .filter_map(Node::text)
                    .filter(|name| *name != step.id)
                    .collect(),
                _ => previous.into_iter().collect(),
            };
            waits.push((name, needs));
            previous = Some(name);
        }
        let Some(circle) = circle(&waits) else { return };
        let within = |name: &str| steps.iter().zip(&names).find(|(_, other)| *other == name);
        let around: Vec<&Step<'_>> = circle
            .iter()
            .filter_map(|name| within(name).map(|(step, _)| step))
            .collect();
        let keys = around.iter().filter_map(|step| step.node.entry("needs"));
        let at = keys.map(|(key, _)| key.at).min();
        let at = at.unwrap_or(At { line: 1, column: 1 });
        let ids: Vec<&str> = around.iter().map(|step| step.id.as_str()).collect();
        let message = format!("the steps `{}` wait for each other", ids.join("`, `"));
        self.findings.add(Problem::new(at, message));
    }

    /// Reports tasks that call each other for ever, and calls without the inputs that are needed;
    /// when every task has been read.
    pub(in crate::config) fn task_calls(&mut self) {
        let tasks = self
            .root
            .get("tasks")
            .map(Node::entries)
            .unwrap_or_default();
        let mut calls = Vec::with_capacity(tasks.len());
        for (key, node) in tasks {
            let mut steps = Vec::new();
            collect_calls(node, &mut steps);
            for (task, step) in &steps {
                self.passed_inputs(task, step);
            }
            let called = steps.iter().filter_map(|(task, _)| task.text());
            calls.push((&*key.text, called.collect()));
        }
        if let Some(circle) = circle(&calls) {
            let at = tasks.iter().find(|(key, _)| circle.contains(&&*key.text));
            let at = at.map_or(self.root.at, |(key, _)| key.at);
            let message = format!(
                "the tasks `{}` call each other for ever",
                circle.join("`, `")
            );
            self.findings.add(Problem::new(at, message));
        }
    }

    fn refuse_written_zero(&mut self, node: &Node<'_>, key: &str) {
        let written = node.get(key).and_then(Node::text).and_then(number);
        if written.and_then(Number::whole) == Some(0) {
            self.findings.refuse_zero(node, key, Some(0));
        }
    }
}

/// Every text in a value.
fn texts(node: &Node<'_>, found: &mut BTreeSet<String>) {
    found.extend(node.text().map(str::to_owned));
    for item in node.items() {
        texts(item, found);
    }
    for (_, value) in node.entries() {
        texts(value, found);
    }
}

/// The truth value that is written.
fn said(node: Option<&Node<'_>>) -> Option<bool> {
    node.and_then(Node::text).and_then(truth)
}

/// Every step under a task that calls another task: what it calls, and the step.
fn collect_calls<'n, 't>(node: &'n Node<'t>, calls: &mut Vec<(&'n Node<'t>, &'n Node<'t>)>) {
    for step in node.get("steps").map(Node::items).unwrap_or_default() {
        calls.extend(step.get("task").map(|task| (task, step)));
        collect_calls(step, calls);
    }
}
