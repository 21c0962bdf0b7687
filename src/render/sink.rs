//! Where everything that is printed goes: in one order, and without a run that waits for its reader.
//!
//! What a stream does not take at once waits in a queue that a thread of its own writes, so that clocks and
//! signals are heeded while nobody reads. Whoever makes much of it waits in [`drained`].

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Closed;

/// A stream of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// Bytes that a pipe takes whole where it says that it takes any.
const AT_ONCE: usize = 4096;

/// How long a reader that takes nothing is waited for once the run is to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long one that takes little is waited for then.
const GREAT_PATIENCE: Duration = Duration::from_secs(10);

const AT_THIS_MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

static SINK: Mutex<Sink> = Mutex::new(Sink {
    is_apart: false,
    waiting: VecDeque::new(),
    writing: None,
    writer: None,
    writers: 0,
    hurried: None,
    since: None,
    progress: None,
    out: None,
    err: None,
});

/// Something is to be written, or was.
static MOVED: Condvar = Condvar::new();

/// The same for those who must not block.
static CHANGED: Notify = Notify::const_new();

struct Sink {
    /// Writing must not block: somebody watches clocks and signals on this thread.
    is_apart: bool,
    waiting: VecDeque<(Stream, Vec<u8>)>,
    /// What the writer is in the middle of.
    writing: Option<Stream>,
    /// The thread that writes, by its number; one that is given up is no longer it.
    writer: Option<u64>,
    writers: u64,
    /// From when on nobody waits long for a reader.
    hurried: Option<Instant>,
    /// Since when something waits.
    since: Option<Instant>,
    /// When something of it was last taken.
    progress: Option<Instant>,
    out: Option<Closed>,
    err: Option<Closed>,
}

fn sink() -> MutexGuard<'static, Sink> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_none()
    }

    fn end(&mut self, stream: Stream) -> &mut Option<Closed> {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }

    fn closed(&mut self, stream: Stream) -> Result<(), Closed> {
        self.end(stream).map_or(Ok(()), Err)
    }

    /// Nothing of the stream is written any more.
    fn close(&mut self, stream: Stream, how: Closed) {
        *self.end(stream) = Some(how);
        self.waiting.retain(|(other, _)| *other != stream);
    }

    /// Nothing of the stream is written any more, because it could not be. A reader that has gone, a terminal that
    /// was hung up and a stream that never took anything are no failure; a full disk is one.
    fn fail(&mut self, stream: Stream, error: Errno) -> Closed {
        let is_gone = match error {
            Errno::PIPE | Errno::BADF => true,
            Errno::IO => with(stream, |fd| rustix::termios::isatty(fd) || is_device(fd)),
            _ => false,
        };
        let how = if is_gone {
            Closed::Gone
        } else {
            Closed::Failed(error)
        };
        self.close(stream, how);
        how
    }

    /// When to wait no longer for a reader.
    fn limit(&self) -> Option<Instant> {
        let hurried = self.hurried?;
        let from = |when: Option<Instant>| when.map_or(hurried, |when| when.max(hurried));
        Some((from(self.progress) + PATIENCE).min(from(self.since) + GREAT_PATIENCE))
    }

    /// Leaves the stream that does not move, and goes on with the other one.
    fn give_up(&mut self) {
        let front = self.waiting.front().map(|(stream, _)| *stream);
        let Some(stream) = self.writing.take().or(front) else {
            return;
        };
        self.close(stream, Closed::Unread);
        // The thread that is stuck ends when its write does.
        self.writer = None;
        let now = Instant::now();
        (self.since, self.progress) = (Some(now), Some(now));
        self.go_on();
    }

    /// Sees to it that somebody writes what waits.
    fn go_on(&mut self) {
        if self.writer.is_none() && !self.waiting.is_empty() {
            self.writers += 1;
            let number = self.writers;
            let thread = std::thread::Builder::new().name("output".to_owned());
            match thread.spawn(move || write_waiting(number)) {
                Ok(_) => self.writer = Some(number),
                // What can be neither written nor left to others is lost.
                Err(_) => self.waiting.clear(),
            }
        }
        MOVED.notify_all();
    }
}

