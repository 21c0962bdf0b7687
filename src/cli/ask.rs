//! Asking the person at the terminal for a yes. What was typed before the question, and what is pasted while it stands,
//! answers nothing.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::render::{self, Screen};

/// How often it is looked whether the question still stands.
const LOOK: Duration = Duration::from_millis(100);

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
    let _pastes = (!screen.dumb).then(|| render::hear_of_pastes(terminal));
    // Models and files write parts of it.
    let question = &*render::plain(question);
    let mut text = question.to_owned();
    loop {
        if terminal.write_all(text.as_bytes()).is_err() {
            return false;
        }
        let Some(line) = read_line(terminal, &is_void) else {
            return false;
        };
        if !render::is_pasted(terminal, &line) {
            let line = String::from_utf8_lossy(&line);
            return matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        }
        render::set_aside(terminal, &line);
        text = format!("\n{PASTED}\n{question}");
    }
}

/// A line of the terminal; `None` when the question is void before it came.
fn read_line(mut terminal: &File, is_void: impl Fn() -> bool) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let tick = Timespec::try_from(LOOK).ok()?;
    while !is_void() {
        let mut ready = [PollFd::new(terminal, PollFlags::IN)];
        match poll(&mut ready, Some(&tick)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return None,
        }
        let mut bytes = [0; 256];
        let count = terminal.read(&mut bytes).ok()?;
        line.extend_from_slice(bytes.get(..count)?);
        if count == 0 || line.ends_with(b"\n") {
            return Some(line);
        }
    }
    None
}
