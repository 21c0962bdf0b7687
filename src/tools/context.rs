//! What a tool call works with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::approvals::Approver;
use super::{ApprovalSettings, HttpSettings, Server, ToolError, Workspace};
use crate::redact::Redactor;

/// What the tools of one agent work with, resolved once.
#[derive(Clone, Debug)]
pub struct ToolContext {
    /// The agent's name.
    pub agent: Arc<str>,
    /// The tools it may use, by the names of the table.
    pub tools: Vec<String>,
    /// The files it may touch, and the policy.
    pub workspace: Arc<Workspace>,
    /// The servers its ssh tool may reach.
    pub servers: Arc<BTreeMap<String, Server>>,
    /// What the http tools may reach.
    pub http: Arc<HttpSettings>,
    /// Which calls are asked about or refused.
    pub approvals: Arc<ApprovalSettings>,
    /// Who is asked.
    pub approver: Approver,
    /// Masks secrets in every result.
    pub redactor: Redactor,
}

impl ToolContext {
    /// Does blocking work on the files, off the thread that runs everything else.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Workspace) -> Result<T, ToolError> + Send + 'static,
    ) -> Result<T, ToolError> {
        let workspace = Arc::clone(&self.workspace);
        tokio::task::spawn_blocking(move || work(&workspace))
            .await
            .map_err(|error| ToolError::Fatal(error.into()))?
    }
}
