//! Agents: a role, a chain of models, tools; the turn loop that brings them together.
//!
//! May use everything up to `sessions`.

pub mod failure;
pub mod log;
pub mod prompt;
mod result;
mod settings;
mod state;
mod structured;
mod tool_calls;
mod turns;

pub use result::{ErrorReport, RunResult, SCHEMA_VERSION, ToolReport};
pub use settings::{AgentSettings, DelegationSettings};
pub use turns::{Agent, Ask, Finished, run};
