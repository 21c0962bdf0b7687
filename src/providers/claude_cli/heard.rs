//! What a run of the CLI has said so far: a fold over its lines, without any effect.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::event::EventKind;
use crate::providers::OwnTool;
use crate::usage::Usage;

use super::argv::SERVER;
use super::stream::{ApiRetry, AssistantLine, Init, Line, NOISE_KEPT, Piece, ResultLine, ToolNews};

/// The most that one run may say, bytes.
pub(super) const MOST: u64 = 64 << 20;

/// What the end of a call or of a turn loop takes beside its texts, bytes.
const ENTRY: u64 = 512;

/// What a run has said so far.
#[derive(Debug, Default)]
pub struct Heard {
    /// The first line, once it came.
    pub init: Option<Init>,
    /// Every result line; of all but the last one only what it says of money.
    pub results: Vec<ResultLine>,
    /// The text since the last tool call.
    pub text: String,
    /// The reasoning since the last tool call.
    pub thinking: String,
    /// Bytes of text, reasoning and tool calls, all replies together.
    pub output_bytes: u64,
    /// Bytes of tool calls alone.
    pub call_bytes: usize,
    /// Replies of the model, those of sub-agents left out.
    pub turns: u32,
    /// The last announcement of a retry.
    pub retry: Option<ApiRetry>,
    /// What was refused by the CLI.
    pub denied: Vec<String>,
    /// Tools that the CLI ran itself.
    pub own_tools: Vec<OwnTool>,
    /// The CLI's word for the last error, from the message that it made up to tell of it.
    pub error_word: Option<String>,
    /// The model that was asked last.
    pub model: Option<String>,
    /// The id of the last request.
    pub request_id: Option<String>,
    /// Which model answered instead of which, and why.
    pub fallback: Option<String>,
    /// The start of what was no JSON.
    pub noise: String,
    /// What the user must know of what its tools left behind.
    pub left: Vec<String>,
    reply: String,
    streamed: bool,
    stopped: bool,
    clear: bool,
    finished_usage: Usage,
    reply_usage: Usage,
    open: BTreeMap<String, (String, Instant)>,
    /// Bytes that are held beside what the model said.
    held: u64,
}

/// What a line means to those outside.
#[derive(Debug, Default, PartialEq)]
pub struct News {
    /// What to tell whoever watches.
    pub events: Vec<EventKind>,
    /// Whether the model or a tool came further.
    pub progress: bool,
}

impl Heard {
    /// Takes one line in.
    pub fn note(&mut self, line: Line, now: Instant) -> News {
        let mut news = News::default();
        match line {
            Line::Init(init) => {
                self.model.get_or_insert_with(|| init.model.clone());
                self.init = Some(init);
            }
            Line::ApiRetry(retry) => self.retry = Some(retry),
            Line::ModelFallback { from, to, trigger } => {
                self.fallback = Some(format!("`{to}` answered instead of `{from}`: {trigger}"));
                self.model = Some(to.clone());
                news.events.push(EventKind::Fallback {
                    from,
                    to,
                    class: trigger,
                });
            }
            Line::PermissionDenied { tool, message } => {
                let words = format!("`{tool}` was refused: {message}");
                if !self.denied.contains(&words) {
                    self.hold(&words);
                    self.denied.push(words);
                }
            }
            Line::Piece { nested, piece } => self.piece(piece, nested, &mut news),
            Line::Assistant(line) => self.assistant(line, now, &mut news),
            Line::ToolResults(results) => self.tool_results(results, now, &mut news),
            Line::Result(result) => {
                self.hold("");
                if let Some(earlier) = self.results.last_mut() {
                    *earlier = ResultLine {
                        total: earlier.total,
                        since_last_result: earlier.since_last_result,
                        ..ResultLine::default()
                    };
                }
                self.results.push(*result);
                news.progress = true;
            }
            Line::Other => {}
            Line::Noise(text) => {
                if !text.is_empty() && self.noise.len() < NOISE_KEPT {
                    self.noise.push_str(&text);
                    self.noise.push('\n');
                }
            }
        }
        news
    }

    /// Tokens so far, as the starts and ends of replies tell them: an estimate, since a reply that
    /// runs has not told its generated tokens yet.
    pub fn usage(&self) -> Usage {
        let mut usage = self.finished_usage;
        usage += self.reply_usage;
        usage
    }

    /// Whether the model said or called anything.
    pub fn began(&self) -> bool {
        self.output_bytes > 0
    }

    /// Whether it said so much that no more is taken.
    pub fn is_too_much(&self) -> bool {
        self.output_bytes.saturating_add(self.held) > MOST
    }

    /// Whether a tool runs right now, as far as the lines tell.
    pub fn in_tool(&self) -> bool {
        !self.open.is_empty()
    }

