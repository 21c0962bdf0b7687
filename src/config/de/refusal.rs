//! The words for a value that is not what is expected.

use std::fmt::Display;

use serde::de;

use super::Name;
use crate::config::findings::Findings;
use crate::config::mask::sounds_secret;
use crate::config::node::{Data, Node};
use crate::config::problem::{At, Problem};
use crate::config::scalar::{span_in_seconds, truth};

/// What a span of time must be.
pub(super) const SECONDS: &str = "a number of seconds";

/// What a truth value must be.
pub(super) const TRUTH: &str = "`true` or `false`";

/// Why a type did not take a value.
#[derive(Debug, thiserror::Error)]
#[error("{words:?}")]
pub(super) struct Refusal {
    words: Words,
    /// The value; known as soon as the refusal leaves its reader.
    pub(super) place: Option<At>,
    pub(super) problem: Option<Problem>,
}

#[derive(Debug)]
enum Words {
    Own(String),
    Expected(String),
    Missing(&'static str),
}

impl Refusal {
    fn new(words: Words) -> Self {
        Self {
            words,
            place: None,
            problem: None,
        }
    }
}

impl de::Error for Refusal {
    fn custom<T: Display>(words: T) -> Self {
        Self::new(Words::Own(words.to_string()))
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Words::Expected(expected.to_string()))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Words::Expected(expected.to_string()))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Words::Missing(field))
    }
}

pub(super) fn not_expected(node: &Node<'_>, name: Name<'_>, expected: &str) -> Problem {
    let found = match node.data() {
        Data::Scalar { .. } if sounds_secret(name.key) => String::new(),
        Data::Scalar { text, plain: false } if expected == TRUTH && truth(text).is_some() => {
            format!(", not the text `{}`", shorten(text))
        }
        Data::Scalar { text, .. } => format!(", not `{}`", shorten(text)),
        Data::Null => ", and nothing is there".to_owned(),
        Data::Sequence(_) => ", not a list".to_owned(),
        Data::Mapping(_) | Data::Alias(_) => ", not a mapping".to_owned(),
    };
    let message = format!("{} must be {expected}{found}", name.words());
    let text = node.text().unwrap_or_default();
    let hint = match expected {
        SECONDS => span_in_seconds(text).map(|seconds| format!("write {seconds}")),
        "a list" if node.text().is_some() && !sounds_secret(name.key) => {
            Some(format!("write `{}: [{}]`", name.key, shorten(text)))
        }
        "a text" if node.text().is_some() => Some("put it in quotes".to_owned()),
        TRUTH if truth(text).is_some() => Some("write it without quotes".to_owned()),
        _ => None,
    };
    Problem::new(node.place(), message).with_hint(hint)
}

/// The beginning of a text, for a message.
pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Gives a refusal of a type's own code its place and its words.
pub(super) fn placed<T>(
    result: Result<T, Refusal>,
    node: &Node<'_>,
    name: Name<'_>,
    findings: &Findings,
) -> Result<T, Refusal> {
    result.map_err(|mut refusal| {
        if refusal.place.is_some() {
            return refusal;
        }
        let place = node.place();
        refusal.place = Some(place);
        refusal.problem = match &refusal.words {
            Words::Expected(expected) => Some(not_expected(node, name, expected)),
            Words::Own(_) if sounds_secret(name.key) => Some(Problem::new(
                place,
                format!("{} cannot be read", name.words()),
            )),
            Words::Own(words) => Some(Problem::new(place, format!("{}: {words}", name.words()))),
            Words::Missing(field) if findings.is_meant(place, field) => None,
            Words::Missing(field) => Some(Problem::new(
                name.at,
                format!("{} needs `{field}`", name.words()),
            )),
        };
        if findings.is_wrong(place) {
            refusal.problem = None;
        }
        refusal
    })
}
