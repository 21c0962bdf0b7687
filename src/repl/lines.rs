//! Lines without a line editor: from a pipe, from a terminal that cannot be drawn on.

use std::io::{self, BufRead};

use super::editor::Line;

/// The next line, behind what stands there already, with those that it goes on in behind backslashes.
pub(super) fn next_line(input: &mut impl BufRead, begun: &str) -> Line {
    let mut line = begun.as_bytes().to_vec();
    match read(input, &mut line) {
        Ok(0) => return Line::End,
        Ok(_) => {}
        Err(error) => return Line::Broken(error.to_string()),
    }
    while line.ends_with(b"\\") {
        // In a shell line the backslash is the shell's own.
        if !line.starts_with(b"!") {
            line.pop();
        }
        let before = line.len();
        line.push(b'\n');
        match read(input, &mut line) {
            Ok(0) => {
                line.truncate(before);
                break;
            }
            Ok(_) => {}
            Err(error) => return Line::Broken(error.to_string()),
        }
    }
    // Nothing of a line that is no text is taken for one.
    String::from_utf8(line).map_or_else(|_| Line::Garbled(begun.to_owned()), Line::Text)
}

/// Adds a line without its end; gives how many bytes were read.
fn read(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    let count = input.read_until(b'\n', line)?;
    if line.ends_with(b"\n") && count > 0 {
        line.pop();
        if line.ends_with(b"\r") && count > 1 {
            line.pop();
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_behind_backslashes_and_must_be_text() {
        for (input, begun, expected) in [
            (&b""[..], "", &[][..]),
            (b"one\r\n\ntwo", "", &["one", "", "two"]),
            (
                b"one\\\r\ntwo\\\nthree\nfour",
                "",
                &["one\ntwo\nthree", "four"],
            ),
            (b"!a\\\nb\nc", "", &["!a\\\nb", "c"]),
            (b"one\\\n", "", &["one"]),
            (b"one\\", "", &["one"]),
            (b"!one\\", "", &["!one\\"]),
            (b"a \xff\\\n!b\nc\n", "", &["garbled", "c"]),
            (b" more\n", "one\ntwo", &["one\ntwo more"]),
            (b"\n", "one\ntwo", &["one\ntwo"]),
            (b"", "one", &[]),
        ] {
            let mut rest = input;
            let lines = std::iter::from_fn(|| match next_line(&mut rest, begun) {
                Line::Text(text) => Some(text),
                Line::Garbled(_) => Some("garbled".to_owned()),
                _ => None,
            });
            let most = expected.len() + 1;
            assert_eq!(lines.take(most).collect::<Vec<_>>(), expected, "{input:?}");
        }
    }
}
