//! The `list_dir` tool: what a directory holds.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::search::{in_one_line, search};
use super::workspace::{Entry, Kind, WalkOptions, walk};
use super::{ToolAnswer, ToolContext, ToolOutput, params};

/// Entries that one call gives.
const MOST: usize = 1000;

/// Entries that are gathered before the walk is given up.
const GATHERED: usize = 200_000;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The directory, relative to the workspace; the workspace itself by default.
    path: Option<String>,
    /// Also what its directories hold, without what ignore files leave out.
    recursive: Option<bool>,
    /// Also names that begin with a dot.
    include_hidden: Option<bool>,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("list_dir", &value)?;
        let path = params.path.unwrap_or_else(|| ".".to_owned());
        let recursive = params.recursive.unwrap_or(false);
        let options = WalkOptions {
            recursive,
            hidden: params.include_hidden.unwrap_or(false),
            ignore: recursive,
            threads: 1,
        };
        let ((mut entries, ignored, unreadable), late) =
            search(context, DEADLINE, move |workspace, stop| {
                let mut tree = workspace.open_tree(&path)?;
                // Names are shown relative to the directory, as `ls` does.
                tree.shown = PathBuf::new();
                let gather = |entries: &mut Vec<(PathBuf, Kind)>, entry: &Entry<'_>| {
                    if entries.len() < GATHERED {
                        entries.push((entry.shown(), entry.kind));
                    }
                };
                let walked = walk(&tree, workspace.policy(), options, stop, Vec::new, gather);
                let entries: Vec<_> = walked.states.into_iter().flatten().collect();
                Ok((entries, walked.ignored, walked.unreadable))
            })
            .await?;
        entries.sort_unstable();
        let total = entries.len();
        let mut lines: Vec<String> = entries
            .iter()
            .take(MOST)
            .map(|(path, kind)| format!("[{}] {}", letter(*kind), in_one_line(path)))
            .collect();
        if lines.is_empty() {
            lines.push("[the directory is empty]".to_owned());
        }
        if total > MOST {
            lines.push(format!(
                "[{} more entries: list a directory below]",
                total - MOST
            ));
        }
        if ignored > 0 {
            lines.push(format!(
                "[{ignored} entries that ignore files name are left out]"
            ));
        }
        if unreadable > 0 {
            lines.push(format!("[{unreadable} directories could not be read]"));
        }
        if late || total == GATHERED {
            lines.push("[there is more: the listing was cut short]".to_owned());
        }
        Ok(ToolOutput::from(lines.join("\n")))
    })
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Directory => 'd',
        Kind::File => 'f',
        Kind::Link => 'l',
        Kind::Other => 'o',
    }
}
