//! A text as its reader understands it: without the white space that folds long lines and parts bytes, and,
//! where it holds any, with escapes undone. A secret that is written so is found in it as it is.

use std::ops::Range;

/// Bytes of the longest escape, `&#x10ffff;`.
const LONGEST_ESCAPE: usize = 10;

/// Bytes to search, and where each stands in the text.
pub(super) struct View<'t> {
    pub(super) text: &'t [u8],
    unescaped: bool,
    /// What to search.
    pub(super) bytes: Vec<u8>,
    /// Where the text ends in the middle of an escape.
    pub(super) cut: Option<usize>,
}

/// What stands at one place of a text.
enum Step {
    /// So many bytes that the view leaves out.
    Skip(usize),
    /// A byte that is written with so many.
    Byte(u8, usize),
    /// A character that is written with so many bytes.
    Character(char, usize),
    /// An escape that the text does not hold to its end.
    Cut,
}

impl<'t> View<'t> {
    /// Without white space.
    pub(super) fn folded(text: &'t [u8]) -> Self {
        Self {
            text,
            unescaped: false,
            bytes: text
                .iter()
                .copied()
                .filter(|byte| !is_space(*byte))
                .collect(),
            cut: None,
        }
    }

    /// Without white space and escapes; `None` for a text without escapes. `whole` says that nothing follows it.
    pub(super) fn unescaped(text: &'t [u8], whole: bool) -> Option<Self> {
        text.iter()
            .find(|byte| matches!(byte, b'%' | b'\\' | b'&'))?;
        let mut view = Self {
            text,
            unescaped: true,
            bytes: Vec::with_capacity(text.len()),
            cut: None,
        };
        let mut at = 0;
        while at < text.len() {
            match view.step(at) {
                Step::Skip(length) => at += length,
                Step::Byte(byte, length) => {
                    view.bytes.push(byte);
                    at += length;
                }
                Step::Character(character, length) => {
                    let mut buffer = [0; 4];
                    view.bytes
                        .extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
                    at += length;
                }
                Step::Cut if whole => {
                    view.bytes.extend(text.get(at));
                    at += 1;
                }
                Step::Cut => {
                    view.cut = Some(at);
                    break;
                }
            }
        }
        Some(view)
    }

    /// Where bytes of the view stand in the text.
    pub(super) fn place(&self, bytes: &Range<usize>) -> Range<usize> {
        self.places().next(bytes)
    }

    /// The same for ranges in order, without beginning anew for each.
    pub(super) fn places(&self) -> Places<'_, 't> {
        Places {
            view: self,
            at: 0,
            seen: 0,
        }
    }

    fn step(&self, at: usize) -> Step {
        let rest = self.text.get(at..).unwrap_or_default();
        let first = rest.first().copied().unwrap_or_default();
        let step = match first {
            b'%' if self.unescaped => percent(rest),
            b'\\' if self.unescaped => backslash(rest),
            b'&' if self.unescaped => entity(rest),
            byte => Step::Byte(byte, 1),
        };
        match step {
            Step::Byte(byte, length) if is_space(byte) => Step::Skip(length),
            Step::Character(character, length) if character.is_ascii_whitespace() => {
                Step::Skip(length)
            }
            step => step,
        }
    }
}

/// Goes through a view and the text side by side.
pub(super) struct Places<'v, 't> {
    view: &'v View<'t>,
    at: usize,
    seen: usize,
}

impl Places<'_, '_> {
    /// Where bytes of the view stand in the text; they begin behind those that were asked for before.
    pub(super) fn next(&mut self, bytes: &Range<usize>) -> Range<usize> {
        let length = self.view.text.len();
        let mut place = length..length;
        while self.at < length && self.seen < bytes.end {
            let (count, length) = match self.view.step(self.at) {
                Step::Skip(length) => (0, length),
                Step::Byte(_, length) => (1, length),
                Step::Character(character, length) => (character.len_utf8(), length),
                Step::Cut => (1, 1),
            };
            if count > 0 && self.seen <= bytes.start {
                place.start = self.at;
            }
            self.seen += count;
            self.at += length;
            place.end = self.at;
        }
        place
    }
}

