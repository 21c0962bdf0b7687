//! Lines for people, broken between words.

use unicode_width::UnicodeWidthStr;

/// Columns in which words can still be read.
const NARROW: usize = 12;

/// A text whose lines fit into so many columns where their words do; what goes on stands below the first word behind
/// the indentation, or below the second column of a table.
pub(crate) fn wrapped(text: &str, columns: usize) -> String {
    let mut whole = String::new();
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches('\n');
        if width(body) <= columns {
            whole.push_str(line);
            continue;
        }
        let indent = indentation(body);
        let rest = words(body).into_iter().skip(1);
        let widest = rest.map(|word| width(word.trim_end())).max();
        let room = widest.unwrap_or(0).max(NARROW);
        // A column that leaves no room is none.
        let indent = if columns < indent + room {
            indent.min(2)
        } else {
            indent
        };
        let mut used = 0;
        for word in words(body) {
            let wide = width(word.trim_end());
            if used > 0 && used + wide > columns {
                whole.truncate(whole.trim_end_matches(' ').len());
                whole.push('\n');
                whole.push_str(&" ".repeat(indent));
                used = indent;
            }
            whole.push_str(word);
            used += width(word);
        }
        whole.truncate(whole.trim_end_matches(' ').len());
        if line.ends_with('\n') {
            whole.push('\n');
        }
    }
    whole
}

/// Where the second column of a line begins, which has two blanks before it; else where its first word does.
fn indentation(line: &str) -> usize {
    let text = line.trim_start();
    let begin = line.len() - text.len();
    let Some((first, rest)) = text.split_once("  ") else {
        return begin;
    };
    let blanks = rest.len() - rest.trim_start().len();
    begin + width(first) + 2 + blanks
}

/// Words with the blanks behind them; those at the beginning belong to the first one.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut begin = 0;
    let mut before = ' ';
    let first = line.len() - line.trim_start().len();
    for (at, character) in line.char_indices() {
        if at > first && before == ' ' && character != ' ' {
            words.extend(line.get(begin..at));
            begin = at;
        }
        before = character;
    }
    words.extend(line.get(begin..));
    words
}

/// Columns of a text, without what colours it.
fn width(text: &str) -> usize {
    let mut parts = text.split("\x1b[");
    let plain = parts.next().unwrap_or_default().width();
    let rest = parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest).width());
    plain + rest.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        for (text, columns, expected) in [
            ("short\n", 10, "short\n"),
            ("one two three\n", 8, "one two\nthree\n"),
            ("  one two three", 8, "  one\n  two\n  three"),
            (
                "  /undo    Take it all back\n",
                24,
                "  /undo    Take it all\n           back\n",
            ),
            (
                "  /budget [USD | none] Show it all\n",
                24,
                "  /budget [USD | none]\n  Show it all\n",
            ),
            (
                "\x1b[31merror:\x1b[0m one two\n",
                12,
                "\x1b[31merror:\x1b[0m one\ntwo\n",
            ),
            (
                "  14:05  0123456789abcdef  2 turns\n",
                20,
                "  14:05\n  0123456789abcdef\n  2 turns\n",
            ),
            ("unbreakable", 4, "unbreakable"),
            ("漢字 漢字 漢字", 9, "漢字 漢字\n漢字"),
        ] {
            assert_eq!(wrapped(text, columns), expected, "{text:?}");
        }
    }
}
