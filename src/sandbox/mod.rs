//! The kernel's rules for a child process.
//!
//! May use the vocabulary only.

mod settings;

pub use settings::{AgentSandbox, Network, SandboxSettings, Tier};
