//! The lines in which a server speaks over its standard streams. An answer that cannot be taken fails its request at
//! once, where the protocol's own transport would drop it and leave the request to wait for its whole time.

use std::io;

use rmcp::RoleClient;
use rmcp::model::{ErrorData, JsonRpcMessage, RequestId};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader, Empty};

/// The longest line that is taken, bytes: as much as is taken over HTTP.
const LONGEST: usize = 16 << 20;

/// Bytes at each end of a longer line in which its id is looked for.
const END: usize = 1024;

/// A server's standard streams.
pub(super) struct Lines<R, W: AsyncWrite> {
    reader: BufReader<R>,
    /// What came of a line so far. Kept here, since a read may be given up and taken up again.
    line: Line,
    writer: AsyncRwTransport<RoleClient, Empty, W>,
}

#[derive(Default)]
struct Line {
    /// The line; of one that is too long only its begin.
    bytes: Vec<u8>,
    /// The end of one that is too long.
    tail: Option<Vec<u8>>,
}

/// What every answer has.
#[derive(Deserialize)]
struct Answer {
    id: RequestId,
    /// Has it, then it is no answer.
    method: Option<IgnoredAny>,
}

impl<R, W> Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    pub(super) fn new(reader: R, writer: W) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Line::default(),
            writer: AsyncRwTransport::new(tokio::io::empty(), writer),
        }
    }
}

impl<R, W> Transport<RoleClient> for Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), io::Error>> + Send + 'static {
        self.writer.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let available = self.reader.fill_buf().await.ok()?;
            if available.is_empty() {
                return None;
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            self.line.add(available.get(..taken).unwrap_or_default());
            self.reader.consume(taken);
            if end.is_some()
                && let Some(message) = std::mem::take(&mut self.line).message()
            {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), io::Error> {
        self.writer.close().await
    }
}

impl Line {
    fn add(&mut self, more: &[u8]) {
        if self.tail.is_none() && self.bytes.len() + more.len() <= LONGEST {
            self.bytes.extend_from_slice(more);
            return;
        }
        let tail = self.tail.get_or_insert_default();
        tail.extend_from_slice(more);
        tail.drain(..tail.len().saturating_sub(END));
        self.bytes.truncate(END);
        self.bytes.shrink_to_fit();
    }

    /// What the line says; `None` where it says nothing that anybody waits for.
    fn message(self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let text = self.bytes.trim_ascii();
        if let Some(tail) = &self.tail {
            let id = id_of(text, tail)?;
            return Some(failure(
                id,
                "the answer of the server is larger than 16 MiB",
            ));
        }
        let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
        let error = match serde_json::from_slice(text) {
            Ok(message) => return Some(message),
            Err(error) => error,
        };
        let answer: Answer = serde_json::from_slice(text).ok()?;
        let why = match error.to_string() {
            why if why.starts_with("recursion limit") => "it is nested too deeply".to_owned(),
            why => why,
        };
        let words = format!("the answer of the server is not understood: {why}");
        answer.method.is_none().then(|| failure(answer.id, &words))
    }
}

fn failure(id: RequestId, words: &str) -> RxJsonRpcMessage<RoleClient> {
    JsonRpcMessage::error(ErrorData::internal_error(words.to_owned(), None), Some(id))
}

/// The id of an answer of which only the ends are there: some servers write it before the result, some after it.
fn id_of(begin: &[u8], end: &[u8]) -> Option<RequestId> {
    const KEY: &str = "\"id\"";
    let (begin, end) = (String::from_utf8_lossy(begin), String::from_utf8_lossy(end));
    let before = begin.split("\"result\"").next().unwrap_or_default();
    let value = |(_, rest): (&str, &str)| {
        let rest = rest.trim_start().strip_prefix(':')?;
        let mut values = serde_json::Deserializer::from_str(rest).into_iter();
        values.next()?.ok()
    };
    let found = before.split_once(KEY).and_then(value);
    found.or_else(|| end.rsplit_once(KEY).and_then(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_long_answer_is_found_at_either_end() {
        let id = RequestId::Number(7);
        let text = RequestId::String("a".into());
        for (begin, end, expected) in [
            (
                r#"{"jsonrpc":"2.0","id":7,"result":{"id":1"#,
                "xxx",
                Some(&id),
            ),
            (r#"{"id": "a", "result":"#, "xxx", Some(&text)),
            (
                r#"{"result":{"id":1"#,
                r#""id":2}],"jsonrpc":"2.0","id":7}"#,
                Some(&id),
            ),
            (r#"{"result":{"id":1"#, "xxx", None),
            (r#"{"method":"notifications/message""#, "xxx", None),
        ] {
            let found = id_of(begin.as_bytes(), end.as_bytes());
            assert_eq!(found.as_ref(), expected, "{begin} {end}");
        }
    }
}
