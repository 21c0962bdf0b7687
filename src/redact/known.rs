//! What is searched for: the forms of the known values.

use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::pieces::{Kept, Piece, Pieces, changes};
use super::view::folded;

/// Shorter values are no secrets: masking `admin` or `8080` would only spoil the text.
const SHORTEST: usize = 8;

/// A line of a longer value is a secret of its own from this length on.
const SHORTEST_LINE: usize = 16;

/// A value of this length on that is no words is masked piece by piece.
const SHORTEST_IN_PIECES: usize = 20;

/// So much of the beginning or of the end of a longer value is masked too: somebody may have seen the rest.
const PART: usize = 12;

/// Everything that is searched for.
pub(super) struct Table {
    /// The forms of known values, without white space, and how many characters of base64 belong to each besides.
    known: Vec<(Vec<u8>, usize)>,
    /// Beginnings and ends of forms, which are searched for behind the forms themselves.
    parts: Vec<Part>,
    pieces: Pieces,
    /// No text of fewer bytes holds anything of all this.
    pub(super) shortest: usize,
    find_known: Option<AhoCorasick>,
    /// The first bytes of the forms, so that the search for a cut one skips most places.
    first: [bool; 256],
}

/// A part of a form.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Of this form, the beginning.
    Beginning(usize),
    /// Of this form, the end.
    End(usize),
}

