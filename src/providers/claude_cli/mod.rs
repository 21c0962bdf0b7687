//! The Claude Code CLI as a provider: a child process that takes its own turns.

pub mod argv;
mod clock;
pub mod faults;
mod gate;
pub mod heard;
mod lines;
pub mod money;
pub mod outcome;
pub mod prompt;
mod reset;
pub mod sessions;
mod spec;
pub mod stream;

pub use spec::{ClaudeSpec, inherited};
