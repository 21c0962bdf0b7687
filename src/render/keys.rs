//! Keys that are pressed while something runs: kept for the next prompt, and not echoed into what is drawn.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

use super::Screen;
use super::sink::{self, Stream};

/// The longest that is kept of keys that nobody waited for.
const MOST: usize = 64 * 1024;

/// The terminal says what is pasted, so that lines of it are not taken for lines that were entered.
///
/// Source: xterm, "Bracketed Paste Mode".
const PASTES: &str = "\x1b[?2004h";
const PASTES_NO_MORE: &str = "\x1b[?2004l";

/// What stands before and behind what is pasted.
pub(crate) const PASTE: &str = "\x1b[200~";
pub(crate) const PASTED: &str = "\x1b[201~";

/// How long the rest of what is being pasted is waited for.
const REST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// A terminal tells what is pasted, for a question that stands there.
static ASKS: AtomicBool = AtomicBool::new(false);

/// How often a question that stands there had to be asked again, because the screen was somebody else's meanwhile.
static AGAIN: AtomicU64 = AtomicU64::new(0);

static KEYS: Mutex<Keys> = Mutex::new(Keys {
    muted: false,
    before: None,
    listeners: 0,
    early: Vec::new(),
});

struct Keys {
    /// Whether nobody but a listener is to hear keys.
    muted: bool,
    /// The terminal as it was, while nothing is echoed.
    before: Option<Termios>,
    /// How many have the terminal as it was.
    listeners: usize,
    /// What was typed before a question was asked, and is no answer to it.
    early: Vec<u8>,
}

impl Keys {
    /// Takes keys as they come: no line is made of them, so that none of them is lost or means anything yet.
    fn mute(&mut self) {
        let stdin = std::io::stdin();
        // Without a terminal there is nothing to echo.
        let Ok(before) = tcgetattr(&stdin) else {
            return;
        };
        let mut modes = before.clone();
        modes
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON);
        if tcsetattr(&stdin, OptionalActions::Now, &modes).is_ok() {
            self.before = Some(before);
            // A screen that is gone has nobody who pastes.
            _ = sink::put(Stream::Out, PASTES);
        }
    }

    /// Gives the terminal back as it was.
    fn unmute(&mut self) {
        if let Some(before) = self.before.take() {
            _ = sink::put(Stream::Out, PASTES_NO_MORE);
            // A terminal that is gone needs nothing back.
            _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
        }
    }
}

/// Nothing is echoed while this lives.
pub(crate) struct Muted(());

/// Stops the echo where the cursor is moved over the screen. What is typed or pasted is there for the next prompt.
pub(crate) fn mute(screen: Screen) -> Option<Muted> {
    let stdin = std::io::stdin();
    let echoes = tcgetattr(&stdin).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ECHO));
    (screen.live && echoes).then(|| {
        let mut keys = keys();
        keys.muted = true;
        keys.mute();
        Muted(())
    })
}

impl Drop for Muted {
    fn drop(&mut self) {
        let mut keys = keys();
        keys.muted = false;
        keys.unmute();
    }
}

/// The terminal is as it was while this lives.
pub(crate) struct Lent(());

/// Gives the terminal to a program of the user's own.
pub(crate) fn lend() -> Lent {
    listen();
    sink::settle();
    Lent(())
}

impl Drop for Lent {
    fn drop(&mut self) {
        listened();
    }
}

/// Lets a question be answered: echoes again.
pub(super) fn listen() {
    let mut keys = keys();
    keys.listeners += 1;
    keys.unmute();
}

/// The question was answered.
pub(super) fn listened() {
    let mut keys = keys();
    keys.listeners = keys.listeners.saturating_sub(1);
    if keys.muted && keys.listeners == 0 {
        keys.mute();
    }
}

/// A line editor that was left in the middle of a line hears of no pastes any more.
pub(crate) fn end_pastes(screen: Screen) {
    if screen.live {
        // A screen that is gone has nobody who pastes.
        _ = sink::put(Stream::Out, PASTES_NO_MORE);
    } else if !screen.dumb && std::io::stdin().is_terminal() {
        to_terminal(PASTES_NO_MORE);
    }
}

/// Writes to the terminal of this process, wherever standard output goes.
fn to_terminal(text: &str) {
    if let Ok(mut terminal) = OpenOptions::new().write(true).open("/dev/tty") {
        // A terminal that is gone needs nothing.
        drop(terminal.write_all(text.as_bytes()));
    }
}

/// What is pasted is told apart while this lives.
pub(crate) struct Hearing<'t>(&'t File);

/// Has a terminal tell what is pasted while a question stands.
pub(crate) fn hear_of_pastes(mut terminal: &File) -> Hearing<'_> {
    ASKS.store(true, Ordering::SeqCst);
    // A terminal that is gone has nobody who pastes.
    drop(terminal.write_all(PASTES.as_bytes()));
    Hearing(terminal)
}

impl Drop for Hearing<'_> {
    fn drop(&mut self) {
        if ASKS.swap(false, Ordering::SeqCst) {
            drop(self.0.write_all(PASTES_NO_MORE.as_bytes()));
        }
    }
}

