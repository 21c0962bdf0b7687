//! What is wrong with a configuration, and how it is shown: place, words, the line with a caret.

use std::fmt;

use unicode_width::UnicodeWidthChar as _;

use super::mask::{mask_line, mask_text};
use crate::redact::Redactor;

/// A place in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` when it concerns the file as a whole.
    pub at: Option<At>,
    /// Lower case, no full stop, backticks round what the user wrote.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(at: At, message: impl Into<String>) -> Self {
        Self {
            at: Some(at),
            message: message.into(),
            hint: None,
        }
    }

    /// A problem of the file as a whole.
    pub fn whole(message: impl Into<String>) -> Self {
        Self {
            at: None,
            message: message.into(),
            hint: None,
        }
    }

    /// The same problem with what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// Everything that is wrong with one configuration, in the order of the file.
///
/// Its `Display` is what the user reads; secrets are masked in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as the user knows it.
    pub file: String,
    /// What is wrong; never empty.
    pub problems: Vec<Problem>,
    /// The lines that the problems point at, masked, with their numbers.
    lines: Vec<(u32, String)>,
}

/// More problems than this are only counted.
const SHOWN: usize = 50;
/// Columns of a source line that are shown at most: with a number of four digits before it, and the marks of what is
/// left out, it fits into the 80 columns that terminals have at least. One that was broken would part the caret from
/// its place.
const WIDTH: usize = 68;

