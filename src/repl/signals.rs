//! The signals of a session.

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind};

use crate::cli::signals::signals_of;
use crate::error::OrchError;
use crate::render;

/// What may come from outside at any time.
pub(super) struct Signals {
    /// Ctrl-C.
    interrupt: Signal,
    terminate: Signal,
    /// The terminal is gone.
    hangup: Signal,
    /// Ctrl-Z, but for that at the prompt, which is a key like others.
    suspend: Signal,
}

/// What came.
pub(super) enum Came {
    /// What runs is to stop.
    Interrupt,
    /// The session is to end with this exit code.
    Over(u8),
}

impl Signals {
    pub(super) fn watch() -> Result<Self, OrchError> {
        Ok(Self {
            interrupt: signals_of(SignalKind::interrupt())?,
            terminate: signals_of(SignalKind::terminate())?,
            hangup: signals_of(SignalKind::hangup())?,
            suspend: signals_of(SignalKind::from_raw(libc::SIGTSTP))?,
        })
    }

    /// Forgets a Ctrl-C that was meant for something else.
    pub(super) fn forget_interrupt(&mut self) {
        while self.interrupt.recv().now_or_never().flatten().is_some() {}
    }

    /// The next that is to be obeyed; stops of the process happen in here.
    pub(super) async fn next(&mut self) -> Came {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Came::Interrupt,
                _ = self.terminate.recv() => return Came::Over(143),
                _ = self.hangup.recv() => return Came::Over(143),
                _ = self.suspend.recv() => stop(),
            }
        }
    }

    /// Waits for the end of the session; Ctrl-C is none.
    pub(super) async fn over(&mut self) -> u8 {
        loop {
            if let Came::Over(code) = self.next().await {
                return code;
            }
        }
    }

    /// Waits for a program that has the terminal, and stops with it.
    pub(super) async fn stopping_with<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = self.suspend.recv() => stop(),
            }
        }
    }
}

/// Stops this process, with the screen and the keys as a shell expects them, until it is to go on.
pub(super) fn stop() {
    render::hold();
    // A process that cannot be stopped goes on.
    _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
    render::release();
}
