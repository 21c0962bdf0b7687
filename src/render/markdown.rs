//! Markdown as a terminal shows it, line by line while it comes: only the line that is not over yet,
//! and a table, wait for more.

use termimad::MadSkin;
use termimad::crossterm::style::{Attribute, Color, force_color_output};
use termimad::minimad::Alignment;

use super::Style;

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
            blank: true,
        }
    }

    /// Takes a piece; gives what is finished by it: whole lines for a terminal of `width` columns.
    pub(super) fn push(&mut self, piece: &str, width: usize) -> String {
        let mut shown = String::new();
        let mut pieces = piece.split('\n');
        if let Some(first) = pieces.next() {
            clean(first, &mut self.line);
        }
        for next in pieces {
            let line = std::mem::take(&mut self.line);
            self.take(&line, width, &mut shown);
            clean(next, &mut self.line);
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
            let line = std::mem::take(&mut self.line);
            self.take(&line, width, &mut shown);
        }
        self.flush(width, &mut shown);
        self.fence = None;
        self.blank = true;
        shown
    }

    /// What is not rendered yet, as it was written.
    pub(super) fn pending(&self) -> impl Iterator<Item = &str> {
        let line = Some(self.line.as_str()).filter(|line| !line.is_empty());
        self.block.lines().chain(line)
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
        let text = self
            .skin
            .text(block.trim_end_matches('\n'), Some(width.max(NARROWEST)));
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

/// Adds a text without what a terminal would obey: control characters, and marks that turn the
/// direction of writing.
pub(super) fn clean(text: &str, to: &mut String) {
    to.extend(text.split('\t').enumerate().flat_map(|(index, part)| {
        let blanks = if index == 0 { "" } else { "    " };
        blanks.chars().chain(part.chars().filter(|character| {
            !character.is_control()
                && !matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        }))
    }));
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

    #[test]
    fn lines_are_wrapped_and_nothing_is_obeyed() {
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
