//! Output for people.

use std::collections::BTreeSet;
use std::io;

use super::{
    Closed, Screen, View, in_line, lines, markdown, plain, stdout, styled_stderr_line,
    styled_stdout,
};
use crate::agents::{ErrorReport, RunResult};
use crate::event::{Event, EventKind};
use crate::redact::Redactor;

impl View {
    pub(super) fn show_text(&mut self, event: &Event) -> Result<(), Closed> {
        if self.live.is_some() {
            self.show_live(event);
            return Ok(());
        }
        if event.is_delegate {
            self.show_progress(event);
            return Ok(());
        }
        match &event.kind {
            EventKind::TextDelta { text } if self.stream_text => {
                if !text.is_empty() {
                    self.wrote = true;
                    stdout(&self.next_piece(text))?;
                }
            }
            // What a turn said before it asked for tools and what the next one says are two paragraphs.
            EventKind::TurnStarted { turn } if *turn > 1 && self.stream_text => {
                self.end_line()?;
                if std::mem::take(&mut self.wrote) {
                    stdout("\n")?;
                }
            }
            // The question comes on its own way and begins a line.
            EventKind::Approval { granted: None, .. } if super::stdout_is_terminal() => {
                self.end_line()?;
            }
            EventKind::StreamReset if self.stream_text => {
                self.end_line()?;
                self.show_progress(event);
            }
            _ => self.show_progress(event),
        }
        Ok(())
    }

    pub(super) fn show_progress(&mut self, event: &Event) {
        if self.screen.quiet {
            return;
        }
        let who = who(event);
        let several = (!self.stream_text || event.is_delegate) && !who.is_empty();
        // With many agents the same notice comes many times; once is enough.
        if let Some(words) = event.kind.words()
            && !self.told.insert(words)
        {
            return;
        }
        if let Some(line) = lines::progress_line(&event.kind, self.screen.err) {
            // Progress that cuts into a line of the answer starts on a line of its own where both are seen.
            let cut = self.open_line && are_one();
            if cut {
                self.open_line = false;
            }
            let begin = if cut { "\n" } else { "" };
            styled_stderr_line(&if several {
                format!("{begin}[{who}] {line}")
            } else {
                format!("{begin}{line}")
            });
        }
    }

    pub(super) fn finish_text(&mut self, result: &RunResult) -> Result<(), Closed> {
        if self.live.is_some() {
            self.finish_live(result)?;
        } else if self.stream_text {
            if !self.wrote && result.ok && !result.output.is_empty() {
                stdout(&self.next_piece(&self.masks.text(&result.output)))?;
            }
            self.end_line()?;
        } else if self.answer_last && !result.output.is_empty() {
            stdout(&self.next_piece(&self.masks.text(&result.output)))?;
            self.end_line()?;
        }
        let new = |warning: &&String| !self.screen.quiet && !is_told(&self.told, warning);
        for warning in result.warnings.iter().filter(new) {
            let warning = self.masks.text(warning);
            let line = self.screen.err.yellow(&format!("warning: {warning}"));
            styled_stderr_line(&self.screen.wrapped(&line));
        }
        if let Some(error) = &result.error {
            let text = self.masks.text(&error_text(error, self.screen));
            styled_stderr_line(&self.screen.wrapped(&text));
        }
        if !self.screen.quiet && result.attempts > 0 {
            super::aside(self.screen, &summary(result));
        }
        Ok(())
    }

    /// What is written of a piece of an answer: all but the empty lines at its end, which may be the end of the answer.
    fn next_piece(&mut self, piece: &str) -> String {
        let body = piece.trim_end_matches('\n');
        let mut ends = piece.len() - body.len();
        let mut text = String::new();
        if !body.is_empty() {
            text.push_str(&"\n".repeat(std::mem::take(&mut self.empty_lines)));
            text.push_str(body);
            self.open_line = true;
        }
        if ends > 0 && std::mem::take(&mut self.open_line) {
            text.push('\n');
            ends -= 1;
        }
        self.empty_lines += ends;
        text
    }

    fn end_line(&mut self) -> Result<(), Closed> {
        self.empty_lines = 0;
        if std::mem::take(&mut self.open_line) {
            stdout("\n")
        } else {
            Ok(())
        }
    }
}

/// Whether a warning was told before, perhaps without the names of those whom it comes from.
fn is_told(told: &BTreeSet<String>, warning: &str) -> bool {
    let behind = |(at, mark): (usize, &str)| warning.get(at + mark.len()..);
    let mut shorter = warning.match_indices(": ").filter_map(behind);
    told.contains(warning) || shorter.any(|words| told.contains(words))
}

