//! Keeps what a model is given to a size that it can use.

/// Bytes that are kept of the beginning and of the end of a result.
pub(crate) const KEPT: usize = 32 * 1024;

/// The text, or its head and tail with a note of what was cut between them. Cuts at the ends of
/// lines where there are any near.
pub(crate) fn cap(text: String, kept: usize) -> String {
    if text.len() <= kept * 2 {
        return text;
    }
    let head = head_end(&text, kept);
    let tail = tail_start(&text, text.len() - kept);
    let (first, cut, last) = (
        text.get(..head).unwrap_or_default(),
        text.get(head..tail).unwrap_or_default(),
        text.get(tail..).unwrap_or_default(),
    );
    let lines = cut.matches('\n').count();
    let gap = if first.ends_with('\n') { "" } else { "\n" };
    format!(
        "{first}{gap}[… {} bytes, {lines} lines cut …]\n{last}",
        cut.len()
    )
}

fn head_end(text: &str, at: usize) -> usize {
    let end = (0..=at)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    let head = text.get(..end).unwrap_or_default();
    match head.rfind('\n') {
        Some(line) if line > at / 2 => line + 1,
        _ => end,
    }
}

fn tail_start(text: &str, at: usize) -> usize {
    let start = (at..=text.len())
        .find(|start| text.is_char_boundary(*start))
        .unwrap_or(text.len());
    let tail = text.get(start..).unwrap_or_default();
    match tail.find('\n') {
        Some(line) if line < tail.len() / 2 => start + line + 1,
        _ => start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_head_and_tail() {
        assert_eq!(cap("short".to_owned(), 4), "short");
        assert_eq!(
            cap("one\ntwo\nthree\nfour\nfive\nsix\n".to_owned(), 8),
            "one\ntwo\n[… 16 bytes, 3 lines cut …]\nsix\n"
        );
        assert_eq!(
            cap("ääääääääää".to_owned(), 5),
            "ää\n[… 12 bytes, 0 lines cut …]\nää"
        );
    }
}
