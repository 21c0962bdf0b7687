//! Markdown as a terminal shows it, line by line while it comes: only the line that is not over yet,
//! and a table, wait for more.

use termimad::crossterm::style::{Attribute, Color, force_color_output};
use termimad::minimad::{Alignment, Text};
use termimad::{FmtText, MadSkin};

use super::blocks::List;
use super::{Style, harmless};

/// Narrower than this a terminal wraps by itself.
const NARROWEST: usize = 20;

/// An answer on its way to a terminal.
#[derive(Debug)]
pub(super) struct Markdown {
    style: Style,
    skin: MadSkin,
    /// Whole lines of the table, or of the text, that is not rendered yet.
    block: String,
    /// The line that is not over yet.
    line: String,
    fence: Option<Fence>,
    list: List,
    /// The last line that was given was blank: another one adds nothing.
    blank: bool,
}

/// The mark that ends a block of code: its character, and how often it stands there at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fence {
    mark: char,
    length: usize,
}

impl Markdown {
    pub(super) fn new(style: Style) -> Self {
        Self {
            style,
            skin: skin(style),
            block: String::new(),
            line: String::new(),
            fence: None,
            list: List::default(),
            blank: true,
        }
    }

    /// Takes a piece; gives what is finished by it: whole lines for a terminal of `width` columns.
    pub(super) fn push(&mut self, piece: &str, width: usize) -> String {
        let mut shown = String::new();
        let mut pieces = piece.split('\n');
        if let Some(first) = pieces.next() {
            self.line.push_str(first);
        }
        for next in pieces {
            // As a whole: an escape sequence may come in pieces.
            let line = harmless(&std::mem::take(&mut self.line));
            self.take(&line, width, &mut shown);
            self.line.push_str(next);
        }
        if !self.block.starts_with('|') {
            self.flush(width, &mut shown);
        }
        shown
    }

    /// The end of the answer, or of a part of it: gives what is left.
    pub(super) fn finish(&mut self, width: usize) -> String {
        let mut shown = String::new();
        if !self.line.is_empty() {
            let line = harmless(&std::mem::take(&mut self.line));
            self.take(&line, width, &mut shown);
        }
        self.flush(width, &mut shown);
        self.fence = None;
        self.list = List::default();
        self.blank = true;
        shown
    }

    /// What is not rendered yet, as it was written.
    pub(super) fn pending(&self) -> impl Iterator<Item = String> {
        let line = Some(harmless(&self.line)).filter(|line| !line.is_empty());
        self.block.lines().map(str::to_owned).chain(line)
    }

    /// Forgets what is not rendered yet.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.style);
    }

    fn take(&mut self, line: &str, width: usize, shown: &mut String) {
        if let Some(open) = self.fence {
            if fence(line).is_some_and(|(mark, rest)| {
                mark.mark == open.mark && mark.length >= open.length && rest.is_empty()
            }) {
                self.fence = None;
            } else {
                self.blank = false;
                shown.push_str("  ");
                shown.push_str(&self.style.cyan(line));
                shown.push('\n');
            }
            return;
        }
        if let Some((mark, language)) = fence(line) {
            self.flush(width, shown);
            self.fence = Some(mark);
            self.blank = false;
            if !language.is_empty() {
                shown.push_str(&self.style.dim(&format!("  {language}")));
                shown.push('\n');
            }
            return;
        }
        if line.trim().is_empty() {
            self.flush(width, shown);
            self.list.pass_blank();
            if !self.blank {
                self.blank = true;
                shown.push('\n');
            }
            return;
        }
        if self.block.starts_with('|') != line.starts_with('|') {
            self.flush(width, shown);
        }
        self.blank = false;
        self.block.push_str(line);
        self.block.push('\n');
    }

    fn flush(&mut self, width: usize, shown: &mut String) {
        if self.block.is_empty() {
            return;
        }
        let block = std::mem::take(&mut self.block);
        let width = width.max(NARROWEST);
        let lines = block.lines().map(|line| self.list.line(line, width));
        let text = Text {
            lines: lines.collect(),
        };
        let text = FmtText::from_text(&self.skin, text, Some(width));
        for line in text.to_string().lines() {
            shown.push_str(line.trim_end());
            shown.push('\n');
        }
    }
}

/// A whole text, rendered.
pub fn rendered(text: &str, style: Style, width: usize) -> String {
    let mut markdown = Markdown::new(style);
    let mut shown = markdown.push(text, width);
    shown.push_str(&markdown.finish(width));
    shown
}

/// The mark of a line that begins or ends a block of code, and what stands behind it.
fn fence(line: &str) -> Option<(Fence, &str)> {
    let line = line.trim();
    let mark = line.chars().next().filter(|mark| "`~".contains(*mark))?;
    let rest = line.trim_start_matches(mark);
    let length = line.len() - rest.len();
    (length >= 3 && !rest.contains('`')).then_some((Fence { mark, length }, rest.trim()))
}

