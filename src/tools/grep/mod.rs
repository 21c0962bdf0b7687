//! The `grep` tool: lines that match a regular expression.

mod lines;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::search::{Stoppable, in_one_line, search};
use super::workspace::{Entry, Kind, WalkOptions, walk};
use super::{ToolAnswer, ToolContext, ToolError, ToolOutput, Workspace, params};
use crate::redact::Redactor;
use lines::{FileLines, Searching};

/// Matching lines that one call gives, when it asks for no other number.
const USUAL: usize = 200;

/// The most that it may ask for.
const MOST: usize = 2000;

/// Lines that are kept in all; beyond that the search ends early.
const KEPT: usize = 20_000;

/// Bytes of a compiled pattern.
const LARGEST_PATTERN: usize = 10 * 1024 * 1024;

/// Threads that search a directory.
const THREADS: usize = 4;

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// A regular expression in the syntax of Rust and ripgrep.
    pattern: String,
    /// The file or directory to search, relative to the workspace.
    path: String,
    /// Search the directories below too; they are by default.
    recursive: Option<bool>,
    /// Let capital and small letters be the same.
    ignore_case: Option<bool>,
    /// Lines to show before and after each match.
    context: Option<u64>,
    /// The most matching lines to give.
    max_matches: Option<u64>,
}

/// What a search found.
#[derive(Default)]
struct Found {
    files: Vec<FileLines>,
    /// Files that could not be read, or not to their end.
    unread: Vec<PathBuf>,
    /// Directories that could not be read.
    unreadable: usize,
    /// It ended early because it found too much.
    full: bool,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("grep", &value)?;
        let most = params
            .max_matches
            .filter(|most| *most > 0)
            .map_or(USUAL, |most| {
                usize::try_from(most).unwrap_or(MOST).min(MOST)
            });
        let pattern = params.pattern.clone();
        let redactor = context.redactor.clone();
        let (found, late) = search(context, DEADLINE, move |workspace, stop| {
            let matcher = matcher(&params.pattern, params.ignore_case.unwrap_or(false))?;
            find(workspace, &params, (&matcher, &redactor), most, stop)
        })
        .await?;
        Ok(ToolOutput::from(found.into_text(&pattern, most, late)))
    })
}

fn matcher(pattern: &str, ignore_case: bool) -> Result<RegexMatcher, ToolError> {
    RegexMatcherBuilder::new()
        .case_insensitive(ignore_case)
        .line_terminator(Some(b'\n'))
        .size_limit(LARGEST_PATTERN)
        .build(pattern)
        .map_err(|error| ToolError::tell(format!("`{pattern}` is no regular expression: {error}")))
}

