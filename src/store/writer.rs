//! The one thread that writes: jobs queued while a commit is under way share the next transaction.
//!
//! A commit does not sync. What must be durable is synced after the transaction has let go of the
//! lock, so that a disk's sync time never adds up over processes, and by another thread, so that the next commit does
//! not wait for it. Its caller hears of it after that, or of the commit and then of the sync.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use rusqlite::Connection;
use rustix::thread::set_current_timer_slack;

use super::log::Log;
use super::log_file::{Behind, LogFile};
use super::syncer::Syncer;
use super::{Durability, StoreError, Transaction, lock};

/// How many jobs one transaction may hold, so that the first of them does not wait for ever.
const BATCH: usize = 256;

/// How long a write is waited for. A transaction waits ten seconds for other processes, and so may the one before
/// it; a disk that takes this long does not answer, and nobody knows when it will.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a write is waited for after that. A disk that answers again has done so long before.
const LESS_PATIENCE: Duration = Duration::from_secs(1);

/// Tells the caller of a job how its transaction ended, or its sync.
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
    /// Who wants to hear of the sync, too.
    pub(super) synced: Option<Finish>,
}

impl Job {
    /// Tells that there was no transaction for it.
    fn fail(self, error: &StoreError) {
        (self.work)(Err(error.clone())).1(Err(error.clone()));
        if let Some(told) = self.synced {
            told(Err(error.clone()));
        }
    }
}

/// A job that was done, with what is to be told, and whom.
struct EndedJob {
    finish: Finish,
    ended: Result<(), StoreError>,
    synced: Option<(Finish, Result<(), StoreError>)>,
}

impl EndedJob {
    fn tell(self) {
        (self.finish)(self.ended);
        if let Some((told, synced)) = self.synced {
            told(synced);
        }
    }
}

/// Who writes.
#[derive(Debug)]
pub(super) enum Writer {
    /// A thread of its own with a queue, which is taken on drop: that ends the thread once the queue is empty.
    Thread {
        jobs: Option<Sender<Job>>,
        thread: Option<JoinHandle<()>>,
        /// The thread that syncs for it.
        syncing: Option<ThreadId>,
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
        let file = LogFile::new(path);
        let behind = file.behind().clone();
        let syncer = Syncer::start(file, Arc::clone(&given_up))?;
        let syncing = syncer.thread();
        let path = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .stack_size(1 << 20)
            .spawn(move || {
                run(connection, &path, &queue, &behind, syncer);
                drop(ends);
            })
            .map_err(|error| StoreError::io(&error))?;
        Ok(Self::Thread {
            jobs: Some(jobs),
            thread: Some(thread),
            syncing,
            ended: Mutex::new(ended),
            given_up,
        })
    }

    /// Queues a job, or does it at once and tells how it ended.
    pub(super) fn submit(&self, job: Job) {
        let (job, error) = match self {
            Self::Direct(direct) => {
                let ended = lock(direct).write(job);
                return ended.tell();
            }
            Self::Memory(memory) => {
                let (finish, committed) = write_now(&mut lock(memory), job.work);
                let synced = job.synced.map(|told| (told, committed.clone()));
                return EndedJob {
                    finish,
                    ended: committed,
                    synced,
                }
                .tell();
            }
            Self::Thread {
                jobs: Some(jobs), ..
            } => match jobs.send(job) {
                Ok(()) => return,
                Err(unsent) => (unsent.0, StoreError::closed()),
            },
            Self::Thread { jobs: None, .. } => (job, StoreError::closed()),
            Self::Nobody => (job, StoreError::read_only()),
        };
        job.fail(&error);
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
            syncing,
            ended,
            ..
        } = self
        else {
            return;
        };
        drop(jobs.take());
        // Neither of them can wait for itself.
        let this = std::thread::current().id();
        let Some(thread) = thread
            .take()
            .filter(|thread| thread.thread().id() != this && *syncing != Some(this))
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
fn run(
    mut connection: Connection,
    path: &Path,
    jobs: &Receiver<Job>,
    behind: &Behind,
    syncer: Syncer,
) {
    // Waiting for another process takes 0.05 ms at a time, which the kernel would double by default.
    let exact = set_current_timer_slack(NonZeroU64::new(1));
    if let Err(error) = exact {
        tracing::debug!(%error, "waiting for other processes takes longer than it must");
    }
    let mut log = Log::new(path);
    while let Ok(first) = jobs.recv() {
        let changes = connection.total_changes();
        let (finishes, ended) = transact(&mut connection, first, jobs);
        if connection.total_changes() != changes {
            behind.changed();
        }
        finishes.tell(ended, &syncer);
        log.committed();
    }
    drop(syncer);
    log.close(&connection);
}

/// A writer without a thread, for a program that has one thing to do: whoever writes waits for it.
/// Handing over to a thread and back takes longer than most writes.
#[derive(Debug)]
pub(super) struct Direct {
    connection: Connection,
    file: LogFile,
    log: Log,
}

impl Direct {
    pub(super) fn new(connection: Connection, path: &Path) -> Self {
        Self {
            connection,
            file: LogFile::new(path),
            log: Log::new(path),
        }
    }