impl Table {
    pub(super) fn new<'s>(secrets: impl Iterator<Item = &'s str>) -> Self {
        let mut forms = BTreeMap::new();
        for value in secrets.map(str::trim) {
            let lines = value
                .lines()
                .map(str::trim)
                .filter(|line| line.len() >= SHORTEST_LINE && !line.starts_with("-----"));
            for part in std::iter::once(value).chain(lines) {
                add_forms(part, &mut forms);
            }
        }
        let traits: Vec<Traits> = forms.values().copied().collect();
        let known: Vec<(Vec<u8>, usize)> = forms
            .into_iter()
            .map(|(form, traits)| (form, traits.tail))
            .collect();
        let parts: Vec<Part> = (0..known.len())
            .zip(&traits)
            .filter(|(_, traits)| traits.has_parts && traits.pieces == Kept::Nothing)
            .flat_map(|(index, _)| [Part::Beginning(index), Part::End(index)])
            .collect();
        let pieces = known.iter().zip(&traits);
        let pieces =
            Pieces::new(pieces.map(|((form, _), traits)| (form.as_slice(), traits.pieces)));
        let mut first = [false; 256];
        for byte in known.iter().filter_map(|(form, _)| form.first()) {
            if let Some(slot) = first.get_mut(usize::from(*byte)) {
                *slot = true;
            }
        }
        let finder = |patterns: &[&[u8]]| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                // Quick to build: most programs that run mask a few short texts.
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(patterns)
                .ok()
        };
        let forms: Vec<&[u8]> = known
            .iter()
            .map(|(form, _)| form.as_slice())
            .chain(parts.iter().filter_map(|part| part.of(&known)))
            .collect();
        let shortest = forms.iter().map(|form| form.len()).min();
        Self {
            shortest: SHORTEST.min(shortest.unwrap_or(SHORTEST)),
            find_known: (!forms.is_empty()).then(|| finder(&forms)).flatten(),
            known,
            parts,
            pieces,
            first,
        }
    }

    pub(super) fn has_known(&self) -> bool {
        self.find_known.is_some()
    }

    /// The first form of a known value, or a part of one, and how many characters of base64 belong to it besides.
    pub(super) fn known_after(&self, bytes: &[u8], from: usize) -> Option<(Range<usize>, usize)> {
        let input = Input::new(bytes).span(from..bytes.len());
        let hit = self.find_known.as_ref()?.find(input)?;
        let (index, mut range) = (hit.pattern().as_usize(), hit.range());
        if let Some((_, tail)) = self.known.get(index) {
            return Some((range, *tail));
        }
        // As much as is there of any value with this beginning or end.
        let (before, behind) = (bytes.get(..range.end)?, bytes.get(range.start..)?);
        let mut tail = 0;
        match self.parts.get(index - self.known.len())? {
            Part::Beginning(_) => {
                let common =
                    |form: &[u8]| form.iter().zip(behind).take_while(|(a, b)| a == b).count();
                let longest = self.known.iter().map(|(form, _)| common(form)).max();
                range.end = range.start + longest.unwrap_or(0);
            }
            Part::End(_) => {
                let common = |form: &[u8]| {
                    let backwards = form.iter().rev().zip(before.iter().rev());
                    backwards.take_while(|(a, b)| a == b).count()
                };
                let (longest, most) = self
                    .known
                    .iter()
                    .map(|(form, tail)| (common(form), *tail))
                    .max()?;
                range.start = range.end - longest;
                tail = most;
            }
        }
        Some((range, tail))
    }

    /// The first piece of a known value, and how many characters of base64 belong to it besides.
    pub(super) fn piece_after(&self, bytes: &[u8], from: usize) -> Option<(Range<usize>, usize)> {
        let Piece { range, ends } = self.pieces.after(&self.known, bytes, from)?;
        let form = ends.and_then(|form| self.known.get(form));
        Some((range, form.map_or(0, |(_, tail)| *tail)))
    }

    /// Where the end of a view, which stands behind something else, could be within a known value; its length when
    /// nowhere.
    pub(super) fn cut_piece(&self, before: &[u8], bytes: &[u8]) -> usize {
        self.pieces.cut(&self.known, before, bytes)
    }

    /// Where the end of a view could be the beginning of a known value; its length when nowhere.
    pub(super) fn cut_known(&self, bytes: &[u8], hits: &[Range<usize>]) -> usize {
        let longest = self.known.iter().map(|(form, _)| form.len()).max();
        let earliest = bytes.len().saturating_sub(longest.unwrap_or(0));
        (earliest..bytes.len())
            .find(|at| {
                let tail = bytes.get(*at..).unwrap_or_default();
                let first = tail.first().copied().unwrap_or_default();
                self.first.get(usize::from(first)) == Some(&true)
                    && !hits.iter().any(|hit| hit.start < *at && *at < hit.end)
                    && self
                        .known
                        .iter()
                        .any(|(form, _)| form.len() > tail.len() && form.starts_with(tail))
            })
            .unwrap_or(bytes.len())
    }

    /// How many bytes at the beginning of a view are the end of a known value, a few left out.
    pub(super) fn cut_at_start(&self, bytes: &[u8]) -> usize {
        const FEWEST: usize = 4;
        self.known
            .iter()
            .filter_map(|(form, _)| {
                let most = form.len().saturating_sub(1).min(bytes.len());
                (FEWEST..=most)
                    .rev()
                    .find(|count| form.ends_with(bytes.get(..*count).unwrap_or_default()))
            })
            .max()
            .unwrap_or(0)
    }
}

impl Part {
    fn of(self, known: &[(Vec<u8>, usize)]) -> Option<&[u8]> {
        match self {
            Self::Beginning(form) => known.get(form)?.0.get(..PART),
            Self::End(form) => {
                let form = &known.get(form)?.0;
                form.get(form.len().checked_sub(PART)?..)
            }
        }
    }
}

/// How much of what follows a form in base64 belongs to it: so many characters, and what fills the last group.
pub(super) fn base64_tail(rest: &[u8], most: usize) -> usize {
    let characters = rest
        .iter()
        .take(most)
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte))
        .count();
    let filling = rest
        .iter()
        .skip(characters)
        .take(2)
        .take_while(|byte| **byte == b'=')
        .count();
    characters + filling
}

/// What holds for a form.
#[derive(Clone, Copy, Debug)]
struct Traits {
    /// How many characters of base64 belong to it besides.
    tail: usize,
    /// Whether its beginning and its end are searched for.
    has_parts: bool,
    /// Which pieces of it are.
    pieces: Kept,
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

/// The characters of base32 (RFC 4648) that are a value's own where so many bytes stand before it.
fn base32(bytes: &[u8], before: usize) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    // The first character that begins with the value.
    let start = (5 - before * 8 % 5) % 5;
    let groups = bits.get(start..).unwrap_or_default().chunks_exact(5);
    let values = groups.map(|group| {
        group
            .iter()
            .fold(0, |value, bit| value << 1 | usize::from(*bit))
    });
    values
        .filter_map(|value| DIGITS.get(value).copied().map(char::from))
        .collect()
}

