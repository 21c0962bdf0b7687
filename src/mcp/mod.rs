//! MCP, both ways: tools of servers for our agents, our tools for an agent CLI.
//!
//! May use the vocabulary, `process`, `sandbox` and `tools`.

pub mod bridge;
pub mod relay;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::McpServer;
