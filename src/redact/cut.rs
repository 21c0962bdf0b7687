//! Texts that were cut somewhere: half a secret at an edge is not recognised, so it is left out.

use super::Redactor;
use super::view::{View, folded};

/// The least length of a word at a cut that is taken for the rest of a key.
const WORD: usize = 16;

/// Bytes at a cut that are looked at.
const LOOKED_AT: usize = 16 * 1024;

impl Redactor {
    /// A text whose end was cut off, without what could be the beginning of a secret.
    pub fn before_cut<'t>(&self, text: &'t str) -> &'t str {
        let mut from = text.len().saturating_sub(LOOKED_AT);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let (_, end) = text.split_at(from);
        let open = from + self.scan(end, &[], false).open;
        text.get(..open).unwrap_or(text)
    }

    /// A text whose beginning was cut off, without what could be the end of a secret.
    pub fn after_cut<'t>(&self, text: &'t str) -> &'t str {
        let bytes = text.as_bytes();
        let bytes = bytes.get(..LOOKED_AT).unwrap_or(bytes);
        let known = self.table().cut_at_start(&folded(bytes));
        let known = View::folded(bytes).place(&(0..known)).end;
        let known = if known == bytes.len() { 0 } else { known };
        let mut end = known.max(word(bytes)).max(pem(text));
        while !text.is_char_boundary(end) {
            end += 1;
        }
        text.get(end..).unwrap_or(text)
    }
}

/// The length of a word that could be the rest of a key.
fn word(bytes: &[u8]) -> usize {
    let length = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(byte))
        .count();
    let word = bytes.get(..length).unwrap_or_default();
    if length >= WORD && word.iter().any(u8::is_ascii_digit) {
        length
    } else {
        0
    }
}

/// Where a private key ends whose beginning was cut off.
fn pem(text: &str) -> usize {
    let Some((before, after)) = text.split_once("-----END ") else {
        return 0;
    };
    let Some((name, _)) = after.split_once("-----") else {
        return 0;
    };
    if before.contains("-----BEGIN ") || !name.contains("PRIVATE KEY") {
        return 0;
    }
    before.len() + "-----END ".len() + name.len() + "-----".len()
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn half_a_secret_is_left_out() {
        let redactor = Redactor::new([SecretString::from("tok-4711/abc+def")]);
        for (text, before, after) in [
            ("plain words", "plain words", "plain words"),
            ("ends in tok-4711/ab", "ends in ", "ends in tok-4711/ab"),
            ("ends in tok-47\n11/ab", "ends in ", "ends in tok-47\n11/ab"),
            ("1/abc+def begins", "1/abc+def begins", " begins"),
            ("1/ab\nc+def begins", "1/ab\nc+def begins", " begins"),
            ("key sk-abc", "key ", "key sk-abc"),
            (
                "Ij9kLm2nOp5qRs8tUv1w more",
                "Ij9kLm2nOp5qRs8tUv1w more",
                " more",
            ),
            (
                "MIIabc\n-----END PRIVATE KEY-----\nmore",
                "MIIabc\n-----END PRIVATE KEY-----\nmore",
                "\nmore",
            ),
            ("", "", ""),
        ] {
            assert_eq!(redactor.before_cut(text), before, "{text}");
            assert_eq!(redactor.after_cut(text), after, "{text}");
        }
    }
}
