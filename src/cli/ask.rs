//! Asking the person at the terminal for a yes. What was typed before the question, and what is pasted while it stands,
//! answers nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::render::{self, Screen};

/// How often it is looked whether the question still stands.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// What is said where a paste came instead of an answer.
const PASTED: &str = "what is pasted is no answer";

/// The terminal of this process, where there is one.
pub(super) fn terminal() -> Option<File> {
    let controlling = OpenOptions::new().read(true).write(true).open("/dev/tty");
    controlling.ok()
}

/// The terminal, or the one that standard input is.
pub(super) fn terminal_or_stdin() -> Option<File> {
    terminal().or_else(|| {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned();
        stdin.ok().map(File::from)
    })
}

/// Whether the answer is yes. A question that is void, as `is_void` says, and a terminal that is gone say no.
pub(super) fn ask(
    mut terminal: &File,
    screen: Screen,
    question: &str,
    is_void: impl Fn() -> bool,
) -> bool {
    render::set_aside(terminal, b"");
    // Models and files write parts of it.
    let question = &*render::plain(question);
    let mut text = question.to_owned();
    loop {
        let asked = render::asked();
        let _pastes = (!screen.dumb).then(|| render::hear_of_pastes(terminal));
        if terminal.write_all(text.as_bytes()).is_err() {
            return false;
        }
        let line = match read_line(terminal, asked, &is_void) {
            Read::Line(line) => line,
            Read::Nothing => return false,
            Read::AskAgain => {
                text = format!("\n{question}");
                continue;
            }
        };
        if !render::is_pasted(terminal, &line) {
            let line = String::from_utf8_lossy(&line);
            return matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        }
        render::set_aside(terminal, &line);
        text = format!("\n{PASTED}\n{question}");
    }
}

/// What came of waiting for an answer.
enum Read {
    Line(Vec<u8>),
    /// The terminal is gone, or the question is void before an answer came.
    Nothing,
    /// The screen was somebody else's, and nobody sees the question any more.
    AskAgain,
}

/// Waits for a line of the terminal, to the question with this number.
fn read_line(mut terminal: &File, asked: u64, is_void: impl Fn() -> bool) -> Read {
    let mut line = Vec::new();
    while !is_void() {
        if render::asked() != asked {
            return Read::AskAgain;
        }
        let mut ready = [PollFd::new(terminal, PollFlags::IN)];
        match poll(&mut ready, Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return Read::Nothing,
        }
        let mut bytes = [0; 256];
        let Ok(count) = terminal.read(&mut bytes) else {
            return Read::Nothing;
        };
        line.extend_from_slice(bytes.get(..count).unwrap_or_default());
        if count == 0 || line.ends_with(b"\n") {
            return Read::Line(line);
        }
    }
    Read::Nothing
}
