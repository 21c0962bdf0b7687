//! The thread that waits for the disk, so that nobody else's commit does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{JoinHandle, ThreadId};

use super::StoreError;
use super::log_file::LogFile;
use super::writer::Finish;

/// Syncs what was committed and tells of it; whatever is committed while it waits for the disk shares its next sync.
#[derive(Debug)]
pub(super) struct Syncer {
    /// Taken on drop: that ends the thread once it has told everybody.
    waiting: Option<Sender<Vec<Finish>>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// Starts the thread. `given_up` is cleared whenever the disk has answered.
    pub(super) fn start(file: LogFile, given_up: Arc<AtomicBool>) -> Result<Self, StoreError> {
        let (waiting, queue) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-disk".to_owned())
            .stack_size(256 << 10)
            .spawn(move || run(file, &queue, &given_up))
            .map_err(|error| StoreError::io(&error))?;
        Ok(Self {
            waiting: Some(waiting),
            thread: Some(thread),
        })
    }

    pub(super) fn thread(&self) -> Option<ThreadId> {
        Some(self.thread.as_ref()?.thread().id())
    }

    /// Tells these once all that was committed by now is on the disk.
    pub(super) fn tell(&self, finishes: Vec<Finish>) {
        if let Some(waiting) = &self.waiting
            && let Err(unsent) = waiting.send(finishes)
        {
            for finish in unsent.0 {
                finish(Err(StoreError::closed()));
            }
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        drop(self.waiting.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs the store panicked");
        }
    }
}

fn run(mut file: LogFile, queue: &Receiver<Vec<Finish>>, given_up: &AtomicBool) {
    while let Ok(first) = queue.recv() {
        let finishes: Vec<Finish> = queue.try_iter().fold(first, |mut all, more| {
            all.extend(more);
            all
        });
        let ended = file.sync();
        given_up.store(false, Ordering::Release);
        for finish in finishes {
            finish(ended.clone());
        }
    }
}
