//! The `glob` tool: files by the pattern of their path.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::BoxFuture;
use globset::{GlobBuilder, GlobMatcher};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::search::{in_one_line, search};
use super::workspace::{Entry, Kind, WalkOptions, walk};
use super::{ToolAnswer, ToolContext, ToolError, ToolOutput, params};

/// Paths that one call gives.
const MOST: usize = 1000;

/// Paths that are gathered before the rest is only counted.
const GATHERED: usize = 200_000;

/// A longer pattern, or one with braces nested deeper, is refused: it could take for ever.
const LONGEST: usize = 1024;
const DEEPEST: usize = 4;
const MOST_BRACES: usize = 16;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// A pattern such as `**/*.py` or `src/*.{c,h}`; `*` stays within one directory.
    pattern: String,
    /// The directory to search, relative to the workspace; the workspace itself by default.
    base_dir: Option<String>,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("glob", &value)?;
        let plan = plan(&params.pattern)?;
        let base = params.base_dir.unwrap_or_else(|| ".".to_owned());
        let (found, late) = search(context, DEADLINE, move |workspace, stop| {
            let mut tree = workspace.open_tree(&base)?;
            if !plan.fixed.is_empty() {
                let start = format!("{base}/{}", plan.fixed);
                tree = match workspace.open_tree(&start) {
                    // Nothing lies below a directory that is not there.
                    Err(ToolError::Tell(_)) => return Ok(Found::default()),
                    opened => opened?,
                };
            }
            tree.shown = PathBuf::from(&plan.fixed);
            let options = WalkOptions {
                recursive: plan.recursive,
                hidden: true,
                ignore: true,
                threads: 1,
            };
            let gather = |paths: &mut Vec<String>, entry: &Entry<'_>| {
                let path = entry.shown();
                if paths.len() < GATHERED && plan.matcher.is_match(&path) {
                    let directory = entry.kind == Kind::Directory;
                    let slash = if directory { "/" } else { "" };
                    paths.push(format!("{}{slash}", in_one_line(&path)));
                }
            };
            let walked = walk(&tree, workspace.policy(), options, stop, Vec::new, gather);
            Ok(Found {
                paths: walked.states.into_iter().flatten().collect(),
                ignored: walked.ignored,
            })
        })
        .await?;
        Ok(ToolOutput::from(found.into_text(&params.pattern, late)))
    })
}

/// Where to look for a pattern, and how.
struct Plan {
    /// The leading directories that are names, not patterns: named, they are searched even when
    /// an ignore file names them.
    fixed: String,
    recursive: bool,
    matcher: GlobMatcher,
}

fn plan(pattern: &str) -> Result<Plan, ToolError> {
    let pattern = pattern.trim_start_matches("./");
    if pattern.is_empty() || pattern.len() > LONGEST || pattern.contains('\0') {
        return Err(ToolError::tell(format!(
            "the pattern must have 1 to {LONGEST} characters"
        )));
    }
    if pattern.starts_with('/') {
        return Err(ToolError::refused(format!(
            "the pattern `{pattern}` is absolute, which is not allowed: name the directory as `base_dir`"
        )));
    }
    let parts: Vec<&str> = pattern.split('/').collect();
    if parts.contains(&"..") {
        return Err(ToolError::refused(format!(
            "the pattern `{pattern}` contains `..`, which is not allowed"
        )));
    }
    let mut depth = 0_usize;
    for character in pattern.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST || pattern.matches('{').count() > MOST_BRACES {
            return Err(ToolError::tell(format!(
                "the pattern has more than {MOST_BRACES} braces, or braces nested deeper than {DEEPEST}"
            )));
        }
    }
    let names = parts
        .iter()
        .take(parts.len() - 1)
        .take_while(|part| !part.contains(['*', '?', '[', '{', '}', '\\']))
        .count();
    let (fixed, rest) = parts.split_at(names);
    let matcher = GlobBuilder::new(pattern)
        .literal_separator(true)
        .build()
        .map_err(|error| ToolError::tell(format!("`{pattern}` is no pattern: {}", error.kind())))?
        .compile_matcher();
    Ok(Plan {
        fixed: fixed.join("/"),
        recursive: rest.len() > 1
            || rest
                .iter()
                .any(|part| part.contains("**") || part.contains('{')),
        matcher,
    })
}

#[derive(Default)]
struct Found {
    paths: Vec<String>,
    ignored: usize,
}

impl Found {
    fn into_text(mut self, pattern: &str, late: bool) -> String {
        self.paths.sort_unstable();
        let total = self.paths.len();
        self.paths.truncate(MOST);
        let mut lines = self.paths;
        if total == 0 {
            lines.push(format!("[nothing matches `{pattern}`]"));
            if self.ignored > 0 {
                lines.push(format!(
                    "[{} entries that ignore files name were left out: name their directory to search it]",
                    self.ignored
                ));
            }
        }
        if total > MOST {
            lines.push(format!("[{} more: use a narrower pattern]", total - MOST));
        }
        if late || total == GATHERED {
            lines.push("[there is more: the search was cut short]".to_owned());
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_where_to_look() {
        for (pattern, fixed, recursive) in [
            ("*.rs", "", false),
            ("Cargo.toml", "", false),
            ("./src/*.rs", "src", false),
            ("src/deep/**/*.rs", "src/deep", true),
            ("**/*.py", "", true),
            ("a/*/b", "a", true),
            ("a/{b/c,d}", "a", true),
        ] {
            let plan = plan(pattern).ok().unwrap();
            assert_eq!(
                (plan.fixed.as_str(), plan.recursive),
                (fixed, recursive),
                "{pattern}"
            );
        }
    }

    #[test]
    fn refuses_patterns_that_lead_out_or_never_end() {
        for pattern in ["../x", "a/../b", "/etc/*", "", "{{{{{a}}}}}", "a[", "x\0"] {
            assert!(plan(pattern).is_err(), "{pattern}");
        }
        assert!(plan(&"{a,b}".repeat(17)).is_err());
        assert!(plan(&"a".repeat(2000)).is_err());
        assert!(plan("..a/b..c").is_ok());
    }
}
