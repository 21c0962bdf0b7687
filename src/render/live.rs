//! A run on a screen whose cursor can be moved: the answer as it is meant to look, and below it what
//! runs and how far it is.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::lines::progress_line;
use super::markdown::Markdown;
use super::status::Status;
use super::text::who;
use super::{Closed, Screen, View, region};
use crate::agents::RunResult;
use crate::event::{Event, EventKind};

/// The screen is looked after this often.
const TICK: Duration = Duration::from_millis(50);

/// What comes sooner after a frame waits for the next tick.
const FRAME: Duration = Duration::from_millis(30);

/// What is on its way to the screen.
#[derive(Debug)]
pub(super) struct Live {
    screen: Screen,
    markdown: Markdown,
    pub(super) status: Status,
    /// Whole lines that are not printed yet.
    lines: String,
    drawn: Option<Instant>,
}

impl Live {
    pub(super) fn new(screen: Screen) -> Self {
        Self {
            screen,
            markdown: Markdown::new(screen.out),
            status: Status::new(),
            lines: String::new(),
            drawn: None,
        }
    }

    fn draw(&mut self, several: bool) -> Result<(), Closed> {
        self.drawn = Some(Instant::now());
        if region::is_held() {
            return Ok(());
        }
        // The last column stays free: a full row would wrap.
        let columns = super::width().saturating_sub(1).max(1);
        let most = super::height().saturating_sub(1).max(1);
        let status = if self.screen.quiet {
            Vec::new()
        } else {
            self.status.rows(several, columns, most)
        };
        let room = most.saturating_sub(status.len());
        let mut rows: Vec<String> = self
            .markdown
            .pending()
            .flat_map(|line| region::folded(&line, columns))
            .collect();
        rows.drain(..rows.len().saturating_sub(room));
        rows.extend(status.iter().map(|row| self.screen.out.dim(row)));
        region::draw(&std::mem::take(&mut self.lines), rows)
    }

    /// Ends a paragraph: what comes next is of another kind.
    fn end_text(&mut self) {
        self.lines += &self.markdown.finish(super::width());
    }

    fn line(&mut self, line: &str) {
        self.lines.push_str(line);
        self.lines.push('\n');
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        region::clear();
    }
}

impl View {
    pub(super) async fn watch_live(
        &mut self,
        events: &mut mpsc::Receiver<Event>,
    ) -> Result<(), Closed> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { break };
                    for event in self.masks.pass(event) {
                        self.show(&event)?;
                    }
                    let drawn = self.live.as_ref().and_then(|live| live.drawn);
                    if drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
                        self.draw()?;
                    }
                }
                _ = tick.tick() => self.draw()?,
            }
            super::drained().await?;
        }
        for event in self.masks.rest() {
            self.show(&event)?;
        }
        self.draw()
    }

    fn draw(&mut self) -> Result<(), Closed> {
        let several = !self.stream_text;
        match &mut self.live {
            Some(live) => live.draw(several),
            None => Ok(()),
        }
    }

    pub(super) fn show_live(&mut self, event: &Event) {
        let Some(live) = &mut self.live else { return };
        live.status.note(event);
        let answers = self.stream_text && !event.is_delegate;
        match &event.kind {
            EventKind::TextDelta { text } => {
                if answers && !text.is_empty() {
                    self.wrote = true;
                    let done = live.markdown.push(text, super::width());
                    live.lines += &done;
                }
                return;
            }
            EventKind::TurnStarted { turn } => {
                // What a turn said before it asked for tools and what the next one says are two paragraphs.
                if *turn > 1 && answers {
                    live.end_text();
                    if std::mem::take(&mut self.wrote) {
                        live.line("");
                    }
                }
                return;
            }
            EventKind::StreamReset if answers => live.markdown.reset(),
            EventKind::ToolStarted { .. } if answers => {
                live.end_text();
                return;
            }
            EventKind::Approval { granted: None, .. } => {
                if answers {
                    live.end_text();
                }
                // The question is printed as soon as this event is gone. A screen that is closed is
                // met by the next frame.
                _ = self.draw();
                return;
            }
            _ => {}
        }
        let Some(line) = live_line(live, event) else {
            return;
        };
        if self.screen.quiet {
            return;
        }
        // With many agents the same notice comes many times; once is enough.
        if let Some(words) = event.kind.words()
            && !self.told.insert(words)
        {
            return;
        }
        let who = who(event);
        let several = (!self.stream_text || event.is_delegate) && !who.is_empty();
        let line = if several {
            format!("[{who}] {line}")
        } else {
            line
        };
        live.line(&self.screen.wrapped(&line));
    }

    /// The end of a run: the answer to its last line, and no rows any more.
    pub(super) fn finish_live(&mut self, result: &RunResult) -> Result<(), Closed> {
        let Some(live) = &mut self.live else {
            return Ok(());
        };
        let unsaid = self.stream_text && !self.wrote && result.ok;
        if unsaid || self.answer_last {
            let output = self.masks.text(&result.output);
            live.lines += &live.markdown.push(&output, super::width());
        }
        live.end_text();
        region::draw(&std::mem::take(&mut live.lines), Vec::new())
    }
}

/// The line that an event leaves: a tool's when it ended, a question as it was asked.
fn live_line(live: &mut Live, event: &Event) -> Option<String> {
    let style = live.screen.out;
    match &event.kind {
        EventKind::ToolStarted { .. } => None,
        EventKind::ToolFinished {
            call_id,
            tool,
            ok,
            ms,
            summary,
        } => {
            let does = live.status.ended(who(event), call_id);
            let does = does.unwrap_or_else(|| super::in_line(tool));
            Some(if *ok {
                style.dim(&format!("> {} ({ms} ms)", does.trim_end()))
            } else {
                let why = super::lines::short(summary);
                style.yellow(&format!("> {} failed ({ms} ms): {why}", does.trim_end()))
            })
        }
        kind => progress_line(kind, style),
    }
}
