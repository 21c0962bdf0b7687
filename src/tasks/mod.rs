//! Tasks: steps of agents and commands, as a graph.
//!
//! May use everything up to `agents`. A run starts from an immutable [`Plan`]; which steps may start
//! is decided by the pure [`ready`]; what is finished is kept under a key of its own, so that a later
//! process goes on from there.

mod around;
mod block;
mod candidates;
pub mod check;
mod command;
pub mod draw;
mod graph;
pub mod inputs;
mod judge;
mod lock;
mod mentions;
mod outcome;
mod plan;
mod references;
mod run;
pub mod runs;
mod scope;
mod settings;
mod step;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod work;

pub use around::{Around, Halt};
pub use graph::{Done, is_stopped, ready};
pub use judge::{judge_words, synthesis_words};
pub use lock::RunLock;
pub use mentions::{Mention, Mentions, mentions};
pub use outcome::StepOut;
pub use plan::{Candidates, Join, PLAN_VERSION, Plan, PlanError, Sources, Step, Work, walk};
pub use run::{Ended, run};
pub use runs::RunState;
pub use settings::{
    ForEach, InputSettings, OnBadVerdict, OnFailure, RepeatSettings, StepSettings, TaskSettings,
    default_step_id,
};
pub use template::TemplateError;
