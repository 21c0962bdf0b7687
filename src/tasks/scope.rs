//! What the templates of a step can see.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr, Serde};
use serde_json::Map;

use super::StepOut;
use crate::agents::RunResult;

/// The names that every template may use.
pub(super) const NAMES: [&str; 4] = ["inputs", "steps", "item", "run"];

/// What a step is seen as.
pub(super) const FIELDS: [&str; 7] = [
    "output",
    "structured",
    "ok",
    "exit_code",
    "error",
    "skipped",
    "items",
];

/// The steps of one task that have ended so far; those of an item of `for_each` lie above those around.
#[derive(Debug, Default)]
pub(super) struct Board {
    outer: Option<Arc<Self>>,
    ended: Mutex<BTreeMap<String, Arc<StepOut>>>,
}

impl Board {
    /// An empty board above another one.
    pub(super) fn above(outer: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            outer: Some(Arc::clone(outer)),
            ended: Mutex::default(),
        })
    }

    pub(super) fn put(&self, id: &str, out: Arc<StepOut>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert(id.to_owned(), out);
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<StepOut>> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let found = ended.get(id).cloned();
        found.or_else(|| self.outer.as_ref()?.get(id))
    }

    fn ids(&self) -> Vec<String> {
        let mut ids = self
            .outer
            .as_ref()
            .map(|outer| outer.ids())
            .unwrap_or_default();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ids.extend(ended.keys().cloned());
        ids
    }
}

/// Everything that a template can see. Cheap to clone; nothing is converted before it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    /// The run's id.
    pub(super) run_id: Arc<str>,
    /// The task.
    pub(super) task: Arc<str>,
    /// The inputs of the task.
    pub(super) inputs: Arc<Map<String, serde_json::Value>>,
    /// The steps that have ended.
    pub(super) board: Arc<Board>,
    /// The item of the innermost `for_each`.
    pub(super) item: Option<Arc<serde_json::Value>>,
    /// Steps that a template may name before they have ended: those of a loop in its first round.
    pub(super) pending: Arc<Vec<String>>,
    /// A name more, for this template alone.
    pub(super) also: Option<(&'static str, Arc<serde_json::Value>)>,
}

impl Scope {
    /// As what a template is rendered with.
    pub(super) fn value(&self) -> Value {
        Value::from_object(self.clone())
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        match name {
            "inputs" => Some(Value::from(Serde(&*self.inputs))),
            "steps" => Some(Value::from_object(Steps(Arc::clone(self)))),
            "item" => self.item.as_ref().map(|item| Value::from(Serde(&**item))),
            "run" => Some(Value::from_pairs([
                ("id", Value::from(&*self.run_id)),
                ("task", Value::from(&*self.task)),
            ])),
            _ => {
                let (known, value) = self.also.as_ref()?;
                (*known == name).then(|| Value::from(Serde(&**value)))
            }
        }
    }
}

#[derive(Debug)]
struct Steps(Arc<Scope>);

impl Object for Steps {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let id = key.as_str()?;
        match self.0.board.get(id) {
            Some(out) => Some(view(&out)),
            None => self.0.pending.iter().any(|pending| pending == id).then(|| {
                view(&StepOut {
                    skipped: false,
                    result: RunResult::empty("", "agent", "", ""),
                })
            }),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.board.ids().into_iter().map(Value::from).collect())
    }

    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }
}

/// A step as templates see it.
fn view(out: &StepOut) -> Value {
    let result = &out.result;
    let error = result.error.as_ref().map(|error| error.message.as_str());
    let items = || {
        let items = result.results.iter().flatten();
        let view = |item: &RunResult| {
            view(&StepOut {
                skipped: false,
                result: item.clone(),
            })
        };
        items.map(view).collect::<Value>()
    };
    Value::from_pairs([
        ("output", Value::from(result.output.as_str())),
        ("structured", Value::from(Serde(&result.structured))),
        ("ok", Value::from(out.is_ok())),
        ("exit_code", Value::from(Serde(result.exit_code))),
        ("error", Value::from(Serde(error))),
        ("skipped", Value::from(out.skipped)),
        ("items", items()),
    ])
}
