//! Pieces of known values: a key that comes in three parts, or in the columns of a dump, is masked part by part.

use std::ops::Range;
use std::sync::OnceLock;

/// So many bytes of a value are found wherever they come from; a piece of one byte more is always found, since only
/// every second place of a value is remembered.
const WINDOW: usize = 8;

/// A text that ends in so many bytes of a value may go on with more of it.
const HINT: usize = 4;

/// Bits of the number by which most places of a text are passed over.
const BITS: u32 = 16;

/// What must be known of the forms of a value to find pieces of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kept {
    /// Nothing: its pieces are in other texts too.
    Nothing,
    /// The pieces that are no words: its beginning may be the same for all keys of a vendor.
    Mixed,
    /// All pieces.
    All,
}

/// The places of a form that are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    bytes: u64,
    form: u32,
    at: u32,
}

/// The pieces of all forms.
pub(super) struct Pieces {
    places: Vec<Place>,
    /// Which numbers the places have.
    has: Vec<u64>,
    /// The forms that have pieces.
    forms: Vec<usize>,
    /// Every place of every form by its first bytes; only texts that come in parts need it.
    hints: OnceLock<Vec<(u32, u32, u32)>>,
}

/// A piece that was found in a text.
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    /// The form that it ends, if it ends one.
    pub(super) ends: Option<usize>,
}

impl Pieces {
    pub(super) fn new<'f>(forms: impl Iterator<Item = (&'f [u8], Kept)>) -> Self {
        let mut pieces = Self {
            places: Vec::new(),
            has: vec![0; (1 << BITS) / 64],
            forms: Vec::new(),
            hints: OnceLock::new(),
        };
        for (index, (form, kept)) in forms.enumerate() {
            if kept == Kept::Nothing {
                continue;
            }
            pieces.forms.push(index);
            for (at, window) in form.windows(WINDOW).enumerate().step_by(2) {
                if kept == Kept::All || changes(window).0 >= 2 {
                    pieces.add(index, at, window);
                }
            }
        }
        pieces.places.sort_unstable();
        pieces
    }

    fn add(&mut self, form: usize, at: usize, window: &[u8]) {
        let (Ok(form), Ok(at)) = (u32::try_from(form), u32::try_from(at)) else {
            return;
        };
        let bytes = number(window);
        let (word, bit) = slot(bytes);
        if let Some(word) = self.has.get_mut(word) {
            *word |= bit;
        }
        self.places.push(Place { bytes, form, at });
    }

    /// The first piece of a known value from a place on.
    pub(super) fn after(
        &self,
        known: &[(Vec<u8>, usize)],
        bytes: &[u8],
        from: usize,
    ) -> Option<Piece> {
        if self.places.is_empty() {
            return None;
        }
        let rest = bytes.get(from..)?;
        let (first, others) = rest.split_at_checked(WINDOW - 1)?;
        let mut window = number(first) << 8;
        for (index, byte) in others.iter().enumerate() {
            window = window >> 8 | u64::from(*byte) << 56;
            let (word, bit) = slot(window);
            if self.has.get(word).is_some_and(|word| word & bit != 0)
                && let Some(piece) = self.piece(known, (bytes, from), from + index, window)
            {
                return Some(piece);
            }
        }
        None
    }

    /// The longest piece round a window of a text.
    fn piece(
        &self,
        known: &[(Vec<u8>, usize)],
        (bytes, from): (&[u8], usize),
        start: usize,
        window: u64,
    ) -> Option<Piece> {
        let first = self.places.partition_point(|place| place.bytes < window);
        let places = self.places.get(first..)?.iter();
        places
            .take_while(|place| place.bytes == window)
            .filter_map(|place| {
                let (form, _) = known.get(usize::try_from(place.form).ok()?)?;
                let at = usize::try_from(place.at).ok()?;
                let left = common_end(form.get(..at)?, bytes.get(from..start)?);
                let right = common_start(form.get(at..)?, bytes.get(start..)?);
                let is_end = at + right == form.len();
                Some(Piece {
                    range: start - left..start + right,
                    ends: is_end.then_some(usize::try_from(place.form).ok()?),
                })
            })
            .max_by_key(|piece| piece.range.len())
    }

    /// Where the end of a text, which stands behind something else, could be within a known value; its length when
    /// nowhere.
    pub(super) fn cut(&self, known: &[(Vec<u8>, usize)], before: &[u8], bytes: &[u8]) -> usize {
        let whole = bytes.len();
        if self.forms.is_empty() {
            return whole;
        }
        let ends = [before, bytes].map(|part| {
            let start = part.len().saturating_sub(HINT);
            part.get(start..).unwrap_or_default()
        });
        let end = ends.concat();
        let Some(end) = end.len().checked_sub(HINT).and_then(|at| end.get(at..)) else {
            return whole;
        };
        let hints = self.hints.get_or_init(|| self.hints(known));
        let hint = short(end);
        let first = hints.partition_point(|(bytes, ..)| *bytes < hint);
        let same = hints
            .iter()
            .skip(first)
            .take_while(|(bytes, ..)| *bytes == hint);
        same.filter_map(|(_, form, at)| {
            let (form, _) = known.get(usize::try_from(*form).ok()?)?;
            let end = usize::try_from(*at).ok()? + HINT;
            // A whole value is known already.
            (end < form.len())
                .then(|| whole - common_end(form.get(..end).unwrap_or_default(), bytes))
        })
        .min()
        .unwrap_or(whole)
    }

    fn hints(&self, known: &[(Vec<u8>, usize)]) -> Vec<(u32, u32, u32)> {
        let mut hints = Vec::new();
        for index in &self.forms {
            let form = known.get(*index).map_or(&[][..], |(form, _)| form);
            for (at, window) in form.windows(HINT).enumerate() {
                if let (Ok(form), Ok(at)) = (u32::try_from(*index), u32::try_from(at)) {
                    hints.push((short(window), form, at));
                }
            }
        }
        hints.sort_unstable();
        hints
    }
}

/// How often two neighbours are of different kinds, and how many neighbours there are: small letters, capitals,
/// digits. Words have few such changes, keys have many.
pub(super) fn changes(value: &[u8]) -> (usize, usize) {
    let kind = |byte: &u8| match byte {
        b'a'..=b'z' => Some(0),
        b'A'..=b'Z' => Some(1),
        b'0'..=b'9' => Some(2),
        _ => None,
    };
    let pairs = value.iter().zip(value.iter().skip(1));
    pairs
        .filter_map(|(left, right)| Some((kind(left)?, kind(right)?)))
        .fold((0, 0), |(changes, pairs), (left, right)| {
            (changes + usize::from(left != right), pairs + 1)
        })
}

fn common_start(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(a, b)| a == b).count()
}

fn common_end(left: &[u8], right: &[u8]) -> usize {
    let backwards = left.iter().rev().zip(right.iter().rev());
    backwards.take_while(|(a, b)| a == b).count()
}

/// Bytes as a number, the first one lowest.
fn number(bytes: &[u8]) -> u64 {
    let backwards = bytes.iter().rev();
    backwards.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn short(bytes: &[u8]) -> u32 {
    let backwards = bytes.iter().rev();
    backwards.fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Where the number of a window is noted.
fn slot(window: u64) -> (usize, u64) {
    let mixed = window.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - BITS);
    (usize::try_from(mixed / 64).unwrap_or(0), 1 << (mixed % 64))
}