fn find(
    workspace: &Workspace,
    params: &Params,
    (matcher, redactor): (&RegexMatcher, &Redactor),
    most: usize,
    stop: &AtomicBool,
) -> Result<Found, ToolError> {
    let around = usize::try_from(params.context.unwrap_or(0).min(50)).unwrap_or(0);
    let tree = match workspace.open_tree(&params.path) {
        Ok(tree) => tree,
        Err(ToolError::Tell(_)) => {
            // A file, or nothing: then opening it says so.
            let opened = workspace.open_file(&params.path)?;
            let mut searching = Searching::new(matcher, redactor, around, most);
            let reader = Stoppable {
                reader: &opened.file,
                stop,
            };
            let lines = searching.file(|| PathBuf::from(&params.path), reader);
            if lines.as_ref().is_some_and(|lines| lines.binary) {
                return Err(ToolError::tell(format!(
                    "`{}` is a binary file: it cannot be searched",
                    params.path
                )));
            }
            let mut found = Found::default();
            if let Some(lines) = lines {
                found.add(lines, stop);
            }
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    let options = WalkOptions {
        recursive: params.recursive.unwrap_or(true),
        hidden: true,
        ignore: true,
        threads: std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS)),
    };
    let kept = AtomicUsize::new(0);
    let policy = workspace.policy();
    let secrets = policy.secrets();
    let start = || {
        let searching = Searching::new(matcher, redactor, around, most);
        (searching, Found::default())
    };
    let visit = |(searching, found): &mut (Searching<'_>, Found), entry: &Entry<'_>| {
        if entry.kind != Kind::File || policy.is_secret(&entry.real()) {
            return;
        }
        let file = match entry.open() {
            Ok(file) => file,
            Err(error) => {
                if matches!(error, Errno::ACCESS | Errno::PERM | Errno::IO) {
                    found.unread.push(entry.shown());
                }
                return;
            }
        };
        let reader = Stoppable {
            reader: &file,
            stop,
        };
        let lines = searching.file(|| entry.shown(), reader);
        let is_secret = || {
            rustix::fs::fstat(&file)
                .is_ok_and(|stat| Workspace::is_another_name(&secrets, &entry.real(), &stat))
        };
        if let Some(lines) = lines.filter(|lines| !lines.binary && !is_secret()) {
            if kept.fetch_add(lines.kept, Ordering::Relaxed) > KEPT {
                stop.store(true, Ordering::Relaxed);
            }
            found.add(lines, stop);
        }
    };
    let walked = walk(&tree, policy, options, stop, start, visit);
    let mut all = Found {
        unreadable: walked.unreadable,
        full: kept.load(Ordering::Relaxed) > KEPT,
        ..Found::default()
    };
    for (_, found) in walked.states {
        all.files.extend(found.files);
        all.unread.extend(found.unread);
    }
    Ok(all)
}

impl Found {
    /// Adds what a file gave. One that was left because of `stop` is not one that could not be read.
    fn add(&mut self, lines: FileLines, stop: &AtomicBool) {
        if lines.unread && !stop.load(Ordering::Relaxed) {
            self.unread.push(lines.path.clone());
        }
        if lines.total > 0 {
            self.files.push(lines);
        }
    }

    fn into_text(mut self, pattern: &str, most: usize, late: bool) -> String {
        self.files
            .sort_unstable_by(|left, right| left.path.cmp(&right.path));
        let total: u64 = self.files.iter().map(|file| file.total).sum();
        let grouped = self
            .files
            .iter()
            .any(|file| file.lines.iter().any(|line| !line.matches));
        let mut text = String::new();
        let mut given = 0;
        for file in &self.files {
            let path = in_one_line(&file.path);
            let mut last = None;
            for line in &file.lines {
                if given == most {
                    break;
                }
                let next = last.is_some_and(|last| line.number == last + 1);
                if grouped && !next && !text.is_empty() {
                    text.push_str("--\n");
                }
                last = Some(line.number);
                given += usize::from(line.matches);
                let sign = if line.matches { ':' } else { '-' };
                text.push_str(&format!("{path}{sign}{}{sign}{}\n", line.number, line.text));
            }
        }
        if total == 0 {
            text.push_str(&format!("[nothing matches `{pattern}`]\n"));
        }
        let given = u64::try_from(given).unwrap_or(u64::MAX);
        if total > given {
            let least = if self.full || late { "at least " } else { "" };
            let files = self.files.len();
            text.push_str(&format!(
                "[{least}{} more matching lines; {files} files match: narrow the pattern or the path]\n",
                total - given
            ));
        }
        if late {
            text.push_str(&format!(
                "[the search was cut short after {} s]\n",
                DEADLINE.as_secs()
            ));
        }
        let unread = self.unread.iter().min().map(|path| in_one_line(path));
        match (unread, self.unread.len()) {
            (None, _) => {}
            (Some(path), 1) => text.push_str(&format!("[`{path}` could not be read]\n")),
            (Some(path), count) => text.push_str(&format!(
                "[{count} files could not be read, `{path}` among them]\n"
            )),
        }
        if self.unreadable > 0 {
            text.push_str(&format!(
                "[{} directories could not be read]\n",
                self.unreadable
            ));
        }
        text.truncate(text.trim_end_matches('\n').len());
        text
    }
}
