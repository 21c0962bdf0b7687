//! The `read` tool: a file, or some of its lines, as text.

use std::io::{self, Read};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::search::{Stoppable, search};
use super::workspace::OpenFile;
use super::{ToolAnswer, ToolContext, ToolError, ToolOutput, Workspace, params};
use crate::redact::Redactor;

/// Bytes of text that one call gives.
const MOST: usize = 48 * 1024;

/// Up to this length a file is read at once; it takes less time than handing it to a thread.
const SHORT: u64 = 64 * 1024;

/// Bytes of a file in UTF-16, which is read whole, and bytes that are looked through for the
/// number of lines.
const LARGEST: u64 = 10 * 1024 * 1024;

const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The file, relative to the workspace.
    path: String,
    /// The first line to give, counted from 1.
    offset: Option<u64>,
    /// How many lines to give.
    limit: Option<u64>,
    /// The file's encoding, such as `latin1` or `utf-16le`; UTF-8 by default.
    encoding: Option<String>,
}

/// What was taken from a file.
#[derive(Debug, PartialEq)]
struct Excerpt {
    bytes: Vec<u8>,
    /// Lines taken, the last one perhaps in part.
    lines: u64,
    /// Lines in the file, where it was read to its end.
    total: Option<u64>,
    /// The last line was too long to be given whole.
    cut_line: bool,
}

/// The text of a file, as a model is given it.
#[derive(Debug)]
pub struct FileText {
    /// The text, with a note where it is not all.
    pub text: String,
    /// Where it is not all: the bytes that are given, and how many there are.
    pub cut: Option<(u64, u64)>,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("read", &value)?;
        let encoding = encoding(params.encoding.as_deref())?;
        let file = context.workspace.open_file(&params.path)?;
        let redactor = &context.redactor;
        if file.length <= SHORT {
            let given = read(file, &params, encoding, redactor, &AtomicBool::new(false))?;
            return Ok(ToolOutput::from(given.text));
        }
        let redactor = redactor.clone();
        let (output, _) = search(context, DEADLINE, move |_, stop| {
            let given = read(file, &params, encoding, &redactor, stop)?;
            Ok(ToolOutput::from(given.text))
        })
        .await?;
        Ok(output)
    })
}

/// The text of a file, as a call for all of it gives it, secrets masked. Blocks for as long as the disk takes.
///
/// # Errors
/// When the policy or the system does not let it be read, or it is no text; the words are for the user.
pub fn text_of(
    workspace: &Workspace,
    path: &str,
    redactor: &Redactor,
) -> Result<FileText, ToolError> {
    let params = Params {
        path: path.to_owned(),
        offset: None,
        limit: None,
        encoding: None,
    };
    let file = workspace.open_file(path)?;
    let FileText { text, cut } = read(file, &params, None, redactor, &AtomicBool::new(false))?;
    Ok(FileText {
        text: redactor.mask_owned(text),
        cut,
    })
}

fn encoding(label: Option<&str>) -> Result<Option<&'static Encoding>, ToolError> {
    label
        .map(|label| {
            Encoding::for_label(label.as_bytes()).ok_or_else(|| {
                ToolError::tell(format!(
                    "`{label}` is no known encoding: use a name such as `utf-8`, `latin1`, \
                     `utf-16le` or `shift_jis`"
                ))
            })
        })
        .transpose()
}

