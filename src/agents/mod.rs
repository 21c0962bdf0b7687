//! Agents.
mod settings;
pub use settings::{AgentSettings, DelegationSettings};
