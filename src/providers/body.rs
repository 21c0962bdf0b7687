//! The body of an answer, as events or as one JSON document, whichever the server sends.

use std::task::Poll;

use bytes::Bytes;
use futures_util::FutureExt;
use reqwest::Response;
use serde_json::Value;

use super::http::innermost;
use super::sse::{Framer, LINE_CAP, SseEvent, TooLong};
use super::watch::{Late, Watch};
use crate::usage::Meter;

/// The most that one JSON document may have, bytes.
const DOCUMENT_CAP: usize = LINE_CAP;

/// The most of a body that is neither that is kept to be quoted.
const QUOTED: usize = 2048;

/// The most of a list of models that is looked at.
const LIST_CAP: usize = 16 << 20;

/// How often the end of an answer is looked for.
const DRAIN: usize = 4;

/// The next piece of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// An event of a stream.
    Event(SseEvent),
    /// The whole document of a server that does not stream.
    Document(Vec<u8>),
    /// The end.
    End,
}

/// Why no next piece came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// A clock ran out.
    Late(Late),
    /// The connection broke, for this reason.
    Cut(String),
    /// A line or a document was far too long.
    TooLong,
    /// The body is no answer of a model server; it begins so.
    Foreign(String),
}

#[derive(Debug)]
enum Form {
    Unknown,
    Events,
    Document,
}

/// Reads a body. Bytes without meaning (comments, blank lines before a document) keep no clock from
/// running out.
#[derive(Debug)]
pub(super) struct Body {
    response: Response,
    is_event_stream: bool,
    form: Form,
    framer: Framer,
    /// The document, or what came before the form was known.
    kept: Vec<u8>,
    /// What was read ahead.
    ahead: Option<reqwest::Result<Option<Bytes>>>,
    ended: bool,
}

impl Body {
    pub(super) fn new(response: Response) -> Self {
        let is_event_stream = response
            .headers()
            .get(http::header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.contains("event-stream"));
        Self {
            response,
            is_event_stream,
            form: Form::Unknown,
            framer: Framer::default(),
            kept: Vec::new(),
            ahead: None,
            ended: false,
        }
    }

    /// The next piece.
    pub(super) async fn next(&mut self, watch: &mut Watch, meter: &Meter) -> Result<Piece, Broken> {
        loop {
            if let Some(event) = self.framer.next() {
                return Ok(Piece::Event(event));
            }
            if self.ended {
                return Ok(self.rest());
            }
            let chunk = match self.ahead.take() {
                Some(chunk) => chunk,
                None => watch
                    .within(self.response.chunk())
                    .await
                    .map_err(Broken::Late)?,
            };
            match chunk {
                Err(error) => return Err(Broken::Cut(innermost(&error))),
                Ok(Some(chunk)) => {
                    let taken = self.take(&chunk, watch);
                    if self.has_answer() {
                        meter.answered();
                    }
                    taken?;
                }
                Ok(None) => self.end()?,
            }
        }
    }

    /// Whether more of the body is there already; waits for nothing.
    pub(super) async fn has_more(&mut self) -> bool {
        if !self.framer.is_ready() && self.ahead.is_none() && !self.ended {
            self.ahead = self.come().await;
        }
        self.framer.is_ready() || self.ahead.is_some()
    }

    /// Reads what is there already, so that the connection can be used again; waits for nothing.
    pub(super) async fn drain(mut self) {
        for _ in 0..DRAIN {
            if !matches!(self.come().await, Some(Ok(Some(_)))) {
                return;
            }
        }
    }

    /// The next bytes, if they have come.
    async fn come(&mut self) -> Option<reqwest::Result<Option<Bytes>>> {
        for _ in 0..2 {
            let chunk = self.response.chunk().now_or_never();
            if chunk.is_some() {
                return chunk;
            }
            // The task of the connection may have them, and needs a turn to hand them over.
            turn().await;
        }
        None
    }

    fn take(&mut self, chunk: &Bytes, watch: &mut Watch) -> Result<(), Broken> {
        match self.form {
            Form::Events => self.framer.feed(chunk).map_err(|TooLong| Broken::TooLong),
            Form::Document => {
                if self.kept.len() + chunk.len() > DOCUMENT_CAP {
                    return Err(Broken::TooLong);
                }
                self.kept.extend_from_slice(chunk);
                watch.progress();
                Ok(())
            }
            Form::Unknown => {
                self.kept.extend_from_slice(chunk);
                match guess(&self.kept, self.is_event_stream) {
                    Guess::Form(form) => {
                        self.form = form;
                        let begun = Bytes::from(std::mem::take(&mut self.kept));
                        self.take(&begun, watch)
                    }
                    // Blank lines that keep the connection open while a model thinks.
                    Guess::Blank => {
                        self.kept.clear();
                        Ok(())
                    }
                    Guess::Open if self.kept.len() < QUOTED => Ok(()),
                    Guess::Open | Guess::Foreign => Err(self.foreign()),
                }
            }
        }
    }

    /// Whether anything of an answer has come: more than what keeps the connection open.
    fn has_answer(&self) -> bool {
        match self.form {
            Form::Events => self.framer.has_answer(),
            Form::Document | Form::Unknown => !self.kept.is_empty(),
        }
    }

