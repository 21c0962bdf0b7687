//! The `edit` tool: an exact piece of a file replaced by another.

use encoding_rs::Encoding;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::read::is_wide;
use super::{Before, ToolAnswer, ToolContext, ToolError, ToolOutput, ToolStatus, params};

/// Lines that are compared with a text that was not found.
const COMPARED: usize = 20_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The file, relative to the workspace.
    path: String,
    /// The text to replace, exactly as it stands in the file; it must occur once.
    old_string: String,
    /// The text to put in its place.
    new_string: String,
    /// Replace every occurrence.
    replace_all: Option<bool>,
}

/// What an edit makes of a text.
#[derive(Debug, PartialEq, Eq)]
struct Edited {
    text: String,
    /// Occurrences that were replaced.
    count: usize,
    /// The line of the first, counted from 1.
    line: usize,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("edit", &value)?;
        context
            .blocking(move |workspace| {
                let path = &params.path;
                let mut done = None;
                workspace.replace(path, |before| {
                    let edited = edit(&params, text(path, before)?)?;
                    done = Some((edited.count, edited.line));
                    Ok(edited.text.into_bytes())
                })?;
                let (count, line) = done.unwrap_or_default();
                let content = if count == 1 {
                    format!("edited `{path}` at line {line}")
                } else {
                    format!(
                        "edited `{path}`: {count} occurrences replaced, the first at line {line}"
                    )
                };
                Ok(ToolOutput {
                    content,
                    status: ToolStatus::Ok,
                    exit_code: None,
                    warnings: Vec::new(),
                })
            })
            .await
    })
}

fn text<'b>(path: &str, before: &'b Before) -> Result<&'b str, ToolError> {
    match before {
        Before::Absent => Err(ToolError::tell(format!(
            "`{path}` does not exist: make it with `write`"
        ))),
        Before::TooLarge => Err(ToolError::tell(format!("`{path}` is too large to edit"))),
        Before::Content(bytes) => std::str::from_utf8(bytes).map_err(|_| {
            ToolError::tell(match wide(bytes) {
                Some(name) => format!("`{path}` is in {name}, not UTF-8: it cannot be edited"),
                None => format!("`{path}` is not UTF-8 text: it cannot be edited"),
            })
        }),
    }
}

/// The name of the encoding of a text that is marked as UTF-16.
pub(super) fn wide(bytes: &[u8]) -> Option<&'static str> {
    let (encoding, _) = Encoding::for_bom(bytes)?;
    is_wide(encoding).then(|| encoding.name())
}

fn edit(params: &Params, text: &str) -> Result<Edited, ToolError> {
    let Params {
        path,
        old_string: old,
        new_string: new,
        replace_all,
    } = params;
    if old.is_empty() {
        return Err(ToolError::tell(
            "`old_string` is empty: name the text to replace",
        ));
    }
    if old == new {
        return Err(ToolError::tell(
            "`old_string` and `new_string` are the same: nothing to do",
        ));
    }
    // Models write the line ends of Unix whatever the file has.
    let (old, new) = &if wants_dos(text, old, new) {
        (dos(old), dos(&new.replace("\r\n", "\n")))
    } else {
        (old.clone(), new.clone())
    };
    let found = replace(text, old, new);
    match found.count {
        0 => Err(ToolError::tell(not_found(path, old, text))),
        1 => Ok(found),
        _ if replace_all.unwrap_or(false) => Ok(found),
        count => Err(ToolError::tell(format!(
            "`old_string` occurs {count} times in `{path}`, {}: add lines around it until it is \
             unique, or set `replace_all`",
            places(text, old)
        ))),
    }
}

fn replace(text: &str, old: &str, new: &str) -> Edited {
    let first = text.find(old);
    Edited {
        count: text.matches(old).count(),
        line: first.map_or(0, |at| line_of(text, at)),
        text: if first.is_some() {
            text.replace(old, new)
        } else {
            String::new()
        },
    }
}

/// Whether line ends of an edit are to be those of DOS: where the file has no others, or the text to replace is found
/// so only.
fn wants_dos(text: &str, old: &str, new: &str) -> bool {
    let dos_only = text.matches("\r\n").count() == text.matches('\n').count();
    let found_so_only = text.contains("\r\n") && old.contains('\n') && !text.contains(old);
    !old.contains('\r') && (dos_only && text.contains('\n') && !new.contains('\r') || found_so_only)
}

fn dos(text: &str) -> String {
    text.replace('\n', "\r\n")
}

fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or_default().matches('\n').count() + 1
}

