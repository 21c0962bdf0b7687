//! What a key looks like when its value is not known.

use std::ops::Range;

/// A token that is longer than this is masked as far as it is there: a stream holds no more back.
const LONGEST: usize = 16 * 1024;

/// A kind of key.
pub(super) struct Shape {
    /// How it begins.
    pub(super) prefix: &'static str,
    /// Whether the prefix itself stays readable.
    keep_prefix: bool,
    form: Form,
}

enum Form {
    /// At least so many letters, digits and `-_.~+/=`, a digit among them.
    Token(usize),
    /// Exactly so many capital letters and digits.
    Capitals(usize),
    /// A private key between its BEGIN and END lines.
    Pem,
    /// The password of a URL, before its host.
    Password,
}

/// Which shapes have a byte at a place of their prefix: a bit for each.
const fn having(place: usize) -> [u64; 256] {
    let mut shapes = [0; 256];
    let mut index = 0;
    while index < SHAPES.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "out of bounds is an error of the build"
        )]
        {
            shapes[SHAPES[index].prefix.as_bytes()[place] as usize] |= 1 << index;
        }
        index += 1;
    }
    shapes
}

/// The first two bytes of the prefixes. A search for these few needs no automaton, which takes longer to build
/// than most programs that run take to mask what they show.
static FIRST: [u64; 256] = having(0);
static SECOND: [u64; 256] = having(1);

/// The first place from one on where the prefix of a shape stands; of several there, the longest.
pub(super) fn first_after(bytes: &[u8], from: usize) -> Option<(usize, &'static Shape)> {
    let rest = bytes.get(from..)?;
    let bits = |table: &[u64; 256], byte: &u8| table.get(usize::from(*byte)).copied().unwrap_or(0);
    let mut pairs = rest.iter().zip(rest.iter().skip(1)).enumerate();
    pairs.find_map(|(at, (first, second))| {
        let candidates = bits(&FIRST, first) & bits(&SECOND, second);
        if candidates == 0 {
            return None;
        }
        let shapes = SHAPES.iter().enumerate();
        let longest = shapes
            .filter(|(index, shape)| {
                candidates >> index & 1 == 1
                    && rest
                        .get(at..)
                        .is_some_and(|text| text.starts_with(shape.prefix.as_bytes()))
            })
            .max_by_key(|(_, shape)| shape.prefix.len());
        longest.map(|(_, shape)| (from + at, shape))
    })
}

/// What stands at a prefix.
pub(super) enum Reading {
    /// A key.
    Secret(Range<usize>),
    /// Something else.
    Nothing,
    /// It reaches the end of the text, and the next piece decides.
    Open,
}

const fn token(prefix: &'static str, least: usize) -> Shape {
    Shape {
        prefix,
        keep_prefix: false,
        form: Form::Token(least),
    }
}

/// The shapes of the vendors' documentation, and of the scanners of the code hosts.
pub(super) const SHAPES: &[Shape] = &[
    token("sk-", 20),
    token("sk_live_", 16),
    token("rk_live_", 16),
    token("gsk_", 20),
    token("xai-", 20),
    token("AIza", 30),
    token("hf_", 20),
    token("r8_", 20),
    token("pplx-", 20),
    token("nvapi-", 20),
    token("ghp_", 20),
    token("gho_", 20),
    token("ghu_", 20),
    token("ghs_", 20),
    token("ghr_", 20),
    token("github_pat_", 20),
    token("glpat-", 16),
    token("npm_", 30),
    token("pypi-", 30),
    token("xoxb-", 10),
    token("xoxp-", 10),
    token("xapp-", 10),
    Shape {
        prefix: "AKIA",
        keep_prefix: false,
        form: Form::Capitals(16),
    },
    Shape {
        prefix: "ASIA",
        keep_prefix: false,
        form: Form::Capitals(16),
    },
    Shape {
        prefix: "Bearer ",
        keep_prefix: true,
        form: Form::Token(16),
    },
    Shape {
        prefix: "bearer ",
        keep_prefix: true,
        form: Form::Token(16),
    },
    // What `git config http.extraHeader` and curl's `-H` say.
    Shape {
        prefix: "Basic ",
        keep_prefix: true,
        form: Form::Token(20),
    },
    Shape {
        prefix: "basic ",
        keep_prefix: true,
        form: Form::Token(20),
    },
    Shape {
        prefix: "-----BEGIN ",
        keep_prefix: false,
        form: Form::Pem,
    },
    Shape {
        prefix: "://",
        keep_prefix: true,
        form: Form::Password,
    },
    // In JSON slashes may be escaped.
    Shape {
        prefix: ":\\/\\/",
        keep_prefix: true,
        form: Form::Password,
    },
];

impl Shape {
    /// Reads what begins with the prefix at `start`; `previous` is the byte before it, `whole`
    /// says that no more text follows.
    pub(super) fn read(
        &self,
        bytes: &[u8],
        start: usize,
        previous: Option<u8>,
        whole: bool,
    ) -> Reading {
        let tail_start = start + self.prefix.len();
        let tail = bytes.get(tail_start..).unwrap_or_default();
        if matches!(self.form, Form::Password) {
            return read_password(tail, tail_start, whole);
        }
        let in_word = previous.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if in_word || (previous == Some(b'-') && matches!(self.form, Form::Token(_))) {
            return Reading::Nothing;
        }
        if matches!(self.form, Form::Pem) {
            return read_pem(bytes, start, whole);
        }
        let belongs: fn(u8) -> bool = match self.form {
            Form::Capitals(_) => |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Form::Token(_) | Form::Pem | Form::Password => {
                |byte| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte)
            }
        };
        let length = tail
            .iter()
            .position(|byte| !belongs(*byte))
            .unwrap_or(tail.len());
        if length == tail.len() && !whole && length < LONGEST {
            return Reading::Open;
        }
        let found = tail.get(..length).unwrap_or_default();
        let is_key = match self.form {
            Form::Token(least) => length >= least && found.iter().any(u8::is_ascii_digit),
            Form::Capitals(exactly) => {
                let goes_on = tail.get(length).is_some_and(u8::is_ascii_alphanumeric);
                length == exactly && !goes_on
            }
            Form::Pem | Form::Password => false,
        };
        if !is_key {
            return Reading::Nothing;
        }
        let from = if self.keep_prefix { tail_start } else { start };
        // A full stop that ends a sentence is no part of the key.
        let trailing = found.iter().rev().take_while(|byte| **byte == b'.').count();
        Reading::Secret(from..tail_start + length - trailing)
    }
}

