//! Programs of the user's own.

use super::{Next, Repl};
use crate::error::{ErrorClass, OrchError};
use crate::render;

impl Repl<'_> {
    /// Runs a shell line of the user's own, with the user's own rights and terminal.
    pub(super) async fn shell(&mut self, command: &str) -> Result<Next, OrchError> {
        if command.is_empty() {
            return Err(OrchError::new(ErrorClass::Usage, "`!` needs a command")
                .with_hint("for example `!git status`"));
        }
        let failed = |error: std::io::Error| {
            OrchError::new(ErrorClass::Failed, "the shell cannot be started").caused_by(&error)
        };
        let running = self.signals.lend_terminal(users_own(command));
        let status = match running.await.map_err(failed)? {
            Ok(status) => status,
            Err(code) => return Ok(Next::Leave(code)),
        };
        if !status.success() {
            render::aside(self.call.screen, &format!("{status}"));
        } else if let Some(columns) = self.call.screen.columns() {
            // A last line without an end stays above the prompt, which clears its own: at the beginning of a line
            // this fills that line, elsewhere it ends on the next.
            _ = render::styled_stdout(&" ".repeat(columns));
        }
        Ok(Next::Prompt)
    }
}

/// A shell line of the user's own: no agent wrote it, so it runs as if it had been typed into the shell.
#[expect(
    clippy::disallowed_methods,
    reason = "the user's own command keeps the user's terminal, environment and process group"
)]
pub(super) fn users_own(command: &str) -> tokio::process::Command {
    let mut shell = tokio::process::Command::new("/bin/sh");
    shell.args(["-c", command]).kill_on_drop(true);
    shell
}
