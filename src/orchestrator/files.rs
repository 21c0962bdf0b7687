//! Files that a user owns: whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Orchestrator;
use crate::agents::RunResult;
use crate::agents::log::{Entry, Log};

impl Orchestrator {
    /// Writes the answer of a run to `outputs/<agent>/<run>.md`, noted in the agent's log.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, result: &RunResult) -> io::Result<PathBuf> {
        let directory = self.config.outputs_dir.join(&result.agent);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)?;
        let path = directory.join(format!("{}.md", result.run_id));
        let mut text = self.redactor.mask(&result.output).into_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        write_whole(&path, text.as_bytes())?;
        if !self.options.no_log {
            let log = Log::new(&self.config.logs_dir, &result.agent, "", &result.model, &[]);
            let time = crate::clock::stamp();
            log.append(Entry::File, &time, &format!("Created: {}", path.display()))?;
        }
        Ok(path)
    }
}

/// Writes a file under a temporary name, syncs it and renames it: whoever reads it sees the old or the
/// new content, never half of it. Readable by its owner alone.
///
/// # Errors
/// When it cannot be written; nothing is left behind then.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let result = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file: File| {
            file.write_all(content)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&temporary, path));
    if result.is_err() {
        // What could not become the file is of no use to anybody.
        drop(std::fs::remove_file(&temporary));
    }
    result
}
