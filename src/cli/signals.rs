//! SIGINT and SIGTERM: the first stops the run, which then ends in good order; the second ends the
//! program at once.

use tokio::signal::unix::{SignalKind, signal};

use super::Call;
use crate::cancel::{Cancel, Canceller, Cause, switch};
use crate::error::{ErrorClass, OrchError};

/// The switch that signals turn.
pub(crate) struct Signals {
    pub(crate) canceller: Canceller,
    pub(crate) cancel: Cancel,
}

/// Waits for signals beside `work`; gives what `work` gives.
///
/// # Errors
/// When signals cannot be watched.
pub(crate) async fn watch_signals<T>(
    call: &Call,
    work: impl AsyncFnOnce(&Signals) -> T,
) -> Result<T, OrchError> {
    let watch = |kind| {
        signal(kind).map_err(|error| {
            OrchError::new(ErrorClass::Failed, "cannot watch for signals").caused_by(&error)
        })
    };
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut hangup = watch(SignalKind::hangup())?;
    let (canceller, cancel) = switch();
    let signals = Signals { canceller, cancel };
    let work = work(&signals);
    tokio::pin!(work);
    loop {
        let cause = tokio::select! {
            biased;
            done = &mut work => return Ok(done),
            _ = interrupt.recv() => Cause::Interrupt,
            _ = terminate.recv() => Cause::Terminate,
            _ = hangup.recv() => Cause::Terminate,
        };
        if signals.cancel.cause().is_some() {
            leave(call, cause);
        }
        signals.canceller.cancel(cause);
    }
}

/// A run that a signal stopped before it had a result.
pub(super) fn stopped(cause: Cause) -> OrchError {
    match cause {
        Cause::Terminate => OrchError::new(ErrorClass::Terminated, "terminated by a signal"),
        Cause::Interrupt | Cause::Closed => OrchError::new(ErrorClass::Interrupted, "interrupted"),
    }
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the second signal means now: nothing may hold it up"
)]
fn leave(call: &Call, cause: Cause) {
    crate::render::clear();
    call.cut_short(stopped(cause));
    std::process::exit(match cause {
        Cause::Terminate => 143,
        Cause::Interrupt | Cause::Closed => 130,
    });
}