    fn end(&mut self) -> Result<(), Broken> {
        self.ended = true;
        match self.form {
            Form::Events => self.framer.end().map_err(|TooLong| Broken::TooLong),
            Form::Unknown if !self.kept.is_empty() => Err(self.foreign()),
            Form::Unknown | Form::Document => Ok(()),
        }
    }

    fn foreign(&mut self) -> Broken {
        self.kept.truncate(QUOTED);
        Broken::Foreign(String::from_utf8_lossy(&self.kept).into_owned())
    }

    fn rest(&mut self) -> Piece {
        match self.form {
            Form::Document if !self.kept.is_empty() => {
                Piece::Document(std::mem::take(&mut self.kept))
            }
            _ => Piece::End,
        }
    }
}

/// How a body begins that no model server sends; `None` where one may, or where nothing is in it. No more of it is
/// read than tells that; a document is read whole where a list of models was asked for, since other services
/// answer with documents too.
pub(super) async fn foreign_beginning(
    mut response: Response,
    is_list: bool,
    watch: &Watch,
) -> Result<Option<String>, Late> {
    let mut begun = Vec::new();
    loop {
        match guess(&begun, false) {
            Guess::Form(Form::Document) if is_list && begun.len() < LIST_CAP => {}
            Guess::Form(_) => return Ok(None),
            _ if begun.len() >= QUOTED => break,
            _ => {}
        }
        match watch.within(response.chunk()).await? {
            Ok(Some(chunk)) => begun.extend_from_slice(&chunk),
            Ok(None) | Err(_) => break,
        }
    }
    if matches!(guess(&begun, false), Guess::Form(_)) && lists_models(&begun) {
        return Ok(None);
    }
    begun.truncate(QUOTED);
    let text = String::from_utf8_lossy(&begun).into_owned();
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// Whether a document is a list of models: under `data`, under `models`, or bare. Of one that was cut nobody knows.
fn lists_models(document: &[u8]) -> bool {
    let names = |item: &Value| {
        let mut keys = ["id", "name", "model"].into_iter();
        keys.any(|key| item.get(key).is_some_and(Value::is_string))
    };
    let is_list = |list: &Value| match list {
        // Ollama, where nothing is installed.
        Value::Null => true,
        Value::Array(items) => items.first().is_none_or(names),
        _ => false,
    };
    let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
    match serde_json::from_slice::<Value>(document) {
        Ok(Value::Object(fields)) => ["data", "models"]
            .into_iter()
            .any(|key| fields.get(key).is_some_and(is_list)),
        Ok(list) => is_list(&list),
        Err(error) => error.is_eof(),
    }
}

/// Lets every other task that can go on do so, without a look at what else has come: that is a system call.
async fn turn() {
    let mut is_over = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

enum Guess {
    Form(Form),
    Blank,
    Open,
    Foreign,
}

/// What a body is by its beginning. Some servers send a document where a stream was asked for, and
/// name neither rightly.
fn guess(begun: &[u8], is_event_stream: bool) -> Guess {
    let text = begun
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(begun)
        .trim_ascii_start();
    let fields: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];
    match text.first() {
        None if begun.iter().all(u8::is_ascii_whitespace) => Guess::Blank,
        None => Guess::Open,
        Some(b'{' | b'[') => Guess::Form(Form::Document),
        Some(_) if is_event_stream => Guess::Form(Form::Events),
        Some(_) if fields.iter().any(|field| text.starts_with(field)) => Guess::Form(Form::Events),
        Some(_) if fields.iter().any(|field| field.starts_with(text)) => Guess::Open,
        Some(_) => Guess::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_models_is_known_by_its_form() {
        for (document, is_list) in [
            (
                r#"{"object": "list", "data": [{"id": "m", "object": "model"}]}"#,
                true,
            ),
            (r#"{"object": "list", "data": null}"#, true),
            (r#"{"data": []}"#, true),
            (r#"{"models": [{"name": "m"}]}"#, true),
            (r#"[{"id": "m", "type": "chat"}]"#, true),
            ("\u{feff}[]", true),
            // Cut.
            (r#"{"data": [{"id""#, true),
            (r#"{"status": "ok"}"#, false),
            (r#"{"data": {"id": "m"}}"#, false),
            (r#"{"data": [1, 2]}"#, false),
            (r#"{"error": {"message": "no route"}}"#, false),
            (r#"[{"user": "x"}]"#, false),
            ("{}", false),
            ("{models}", false),
        ] {
            assert_eq!(lists_models(document.as_bytes()), is_list, "{document}");
        }
    }

    #[test]
    fn a_body_is_known_by_its_beginning() {
        let name = |begun: &str, stream| match guess(begun.as_bytes(), stream) {
            Guess::Form(Form::Events) => "events",
            Guess::Form(_) => "document",
            Guess::Blank => "blank",
            Guess::Open => "open",
            Guess::Foreign => "foreign",
        };
        for (begun, by_type, by_itself) in [
            ("", "blank", "blank"),
            ("\n\n ", "blank", "blank"),
            ("\u{feff}", "open", "open"),
            ("\n{", "document", "document"),
            ("[{", "document", "document"),
            ("da", "events", "open"),
            ("data: x", "events", "events"),
            (": ping", "events", "events"),
            ("\u{feff}event: x", "events", "events"),
            ("<html>", "events", "foreign"),
            ("database error", "events", "foreign"),
        ] {
            assert_eq!(
                (name(begun, true), name(begun, false)),
                (by_type, by_itself),
                "{begun:?}"
            );
        }
    }
}