fn skin(style: Style) -> MadSkin {
    if !style.color {
        return MadSkin::no_style();
    }
    // Whether colours are wanted was decided before.
    force_color_output(true);
    let mut skin = MadSkin::default();
    for header in &mut skin.headers {
        header.align = Alignment::Left;
        header.compound_style.remove_attr(Attribute::Underlined);
        header.add_attr(Attribute::Bold);
    }
    if let Some(first) = skin.headers.first_mut() {
        first.add_attr(Attribute::Underlined);
    }
    // The sixteen colours that every theme makes readable on its own ground.
    for code in [&mut skin.inline_code, &mut skin.code_block.compound_style] {
        code.object_style.background_color = None;
        code.object_style.foreground_color = Some(Color::Cyan);
    }
    skin
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "# Title\n\nSome **bold** and `code`, 漢字 and 😀.\n- one\n- two\n  - deep\n1. first\n\n\n\n```rust\nfn main() {}\n\n    let x = 1;\n```\n| a | b |\n|---|---|\n| 漢字 | x |\n\n> said\n";

    #[test]
    fn an_answer_is_rendered_the_same_whole_and_in_pieces() {
        let whole = rendered(ANSWER, Style::default(), 40);
        let expected = "Title\n\nSome bold and code, 漢字 and 😀.\n• one\n• two\n  • deep\n1. first\n\n  rust\n  fn main() {}\n  \n      let x = 1;\n│ a  │ b │\n├────┼───┤\n│漢字│x  │\n\n▐ said\n";
        assert_eq!(whole, expected);
        let mut markdown = Markdown::new(Style::default());
        let mut pieces = String::new();
        for character in ANSWER.chars() {
            pieces += &markdown.push(&character.to_string(), 40);
        }
        pieces += &markdown.finish(40);
        assert_eq!(pieces, whole);
    }

    /// Whole, and in pieces of each length.
    fn shown(text: &str, width: usize) -> String {
        let whole = rendered(text, Style::default(), width);
        for size in 1..=text.len().min(40) {
            let mut markdown = Markdown::new(Style::default());
            let mut pieces = String::new();
            let characters: Vec<char> = text.chars().collect();
            for piece in characters.chunks(size) {
                pieces += &markdown.push(&piece.iter().collect::<String>(), width);
            }
            pieces += &markdown.finish(width);
            assert_eq!(pieces, whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn what_is_no_markup_stays() {
        let text = "Use *.rs and *.py files.\n2 * 3 * 4 = 24\nx = a ** 2 + b ** 2\n`find . -name` *.txt or *.md\nchar *p, *q;\n5 ~~ 6 ~~ 7\n| *.rs | a ** b |\n|---|---|\n| 2 * 3 * 4 | *it* |\n";
        assert_eq!(
            shown(text, 40),
            "Use *.rs and *.py files.\n2 * 3 * 4 = 24\nx = a ** 2 + b ** 2\nfind . -name *.txt or *.md\nchar *p, *q;\n5 ~~ 6 ~~ 7\n│  *.rs   │a ** b│\n├─────────┼──────┤\n│2 * 3 * 4│it    │\n"
        );
    }

    #[test]
    fn lists_keep_their_numbers_and_their_depth() {
        for (width, text, expected) in [
            (
                40,
                "5. five\n7. seven\n10. ten\n",
                "5. five\n7. seven\n10. ten\n",
            ),
            (40, "1. a\n1. b\n", "1. a\n1. b\n"),
            (40, "1. a\n\ntext\n\n2. b\n", "1. a\n\ntext\n\n2. b\n"),
            (
                40,
                "1. First:\n    - sub one\n    - sub two\n        1. deep\n        2. deeper\n2. Second\n",
                "1. First:\n    • sub one\n    • sub two\n        1. deep\n        2. deeper\n2. Second\n",
            ),
            (
                40,
                "- a\n  - b\n    - c\n      - d\n\n    more of c\n",
                "• a\n  • b\n    • c\n      • d\n\n    more of c\n",
            ),
            (
                40,
                "text\n\n    let x = *p * 2;\n",
                "text\n\nlet x = *p * 2;\n",
            ),
            (40, "- a\n\nover\n\n    - code\n", "• a\n\nover\n\n- code\n"),
            (
                20,
                "1. one two three four five\n    - six seven eight\n",
                "1. one two three\n   four five\n    • six seven\n      eight\n",
            ),
        ] {
            assert_eq!(shown(text, width), expected, "{text:?}");
        }
    }

    #[test]
    fn no_depth_and_no_number_breaks_it() {
        let mut text = String::new();
        for depth in 0..60 {
            text += &format!("{}- word\n{0}123456789. word\n", " ".repeat(depth));
        }
        for width in 0..40 {
            assert!(rendered(&text, Style::default(), width).contains("123456789."));
        }
    }

    #[test]
    fn lines_are_wrapped_and_nothing_is_obeyed() {
        assert_eq!(shown("a\x1b[8mb\x1b[0m c\n", 20), "ab c\n");
        let text = "one two three four five six seven\x1b]52;c;eA==\x07 \u{202e}eight\r\n";
        assert_eq!(
            rendered(text, Style::default(), 20),
            "one two three four\nfive six\nseven]52;c;eA==\neight\n"
        );
    }

    #[test]
    fn no_width_and_no_table_breaks_it() {
        let wide = format!(
            "| {} | b |\n|---|---|\n| 漢字😀 | {} |\n",
            "x".repeat(90),
            "y ".repeat(60)
        );
        for width in 0..60 {
            let shown = rendered(&wide, Style { color: true }, width);
            assert!(shown.contains('漢'), "{width}: {shown}");
        }
    }

    #[test]
    fn what_waits_is_shown_as_it_was_written() {
        let mut markdown = Markdown::new(Style::default());
        assert_eq!(markdown.push("done\n| a |\n| b", 40), "done\n");
        assert_eq!(markdown.pending().collect::<Vec<_>>(), ["| a |", "| b"]);
        markdown.reset();
        assert_eq!(markdown.pending().count(), 0);
    }
}
