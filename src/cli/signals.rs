//! SIGINT, and SIGTERM with what else asks for the end: the first stops the run, which then ends in good order; the second
//! ends the program at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Call;
use crate::cancel::{Cancel, Canceller, Cause, switch};
use crate::error::{ErrorClass, OrchError};
use crate::event::Event;
use crate::render::{self, Closed, View};

/// The switch that signals turn.
pub(crate) struct Signals {
    pub(crate) canceller: Canceller,
    pub(crate) cancel: Cancel,
}

impl Signals {
    /// Lets what came be seen.
    ///
    /// # Errors
    /// When a signal came.
    pub(crate) async fn check(&self) -> Result<(), OrchError> {
        tokio::task::yield_now().await;
        self.cancel
            .cause()
            .map_or(Ok(()), |cause| Err(stopped(cause)))
    }
}

/// Shows the events of a run to its end; a reader that is gone stops it.
pub(crate) async fn show(
    view: &mut View,
    mut events: mpsc::Receiver<Event>,
    canceller: &Canceller,
) -> Result<(), Closed> {
    let watched = tokio::select! {
        biased;
        watched = view.watch(&mut events) => watched,
        // Also while nothing is written, as during a long command.
        () = render::reader_gone() => Err(Closed::Gone),
    };
    if watched.is_err() {
        canceller.cancel(Cause::Closed);
    }
    // Without a receiver nobody waits for a place in the channel.
    drop(events);
    watched
}

/// Signals of one kind, from now on.
pub(crate) fn signals_of(kind: SignalKind) -> Result<Signal, OrchError> {
    signal(kind).map_err(|error| {
        OrchError::new(ErrorClass::Failed, "cannot watch for signals").caused_by(&error)
    })
}

/// What ends the program from outside.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// Ctrl-\.
    quit: Signal,
}

impl Ends {
    fn watch() -> Result<Self, OrchError> {
        Ok(Self {
            interrupt: signals_of(SignalKind::interrupt())?,
            terminate: signals_of(SignalKind::terminate())?,
            hangup: signals_of(SignalKind::hangup())?,
            quit: signals_of(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Cause {
        tokio::select! {
            _ = self.interrupt.recv() => Cause::Interrupt,
            _ = self.terminate.recv() => Cause::Terminate,
            _ = self.hangup.recv() => Cause::Terminate,
            _ = self.quit.recv() => Cause::Terminate,
        }
    }
}

/// Waits for signals beside `work`; gives what `work` gives. From here on nobody waits for a reader with the thread
/// that this runs on.
///
/// # Errors
/// When signals cannot be watched.
pub(crate) async fn watch_signals<T>(
    call: &Call,
    work: impl AsyncFnOnce(&Signals) -> T,
) -> Result<T, OrchError> {
    let mut ends = Ends::watch()?;
    let mut resumed = signals_of(SignalKind::from_raw(libc::SIGCONT))?;
    render::write_apart();
    let (canceller, cancel) = switch();
    let signals = Signals { canceller, cancel };
    let work = work(&signals);
    tokio::pin!(work);
    loop {
        let cause = tokio::select! {
            // What came before a piece of work is heeded before it.
            biased;
            cause = ends.next() => cause,
            _ = resumed.recv() => {
                render::ask_again();
                continue;
            }
            done = &mut work => return Ok(done),
        };
        if signals.cancel.cause().is_some() {
            leave(call, cause);
        }
        signals.canceller.cancel(cause);
        render::hurry(Instant::now());
    }
}

/// Waits until the last words are written; a signal ends that. Gives the exit code.
pub(super) async fn last_words(code: u8) -> u8 {
    if !render::is_apart() {
        return code;
    }
    let Ok(mut ends) = Ends::watch() else {
        return code;
    };
    tokio::select! {
        biased;
        _ = render::drained() => code,
        cause = ends.next() => code_of(cause),
    }
}

/// A run that a signal stopped before it had a result.
pub(super) fn stopped(cause: Cause) -> OrchError {
    match cause {
        Cause::Terminate => OrchError::new(ErrorClass::Terminated, "terminated by a signal"),
        Cause::Interrupt | Cause::Closed => OrchError::new(ErrorClass::Interrupted, "interrupted"),
    }
}

/// A run that was done, and whose answer nobody took in time.
pub(super) fn unread(cause: Option<Cause>) -> OrchError {
    match cause {
        Some(cause @ (Cause::Interrupt | Cause::Terminate)) => stopped(cause),
        Some(Cause::Closed) | None => OrchError::new(
            ErrorClass::Timeout,
            "standard output was not read before the time was up",
        ),
    }
}

fn code_of(cause: Cause) -> u8 {
    stopped(cause).class.exit_code()
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the second signal means now: nothing may hold it up"
)]
fn leave(call: &Call, cause: Cause) {
    render::clear();
    render::end_question();
    call.cut_short(stopped(cause));
    std::process::exit(code_of(cause).into());
}
