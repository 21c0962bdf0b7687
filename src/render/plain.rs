//! What models, tools and servers say, without what a terminal would obey.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

/// A text for standard output: as it is where that is no terminal.
pub(super) fn for_stdout(text: &str) -> Cow<'_, str> {
    static TERMINAL: OnceLock<bool> = OnceLock::new();
    if *TERMINAL.get_or_init(|| io::stdout().is_terminal()) {
        plain(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// A text without control characters and marks that turn the direction of writing. Lines, tabs and styles stay: a
/// style changes nothing but how what follows it looks.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let obeyed = |character: char| {
        character.is_control() && character != '\n' && character != '\t'
            || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(obeyed) {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        if let Some(length) = style(from) {
            let (style, behind) = from.split_at(length);
            kept.push_str(style);
            rest = behind;
        } else {
            let mut characters = from.chars();
            characters.next();
            rest = characters.as_str();
        }
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// The length of a style (`ESC [ 1 ; 31 m`) at the beginning of a text.
fn style(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix("\u{1b}[")?;
    let end = numbers.find(|character: char| !(character.is_ascii_digit() || character == ';'))?;
    (end <= 24 && numbers.get(end..)?.starts_with('m')).then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_styles_is_obeyed() {
        for (text, expected) in [
            ("a\tb\nc é", "a\tb\nc é"),
            (
                "\u{1b}[1;31mred\u{1b}[0m\u{1b}[m",
                "\u{1b}[1;31mred\u{1b}[0m\u{1b}[m",
            ),
            ("a\u{1b}]0;title\u{7}b", "a]0;titleb"),
            ("a\u{1b}[2Jb\u{1b}[", "a[2Jb["),
            ("one\rtwo\u{8}\u{9b}2J", "onetwo2J"),
            ("\u{1b}\u{1b}[31mx", "\u{1b}[31mx"),
            ("\u{202e}x\u{2066}", "x"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }
}
