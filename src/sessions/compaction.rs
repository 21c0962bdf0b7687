//! Making a conversation fit the window of a model: outputs of tools are cut first, then older turns give
//! way to a summary. Decisions and texts only; nothing here asks a model.

use crate::message::{Assistant, Message, ToolResult};

/// Outputs of tools up to this many bytes stay whole.
const SHORT: usize = 600;

/// What stays of the beginning and of the end of an output that is cut, bytes.
const KEPT: (usize, usize) = (300, 150);

/// The most that the words take which say that an output was cut.
const NOTE: usize = 96;

/// What wraps one message, bytes.
const WRAP: u64 = 32;

/// The part of the room that is aimed at, so that the next turns fit as well.
const GOAL: (u64, u64) = (3, 5);

/// How a conversation is shown to a model. Its messages themselves stay as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shortened {
    /// Outputs of tools are cut in the messages before this one.
    pub cut: usize,
    /// The messages before this one have given way to `summary`.
    pub from: usize,
    /// What stands in their place, a turn of its own.
    pub summary: Vec<Message>,
}

/// What a conversation needs to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// The outputs of tools before this message cut.
    Cut(usize),
    /// The turns before this message summarised, and the outputs of tools before the other one cut.
    Summary {
        /// The first message that stays.
        from: usize,
        /// Outputs before this one are cut.
        cut: usize,
    },
}

/// How much there is room for, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// For the whole prompt.
    pub whole: u64,
    /// What is there beside the messages: the system prompt, the tools.
    pub beside: u64,
    /// What a summary may come to.
    pub summary: u64,
}

/// What has given way to a summary in a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Compaction {
    /// How many of its messages, the oldest.
    pub messages: usize,
    /// The turn that stands in their place.
    pub summary: Vec<Message>,
}

impl Shortened {
    /// Whether anything is left out.
    pub fn is_whole(&self) -> bool {
        self.cut == 0 && self.from == 0
    }

    /// The messages as the model sees them.
    pub fn shown(&self, messages: &[Message]) -> Vec<Message> {
        let kept = messages.iter().enumerate().skip(self.from);
        let kept = kept.map(|(index, message)| {
            if index < self.cut {
                cut(message)
            } else {
                message.clone()
            }
        });
        self.summary.iter().cloned().chain(kept).collect()
    }

    /// What the messages need beyond what is shortened already. The first `older` belong to turns
    /// that are at their end.
    pub fn need(&self, messages: &[Message], older: usize, room: Room) -> Need {
        let summary: u64 = self.summary.iter().map(|message| size(message).0).sum();
        // What each message takes now, and what it would take with its outputs cut.
        let sizes: Vec<(u64, u64)> = messages
            .iter()
            .enumerate()
            .map(|(index, message)| match size(message) {
                (_, short) if index < self.cut => (short, short),
                sizes => sizes,
            })
            .collect();
        let kept = || sizes.iter().enumerate().skip(self.from);
        let mut total = room.beside + summary + kept().map(|(_, size)| size.0).sum::<u64>();
        if total <= room.whole {
            return Need::Nothing;
        }
        let goal = room.whole / GOAL.1 * GOAL.0;
        // What the last tools gave is what the model is to work with now.
        let last = messages
            .iter()
            .rposition(|message| matches!(message, Message::Assistant(_)))
            .unwrap_or(0);
        let mut until = self.cut;
        for (index, (now, short)) in kept().take_while(|(index, _)| *index < last) {
            if total <= goal {
                break;
            }
            if short < now {
                total -= now - short;
                until = index + 1;
            }
        }
        if total <= room.whole {
            return Need::Cut(until);
        }
        let after = |from: usize| {
            let rest = sizes.iter().enumerate().skip(from);
            let rest = rest.map(|(index, (now, short))| if index < until { short } else { now });
            room.beside + room.summary + rest.sum::<u64>()
        };
        let starts: Vec<usize> = (self.from + 1..older)
            .filter(|index| is_start(messages, *index))
            .chain((older > self.from).then_some(older))
            .collect();
        let from = starts
            .iter()
            .find(|from| after(**from) <= goal)
            .or(starts.last())
            .filter(|from| after(**from) < total);
        match from {
            Some(from) => Need::Summary {
                from: *from,
                cut: until,
            },
            // It cannot be made to fit: the model's server says so itself.
            None if until > self.cut => Need::Cut(until),
            None => Need::Nothing,
        }
    }
}

