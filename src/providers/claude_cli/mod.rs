//! The Claude Code CLI as a provider: a child process that takes its own turns.

pub mod argv;
pub mod faults;
pub mod heard;
pub mod money;
pub mod outcome;
pub mod prompt;
mod reset;
pub mod stream;
