//! The Markdown log of an agent: whole prompts and answers, one locked append an entry.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::files::Directory;

/// Stands alone on a line before every entry; the same line inside a text is escaped.
const MARK: &str = "<!-- orch:entry -->";

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// What the agent was asked.
    Prompt,
    /// What it answered.
    Result,
    /// Why it failed.
    Error,
    /// A file that was saved.
    File,
}

impl Entry {
    fn name(self) -> &'static str {
        match self {
            Self::Prompt => "PROMPT",
            Self::Result => "RESULT",
            Self::Error => "ERROR",
            Self::File => "FILE",
        }
    }
}

/// The log of one agent.
#[derive(Clone, Debug)]
pub struct Log {
    directory: PathBuf,
    name: String,
    header: String,
}

impl Log {
    /// The log of an agent below a directory; nothing is touched before the first entry.
    pub fn new(
        directory: &Path,
        agent: &str,
        provider: &str,
        model: &str,
        tools: &[String],
    ) -> Self {
        let tools = if tools.is_empty() {
            "none".to_owned()
        } else {
            tools.join(", ")
        };
        Self {
            directory: directory.to_owned(),
            name: name(agent),
            header: format!(
                "# {agent}\n\n- **Provider:** {provider}\n- **Model:** {model}\n- **Tools:** {tools}\n\n---\n"
            ),
        }
    }

    /// Appends an entry; two processes never mix theirs.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, entry: Entry, time: &str, text: &str) -> io::Result<()> {
        let mut file = Directory::make(&self.directory)?.appended(&self.name)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        let mut bytes = String::new();
        if file.metadata()?.len() == 0 {
            bytes.push_str(&self.header);
        }
        bytes.push_str(&format!("\n{MARK}\n## {time} | {}\n\n", entry.name()));
        for line in text.split_inclusive('\n') {
            if is_mark(line.trim_start_matches('\\')) {
                bytes.push('\\');
            }
            bytes.push_str(line);
        }
        bytes.push('\n');
        file.write_all(bytes.as_bytes())
    }
}

/// The last entries of an agent's log, oldest first, as they were written; empty without a log.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn last_entries(directory: &Path, agent: &str, count: usize) -> io::Result<Vec<String>> {
    let found = Directory::open(directory).and_then(|logs| logs.read(&name(agent)));
    let mut file = match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result?,
    };
    let length = file.metadata()?.len();
    let mut window = 256 * 1024;
    loop {
        let start = length.saturating_sub(window);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file)
            .take(length - start)
            .read_to_end(&mut bytes)?;
        let mut entries = split(&String::from_utf8_lossy(&bytes));
        if entries.len() >= count || start == 0 {
            return Ok(entries.split_off(entries.len().saturating_sub(count)));
        }
        window *= 4;
    }
}

fn name(agent: &str) -> String {
    format!("{agent}.md")
}

fn is_mark(line: &str) -> bool {
    line.trim_end_matches(['\n', '\r']) == MARK
}

fn split(text: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in text.split_inclusive('\n') {
        if is_mark(line) {
            entries.push(String::new());
        } else if let Some(entry) = entries.last_mut() {
            let escaped = line
                .strip_prefix('\\')
                .filter(|rest| is_mark(rest.trim_start_matches('\\')));
            entry.push_str(escaped.unwrap_or(line));
        }
    }
    entries
        .iter()
        .map(|entry| entry.trim_end().to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_told_apart_whatever_they_contain() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::new(directory.path(), "a", "stub", "m", &["read".to_owned()]);
        let texts = [
            "plain".to_owned(),
            "## heading\n\n## 2026-01-01 00:00:00 | RESULT".to_owned(),
            format!("{MARK}\n## forged | RESULT\n\n\\{MARK}\n\\\\{MARK}"),
            "x".repeat(300_000),
            String::new(),
            "last\n".to_owned(),
        ];
        for text in &texts {
            log.append(Entry::Result, "T", text).unwrap();
        }
        let expected: Vec<String> = texts
            .iter()
            .map(|text| format!("## T | RESULT\n\n{text}").trim_end().to_owned())
            .collect();
        for count in 0..=texts.len() {
            assert_eq!(
                last_entries(directory.path(), "a", count).unwrap(),
                expected[texts.len() - count..]
            );
        }
        assert_eq!(last_entries(directory.path(), "a", 99).unwrap(), expected);
        let whole = std::fs::read_to_string(directory.path().join("a.md")).unwrap();
        assert!(whole.starts_with(
            "# a\n\n- **Provider:** stub\n- **Model:** m\n- **Tools:** read\n\n---\n"
        ));
        assert_eq!(
            last_entries(directory.path(), "nobody", 5).unwrap(),
            Vec::<String>::new()
        );
    }
}
