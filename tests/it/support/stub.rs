//! A model server on loopback that says what a test tells it to: whole answers, drips, cuts, faults.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Counted from 0 over the life of the server.
    pub number: usize,
    /// When it was complete.
    pub at: Instant,
    /// Such as `POST`.
    pub method: String,
    /// Such as `/v1/chat/completions`.
    pub path: String,
    /// Header names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; null when it is no JSON.
    pub body: Value,
}

impl Seen {
    /// The text of the last message of the request.
    pub fn last_text(&self) -> String {
        self.body["messages"]
            .as_array()
            .and_then(|messages| messages.last())
            .and_then(|message| message["content"].as_str())
            .unwrap_or_default()
            .to_owned()
    }

    /// The messages with role `tool`.
    pub fn tool_messages(&self) -> Vec<Value> {
        let messages = self.body["messages"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        messages
            .into_iter()
            .filter(|message| message["role"] == "tool")
            .collect()
    }
}

/// One thing the server does with the connection.
#[derive(Clone, Debug)]
pub enum Do {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Waits until the gate is opened.
    Gate(Gate),
    /// Keeps the connection open and silent.
    Hang,
    /// Closes the connection.
    Close,
    /// Closes the connection with a reset.
    Reset,
}

/// What a test opens when the server may go on.
#[derive(Clone, Debug)]
pub struct Gate(Arc<tokio::sync::Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(tokio::sync::Semaphore::new(0)))
    }

    /// Opens it for ever, for all that wait.
    pub fn open(&self) {
        self.0.close();
    }
}

/// What the stub answers by itself.
const PROBE: &str = "/probe";

type Script = dyn Fn(&Seen) -> Vec<Do> + Send + Sync;

