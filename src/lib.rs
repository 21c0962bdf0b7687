//! `orch` runs teams of LLM agents from a shell script or an interactive session.
//!
//! ```text
//!  prompt ─► cli/repl ─► orchestrator ─► (tasks ─►) agent ─► guarded ─► provider ─► model
//!                                           ▲         │                    │
//!                                           │         └─► tools ──┐        │ deltas
//!  answer ◄──── return values ◄─────────────┴──── ToolResult ◄────┘        ▼
//!  screen ◄─ render ◄───────────── Event, one bounded channel ◄────── everyone emits
//! ```
//!
//! A module may use only what stands before it in this line (a test in `tests/it` holds it to that):
//! message, usage, redact, files · event · store, process, sandbox · costs · providers · resilience · tools, mcp ·
//! sessions · agents · tasks · config · orchestrator · render · repl, cli.
//!
//! # Invariants
//! 1. Return values carry state, events are for eyes: dropping every event changes no answer,
//!    ledger row, session or exit code.
//! 2. A turn enters a session whole or not at all: no tool call is stored without its result.
//! 3. Every model call, failed attempts included, happens between the start of an attempt in the
//!    ledger and its settlement. A hold counts against its budgets until it is settled. A cancelled
//!    or cut attempt settles at an estimate; one whose process died stays at its hold.
//! 4. Cancelling is dropping: permits, holds, tickets and children clean up in `Drop`; no lock is
//!    held across an await.
//! 5. Configuration is immutable after load.
//! 6. A run starts from what was resolved at its start; the configuration file is never read again
//!    in the middle. Secrets are in no plan, journal, session or log.
//! 7. One place retries: `resilience`.

pub mod agents;
pub mod cancel;
mod cli;
pub mod clock;
pub mod config;
pub mod costs;
pub mod error;
pub mod event;
pub mod files;
pub mod mcp;
pub mod message;
pub mod orchestrator;
pub mod process;
pub mod providers;
pub mod redact;
pub mod render;
mod repl;
pub mod resilience;
pub mod sandbox;
pub mod sessions;
pub mod store;
pub mod tasks;
pub mod tools;
pub mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program with its arguments and its environment; `main` does nothing else.
pub fn run(
    args: &[OsString],
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    if let Some(code) = sandbox::run_as_helper(args) {
        return code;
    }
    if let Some(code) = mcp::relay::is_asked(args) {
        return code;
    }
    cli::run(args, config::Env::new(environment))
}