    fn piece(&mut self, piece: Piece, nested: bool, news: &mut News) {
        news.progress = !matches!(piece, Piece::Frame);
        match piece {
            Piece::Start { id, usage } if nested => {
                // Replies of sub-agents run beside ours: only their tokens count.
                drop(id);
                self.finished_usage += Usage {
                    output_tokens: 0,
                    ..usage
                };
            }
            Piece::Start { id, usage } => {
                self.start_reply(id, news);
                self.streamed = true;
                self.reply_usage = usage;
            }
            Piece::Text(text) if !nested => self.say(text, news),
            Piece::Thinking(text) if !nested => self.think(text, news),
            Piece::Text(text) | Piece::Thinking(text) => self.count(text.len()),
            Piece::Call(bytes) => {
                self.count(bytes);
                self.call_bytes = self.call_bytes.saturating_add(bytes);
            }
            Piece::Generated(tokens) if nested => self.finished_usage.output_tokens += tokens,
            Piece::Generated(tokens) => self.reply_usage.output_tokens = tokens,
            Piece::Stop if !nested => self.stopped = true,
            Piece::Stop | Piece::Frame => {}
        }
    }

    fn assistant(&mut self, line: AssistantLine, now: Instant, news: &mut News) {
        if line.request_id.is_some() {
            self.request_id = line.request_id;
        }
        if line.synthetic {
            self.error_word = line.error.or(self.error_word.take());
            return;
        }
        news.progress = true;
        if !line.nested {
            self.model = Some(line.model);
            if line.id != self.reply {
                self.start_reply(line.id, news);
                self.reply_usage = line.usage;
            }
        }
        let repeats_the_stream = self.streamed && !line.nested;
        if !repeats_the_stream {
            if line.nested {
                self.count(line.text.len().saturating_add(line.thinking.len()));
            } else {
                if !line.thinking.is_empty() {
                    self.think(line.thinking, news);
                }
                if !line.text.is_empty() {
                    self.say(line.text, news);
                }
            }
        }
        for call in line.calls {
            if !repeats_the_stream {
                let bytes = call.arguments.to_string().len();
                self.count(bytes);
                self.call_bytes = self.call_bytes.saturating_add(bytes);
            }
            self.clear |= !line.nested;
            if is_news(&call.tool) {
                news.events.push(EventKind::ToolStarted {
                    call_id: call.id.clone(),
                    tool: call.tool.clone(),
                    arguments: call.arguments,
                });
            }
            self.hold(&call.id);
            self.open.insert(call.id, (call.tool, now));
        }
    }

    fn tool_results(&mut self, results: Vec<ToolNews>, now: Instant, news: &mut News) {
        for result in results {
            let Some((tool, started)) = self.open.remove(&result.id) else {
                continue;
            };
            news.progress = true;
            if !is_news(&tool) {
                continue;
            }
            let ms = u64::try_from(now.duration_since(started).as_millis()).unwrap_or(u64::MAX);
            self.own_tools.push(OwnTool {
                tool: tool.clone(),
                ok: !result.is_error,
                ms,
            });
            news.events.push(EventKind::ToolFinished {
                call_id: result.id,
                tool,
                ok: !result.is_error,
                ms,
                summary: result.summary,
            });
        }
    }

    fn start_reply(&mut self, id: String, news: &mut News) {
        let was_cut = self.streamed && !self.stopped;
        if was_cut && !self.clear {
            // The CLI asks again for a reply whose stream broke: what it said so far is void.
            if !self.text.is_empty() || !self.thinking.is_empty() {
                news.events.push(EventKind::StreamReset);
            }
            self.text.clear();
            self.thinking.clear();
        } else {
            self.turns += 1;
            if self.turns > 1 {
                news.events
                    .push(EventKind::TurnStarted { turn: self.turns });
            }
        }
        if std::mem::take(&mut self.clear) {
            self.text.clear();
            self.thinking.clear();
        }
        self.finished_usage += std::mem::take(&mut self.reply_usage);
        self.reply = id;
        self.streamed = false;
        self.stopped = false;
    }

    fn say(&mut self, text: String, news: &mut News) {
        self.count(text.len());
        self.text.push_str(&text);
        news.events.push(EventKind::TextDelta { text });
    }

    fn think(&mut self, text: String, news: &mut News) {
        self.count(text.len());
        self.thinking.push_str(&text);
        news.events.push(EventKind::ReasoningDelta { text });
    }

    fn hold(&mut self, text: &str) {
        self.held = self.held.saturating_add(ENTRY + text.len() as u64);
    }

    fn count(&mut self, bytes: usize) {
        self.output_bytes = self.output_bytes.saturating_add(bytes as u64);
    }
}

/// Whether a call is told as news from here: calls of our own tools are told by whoever runs them,
/// and the tool of the answer's schema is none.
fn is_news(tool: &str) -> bool {
    let ours = tool
        .strip_prefix("mcp__")
        .and_then(|rest| rest.strip_prefix(SERVER))
        .is_some_and(|rest| rest.starts_with("__"));
    !ours && tool != "StructuredOutput"
}