/// The running server; stops when dropped.
pub struct Stub {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    served: Arc<AtomicUsize>,
    hanging: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Stub {
    /// Starts a server that answers each request by `script`.
    pub fn start(script: impl Fn(&Seen) -> Vec<Do> + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime for the stub");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::new(AtomicUsize::new(0));
        let hanging = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let script: Arc<Script> = Arc::new(script);
        let listener = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.set_reuseaddr(true).expect("reuseaddr");
            socket
                .bind("127.0.0.1:0".parse().expect("an address"))
                .expect("a port");
            socket.listen(16384).expect("listening")
        });
        let address = listener.local_addr().expect("the port");
        runtime.spawn(accept(
            listener,
            script,
            Arc::clone(&seen),
            (Arc::clone(&served), Arc::clone(&hanging)),
            Arc::clone(&open),
        ));
        Self {
            address,
            seen,
            served,
            hanging,
            open,
            runtime: Some(runtime),
        }
    }

    /// A server that gives the replies in turn, and the last one for ever.
    pub fn replies(replies: impl IntoIterator<Item = Vec<Do>>) -> Self {
        let replies: Vec<_> = replies.into_iter().collect();
        Self::start(move |seen| replies[seen.number.min(replies.len() - 1)].clone())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for `providers.*.base_url`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("the list of requests").clone()
    }

    /// The chat requests asked so far.
    pub fn chats(&self) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.method == "POST")
            .collect()
    }

    /// Waits until all that came from clients which are gone was read: the system may hold it for a while.
    pub fn settle(&self) {
        let mut probe = std::net::TcpStream::connect(self.address).expect("the stub listens");
        // Connections are accepted in their order: when this one is answered, all before it are known.
        probe
            .write_all(format!("GET {PROBE} HTTP/1.1\r\n\r\n").as_bytes())
            .expect("a request");
        probe.read_exact(&mut [0; 4]).expect("an answer");
        drop(probe);
        let start = Instant::now();
        while self.open.load(Ordering::SeqCst) > 0 {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "clients are still there"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until so many requests have come, and what was said to each was read, to its end or to where it hangs.
    #[track_caller]
    pub fn has_said(&self, requests: usize) {
        let start = Instant::now();
        loop {
            let said = self.served() + self.hanging.load(Ordering::SeqCst);
            let asked = self.seen().len();
            if asked >= requests && said == asked && is_read(self.address.port()) {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "{said} of {asked} requests were answered, not {requests}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How many answers were sent to their end.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Whether all that was sent from a port of this machine was read.
///
/// Source: proc_net_tcp in the kernel's documentation: addresses, state, what waits to be sent and to be read.
fn is_read(port: u16) -> bool {
    const LISTENING: &str = "0A";
    let port = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the connections");
    table.lines().skip(1).all(|line| {
        let mut words = line.split_whitespace().skip(1);
        let mut word = || words.next().unwrap_or_default();
        let (local, remote, state, queues) = (word(), word(), word(), word());
        let (sent, received) = queues.split_once(':').unwrap_or_default();
        let is_empty = |queue: &str| queue.bytes().all(|digit| digit == b'0');
        state == LISTENING
            || ((!local.ends_with(&port) || is_empty(sent))
                && (!remote.ends_with(&port) || is_empty(received)))
    })
}

async fn accept(
    listener: TcpListener,
    script: Arc<Script>,
    seen: Arc<Mutex<Vec<Seen>>>,
    (served, hanging): (Arc<AtomicUsize>, Arc<AtomicUsize>),
    open: Arc<AtomicUsize>,
) {
    let number = Arc::new(AtomicUsize::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).ok();
        let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
        let (served, number) = (Arc::clone(&served), Arc::clone(&number));
        let hanging = Arc::clone(&hanging);
        let open = Arc::clone(&open);
        open.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            converse(stream, &*script, &seen, (&served, &hanging), &number).await;
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn converse(
    mut stream: TcpStream,
    script: &Script,
    seen: &Mutex<Vec<Seen>>,
    (served, hanging): (&AtomicUsize, &AtomicUsize),
    number: &AtomicUsize,
) {
    let mut buffer = Vec::new();
    while let Some(mut request) = read_request(&mut stream, &mut buffer).await {
        if request.path == PROBE {
            stream.write_all(b"HTTP/1.1 204 Here\r\n\r\n").await.ok();
            return;
        }
        request.number = number.fetch_add(1, Ordering::SeqCst);
        seen.lock()
            .expect("the list of requests")
            .push(request.clone());
        for action in script(&request) {
            match action {
                Do::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
                Do::Wait(duration) => tokio::time::sleep(duration).await,
                // It never holds a permit: what ends the wait is that it is closed.
                Do::Gate(gate) => drop(gate.0.acquire().await),
                Do::Hang => {
                    hanging.fetch_add(1, Ordering::SeqCst);
                    std::future::pending::<()>().await;
                }
                Do::Close => return,
                Do::Reset => {
                    stream.set_zero_linger().ok();
                    return;
                }
            }
        }
        served.fetch_add(1, Ordering::SeqCst);
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    while buffer.len() < end + 4 + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = serde_json::from_slice(&buffer[end + 4..end + 4 + length]).unwrap_or_default();
    buffer.drain(..end + 4 + length);
    Some(Seen {
        number: 0,
        at: Instant::now(),
        method,
        path,
        headers,
        body,
    })
}

/// A whole answer with a status, headers and a body.
pub fn status(code: u16, headers: &[(&str, &str)], body: &str) -> Vec<Do> {
    let mut head = format!("HTTP/1.1 {code} Stub\r\ncontent-length: {}\r\n", body.len());
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
    {
        head.push_str("content-type: application/json\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    vec![Do::Send(format!("{head}\r\n{body}").into_bytes())]
}

/// The head of a stream whose end is told by chunks.
pub fn stream_head() -> Do {
    Do::Send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec(),
    )
}

/// One piece of a stream.
pub fn piece(text: &str) -> Do {
    Do::Send(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes())
}

/// The end of a stream.
pub fn stream_end() -> Do {
    Do::Send(b"0\r\n\r\n".to_vec())
}

/// One event of a stream.
pub fn event(data: &Value) -> Do {
    piece(&format!("data: {data}\n\n"))
}

/// A chunk of a chat answer.
pub fn chunk(delta: &Value, finish: Option<&str>) -> Value {
    json!({"id": "chatcmpl-stub", "object": "chat.completion.chunk", "model": "stub-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
}

/// Usage as the OpenAI protocol tells it, in a chunk of its own.
pub fn usage(prompt: u64, completion: u64) -> Value {
    json!({"id": "chatcmpl-stub", "object": "chat.completion.chunk", "model": "stub-model",
        "choices": [],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt + completion}})
}

/// A streamed answer of these chunks.
pub fn sse(events: &[Value]) -> Vec<Do> {
    let mut body = String::new();
    for event in events {
        body.push_str(&format!("data: {event}\n\n"));
    }
    body.push_str("data: [DONE]\n\n");
    vec![Do::Send(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )]
}

/// A streamed answer of some text, with 10 prompt and 5 completion tokens.
pub fn text(text: &str) -> Vec<Do> {
    text_with_usage(text, 10, 5)
}

/// A streamed answer of some text.
pub fn text_with_usage(text: &str, prompt: u64, completion: u64) -> Vec<Do> {
    sse(&[
        chunk(&json!({"role": "assistant", "content": text}), None),
        chunk(&json!({}), Some("stop")),
        usage(prompt, completion),
    ])
}

/// A streamed answer that asks for tools: id, name and arguments of each, with 10 prompt and 5
/// completion tokens.
pub fn tool_calls(calls: &[(&str, &str, Value)]) -> Vec<Do> {
    let calls: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(index, (id, name, arguments))| {
            json!({"index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": arguments.to_string()}})
        })
        .collect();
    sse(&[
        chunk(
            &json!({"role": "assistant", "content": null, "tool_calls": calls}),
            None,
        ),
        chunk(&json!({}), Some("tool_calls")),
        usage(10, 5),
    ])
}
