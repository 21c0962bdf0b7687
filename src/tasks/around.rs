//! What every step of a run works with, and where a step stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::block::add_up;
use super::scope::{Board, Scope};
use crate::agents::delegation::Resolve;
use crate::agents::{Agent, DelegationSettings, ErrorReport, Journal, RunResult};
use crate::cancel::{Cancel, Cause};
use crate::costs::{Earlier, Spent};
use crate::event::Events;
use crate::resilience::Resilience;
use crate::store::StoreError;
use crate::tools::ToolContext;

/// What every step of a run works with.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The run.
    pub run_id: &'a Arc<str>,
    /// The task that runs.
    pub task: &'a Arc<str>,
    /// The agents of the plan, resolved.
    pub agents: &'a BTreeMap<String, Agent>,
    /// Finds the agents that those of the plan call.
    pub resolve: Resolve<'a>,
    /// The limits of such calls.
    pub delegation: DelegationSettings,
    /// What commands of the configuration work with; its approver answers gates.
    pub commands: &'a ToolContext,
    /// What every model call goes through.
    pub resilience: &'a Resilience,
    /// Where what is finished is kept.
    pub journal: &'a Journal,
    /// The conversation whose budget covers every call, where there is one.
    pub charged_session: Option<&'a Arc<str>>,
    /// What earlier processes were charged for the run.
    pub earlier: &'a Earlier,
    /// Who watches.
    pub events: &'a Events,
    /// Who may stop the run.
    pub cancel: &'a Cancel,
    /// When the run must be over.
    pub deadline: Option<Instant>,
    /// Is told every step that has ended, by its name within the run.
    pub finished: &'a (dyn Fn(&str, &RunResult) + Send + Sync),
}

/// Where a step stands: what it sees, under which key it is kept, until when it may work, where its attempts are
/// entered.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) scope: Scope,
    /// The key of what the step lies in.
    pub(super) journal: Journal,
    /// The name of what the step lies in, for people; empty at the top.
    pub(super) label: String,
    /// The same as results name it, whichever round or attempt they are of.
    pub(super) name: String,
    pub(super) deadline: Option<Instant>,
    /// How many items and candidates are worked on side by side here.
    pub(super) among: u32,
    /// The account of all attempts here, also of those of which nobody hears any more.
    pub(super) spent: Arc<Spent>,
    /// An earlier process failed here and its run is gone on with: what is finished counts, and what
    /// failed is done again.
    pub(super) again: bool,
}

impl Place {
    /// The top of a task.
    pub(super) fn top(around: &Around<'_>, task: &str, inputs: Map<String, Value>) -> Self {
        Self {
            scope: Scope {
                run_id: Arc::clone(around.run_id),
                task: task.into(),
                inputs: Arc::new(inputs),
                board: Arc::new(Board::default()),
                item: None,
                pending: Arc::default(),
                also: None,
            },
            journal: around.journal.clone(),
            label: String::new(),
            name: String::new(),
            deadline: around.deadline,
            among: 1,
            spent: Spent::after(around.earlier.whole()),
            again: false,
        }
    }

    /// The place of a step of this block.
    pub(super) fn of_step(&self, around: &Around<'_>, id: &str) -> Self {
        let below = |place: &str| match place {
            "" => id.to_owned(),
            place => format!("{place}/{id}"),
        };
        let place = Self {
            journal: self.journal.under(id),
            label: below(&self.label),
            name: below(&self.name),
            again: false,
            ..self.clone()
        };
        place.with_account(around)
    }

    /// The same place, of whose parts so many are worked on at the same time.
    pub(super) fn side_by_side(&self, parts: usize) -> Self {
        let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
        Self {
            among: self.among.saturating_mul(parts),
            ..self.clone()
        }
    }

    /// The same place for one item or candidate of it, which is told of by itself.
    pub(super) fn part(&self, around: &Around<'_>, mark: &str) -> Self {
        let place = Self {
            name: format!("{}{mark}", self.name),
            ..self.repeated(mark)
        };
        place.with_account(around)
    }

    fn with_account(self, around: &Around<'_>) -> Self {
        let before = around.earlier.of_step(&self.label);
        let spent = Spent::part_of(&self.spent, before);
        Self { spent, ..self }
    }

    /// The same place for another round or attempt.
    pub(super) fn repeated(&self, mark: &str) -> Self {
        Self {
            journal: self.journal.beside(mark),
            label: format!("{}{mark}", self.label),
            ..self.clone()
        }
    }

    /// The same place, to be left earlier where the time is shorter.
    pub(super) fn until(&self, deadline: Option<Instant>) -> Self {
        Self {
            deadline: [self.deadline, deadline].into_iter().flatten().min(),
            ..self.clone()
        }
    }

    /// What came of the work here, with what all of it was charged, however it ended. `empty` is told where
    /// nothing else is left of it.
    pub(super) fn charged(
        &self,
        worked: Result<RunResult, Halted>,
        empty: impl FnOnce() -> RunResult,
    ) -> Result<RunResult, Halted> {
        let charges = self.spent.so_far();
        match worked {
            Ok(mut result) => {
                result.charge(charges);
                Ok(result)
            }
            Err(halt) => {
                let empty = || (charges.attempts > 0).then(|| Box::new(empty()));
                let mut so_far = halt.so_far.or_else(empty);
                if let Some(result) = &mut so_far {
                    result.charge(charges);
                }
                Err(Halted { so_far, ..halt })
            }
        }
    }
}

/// Why a run stands still although it is not at its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Halt {
    /// A person must say yes first, and nobody can be asked.
    Parked {
        /// What would be asked.
        question: String,
    },
    /// It was stopped from outside.
    Stopped(Cause),
    /// What was finished could not be kept, or not be read back.
    Journal(StoreError),
}

/// A part of a run that stands still, with what there is of it.
#[derive(Debug)]
pub(super) struct Halted {
    pub(super) why: Halt,
    pub(super) so_far: Option<Box<RunResult>>,
}

impl Halted {
    /// With nothing to show.
    pub(super) fn new(why: Halt) -> Self {
        Self { why, so_far: None }
    }

    /// Behind earlier rounds or attempts of the same work.
    pub(super) fn after(mut self, before: &RunResult) -> Self {
        if let Some(so_far) = &mut self.so_far {
            add_up(so_far, std::slice::from_ref(before));
        }
        self
    }

    /// With what there is, which is not all of it.
    pub(super) fn with(self, mut so_far: RunResult) -> Self {
        so_far.ok = false;
        Self {
            so_far: Some(Box::new(so_far)),
            ..self
        }
    }

    /// The same as a part of this step.
    pub(super) fn of_step(mut self, name: &str) -> Self {
        if let Some(so_far) = &mut self.so_far {
            so_far.step = Some(name.to_owned());
        }
        self
    }
}

impl From<StoreError> for Halted {
    fn from(error: StoreError) -> Self {
        Self::new(Halt::Journal(error))
    }
}

/// The result of a step that did not work out for a reason of ours.
pub(super) fn failed(
    around: &Around<'_>,
    kind: &'static str,
    name: &str,
    error: ErrorReport,
) -> RunResult {
    RunResult {
        error: Some(error),
        ..RunResult::empty(around.run_id, kind, name, "")
    }
}
