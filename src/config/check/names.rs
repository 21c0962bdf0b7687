//! Names: what they may look like, and whether they lead anywhere.

use std::collections::BTreeSet;

use super::Checker;
use crate::config::findings::{Findings, nearest, suggestion};
use crate::config::node::{Data, Key, Node};
use crate::config::problem::{At, Problem};

/// The names of a section.
pub(super) struct Names<'c> {
    /// `None` when the section cannot be relied upon: mistyped, given twice, or no mapping.
    names: Option<BTreeSet<&'c str>>,
}

impl<'c> Names<'c> {
    /// The names of the entries of a section that have a body.
    pub(super) fn of(root: &'c Node<'c>, key: &str, findings: &Findings) -> Self {
        let doubtful = findings.is_meant(root.place(), key);
        let node = root.get(key);
        let is_mapping = node.is_none_or(|node| matches!(node.data(), Data::Mapping(_)));
        let entries = node.map(Node::entries).unwrap_or_default();
        let names = entries
            .iter()
            .filter(|(_, node)| !node.is_null())
            .map(|(key, _)| &*key.text)
            .collect();
        Self {
            names: (is_mapping && !doubtful).then_some(names),
        }
    }

    /// Whether the name is there, or could be.
    pub(super) fn allow(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'c str> {
        self.names.iter().flatten().copied()
    }
}

/// The sections that are referred to by name.
#[derive(Clone, Copy)]
pub(super) enum Section {
    Servers,
    McpServers,
    Agents,
    Tasks,
}

impl<'c> Checker<'c> {
    fn section(&self, section: Section) -> (&'static str, &Names<'c>) {
        match section {
            Section::Servers => ("server", &self.servers),
            Section::McpServers => ("MCP server", &self.mcp_servers),
            Section::Agents => ("agent", &self.agents),
            Section::Tasks => ("task", &self.tasks),
        }
    }

    /// Reports a value that is the name of nothing in the section.
    pub(super) fn refers(&mut self, node: &Node<'_>, section: Section) {
        let Some(name) = node.text() else { return };
        self.refers_by_name(name, node.place(), section);
    }

    /// The same for a name at a place of its own, such as a key.
    pub(super) fn refers_by_name(&mut self, name: &str, at: At, section: Section) {
        let (what, names) = self.section(section);
        if names.allow(name) {
            return;
        }
        let is_few = self.findings.may_suggest();
        let known: Vec<&str> = names.iter().filter(|_| is_few).collect();
        let hint = suggestion(name, &known, &format!("{what}s here"));
        let hint = hint.or_else(|| known.is_empty().then(|| format!("no {what} is defined")));
        self.findings.add_about(
            at,
            Problem::new(at, format!("unknown {what} `{name}`")).with_hint(hint),
        );
    }

    /// Reports the items of a list that are names of nothing in the section.
    pub(super) fn list_refers(&mut self, node: &Node<'_>, key: &str, section: Section) {
        for item in node.get(key).map(Node::items).unwrap_or_default() {
            self.refers(item, section);
        }
    }

    /// Tool names as they are called here: any case, with or without `_`. What is unknown is
    /// reported; the tools of the original that do nothing are left out with a notice.
    pub(super) fn normalise_tools(&mut self, tools: &mut Vec<String>, node: Option<&Node<'_>>) {
        let mut known: Vec<String> = Vec::with_capacity(tools.len());
        for (written, item) in tools.iter().zip(node.map(Node::items).unwrap_or_default()) {
            let place = item.place();
            if let Some(tool) = self.tool(written) {
                if !known.iter().any(|name| name == tool) {
                    known.push(tool.to_owned());
                }
            } else if matches!(squash(written).as_str(), "todoread" | "todowrite") {
                let words = format!("the tool `{written}` is accepted and does nothing");
                self.findings.notices.push((place, words));
            } else {
                let hint = nearest(written, self.tools.iter().copied()).map_or_else(
                    || format!("tools: {}", self.tools.join(", ")),
                    |tool| format!("did you mean `{tool}`?"),
                );
                let problem = Problem::new(place, format!("unknown tool `{written}`"));
                self.findings.add_about(place, problem.with_hint(hint));
            }
        }
        *tools = known;
    }

    /// The tool that is meant by a name in any spelling.
    pub(super) fn tool(&self, written: &str) -> Option<&'c str> {
        let direct = self.tools.iter().find(|tool| **tool == written);
        direct.copied().or_else(|| {
            let squashed = squash(written);
            let mut tools = self.tools.iter().copied();
            tools.find(|tool| squash(tool) == squashed)
        })
    }

    /// Reports a name that cannot be that of a file.
    pub(super) fn file_name(&mut self, what: &str, key: &Key<'_>) {
        if let Some(fault) = file_name_fault(&key.text) {
            self.findings.add(
                Problem::new(
                    key.at,
                    format!("`{}` cannot be the name of {what}: it {fault}", key.text),
                )
                .with_hint(
                    "files are named after it; letters, digits, `_` and `-` are safe".to_owned(),
                ),
            );
        }
    }
}

/// A tool's name without what people spell differently.
fn squash(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Why a name is no file name.
fn file_name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.contains(['/', '\\']) {
        Some("holds a slash")
    } else if name.chars().any(char::is_control) {
        Some("holds a control character")
    } else if name.starts_with(['.', '-']) {
        Some("begins with `.` or `-`")
    } else if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        Some("begins or ends with a blank")
    } else if name.len() > 100 {
        Some("is longer than 100 bytes")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_files() {
        for name in [
            "reviewer",
            "a b",
            "Ünïcode",
            "a.b",
            "a-b_c",
            &"x".repeat(100),
        ] {
            assert_eq!(file_name_fault(name), None, "{name}");
        }
        for name in [
            "",
            "a/b",
            "..",
            ".",
            "../x",
            ".hidden",
            "-rf",
            "a\0b",
            "a\nb",
            "a\\b",
            " a",
            "a ",
            &"x".repeat(101),
        ] {
            assert!(file_name_fault(name).is_some(), "{name}");
        }
    }
}
