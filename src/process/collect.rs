//! Running a child to its end: draining its output, keeping its deadline.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::child::Child;
use super::output::Kept;

/// How long output is still read after the end: whoever holds a pipe open then is not waited for.
const DRAIN: Duration = Duration::from_secs(1);

/// The bounds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// The longest that it may take.
    pub deadline: Duration,
    /// Bytes that are kept of each stream.
    pub kept: usize,
    /// Bytes of output, kept or not, after which it is ended.
    pub output: u64,
}

/// Why a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// By itself.
    Itself,
    /// Its time ran out.
    Deadline,
    /// It wrote more than it may.
    Output,
}

/// A child that ended.
#[derive(Debug)]
pub struct Finished {
    /// How; `None` when that is not known because it was ended.
    pub status: Option<ExitStatus>,
    /// Why.
    pub cause: Cause,
    /// What it wrote to standard output.
    pub stdout: Kept,
    /// What it wrote to standard error.
    pub stderr: Kept,
}

impl Child {
    /// Reads what the child writes until it ends or a cap is reached; then ends all that it started.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn finish(mut self, caps: Caps) -> io::Result<Finished> {
        let streams = (self.stdout.take(), self.stderr.take());
        let collected = collect(streams, caps, async { self.wait().await.map(Some) }).await;
        self.end().await;
        collected.finish().await
    }
}

/// Output and outcome so far.
pub(crate) struct Collected<O, E> {
    status: io::Result<Option<ExitStatus>>,
    cause: Cause,
    stdout: Reading<O>,
    stderr: Reading<E>,
}

/// Reads both streams until `end` is done or a cap is reached.
pub(crate) async fn collect<O: AsyncRead + Unpin, E: AsyncRead + Unpin>(
    streams: (Option<O>, Option<E>),
    caps: Caps,
    end: impl Future<Output = io::Result<Option<ExitStatus>>>,
) -> Collected<O, E> {
    let mut end = std::pin::pin!(end);
    let deadline = Instant::now() + caps.deadline;
    let mut stdout = Reading::new(streams.0, caps.kept);
    let mut stderr = Reading::new(streams.1, caps.kept);
    let (status, cause) = loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(deadline) => break (Ok(None), Cause::Deadline),
            status = &mut end => break (status, Cause::Itself),
            () = stdout.read(), if stdout.is_open() => {}
            () = stderr.read(), if stderr.is_open() => {}
        }
        if stdout.kept.total() + stderr.kept.total() > caps.output {
            break (Ok(None), Cause::Output);
        }
    };
    Collected {
        status,
        cause,
        stdout,
        stderr,
    }
}

impl<O: AsyncRead + Unpin, E: AsyncRead + Unpin> Collected<O, E> {
    /// Reads what is left in the pipes after everything was ended.
    pub(crate) async fn finish(mut self) -> io::Result<Finished> {
        let drained = async { tokio::join!(self.stdout.drain(), self.stderr.drain()) };
        drop(tokio::time::timeout(DRAIN, drained).await);
        Ok(Finished {
            status: self.status?,
            cause: self.cause,
            stdout: self.stdout.kept,
            stderr: self.stderr.kept,
        })
    }
}

/// One stream that is read.
struct Reading<R> {
    stream: Option<R>,
    kept: Kept,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Reading<R> {
    fn new(stream: Option<R>, kept: usize) -> Self {
        Self {
            stream,
            kept: Kept::new(kept),
            buffer: Vec::new(),
        }
    }

    fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Reads once; a stream that ends or fails is closed.
    async fn read(&mut self) {
        let Some(stream) = &mut self.stream else {
            return std::future::pending().await;
        };
        self.buffer.resize(64 << 10, 0);
        match stream.read(&mut self.buffer).await {
            Ok(read @ 1..) => self.kept.push(self.buffer.get(..read).unwrap_or_default()),
            _ => self.stream = None,
        }
    }

    async fn drain(&mut self) {
        while self.is_open() {
            self.read().await;
        }
    }
}