fn places(text: &str, old: &str) -> String {
    let lines: Vec<String> = text
        .match_indices(old)
        .take(5)
        .map(|(at, _)| line_of(text, at).to_string())
        .collect();
    format!("at lines {}", lines.join(", "))
}

/// Words that help to find the right text: the place where only white space differs, else the
/// line that looks most like the first one.
fn not_found(path: &str, old: &str, text: &str) -> String {
    let words = format!("`old_string` does not occur in `{path}`");
    let wanted: Vec<&str> = old.trim().lines().map(str::trim).collect();
    let lines: Vec<&str> = text.lines().take(COMPARED).collect();
    let spaced = lines.windows(wanted.len().max(1)).position(|window| {
        window
            .iter()
            .zip(&wanted)
            .all(|(line, wanted)| line.trim() == *wanted)
    });
    if let Some(at) = spaced {
        let place = lines.get(at..at + wanted.len()).unwrap_or_default();
        return format!(
            "{words}: lines {} to {} differ from it in white space only; they are\n{}",
            at + 1,
            at + place.len(),
            place.join("\n")
        );
    }
    let first = wanted.iter().find(|line| !line.is_empty()).unwrap_or(&"");
    let nearest = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.len() < 400)
        .map(|(at, line)| {
            (
                strsim::normalized_damerau_levenshtein(first, line.trim()),
                at,
                line,
            )
        })
        .max_by(|(left, ..), (right, ..)| left.total_cmp(right));
    match nearest {
        Some((score, at, line)) if score > 0.5 => format!(
            "{words}; the line most like its first is line {}:\n{line}",
            at + 1
        ),
        _ => format!("{words}, nor anything like it: read the file again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(old: &str, new: &str, all: bool) -> Params {
        Params {
            path: "f".into(),
            old_string: old.into(),
            new_string: new.into(),
            replace_all: Some(all),
        }
    }

    #[test]
    fn replaces_what_is_unique() {
        let edited = |text: &str, count, line| Edited {
            text: text.to_owned(),
            count,
            line,
        };
        for (old, new, all, text, expected) in [
            ("b", "B", false, "a\nb\nc", edited("a\nB\nc", 1, 2)),
            ("x", "y", true, "x x\nx", edited("y y\ny", 3, 1)),
            (
                "b\nc",
                "1\n2\n3",
                false,
                "a\r\nb\r\nc\r\n",
                edited("a\r\n1\r\n2\r\n3\r\n", 1, 2),
            ),
            // What is put into a file with the line ends of DOS gets them too.
            (
                "b",
                "1\n2",
                false,
                "a\r\nb\r\n",
                edited("a\r\n1\r\n2\r\n", 1, 2),
            ),
            ("x\n", "", true, "x\r\nx\r\ny\r\n", edited("y\r\n", 2, 1)),
            (
                "b\r\n",
                "b\n",
                false,
                "a\r\nb\r\n",
                edited("a\r\nb\n", 1, 2),
            ),
            ("b", "1\n2", false, "a\r\nb\n", edited("a\r\n1\n2\n", 1, 2)),
            ("ü", "ue", false, "für", edited("fuer", 1, 1)),
        ] {
            assert_eq!(edit(&params(old, new, all), text).unwrap(), expected);
        }
    }

    #[test]
    fn says_why_it_cannot() {
        let text = "fn main() {\n    let value = 1;\n    print(value);\n}\n// x\n// x\n";
        for (old, new, expected) in [
            ("", "a", "`old_string` is empty: name the text to replace"),
            (
                "a",
                "a",
                "`old_string` and `new_string` are the same: nothing to do",
            ),
            (
                "// x",
                "y",
                "`old_string` occurs 2 times in `f`, at lines 5, 6: add lines around it until it \
                 is unique, or set `replace_all`",
            ),
            (
                "fn main() {\n  let value = 1;",
                "y",
                "`old_string` does not occur in `f`: lines 1 to 2 differ from it in white space \
                 only; they are\nfn main() {\n    let value = 1;",
            ),
            (
                "let valve = 1;",
                "y",
                "`old_string` does not occur in `f`; the line most like its first is line 2:\n    \
                 let value = 1;",
            ),
            (
                "something else entirely",
                "y",
                "`old_string` does not occur in `f`, nor anything like it: read the file again",
            ),
        ] {
            let error = edit(&params(old, new, false), text).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let error = edit(&params("x\ny", "z", false), "x\r\ny\r\nx\r\ny\r\n").unwrap_err();
        let words = "`old_string` occurs 2 times in `f`, at lines 1, 3: ";
        assert!(error.to_string().starts_with(words), "{error}");
    }
}