/// Whether a turn of the conversation begins with this message.
fn is_start(messages: &[Message], index: usize) -> bool {
    let before = index.checked_sub(1).and_then(|before| messages.get(before));
    matches!(messages.get(index), Some(Message::User { .. }))
        && match before {
            Some(Message::Assistant(said)) => said.calls.is_empty(),
            Some(_) => false,
            None => true,
        }
}

/// A message with the outputs of tools cut.
fn cut(message: &Message) -> Message {
    let Message::Tool { results } = message else {
        return message.clone();
    };
    let results = results.iter().map(|result| ToolResult {
        content: cut_text(&result.content),
        ..result.clone()
    });
    Message::Tool {
        results: results.collect(),
    }
}

fn cut_text(text: &str) -> String {
    if text.len() <= SHORT {
        return text.to_owned();
    }
    let head = text.floor_char_boundary(KEPT.0);
    let tail = text.ceil_char_boundary(text.len() - KEPT.1);
    let (before, after) = (text.get(..head), text.get(tail..));
    format!(
        "{}\n[{} bytes left out: the conversation has become too long for the model]\n{}",
        before.unwrap_or_default(),
        tail - head,
        after.unwrap_or_default()
    )
}

/// How many bytes messages take.
pub fn bytes(messages: &[Message]) -> u64 {
    messages.iter().map(|message| size(message).0).sum()
}

/// How many bytes a message takes, and how many with the outputs of tools cut.
fn size(message: &Message) -> (u64, u64) {
    let json = |value: &serde_json::Value| match value {
        serde_json::Value::Null => 0,
        value => value.to_string().len(),
    };
    let (now, short) = match message {
        Message::User { text } => (text.len(), text.len()),
        Message::Assistant(said) => {
            let calls = said.calls.iter();
            let calls =
                calls.map(|call| call.name.len() + call.arguments.len() + json(&call.extra));
            let size = said.text.len() + calls.sum::<usize>() + json(&said.vendor_extra);
            (size, size)
        }
        Message::Tool { results } => results.iter().fold((0, 0), |(now, short), result| {
            let length = result.content.len();
            let cut = if length > SHORT {
                KEPT.0 + KEPT.1 + NOTE
            } else {
                length
            };
            (now + length, short + cut)
        }),
    };
    (now as u64 + WRAP, short as u64 + WRAP)
}

/// The messages as a text to be summarised, in pieces of whole messages of at most so many bytes. One that
/// is larger is cut in its middle.
pub fn pieces(messages: &[Message], most: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for message in messages {
        let mut text = told(message);
        if text.len() > most {
            let head = text.floor_char_boundary(most / 2);
            let tail = text.ceil_char_boundary(text.len() - most / 3);
            text.replace_range(head..tail, "\n[…]\n");
        }
        match pieces.last_mut() {
            Some(piece) if piece.len() + text.len() <= most => piece.push_str(&text),
            _ => pieces.push(text),
        }
    }
    pieces
}

fn told(message: &Message) -> String {
    match cut(message) {
        Message::User { text } => format!("## User\n\n{text}\n\n"),
        Message::Assistant(Assistant { text, calls, .. }) => {
            let mut told = format!("## Assistant\n\n{text}\n\n");
            for call in calls {
                told.push_str(&format!("calls {} with {}\n\n", call.name, call.arguments));
            }
            told
        }
        Message::Tool { results } => {
            let told = results.iter().map(|result| {
                let failed = if result.is_error { " (failed)" } else { "" };
                format!("## {}{failed}\n\n{}\n\n", result.tool, result.content)
            });
            told.collect()
        }
    }
}

