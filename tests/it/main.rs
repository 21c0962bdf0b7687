//! Runs the real `orch` against real peers on loopback: one binary for all integration tests.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test that meets the unexpected should fail at once, and it starts real processes"
)]

mod addresses;
mod agent;
mod attacks;
mod bad_input;
mod budgets;
mod canaries;
mod claude_bridge;
mod claude_confined;
mod claude_driver;
mod claude_fake;
mod claude_floods;
mod claude_herd;
mod claude_killed;
mod claude_money;
mod claude_outcomes;
mod claude_sessions;
mod claude_told;
mod compaction;
mod cut_answers;
mod deadlines;
mod diagnosis;
mod faults;
mod foreign;
mod init;
mod lists;
mod mcp;
mod mcp_http;
mod offline;
mod packaging;
mod planted;
mod programs;
mod readme;
mod reload;
mod sandbox;
mod schema;
mod session;
mod session_flags;
mod structure;
mod support;
mod tasks;
mod unread;
