//! Asking a person.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

/// Who answers when a call must be asked about.
#[derive(Clone, Debug, Default)]
pub enum Approver {
    /// Always yes (`--yes`).
    Yes,
    /// Always no: there is no terminal, or `--no-input`.
    #[default]
    Nobody,
    /// Whoever reads the other end: the terminal.
    Ask(mpsc::Sender<ApprovalRequest>),
}

/// A question that waits for an answer. Dropping it is a no.
#[derive(Debug)]
pub struct ApprovalRequest {
    /// The agent that wants it.
    pub agent: Arc<str>,
    /// The tool.
    pub tool: String,
    /// Exactly what it would do; safe to show on a terminal.
    pub action: String,
    /// Where the answer goes.
    pub reply: oneshot::Sender<bool>,
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The person said yes, or `--yes` was given.
    Yes,
    /// The person said no.
    No,
    /// There is nobody to ask.
    Nobody,
}

impl Approver {
    /// Whether somebody reads the question.
    pub fn is_a_person(&self) -> bool {
        matches!(self, Self::Ask(_))
    }

    /// Asks and waits, for as long as the person takes.
    pub async fn ask(&self, agent: &Arc<str>, tool: &str, action: &str) -> Verdict {
        let Self::Ask(terminal) = self else {
            return match self {
                Self::Yes => Verdict::Yes,
                Self::Nobody | Self::Ask(_) => Verdict::Nobody,
            };
        };
        let (reply, answer) = oneshot::channel();
        let request = ApprovalRequest {
            agent: Arc::clone(agent),
            tool: tool.to_owned(),
            action: action.to_owned(),
            reply,
        };
        if terminal.send(request).await.is_err() {
            return Verdict::Nobody;
        }
        match answer.await {
            Ok(true) => Verdict::Yes,
            Ok(false) | Err(_) => Verdict::No,
        }
    }
}

/// The text with whatever could deceive a terminal written out: control characters other than
/// line ends, and marks that change the direction of writing.
pub fn visible(text: &str) -> String {
    let deceives = |character: char| {
        (character.is_control() && character != '\n' && character != '\t')
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if deceives(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_on_a_terminal() {
        assert_eq!(
            visible("ls\n\x1b[2Krm\r \u{202e}x é"),
            "ls\n\\u{1b}[2Krm\\u{d} \\u{202e}x é"
        );
    }

    #[tokio::test]
    async fn asks_whoever_listens() {
        let agent: Arc<str> = "a".into();
        assert_eq!(Approver::Yes.ask(&agent, "bash", "ls").await, Verdict::Yes);
        assert_eq!(
            Approver::Nobody.ask(&agent, "bash", "ls").await,
            Verdict::Nobody
        );
        let (sender, mut receiver) = mpsc::channel(1);
        let approver = Approver::Ask(sender);
        for (reply, expected) in [
            (Some(true), Verdict::Yes),
            (Some(false), Verdict::No),
            (None, Verdict::No),
        ] {
            let person = async {
                let request = receiver.recv().await.unwrap();
                assert_eq!(
                    (&*request.agent, &*request.tool, &*request.action),
                    ("a", "bash", "ls")
                );
                match reply {
                    Some(reply) => request.reply.send(reply).unwrap(),
                    None => drop(request),
                }
            };
            let (verdict, ()) = tokio::join!(approver.ask(&agent, "bash", "ls"), person);
            assert_eq!(verdict, expected);
        }
        drop(receiver);
        assert_eq!(approver.ask(&agent, "bash", "ls").await, Verdict::Nobody);
    }
}
