//! Tasks: steps of agents and commands, as a graph.
//!
//! May use everything up to `agents`. A run starts from an immutable [`Plan`]; which steps may start
//! is decided by the pure [`ready`].

pub mod check;
mod graph;
pub mod inputs;
mod outcome;
mod plan;
mod references;
mod scope;
mod settings;
mod template;
#[cfg(test)]
mod testing;

pub use graph::{Done, is_stopped, ready};
pub use outcome::StepOut;
pub use plan::{Join, PLAN_VERSION, Plan, PlanError, Sources, Step, Work, walk};
pub use settings::{
    ForEach, InputSettings, OnBadVerdict, OnFailure, RepeatSettings, StepSettings, TaskSettings,
    default_step_id,
};
pub use template::TemplateError;
