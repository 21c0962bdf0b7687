//! What models, tools and servers say, without what a terminal would obey.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _};
use std::sync::OnceLock;

/// A foreign text for standard output: as it is where that is no terminal.
pub(super) fn for_stdout(text: &str) -> Cow<'_, str> {
    if is_terminal() {
        plain(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// A text with styles of our own for standard output: as it is where that is no terminal.
pub(super) fn styled_for_stdout(text: &str) -> Cow<'_, str> {
    if is_terminal() {
        styled(text)
    } else {
        Cow::Borrowed(text)
    }
}

fn is_terminal() -> bool {
    static TERMINAL: OnceLock<bool> = OnceLock::new();
    *TERMINAL.get_or_init(|| io::stdout().is_terminal())
}

/// A foreign text without what a terminal would obey: styles, control characters and marks that turn the direction of
/// writing. Lines and tabs stay. Whatever was not written here passes this before styles of our own are put round it:
/// a style of others can hide text, and what follows it.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    without(text, |_style| "")
}

/// A foreign text as a part of one line: `plain`, with blanks for line ends and tabs.
pub(crate) fn in_line(text: &str) -> String {
    plain(text).replace(['\n', '\t'], " ")
}

/// A foreign text as `plain`, with blanks for tabs, so that its columns can be counted.
pub(crate) fn harmless(text: &str) -> String {
    plain(text).replace('\t', "    ")
}

/// What is left of a text that holds styles of our own, which stay. Foreign text in it has lost its
/// own before.
pub(super) fn styled(text: &str) -> Cow<'_, str> {
    without(text, |style| style)
}

/// A text without what a terminal would obey, but for what is kept of a style.
fn without(text: &str, kept_of: impl Fn(&str) -> &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_obeyed) {
        let (before, from) = rest.split_at(at);
        kept.push_str(before);
        if let Some(length) = style(from) {
            let (style, behind) = from.split_at(length);
            kept.push_str(kept_of(style));
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

/// Whether a terminal would obey a character instead of showing it. Lines and tabs are shown.
pub(crate) fn is_obeyed(character: char) -> bool {
    character.is_control() && character != '\n' && character != '\t'
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
    fn nothing_of_others_is_obeyed_and_of_ours_only_styles() {
        for (text, foreign, own) in [
            ("a\tb\nc é", "a\tb\nc é", "a\tb\nc é"),
            (
                "\u{1b}[1;31mred\u{1b}[0m\u{1b}[m",
                "red",
                "\u{1b}[1;31mred\u{1b}[0m\u{1b}[m",
            ),
            ("a\u{1b}]0;title\u{7}b", "a]0;titleb", "a]0;titleb"),
            ("a\u{1b}[2Jb\u{1b}[", "a[2Jb[", "a[2Jb["),
            ("one\rtwo\u{8}\u{9b}2J", "onetwo2J", "onetwo2J"),
            ("\u{1b}\u{1b}[8mx", "x", "\u{1b}[8mx"),
            ("\u{1b}\u{1b}[8m[8mx", "[8mx", "\u{1b}[8m[8mx"),
            ("\u{202e}x\u{2066}", "x", "x"),
        ] {
            assert_eq!(plain(text), foreign, "{text:?}");
            assert_eq!(styled(text), own, "{text:?}");
        }
    }

    #[test]
    fn a_part_of_a_line_ends_none() {
        assert_eq!(in_line("re\u{1b}[31mad\nallow?\t\r"), "read allow? ");
    }
}
