//! Files that a prompt names with `@`.

use std::collections::BTreeSet;

use super::Repl;
use crate::agents::prompt;
use crate::error::OrchError;
use crate::tools::FileText;

/// Bytes of files that one prompt takes along.
const MOST: usize = 256 * 1024;

impl Repl<'_> {
    /// The prompt with the files that it names behind it. Says which those are, and which may not be read.
    ///
    /// # Errors
    /// When an agent that is asked has no workspace.
    pub(super) fn with_files(&self, prompt: &str, agents: &[&str]) -> Result<String, OrchError> {
        let workspace = &self.orchestrator.config().working_dir;
        let there = |path: &str| workspace.join(path).symlink_metadata().is_ok();
        let mut files = Vec::new();
        let mut room = MOST;
        for path in named(prompt, there) {
            let FileText { text, cut } = match self.orchestrator.file_for(agents, &path)? {
                Ok(file) => file,
                Err(error) => {
                    self.aside(&format!("not attached: {error}"));
                    continue;
                }
            };
            if text.len() > room {
                self.aside(&format!(
                    "not attached: `{path}` would make the files of this prompt larger than {} KiB",
                    MOST / 1024
                ));
                continue;
            }
            room -= text.len();
            self.aside(&match cut {
                Some((given, whole)) => {
                    format!("attached {path}: only the first {given} of its {whole} bytes")
                }
                None => format!("attached {path} ({} bytes)", text.len()),
            });
            files.push((path, text));
        }
        Ok(prompt::with_files(prompt, &files))
    }
}

/// The files that a prompt names, each once: words behind an `@`, in quotes where they have blanks.
/// Punctuation at the end of a word belongs to the sentence unless there is such a file.
fn named(prompt: &str, there: impl Fn(&str) -> bool) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut paths = Vec::new();
    let mut before = ' ';
    for (at, character) in prompt.char_indices() {
        let begins = character == '@' && (before.is_whitespace() || "([".contains(before));
        before = character;
        if !begins {
            continue;
        }
        let rest = prompt.get(at + 1..).unwrap_or_default();
        let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let word = match quoted {
            Some((word, _)) => word,
            None => rest.split(char::is_whitespace).next().unwrap_or_default(),
        };
        let trimmed = word.trim_end_matches(|end| ".,;:!?)]'\"".contains(end));
        let found = [word, trimmed]
            .into_iter()
            .find(|path| !path.is_empty() && there(path));
        if let Some(path) = found
            && seen.insert(path.to_owned())
        {
            paths.push(path.to_owned());
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_a_sentence() {
        let there = |path: &str| ["a.rs", "b.rs", "src/", "my file", "odd."].contains(&path);
        for (prompt, expected) in [
            ("see @a.rs and @b.rs", &["a.rs", "b.rs"][..]),
            ("@a.rs, @a.rs (@b.rs)?", &["a.rs", "b.rs"]),
            ("mail me@a.rs or @nobody", &[]),
            ("look at @\"my file\" now", &["my file"]),
            ("is @odd. or @src/", &["odd.", "src/"]),
            ("@", &[]),
        ] {
            assert_eq!(named(prompt, there), expected, "{prompt}");
        }
    }
}
