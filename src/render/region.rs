//! The rows at the foot of the screen that change while something runs. Whatever else is printed goes
//! above them.
//!
//! There is one screen, so there is one region. A frame is one write; where only rows changed, only
//! those are written again, so that nothing flickers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::sink::{self, Stream};
use super::{Closed, keys};

static ROWS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// How many need the screen as it is, such as a question that stands there: nothing is drawn until all are done.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Terminals that know it show what lies between as one; the others leave it out.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";

fn rows() -> MutexGuard<'static, Vec<String>> {
    ROWS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints whole lines above the rows, which become others. Rows are narrower than the screen.
pub(super) fn draw(lines: &str, new: Vec<String>) -> Result<(), Closed> {
    let mut rows = rows();
    let new = if is_held() { Vec::new() } else { new };
    let frame = frame(&rows, lines, &new);
    *rows = new;
    write(&frame)
}

/// Prints a text, above the rows where there are any.
pub(super) fn print(text: &str) -> Result<(), Closed> {
    let rows = rows();
    if rows.is_empty() {
        return write(text);
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write(&frame(&rows, &format!("{text}{end}"), &rows))
}

/// Does something that prints elsewhere, with the rows out of its way.
pub(super) fn aside(work: impl FnOnce()) {
    let rows = rows();
    if rows.is_empty() {
        work();
        return;
    }
    // What stands elsewhere is shown whether this screen is there or not.
    _ = write(&frame(&rows, "", &[]));
    work();
    _ = write(&frame(&[], "", &rows));
}

/// Takes the rows away and draws none until `release`; blocks nobody.
pub(crate) fn hold() {
    let rows = &mut *rows();
    HELD.fetch_add(1, Ordering::SeqCst);
    // A screen that is gone has no rows.
    _ = write(&frame(rows, "", &[]));
    rows.clear();
    keys::listen();
    sink::settle();
}

/// Rows may be drawn again, once everybody who held them says so.
pub(crate) fn release() {
    HELD.fetch_sub(1, Ordering::SeqCst);
    keys::listened();
}

/// Whether nothing is to be drawn.
pub(super) fn is_held() -> bool {
    HELD.load(Ordering::SeqCst) > 0
}

/// Takes the rows away.
pub(crate) fn clear() {
    // A screen that is gone has no rows.
    _ = draw("", Vec::new());
}

fn write(text: &str) -> Result<(), Closed> {
    if text.is_empty() {
        return Ok(());
    }
    sink::put(Stream::Out, text)
}

/// What makes a screen with these rows, the cursor in the last of them, into one with others.
fn frame(old: &[String], lines: &str, new: &[String]) -> String {
    if old == new && lines.is_empty() {
        return String::new();
    }
    let mut frame = BEGIN.to_owned();
    if !old.is_empty() {
        frame.push('\r');
    }
    if old.len() > 1 {
        frame.push_str(&format!("\x1b[{}A", old.len() - 1));
    }
    if lines.is_empty() && old.len() == new.len() {
        for (index, (before, row)) in old.iter().zip(new).enumerate() {
            if index > 0 {
                frame.push('\n');
            }
            // The last one is written in any case: the cursor belongs at its end.
            if before != row || index + 1 == new.len() {
                frame.push_str(row);
                frame.push_str("\x1b[K");
            }
        }
    } else {
        if !old.is_empty() {
            frame.push_str("\x1b[J");
        }
        frame.push_str(lines);
        frame.push_str(&new.join("\n"));
    }
    frame.push_str(END);
    frame
}

/// The beginning of a text that fits into so many columns, with a mark where something is left out.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > columns {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

/// A text in lines of so many columns.
pub(super) fn folded(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for character in text.chars() {
        let width = character.width().unwrap_or(0);
        if used + width > columns {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        used += width;
        line.push(character);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(rows: &[&str]) -> Vec<String> {
        rows.iter().map(|row| (*row).to_owned()).collect()
    }

    #[test]
    fn frames_leave_what_was_printed_and_the_last_rows() {
        let mut screen = vt100::Parser::new(6.try_into().unwrap(), 20.try_into().unwrap(), 0);
        let mut rows: Vec<String> = Vec::new();
        for (lines, new, expected) in [
            ("", &["status 1"][..], "status 1"),
            ("one\n", &["pending", "status 2"], "one\npending\nstatus 2"),
            (
                "",
                &["pending more", "status 2"],
                "one\npending more\nstatus 2",
            ),
            ("two\nthree\n", &["s"], "one\ntwo\nthree\ns"),
            ("", &["a", "b", "c"], "one\ntwo\nthree\na\nb\nc"),
            ("four\n", &["a", "b", "c"], "two\nthree\nfour\na\nb\nc"),
            ("", &[], "two\nthree\nfour"),
        ] {
            let new = strings(new);
            let bytes = frame(&rows, lines, &new).replace('\n', "\r\n");
            screen.process(bytes.as_bytes());
            assert_eq!(screen.screen().contents(), expected);
            rows = new;
        }
        assert_eq!(frame(&rows, "", &rows), "");
    }

    #[test]
    fn rows_that_stay_are_not_written_again() {
        let old = strings(&["long pending row", "1 s"]);
        let new = strings(&["long pending row", "2 s"]);
        assert_eq!(
            frame(&old, "", &new),
            "\x1b[?2026h\r\x1b[1A\n2 s\x1b[K\x1b[?2026l"
        );
    }

    #[test]
    fn widths_are_those_of_a_screen() {
        for (text, columns, expected) in [
            ("short", 5, "short"),
            ("longer", 5, "long…"),
            ("漢字漢字", 5, "漢字…"),
            ("漢字漢字", 8, "漢字漢字"),
        ] {
            assert_eq!(fit(text, columns), expected);
        }
        assert_eq!(folded("漢字a😀b", 4), ["漢字", "a😀b"]);
    }
}