/// A value without white space, as views have it.
pub(super) fn folded(value: &[u8]) -> Vec<u8> {
    View::folded(value).bytes
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

/// `%2F`.
fn percent(rest: &[u8]) -> Step {
    match hexadecimal(rest.get(1..3).unwrap_or_default()) {
        Some(byte) if rest.len() >= 3 => Step::Byte(byte, 3),
        _ if rest.len() < 3 && rest.iter().skip(1).all(u8::is_ascii_hexdigit) => Step::Cut,
        _ => Step::Byte(b'%', 1),
    }
}

/// `\/`, `\n`, `\x2f`, `\u002f`: of JSON, of languages and of shells.
fn backslash(rest: &[u8]) -> Step {
    let (marker, digits) = match rest.get(1) {
        None => return Step::Cut,
        Some(b'n' | b'r' | b't') => return Step::Skip(2),
        Some(b'x') => (2, 2),
        Some(b'u') => (2, 4),
        // It says that the next character is meant as it stands, however often that was said.
        Some(_) => return Step::Skip(1),
    };
    let escaped = rest.get(marker..marker + digits);
    let Some(escaped) = escaped else {
        let so_far = rest.get(marker..).unwrap_or_default();
        return if so_far.iter().all(u8::is_ascii_hexdigit) {
            Step::Cut
        } else {
            Step::Skip(1)
        };
    };
    let number = std::str::from_utf8(escaped)
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    match (number.and_then(char::from_u32), digits) {
        (Some(character), 4) => Step::Character(character, 6),
        (Some(character), _) => Step::Byte(u8::try_from(character).unwrap_or_default(), 4),
        (None, _) => Step::Skip(1),
    }
}

/// `&amp;`, `&#47;`, `&#x2f;`.
fn entity(rest: &[u8]) -> Step {
    let inner = rest.get(1..).unwrap_or_default();
    let end = inner
        .iter()
        .take(LONGEST_ESCAPE)
        .position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'#'));
    let Some(end) = end else {
        return if inner.len() < LONGEST_ESCAPE {
            Step::Cut
        } else {
            Step::Byte(b'&', 1)
        };
    };
    let name = std::str::from_utf8(inner.get(..end).unwrap_or_default()).unwrap_or_default();
    let character = match name {
        _ if inner.get(end) != Some(&b';') => None,
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        name => name.strip_prefix('#').and_then(|number| {
            let number = number
                .strip_prefix(['x', 'X'])
                .map_or_else(|| number.parse(), |digits| u32::from_str_radix(digits, 16));
            char::from_u32(number.ok()?)
        }),
    };
    character.map_or(Step::Byte(b'&', 1), |character| {
        Step::Character(character, end + 2)
    })
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    (digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_folds_are_undone() {
        for (text, expected) in [
            ("a b\tc\r\nd", "abcd"),
            ("a%2Fb%2fc%zz%", "a/b/c%zz%"),
            (r#"a\/b\"c\\d\ne\u002ff\x2fg\ h"#, r#"a/b"cde/f/gh"#),
            ("&amp;&#47;&#x2F;&nbsp;&", "&//&nbsp;&"),
            (r"\u00e4\uZZ", "äuZZ"),
        ] {
            let bytes = View::unescaped(text.as_bytes(), true)
                .unwrap_or_else(|| View::folded(text.as_bytes()))
                .bytes;
            assert_eq!(String::from_utf8_lossy(&bytes), expected, "{text}");
        }
        assert!(View::unescaped(b"plain text", true).is_none());
    }

    #[test]
    fn places_are_told_in_the_text() {
        let view = View::unescaped(br"x %2F\u00e4 y", true).unwrap();
        assert_eq!(view.bytes, "x/äy".as_bytes());
        assert_eq!(view.place(&(1..2)), 2..5);
        assert_eq!(view.place(&(2..4)), 5..11);
        assert_eq!(view.place(&(0..5)), 0..13);
    }

    #[test]
    fn an_escape_that_is_not_whole_is_waited_for() {
        for (text, cut) in [
            ("ab%", 2),
            ("ab%2", 2),
            (r"ab\", 2),
            (r"ab\u00", 2),
            ("ab&am", 2),
        ] {
            let view = View::unescaped(text.as_bytes(), false).unwrap();
            assert_eq!((view.bytes.as_slice(), view.cut), (&b"ab"[..], Some(cut)));
        }
        assert_eq!(View::unescaped(b"5% ", false).unwrap().cut, None);
    }
}
