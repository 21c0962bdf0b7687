//! What is found while a configuration is read and checked.

use std::collections::BTreeSet;

use super::problem::{At, Problem};

/// Problems so far, and what must not be reported as a consequence of them.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The problems, in the order in which they were found.
    pub(super) problems: Vec<Problem>,
    /// What the user should know but which stops nothing.
    pub(super) notices: Vec<(At, String)>,
    /// The problems again, so that reading something twice reports it once.
    seen: BTreeSet<(Option<At>, String)>,
    /// Values of a wrong type: what was put in their place means nothing.
    wrong: BTreeSet<At>,
    /// Mappings in which a key was most likely meant, by place.
    meant: BTreeSet<(At, String)>,
    /// Values that are left out of the next reading.
    pub(super) dropped: BTreeSet<At>,
}

impl Findings {
    /// Adds a problem, unless it is there.
    pub(super) fn add(&mut self, problem: Problem) {
        if self.seen.insert((problem.at, problem.message.clone())) {
            self.problems.push(problem);
        }
    }

    /// Adds a problem of a value that has a wrong type; the first of a value is enough.
    pub(super) fn add_wrong(&mut self, value: At, problem: Problem) {
        if self.wrong.insert(value) {
            self.add(problem);
        }
    }

    /// Adds a problem of what a value says, unless the value was refused already.
    pub(super) fn add_about(&mut self, value: At, problem: Problem) {
        if !self.wrong.contains(&value) {
            self.add(problem);
        }
    }

    /// Whether looking for a suggestion is worth its while: only the first problems are shown, and
    /// comparing many words with many words takes long.
    pub(super) fn may_suggest(&self) -> bool {
        self.problems.len() < 200
    }

    /// Whether the value at this place was refused.
    pub(super) fn is_wrong(&self, value: At) -> bool {
        self.wrong.contains(&value)
    }

    /// Whether anything was refused or mistyped, so that some keys are doubtful.
    pub(super) fn has_doubts(&self) -> bool {
        !self.wrong.is_empty() || !self.meant.is_empty()
    }

    /// In the mapping at this place the key was meant, though it is not there.
    pub(super) fn add_meant(&mut self, mapping: At, key: &str) {
        self.meant.insert((mapping, key.to_owned()));
    }

    /// Whether the key may have been meant in the mapping at this place.
    pub(super) fn is_meant(&self, mapping: At, key: &str) -> bool {
        self.meant.contains(&(mapping, key.to_owned()))
    }
}

/// The candidate that a mistyped word most likely means.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The hint for a word that is none of the candidates: the nearest, or all when they are few.
pub(super) fn suggestion(word: &str, candidates: &[&str], what: &str) -> Option<String> {
    if let Some(nearest) = nearest(word, candidates.iter().copied()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    match candidates.len() {
        0 => None,
        1..=16 => Some(format!("{what}: {}", candidates.join(", "))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        let words = ["model", "provider", "tools", "mcp_servers", "servers"];
        for (word, expected) in [
            ("modle", Some("model")),
            ("Model", Some("model")),
            ("mcp_server", Some("mcp_servers")),
            ("server", Some("servers")),
            ("tolls", Some("tools")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
    }
}
