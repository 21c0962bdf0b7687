//! What a line of Markdown is: a heading, an item of a list, a quotation, code, a row of a table, or text. No effects.
//!
//! Numbers of items stay those that were written, and nested items stay where they were put.

use termimad::minimad::{Composite, CompositeStyle, Compound, Line, TableRow};

use super::inline::parts;

/// Indentation from which a line is code, where it belongs to no list. Source: CommonMark 0.31.2, section 4.4.
const CODE: usize = 4;

/// Digits of the number of an item at the most. Source: CommonMark 0.31.2, section 5.2.
const DIGITS: usize = 9;

/// The list that lines belong to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    /// Columns before the text of its last item; none without a list.
    text: Option<usize>,
    after_blank: bool,
}

/// What begins a line of a list.
struct Marker {
    /// The number that was written, where it has one.
    number: Option<u32>,
    /// Bytes of the marker and the blank behind it.
    length: usize,
}

impl List {
    /// A blank line was passed.
    pub(super) fn pass_blank(&mut self) {
        self.after_blank = true;
    }

    /// What a line is, for a screen of `width` columns.
    pub(super) fn line<'l>(&mut self, line: &'l str, width: usize) -> Line<'l> {
        let after_blank = std::mem::take(&mut self.after_blank);
        if line.starts_with('|') {
            return row(line);
        }
        let text = line.trim_start_matches(' ');
        let indent = line.len() - text.len();
        let is_heading = heading(text).is_some();
        if indent == 0 && marker(text).is_none() && (after_blank || is_heading) {
            self.text = None;
        }
        let code = self.text.map_or(CODE, |text| text + CODE);
        if indent < CODE && is_rule(text) {
            return Line::HorizontalRule;
        }
        if (self.text.is_some() || indent < CODE)
            && let Some(Marker { number, length }) = marker(text)
        {
            self.text = Some(indent + length);
            let parts = parts(text.get(length..).unwrap_or_default());
            // A narrow screen has no room for deep ones.
            let level = u8::try_from(indent.min(width / 4)).unwrap_or(u8::MAX);
            return match number {
                Some(number) => Line::new_ordered_list_item(level, number, parts),
                None => Line::new_list_item(level, parts),
            };
        }
        if indent >= code {
            return Line::new_code(Compound::raw_str(line.get(code..).unwrap_or_default()));
        }
        if let Some((level, text)) = heading(text).filter(|_| indent < CODE) {
            return Line::new_header(level, parts(text));
        }
        if let Some(said) = line.strip_prefix('>') {
            return Line::new_quote(parts(said.strip_prefix(' ').unwrap_or(said)));
        }
        Line::new_paragraph(parts(line))
    }
}

/// What begins an item, and the text behind it.
fn marker(text: &str) -> Option<Marker> {
    if ["* ", "- ", "+ "].iter().any(|mark| text.starts_with(mark)) {
        return Some(Marker {
            number: None,
            length: 2,
        });
    }
    let rest = text.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let digits = text.len() - rest.len();
    let behind = rest.strip_prefix(['.', ')'])?;
    let blank = usize::from(behind.starts_with(' '));
    if !(1..=DIGITS).contains(&digits) || blank == 0 && !behind.is_empty() {
        return None;
    }
    Some(Marker {
        number: Some(text.get(..digits)?.parse().ok()?),
        length: digits + 1 + blank,
    })
}

/// The level of a heading and its text.
fn heading(text: &str) -> Option<(u8, &str)> {
    let rest = text.trim_start_matches('#');
    let level = u8::try_from(text.len() - rest.len()).ok()?;
    let words = rest.strip_prefix(' ')?;
    (1..=6).contains(&level).then_some((level, words))
}

/// Whether a line parts what stands above and below it.
fn is_rule(text: &str) -> bool {
    ['-', '*', '_'].into_iter().any(|mark| {
        let marks = text.matches(mark).count();
        marks >= 3 && text.chars().all(|each| each == mark || each == ' ')
    })
}

/// A row of a table, or the line below its heading.
fn row(line: &str) -> Line<'_> {
    let rule = Line::from(line);
    if matches!(rule, Line::TableRule(_)) {
        return rule;
    }
    let cells = cells(line).into_iter().map(|cell| Composite {
        style: CompositeStyle::Paragraph,
        compounds: parts(cell.trim()),
    });
    Line::TableRow(TableRow {
        cells: cells.collect(),
    })
}

/// The cells of a row; a bar behind a backslash or in code parts none.
fn cells(line: &str) -> Vec<&str> {
    let mut cells = Vec::new();
    let (mut begin, mut in_code, mut is_escaped) = (1, false, false);
    for (at, character) in line.char_indices().skip(1) {
        match character {
            '`' if !is_escaped => in_code = !in_code,
            '|' if !is_escaped && !in_code => {
                cells.extend(line.get(begin..at));
                begin = at + 1;
            }
            _ => {}
        }
        is_escaped = character == '\\' && !is_escaped && !in_code;
    }
    let last = line.get(begin..).unwrap_or_default();
    if !last.trim().is_empty() {
        cells.push(last);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_the_cells_that_were_written() {
        for (line, expected) in [
            ("| a | b |", &[" a ", " b "][..]),
            ("| a | b", &[" a ", " b"]),
            ("|a||c|", &["a", "", "c"]),
            ("| `x|y` | a \\| b |", &[" `x|y` ", " a \\| b "]),
            ("|", &[]),
        ] {
            assert_eq!(cells(line), expected, "{line}");
        }
    }

    #[test]
    fn rules_are_no_items_and_no_emphasis() {
        for (line, is) in [
            ("---", true),
            ("* * *", true),
            ("***", true),
            ("___", true),
            ("--", false),
            ("- - x", false),
            ("-*-", false),
        ] {
            assert_eq!(is_rule(line), is, "{line}");
        }
    }
}
