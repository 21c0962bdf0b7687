//! How large a prompt is before the vendor has counted it: pure.

use super::attempt::estimate_tokens;

/// How large a prompt is before the vendor has counted it.
///
/// Tokenizers differ, and their tables are larger than this program. Two numbers are kept instead: a
/// likely one, and one that no tokenizer in use exceeds, for holds. A token covers at least one
/// byte; in words as people write them it covers at least two. So the most is half of what such words
/// consist of and all of the rest: about twice what English or code really needs, and still enough for
/// digits, base64, letters at random, lists of short words and other scripts.
/// What the vendor counted for the beginning of the same conversation is taken as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PromptSize {
    /// Tokens that the vendor counted for the beginning of the prompt.
    pub counted_tokens: u64,
    /// Bytes of the rest: text, arguments, schemas of tools.
    pub bytes: u64,
    /// Those of them of which a token covers at least two.
    pub light_bytes: u64,
    /// Messages and tools, each of which is wrapped in a few tokens.
    pub parts: u64,
}

/// Tokens that wrap one message or tool.
const TOKENS_PER_PART: u64 = 16;

/// Tokens that a vendor puts before a prompt of its own accord (instructions for tools).
const TOKENS_OF_VENDOR: u64 = 600;

impl PromptSize {
    /// The size of one text.
    pub fn of(text: &str) -> Self {
        let mut size = Self::default();
        size.add(text);
        size
    }

    /// Adds a message, a schema or another part of the prompt.
    pub fn add(&mut self, text: &str) {
        let mut weight = Weight::default();
        weight.feed(text.as_bytes());
        self.add_weight(&weight);
    }

    /// Adds a part of the prompt that was weighed piece by piece.
    pub fn add_weight(&mut self, weight: &Weight) {
        self.bytes = self.bytes.saturating_add(weight.bytes);
        self.light_bytes = self.light_bytes.saturating_add(weight.light_bytes);
        self.parts = self.parts.saturating_add(1);
    }

    /// About how many tokens it has.
    pub fn likely_tokens(&self) -> u64 {
        self.counted_tokens
            .saturating_add(estimate_tokens(self.bytes))
    }

    /// How many tokens its texts can have at most, without what wraps them.
    pub fn text_tokens(&self) -> u64 {
        let heavy = self.bytes.saturating_sub(self.light_bytes);
        heavy.saturating_add(self.light_bytes.div_ceil(2))
    }

    /// How many tokens it can have at most.
    pub fn most_tokens(&self) -> u64 {
        if self.bytes == 0 && self.parts == 0 {
            return self.counted_tokens;
        }
        let vendor = if self.counted_tokens == 0 {
            TOKENS_OF_VENDOR
        } else {
            0
        };
        self.counted_tokens
            .saturating_add(self.text_tokens())
            .saturating_add(self.parts.saturating_mul(TOKENS_PER_PART))
            .saturating_add(vendor)
    }
}

/// Weighs a text, whole or in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    bytes: u64,
    light_bytes: u64,
    /// The byte before the next one.
    before: u8,
    /// How many blanks stand before the next one.
    blanks: u32,
}

impl Weight {
    /// Takes the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        let mut light: u64 = 0;
        for &byte in piece {
            if byte == b' ' {
                self.blanks = self.blanks.saturating_add(1);
                // One stands before a word and is part of it, more of them are a token of their own.
                light += u64::from(self.blanks != 2);
            } else {
                self.blanks = 0;
                light += u64::from(
                    self.before == b' ' && byte.is_ascii_lowercase() || is_usual(self.before, byte),
                );
            }
            self.before = byte;
        }
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        self.light_bytes = self.light_bytes.saturating_add(light);
    }
}

/// Whether these two letters stand side by side in many words, so that tokenizers have learned what they are part of.
fn is_usual(first: u8, second: u8) -> bool {
    let followers = first
        .checked_sub(b'a')
        .and_then(|row| USUAL.get(usize::from(row)));
    let letter = u32::from(second.wrapping_sub(b'a'));
    followers.is_some_and(|followers| letter < 26 && followers >> letter & 1 == 1)
}

/// For each letter the set of those that follow it in many words, `a` the lowest bit.
const USUAL: [u32; 26] = usual();

#[expect(
    clippy::indexing_slicing,
    reason = "constants, checked where they are compiled"
)]
const fn usual() -> [u32; 26] {
    let mut table = [0; 26];
    let mut row = 0;
    while row < 26 {
        let mut at = 0;
        while at < FOLLOWERS[row].len() {
            table[row] |= 1 << (FOLLOWERS[row][at] - b'a');
            at += 1;
        }
        row += 1;
    }
    table
}

