//! What agents can do: one file a tool, one table, one executor.
//!
//! May use the vocabulary, `process` and `sandbox`; never `providers`' calls (only their words for
//! time) and no settings file.

mod settings;

pub use settings::{Action, ApprovalSettings, HttpSettings, Rule, Server};
