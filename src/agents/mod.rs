//! Agents: a role, a chain of models, tools; the turn loop that brings them together.
//!
//! May use everything up to `sessions`.

mod bridged;
pub mod delegation;
pub mod failure;
pub mod journal;
pub mod log;
pub mod prompt;
mod result;
pub mod rights;
mod settings;
mod state;
mod structured;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tool_calls;
mod turns;
mod window;

pub use delegation::Team;
pub use journal::{Journal, Recorded};
pub use result::{ErrorReport, RunResult, SCHEMA_VERSION, ToolReport};
pub use settings::{AgentSettings, DelegationSettings};
pub use turns::{Agent, Ask, Finished, run};
