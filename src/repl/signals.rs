//! The signals of a session.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::time::Instant;

use crate::cli::signals::signals_of;
use crate::error::OrchError;
use crate::render;

/// A second Ctrl-C within this time leaves the session.
const TWICE: Duration = Duration::from_secs(2);

/// The exit code of a session that is left so.
pub(super) const INTERRUPTED: u8 = 130;

/// What may come from outside at any time.
pub(super) struct Signals {
    /// Ctrl-C.
    interrupt: Signal,
    terminate: Signal,
    /// The terminal is gone.
    hangup: Signal,
    /// Ctrl-\, but for that at the prompt.
    quit: Signal,
    /// Ctrl-Z, but for that at the prompt, which is a key like others.
    suspend: Signal,
    /// When Ctrl-C was last pressed.
    interrupted: Option<Instant>,
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
            quit: signals_of(SignalKind::quit())?,
            suspend: signals_of(SignalKind::from_raw(libc::SIGTSTP))?,
            interrupted: None,
        })
    }

    /// Forgets a Ctrl-C that was meant for something else.
    pub(super) fn forget_interrupt(&mut self) {
        self.interrupted = None;
        while self.interrupt.recv().now_or_never().flatten().is_some() {}
    }

    /// Notes a Ctrl-C; whether it is the second one in a short time.
    pub(super) fn is_second_interrupt(&mut self) -> bool {
        let before = self.interrupted.replace(Instant::now());
        before.is_some_and(|at| at.elapsed() < TWICE)
    }

    /// The next that is to be obeyed; stops of the process happen in here.
    pub(super) async fn next(&mut self) -> Came {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {
                    return if self.is_second_interrupt() {
                        Came::Over(INTERRUPTED)
                    } else {
                        Came::Interrupt
                    };
                }
                _ = self.terminate.recv() => return Came::Over(143),
                _ = self.hangup.recv() => return Came::Over(143),
                _ = self.quit.recv() => return Came::Over(143),
                _ = self.suspend.recv() => stop(),
            }
        }
    }

    /// Waits for the end of the session; one Ctrl-C is none.
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
                done = &mut work => {
                    // What was pressed meanwhile was meant for the program.
                    self.forget_interrupt();
                    while self.quit.recv().now_or_never().flatten().is_some() {}
                    return done;
                }
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
