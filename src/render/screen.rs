//! What the terminal can do and how loud the program is.

use std::borrow::Cow;
use std::io::IsTerminal;

use super::plain::plain;
use super::width;
use super::wrap::wrapped;

/// How much and how to print, decided once.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// No progress, no notices.
    pub quiet: bool,
    /// How often `-v` was given.
    pub verbose: u8,
    /// Whether standard output is a terminal on which the cursor can be moved.
    pub live: bool,
    /// `TERM=dumb` or one of its like: whatever terminal there is knows no escape sequences.
    pub dumb: bool,
    /// Colours of standard output.
    pub out: Style,
    /// Colours of standard error.
    pub err: Style,
}

/// Whether a stream takes colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether escape sequences may be written.
    pub color: bool,
}

/// What the environment says about colours.
#[derive(Clone, Copy, Debug, Default)]
pub struct ColorHints {
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set, not empty and not `0`.
    pub force: bool,
    /// `TERM=dumb` or one of its like.
    pub dumb: bool,
}

impl Style {
    /// Decides for one stream; `choice` is `--color always` or `never`, `None` for `auto`.
    pub fn decide(choice: Option<bool>, hints: ColorHints, terminal: bool) -> Self {
        let color = choice.unwrap_or(if hints.no_color {
            false
        } else if hints.force {
            true
        } else {
            terminal && !hints.dumb
        });
        Self { color }
    }

    /// Faint text.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Bold text.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Red text.
    pub fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// Yellow text.
    pub fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Cyan text.
    pub fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// Green text.
    pub fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What stands in a style loses its own: it may come from models, tools and servers.
    fn paint(self, code: &str, text: &str) -> String {
        let text = plain(text);
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.into_owned()
        }
    }
}

impl Screen {
    /// Looks at both streams.
    pub fn detect(quiet: bool, verbose: u8, choice: Option<bool>, hints: ColorHints) -> Self {
        Self {
            quiet,
            verbose,
            // Both streams are one screen then: lines of progress may stand between those of the answer.
            live: std::io::stdout().is_terminal() && std::io::stderr().is_terminal() && !hints.dumb,
            dumb: hints.dumb,
            out: Style::decide(choice, hints, std::io::stdout().is_terminal()),
            err: Style::decide(choice, hints, std::io::stderr().is_terminal()),
        }
    }

    /// A text for people as it fits on the screen, broken between words; as it is where there is none.
    pub fn wrapped(self, text: &str) -> Cow<'_, str> {
        match self.columns() {
            Some(columns) => Cow::Owned(wrapped(text, columns)),
            None => Cow::Borrowed(text),
        }
    }

    /// Columns of the screen, where there is one.
    pub fn columns(self) -> Option<usize> {
        self.live.then(width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_painted_has_no_style_of_its_own() {
        let hidden = "a\x1b[8mb\x1b]0;t\x07";
        for (color, expected) in [(true, "\x1b[2mab]0;t\x1b[0m"), (false, "ab]0;t")] {
            assert_eq!(Style { color }.dim(hidden), expected);
        }
    }

    #[test]
    fn colours_are_decided_per_stream() {
        let none = ColorHints::default();
        let no_color = ColorHints {
            no_color: true,
            ..none
        };
        let force = ColorHints {
            force: true,
            ..none
        };
        let dumb = ColorHints { dumb: true, ..none };
        for (choice, hints, terminal, expected) in [
            (None, none, true, true),
            (None, none, false, false),
            (None, no_color, true, false),
            (None, force, false, true),
            (None, dumb, true, false),
            (Some(true), no_color, false, true),
            (Some(false), force, true, false),
        ] {
            assert_eq!(
                Style::decide(choice, hints, terminal).color,
                expected,
                "{choice:?} {hints:?}"
            );
        }
    }
}