/// Whether both streams end in the same place: a terminal, or what `2>&1` leads to.
fn are_one() -> bool {
    let same = |out: rustix::fs::Stat, err: rustix::fs::Stat| {
        (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)
    };
    match (
        rustix::fs::fstat(io::stdout()),
        rustix::fs::fstat(io::stderr()),
    ) {
        (Ok(out), Ok(err)) => same(out, err),
        _ => false,
    }
}

/// Whose event it is: a step of a task, or an agent.
pub(super) fn who(event: &Event) -> &str {
    event.step.as_deref().unwrap_or(&event.agent)
}

/// Prints the answer of one of several agents under its name.
///
/// # Errors
/// When standard output is closed.
pub fn answer(result: &RunResult, screen: Screen, redactor: &Redactor) -> Result<(), Closed> {
    let heading = screen.out.bold(&format!("── {} ", result.agent));
    let output = redactor.mask(&result.output);
    let output = if screen.live {
        markdown::rendered(&output, screen.out, super::width())
    } else {
        super::plain::for_stdout(&output).into_owned()
    };
    let output = output.trim_end_matches('\n');
    styled_stdout(&format!("{heading}\n{output}\n\n"))?;
    if let Some(error) = &result.error {
        let text = error_text(error, screen);
        let text = format!("[{}] {}", result.agent, redactor.mask(&text));
        styled_stderr_line(&screen.wrapped(&text));
    }
    Ok(())
}

/// An error as people read it: the message, what it came from, the fix. Servers wrote some of it, so a terminal obeys
/// none of it.
pub fn error_text(error: &ErrorReport, screen: Screen) -> String {
    let mut text = format!("{} {}", screen.err.red("error:"), plain(&error.message));
    if error.attempts.len() > 1 {
        for (index, attempt) in error.attempts.iter().enumerate() {
            text.push_str(&format!(
                "\n  attempt {}: {}: {} ({})",
                index + 1,
                in_line(&attempt.model),
                plain(&attempt.message),
                attempt.class
            ));
        }
    }
    if let Some(hint) = &error.hint {
        text.push_str(&format!("\n\nhint: {}", plain(hint)));
    }
    text
}

/// What the run took, in one line.
fn summary(result: &RunResult) -> String {
    use crate::usage::CostSource;
    let tokens = format!(
        "{} in / {} out tokens",
        result.usage.input_tokens, result.usage.output_tokens
    );
    let cost = match result.cost_source {
        CostSource::Unpriced => "price unknown".to_owned(),
        CostSource::Subscription => "subscription".to_owned(),
        CostSource::Estimated => format!("about ${}", result.cost_usd),
        CostSource::Computed | CostSource::Reported => format!("${}", result.cost_usd),
    };
    let tools = match result.tools.len() {
        0 => String::new(),
        1 => ", 1 tool call".to_owned(),
        count => format!(", {count} tool calls"),
    };
    let model = if result.model.is_empty() {
        &result.requested_model
    } else {
        &result.model
    };
    // Several agents have no model in common.
    let mark = if model.is_empty() { "" } else { " · " };
    format!(
        "{model}{mark}{tokens} · {cost}{tools} · {}.{} s",
        result.duration_ms / 1000,
        result.duration_ms % 1000 / 100
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{ColorHints, Form};

    #[test]
    fn a_warning_is_told_once_whoever_passes_it_on() {
        let told: BTreeSet<String> = ["0.2 of the run budget is used", "a: b"]
            .map(str::to_owned)
            .into();
        for (warning, expected) in [
            ("0.2 of the run budget is used", true),
            ("helper: 0.2 of the run budget is used", true),
            ("step: helper: 0.2 of the run budget is used", true),
            ("helper: a: b", true),
            ("b", false),
            ("helper: b", false),
            ("helper 0.2 of the run budget is used", false),
            ("", false),
        ] {
            assert_eq!(is_told(&told, warning), expected, "{warning}");
        }
    }

    #[test]
    fn an_answer_ends_with_one_line_end_in_pieces_too() {
        let screen = Screen::detect(false, 0, Some(false), ColorHints::default());
        for (pieces, expected) in [
            (&["a\n\n\n"][..], "a\n"),
            (&["a", "\n", "\n", "\n"], "a\n"),
            (&["a\n", "\nb", "\n\n"], "a\n\nb\n"),
            (&["\n\na"], "\n\na"),
            (&["\n", "\na\n\n"], "\n\na\n"),
            (&["a\n\nb"], "a\n\nb"),
            (&["\n\n"], ""),
        ] {
            let mut view = View::new(Form::StreamJson, screen, &Redactor::default());
            let shown: String = pieces.iter().map(|piece| view.next_piece(piece)).collect();
            assert_eq!(shown, expected, "{pieces:?}");
        }
    }
}
