//! What agents can do: one file a tool, one table, one executor.
//!
//! May use the vocabulary, `process` and `sandbox`; never `providers`' calls (only their words for
//! time) and no settings file.

mod approvals;
mod bash;
pub(crate) mod cap;
mod context;
mod definition;
mod edit;
mod executor;
mod glob;
mod grep;
mod http;
mod list_dir;
pub(crate) mod params;
mod read;
mod search;
mod settings;
mod ssh;
mod table;
#[cfg(test)]
mod testing;
mod workspace;
mod write;

pub use approvals::{ApprovalRequest, Approver, Asked, Verdict, decide, visible};
pub use context::ToolContext;
pub use definition::{
    Before, Change, Effect, Subject, ToolAnswer, ToolDef, ToolError, ToolOutput, ToolStatus,
};
pub use executor::{Guard, ToolOutcome, execute, guarded};
pub use http::is_host_and_port;
pub use read::{FileText, text_of};
pub use settings::{Action, ApprovalSettings, HttpSettings, Rule, Server};
pub use table::{SchemaForm, TOOLS, canonical_name, describe, names, spec, specs};
pub use workspace::{Changes, KeptChange, Program, Workspace, removed, touched};
