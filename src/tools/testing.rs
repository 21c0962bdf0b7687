//! A workspace for tests: a directory with a neighbour that no tool may reach.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

use super::{Approver, ToolContext, ToolOutcome, Workspace, execute};
use crate::event::Events;
use crate::message::ToolCall;
use crate::redact::Redactor;
use crate::sandbox::{Policy, SandboxSettings};

/// `work` is the workspace, `outside` its neighbour with `secret.txt`.
pub(super) struct Place {
    _base: TempDir,
    pub(super) work: PathBuf,
    pub(super) outside: PathBuf,
}

impl Place {
    pub(super) fn new() -> Self {
        let base = TempDir::new().unwrap();
        let real = base.path().canonicalize().unwrap();
        let (work, outside) = (real.join("work"), real.join("outside"));
        std::fs::create_dir(&work).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret.txt"), "OUTSIDE").unwrap();
        Self {
            _base: base,
            work,
            outside,
        }
    }

    /// Writes a file of the workspace, making its directories.
    pub(super) fn file(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.work.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub(super) fn link(&self, target: impl AsRef<Path>, name: &str) -> &Self {
        symlink(target, self.work.join(name)).unwrap();
        self
    }

    pub(super) fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.work.join(path)).unwrap()
    }

    pub(super) fn policy(&self) -> Policy {
        let settings = SandboxSettings::default();
        Policy::new(&self.work, Path::new("/nonexistent"), &settings).unwrap()
    }

    pub(super) fn context(&self) -> ToolContext {
        context(self.policy())
    }
}

pub(super) fn context(policy: Policy) -> ToolContext {
    ToolContext {
        agent: "tester".into(),
        tools: super::names()
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        workspace: Arc::new(Workspace::open(Arc::new(policy)).unwrap()),
        servers: Arc::default(),
        http: Arc::default(),
        approvals: Arc::default(),
        approver: Approver::Nobody,
        redactor: Redactor::default(),
    }
}

/// Runs a tool and gives what came of it.
pub(super) async fn run(context: &ToolContext, tool: &str, arguments: Value) -> ToolOutcome {
    let call = ToolCall {
        id: "1".to_owned(),
        name: tool.to_owned(),
        arguments: arguments.to_string(),
        ..ToolCall::default()
    };
    execute(context, &call, &Events::nobody()).await.unwrap()
}
