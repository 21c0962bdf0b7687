//! MCP, both ways: tools of servers for our agents, our tools for an agent CLI.
//!
//! May use the vocabulary, `process`, `sandbox` and `tools`.

pub mod bridge;
mod client;
mod failure;
mod lenient;
mod lines;
pub mod relay;
mod schema;
mod servers;
mod settings;
#[cfg(test)]
mod tests;

pub use client::ServerSpec;
pub use servers::{Failed, Servers, start};
pub use settings::McpServer;
