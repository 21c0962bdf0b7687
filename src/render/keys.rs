//! Keys that are pressed while an answer streams: kept for the next prompt, and not echoed into what is
//! drawn.

use std::fs::File;
use std::io::Read as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};

use super::Screen;

/// The longest that is kept of keys that nobody waited for.
const MOST: usize = 64 * 1024;

static KEYS: Mutex<Keys> = Mutex::new(Keys {
    muted: false,
    early: Vec::new(),
});

struct Keys {
    muted: bool,
    /// What was typed before a question was asked, and is no answer to it.
    early: Vec<u8>,
}

/// Nothing is echoed while this lives.
pub(crate) struct Muted(());

/// Stops the echo where the cursor is moved over the screen. What is typed is there for the next prompt.
pub(crate) fn mute(screen: Screen) -> Option<Muted> {
    let stdin = std::io::stdin();
    let echoes = tcgetattr(&stdin).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ECHO));
    (screen.live && echoes).then(|| {
        keys().muted = true;
        echo(false);
        Muted(())
    })
}

impl Drop for Muted {
    fn drop(&mut self) {
        keys().muted = false;
        echo(true);
    }
}

/// Lets a question be answered: echoes again.
pub(super) fn listen() {
    if keys().muted {
        echo(true);
    }
}

/// The question was answered.
pub(super) fn listened() {
    if keys().muted {
        echo(false);
    }
}

/// Sets aside what was typed before a question, so that it answers nothing.
pub(crate) fn set_aside(mut terminal: &File) {
    let Ok(before) = tcgetattr(terminal) else {
        return;
    };
    let mut at_once = before.clone();
    // The beginning of a line can be read too, and nothing is waited for.
    at_once.local_modes.remove(LocalModes::ICANON);
    at_once.special_codes[SpecialCodeIndex::VMIN] = 0;
    at_once.special_codes[SpecialCodeIndex::VTIME] = 0;
    if tcsetattr(terminal, OptionalActions::Now, &at_once).is_err() {
        return;
    }
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = terminal.read(&mut bytes) {
        let mut keys = keys();
        if keys.early.len() < MOST {
            keys.early
                .extend_from_slice(bytes.get(..count).unwrap_or_default());
        }
    }
    // A terminal that is gone needs nothing back.
    _ = tcsetattr(terminal, OptionalActions::Now, &before);
}

/// What was set aside since the last call.
pub(crate) fn early() -> String {
    let bytes = std::mem::take(&mut keys().early);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn echo(on: bool) {
    let stdin = std::io::stdin();
    // Without a terminal there is nothing to echo.
    if let Ok(mut modes) = tcgetattr(&stdin) {
        modes.local_modes.set(LocalModes::ECHO, on);
        _ = tcsetattr(&stdin, OptionalActions::Now, &modes);
    }
}

fn keys() -> MutexGuard<'static, Keys> {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner)
}
