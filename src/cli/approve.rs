//! Asking the person at the terminal whether a tool call may run.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use crate::render;
use crate::tools::{ApprovalRequest, Approver};

/// How often it is looked whether the question still stands.
const LOOK: Duration = Duration::from_millis(100);

/// Who answers approval prompts: always yes, always no, or the person at the terminal.
pub(crate) fn approver(yes: bool, no_input: bool) -> Approver {
    if yes {
        return Approver::Yes;
    }
    if no_input {
        return Approver::Nobody;
    }
    let Ok(terminal) = OpenOptions::new().read(true).write(true).open("/dev/tty") else {
        return Approver::Nobody;
    };
    let (sender, receiver) = mpsc::channel(16);
    let asking = std::thread::Builder::new()
        .name("approvals".to_owned())
        .spawn(move || answer(terminal, receiver));
    match asking {
        Ok(_) => Approver::Ask(sender),
        Err(_) => Approver::Nobody,
    }
}

/// The question as a person reads it; a gate of a task asks its own.
pub(crate) fn question(request: &ApprovalRequest) -> String {
    let ApprovalRequest {
        agent,
        tool,
        action,
        ..
    } = request;
    if tool == "gate" {
        format!("{agent} asks:\n  {action}\ngo on? [y/N] ")
    } else {
        format!("{agent} wants to run {tool}:\n  {action}\nallow? [y/N] ")
    }
}

fn answer(mut terminal: File, mut requests: mpsc::Receiver<ApprovalRequest>) {
    while let Some(request) = requests.blocking_recv() {
        let question = question(&request);
        // Nothing is drawn over the question while it stands.
        render::hold();
        render::set_aside(&terminal);
        if terminal.write_all(question.as_bytes()).is_err() {
            render::release();
            return;
        }
        let granted = read_line(&mut terminal, &request)
            .is_some_and(|line| matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"));
        render::release();
        // A run that ended meanwhile does not want to know.
        _ = request.reply.send(granted);
    }
}

/// A line of the terminal; `None` when the question is void before it came.
fn read_line(terminal: &mut File, request: &ApprovalRequest) -> Option<String> {
    let mut line = Vec::new();
    let tick = Timespec::try_from(LOOK).ok()?;
    while !request.reply.is_closed() {
        let mut ready = [PollFd::new(&*terminal, PollFlags::IN)];
        if poll(&mut ready, Some(&tick)).ok()? == 0 {
            continue;
        }
        let mut bytes = [0; 256];
        let count = terminal.read(&mut bytes).ok()?;
        line.extend_from_slice(bytes.get(..count)?);
        if count == 0 || line.ends_with(b"\n") {
            return Some(String::from_utf8_lossy(&line).into_owned());
        }
    }
    None
}
