//! The one thread that writes: jobs queued while a commit is under way share the next transaction.
//!
//! A commit does not sync. What must be durable is synced after the transaction has let go of the
//! lock and before its caller hears of it, so that a disk's sync time never adds up over processes.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Durability, StoreError};

/// How many jobs one transaction may hold, so that the first of them does not wait for ever.
const BATCH: usize = 256;

/// After how many commits the log is moved into the database, when nothing waits.
const COMMITS_PER_CHECKPOINT: u32 = 512;

/// The size of the log, in bytes, above which a closing writer moves it into the database and empties
/// it. The first process to open the database reads the whole log; emptying it costs three syncs.
/// This is about where the sum of both is least for short commands.
pub(super) const LOG_SIZE: i64 = 512 << 10;

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

/// Works until every sender is gone and the queue is empty.
pub(super) fn run(mut connection: Connection, path: &Path, jobs: &Receiver<Job>) {
    let mut log = Log::new(path);
    let mut commits = 0;
    let mut waiting = None;
    while let Some(first) = waiting.take().or_else(|| jobs.recv().ok()) {
        transact(&mut connection, first, jobs, &mut log);
        commits += 1;
        waiting = jobs.try_recv().ok();
        if commits >= COMMITS_PER_CHECKPOINT
            && (waiting.is_none() || commits >= 8 * COMMITS_PER_CHECKPOINT)
        {
            commits = 0;
            checkpoint(&connection, "PASSIVE");
        }
    }
    tidy(&connection, &log);
}

/// Empties a log that grew. Others may be at work: whoever closes last does it.
fn tidy(connection: &Connection, log: &Log) {
    if log.size() > LOG_SIZE && connection.busy_timeout(Duration::ZERO).is_ok() {
        checkpoint(connection, "TRUNCATE");
    }
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
    pub(super) fn write(&mut self, job: Job) -> (Finish, Result<(), StoreError>) {
        let (finish, ended) = write_now(&mut self.connection, job.work);
        let ended = match job.durability {
            Durability::Full => ended.and_then(|()| self.log.sync()),
            Durability::Normal => ended,
        };
        (finish, ended)
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        tidy(&self.connection, &self.log);
    }
}

/// One transaction with one job, at once. Returns what is to be told, and whom.
pub(super) fn write_now(
    connection: &mut Connection,
    work: Work,
) -> (Finish, Result<(), StoreError>) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = StoreError::from(error);
            return (work(Err(error.clone())).1, Err(error));
        }
    };
    let finish = perform(&transaction, work);
    let ended = if transaction.is_autocommit() {
        Err(StoreError::undone())
    } else {
        transaction.commit().map_err(StoreError::from)
    };
    (finish, ended)
}

/// One transaction with every job that waits.
fn transact(connection: &mut Connection, first: Job, jobs: &Receiver<Job>, log: &mut Log) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
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
    let mut finishes = Vec::new();
    let mut next = Some(first);
    while let Some(job) = next {
        finishes.push((job.durability, perform(&transaction, job.work)));
        // A full disk or a failing one undoes the whole transaction by itself.
        next = if finishes.len() < BATCH && !transaction.is_autocommit() {
            jobs.try_recv().ok()
        } else {
            None
        };
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
    if let Err(error) = run_cached(transaction, "SAVEPOINT job") {
        return work(Err(error.into())).1;
    }
    let (keep, finish) = work(Ok(transaction));
    let closed = match keep {
        Keep::Yes => run_cached(transaction, "RELEASE job"),
        Keep::No if transaction.is_autocommit() => Ok(()),
        Keep::No => run_cached(transaction, "ROLLBACK TO job")
            .and_then(|()| run_cached(transaction, "RELEASE job")),
    };
    match closed {
        Ok(()) => finish,
        Err(error) => Box::new(move |_| finish(Err(error.into()))),
    }
}

fn run_cached(transaction: &Transaction<'_>, sql: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached(sql)?.execute([]).map(drop)
}

/// The write-ahead log's file, to sync it.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<File>,
    /// Once a sync failed nobody knows what reached the disk: no later one can be trusted.
    broken: bool,
}

impl Log {
    fn new(database: &Path) -> Self {
        let mut name = OsString::from(database);
        name.push("-wal");
        Self {
            path: PathBuf::from(name),
            file: None,
            broken: false,
        }
    }

    /// Waits until everything committed so far is on the disk.
    fn sync(&mut self) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::sync_failed());
        }
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => File::open(&self.path),
        };
        match file.and_then(|file| file.sync_data().map(|()| file)) {
            Ok(file) => {
                self.file = Some(file);
                Ok(())
            }
            Err(error) => {
                self.broken = true;
                Err(StoreError::io(&error))
            }
        }
    }

    fn size(&self) -> i64 {
        let metadata = self.path.metadata().ok();
        metadata
            .and_then(|metadata| i64::try_from(metadata.len()).ok())
            .unwrap_or(0)
    }
}

/// Moves what it can into the database. A failure loses nothing: everything stays in the log.
fn checkpoint(connection: &Connection, mode: &str) {
    let statement = format!("PRAGMA wal_checkpoint({mode})");
    let moved = connection.query_row(&statement, [], |row| row.get::<_, i64>(0));
    if let Err(error) = moved {
        tracing::debug!(%error, "the store's log was not moved into the database");
    }
}
