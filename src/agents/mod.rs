//! Agents: a role, a chain of models, tools; the turn loop that brings them together.
//!
//! May use everything up to `sessions`.

pub mod log;
pub mod prompt;
mod result;
mod settings;

pub use result::{AttemptReport, ErrorReport, Fallback, RunResult, SCHEMA_VERSION, ToolReport};
pub use settings::{AgentSettings, DelegationSettings};
