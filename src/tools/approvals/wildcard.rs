//! Patterns of approval rules: `*` stands for any text, `?` for one character.

use super::shell::HOLE;

/// How a text with holes is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Certainty {
    /// Whatever fills the holes, the pattern fits.
    Must,
    /// Something could fill the holes so that the pattern fits.
    May,
}

/// Whether the pattern fits the whole text.
pub(super) fn fits(pattern: &str, text: &str, certainty: Certainty) -> bool {
    let text: Vec<char> = text.chars().collect();
    fits_each(pattern, &text, certainty).first() == Some(&true)
}

/// For each word, whether the pattern may fit the words from it on: as they are, or without the directory of that one.
pub(super) fn fits_from(pattern: &str, words: &[String]) -> Vec<bool> {
    let text: Vec<char> = words.join(" ").chars().collect();
    let fits = fits_each(pattern, &text, Certainty::May);
    let mut start = 0;
    let each = words.iter().map(|word| {
        let directory = word
            .rsplit_once('/')
            .map_or(0, |(directory, _)| directory.chars().count() + 1);
        let name = start + directory;
        let found = [start, name].iter().any(|at| fits.get(*at) == Some(&true));
        start += word.chars().count() + 1;
        found
    });
    each.collect()
}

/// For each place of the text, whether the pattern fits all that follows.
fn fits_each(pattern: &str, text: &[char], certainty: Certainty) -> Vec<bool> {
    // `row[j]`: what is left of the pattern fits `text[j..]`. Begins with nothing left.
    let ends = |left: &[char]| {
        left.iter()
            .all(|character| certainty == Certainty::May && *character == HOLE)
    };
    let mut row: Vec<bool> = (0..=text.len())
        .map(|from| ends(text.get(from..).unwrap_or_default()))
        .collect();
    for wanted in pattern.chars().rev() {
        let mut next = vec![false; text.len() + 1];
        for from in (0..=text.len()).rev() {
            let here = text.get(from).copied();
            let skipped = row.get(from).copied().unwrap_or(false);
            let after = row.get(from + 1).copied().unwrap_or(false);
            let later = next.get(from + 1).copied().unwrap_or(false);
            let hole = certainty == Certainty::May && here == Some(HOLE);
            let fits = match wanted {
                '*' => skipped || (here.is_some() && later),
                '?' => here.is_some_and(|here| here != HOLE) && after,
                wanted => here == Some(wanted) && after,
            };
            // A hole may be empty, or hold what the pattern wants here and more.
            if let Some(slot) = next.get_mut(from) {
                *slot = fits || (hole && (later || skipped));
            }
        }
        row = next;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_whole_texts() {
        for (pattern, text, must, may) in [
            ("git push*", "git push", true, true),
            ("git push*", "git push origin", true, true),
            ("git push", "git push origin", false, false),
            ("git push *", "git push", false, false),
            ("*", "", true, true),
            ("", "", true, true),
            ("", "a", false, false),
            ("a?c", "abc", true, true),
            ("*.rs", "src/main.rs", true, true),
            ("git push*", "git \0", false, true),
            ("git push*", "git pu\0", false, true),
            ("git push*", "git pull \0", false, false),
            ("git *", "git \0", true, true),
            ("ls \0", "ls x", false, false),
            ("a?", "a\0", false, true),
        ] {
            assert_eq!(
                fits(pattern, text, Certainty::Must),
                must,
                "{pattern} / {text}"
            );
            assert_eq!(
                fits(pattern, text, Certainty::May),
                may,
                "{pattern} / {text}"
            );
        }
    }
}