/// From here on writing does not wait for readers.
pub(crate) fn write_apart() {
    sink().is_apart = true;
}

/// Whether writing waits for readers no more.
pub(crate) fn is_apart() -> bool {
    sink().is_apart
}

/// From then on the run is to end, whether anybody reads or not.
pub(crate) fn hurry(from: Instant) {
    let mut sink = sink();
    if sink.hurried.is_none_or(|before| from < before) {
        sink.hurried = Some(from);
    }
    CHANGED.notify_waiters();
}

/// Waits until everything is written, or given up because the run is to end.
///
/// # Errors
/// When standard output takes nothing any more.
pub(crate) async fn drained() -> Result<(), Closed> {
    loop {
        let changed = CHANGED.notified();
        tokio::pin!(changed);
        // What changes from here on is noticed.
        changed.as_mut().enable();
        let limit = {
            let mut sink = sink();
            if sink.is_idle() {
                return sink.closed(Stream::Out);
            }
            sink.limit()
        };
        match limit {
            None => changed.await,
            Some(limit) => {
                if tokio::time::timeout_at(limit, changed).await.is_err() {
                    let mut sink = sink();
                    // Something may have moved at the last moment.
                    if sink.limit().is_some_and(|limit| limit <= Instant::now()) {
                        sink.give_up();
                    }
                }
            }
        }
    }
}

/// Waits a moment until everything is written: what comes next gets to the screen on a way of its own.
pub(crate) fn settle() {
    let sink = sink();
    let waited = MOVED.wait_timeout_while(sink, PATIENCE, |sink| !sink.is_idle());
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}

/// Whether a line of standard output would be written at once.
pub(crate) fn takes_a_line() -> bool {
    sink().is_idle() && is_ready(io::stdout().as_fd())
}

/// Writes a text, or leaves it to be written.
pub(super) fn put(stream: Stream, text: &str) -> Result<(), Closed> {
    let mut sink = sink();
    sink.closed(stream)?;
    let bytes = text.as_bytes();
    if !sink.is_apart {
        let written = write_whole(stream, bytes, || {});
        return written.map_err(|error| sink.fail(stream, error));
    }
    let written = if sink.is_idle() {
        match write_ready(stream, bytes) {
            Ok(written) => written,
            Err(error) => return Err(sink.fail(stream, error)),
        }
    } else {
        0
    };
    let rest = bytes.get(written..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(());
    }
    if sink.is_idle() {
        let now = Instant::now();
        (sink.since, sink.progress) = (Some(now), Some(now));
    }
    sink.waiting.push_back((stream, rest.to_vec()));
    sink.go_on();
    drop(sink);
    CHANGED.notify_waiters();
    Ok(())
}

/// The work of a writer: what waits, piece by piece.
fn write_waiting(number: u64) {
    loop {
        let (stream, bytes) = {
            let mut sink = MOVED
                .wait_while(sink(), |sink| {
                    sink.writer == Some(number) && sink.waiting.is_empty()
                })
                .unwrap_or_else(PoisonError::into_inner);
            if sink.writer != Some(number) {
                return;
            }
            let Some((stream, bytes)) = sink.waiting.pop_front() else {
                continue;
            };
            sink.writing = Some(stream);
            (stream, bytes)
        };
        let took = || {
            let mut sink = sink();
            if sink.writer == Some(number) {
                sink.progress = Some(Instant::now());
            }
        };
        let done = write_whole(stream, &bytes, took);
        let mut sink = sink();
        if sink.writer != Some(number) {
            return;
        }
        sink.writing = None;
        if let Err(error) = done {
            sink.fail(stream, error);
        }
        drop(sink);
        MOVED.notify_all();
        CHANGED.notify_waiters();
    }
}

