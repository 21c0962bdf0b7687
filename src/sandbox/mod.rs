//! The kernel's rules for a child process.
//!
//! May use the vocabulary and `process` only.

mod explain;
mod limits;
mod names;
mod policy;
mod settings;

pub use limits::Limits;
pub use policy::{Policy, PolicyError};
pub use settings::{AgentSandbox, Network, SandboxSettings, Tier};
