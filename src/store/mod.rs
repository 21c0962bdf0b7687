//! One SQLite file for everything that outlives a process: the ledger, sessions, journals of runs,
//! limits, children.
//!
//! May use the vocabulary only. Reading is synchronous and quick; writing goes through one thread
//! that groups what is queued into one transaction, and another waits for the disk. Many processes
//! may use the file at once.
//! An area that keeps something here adds its tables in [`migrations`].

mod connection;
mod error;
mod index;
mod log;
mod log_file;
pub mod migrations;
pub mod schema;
mod synced;
mod syncer;
#[cfg(test)]
mod tests;
mod transaction;
mod writer;

pub use error::{StoreError, StoreErrorKind};
pub use synced::Synced;
pub use transaction::Transaction;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::files::{self, Keeper};
use writer::{Direct, Keep, Writer};

/// The file's name in the state directory.
pub const FILE_NAME: &str = "orch.db";

/// When a write is reported as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk: survives a power cut. For sessions and journals; a hold is told of before that
    /// (`submit_ahead`).
    Full,
    /// When it is committed: survives the death of the process. For what a power cut may take
    /// because the older state is the safe one, such as the settlement of a hold.
    Normal,
}

/// A part of a transaction.
pub type Job = Box<dyn FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send>;

/// A handle of the store; clones share the connections. The last one to go waits until everything
/// queued is written, or its disk does not answer.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: Option<PathBuf>,
    writer: Writer,
    /// Opened when first used; a command that only writes needs none.
    reader: Mutex<Option<Connection>>,
    /// The first failure of a write that nobody waited for.
    lost: Arc<Mutex<Option<StoreError>>>,
}

