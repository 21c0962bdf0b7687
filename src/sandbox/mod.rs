//! The kernel's rules for a child process.
//!
//! May use the vocabulary, `files` and `process` only.

mod aliases;
mod command;
mod covers;
mod environment;
mod explain;
mod helper;
mod limits;
mod names;
mod plan;
mod policy;
mod programs;
mod repository;
mod scan;
mod seccomp;
mod settings;
mod started;
mod system;
mod toolchains;
mod turn;
mod unavailable;
mod view;

pub use aliases::Secrets;
pub use command::{
    Bind, Child, Command, Ended, Moved, Outcome, Program, SandboxError, probe, use_helper,
};
pub use environment::environment;
pub use helper::run_as_helper;
pub use limits::Limits;
pub use plan::Exceeded;
pub use policy::{Policy, PolicyError};
pub use settings::{AgentSandbox, Network, SandboxSettings, Tier};
pub use unavailable::Unavailable;
