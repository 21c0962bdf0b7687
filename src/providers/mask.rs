//! Keys in words of others: error bodies repeat parts of them.

use std::sync::LazyLock;

use regex::Regex;
use secrecy::{ExposeSecret, SecretString};

/// What stands where a secret stood.
const MASK: &str = "[masked]";

static KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?x)
        \b(?:sk|gsk|pk|rk|xai|csk|fw|or|tgp_v1)[-_][A-Za-z0-9_*.-]{6,}
        |\bAIza[A-Za-z0-9_*-]{10,}
        |(?i:\bbearer\s+)[A-Za-z0-9_.~+/=*-]{6,}",
    )
    .ok()
});

/// The text without the key in use and without whatever looks like one.
pub(super) fn mask(text: &str, key: Option<&SecretString>) -> String {
    let mut masked = text.to_owned();
    if let Some(key) = key.map(ExposeSecret::expose_secret)
        && !key.is_empty()
    {
        masked = masked.replace(key, MASK);
    }
    match &*KEYS {
        Some(keys) => keys.replace_all(&masked, MASK).into_owned(),
        None => masked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_masked_and_words_are_not() {
        let own = SecretString::from("my own key");
        for (text, expected) in [
            ("key sk-ab***yz.", "key [masked]"),
            ("key sk-proj-0123456789abcdef bad", "key [masked] bad"),
            ("gsk_0123456789abcdef", "[masked]"),
            ("AIzaSyA1234567890abcdef", "[masked]"),
            (
                "Authorization: Bearer abc.def-ghi",
                "Authorization: [masked]",
            ),
            ("this is my own key here", "this is [masked] here"),
            (
                "a risk-averse task-oriented answer",
                "a risk-averse task-oriented answer",
            ),
            ("model gpt-4o", "model gpt-4o"),
        ] {
            assert_eq!(mask(text, Some(&own)), expected);
        }
    }
}
