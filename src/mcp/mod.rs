//! MCP, both ways: tools of servers for our agents, our tools for an agent CLI.
//!
//! May use the vocabulary, `process`, `sandbox` and `tools`.

mod settings;

pub use settings::McpServer;
