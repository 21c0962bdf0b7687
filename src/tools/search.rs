//! Searches that may take long: off the main thread, stopped by their deadline or when nobody
//! waits for them any more.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{ToolContext, ToolError, Workspace};

/// Sets the flag when it is dropped: a cancelled call leaves no thread searching.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a search that looks at the flag now and then. Says whether the deadline cut it short;
/// what was found until then is kept.
pub(super) async fn search<T: Send + 'static>(
    context: &ToolContext,
    deadline: Duration,
    work: impl FnOnce(&Workspace, &AtomicBool) -> Result<T, ToolError> + Send + 'static,
) -> Result<(T, bool), ToolError> {
    let stop = Arc::new(AtomicBool::new(false));
    let cancelled = StopOnDrop(Arc::clone(&stop));
    let mut found = std::pin::pin!(context.blocking(move |workspace| work(workspace, &stop)));
    tokio::select! {
        biased;
        found = &mut found => Ok((found?, false)),
        () = tokio::time::sleep(deadline) => {
            drop(cancelled);
            Ok((found.await?, true))
        }
    }
}

/// A path as one line of a list: a line end in a name must not look like another entry.
pub(super) fn in_one_line(path: &Path) -> String {
    let name = path.to_string_lossy();
    let mut shown = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A reader that ends with an error once the flag is set.
pub(super) struct Stoppable<'s, R> {
    pub(super) reader: R,
    pub(super) stop: &'s AtomicBool,
}

impl<R: io::Read> io::Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.reader.read(buffer)
    }
}
