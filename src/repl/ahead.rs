//! What keys mean that were pressed before anybody asked; no effects.

use std::collections::VecDeque;

use crate::render::{PASTE, PASTED};

/// Lines that were entered ahead of their prompt, and one that was begun.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    lines: VecDeque<String>,
    begun: String,
}

impl Ahead {
    /// Takes keys as the line editor would take them, as far as they make a line. What is pasted enters none.
    pub(super) fn press(&mut self, keys: &str) {
        let mut rest = keys;
        loop {
            if let Some(pasted) = rest.strip_prefix(PASTE) {
                let (text, after) = pasted.split_once(PASTED).unwrap_or((pasted, ""));
                self.begun.push_str(&pasted_text(text));
                rest = after;
                continue;
            }
            let mut following = rest.chars();
            let Some(key) = following.next() else {
                return;
            };
            rest = following.as_str();
            match key {
                '\n' | '\r' => self.lines.push_back(std::mem::take(&mut self.begun)),
                // Backspace, in both of its forms.
                '\x7f' | '\x08' => _ = self.begun.pop(),
                // Ctrl-U.
                '\x15' => self.begun.clear(),
                '\x1b' => rest = after_escape(rest),
                '\t' => self.begun.push(key),
                key if key.is_control() => {}
                key => self.begun.push(key),
            }
        }
    }

    /// The next line that was entered.
    pub(super) fn line(&mut self) -> Option<String> {
        self.lines.pop_front()
    }

    /// What stands at the next prompt.
    pub(super) fn begun(&mut self) -> String {
        std::mem::take(&mut self.begun)
    }
}

/// What is pasted, as far as it is text: nobody pressed the keys in it.
pub(super) fn pasted_text(pasted: &str) -> String {
    let lines = pasted.replace("\r\n", "\n").replace('\r', "\n");
    let is_text = |key: &char| !key.is_control() || "\n\t".contains(*key);
    lines.chars().filter(is_text).collect()
}

/// What follows a key such as an arrow, which moves nothing here.
fn after_escape(rest: &str) -> &str {
    let Some(parameters) = rest.strip_prefix('[') else {
        // Alt and a key, or a key of the keypad.
        let mut keys = rest.strip_prefix('O').unwrap_or(rest).chars();
        _ = keys.next();
        return keys.as_str();
    };
    let end = parameters.find(|key| matches!(key, '@'..='~'));
    let end = end.map_or(parameters.len(), |end| end + 1);
    parameters.get(end..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_make_lines_and_pastes_make_none() {
        for (keys, lines, begun) in [
            ("", &[][..], ""),
            ("one\ntwo\rthr", &["one", "two"], "thr"),
            ("onn\x7fe\nx\x08\x15two", &["one"], "two"),
            ("a\x1b[Ab\x1bOAc\x1bxd\x1b[1;5De\x01", &[], "abcde"),
            (
                "see \x1b[200~a\r!b\r\n\x1b[201~ now",
                &[],
                "see a\n!b\n now",
            ),
            ("\x1b[200~a\nb\x1b[201~\nc", &["a\nb"], "c"),
            ("\x1b[200~not\nclosed", &[], "not\nclosed"),
            ("\x1b[200~a\x1b\x03b\x1b[201~", &[], "ab"),
            ("漢字\x7f", &[], "漢"),
        ] {
            let mut ahead = Ahead::default();
            ahead.press(keys);
            let entered: Vec<String> = std::iter::from_fn(|| ahead.line()).collect();
            assert_eq!(entered, lines, "{keys:?}");
            assert_eq!(ahead.begun(), begun, "{keys:?}");
        }
    }
}