/// A summary as the turn that stands in the place of those that it sums up.
pub fn summary_turn(summary: &str) -> Vec<Message> {
    vec![
        Message::User {
            text: format!("What we said and did before, summed up:\n\n{summary}"),
        },
        Message::Assistant(Assistant {
            text: "Understood. I go on from there.".to_owned(),
            ..Assistant::default()
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ToolCall;

    fn user(length: usize) -> Message {
        Message::User {
            text: "u".repeat(length),
        }
    }

    fn said(length: usize) -> Message {
        Message::Assistant(Assistant {
            text: "a".repeat(length),
            ..Assistant::default()
        })
    }

    fn calls() -> Message {
        Message::Assistant(Assistant {
            calls: vec![ToolCall::default()],
            ..Assistant::default()
        })
    }

    fn gave(length: usize) -> Message {
        Message::Tool {
            results: vec![ToolResult {
                call_id: "1".to_owned(),
                tool: "read".to_owned(),
                content: "é".repeat(length / 2),
                is_error: false,
            }],
        }
    }

    fn room(whole: u64) -> Room {
        Room {
            whole,
            beside: 100,
            summary: 500,
        }
    }

    #[test]
    fn outputs_are_cut_before_turns_are_summed_up() {
        let short = Shortened::default();
        let with_tools = [
            user(100),
            calls(),
            gave(4_000),
            said(100),
            user(100),
            calls(),
            gave(4_000),
            said(100),
            user(100),
        ];
        let mut with_large = with_tools.clone();
        with_large[2] = gave(6_000);
        with_large[6] = gave(2_000);
        let spoken = [
            user(2_000),
            said(2_000),
            user(2_000),
            said(2_000),
            user(100),
            said(100),
            user(300),
        ];
        let now = [user(100), calls(), gave(4_000), calls(), gave(4_000)];
        for (name, messages, older, room, expected) in [
            ("it fits", &with_tools[..], 8, room(10_000), Need::Nothing),
            (
                "the oldest output",
                &with_large,
                8,
                room(8_800),
                Need::Cut(3),
            ),
            ("all outputs", &with_tools, 8, room(5_000), Need::Cut(7)),
            (
                "not enough",
                &with_tools,
                8,
                room(1_700),
                Need::Summary { from: 8, cut: 7 },
            ),
            (
                "the newest turns stay",
                &spoken,
                6,
                room(8_500),
                Need::Summary { from: 4, cut: 0 },
            ),
            (
                "all that was said before",
                &spoken,
                6,
                room(1_600),
                Need::Summary { from: 6, cut: 0 },
            ),
            // What the last tools gave stays whole.
            ("within a turn", &now, 0, room(5_500), Need::Cut(3)),
            ("as far as it goes", &now, 0, room(3_000), Need::Cut(3)),
            ("one prompt", &[user(9_000)], 0, room(3_000), Need::Nothing),
        ] {
            assert_eq!(short.need(messages, older, room), expected, "{name}");
        }
        // What is shortened already is not shortened again.
        let cut = Shortened {
            cut: 7,
            ..Shortened::default()
        };
        assert_eq!(cut.need(&with_tools, 8, room(5_000)), Need::Nothing);
        let summed = Shortened {
            from: 4,
            summary: summary_turn("short"),
            cut: 0,
        };
        assert_eq!(summed.need(&spoken, 6, room(8_500)), Need::Nothing);
        let brief = Room {
            summary: 100,
            ..room(700)
        };
        let further = Need::Summary { from: 6, cut: 0 };
        assert_eq!(summed.need(&spoken, 6, brief), further);
        let all = Shortened {
            from: 6,
            ..summed.clone()
        };
        assert_eq!(all.need(&spoken, 6, room(500)), Need::Nothing);
    }

    #[test]
    fn a_shortened_conversation_keeps_its_form() {
        let messages = [user(10), calls(), gave(1_001), said(10), user(20)];
        let cut = Shortened {
            cut: 3,
            ..Shortened::default()
        };
        let shown = cut.shown(&messages);
        assert_eq!(
            (shown.len(), &shown[..2], &shown[3..]),
            (5, &messages[..2], &messages[3..])
        );
        let Message::Tool { results } = &shown[2] else {
            panic!("{shown:?}");
        };
        let expected = format!(
            "{}\n[550 bytes left out: the conversation has become too long for the model]\n{}",
            "é".repeat(150),
            "é".repeat(75)
        );
        assert_eq!(results[0].content, expected);
        assert_eq!(results[0].call_id, "1");
        assert_eq!(size(&messages[2]), (1_000 + WRAP, 450 + NOTE as u64 + WRAP));
        assert!(size(&shown[2]).0 <= size(&messages[2]).1);

        let summed = Shortened {
            from: 4,
            cut: 3,
            summary: summary_turn("it was short"),
        };
        let shown = summed.shown(&messages);
        assert_eq!(shown[..2], summed.summary);
        assert_eq!(shown[2..], messages[4..]);
    }

    #[test]
    fn what_is_summed_up_is_told_in_whole_messages() {
        let messages = [user(100), said(100), user(1_000), gave(5_000)];
        let whole = pieces(&messages, 10_000);
        assert_eq!(whole.len(), 1);
        assert!(whole[0].starts_with("## User\n\nuuu"), "{whole:?}");
        assert!(whole[0].contains("bytes left out"), "{whole:?}");
        let small = pieces(&messages, 300);
        assert_eq!(small.len(), 3);
        assert!(small[1].contains("[…]"), "{small:?}");
        assert!(small.iter().all(|piece| piece.len() <= 300), "{small:?}");
    }
}
