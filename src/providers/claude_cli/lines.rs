//! Bytes in, lines out: halves are kept until the rest comes, endless lines are refused.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line that is taken; the CLI puts whole files and pictures into one.
pub(super) const LONGEST: usize = 100 << 20;

/// Reads lines from a pipe. Cancel-safe: what was read stays.
#[derive(Debug)]
pub(super) struct Lines<R> {
    pipe: R,
    buffer: Vec<u8>,
    /// How far the buffer was searched for an end of line.
    searched: usize,
    /// How much of the buffer was handed out.
    taken: usize,
    longest: usize,
    ended: bool,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A line without its end; the last one may have had none.
    Line(Vec<u8>),
    /// A line that is longer than any may be.
    TooLong,
    /// Nothing more will come.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// Lines of a pipe.
    pub(super) fn new(pipe: R, longest: usize) -> Self {
        Self {
            pipe,
            buffer: Vec::new(),
            searched: 0,
            taken: 0,
            longest,
            ended: false,
        }
    }

    /// The next line.
    ///
    /// # Errors
    /// When the pipe cannot be read.
    pub(super) async fn next(&mut self) -> io::Result<Next> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + at;
                let line = self
                    .buffer
                    .get(self.taken..end)
                    .unwrap_or_default()
                    .to_vec();
                self.taken = end + 1;
                self.searched = self.taken;
                return Ok(Next::Line(line));
            }
            self.searched = self.buffer.len();
            if self.ended {
                let rest = self.buffer.get(self.taken..).unwrap_or_default().to_vec();
                self.taken = self.buffer.len();
                return Ok(if rest.is_empty() {
                    Next::End
                } else {
                    Next::Line(rest)
                });
            }
            if self.buffer.len() - self.taken > self.longest {
                return Ok(Next::TooLong);
            }
            if self.taken > 0 {
                self.buffer.drain(..self.taken);
                self.searched -= self.taken;
                self.taken = 0;
            }
            self.buffer.reserve(16 << 10);
            self.ended = self.pipe.read_buf(&mut self.buffer).await? == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        let text = b"one\n\ntwo and more\nhalf";
        for size in 1..=text.len() {
            let mut pipe = tokio_test_pipe(text, size);
            let mut lines = Lines::new(&mut pipe, 100);
            let mut heard = Vec::new();
            loop {
                match lines.next().await.unwrap() {
                    Next::Line(line) => heard.push(String::from_utf8(line).unwrap()),
                    Next::End => break,
                    Next::TooLong => panic!("no line is too long"),
                }
            }
            assert_eq!(heard, ["one", "", "two and more", "half"], "{size}");
        }
    }

    #[tokio::test]
    async fn an_endless_line_is_refused() {
        let text = [b'x'; 5000];
        let mut lines = Lines::new(&text[..], 1000);
        assert_eq!(lines.next().await.unwrap(), Next::TooLong);
    }

    /// A pipe that gives so many bytes at a time.
    fn tokio_test_pipe(text: &'static [u8], size: usize) -> impl AsyncRead + Unpin {
        let (reader, mut writer) = tokio::io::duplex(size);
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            writer.write_all(text).await.unwrap();
        });
        reader
    }
}
