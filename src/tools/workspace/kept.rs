//! What tools changed, kept for whoever may want it back.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Workspace;
use super::programs::{self, Names, Program, Running};
use crate::sandbox::Policy;
use crate::tools::{Before, Change, ToolError};

/// Bytes of former contents that wait to be taken; of what comes beyond them only the name is kept.
const MOST: usize = 128 * 1024 * 1024;

/// How long it is waited for what is there before a command.
const PATIENCE: Duration = Duration::from_secs(1);

/// The changes of files that tools make, in order, whoever asked for them and however the run ended.
#[derive(Clone, Default)]
pub struct Changes(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    files: Vec<KeptChange>,
    programs: Vec<Program>,
}

/// A change of a file, and the rules under which it was made.
pub struct KeptChange {
    policy: Arc<Policy>,
    change: Change,
}

impl Changes {
    /// The changes since the last call.
    pub fn take(&self) -> Vec<KeptChange> {
        std::mem::take(&mut self.lock().files)
    }

    /// The programs that ran since the last call.
    pub fn take_programs(&self) -> Vec<Program> {
        std::mem::take(&mut self.lock().programs)
    }

    pub(super) async fn note_program(&self, policy: &Arc<Policy>, words: String) -> Running {
        let before = if self.lock().programs.is_empty() {
            let policy = Arc::clone(policy);
            let looking = tokio::task::spawn_blocking(move || programs::names(&policy));
            // A disk that does not answer holds no command up: what is removed is then not named.
            let looked = tokio::time::timeout(PATIENCE, looking).await;
            looked.ok().and_then(Result::ok).unwrap_or_default()
        } else {
            Names::new()
        };
        let (program, running) = Program::start(policy, words, before);
        self.lock().programs.push(program);
        running
    }

    pub(super) fn note(&self, policy: &Arc<Policy>, mut change: Change) {
        let kept = &mut self.lock().files;
        let earlier = kept
            .iter_mut()
            .rev()
            .find(|earlier| earlier.change.path == change.path);
        // Two changes in a row are one; not when something else wrote the file in between.
        if let (Some(earlier), Before::Content(before)) = (earlier, &change.before)
            && <[u8; 32]>::from(Sha256::digest(before)) == earlier.change.after
        {
            earlier.change.after = change.after;
            return;
        }
        let held: usize = kept.iter().map(KeptChange::size).sum();
        if let Before::Content(before) = &change.before
            && held + before.len() > MOST
        {
            change.before = Before::TooLarge;
        }
        kept.push(KeptChange {
            policy: Arc::clone(policy),
            change,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptChange {
    /// The file, from the workspace on where it lies in it.
    pub fn name(&self) -> &Path {
        let path = &self.change.path;
        path.strip_prefix(&self.policy.workspace).unwrap_or(path)
    }

    /// What the file held before.
    pub fn before(&self) -> &Before {
        &self.change.before
    }

    /// Bytes that are kept.
    pub fn size(&self) -> usize {
        match &self.change.before {
            Before::Content(before) => before.len(),
            Before::Absent | Before::TooLarge => 0,
        }
    }

    /// What the file holds now.
    ///
    /// # Errors
    /// When it cannot be read; the words are for the user.
    pub fn now(&self) -> Result<Before, ToolError> {
        self.workspace()?.now(&self.change)
    }

    /// Whether a file that holds this is as the change left it.
    pub fn is_as_left(&self, now: &Before) -> bool {
        self.change.is_as_left(now)
    }

    /// Makes the file what it was before; whether there was anything to do. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// As [`Workspace::undo`].
    pub fn undo(&self) -> Result<bool, ToolError> {
        self.workspace()?.undo(&self.change)
    }

    /// The directories that were made for the file, absolute.
    pub fn made(&self) -> &[PathBuf] {
        &self.change.made
    }

    /// Removes one of them if nothing is in it.
    pub fn remove_empty(&self, directory: &Path) {
        if let Ok(workspace) = self.workspace() {
            workspace.remove_empty(directory);
        }
    }

    fn workspace(&self) -> Result<Workspace, ToolError> {
        Workspace::open(Arc::clone(&self.policy)).map_err(|error| {
            let path = self.policy.workspace.display();
            ToolError::tell(format!("the workspace `{path}` cannot be opened: {error}"))
        })
    }
}

impl fmt::Debug for Changes {
    /// Contents of files are nobody's business.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Changes({})", self.lock().files.len())
    }
}

impl fmt::Debug for KeptChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("KeptChange")
            .field(&self.name())
            .finish()
    }
}
