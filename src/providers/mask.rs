//! Keys in words of others. Refusals repeat parts of keys, which the redactor cannot know: stars in
//! the middle, or a few letters of a key that is not ours.

use std::sync::LazyLock;

use regex::Regex;

use crate::redact::{MASK, Redactor};

static PARTS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        \b(?:sk|gsk|pk|rk|xai|csk)[-_][A-Za-z0-9_*.-]{5,}[A-Za-z0-9_*-]
        |\bAIza[A-Za-z0-9_*-]{10,}
        |(?i:\bbearer\s+)[A-Za-z0-9_.~+/=*-]{6,}
        |\b[A-Za-z0-9_-]{2,}\*{3,}[A-Za-z0-9_*-]*",
    )
    .ok()
});

/// The text without known secrets and without whatever looks like a key or a part of one.
pub(super) fn mask(text: &str, redactor: &Redactor) -> String {
    // Long words were cut: half a key at their end is not recognised any more.
    let (text, end) = match text.strip_suffix('…') {
        Some(text) => (redactor.before_cut(text), "…"),
        None => (text, ""),
    };
    let masked = redactor.mask(text);
    let masked = match &*PARTS {
        Some(parts) => parts.replace_all(&masked, MASK),
        None => masked,
    };
    format!("{masked}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    #[test]
    fn keys_and_parts_of_keys_are_masked_and_words_are_not() {
        let redactor = Redactor::new([SecretString::from("my own key")]);
        for (text, expected) in [
            ("key sk-ab***yz.", "key [redacted]."),
            ("key: abcd****wxyz", "key: [redacted]"),
            ("key sk-other-987654321 bad", "key [redacted] bad"),
            ("gsk_0123456789abcdef", "[redacted]"),
            ("AIzaSyA1234567890abcdef", "[redacted]"),
            ("sent: Bearer abc.def-ghi", "sent: [redacted]"),
            ("this is my own key here", "this is [redacted] here"),
            (
                "a risk-averse task-oriented answer",
                "a risk-averse task-oriented answer",
            ),
            ("**bold** model gpt-4o", "**bold** model gpt-4o"),
            ("it was my ow…", "it was …"),
        ] {
            assert_eq!(mask(text, &redactor), expected);
        }
    }
}
