//! Tests of providers against a server on loopback that does what a test tells it to.
//!
//! Server and client run on one thread, so time can be paused: what was sent is there before the
//! clock moves on.

mod clocks;
mod faults;
mod leave;
mod mutated;
mod tables;
mod wholes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{
    ConnectSpec, Provider, ProviderError, ProviderKind, ProxySettings, Reply, Request, connect,
    vendors,
};
use crate::event::Events;
use crate::message::Message;
use crate::redact::Redactor;
use crate::usage::Meter;

const KEY: &str = "sk-test-0123456789";

/// A request as the server saw it.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Which connection it came by, counted from 0.
    connection: usize,
    /// Such as `POST /v1/chat/completions`.
    line: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

/// One thing the server does.
#[derive(Clone)]
enum Do {
    Send(Vec<u8>),
    Wait(Duration),
    /// Sends this again and again, with a pause before each.
    Repeat(Duration, Vec<u8>),
    Hang,
    Close,
    Reset,
}

/// What is done for a request, by its number.
type Script = dyn Fn(usize, &Seen) -> Vec<Do> + Send + Sync;

#[derive(Clone)]
struct Server {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    async fn start(script: impl Fn(usize, &Seen) -> Vec<Do> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Self {
            url: format!("http://{address}/v1"),
            seen: Arc::default(),
        };
        let seen = Arc::clone(&server.seen);
        let script: Arc<Script> = Arc::new(script);
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                tokio::spawn(serve(stream, connection, seen, script));
                connection += 1;
            }
        });
        server
    }

    /// A server that answers every request alike.
    async fn always(actions: Vec<Do>) -> Self {
        Self::start(move |_, _| actions.clone()).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("the list").clone()
    }

    fn spec(&self, name: &str) -> ConnectSpec {
        let vendor = vendors::find(name);
        ConnectSpec {
            cli: None,
            name: name.to_owned(),
            kind: vendor.map_or(ProviderKind::Openai, |vendor| vendor.kind),
            vendor,
            base_url: self.url.clone(),
            key: Some(SecretString::from(KEY)),
            bearer: false,
            key_variables: vec!["LAB_KEY".to_owned()],
            headers: BTreeMap::new(),
            proxy: ProxySettings::default(),
            recording: None,
            recording_by_flag: false,
            redactor: Redactor::new([SecretString::from(KEY)]),
        }
    }

    fn provider(&self, name: &str) -> Arc<dyn Provider> {
        connect(&self.spec(name)).expect("a provider")
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Script>,
) {
    let mut buffer = Vec::new();
    while let Some(mut request) = read_request(&mut stream, &mut buffer).await {
        request.connection = connection;
        let number = {
            let mut seen = seen.lock().expect("the list");
            seen.push(request.clone());
            seen.len() - 1
        };
        for action in script(number, &request) {
            match action {
                Do::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Do::Wait(duration) => tokio::time::sleep(duration).await,
                Do::Repeat(pause, bytes) => loop {
                    tokio::time::sleep(pause).await;
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                },
                Do::Hang => std::future::pending().await,
                Do::Close => return,
                Do::Reset => {
                    stream.set_zero_linger().expect("a socket");
                    return;
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().expect("a number"));
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&buffer[end..end + length]).unwrap_or_default();
    buffer.drain(..end + length);
    Some(Seen {
        connection: 0,
        line,
        headers,
        body,
    })
}

/// A whole answer.
fn answer(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Vec<Do> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    vec![Do::Send([head.as_bytes(), body].concat())]
}

/// The head of a stream that ends with its connection.
fn stream_head() -> Do {
    Do::Send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec())
}

fn event(data: &Value) -> Do {
    Do::Send(format!("data: {data}\n\n").into_bytes())
}

fn text_delta(text: &str) -> Do {
    event(&serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
}

fn finish(reason: &str) -> Do {
    event(&serde_json::json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
}

fn done() -> Do {
    Do::Send(b"data: [DONE]\n\n".to_vec())
}

/// A whole stream that says `text`.
fn stream(text: &str) -> Vec<Do> {
    let body = format!(
        "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
        serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]}),
        serde_json::json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    );
    answer(200, &[("content-type", "text/event-stream")], body)
}

fn request() -> Request {
    Request {
        model: "m".to_owned(),
        messages: vec![Message::User {
            text: "Hello".to_owned(),
        }],
        max_output_tokens: Some(100),
        idempotency_key: "key-1".to_owned(),
        ..Request::default()
    }
}

async fn ask(provider: &dyn Provider, request: &Request) -> Result<Reply, ProviderError> {
    provider
        .complete(request, &Meter::default(), &Events::nobody())
        .await
}
