//! Keeps secrets out of everything that is written: known values in every form in which they
//! travel, pieces of them, and whatever has the shape of a key.
//!
//! What cannot be told from other texts stays: pieces under nine characters, pieces of values that are words, and
//! what somebody encodes on purpose in a way that is not among the forms (compressed, encrypted, letter by letter).
//!
//! May use nothing else of the crate: every surface, from tool results to the log, stands on it.

mod cut;
mod json;
mod known;
mod pieces;
mod shapes;
mod stream;
mod view;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use secrecy::{ExposeSecret as _, SecretString};

use known::Table;
use shapes::Reading;
pub use stream::StreamRedactor;
use view::View;

/// What stands where a secret stood.
pub const MASK: &str = "[redacted]";

/// Masks known secrets and key-shaped strings; cheap to clone, and cheap until it is first used.
#[derive(Clone)]
pub struct Redactor {
    secrets: Arc<[SecretString]>,
    table: Arc<OnceLock<Table>>,
}

/// What a scan of a text found.
struct Found {
    /// What is masked; in order and without overlaps when the scan is done.
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
        if text.len() < self.table().shortest {
            return Cow::Borrowed(text);
        }
        let found = self.scan(text, &[], true);
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

    /// Masks secrets in a name of letters, digits and dashes; what is left is such a name again.
    pub fn mask_name(&self, name: &mut String) {
        if let Cow::Owned(masked) = self.mask(name) {
            *name = masked.replace(MASK, MASK.trim_matches(['[', ']']));
        }
    }

    /// A masker of a text that arrives in pieces.
    pub fn stream(&self) -> StreamRedactor {
        StreamRedactor::new(self.clone())
    }

    fn table(&self) -> &Table {
        self.table
            .get_or_init(|| Table::new(self.secrets.iter().map(SecretString::expose_secret)))
    }

    /// `before` is what stands in front of the text, where it is part of a longer one; `whole` says
    /// that nothing follows it.
    fn scan(&self, text: &str, before: &[u8], whole: bool) -> Found {
        let table = self.table();
        let bytes = text.as_bytes();
        let mut found = Found {
            masked: Vec::new(),
            open: bytes.len(),
        };
        found.add_shapes(bytes, before.last().copied(), whole);
        if table.has_known() {
            let before = view::folded(before);
            found.add_known(table, &before, &View::folded(bytes), whole);
            if let Some(view) = View::unescaped(bytes, whole) {
                found.add_known(table, &before, &view, whole);
            }
        }
        found.settle();
        found
    }
}

impl Found {
    /// What has the shape of a key.
    fn add_shapes(&mut self, bytes: &[u8], before: Option<u8>, whole: bool) {
        let mut from = 0;
        while let Some((start, shape)) = shapes::first_after(bytes, from) {
            let previous = start
                .checked_sub(1)
                .map_or(before, |i| bytes.get(i).copied());
            match shape.read(bytes, start, previous, whole) {
                Reading::Secret(range) => {
                    from = range.end;
                    self.masked.push(range);
                }
                Reading::Nothing => from = start + 1,
                Reading::Open => {
                    self.open = self.open.min(start);
                    break;
                }
            }
        }
        if !whole {
            self.open = self.open.min(shapes::cut_prefix(bytes, before));
        }
    }

    /// Known values, in one of the views of the text.
    fn add_known(&mut self, table: &Table, before: &[u8], view: &View<'_>, whole: bool) {
        let bytes = view.text;
        let mut hits: Vec<Range<usize>> = Vec::new();
        let mut places = view.places();
        while let Some((hit, tail)) =
            table.known_after(&view.bytes, hits.last().map_or(0, |hit| hit.end))
        {
            self.add(bytes, places.next(&hit), tail, whole);
            hits.push(hit);
        }
        let (mut from, mut places) = (0, view.places());
        while let Some((piece, tail)) = table.piece_after(&view.bytes, from) {
            from = piece.end;
            let before = hits.partition_point(|hit| hit.start <= piece.start);
            let within = before.checked_sub(1).and_then(|index| hits.get(index));
            if within.is_none_or(|hit| hit.end < piece.end) {
                self.add(bytes, places.next(&piece), tail, whole);
            }
        }
        if whole {
            return;
        }
        let cut = table.cut_known(&view.bytes, &hits);
        let cut = cut.min(table.cut_piece(before, &view.bytes));
        if cut < view.bytes.len() {
            self.open = self.open.min(view.place(&(cut..cut + 1)).start);
        }
        self.open = self.open.min(view.cut.unwrap_or(bytes.len()));
        while is_within_character(bytes, self.open) {
            self.open -= 1;
        }
    }

    /// A known value or a piece of one, with what of base64 belongs to it besides.
    fn add(&mut self, bytes: &[u8], mut place: Range<usize>, tail: usize, whole: bool) {
        // A piece may have some bytes of a character in common with the text.
        while is_within_character(bytes, place.start) {
            place.start -= 1;
        }
        while is_within_character(bytes, place.end) {
            place.end += 1;
        }
        if tail > 0 {
            place.end += known::base64_tail(bytes.get(place.end..).unwrap_or_default(), tail);
            if !whole && place.end == bytes.len() {
                self.open = self.open.min(place.start);
            }
        }
        self.masked.push(place);
    }

    /// Puts everything in order; what is not sure yet is kept whole.
    fn settle(&mut self) {
        self.masked.sort_by_key(|range| (range.start, range.end));
        let mut settled: Vec<Range<usize>> = Vec::with_capacity(self.masked.len());
        for range in self.masked.drain(..) {
            match settled.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => settled.push(range),
            }
        }
        for range in settled.iter().rev() {
            if range.start < self.open && self.open < range.end {
                self.open = range.start;
            }
        }
        settled.retain(|range| range.end <= self.open);
        self.masked = settled;
    }
}

fn is_within_character(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|byte| byte & 0xC0 == 0x80)
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