fn read(
    opened: OpenFile,
    params: &Params,
    asked: Option<&'static Encoding>,
    redactor: &Redactor,
    stop: &AtomicBool,
) -> Result<FileText, ToolError> {
    let path = &params.path;
    let failed = |error: io::Error| {
        if error.kind() == io::ErrorKind::TimedOut {
            ToolError::TimedOut(format!("reading `{path}` took too long"))
        } else {
            ToolError::tell(format!("`{path}` could not be read: {error}"))
        }
    };
    let mut reader = Stoppable {
        reader: opened.file.take(opened.length),
        stop,
    };
    let mut head = vec![0; 8 * 1024];
    let filled = fill(&mut reader, &mut head).map_err(failed)?;
    head.truncate(filled);
    let (marked, mark) = match Encoding::for_bom(&head) {
        Some((encoding, length)) => (Some(encoding), length),
        None => (None, 0),
    };
    // The file's own mark knows more than a name: `utf-16` says nothing of the order of bytes.
    let encoding = marked.or(asked).unwrap_or(UTF_8);
    let wide = is_wide(encoding);
    if !wide && head.contains(&0) {
        let hint = unmarked(&head).map(|likely| {
            format!(
                "; it looks like {}, which `encoding` can name",
                likely.name()
            )
        });
        return Err(ToolError::tell(format!(
            "`{path}` is a binary file of {} bytes: it cannot be shown as text{}",
            opened.length,
            hint.unwrap_or_default()
        )));
    }
    let body = head.get(mark..).unwrap_or_default();
    let first = params.offset.unwrap_or(1).max(1);
    // Some models send 0 for a parameter that they leave out.
    let limit = params.limit.filter(|limit| *limit > 0).unwrap_or(u64::MAX);
    let (excerpt, mut text, whole, broken) = if wide {
        if opened.length > LARGEST {
            return Err(ToolError::tell(format!(
                "`{path}` is in UTF-16 and larger than {} MiB: it cannot be shown",
                LARGEST >> 20
            )));
        }
        let mut whole = body.to_vec();
        reader.read_to_end(&mut whole).map_err(failed)?;
        let (text, broken) = encoding.decode_without_bom_handling(&whole);
        let excerpt = excerpt(text.as_bytes(), first, limit).map_err(failed)?;
        let whole = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let (text, _) = decoded(UTF_8, &excerpt);
        (excerpt, text, whole, broken)
    } else {
        let excerpt = excerpt(body.chain(reader), first, limit).map_err(failed)?;
        let (text, broken) = decoded(encoding, &excerpt);
        (excerpt, text, opened.length, broken)
    };
    if let Some(total) = excerpt.total.filter(|total| first > *total && first > 1) {
        return Err(ToolError::tell(format!(
            "`{path}` has {total} lines: there is no line {first}"
        )));
    }
    if excerpt.cut_line {
        text.truncate(redactor.before_cut(&text).len());
    }
    let next = first + excerpt.lines;
    let is_cut = excerpt.cut_line || excerpt.total.is_none_or(|total| next <= total);
    let shown = u64::try_from(excerpt.bytes.len()).unwrap_or(u64::MAX);
    Ok(FileText {
        text: with_notes(text, &excerpt, first, broken, encoding),
        cut: is_cut.then_some((shown, whole)),
    })
}

pub(super) fn is_wide(encoding: &'static Encoding) -> bool {
    encoding == UTF_16LE || encoding == UTF_16BE
}

/// The order of bytes of a text in UTF-16 that has no mark: most of its letters leave one of their bytes empty.
fn unmarked(head: &[u8]) -> Option<&'static Encoding> {
    let (mut first, mut second, mut pairs) = (0_usize, 0_usize, 0_usize);
    for pair in head.chunks_exact(2) {
        pairs += 1;
        first += usize::from(pair.first() == Some(&0));
        second += usize::from(pair.last() == Some(&0));
    }
    match (first, second) {
        (0, second) if second * 2 > pairs => Some(UTF_16LE),
        (first, 0) if first * 2 > pairs => Some(UTF_16BE),
        _ => None,
    }
}

/// The text of an excerpt, and whether some of it is not in the encoding. The letter in which a line was cut is left out.
fn decoded(encoding: &'static Encoding, excerpt: &Excerpt) -> (String, bool) {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let room = decoder.max_utf8_buffer_length(excerpt.bytes.len());
    let mut text = String::with_capacity(room.unwrap_or(3 * MOST));
    let (_, _, broken) = decoder.decode_to_string(&excerpt.bytes, &mut text, !excerpt.cut_line);
    (text, broken)
}

