//! The one thread that writes: jobs queued while a commit is under way share the next transaction.
//!
//! A commit does not sync. What must be durable is synced after the transaction has let go of the
//! lock and before its caller hears of it, so that a disk's sync time never adds up over processes.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use rustix::thread::set_current_timer_slack;

use super::log::Log;
use super::{Durability, StoreError, Transaction, lock};

/// How many jobs one transaction may hold, so that the first of them does not wait for ever.
const BATCH: usize = 256;

/// How long a write is waited for. A transaction waits ten seconds for other processes, and so may the one before
/// it; a disk that takes this long does not answer, and nobody knows when it will.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a write is waited for after that. A disk that answers again has done so long before.
const LESS_PATIENCE: Duration = Duration::from_secs(1);

/// Tells the caller of a job how its transaction ended.
pub(super) type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A job's own part of a transaction, or why there is none; says whether its changes stay.
pub(super) type Work =
    Box<dyn FnOnce(Result<&Transaction<'_>, StoreError>) -> (Keep, Finish) + Send>;

/// Whether a job's own changes become part of the transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Yes,
    No,
}

/// A job in the queue.
pub(super) struct Job {
    pub(super) durability: Durability,
    pub(super) work: Work,
}

/// Who writes.
#[derive(Debug)]
pub(super) enum Writer {
    /// A thread of its own with a queue, which is taken on drop: that ends the thread once the queue is empty.
    Thread {
        jobs: Option<Sender<Job>>,
        thread: Option<JoinHandle<()>>,
        /// Hears nothing until the thread has ended.
        ended: Mutex<Receiver<()>>,
        /// Its disk does not answer: nothing is waited for as long until it does.
        given_up: Arc<AtomicBool>,
    },
    /// Whoever writes, at once.
    Direct(Mutex<Direct>),
    /// Whoever writes, at once, into memory: nothing there takes long.
    Memory(Mutex<Connection>),
    /// Nobody: the database was opened for reading.
    Nobody,
}

impl Writer {
    /// Starts a thread that writes.
    pub(super) fn start(connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let (path, disk) = (path.to_owned(), Arc::clone(&given_up));
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .stack_size(1 << 20)
            .spawn(move || {
                run(connection, &path, &queue, &disk);
                drop(ends);
            })
            .map_err(|error| StoreError::io(&error))?;
        Ok(Self::Thread {
            jobs: Some(jobs),
            thread: Some(thread),
            ended: Mutex::new(ended),
            given_up,
        })
    }

    /// Queues a job, or does it at once and tells how it ended.
    pub(super) fn submit(&self, job: Job) {
        let (work, error) = match self {
            Self::Direct(direct) => {
                let (finish, ended) = lock(direct).write(job);
                return finish(ended);
            }
            Self::Memory(memory) => {
                let (finish, ended) = write_now(&mut lock(memory), job.work);
                return finish(ended);
            }
            Self::Thread {
                jobs: Some(jobs), ..
            } => match jobs.send(job) {
                Ok(()) => return,
                Err(unsent) => (unsent.0.work, StoreError::closed()),
            },
            Self::Thread { jobs: None, .. } => (job.work, StoreError::closed()),
            Self::Nobody => (job.work, StoreError::read_only()),
        };
        work(Err(error.clone())).1(Err(error));
    }

    /// Waits less for the thread, until its disk answers.
    pub(super) fn give_up(&self) {
        if let Self::Thread { given_up, .. } = self {
            given_up.store(true, Ordering::Release);
        }
    }

    /// How long something may be waited for.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::Thread { given_up, .. } if given_up.load(Ordering::Acquire) => LESS_PATIENCE,
            _ => PATIENCE,
        }
    }

    /// Takes no more jobs, so that a thread ends once it has done those that it has.
    pub(super) fn without_more(mut self) -> Self {
        if let Self::Thread { jobs, .. } = &mut self {
            drop(jobs.take());
        }
        self
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let patience = self.patience();
        let Self::Thread {
            jobs,
            thread,
            ended,
            ..
        } = self
        else {
            return;
        };
        drop(jobs.take());
        let Some(thread) = thread
            .take()
            .filter(|thread| thread.thread().id() != std::thread::current().id())
        else {
            return;
        };
        match lock(ended).recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => {
                tracing::error!("the store's disk does not answer: it is not waited for");
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                if thread.join().is_err() {
                    tracing::error!("the store's writer panicked");
                }
            }
        }
    }
}

/// Works until every sender is gone and the queue is empty.
fn run(mut connection: Connection, path: &Path, jobs: &Receiver<Job>, given_up: &AtomicBool) {
    // Waiting for another process takes 0.05 ms at a time, which the kernel would double by default.
    let exact = set_current_timer_slack(NonZeroU64::new(1));
    if let Err(error) = exact {
        tracing::debug!(%error, "waiting for other processes takes longer than it must");
    }
    let mut log = Log::new(path);
    while let Ok(first) = jobs.recv() {
        transact(&mut connection, first, jobs, &mut log);
        log.committed();
        given_up.store(false, Ordering::Release);
    }
    log.close(&connection);
}