/// What follows `a`, `b` and so on: the 206 pairs that make up 93 % of all pairs of small letters in six megabytes of
/// English, Rust and Python. With these and OpenAI's `o200k_base` and `cl100k_base`, words of one to forty letters, at
/// random out of all of them, out of those that are rare, out of consonants, vowels, `acgt`, `abcdef` or out of these
/// pairs, parted by blanks, lines, tabs, commas or nothing, have no more tokens than [`PromptSize::text_tokens`] says:
/// `tests/peers/prompt_tokens.mjs`.
const FOLLOWERS: [&[u8]; 26] = [
    b"bcdgilmnprstuy",
    b"aejlouy",
    b"aehiklortu",
    b"adeiosu",
    b"acdefglmnpqrstvwxy",
    b"aefioru",
    b"eis",
    b"aeiot",
    b"abcdefglmnoprstvz",
    b"",
    b"e",
    b"adefilostuy",
    b"aeiopsu",
    b"acdefgiostu",
    b"bcdfklmnoprstuvw",
    b"aeiloprstu",
    b"u",
    b"acdegikmnorstuy",
    b"aehiopstuy",
    b"acehioprstuy",
    b"beilmnprst",
    b"aei",
    b"aehior",
    b"t",
    b"pst",
    b"e",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_is_above_the_likely_and_not_absurdly_so() {
        let prose = "the quick brown fox jumps over the lazy dog and then rests. ".repeat(100);
        let size = PromptSize::of(&prose);
        assert_eq!(size.bytes, 6000);
        assert_eq!(size.light_bytes, 5199);
        assert_eq!(size.likely_tokens(), 1500);
        assert_eq!(size.most_tokens(), 801 + 2600 + 16 + 600);
        let digits = PromptSize::of(&"7".repeat(1000));
        assert_eq!(digits.most_tokens(), 1000 + 16 + 600);
        let mut next = PromptSize {
            counted_tokens: 1234,
            ..PromptSize::default()
        };
        assert_eq!((next.likely_tokens(), next.most_tokens()), (1234, 1234));
        next.add("ok");
        assert_eq!((next.likely_tokens(), next.most_tokens()), (1235, 1252));
    }

    /// As in `tests/peers/prompt_tokens.mjs`, which says what the file holds.
    fn text_of(letters: &str, length: usize, behind: &str, words: usize) -> String {
        let mut state: u32 = 7;
        let mut draw = |from: &[u8]| {
            state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            from[(state >> 8) as usize % from.len()]
        };
        let all: Vec<u8> = (b'a'..=b'z').collect();
        let mut text = String::new();
        for _ in 0..words {
            let mut letter = None;
            for _ in 0..length {
                let next = match (letters, letter) {
                    ("pairs", Some(before)) => FOLLOWERS[usize::from(before - b'a')],
                    ("pairs", None) => &[],
                    (letters, _) => letters.as_bytes(),
                };
                let drawn = draw(if next.is_empty() { &all } else { next });
                letter = Some(drawn);
                text.push(char::from(drawn));
            }
            text.push_str(behind);
        }
        text
    }

    #[test]
    fn no_tokenizer_makes_more_of_a_text() {
        let mut texts = 0;
        for line in include_str!("../../../tests/fixtures/prompt-tokens.tsv").lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [letters, length, behind, words, newer, older] = fields[..] else {
                panic!("{line}");
            };
            let behind = behind.replace("\\n", "\n").replace("\\t", "\t");
            let text = text_of(
                letters,
                length.parse().unwrap(),
                &behind,
                words.parse().unwrap(),
            );
            let most = PromptSize::of(&text).text_tokens();
            let counted: u64 = newer.parse::<u64>().unwrap().max(older.parse().unwrap());
            assert!(most >= counted, "{line}: {most}");
            assert!(most <= text.len() as u64, "{line}: {most}");
            texts += 1;
        }
        assert_eq!(texts, 504);
    }

    #[test]
    fn a_text_weighs_the_same_in_pieces() {
        let text = "for each  x in   [1, 2]:\n    print('qzq', x)\n";
        let mut whole = Weight::default();
        whole.feed(text.as_bytes());
        let mut pieces = Weight::default();
        for byte in text.bytes() {
            pieces.feed(&[byte]);
        }
        assert_eq!(pieces, whole);
    }
}
