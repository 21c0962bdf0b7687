//! Whether a tool call may run, as the person at the terminal decides.

use std::fs::File;

use tokio::sync::mpsc;

use super::ask::{ask, terminal};
use crate::render::{self, Screen};
use crate::tools::{ApprovalRequest, Approver};

/// Who answers approval prompts: always yes, always no, or the person at the terminal.
pub(crate) fn approver(yes: bool, no_input: bool, screen: Screen) -> Approver {
    if yes {
        return Approver::Yes;
    }
    let Some(terminal) = (!no_input).then(terminal).flatten() else {
        return Approver::Nobody;
    };
    let (sender, receiver) = mpsc::channel(16);
    let asking = std::thread::Builder::new()
        .name("approvals".to_owned())
        .spawn(move || answer(&terminal, screen, receiver));
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

fn answer(terminal: &File, screen: Screen, mut requests: mpsc::Receiver<ApprovalRequest>) {
    while let Some(request) = requests.blocking_recv() {
        // Nothing is drawn over the question while it stands.
        render::hold();
        let is_void = || request.reply.is_closed();
        let granted = ask(terminal, screen, &question(&request), is_void);
        render::release();
        // A run that ended meanwhile does not want to know.
        _ = request.reply.send(granted);
    }
}