/// A writer without a thread, for a program that has one thing to do: whoever writes waits for it.
/// Handing over to a thread and back takes longer than most writes.
#[derive(Debug)]
pub(super) struct Direct {
    connection: Connection,
    log: Log,
}

impl Direct {
    pub(super) fn new(connection: Connection, path: &Path) -> Self {
        Self {
            connection,
            log: Log::new(path),
        }
    }

    /// Does a job; answers with what is to be told, and whom, once the writer is free again: who is
    /// told may have the next job.
    fn write(&mut self, job: Job) -> (Finish, Result<(), StoreError>) {
        let changes = self.connection.total_changes();
        let (finish, ended) = write_now(&mut self.connection, job.work);
        if self.connection.total_changes() != changes {
            self.log.changed();
        }
        let ended = match job.durability {
            Durability::Full => ended.and_then(|()| self.log.sync()),
            Durability::Normal => ended,
        };
        self.log.committed();
        (finish, ended)
    }

    /// Waits until what was written is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.log.sync()
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        self.log.close(&self.connection);
    }
}

/// One transaction with one job, at once. Returns what is to be told, and whom.
fn write_now(connection: &mut Connection, work: Work) -> (Finish, Result<(), StoreError>) {
    let transaction = match Transaction::begin(connection) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = StoreError::from(error);
            return (work(Err(error.clone())).1, Err(error));
        }
    };
    alone(transaction, work)
}

/// A job that has a transaction for itself: undoing it takes no savepoint, which would copy each page before its
/// first change.
fn alone(transaction: Transaction<'_>, work: Work) -> (Finish, Result<(), StoreError>) {
    let (keep, finish) = work(Ok(&transaction));
    let ended = match keep {
        _ if transaction.is_autocommit() => Err(StoreError::undone()),
        Keep::Yes => transaction.commit().map_err(StoreError::from),
        Keep::No => transaction.rollback().map_err(StoreError::from),
    };
    (finish, ended)
}

/// One transaction with every job that waits.
fn transact(connection: &mut Connection, first: Job, jobs: &Receiver<Job>, log: &mut Log) {
    let changes = connection.total_changes();
    let transaction = match Transaction::begin(connection) {
        Ok(transaction) => transaction,
        // What queued up behind the first has waited as long in vain.
        Err(error) => {
            let error = StoreError::from(error);
            for job in std::iter::once(first).chain(jobs.try_iter()) {
                (job.work)(Err(error.clone())).1(Err(error.clone()));
            }
            return;
        }
    };
    let Ok(second) = jobs.try_recv() else {
        let durability = first.durability;
        let (finish, ended) = alone(transaction, first.work);
        if connection.total_changes() != changes {
            log.changed();
        }
        return finish(match durability {
            Durability::Full => ended.and_then(|()| log.sync()),
            Durability::Normal => ended,
        });
    };
    let mut finishes = vec![(first.durability, perform(&transaction, first.work))];
    let mut next = Some(second);
    while let Some(job) = next {
        finishes.push((job.durability, perform(&transaction, job.work)));
        // A full disk or a failing one undoes the whole transaction by itself.
        next = if finishes.len() < BATCH && !transaction.is_autocommit() {
            jobs.try_recv().ok()
        } else {
            None
        };
    }
    if transaction.total_changes() != changes {
        log.changed();
    }
    let ended = if transaction.is_autocommit() {
        Err(StoreError::undone())
    } else {
        transaction.commit().map_err(StoreError::from)
    };
    let (durable, quick): (Vec<_>, Vec<_>) = finishes
        .into_iter()
        .partition(|(durability, _)| *durability == Durability::Full);
    for (_, finish) in quick {
        finish(ended.clone());
    }
    if !durable.is_empty() {
        let ended = ended.and_then(|()| log.sync());
        for (_, finish) in durable {
            finish(ended.clone());
        }
    }
}

/// Runs one job so that its failure leaves the other jobs of the transaction alone.
fn perform(transaction: &Transaction<'_>, work: Work) -> Finish {
    // Once the transaction is undone a savepoint would be one of its own, and be kept.
    if transaction.is_autocommit() {
        return work(Err(StoreError::undone())).1;
    }
    if let Err(error) = transaction.save() {
        return work(Err(error.into())).1;
    }
    let (keep, finish) = work(Ok(transaction));
    let closed = match keep {
        Keep::No if transaction.is_autocommit() => Ok(()),
        keep => transaction.release(keep == Keep::Yes),
    };
    match closed {
        Ok(()) => finish,
        Err(error) => Box::new(move |_| finish(Err(error.into()))),
    }
}
