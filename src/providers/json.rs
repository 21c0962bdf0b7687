//! Looking into JSON whose shape nobody promises.

use serde_json::Value;

static NULL: Value = Value::Null;

/// The value under a key; null when there is none.
pub(super) fn at<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&NULL)
}

/// The value at a path such as `/usage/output_tokens`: keys only, and nothing is copied to look them up.
pub(super) fn within<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut keys = path.split('/').skip(1);
    keys.try_fold(value, |value, key| value.get(key))
}

/// The text under a key; empty when there is none.
pub(super) fn text_at<'a>(value: &'a Value, key: &str) -> &'a str {
    at(value, key).as_str().unwrap_or_default()
}

/// The most values that one text of a vendor may have: once it is read each takes up to some hundred bytes, however
/// shortly it is written.
pub(super) const MOST_VALUES: usize = 1 << 18;

/// What a value takes beside its text, bytes.
const VALUE: usize = 64;

/// Whether JSON text has more values than any answer: it is not read at all.
pub(super) fn is_heavy(text: &[u8]) -> bool {
    text.len() > MOST_VALUES && Scanner::over(text).values > MOST_VALUES
}

/// What JSON text takes in memory once it is read, bytes, roughly.
pub(super) fn weight(text: &str) -> usize {
    text.len() + VALUE * Scanner::over(text.as_bytes()).values
}

/// Follows JSON text, whole or in pieces, by its brackets, commas and quotes alone.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    values: usize,
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    has_begun: bool,
}

impl Scanner {
    fn over(text: &[u8]) -> Self {
        let mut scanner = Self::default();
        scanner.take(text);
        scanner
    }

    /// Takes the next piece.
    pub(super) fn take(&mut self, piece: &[u8]) {
        for &byte in piece {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = self.in_text,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' => {
                    self.depth += 1;
                    self.values += 1;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b',' => self.values += 1,
                _ => {}
            }
            self.has_begun |= !byte.is_ascii_whitespace();
        }
    }

    /// Whether a value has come and nothing of it is open.
    pub(super) fn is_whole(&self) -> bool {
        self.has_begun && self.depth == 0 && !self.in_text
    }
}

/// More tokens than this are in no call: whoever tells more has not counted. Sums of what is below cannot
/// overflow.
const MOST_TOKENS: u64 = 1_000_000_000;

/// A count of tokens, which some servers write as a float; `None` for what can be none.
pub(super) fn tokens(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be a count"
    )]
    let whole = value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        (0.0..=1e15).contains(&float).then_some(float as u64)
    })?;
    (whole <= MOST_TOKENS).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_counted_where_they_are_none_of_a_text() {
        for (text, values, is_whole) in [
            ("", 0, false),
            (" ", 0, false),
            ("null", 0, true),
            (r#"{"a": "b,[{\\",", "c": [1, 2]}"#, 2, false),
            (r#"{"a": "b,[{\"", "c": [1, 2]}"#, 4, true),
            ("[0,0,0]", 3, true),
            ("[[[", 3, false),
            (r#""half"#, 0, false),
        ] {
            let mut pieces = Scanner::default();
            for byte in text.bytes() {
                pieces.take(&[byte]);
            }
            assert_eq!(
                (pieces.values, pieces.is_whole()),
                (values, is_whole),
                "{text}"
            );
        }
        let list = |length: usize| format!("[{}0]", "0,".repeat(length - 1));
        assert!(!is_heavy(list(MOST_VALUES).as_bytes()));
        assert!(is_heavy(list(MOST_VALUES + 1).as_bytes()));
        let text = format!("\"{}\"", ",".repeat(2 * MOST_VALUES));
        assert!(!is_heavy(text.as_bytes()));
    }

    #[test]
    fn counts_are_what_a_call_can_have() {
        for (told, count) in [
            (json!(7), Some(7)),
            (json!(7.0), Some(7)),
            (json!(MOST_TOKENS), Some(MOST_TOKENS)),
            (json!(MOST_TOKENS + 1), None),
            (json!(u64::MAX), None),
            (json!(1e300), None),
            (json!(-1), None),
            (json!("7"), None),
            (Value::Null, None),
        ] {
            assert_eq!(tokens(&told), count, "{told}");
        }
    }
}