    /// Does a job; answers with what is to be told, and whom, once the writer is free again: who is
    /// told may have the next job.
    fn write(&mut self, job: Job) -> EndedJob {
        let changes = self.connection.total_changes();
        let (finish, committed) = write_now(&mut self.connection, job.work);
        if self.connection.total_changes() != changes {
            self.file.behind().changed();
        }
        let synced = if job.durability == Durability::Full || job.synced.is_some() {
            committed.clone().and_then(|()| self.file.sync())
        } else {
            committed.clone()
        };
        self.log.committed();
        EndedJob {
            finish,
            ended: match job.durability {
                Durability::Full => synced.clone(),
                Durability::Normal => committed,
            },
            synced: job.synced.map(|told| (told, synced)),
        }
    }

    /// Waits until what was written is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.file.sync()
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

/// One transaction with every job that waits; whom to tell of it, and how it ended.
fn transact(
    connection: &mut Connection,
    first: Job,
    jobs: &Receiver<Job>,
) -> (Finishes, Result<(), StoreError>) {
    let mut finishes = Finishes::default();
    let ended = match Transaction::begin(connection) {
        Ok(transaction) => match jobs.try_recv() {
            Ok(second) => together(transaction, [first, second], jobs, &mut finishes),
            Err(_) => finishes.add(first, |work| alone(transaction, work)),
        },
        // What queued up behind the first has waited as long in vain.
        Err(error) => {
            let error = StoreError::from(error);
            for job in std::iter::once(first).chain(jobs.try_iter()) {
                finishes.add(job, |work| (work(Err(error.clone())).1, ()));
            }
            Err(error)
        }
    };
    (finishes, ended)
}

/// Does these jobs and every other that waits.
fn together(
    transaction: Transaction<'_>,
    first: [Job; 2],
    jobs: &Receiver<Job>,
    finishes: &mut Finishes,
) -> Result<(), StoreError> {
    let mut more = jobs.try_iter().take(BATCH - first.len());
    for job in first {
        finishes.add(job, |work| (perform(&transaction, work), ()));
    }
    // A full disk or a failing one undoes the whole transaction by itself.
    while !transaction.is_autocommit()
        && let Some(job) = more.next()
    {
        finishes.add(job, |work| (perform(&transaction, work), ()));
    }
    if transaction.is_autocommit() {
        Err(StoreError::undone())
    } else {
        transaction.commit().map_err(StoreError::from)
    }
}

/// Whom a transaction tells, and when.
#[derive(Default)]
struct Finishes {
    committed: Vec<Finish>,
    synced: Vec<Finish>,
}

impl Finishes {
    /// Does a job and notes who is told of it; answers with what else came of it.
    fn add<T>(&mut self, job: Job, perform: impl FnOnce(Work) -> (Finish, T)) -> T {
        let (finish, ended) = perform(job.work);
        match job.durability {
            Durability::Full => self.synced.push(finish),
            Durability::Normal => self.committed.push(finish),
        }
        self.synced.extend(job.synced);
        ended
    }

    fn tell(self, ended: Result<(), StoreError>, syncer: &Syncer) {
        for finish in self.committed {
            finish(ended.clone());
        }
        match ended {
            Ok(()) if self.synced.is_empty() => {}
            Ok(()) => syncer.tell(self.synced),
            Err(error) => {
                for finish in self.synced {
                    finish(Err(error.clone()));
                }
            }
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