fn with_notes(
    mut text: String,
    excerpt: &Excerpt,
    first: u64,
    broken: bool,
    encoding: &'static Encoding,
) -> String {
    if text.is_empty() && excerpt.total == Some(0) {
        return "[the file is empty]".to_owned();
    }
    let next = first + excerpt.lines;
    let more = excerpt.total.is_none_or(|total| next <= total);
    let wide = is_wide(encoding);
    if (more || excerpt.cut_line || broken || wide) && !text.ends_with('\n') {
        text.push('\n');
    }
    if excerpt.cut_line {
        text.push_str("[the last line is too long to be shown whole]\n");
    }
    if more {
        let last = next.saturating_sub(1).max(first);
        let of = match excerpt.total {
            Some(total) => format!("of {total}"),
            None => "of many more".to_owned(),
        };
        text.push_str(&format!(
            "[lines {first} to {last} {of}; go on with offset {next}]"
        ));
    }
    if broken {
        text.push_str(&format!(
            "[some bytes are not {}: name the file's encoding]",
            encoding.name()
        ));
    }
    if wide {
        text.push_str(&format!("[the file is in {}]", encoding.name()));
    }
    text
}

/// Reads until the buffer is full or nothing is left.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Takes lines from `first` on: `limit` of them, or as many as fit. Counts the rest.
fn excerpt(mut reader: impl Read, first: u64, limit: u64) -> io::Result<Excerpt> {
    let mut taken = Excerpt {
        bytes: Vec::new(),
        lines: 0,
        total: None,
        cut_line: false,
    };
    let mut line = 1;
    let mut in_line = false;
    let mut start = 0;
    let mut full = limit == 0;
    let mut counted = 0_u64;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = fill(&mut reader, &mut buffer)?;
        if count == 0 {
            break;
        }
        for piece in buffer
            .get(..count)
            .unwrap_or_default()
            .split_inclusive(|byte| *byte == b'\n')
        {
            let wanted = line >= first && line - first < limit;
            if wanted && !full {
                if !in_line {
                    start = taken.bytes.len();
                }
                let room = MOST - taken.bytes.len();
                full = piece.len() > room;
                taken
                    .bytes
                    .extend_from_slice(piece.get(..room).unwrap_or(piece));
                taken.lines = line - first + 1;
                if full && start > 0 {
                    // The next call begins with this line.
                    taken.bytes.truncate(start);
                    taken.lines -= 1;
                } else if full {
                    taken.cut_line = true;
                }
            }
            in_line = !piece.ends_with(b"\n");
            line += u64::from(!in_line);
        }
        if full || line.saturating_sub(first) >= limit {
            counted += u64::try_from(count).unwrap_or(u64::MAX);
            if counted > LARGEST {
                return Ok(taken);
            }
        }
    }
    taken.total = Some(line - 1 + u64::from(in_line));
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_lines_and_counts_the_rest() {
        let text = b"one\ntwo\nthree\nfour";
        for (first, limit, bytes, lines) in [
            (1, u64::MAX, &b"one\ntwo\nthree\nfour"[..], 4),
            (2, 2, b"two\nthree\n", 2),
            (4, 9, b"four", 1),
            (5, 1, b"", 0),
            (1, 0, b"", 0),
        ] {
            let expected = Excerpt {
                bytes: bytes.to_vec(),
                lines,
                total: Some(4),
                cut_line: false,
            };
            assert_eq!(excerpt(&text[..], first, limit).unwrap(), expected);
        }
        assert_eq!(excerpt(&b""[..], 1, 9).unwrap().total, Some(0));
    }

    #[test]
    fn stops_where_an_answer_is_full() {
        let text = "0123456789abcde\n".repeat(10_000);
        let taken = excerpt(text.as_bytes(), 1, u64::MAX).unwrap();
        assert_eq!(taken.bytes.len(), MOST);
        assert!(!taken.cut_line);
        assert_eq!((taken.lines, taken.total), (3072, Some(10_000)));
        let long = "x".repeat(200_000);
        let taken = excerpt(long.as_bytes(), 1, u64::MAX).unwrap();
        assert_eq!(taken.bytes.len(), MOST);
        assert!(taken.cut_line);
        assert_eq!((taken.lines, taken.total), (1, Some(1)));
    }

    #[test]
    fn a_line_that_does_not_fit_after_others_is_left_for_the_next_call() {
        let text = format!("a\n{}\nb\n", "x".repeat(MOST));
        let taken = excerpt(text.as_bytes(), 1, u64::MAX).unwrap();
        assert_eq!(taken.bytes, b"a\n");
        assert_eq!(
            (taken.lines, taken.total, taken.cut_line),
            (1, Some(3), false)
        );
    }
}
