//! The bytes of answers, good and bad.

use std::time::Duration;

use serde_json::{Value, json};

use super::server::Step;

/// Sends a text.
pub fn send(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

/// Waits so many milliseconds.
pub fn wait(ms: u64) -> Step {
    Step::Wait(Duration::from_millis(ms))
}

/// Reads a request and answers with a whole body; `headers` are whole lines.
pub fn status(code: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<Step> {
    let body = body.as_ref();
    let mut bytes = head(code, headers, Some(body.len()));
    bytes.extend_from_slice(body);
    vec![Step::Read, Step::Send(bytes)]
}

/// The head of an answer on a connection that ends with it; `headers` are whole lines.
pub fn head(code: u16, headers: &str, length: Option<usize>) -> Vec<u8> {
    let length = length.map_or(String::new(), |length| {
        format!("content-length: {length}\r\n")
    });
    let kind = if headers.contains("content-type") {
        ""
    } else {
        "content-type: application/json\r\n"
    };
    let lines: Vec<String> = headers.lines().map(|line| format!("{line}\r\n")).collect();
    let lines = lines.concat();
    format!("HTTP/1.1 {code} X\r\nconnection: close\r\n{length}{kind}{lines}\r\n").into_bytes()
}

/// Reads a request and begins an answer in chunks of an event stream.
pub fn stream() -> Vec<Step> {
    let headers = "content-type: text/event-stream\ntransfer-encoding: chunked";
    vec![Step::Read, Step::Send(head(200, headers, None))]
}

/// A chunk of the body.
pub fn chunk(text: &str) -> Step {
    send(&format!("{:x}\r\n{text}\r\n", text.len()))
}

/// The chunk that ends a body.
pub fn last_chunk() -> Step {
    send("0\r\n\r\n")
}

/// An event, as one chunk.
pub fn event(data: &Value) -> Step {
    chunk(&format!("data: {data}\n\n"))
}

/// Events without chunks around them.
pub fn events(data: &[Value]) -> String {
    let events: Vec<String> = data
        .iter()
        .map(|data| format!("data: {data}\n\n"))
        .collect();
    events.concat()
}

/// An event of some text.
pub fn delta(text: &str) -> Step {
    event(&choice(&json!({"content": text}), None))
}

/// The data of an event.
pub fn choice(delta: &Value, finish: Option<&str>) -> Value {
    json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

/// The event that says why an answer ends.
pub fn finish(reason: &str) -> Step {
    event(&choice(&json!({}), Some(reason)))
}

/// The event that tells of 1000 prompt and 5 completion tokens.
pub fn usage() -> Step {
    event(&json!({"id": "c", "model": "m", "choices": [],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 5, "total_tokens": 1005}}))
}

/// The event that ends a stream.
pub fn done() -> Step {
    chunk("data: [DONE]\n\n")
}

/// A whole good answer: `yes`, 1000 prompt and 5 completion tokens.
pub fn answer() -> Vec<Step> {
    all([
        stream(),
        vec![delta("yes"), finish("stop"), usage(), done(), last_chunk()],
    ])
}

/// The same as one JSON document.
pub fn document() -> Value {
    json!({"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "yes"}}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 5, "total_tokens": 1005}})
}

/// An error of the server's own.
pub const BROKEN: &str = r#"{"error":{"message":"it broke","type":"server_error"}}"#;

/// Steps one after another.
pub fn all(parts: impl IntoIterator<Item = Vec<Step>>) -> Vec<Step> {
    parts.into_iter().flatten().collect()
}

/// A whole refusal, then a whole good answer.
pub fn then_answer(refusal: Vec<Step>) -> Vec<Vec<Step>> {
    vec![refusal, answer()]
}
