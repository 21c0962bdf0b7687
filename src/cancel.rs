//! Stopping a run from outside: by a signal, by a reader that is gone.

use tokio::sync::watch;

/// Why a run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGINT, or Ctrl-C in a session.
    Interrupt,
    /// SIGTERM, SIGHUP or SIGQUIT.
    Terminate,
    /// Standard output is closed: nobody reads any more.
    Closed,
}

/// The side that stops.
#[derive(Debug)]
pub struct Canceller(watch::Sender<Option<Cause>>);

/// The side that is stopped; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Receiver<Option<Cause>>);

/// Both sides of one switch.
pub fn switch() -> (Canceller, Cancel) {
    let (sender, receiver) = watch::channel(None);
    (Canceller(sender), Cancel(receiver))
}

impl Canceller {
    /// Stops; the first cause stays.
    pub fn cancel(&self, cause: Cause) {
        self.0.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(cause);
            }
            first
        });
    }
}

impl Cancel {
    /// The cause, once stopped.
    pub fn cause(&self) -> Option<Cause> {
        *self.0.borrow()
    }

    /// Waits until stopped; for ever when nobody can stop any more.
    pub async fn cancelled(&self) -> Cause {
        let mut receiver = self.0.clone();
        let cause = receiver
            .wait_for(Option::is_some)
            .await
            .map(|cause| cause.unwrap_or(Cause::Interrupt));
        match cause {
            Ok(cause) => cause,
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_cause_stays_and_everyone_hears_it() {
        let (canceller, cancel) = switch();
        assert_eq!(cancel.cause(), None);
        canceller.cancel(Cause::Terminate);
        canceller.cancel(Cause::Interrupt);
        let late = cancel.clone();
        assert_eq!(cancel.cancelled().await, Cause::Terminate);
        assert_eq!(late.cancelled().await, Cause::Terminate);
    }
}
