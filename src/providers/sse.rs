//! Frames of a server-sent event stream, on bytes.

use std::collections::VecDeque;

use serde::de::IgnoredAny;

/// The most that one line, or the data of one event, may have.
pub(super) const LINE_CAP: usize = 16 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SseEvent {
    /// Its `event` field; empty without one.
    pub name: String,
    /// Its `data` lines, joined.
    pub data: String,
}

/// A line or an event is longer than [`LINE_CAP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Cuts a stream of bytes into events, wherever the network cut it.
#[derive(Debug, Default)]
pub(super) struct Framer {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The last byte was a carriage return, so that a line feed after it ends no other line.
    after_return: bool,
    /// A line was seen, so that no byte order mark can come any more.
    begun: bool,
    name: String,
    data: Vec<u8>,
    has_data: bool,
    /// More than comments has begun to come.
    has_answer: bool,
    comments: u64,
    ready: VecDeque<SseEvent>,
}

impl Framer {
    /// Takes the next bytes.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (head, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line.len() + head.len() > LINE_CAP {
                return Err(TooLong);
            }
            let Some((&end, rest)) = rest.split_first() else {
                self.line.extend_from_slice(head);
                self.has_answer |= self.line.first().is_some_and(|&first| first != b':');
                return Ok(());
            };
            self.after_return = end == b'\r';
            bytes = rest;
            if self.line.is_empty() {
                self.take_line(head)?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                self.take_line(&line)?;
                line.clear();
                self.line = line;
            }
        }
        Ok(())
    }

    /// The stream ended: an event that is not finished counts when it is whole all the same.
    pub(super) fn end(&mut self) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line)?;
        }
        let whole = self.data.trim_ascii() == b"[DONE]"
            || serde_json::from_slice::<IgnoredAny>(&self.data).is_ok();
        if whole {
            self.dispatch();
        }
        Ok(())
    }

    /// The next whole event.
    pub(super) fn next(&mut self) -> Option<SseEvent> {
        self.ready.pop_front()
    }

    /// Whether a whole event waits.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether anything of an answer has come. Comments are none: servers send them while a model has not begun.
    pub(super) fn has_answer(&self) -> bool {
        self.has_answer
    }

    /// How many comment lines came so far.
    #[cfg(test)]
    pub(super) fn comments(&self) -> u64 {
        self.comments
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), TooLong> {
        let line = if std::mem::replace(&mut self.begun, true) {
            line
        } else {
            line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
        };
        if line.is_empty() {
            self.dispatch();
            return Ok(());
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (field, value) = match colon {
            Some(colon) => {
                let (field, value) = line.split_at(colon);
                let value = value.get(1..).unwrap_or_default();
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, <&[u8]>::default()),
        };
        match field {
            b"" => {
                self.comments += 1;
                return Ok(());
            }
            b"data" => {
                if self.data.len() + value.len() > LINE_CAP {
                    return Err(TooLong);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
        self.has_answer = true;
        Ok(())
    }

    fn dispatch(&mut self) {
        let name = std::mem::take(&mut self.name);
        if std::mem::take(&mut self.has_data) {
            let data = String::from_utf8_lossy(&self.data).into_owned();
            self.data.clear();
            self.ready.push_back(SseEvent { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::vectors;

    #[test]
    fn every_framing_vector_gives_its_events_whole_and_byte_by_byte() {
        let mut checked = 0;
        for vector in vectors::streams() {
            let Some(expected) = vector.expect["sse"].as_array() else {
                continue;
            };
            let expected: Vec<SseEvent> = expected
                .iter()
                .map(|event| SseEvent {
                    name: event["event"].as_str().unwrap_or_default().to_owned(),
                    data: event["data"].as_str().expect("data").to_owned(),
                })
                .collect();
            for chunks in vector.feeds() {
                let mut framer = Framer::default();
                for chunk in &chunks {
                    framer.feed(chunk).expect("short lines");
                }
                framer.end().expect("short lines");
                let mut events = Vec::new();
                while let Some(event) = framer.next() {
                    events.push(event);
                }
                assert_eq!(events, expected, "{}", vector.id);
                if let Some(comments) = vector.expect["comments"].as_u64() {
                    assert_eq!(framer.comments(), comments, "{}", vector.id);
                }
            }
            checked += 1;
        }
        assert_eq!(checked, 16);
    }

    #[test]
    fn comments_are_no_answer_and_the_beginning_of_a_line_is() {
        for (fed, has_answer) in [
            (&[": keep-alive\n\n", "\n", ": again", "\r\n"][..], false),
            (&["da"], true),
            (&[": x\n", "data: {"], true),
            (&["event: ping\n"], true),
        ] {
            let mut framer = Framer::default();
            for bytes in fed {
                framer.feed(bytes.as_bytes()).expect("short lines");
            }
            assert_eq!(framer.has_answer(), has_answer, "{fed:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_cap() {
        let piece = vec![b'x'; 1 << 20];
        let mut framer = Framer::default();
        framer.feed(b"data: ").expect("short");
        let mut fed = 0;
        while framer.feed(&piece).is_ok() {
            fed += piece.len();
        }
        assert!(fed <= LINE_CAP, "{fed}");
        let mut framer = Framer::default();
        let mut line = b"data: ".to_vec();
        line.extend_from_slice(&piece);
        line.push(b'\n');
        let refused = (0..20).any(|_| framer.feed(&line).is_err());
        assert!(refused, "many lines of one event");
    }
}