/// Where the end of a text could be the beginning of a shape's prefix, which begins a word.
pub(super) fn cut_prefix(bytes: &[u8], before: Option<u8>) -> usize {
    let longest = SHAPES.iter().map(|shape| shape.prefix.len()).max();
    let earliest = bytes.len().saturating_sub(longest.unwrap_or(0));
    (earliest..bytes.len())
        .find(|at| {
            let tail = bytes.get(*at..).unwrap_or_default();
            let previous = at.checked_sub(1).map_or(before, |i| bytes.get(i).copied());
            let in_word = previous.is_some_and(|byte| byte.is_ascii_alphanumeric());
            SHAPES.iter().any(|shape| {
                // The scheme of a URL is a word before it.
                (!in_word || matches!(shape.form, Form::Password))
                    && shape.prefix.len() > tail.len()
                    && shape.prefix.as_bytes().starts_with(tail)
            })
        })
        .unwrap_or(bytes.len())
}

/// What stands before the host of a URL: a password, or a token in the place of the user.
fn read_password(tail: &[u8], start: usize, whole: bool) -> Reading {
    const USER_IS_TOKEN: usize = 20;
    // Nothing else ends what is before a host, and some of these only in texts that quote it.
    let ends = |byte: &u8| {
        byte.is_ascii_whitespace() || byte.is_ascii_control() || b"/?#\\\"'`<>|".contains(byte)
    };
    let length = tail.iter().position(ends).unwrap_or(tail.len());
    if length == tail.len() && !whole && length < LONGEST {
        return Reading::Open;
    }
    let host = tail.get(..length).unwrap_or_default();
    let Some(at) = host.iter().rposition(|byte| *byte == b'@') else {
        return Reading::Nothing;
    };
    let info = host.get(..at).unwrap_or_default();
    let from = match info.iter().position(|byte| *byte == b':') {
        Some(colon) => colon + 1,
        None if at >= USER_IS_TOKEN && info.iter().any(u8::is_ascii_digit) => 0,
        None => return Reading::Nothing,
    };
    let password = info.get(from..).unwrap_or_default();
    if password.is_empty() || is_placeholder(password) {
        return Reading::Nothing;
    }
    Reading::Secret(start + from..start + at)
}

/// Whether a text only says where a password goes: `$PASSWORD`, `${password}`, `{{ password }}`, `%s`, stars.
fn is_placeholder(password: &[u8]) -> bool {
    let is_name = |name: &[u8]| {
        let upper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
        name.iter().all(upper)
    };
    match password {
        [b'$', b'{' | b'(', .., b'}' | b')'] | [b'{', .., b'}'] | [b'[', .., b']'] => true,
        [b'$', name @ ..] => is_name(name),
        [b'%', kind] => kind.is_ascii_lowercase(),
        _ => password.iter().all(|byte| *byte == b'*'),
    }
}

fn read_pem(bytes: &[u8], start: usize, whole: bool) -> Reading {
    let text = bytes.get(start..).unwrap_or_default();
    let open = !whole && text.len() < LONGEST;
    let line_end = text
        .iter()
        .position(|byte| *byte == b'\n' || *byte == b'\\');
    let head = text
        .get(..line_end.unwrap_or(text.len()))
        .unwrap_or_default();
    if find(head, b"PRIVATE KEY").is_none() {
        return if line_end.is_none() && open && head.len() < 80 {
            Reading::Open
        } else {
            Reading::Nothing
        };
    }
    let end_line = find(text, b"-----END ");
    let end = end_line.and_then(|at| {
        let rest = text.get(at + 9..).unwrap_or_default();
        find(rest, b"-----").map(|close| at + 9 + close + 5)
    });
    match end {
        Some(end) => Reading::Secret(start..start + end),
        None if open => Reading::Open,
        // Cut off: what is there is still a key.
        None => Reading::Secret(start..bytes.len()),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_is_found_where_it_stands() {
        for shape in SHAPES {
            for before in ["", "x", "-", "s", "ghp", ": "] {
                let text = format!("{before}{}", shape.prefix);
                let found = first_after(text.as_bytes(), before.len());
                let found = found.map(|(at, found)| (at, found.prefix));
                assert_eq!(found, Some((before.len(), shape.prefix)), "{text}");
                assert!(
                    first_after(text.as_bytes(), before.len() + 1)
                        .is_none_or(|(at, _)| at > before.len())
                );
                let cut = text.as_bytes().split_last().unwrap().1;
                assert!(first_after(cut, before.len()).is_none_or(|(at, found)| {
                    at != before.len() || found.prefix.len() < shape.prefix.len()
                }));
            }
        }
        assert!(first_after(b"", 0).is_none());
        assert!(first_after(b"s", 0).is_none());
        assert!(first_after(b"no key in here", 100).is_none());
    }
}
