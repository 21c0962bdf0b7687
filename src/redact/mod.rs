//! Keeps secrets out of everything that is written: known values in every form in which they
//! travel, and whatever has the shape of a key.
//!
//! May use nothing else of the crate: every surface, from tool results to the log, stands on it.

mod shapes;
mod stream;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};

use shapes::{Reading, SHAPES};
pub use stream::StreamRedactor;

/// What stands where a secret stood.
pub const MASK: &str = "[redacted]";

/// Shorter values are no secrets: masking `admin` or `8080` would only spoil the text.
const SHORTEST: usize = 8;

/// Masks known secrets and key-shaped strings; cheap to clone, and cheap until it is first used.
#[derive(Clone)]
pub struct Redactor {
    secrets: Arc<[SecretString]>,
    table: Arc<OnceLock<Table>>,
}

/// What is searched for, in one automaton: the forms of the known values, then the prefixes of
/// the shapes.
struct Table {
    patterns: Vec<Vec<u8>>,
    /// How many of `patterns` are forms of known values.
    known: usize,
    finder: Option<AhoCorasick>,
    /// The first bytes of the patterns, so that the search for a cut pattern skips most places.
    first: [bool; 256],
}

/// What a scan of a text found.
struct Found {
    /// What is masked, in order, without overlaps.
    masked: Vec<Range<usize>>,
    /// From here on more text could change what is masked; the length of the text when none could.
    open: usize,
}

impl Redactor {
    /// A redactor of these values. Values under eight characters are left alone.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        Self {
            secrets: secrets.into_iter().collect(),
            table: Arc::default(),
        }
    }

    /// The text with every secret masked; borrowed when there is none.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let found = self.scan(text, None, true);
        if found.masked.is_empty() {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(replace(text, &found.masked))
        }
    }

    /// The text with every secret masked, without copying one that holds none.
    pub fn mask_owned(&self, text: String) -> String {
        match self.mask(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(masked) => masked,
        }
    }

    /// Masks every string inside a JSON value, object keys included.
    pub fn mask_json(&self, value: &mut serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::String(text) => *text = self.mask_owned(std::mem::take(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_json(item)),
            Value::Object(map) => {
                for (key, mut item) in std::mem::take(map) {
                    self.mask_json(&mut item);
                    map.insert(self.mask_owned(key), item);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A masker of a text that arrives in pieces.
    pub fn stream(&self) -> StreamRedactor {
        StreamRedactor::new(self.clone())
    }

    /// `before` is the byte in front of the text, where it is part of a longer one; `whole` says
    /// that nothing follows it.
    fn scan(&self, text: &str, before: Option<u8>, whole: bool) -> Found {
        let table = self.table.get_or_init(|| Table::new(&self.secrets));
        let bytes = text.as_bytes();
        let mut masked: Vec<Range<usize>> = Vec::new();
        let mut open = bytes.len();
        let mut from = 0;
        while let Some(hit) = table
            .finder
            .as_ref()
            .and_then(|finder| finder.find(Input::new(bytes).span(from..bytes.len())))
        {
            let index = hit.pattern().as_usize();
            let shape = index.checked_sub(table.known).and_then(|i| SHAPES.get(i));
            let Some(shape) = shape else {
                masked.push(hit.start()..hit.end());
                from = hit.end();
                continue;
            };
            let previous = hit
                .start()
                .checked_sub(1)
                .map_or(before, |i| bytes.get(i).copied());
            match shape.read(bytes, hit.start(), previous, whole) {
                Reading::Secret(range) => {
                    from = range.end;
                    masked.push(range);
                }
                Reading::Nothing => from = hit.start() + 1,
                Reading::Open => {
                    open = hit.start();
                    break;
                }
            }
        }
        if !whole {
            open = open.min(table.cut_pattern(bytes, before, &masked));
        }
        masked.retain(|range| range.end <= open);
        Found { masked, open }
    }
}

impl Table {
    fn new(secrets: &[SecretString]) -> Self {
        let mut forms = BTreeSet::new();
        for secret in secrets {
            let value = secret.expose_secret().trim();
            if value.chars().count() >= SHORTEST {
                forms.extend(forms_of(value));
            }
        }
        let known = forms.len();
        let patterns: Vec<Vec<u8>> = forms
            .into_iter()
            .chain(SHAPES.iter().map(|shape| shape.prefix.as_bytes().to_vec()))
            .collect();
        let mut first = [false; 256];
        for byte in patterns.iter().filter_map(|pattern| pattern.first()) {
            if let Some(slot) = first.get_mut(usize::from(*byte)) {
                *slot = true;
            }
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // Quick to build: most programs that run mask a few short texts.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&patterns)
            .ok();
        Self {
            patterns,
            known,
            finder,
            first,
        }
    }

    /// Where the end of the text could be the beginning of a pattern; its length when nowhere.
    fn cut_pattern(&self, bytes: &[u8], before: Option<u8>, masked: &[Range<usize>]) -> usize {
        let longest = self.patterns.iter().map(Vec::len).max().unwrap_or(0);
        let earliest = bytes.len().saturating_sub(longest.saturating_sub(1));
        (earliest..bytes.len())
            .find(|&at| {
                let tail = bytes.get(at..).unwrap_or_default();
                let first = tail.first().copied().unwrap_or_default();
                if self.first.get(usize::from(first)) != Some(&true)
                    || masked
                        .iter()
                        .any(|range| range.start < at && at < range.end)
                {
                    return false;
                }
                let previous = at.checked_sub(1).map_or(before, |i| bytes.get(i).copied());
                // A shape begins a word, a known value may stand anywhere.
                let candidates = if previous.is_some_and(|byte| byte.is_ascii_alphanumeric()) {
                    self.patterns.get(..self.known).unwrap_or_default()
                } else {
                    &self.patterns
                };
                candidates
                    .iter()
                    .any(|pattern| pattern.len() > tail.len() && pattern.starts_with(tail))
            })
            .unwrap_or(bytes.len())
    }
}

/// A value in every form in which it may turn up: as it is, in base64 at each of the three
/// positions, in hexadecimal, escaped for a URL and for JSON.
fn forms_of(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let mut forms = vec![bytes.to_vec()];
    for (pad, lost) in [(0, 0), (1, 2), (2, 3)] {
        let mut padded = vec![0; pad];
        padded.extend_from_slice(bytes);
        // The last group depends on what follows, the first on what stands before.
        let kept = padded.len() / 3 * 4;
        for encoded in [
            STANDARD_NO_PAD.encode(&padded),
            URL_SAFE_NO_PAD.encode(&padded),
        ] {
            if let Some(form) = encoded.get(lost..kept) {
                forms.push(form.as_bytes().to_vec());
            }
        }
    }
    let hexadecimal: String = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect();
    forms.push(hexadecimal.to_uppercase().into_bytes());
    forms.push(hexadecimal.into_bytes());
    let escaped: String = url::form_urlencoded::byte_serialize(bytes).collect();
    forms.push(escaped.replace('+', "%20").into_bytes());
    forms.push(escaped.into_bytes());
    let json = serde_json::Value::from(value).to_string();
    forms.push(json.trim_matches('"').as_bytes().to_vec());
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

fn replace(text: &str, masked: &[Range<usize>]) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut from = 0;
    for range in masked {
        clean.push_str(text.get(from..range.start).unwrap_or_default());
        clean.push_str(MASK);
        from = range.end;
    }
    clean.push_str(text.get(from..).unwrap_or_default());
    clean
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new([])
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Redactor")
    }
}

#[cfg(test)]
mod tests;
