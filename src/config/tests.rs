//! The configuration as a whole: what loads, and what is said when it does not.

mod full;
mod loading;
mod mutations;
mod schema;
mod trusting;
mod wrong;
mod wrong_graphs;

use super::findings::Findings;
use super::{ConfigError, Document, node, read};

/// The tools that the checks know.
pub(super) const TOOLS: [&str; 10] = [
    "bash",
    "read",
    "write",
    "edit",
    "glob",
    "grep",
    "list_dir",
    "http_request",
    "web_fetch",
    "ssh",
];

/// Reads a text as a document, without any file.
fn document(text: &str) -> Result<(Document, Vec<String>), ConfigError> {
    let error = |problems| ConfigError::new("orch.yaml".to_owned(), text, problems);
    let tree = node::parse(text).map_err(|problem| error(vec![problem]))?;
    let mut findings = Findings::default();
    let document = read::document(&tree, &TOOLS, &mut findings);
    if findings.problems.is_empty() {
        let notices = findings
            .notices
            .into_iter()
            .map(|(at, words)| format!("{}: {words}", at.line));
        Ok((document, notices.collect()))
    } else {
        Err(error(findings.problems))
    }
}

/// What is said about a text that is wrong.
fn complaint(text: &str) -> String {
    document(text)
        .map(|(document, _)| document)
        .unwrap_err()
        .to_string()
}