impl Store {
    /// Opens the store of a state directory, creating both where needed, and brings it up to date.
    ///
    /// # Errors
    /// When it cannot be created, opened or written, is damaged, of another program, of a newer
    /// schema, or locked for longer than ten seconds. The error's hint says what helps.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        Self::open_patiently(state_dir, connection::BUSY_TRIES)
    }

    fn open_patiently(state_dir: &Path, busy_tries: i32) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE_NAME);
        tracing::debug!(path = %path.display(), "opening the store");
        connection::open_writer(&path, busy_tries)
            .and_then(|connection| Writer::start(connection, &path))
            .map(|writer| Self::new(Some(path.clone()), writer, None))
            .map_err(|error| error.at(&path))
    }

    /// Opens the store for a program that has one thing to do: it has no writer's thread, and what is
    /// written is done when the call returns. Where another machine or program keeps the file, which may not
    /// answer, it has one: signals and deadlines are heeded meanwhile.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_direct(state_dir: &Path) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE_NAME);
        tracing::debug!(path = %path.display(), "opening the store for one run");
        let connection = connection::open_writer(&path, connection::BUSY_TRIES)
            .map_err(|error| error.at(&path))?;
        let is_elsewhere =
            rustix::fs::statfs(&path).is_ok_and(|told| files::keeper(told.f_type) == Keeper::Other);
        let writer = if is_elsewhere {
            Writer::start(connection, &path).map_err(|error| error.at(&path))?
        } else {
            Writer::Direct(Mutex::new(Direct::new(connection, &path)))
        };
        Ok(Self::new(Some(path), writer, None))
    }

    /// Opens the store for reading without writing anything to the disk; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, of another program or of a newer schema.
    pub fn open_read_only(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = state_dir.join(FILE_NAME);
        tracing::debug!(path = %path.display(), "opening the store to read");
        let reader = connection::open_untouched(&path).map_err(|error| error.at(&path))?;
        Ok(reader.map(|reader| Self::new(Some(path), Writer::Nobody, Some(reader))))
    }

    /// A store in memory, forgotten with its last handle. It has no writer's thread: what is written
    /// is done when the call returns, so that tests with a paused clock wait for nothing.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn in_memory() -> Result<Self, StoreError> {
        let writer = Writer::Memory(Mutex::new(connection::open_memory()?));
        Ok(Self::new(None, writer, None))
    }

    fn new(path: Option<PathBuf>, writer: Writer, reader: Option<Connection>) -> Self {
        Self {
            inner: Arc::new(Inner {
                path,
                writer,
                reader: Mutex::new(reader),
                lost: Arc::default(),
            }),
        }
    }

    /// The database file; `None` for a store in memory.
    pub fn path(&self) -> Option<&Path> {
        self.inner.path.as_deref()
    }

    /// Queues a job and returns at once; the returned future tells how it ended. Dropping the
    /// future does not undo the job.
    ///
    /// The job sees the changes of every job queued before it. When it fails, its own changes are
    /// undone and those of others stay.
    ///
    /// # Errors
    /// The future yields what the job or its transaction failed with.
    pub fn write<T, F>(
        &self,
        durability: Durability,
        job: F,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.submit(durability, job, |result| {
            // A caller that is gone does not want to know.
            drop(sender.send(result));
        });
        self.answer(receiver)
    }

    /// Waits for what the end of a job tells, but not for ever: a disk that takes a minute does not answer. From
    /// there on a second is enough, until it does. What is queued stays so, and is done then.
    pub(crate) fn answer<T>(
        &self,
        told: oneshot::Receiver<Result<T, StoreError>>,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T>
    where
        T: Send + 'static,
    {
        // Who waits for an answer keeps no store open.
        let inner = Arc::downgrade(&self.inner);
        let patience = self.inner.writer.patience();
        async move {
            if let Ok(told) = tokio::time::timeout(patience, told).await {
                return told.unwrap_or_else(|_| Err(StoreError::closed()));
            }
            let Some(inner) = inner.upgrade() else {
                return Err(StoreError::stuck());
            };
            inner.writer.give_up();
            Err(at(StoreError::stuck(), inner.path.as_deref()))
        }
    }

    /// Queues a job that nobody waits for, as in `Drop`. [`Store::close`] tells if one failed.
    pub fn write_detached<F>(&self, durability: Durability, job: F)
    where
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + 'static,
    {
        let lost = Arc::clone(&self.inner.lost);
        self.submit(durability, job, move |result| {
            if let Err(error) = result {
                lock(&lost).get_or_insert(error);
            }
        });
    }

    /// Queues a job; `finish` runs on the writer's thread once its transaction has ended.
    pub(crate) fn submit<T, F, G>(&self, durability: Durability, job: F, finish: G)
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        G: FnOnce(Result<T, StoreError>) + Send + 'static,
    {
        self.inner.writer.submit(writer::Job {
            durability,
            work: self.work(job, finish),
            synced: None,
        });
    }

    /// Queues a job whose changes must be on the disk before something else happens, but not before its caller goes
    /// on: `finish` runs as soon as they are committed, and what is returned waits for the disk.
    pub(crate) fn submit_ahead<T, F, G>(&self, job: F, finish: G) -> Synced
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        G: FnOnce(Result<T, StoreError>) + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let path = self.inner.path.clone();
        self.inner.writer.submit(writer::Job {
            durability: Durability::Normal,
            work: self.work(job, finish),
            synced: Some(Box::new(move |result| {
                // Who is gone has sent nothing.
                drop(sender.send(result.map_err(|error| at(error, path.as_deref()))));
            })),
        });
        Synced::when(self.answer(receiver))
    }

    fn work<T, F, G>(&self, job: F, finish: G) -> writer::Work
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        G: FnOnce(Result<T, StoreError>) + Send + 'static,
    {
        let path = self.inner.path.clone();
        let finish = move |result: Result<T, StoreError>| {
            finish(result.map_err(|error| at(error, path.as_deref())));
        };
        Box::new(move |transaction| {
            match transaction.and_then(|transaction| job(transaction).map_err(StoreError::from)) {
                Ok(value) => (
                    Keep::Yes,
                    Box::new(move |ended| finish(ended.map(|()| value))),
                ),
                Err(error) => (Keep::No, Box::new(move |_| finish(Err(error)))),
            }
        })
    }

    /// Reads on a connection of its own: sees everything committed so far and nothing that is committed while
    /// it reads, blocks no writer.
    ///
    /// # Errors
    /// What the query fails with.
    pub fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let Some(path) = &self.inner.path else {
            // A database in memory belongs to its one connection.
            let (sender, receiver) = mpsc::channel();
            self.submit(
                Durability::Normal,
                |transaction| query(transaction),
                move |result| drop(sender.send(result)),
            );
            return receiver
                .recv()
                .unwrap_or_else(|_| Err(StoreError::closed()));
        };
        let mut reader = lock(&self.inner.reader);
        let connection = match reader.take() {
            Some(connection) => connection,
            None => connection::open_reader(path).map_err(|error| error.at(path))?,
        };
        let result = transaction::read(&connection, query);
        *reader = Some(connection);
        result.map_err(|error| StoreError::from(error).at(path))
    }

    /// Waits until everything queued so far is written and durable. What the last handle returns puts the
    /// file in order meanwhile; dropped, it is waited for.
    ///
    /// # Errors
    /// The first failure of a write that nobody waited for, or of this wait.
    pub async fn close(self) -> Result<Tidying, StoreError> {
        match &self.inner.writer {
            Writer::Nobody | Writer::Memory(_) => {}
            Writer::Direct(direct) => lock(direct).sync()?,
            Writer::Thread { .. } => self.write(Durability::Full, |_| Ok(())).await?,
        }
        if let Some(error) = lock(&self.inner.lost).take() {
            return Err(error);
        }
        let last = Arc::into_inner(self.inner);
        Ok(Tidying(last.map(|inner| inner.writer.without_more())))
    }
}

/// The writer of a store that was closed, which may still be moving the log.
#[derive(Debug, Default)]
pub struct Tidying(#[expect(dead_code, reason = "held to be dropped")] Option<Writer>);

/// An error with the file that it is about; a store in memory has none.
fn at(error: StoreError, path: Option<&Path>) -> StoreError {
    match path {
        Some(path) => error.at(path),
        None => error,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
