//! Answers kept as files.

use std::io;
use std::path::PathBuf;

use super::Orchestrator;
use crate::agents::RunResult;
use crate::agents::log::{Entry, Log};
use crate::error::OrchError;
use crate::files::Directory;
use crate::tools::{self, FileText, ToolError};

impl Orchestrator {
    /// The text of a file as the `read` tool gives it, where every one of these agents may see it; else
    /// why not.
    ///
    /// # Errors
    /// When there is no such agent, or its workspace cannot be opened.
    pub fn file_for(
        &self,
        agents: &[&str],
        path: &str,
    ) -> Result<Result<FileText, ToolError>, OrchError> {
        let mut text = Err(ToolError::refused("nobody is asked"));
        for agent in agents {
            let workspace = self.workspace(self.settings_of(agent)?)?;
            text = tools::text_of(&workspace, path, &self.redactor);
            if text.is_err() {
                break;
            }
        }
        Ok(text)
    }

    /// Writes the answer of a run to `outputs/<agent>/<run>.md`, noted in the agent's log.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, result: &RunResult) -> io::Result<PathBuf> {
        let directory = Directory::make(&self.config.outputs_dir)?.within(&result.agent)?;
        let name = format!("{}.md", result.run_id);
        let mut text = self.redactor.mask(&result.output).into_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        directory.write(&name, text.as_bytes())?;
        let path = directory.path().join(name);
        if !self.options.no_log {
            let log = Log::new(&self.config.logs_dir, &result.agent, "", &result.model, &[]);
            let time = crate::clock::stamp();
            log.append(Entry::File, &time, &format!("Created: {}", path.display()))?;
        }
        Ok(path)
    }
}
