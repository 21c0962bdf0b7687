//! Questions that cost no tokens: the version, and whether there is a login.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::providers::{FaultKind, ProviderError};

use super::child::Start;
use super::confine::Seen;
use super::run::{Answer, ask};
use super::version::{self, Binary, Version};
use super::{ClaudeCli, argv};

/// How long such a question may take.
const LIMIT: Duration = Duration::from_secs(20);

impl ClaudeCli {
    /// The version of a binary: remembered, else asked once.
    pub(super) async fn version(&self, binary: &Binary) -> Result<Version, Box<ProviderError>> {
        if let Some(store) = &self.spec.store {
            let known = version::recall(store, binary);
            if let Some(known) = known.map_err(|error| self.internal(&error))? {
                return Ok(known);
            }
        }
        let answer = self.question(binary, &["--version"]).await?;
        let Some(number) = version::parse(&answer.stdout) else {
            let message = format!("`{}` is no Claude Code CLI", binary.path.display());
            let error = ProviderError::new(&self.spec.name, FaultKind::Unavailable, message);
            return Err(Box::new(error.with_hint(version::INSTALL)));
        };
        let known = Version {
            version: number,
            without: Vec::new(),
        };
        self.remember(binary, &known);
        Ok(known)
    }

    /// Whether the CLI is there and has a login; nothing tells whether the login is accepted.
    pub(super) async fn check(&self) -> Result<(), Box<ProviderError>> {
        let binary = version::find(&self.spec)?;
        self.version(&binary).await?;
        let answer = self.question(&binary, &["auth", "status"]).await?;
        let told: Value = serde_json::from_str(&answer.stdout).unwrap_or_default();
        if answer.success && told.get("loggedIn") != Some(&Value::Bool(false)) {
            return Ok(());
        }
        let error = ProviderError::new(&self.spec.name, FaultKind::Auth, "the CLI has no login")
            .with_hint(super::outcome::LOGIN_HINT);
        Err(Box::new(error))
    }

    async fn question(
        &self,
        binary: &Binary,
        words: &[&str],
    ) -> Result<Answer, Box<ProviderError>> {
        let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
        let environment = argv::fixed_environment(None, 1);
        let start = Start {
            program: &binary.path,
            arguments: &arguments,
            inherited: &self.spec.environment,
            environment: &environment,
            directory: Path::new("/"),
        };
        let seen = Seen {
            binary: &binary.path,
            read: Vec::new(),
            config: None,
            bridge: None,
            workspace: false,
        };
        let (child, pipes, _serving) = self.start(start, &seen).await?;
        let answer = tokio::time::timeout(LIMIT, ask(child, pipes)).await;
        let Ok(answer) = answer else {
            let message = format!("`{} {}` does not end", self.spec.cli_path, words.join(" "));
            let kind = FaultKind::Unavailable;
            return Err(Box::new(ProviderError::new(&self.spec.name, kind, message)));
        };
        answer.map_err(|error| self.internal(&error))
    }
}
