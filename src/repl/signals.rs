//! The signals of a session.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustix::process::{Signal as Sent, getpid, kill_process};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind};
use tokio::time::{Instant, sleep};

use crate::cli::signals::signals_of;
use crate::error::OrchError;
use crate::process::{self, Family};
use crate::render;

/// A second Ctrl-C within this time leaves the session.
const TWICE: Duration = Duration::from_secs(2);

/// The exit code of a session that is left so.
pub(super) const INTERRUPTED: u8 = 130;

/// The exit code of a session that a signal ends, or that has lost its terminal.
const TERMINATED: u8 = 143;

/// How long a program of the user's own may take to end when the session does.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(10);

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
                _ = self.terminate.recv() => return Came::Over(TERMINATED),
                _ = self.hangup.recv() => return Came::Over(TERMINATED),
                _ = self.quit.recv() => return Came::Over(TERMINATED),
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

    /// Lends the terminal to a program of the user's own until it ends, and stops with it: keys that are signals are
    /// meant for the program. When the session is to end meanwhile, the program ends first, with all that it started;
    /// gives the exit code of the session then.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(super) async fn lend_terminal(
        &mut self,
        mut program: Command,
    ) -> io::Result<Result<ExitStatus, u8>> {
        let _lent = render::lend();
        let mut child = program.spawn()?;
        loop {
            tokio::select! {
                biased;
                status = child.wait() => {
                    // What was pressed meanwhile was meant for the program.
                    self.forget_interrupt();
                    while self.quit.recv().now_or_never().flatten().is_some() {}
                    return status.map(Ok);
                }
                _ = self.suspend.recv() => {
                    // The screen is the program's: nothing is said on it.
                    if process::can_be_resumed() {
                        stop();
                    }
                }
                _ = self.terminate.recv() => break,
                _ = self.hangup.recv() => break,
            }
        }
        render::hurry(Instant::now());
        if let Some(id) = child.id() {
            let family = Family::of(id);
            family.signal(Sent::TERM);
            let until = Instant::now() + LAST_WORDS;
            // What its shell started may take longer than the shell.
            while !family.is_gone() && Instant::now() < until {
                sleep(LOOK).await;
            }
            // Who does not heed that is not asked, nor is what was started since.
            for family in [family, Family::of(id)] {
                family.signal(Sent::KILL);
            }
            child.wait().await?;
        }
        Ok(Err(TERMINATED))
    }
}

/// Stops this process, with the screen and the keys as a shell expects them, until it is to go on. Where no shell
/// would let it go on it does so at once, as the kernel has it with programs that do not ask.
pub(super) fn stop() {
    if process::can_be_resumed() {
        render::hold();
        render::leave_question();
        // A process that cannot be stopped goes on.
        _ = kill_process(getpid(), Sent::STOP);
        render::release();
    } else {
        render::stderr_line("there is no shell to return to");
    }
    render::ask_again();
}
