//! What is emphasised in a line of Markdown, by the rules of CommonMark: a star between blanks, in front of a file's
//! ending or in a formula is a star. No effects.
//!
//! Source: CommonMark 0.31.2, sections 6.1 (code spans) and 6.2 (emphasis); GitHub Flavored Markdown 0.29, section 6.5
//! (strikethrough). `_` stays as it is: names of files and variables are full of it.

use std::collections::BTreeMap;
use std::ops::Range;

use termimad::minimad::Compound;

/// What a backslash before it makes a plain character.
const ESCAPED: &str = "\\*_~`|";

/// A row of the same mark.
#[derive(Debug)]
struct Run {
    mark: char,
    /// The part of it that is not used up.
    left: Range<usize>,
    length: usize,
    opens: bool,
    closes: bool,
}

impl Run {
    /// Rows of one kind are closed by the same rows.
    fn kind(&self) -> (char, usize, bool) {
        let length = match self.mark {
            '~' => self.length.min(3),
            _ => self.length % 3,
        };
        (self.mark, length, self.opens)
    }
}

/// A place where something of the line is left out, and what changes there.
#[derive(Debug)]
struct Cut {
    place: Range<usize>,
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Italic(i32),
    Bold(i32),
    Strikeout(i32),
    Code(bool),
}

/// The parts of a line, each with how it looks; the marks of that are left out, and nothing else.
pub(super) fn parts(line: &str) -> Vec<Compound<'_>> {
    let (mut runs, mut cuts) = marks(line);
    pair(&mut runs, &mut cuts);
    cuts.sort_by_key(|cut| cut.place.start);
    let mut parts = Vec::new();
    let (mut at, mut italic, mut bold, mut strikeout, mut code) = (0, 0, 0, 0, false);
    let end = Cut {
        place: line.len()..line.len(),
        change: Change::Nothing,
    };
    for cut in cuts.into_iter().chain([end]) {
        if let Some(src) = line.get(at..cut.place.start).filter(|src| !src.is_empty()) {
            parts.push(Compound {
                src,
                bold: bold > 0,
                italic: italic > 0,
                code,
                strikeout: strikeout > 0,
            });
        }
        at = cut.place.end;
        match cut.change {
            Change::Nothing => {}
            Change::Italic(by) => italic += by,
            Change::Bold(by) => bold += by,
            Change::Strikeout(by) => strikeout += by,
            Change::Code(is) => code = is,
        }
    }
    parts
}

/// The rows of marks in a line, and what is left out of it for code and behind backslashes.
fn marks(line: &str) -> (Vec<Run>, Vec<Cut>) {
    let (mut runs, mut cuts) = (Vec::new(), Vec::new());
    let mut at = 0;
    let mut before = None;
    while let Some(mark) = rest(line, at).chars().next() {
        let from = rest(line, at);
        let length = || from.len() - from.trim_start_matches(mark).len();
        let next = match mark {
            '\\' => {
                let escaped = from.chars().nth(1).filter(|next| ESCAPED.contains(*next));
                if escaped.is_some() {
                    cuts.push(Cut {
                        place: at..at + 1,
                        change: Change::Nothing,
                    });
                }
                at + 1 + escaped.map_or(0, char::len_utf8)
            }
            '`' => match code(line, at, length()) {
                Some((open, close)) => {
                    let end = close.end;
                    cuts.push(Cut {
                        place: open,
                        change: Change::Code(true),
                    });
                    cuts.push(Cut {
                        place: close,
                        change: Change::Code(false),
                    });
                    end
                }
                None => at + length(),
            },
            '*' | '~' => {
                let length = length();
                let after = rest(line, at + length).chars().next();
                runs.push(Run {
                    mark,
                    left: at..at + length,
                    length,
                    opens: flanks(before, after),
                    closes: flanks(after, before),
                });
                at + length
            }
            other => at + other.len_utf8(),
        };
        before = line.get(at..next).and_then(|passed| passed.chars().last());
        at = next;
    }
    (runs, cuts)
}

/// The marks round the code that begins here: rows of the same length, each with a blank where both sides have one.
fn code(line: &str, at: usize, length: usize) -> Option<(Range<usize>, Range<usize>)> {
    let begin = at + length;
    let mut close = begin;
    loop {
        close += rest(line, close).find('`')?;
        let from = rest(line, close);
        let ticks = from.len() - from.trim_start_matches('`').len();
        if ticks == length {
            break;
        }
        close += ticks;
    }
    let inner = line.get(begin..close)?;
    let is_padded = inner.len() > 2
        && inner.starts_with(' ')
        && inner.ends_with(' ')
        && !inner.trim().is_empty();
    let blank = usize::from(is_padded);
    Some((at..begin + blank, close - blank..close + length))
}

/// Whether a row of marks stands at the outer side of something: before it `outer`, behind it `inner`.
fn flanks(outer: Option<char>, inner: Option<char>) -> bool {
    let is_blank = |side: Option<char>| side.is_none_or(char::is_whitespace);
    let is_mark = |side: Option<char>| {
        side.is_some_and(|side| !side.is_alphanumeric() && !side.is_whitespace())
    };
    !is_blank(inner) && (!is_mark(inner) || is_blank(outer) || is_mark(outer))
}

