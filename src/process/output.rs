//! What is kept of a stream: its beginning and its end; the rest is counted.

use std::collections::VecDeque;

use crate::redact::Redactor;

/// The kept part of a stream of any length.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    half: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    total: u64,
}

impl Kept {
    /// Keeps at most this many bytes: the first half and the last half.
    pub fn new(bytes: usize) -> Self {
        Self {
            half: bytes / 2,
            ..Self::default()
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, mut piece: &[u8]) {
        self.total = self.total.saturating_add(piece.len() as u64);
        let room = self.half.saturating_sub(self.head.len()).min(piece.len());
        let (head, rest) = piece.split_at(room);
        self.head.extend_from_slice(head);
        piece = rest;
        if let Some(last) = piece.len().checked_sub(self.half) {
            self.tail.clear();
            piece = piece.split_at(last).1;
        }
        let surplus = (self.tail.len() + piece.len()).saturating_sub(self.half);
        self.tail.drain(..surplus);
        self.tail.extend(piece);
    }

    /// Bytes that came.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes that were left out.
    pub fn left_out(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// The kept bytes as text; says in the middle how much is left out. What could be half a secret there is
    /// left out too, since nobody would recognise it afterwards.
    pub fn text(&self, redactor: &Redactor) -> String {
        let left_out = self.left_out();
        let (front, back) = self.tail.as_slices();
        if left_out == 0 {
            return String::from_utf8_lossy(&[&self.head, front, back].concat()).into_owned();
        }
        let tail = [front, back].concat();
        format!(
            "{}\n[… {left_out} bytes left out …]\n{}",
            redactor.before_cut(&String::from_utf8_lossy(whole_characters(&self.head))),
            redactor.after_cut(&String::from_utf8_lossy(after_partial_character(&tail))),
        )
    }
}

/// The bytes without a character that was cut at their end.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.split_at(error.valid_up_to()).0,
        _ => bytes,
    }
}

/// The bytes without the rest of a character that was cut at their beginning.
fn after_partial_character(bytes: &[u8]) -> &[u8] {
    let partial = bytes
        .iter()
        .take(3)
        .take_while(|byte| **byte & 0xC0 == 0x80)
        .count();
    bytes.split_at(partial).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(bytes: usize, pieces: &[&[u8]]) -> Kept {
        let mut kept = Kept::new(bytes);
        for piece in pieces {
            kept.push(piece);
        }
        kept
    }

    #[test]
    fn short_streams_are_kept_whole() {
        for pieces in [
            &[&b"abcdefgh"[..]][..],
            &[b"abc", b"", b"defgh"],
            &[b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"],
        ] {
            let kept = kept(8, pieces);
            assert_eq!(
                (
                    kept.text(&Redactor::default()).as_str(),
                    kept.total(),
                    kept.left_out()
                ),
                ("abcdefgh", 8, 0)
            );
        }
    }

    #[test]
    fn long_streams_keep_both_ends() {
        for pieces in [
            &[&b"abcdefghijkl"[..]][..],
            &[b"abcdefghijk", b"l"],
            &[b"ab", b"cdefgh", b"ijkl"],
            &[b"abcd", b"efghij", b"kl"],
        ] {
            let kept = kept(8, pieces);
            assert_eq!(
                kept.text(&Redactor::default()),
                "abcd\n[… 4 bytes left out …]\nijkl"
            );
        }
    }

    #[test]
    fn characters_are_not_cut() {
        let kept = kept(8, &["aaaé----éaaa".as_bytes()]);
        assert_eq!(
            kept.text(&Redactor::default()),
            "aaa\n[… 6 bytes left out …]\naaa"
        );
    }
}
