//! The user's own editor for a longer prompt.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::shell::users_own;
use super::{Next, Repl};
use crate::error::{ErrorClass, OrchError};

/// What edits where the user has said nothing.
const USUAL: &str = "vi";

impl Repl<'_> {
    /// Lets the user edit a text with `$VISUAL` or `$EDITOR`; it stands at the next prompt then.
    pub(super) async fn edit(&mut self, text: &str) -> Result<Next, OrchError> {
        let own = |name| self.call.env.process(name).and_then(|value| value.to_str());
        let program = own("VISUAL")
            .or_else(|| own("EDITOR"))
            .unwrap_or(USUAL)
            .to_owned();
        // Whatever happens, what was written so far is not lost.
        self.draft = Some(text.to_owned()).filter(|text| !text.is_empty());
        let directory = &self.orchestrator.config().state_dir;
        let path = directory.join(format!("prompt-{}.md", uuid::Uuid::now_v7()));
        let edited = self.edited(&program, &path, text).await;
        // Nothing is left that others need not read.
        let removed = std::fs::remove_file(&path);
        let edited = edited?;
        removed.map_err(|error| failed(&path, &error))?;
        match edited {
            Ok(text) => self.draft = Some(text).filter(|text| !text.is_empty()),
            Err(code) => return Ok(Next::Leave(code)),
        }
        Ok(Next::Prompt)
    }

    /// The text as the editor left it, or the exit code of a session that ended meanwhile.
    async fn edited(
        &mut self,
        program: &str,
        path: &Path,
        text: &str,
    ) -> Result<Result<String, u8>, OrchError> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(path, &error))?;
        std::io::Write::write_all(&mut file, text.as_bytes())
            .map_err(|error| failed(path, &error))?;
        drop(file);
        let mut editor = users_own(&format!("{program} \"$1\""));
        editor.args(["sh".as_ref(), path.as_os_str()]);
        let running = self.signals.lend_terminal(editor).await;
        let status = match running.map_err(|error| failed(path, &error))? {
            Ok(status) => status,
            Err(code) => return Ok(Err(code)),
        };
        if !status.success() {
            let message =
                format!("the editor `{program}` failed ({status}): the line is as it was");
            return Err(OrchError::new(ErrorClass::Failed, message)
                .with_hint("`$VISUAL` or `$EDITOR` names the editor that is used"));
        }
        let edited = std::fs::read_to_string(path).map_err(|error| failed(path, &error))?;
        Ok(Ok(edited.trim_end_matches('\n').to_owned()))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> OrchError {
    let message = format!("`{}` cannot be edited", path.display());
    OrchError::new(ErrorClass::Failed, message).caused_by(error)
}