/// The program ends, whether its question was answered or not.
pub(crate) fn end_question() {
    if ASKS.swap(false, Ordering::SeqCst) {
        to_terminal(PASTES_NO_MORE);
    }
}

/// The terminal is somebody else's for a time; [`ask_again`] follows.
pub(crate) fn leave_question() {
    if ASKS.load(Ordering::SeqCst) {
        to_terminal(PASTES_NO_MORE);
    }
}

/// A question that stands there is asked again.
pub(crate) fn ask_again() {
    AGAIN.fetch_add(1, Ordering::SeqCst);
}

/// A number that becomes another one when a question that stands there is to be asked again.
pub(crate) fn asked() -> u64 {
    AGAIN.load(Ordering::SeqCst)
}

/// Whether a line that answers a question was pasted: the terminal says so, or, where it tells nothing apart, other
/// lines came with it.
pub(crate) fn is_pasted(terminal: &File, line: &[u8]) -> bool {
    contains(line, PASTE) || is_ready(terminal, AT_ONCE)
}

/// Sets aside what answers no question, for the next prompt: what was typed before it, or `first`, a line that was
/// pasted, and what follows it.
pub(crate) fn set_aside(terminal: &File, first: &[u8]) {
    let mut pasting = Pasting::default();
    pasting.pass(first);
    // Who pasted less than a line entered it for the question.
    let entered = first.strip_suffix(b"\n").filter(|_| !pasting.is_open);
    keep(entered.unwrap_or(first));
    take_waiting(terminal, pasting, keep);
}

/// Throws away what waits, with the rest of what may be in the middle of being pasted.
pub(crate) fn throw_away(terminal: &File) {
    let pasting = Pasting {
        is_open: true,
        ..Pasting::default()
    };
    take_waiting(terminal, pasting, |_| ());
}

/// Takes what was typed and nobody has read, to the end of a paste.
fn take_waiting(mut terminal: &File, mut pasting: Pasting, take: impl Fn(&[u8])) {
    let Ok(before) = tcgetattr(terminal) else {
        return;
    };
    let mut at_once = before.clone();
    // The beginning of a line can be read too, and nothing is waited for.
    at_once
        .local_modes
        .remove(LocalModes::ICANON | LocalModes::ECHO);
    at_once.special_codes[SpecialCodeIndex::VMIN] = 0;
    at_once.special_codes[SpecialCodeIndex::VTIME] = 0;
    if tcsetattr(terminal, OptionalActions::Now, &at_once).is_err() {
        return;
    }
    let mut bytes = [0; 1024];
    let mut waited = false;
    while let Ok(count) = terminal.read(&mut bytes) {
        if count == 0 {
            // The rest of a paste answers nothing either.
            if waited || !pasting.is_open || !is_ready(terminal, REST) {
                break;
            }
            waited = true;
            continue;
        }
        waited = false;
        let read = bytes.get(..count).unwrap_or_default();
        pasting.pass(read);
        take(read);
    }
    // A terminal that is gone needs nothing back.
    _ = tcsetattr(terminal, OptionalActions::Now, &before);
}

fn keep(bytes: &[u8]) {
    let mut keys = keys();
    if keys.early.len() < MOST {
        keys.early.extend_from_slice(bytes);
    }
}

/// Whether keys come within a time.
fn is_ready(terminal: &File, time: Timespec) -> bool {
    let mut ready = [PollFd::new(terminal, PollFlags::IN)];
    poll(&mut ready, Some(&time)).is_ok_and(|count| count > 0)
}

fn contains(bytes: &[u8], mark: &str) -> bool {
    let mut places = bytes.windows(mark.len());
    places.any(|place| place == mark.as_bytes())
}

/// Whether keys that come in pieces are in the middle of a paste.
#[derive(Default)]
struct Pasting {
    is_open: bool,
    /// The end of what came, which may hold the beginning of a mark.
    tail: Vec<u8>,
}

impl Pasting {
    fn pass(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let last = |mark: &str| {
            let mut places = self.tail.windows(mark.len());
            places.rposition(|place| place == mark.as_bytes())
        };
        let (begin, end) = (last(PASTE), last(PASTED));
        if begin != end {
            self.is_open = begin > end;
        }
        let kept = self.tail.len().min(PASTE.len() - 1);
        self.tail.drain(..self.tail.len() - kept);
    }
}

/// What was set aside since the last call.
pub(crate) fn early() -> String {
    let bytes = std::mem::take(&mut keys().early);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn keys() -> MutexGuard<'static, Keys> {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paste_is_open_until_its_end_comes() {
        let text = format!("ab{PASTE}c\nd{PASTED}e{PASTE}f");
        for size in [1, 2, 5, 6, 7, 100] {
            let mut pasting = Pasting::default();
            let mut seen = 0;
            for piece in text.as_bytes().chunks(size) {
                pasting.pass(piece);
                seen += piece.len();
                let so_far = text.get(..seen).unwrap();
                let open = so_far.matches(PASTE).count() > so_far.matches(PASTED).count();
                assert_eq!(pasting.is_open, open, "{so_far:?} in pieces of {size}");
            }
        }
    }
}