impl ConfigError {
    /// Sorts the problems of a file and keeps the lines of `text` that they point at.
    pub(super) fn new(file: String, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.at);
        let redactor = Redactor::default();
        for problem in &mut problems {
            problem.message = printable(&mask_text(&problem.message, &redactor));
            if let Some(hint) = &mut problem.hint {
                *hint = printable(&mask_text(hint, &redactor));
            }
        }
        let mut wanted: Vec<u32> = problems
            .iter()
            .take(SHOWN)
            .filter_map(|problem| Some(problem.at?.line))
            .collect();
        wanted.dedup();
        let mut wanted = wanted.into_iter().peekable();
        let mut lines = Vec::new();
        let mut above = "";
        for (number, line) in (1..).zip(text.lines()) {
            if wanted.next_if_eq(&number).is_some() {
                lines.push((number, mask_line(line, above, &redactor)));
            }
            if wanted.peek().is_none() {
                break;
            }
            if !line.trim().is_empty() {
                above = line;
            }
        }
        Self {
            file,
            problems,
            lines,
        }
    }

    /// The words for the user, and apart from them what to do where it is the file as a whole that is wrong: other
    /// problems have their hints below themselves.
    pub fn told(mut self) -> (String, Option<String>) {
        let hint = match self.problems.as_mut_slice() {
            [Problem { at: None, hint, .. }] => hint.take(),
            _ => None,
        };
        (self.to_string(), hint)
    }

    fn line(&self, number: u32) -> Option<&str> {
        self.lines
            .iter()
            .find(|(line, _)| *line == number)
            .map(|(_, text)| text.as_str())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = printable(&self.file);
        for (index, problem) in self.problems.iter().take(SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            let message = &problem.message;
            match problem.at {
                Some(at) => {
                    write!(f, "{file}:{}:{}: {message}", at.line, at.column)?;
                    if let Some(line) = self.line(at.line) {
                        write_line(f, at, line)?;
                    }
                }
                None => write!(f, "{file}: {message}")?,
            }
            if let Some(hint) = &problem.hint {
                write!(f, "\n  {hint}")?;
            }
        }
        if let Some(more) = self
            .problems
            .len()
            .checked_sub(SHOWN)
            .filter(|more| *more > 0)
        {
            write!(f, "\n\nand {more} more")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Writes a source line and a caret below the column, wide characters and tabs counted as they are
/// shown; of a long line only the part round the column.
fn write_line(f: &mut fmt::Formatter<'_>, at: At, line: &str) -> fmt::Result {
    let column = usize::try_from(at.column).unwrap_or(usize::MAX);
    let mut shown = String::new();
    let mut caret = None;
    let mut width = 0;
    for (index, character) in line.chars().enumerate() {
        if index + 1 == column {
            caret = Some(width);
        }
        let (text, columns) = match character {
            '\t' => ("    ".to_owned(), 4),
            other => match (is_unsafe(other), other.width()) {
                (false, Some(columns)) => (other.to_string(), columns),
                _ => ("\u{fffd}".to_owned(), 1),
            },
        };
        shown.push_str(&text);
        width += columns;
    }
    let caret = caret.unwrap_or(width);
    let (shown, caret) = crop(&shown, caret);
    let number = at.line.to_string();
    let blank = " ".repeat(number.len());
    write!(f, "\n  {number} | {}", shown.trim_end())?;
    write!(f, "\n  {blank} | {}^", " ".repeat(caret))
}

/// The part of a line that fits, and where the caret then is.
fn crop(line: &str, caret: usize) -> (String, usize) {
    if caret < WIDTH * 3 / 4 {
        return (within(line, 0, WIDTH), caret);
    }
    let start = caret - WIDTH / 2;
    (
        format!("…{}", within(line, start + 1, WIDTH)),
        caret - start,
    )
}

/// The characters of `line` whose first column lies in `start..start + width`.
fn within(line: &str, start: usize, width: usize) -> String {
    let mut column = 0;
    let mut part = String::new();
    for character in line.chars() {
        let columns = character.width().unwrap_or(0);
        if column < start && column + columns > start {
            part.push_str(&" ".repeat(column + columns - start));
        }
        if (start..start + width).contains(&column) {
            part.push(character);
        }
        column += columns;
    }
    part
}

/// Whether a terminal could be misled by a character: controls and those that turn the direction.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text of the file as it may be printed on one line.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' => ' ',
            other if is_unsafe(other) => '\u{fffd}',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, line: u32, column: u32) -> String {
        let problem = Problem::new(At { line, column }, "wrong");
        ConfigError::new("orch.yaml".to_owned(), text, vec![problem]).to_string()
    }

    #[test]
    fn the_caret_stands_below_the_column() {
        for (text, line, column, expected) in [
            ("a: b\nc: d\n", 2, 4, "  2 | c: d\n    |    ^"),
            ("日本: 語\n", 1, 5, "  1 | 日本: 語\n    |       ^"),
            ("a:\tb\n", 1, 4, "  1 | a:    b\n    |       ^"),
            ("a: b   \n", 1, 9, "  1 | a: b\n    |        ^"),
            (
                "a: \u{1b}[31mb\n",
                1,
                9,
                "  1 | a: \u{fffd}[31mb\n    |         ^",
            ),
            ("a: \u{202e}b\n", 1, 5, "  1 | a: \u{fffd}b\n    |     ^"),
        ] {
            assert_eq!(
                shown(text, line, column),
                format!("orch.yaml:{line}:{column}: wrong\n{expected}"),
            );
        }
    }

    #[test]
    fn a_long_line_is_cut_round_the_column() {
        for before in [0, 40, 66, 200] {
            let line = format!("{}X{}", "a".repeat(before), "b".repeat(200));
            let text = "\n".repeat(998) + &line;
            let output = shown(&text, 999, u32::try_from(before).unwrap() + 1);
            let lines: Vec<&str> = output.lines().collect();
            assert_eq!(lines.len(), 3);
            let caret = lines[2].chars().position(|c| c == '^');
            assert_eq!(lines[1].chars().position(|c| c == 'X'), caret);
            assert!(lines[1].chars().count() < 80, "{output}");
        }
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let problems = [(3, 1), (1, 2), (1, 1)]
            .map(|(line, column)| Problem::new(At { line, column }, format!("at {line}:{column}")))
            .to_vec();
        let error = ConfigError::new("f".to_owned(), "a\nb\nc\n", problems);
        assert_eq!(
            error.to_string(),
            "f:1:1: at 1:1\n  1 | a\n    | ^\n\nf:1:2: at 1:2\n  1 | a\n    |  ^\n\nf:3:1: at 3:1\n  3 | c\n    | ^"
        );
    }
}