/// A value in every form in which it may turn up: as it is, in base64 at each of the three positions, in
/// hexadecimal, escaped for a URL and for JSON; one that is no words also backwards, in base32 and in pairs.
fn add_forms(value: &str, forms: &mut BTreeMap<Vec<u8>, Traits>) {
    // Parts of addresses and of words are in other texts too.
    let is_random = value.bytes().any(|byte| byte.is_ascii_digit())
        && !value.contains("://")
        && !value.starts_with("-----");
    if value.chars().count() < SHORTEST {
        return;
    }
    let bytes = value.as_bytes();
    let (changed, neighbours) = changes(bytes);
    let is_mixed = is_random && value.len() >= SHORTEST_IN_PIECES && changed * 5 >= neighbours;
    let mut add_kept = |form: &[u8], tail: usize, pieces: Kept| {
        let form = folded(form);
        if form.len() >= SHORTEST {
            let has_parts = is_random && form.len() >= 2 * PART;
            let known = forms.entry(form).or_insert(Traits {
                tail,
                has_parts,
                pieces,
            });
            known.tail = known.tail.max(tail);
            known.has_parts |= has_parts;
            known.pieces = known.pieces.max(pieces);
        }
    };
    let (itself, encoded) = if is_mixed {
        (Kept::Mixed, Kept::All)
    } else {
        (Kept::Nothing, Kept::Nothing)
    };
    add_kept(bytes, 0, itself);
    if is_mixed {
        let reversed: Vec<u8> = value.chars().rev().collect::<String>().into_bytes();
        add_kept(&reversed, 0, itself);
        // As `od -x` and `hexdump` show it: the bytes of every pair the wrong way round.
        for start in [0, 1] {
            let pairs = bytes.get(start..).unwrap_or_default().chunks_exact(2);
            let swapped: Vec<u8> = pairs.flat_map(|pair| pair.iter().rev()).copied().collect();
            add_kept(hexadecimal(&swapped).as_bytes(), 0, encoded);
        }
        for before in 0..5 {
            add_kept(base32(bytes, before).as_bytes(), 1, encoded);
        }
    }
    let mut add = |form: &[u8], tail: usize| add_kept(form, tail, encoded);
    for (pad, lost) in [(0, 0), (1, 2), (2, 3)] {
        let mut padded = vec![0; pad];
        padded.extend_from_slice(bytes);
        // The last group depends on what follows, the first on what stands before.
        let kept = padded.len() / 3 * 4;
        let tail = match padded.len() % 3 {
            0 => 0,
            rest => rest + 1,
        };
        for encoded in [
            STANDARD_NO_PAD.encode(&padded),
            URL_SAFE_NO_PAD.encode(&padded),
        ] {
            add(encoded.get(lost..kept).unwrap_or_default().as_bytes(), tail);
        }
    }
    let hexadecimal = hexadecimal(bytes);
    add(hexadecimal.to_uppercase().as_bytes(), 0);
    add(hexadecimal.as_bytes(), 0);
    let mut add = |form: &[u8], tail: usize| add_kept(form, tail, itself);
    let escaped: String = url::form_urlencoded::byte_serialize(bytes).collect();
    add(escaped.replace('+', "%20").as_bytes(), 0);
    add(escaped.as_bytes(), 0);
    // In some places a space is written as a plus, however the rest is; and a text in a text in a text has
    // many backslashes, none of which its view keeps.
    add(value.replace(' ', "+").as_bytes(), 0);
    add(value.replace('\\', "").as_bytes(), 0);
    let json = serde_json::Value::from(value).to_string();
    add(json.trim_matches('"').as_bytes(), 0);
}