/// Finds what closes what, and leaves out the marks of it.
fn pair(runs: &mut [Run], cuts: &mut Vec<Cut>) {
    // The rows that may open something, and how far down it is known that none opens for a kind of row.
    let mut open: Vec<usize> = Vec::new();
    let mut searched: BTreeMap<(char, usize, bool), usize> = BTreeMap::new();
    for closing in 0..runs.len() {
        let (before, from) = runs.split_at_mut(closing);
        let Some(closer) = from.first_mut() else {
            return;
        };
        let bottom = searched.entry(closer.kind()).or_default();
        while closer.closes && !closer.left.is_empty() {
            let candidates = open.iter().enumerate().rev();
            let mut candidates = candidates.take_while(|(_, opening)| **opening >= *bottom);
            let fits = |opening: usize| {
                before
                    .get(opening)
                    .is_some_and(|opener| fit(opener, closer))
            };
            let found = candidates.find(|(_, opening)| fits(**opening));
            let Some((depth, opening)) = found.map(|(depth, opening)| (depth, *opening)) else {
                *bottom = closing;
                break;
            };
            // What was opened in between is over.
            open.truncate(depth + 1);
            let Some(opener) = before.get_mut(opening) else {
                break;
            };
            cuts.extend(used(opener, closer));
            if opener.left.is_empty() {
                open.pop();
            }
        }
        if closer.opens && !closer.left.is_empty() {
            open.push(closing);
        }
    }
}

/// Uses up what two rows have for each other.
fn used(opener: &mut Run, closer: &mut Run) -> [Cut; 2] {
    let length = opener.left.len().min(closer.left.len()).min(2);
    let change = |by| match (closer.mark, length) {
        ('~', _) => Change::Strikeout(by),
        (_, 2) => Change::Bold(by),
        _ => Change::Italic(by),
    };
    let (opened, closed) = (change(1), change(-1));
    opener.left.end -= length;
    let begin = opener.left.end;
    let end = closer.left.start;
    closer.left.start += length;
    [
        Cut {
            place: begin..begin + length,
            change: opened,
        },
        Cut {
            place: end..end + length,
            change: closed,
        },
    ]
}

/// Whether one row of marks may open what another closes.
fn fit(opener: &Run, closer: &Run) -> bool {
    if opener.mark != closer.mark || !opener.opens || opener.left.is_empty() {
        return false;
    }
    if opener.mark == '~' {
        return opener.length == 2 && closer.length == 2;
    }
    let is_ambiguous = opener.closes || closer.opens;
    let is_third = |length: usize| length.is_multiple_of(3);
    !is_ambiguous
        || !is_third(opener.length + closer.length)
        || is_third(opener.length) && is_third(closer.length)
}

fn rest(line: &str, at: usize) -> &str {
    line.get(at..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts with their looks as tags.
    fn told(line: &str) -> String {
        let mut text = String::new();
        for part in parts(line) {
            let looks = [
                (part.bold, 'b'),
                (part.italic, 'i'),
                (part.strikeout, 's'),
                (part.code, 'c'),
            ];
            let looks: String = looks
                .iter()
                .filter(|(is, _)| *is)
                .map(|(_, tag)| *tag)
                .collect();
            text += &if looks.is_empty() {
                part.src.to_owned()
            } else {
                format!("<{looks}:{}>", part.src)
            };
        }
        text
    }

    #[test]
    fn what_is_no_markup_stays() {
        for line in [
            "Use *.rs and *.py files.",
            "2 * 3 * 4 = 24",
            "x = a ** 2 + b ** 2",
            "char *p, *q;",
            "5 ~~ 6 ~~ 7",
            "~5 and ~6",
            "src/**/*.rs",
            "__init__ and snake_case_name",
            "an open `tick and a *star",
            "**open",
            "* a *",
            "***",
            "a\\b C:\\dir",
            "漢字 * 漢字 *",
        ] {
            assert_eq!(told(line), line);
        }
    }

    #[test]
    fn what_is_markup_is_shown_as_it_is_meant() {
        for (line, expected) in [
            (
                "a **bold** and *it* and ~~no~~",
                "a <b:bold> and <i:it> and <s:no>",
            ),
            ("***both***", "<bi:both>"),
            ("**bold *and it***", "<b:bold ><bi:and it>"),
            ("*it **bold** it*", "<i:it ><bi:bold><i: it>"),
            ("*a*b*c*", "<i:a>b<i:c>"),
            ("**a*", "*<i:a>"),
            ("in*side*word", "in<i:side>word"),
            ("**Note:** x", "<b:Note:> x"),
            (
                "`find . -name` *.txt or *.md",
                "<c:find . -name> *.txt or *.md",
            ),
            ("``a ` b`` `*x*` `` ` ``", "<c:a ` b> <c:*x*> <c:`>"),
            ("**`code`**", "<bc:code>"),
            ("no \\*it\\* \\\\ \\d", "no *it* \\ \\d"),
            ("a *b ~~c* d~~", "a <i:b ~~c> d~~"),
            ("**漢字** 😀*x*", "<b:漢字> 😀<i:x>"),
            ("", ""),
        ] {
            assert_eq!(told(line), expected, "{line}");
        }
    }

    #[test]
    fn long_lines_take_no_longer_than_they_are() {
        for line in ["a* ", "*a ", "*a*", "a ~~b~~ ", "*a **b ", "a", "`a", "\\*"] {
            assert!(!parts(&line.repeat(20_000)).is_empty());
        }
        parts(&format!("{}{}", "*a ".repeat(10_000), " a*".repeat(10_000)));
    }

    #[test]
    fn no_line_breaks_it() {
        let marks = ["*", "**", "~~", "`", "\\", " ", "a", "漢", "|"];
        for seed in 0..9_usize.pow(5) {
            let mut number = seed;
            let mut line = String::new();
            for _ in 0..5 {
                line += marks[number % 9];
                number /= 9;
            }
            let shown: usize = parts(&line).iter().map(|part| part.src.len()).sum();
            assert!(shown <= line.len(), "{line}");
        }
    }
}
