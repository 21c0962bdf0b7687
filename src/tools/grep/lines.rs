//! The lines of one file that match.

use std::io;
use std::path::PathBuf;

use grep_matcher::Matcher as _;
use grep_regex::RegexMatcher;
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};

use crate::redact::Redactor;

/// Bytes of a line that are shown.
const WIDEST: usize = 500;

/// Bytes of the longest line that is searched at all.
const LONGEST: usize = 64 * 1024 * 1024;

/// The lines of a file that match, with those around them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileLines {
    /// The file as it is shown.
    pub(super) path: PathBuf,
    /// In the order of the file.
    pub(super) lines: Vec<Line>,
    /// Matching lines among `lines`.
    pub(super) kept: usize,
    /// Matching lines in the file.
    pub(super) total: u64,
    /// The file is no text.
    pub(super) binary: bool,
    /// It could not be read to its end.
    pub(super) unread: bool,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    /// Without its end; cut when it is long.
    pub(super) text: String,
    /// Whether it matches or only stands near one that does.
    pub(super) matches: bool,
}

/// What one thread needs to search files one after the other.
pub(super) struct Searching<'m> {
    matcher: &'m RegexMatcher,
    redactor: &'m Redactor,
    searcher: Searcher,
    most: usize,
}

impl<'m> Searching<'m> {
    pub(super) fn new(
        matcher: &'m RegexMatcher,
        redactor: &'m Redactor,
        around: usize,
        most: usize,
    ) -> Self {
        let searcher = SearcherBuilder::new()
            .line_number(true)
            .before_context(around)
            .after_context(around)
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(LONGEST))
            .build();
        Self {
            matcher,
            redactor,
            searcher,
            most,
        }
    }

    /// Searches a file; `None` when it was read and holds no match. What was found before an error is kept.
    pub(super) fn file(
        &mut self,
        path: impl FnOnce() -> PathBuf,
        reader: impl io::Read,
    ) -> Option<FileLines> {
        let mut gathered = Gathered {
            matcher: self.matcher,
            redactor: self.redactor,
            most: self.most,
            lines: Vec::new(),
            kept: 0,
            total: 0,
            binary: false,
        };
        let unread = self
            .searcher
            .search_reader(self.matcher, reader, &mut gathered)
            .is_err();
        (gathered.total > 0 || gathered.binary || unread).then(|| FileLines {
            path: path(),
            lines: gathered.lines,
            kept: gathered.kept,
            total: gathered.total,
            binary: gathered.binary,
            unread,
        })
    }
}

struct Gathered<'m> {
    matcher: &'m RegexMatcher,
    redactor: &'m Redactor,
    most: usize,
    lines: Vec<Line>,
    kept: usize,
    total: u64,
    binary: bool,
}

impl Gathered<'_> {
    fn keep(&mut self, number: Option<u64>, bytes: &[u8], matches: bool) {
        self.lines.push(Line {
            number: number.unwrap_or(0),
            text: shown(bytes, self.matcher, self.redactor),
            matches,
        });
    }
}

impl Sink for Gathered<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        self.total += 1;
        if self.kept < self.most {
            self.kept += 1;
            self.keep(found.line_number(), found.bytes(), true);
        }
        Ok(true)
    }

    fn context(&mut self, _: &Searcher, around: &SinkContext<'_>) -> Result<bool, io::Error> {
        if self.kept < self.most {
            self.keep(around.line_number(), around.bytes(), false);
        }
        Ok(true)
    }

    fn binary_data(&mut self, _: &Searcher, _: u64) -> Result<bool, io::Error> {
        self.binary = true;
        Ok(false)
    }
}

/// A line as it is shown: of a long one, the part around the match.
fn shown(bytes: &[u8], matcher: &RegexMatcher, redactor: &Redactor) -> String {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= WIDEST {
        return String::from_utf8_lossy(line).into_owned();
    }
    let at = matcher
        .find(line)
        .ok()
        .flatten()
        .map_or(0, |found| found.start());
    let from = if at < WIDEST / 2 { 0 } else { at - WIDEST / 4 };
    let to = (from + WIDEST).min(line.len());
    let part = String::from_utf8_lossy(line.get(from..to).unwrap_or_default());
    let (mut part, mut before, mut after) = (part.trim_matches('\u{fffd}'), "", "");
    if from > 0 {
        (part, before) = (redactor.after_cut(part), "…");
    }
    if to < line.len() {
        (part, after) = (redactor.before_cut(part), "…");
    }
    format!("{before}{part}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(pattern: &str, text: &[u8], around: usize, most: usize) -> Option<FileLines> {
        let matcher = super::super::matcher(pattern, false).unwrap();
        Searching::new(&matcher, &Redactor::default(), around, most)
            .file(|| PathBuf::from("f"), text)
    }

    #[test]
    fn gathers_matches_and_what_stands_around() {
        let line = |number, text: &str, matches| Line {
            number,
            text: text.to_owned(),
            matches,
        };
        let found = search("b+", b"a\r\nbb\r\nc\nd\nb\n", 1, 9).unwrap();
        assert_eq!(
            found,
            FileLines {
                path: PathBuf::from("f"),
                lines: vec![
                    line(1, "a", false),
                    line(2, "bb", true),
                    line(3, "c", false),
                    line(4, "d", false),
                    line(5, "b", true),
                ],
                kept: 2,
                total: 2,
                binary: false,
                unread: false,
            }
        );
        assert_eq!(search("x", b"a\nb\n", 0, 9), None);
    }

    #[test]
    fn counts_what_it_does_not_keep() {
        let found = search("a", b"a\na\na\n", 0, 2).unwrap();
        assert_eq!((found.lines.len(), found.kept, found.total), (2, 2, 3));
    }

    #[test]
    fn marks_a_binary_file() {
        assert!(search("a", b"a\0a\n", 0, 9).unwrap().binary);
    }

    #[test]
    fn cuts_a_long_line_around_the_match() {
        let text = format!("{}needle{}\n", "x".repeat(5000), "y".repeat(5000));
        let found = search("needle", text.as_bytes(), 0, 9).unwrap();
        let shown = &found.lines[0].text;
        assert!(shown.contains("needle") && shown.starts_with('…') && shown.ends_with('…'));
        assert!(shown.len() < WIDEST + 10);
    }
}
