//! What became of a file, as people read it.

use similar::TextDiff;
use std::time::Duration;

use super::{Style, harmless, in_line};

/// Lines of one file that are shown.
const MOST: usize = 1_000;

/// Longer a comparison does not look for the shortest difference.
const PATIENCE: Duration = Duration::from_millis(300);

/// A file before and after, as a unified diff; `None` where there is no file. Ends with a line end.
pub fn diff(name: &str, before: Option<&[u8]>, after: Option<&[u8]>, style: Style) -> String {
    let name = in_line(name);
    let side = |content: Option<&[u8]>, mark: &str| match content {
        Some(_) => format!("{mark}/{name}"),
        None => "/dev/null".to_owned(),
    };
    let mut text = String::new();
    let mut line = |painted: String| {
        text.push_str(&painted);
        text.push('\n');
    };
    line(style.bold(&format!("--- {}", side(before, "a"))));
    line(style.bold(&format!("+++ {}", side(after, "b"))));
    let (old, new) = (before.unwrap_or_default(), after.unwrap_or_default());
    if old.contains(&0) || new.contains(&0) {
        line(format!("binary: {} bytes, now {}", old.len(), new.len()));
        return text;
    }
    let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(new));
    let compared = TextDiff::configure()
        .timeout(PATIENCE)
        .diff_lines(&*old, &*new);
    let unified = compared.unified_diff().to_string();
    for (index, written) in unified.lines().enumerate() {
        if index == MOST {
            line(style.dim(&format!("{} more lines", unified.lines().count() - MOST)));
            break;
        }
        let shown = harmless(written);
        line(match written.chars().next() {
            Some('+') => style.green(&shown),
            Some('-') => style.red(&shown),
            Some('@') => style.cyan(&shown),
            _ => shown,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_tells_lines_apart_and_obeys_nothing() {
        let plain = Style::default();
        for (before, after, expected) in [
            (
                Some("one\ntwo\n"),
                Some("one\n2\x1b[2J\n"),
                "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n one\n-two\n+2[2J\n",
            ),
            (
                None,
                Some("new\n"),
                "--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+new\n",
            ),
            (
                Some("old"),
                None,
                "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n\\ No newline at end of file\n",
            ),
            (
                Some("a\0b"),
                Some("c"),
                "--- a/x\n+++ b/x\nbinary: 3 bytes, now 1\n",
            ),
        ] {
            let bytes = |side: Option<&'static str>| side.map(str::as_bytes);
            assert_eq!(diff("x", bytes(before), bytes(after), plain), expected);
        }
    }

    #[test]
    fn no_name_and_no_line_has_a_style_of_its_own() {
        let text = diff(
            "n\x1b[8m\nx",
            None,
            Some(b"a\x1b[8mb\tc\n"),
            Style::default(),
        );
        assert_eq!(text, "--- /dev/null\n+++ b/n x\n@@ -0,0 +1 @@\n+ab    c\n");
    }

    #[test]
    fn a_long_diff_is_cut() {
        let long = "line\n".repeat(5_000);
        let text = diff("x", None, Some(long.as_bytes()), Style::default());
        assert!(text.ends_with("+line\n4001 more lines\n"), "{text}");
    }
}