/// Writes what the stream takes at once; gives how many bytes that were.
fn write_ready(stream: Stream, bytes: &[u8]) -> Result<usize, Errno> {
    let own = never_blocking(stream);
    with(stream, |fd| {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            if own.is_none() && !is_ready(fd) {
                break;
            }
            let piece = rest.get(..AT_ONCE).unwrap_or(rest);
            match rustix::io::write(own.map_or(fd, |own| own.as_fd()), piece) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    })
}

fn is_device(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice)
}

/// Why standard output could not be written, if it could not.
pub(crate) fn failure() -> Option<Errno> {
    match sink().out {
        Some(Closed::Failed(error)) => Some(error),
        _ => None,
    }
}

/// Whether standard output has another end that may go.
fn has_reader() -> bool {
    let kind = with(Stream::Out, |fd| rustix::fs::fstat(fd).ok());
    let kind = kind.map(|found| FileType::from_raw_mode(found.st_mode));
    matches!(kind, Some(FileType::Fifo | FileType::Socket))
}

/// Whether nobody has the other end of standard output any more.
pub(crate) fn is_reader_gone() -> bool {
    let gone = |fd: BorrowedFd<'_>| {
        let mut asked = [PollFd::new(&fd, PollFlags::empty())];
        poll(&mut asked, Some(&AT_THIS_MOMENT)).is_ok_and(|ready| ready > 0)
    };
    has_reader() && with(Stream::Out, gone)
}

/// Waits until nobody has the other end of standard output any more; for ever where that cannot be told.
pub(crate) async fn reader_gone() {
    if !has_reader() {
        return std::future::pending().await;
    }
    #[expect(unsafe_code, reason = "registered by its number")]
    // SAFETY: standard output stays open as long as the program runs.
    let out = unsafe { AsyncFd::register_with_interest(io::stdout(), Interest::ERROR) };
    match out {
        Ok(out) if out.ready(Interest::ERROR).await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

/// Writes everything, however long it takes.
fn write_whole(stream: Stream, bytes: &[u8], mut took: impl FnMut()) -> Result<(), Errno> {
    with(stream, |fd| {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.get(..AT_ONCE).unwrap_or(rest);
            match rustix::io::write(fd, piece) {
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    took();
                }
                Err(Errno::INTR) => {}
                // Whoever else has the stream made it one that does not block.
                Err(Errno::AGAIN) => {
                    let mut asked = [PollFd::new(&fd, PollFlags::OUT)];
                    _ = poll(&mut asked, None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })
}

fn with<T>(stream: Stream, work: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    match stream {
        Stream::Out => work(io::stdout().as_fd()),
        Stream::Err => work(io::stderr().as_fd()),
    }
}

fn is_ready(fd: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::new(&fd, PollFlags::OUT)];
    poll(&mut asked, Some(&AT_THIS_MOMENT)).is_ok_and(|ready| ready > 0)
}

/// The pipe or the terminal behind a stream, opened anew so that writing to it does not block. The stream itself
/// stays as it is, because others may hold it too. `None` where that cannot be done, or need not: files do not block.
fn never_blocking(stream: Stream) -> Option<&'static File> {
    static OUT: OnceLock<Option<File>> = OnceLock::new();
    static ERR: OnceLock<Option<File>> = OnceLock::new();
    let (opened, path) = match stream {
        Stream::Out => (&OUT, "/proc/self/fd/1"),
        Stream::Err => (&ERR, "/proc/self/fd/2"),
    };
    let open = || {
        let kind = with(stream, |fd| rustix::fs::fstat(fd).ok())?.st_mode;
        let blocks = matches!(
            FileType::from_raw_mode(kind),
            FileType::Fifo | FileType::CharacterDevice
        );
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).ok()?;
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(flags);
        blocks.then(|| options.open(path).ok()).flatten()
    };
    opened.get_or_init(open).as_ref()
}
