//! What goes wrong in HTTP/2, which servers behind https speak: streams that are reset, connections that are
//! sent away, windows that stay shut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::row::{Charged, entries};
use super::script::{choice, events};
use super::server::{Secure, certificate};
use crate::support::{Context, Ran, ran};

/// What is done with a request.
#[derive(Clone, Debug)]
enum Act {
    /// A whole good answer.
    Answer,
    /// The same, with trailers behind it.
    Trailers,
    /// The same, and the connection takes no further request.
    AnswerAndLeave,
    /// A refusal before the body was read, and word that nobody reads it.
    Refuse(u16, &'static str),
    /// The stream is reset before the head.
    Reset(Reason),
    /// The stream is reset in the middle of the answer.
    ResetInside(Reason),
    /// The connection is sent away before the head.
    Away(Reason),
    /// The connection is sent away in the middle of the answer.
    AwayInside(Reason),
    /// The connection is closed in the middle of the answer.
    CloseInside,
    /// The stream ends in good order in the middle of the answer.
    EndInside,
    /// A head that is larger than anybody takes.
    LargeHead,
    /// Neither is the body read nor is anything said.
    Mute,
    /// The connection says by hand that it has looked at no request, and ends.
    Unseen,
}

/// The running server; stops when dropped.
struct Server {
    address: SocketAddr,
    authority: String,
    /// The connection of each request.
    seen: Arc<Mutex<Vec<usize>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    /// Starts a server that treats each request by its act, and all that come later by the last.
    fn start(acts: &[Act], streams: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (tls, authority) = certificate(Secure::Yes);
        let mut tls = Arc::unwrap_or_clone(tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (acts, all) = (acts.to_vec(), Arc::clone(&seen));
        runtime.spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (acceptor, acts, seen) = (acceptor.clone(), acts.clone(), Arc::clone(&all));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    if let [Act::Unseen, ..] = acts[..]
                        && number == 0
                    {
                        seen.lock().unwrap().push(number);
                        unseen(&mut stream).await.ok();
                        return;
                    }
                    serve(stream, number, streams, &acts, &seen).await.ok();
                });
            }
        });
        Self {
            address,
            authority,
            seen,
            _runtime: runtime,
        }
    }
}

type Stream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

async fn serve(
    stream: Stream,
    number: usize,
    streams: u32,
    acts: &[Act],
    seen: &Mutex<Vec<usize>>,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(streams)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        assert_eq!(request.version(), http::Version::HTTP_2);
        let act = {
            let mut seen = seen.lock().unwrap();
            seen.push(number);
            acts.get(seen.len() - 1).or(acts.last()).cloned().unwrap()
        };
        match act {
            Act::Away(reason) => {
                connection.abrupt_shutdown(reason);
                continue;
            }
            Act::AwayInside(reason) => {
                let _open = half(respond)?;
                // What was said goes out before the word to leave.
                drive(&mut connection, Duration::from_millis(300)).await;
                connection.abrupt_shutdown(reason);
                continue;
            }
            Act::CloseInside => {
                let _open = half(respond)?;
                drive(&mut connection, Duration::from_millis(300)).await;
                return Ok(());
            }
            Act::AnswerAndLeave => connection.graceful_shutdown(),
            _ => {}
        }
        tokio::spawn(async move { one(act, request, respond).await.ok() });
    }
    Ok(())
}

/// Lets a connection send what it has.
async fn drive(connection: &mut h2::server::Connection<Stream, Bytes>, time: Duration) {
    // No further request comes while this one is open.
    tokio::time::timeout(time, connection.accept()).await.ok();
}

fn head(status: u16, kind: &str) -> Response<()> {
    let head = Response::builder().status(status);
    head.header("content-type", kind).body(()).unwrap()
}

fn whole() -> String {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 5}});
    let said = [
        choice(&json!({"content": "yes"}), None),
        choice(&json!({}), Some("stop")),
        usage,
    ];
    format!("{}data: [DONE]\n\n", events(&said))
}

/// Begins an answer.
fn half(mut respond: SendResponse<Bytes>) -> Result<SendStream<Bytes>, h2::Error> {
    let mut body = respond.send_response(head(200, "text/event-stream"), false)?;
    let said = events(&[choice(&json!({"content": "ye"}), None)]);
    body.send_data(said.into(), false)?;
    Ok(body)
}

async fn one(
    act: Act,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut asked = request.into_body();
    if !matches!(act, Act::Refuse(..) | Act::Mute) {
        while let Some(piece) = asked.data().await {
            asked.flow_control().release_capacity(piece?.len())?;
        }
    }
    match act {
        Act::Refuse(status, said) => {
            let mut body = respond.send_response(head(status, "application/json"), false)?;
            // What is left of the request is given up with it, by a reset without an error.
            body.send_data(said.into(), true)?;
            drop(asked);
        }
        Act::Reset(reason) => respond.send_reset(reason),
        Act::ResetInside(reason) => {
            let mut body = half(respond)?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            body.send_reset(reason);
        }
        Act::EndInside => half(respond)?.send_data(Bytes::new(), true)?,
        Act::LargeHead => {
            let mut large = head(200, "text/event-stream");
            let value = "y".repeat(60_000).parse().unwrap();
            for name in ["x-a", "x-b", "x-c", "x-d"] {
                large
                    .headers_mut()
                    .insert(name, http::HeaderValue::clone(&value));
            }
            respond.send_response(large, true)?;
        }
        Act::Mute => std::future::pending().await,
        Act::Trailers => {
            let mut body = respond.send_response(head(200, "text/event-stream"), false)?;
            body.send_data(whole().into(), false)?;
            body.send_trailers(HeaderMap::new())?;
        }
        _ => {
            let mut body = respond.send_response(head(200, "text/event-stream"), false)?;
            body.send_data(whole().into(), true)?;
        }
    }
    Ok(())
}

/// Takes the request in and says that no stream was looked at.
async fn unseen(stream: &mut Stream) -> std::io::Result<()> {
    // SETTINGS without any, then GOAWAY: the last stream is 0, and there is no error.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
    let mut heard = vec![0; 1 << 16];
    let mut count = 0;
    // The preface, SETTINGS and the head of the request.
    while count < 200 {
        match stream.read(&mut heard[count..]).await? {
            0 => return Ok(()),
            more => count += more,
        }
    }
    let away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    stream.write_all(&away).await?;
    stream.flush().await?;
    // Until the client goes.
    while stream.read(&mut heard).await? > 0 {}
    Ok(())
}

/// What a server does, and what must come of it.
struct Row {
    name: &'static str,
    acts: Vec<Act>,
    code: i32,
    ledger: Vec<(&'static str, Charged)>,
    /// Bytes of the prompt.
    prompt: usize,
    /// Seconds to the first event.
    clock: u32,
    says: &'static str,
}

fn answered(name: &'static str, acts: Vec<Act>, ledger: &[(&'static str, Charged)]) -> Row {
    Row {
        name,
        acts,
        code: 0,
        ledger: ledger.to_vec(),
        prompt: 10,
        clock: 20,
        says: r#""output": "yes""#,
    }
}

fn configuration(address: SocketAddr, agents: &[&str]) -> String {
    let agents: Vec<String> = agents
        .iter()
        .map(|name| {
            format!("  {name}: {{role: R, provider: lab, model: m, tools: [], max_output_tokens: 100}}\n")
        })
        .collect();
    format!(
        "settings: {{max_retries: 2, retry_delay: 0.05, enable_circuit_breaker: false, timeout: 60, \
         clocks: {{connect: 20, first_event: 20, idle: 20}}}}\n\
         providers:\n  lab: {{kind: openai, base_url: \"https://{address}/v1\", \
         prices: {{m: {{input: 1000, output: 1000}}}}}}\n\
         agents:\n{}",
        agents.concat()
    )
}

fn run(server: &Server, context: &Context, args: &[&str]) -> Ran {
    context.write("authority.pem", &server.authority);
    let mut command = context.command(&[&["--config", "orch.yaml"], args].concat());
    command.env("SSL_CERT_FILE", context.work().join("authority.pem"));
    ran(command.output().unwrap())
}

fn check(row: &Row) -> Vec<String> {
    let server = Server::start(&row.acts, 100);
    let context = Context::new();
    let configuration = configuration(server.address, &["a"]);
    let clock = format!("first_event: {}", row.clock);
    context.write(
        "orch.yaml",
        configuration.replace("first_event: 20", &clock),
    );
    context.write("prompt", "x".repeat(row.prompt));
    let began = Instant::now();
    let ask = [
        "--agent",
        "a",
        "--prompt-file",
        "prompt",
        "--json",
        "--no-log",
    ];
    let ended = run(&server, &context, &ask);
    let took = began.elapsed();
    let ledger: Vec<_> = entries(&context, &row.ledger);
    let expected: Vec<_> = row
        .ledger
        .iter()
        .map(|(outcome, charged)| ((*outcome).to_owned(), *charged))
        .collect();
    let output = format!("{}{}", ended.stdout, ended.stderr);
    let seen = server.seen.lock().unwrap().len();
    let mut wrong = Vec::new();
    if ended.code != row.code {
        wrong.push(format!("exit code {}, expected {}", ended.code, row.code));
    }
    if format!("{ledger:?}") != format!("{expected:?}") {
        wrong.push(format!("ledger {ledger:?}, expected {expected:?}"));
    }
    if seen != row.ledger.len() {
        wrong.push(format!("{seen} requests"));
    }
    if !output.contains(row.says) || output.contains("panicked") || took > Duration::from_secs(40) {
        let shown: String = output.chars().take(2000).collect();
        wrong.push(format!("{took:?}: {shown}"));
    }
    wrong
        .into_iter()
        .map(|wrong| format!("{}: {wrong}", row.name))
        .collect()
}

#[test]
fn streams_and_connections_that_break_are_asked_again_once_it_is_safe() {
    let told = ("answered", Charged::Told);
    let held = ("network", Charged::Held);
    let nothing = ("network", Charged::Nothing);
    let cut = ("truncated", Charged::Estimate);
    let no = r#"{"error":{"message":"no"}}"#;
    let then = |act: Act| vec![act, Act::Answer];
    let refused = |name, status, class, code| Row {
        code,
        prompt: 1 << 20,
        says: r#""ok": false"#,
        ..answered(
            name,
            vec![Act::Refuse(status, no)],
            &[(class, Charged::Nothing)],
        )
    };
    let rows = [
        answered("a good answer", vec![Act::Answer], &[told]),
        answered("trailers", vec![Act::Trailers], &[told]),
        answered(
            "reset before the head",
            then(Act::Reset(Reason::INTERNAL_ERROR)),
            &[held, told],
        ),
        answered(
            "refused unseen",
            then(Act::Reset(Reason::REFUSED_STREAM)),
            &[nothing, told],
        ),
        answered(
            "told to be calm",
            then(Act::Away(Reason::ENHANCE_YOUR_CALM)),
            &[held, told],
        ),
        answered(
            "sent away without an error",
            then(Act::Away(Reason::NO_ERROR)),
            &[held, told],
        ),
        answered("sent away unseen", then(Act::Unseen), &[nothing, told]),
        answered(
            "reset inside the answer",
            then(Act::ResetInside(Reason::CANCEL)),
            &[cut, told],
        ),
        answered(
            "sent away inside the answer",
            then(Act::AwayInside(Reason::INTERNAL_ERROR)),
            &[cut, told],
        ),
        answered(
            "closed inside the answer",
            then(Act::CloseInside),
            &[cut, told],
        ),
        answered(
            "ended inside the answer",
            then(Act::EndInside),
            &[cut, told],
        ),
        answered(
            "a head that is too large",
            then(Act::LargeHead),
            &[held, told],
        ),
        Row {
            code: 6,
            prompt: 1 << 20,
            clock: 2,
            says: "no sign of an answer within 2 s",
            ..answered(
                "a window that stays shut",
                vec![Act::Mute],
                &[("first_event_timeout", Charged::Held); 3],
            )
        },
        refused("413 before the body", 413, "bad_request", 5),
        refused("401 before the body", 401, "auth", 4),
    ];
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let checks: Vec<_> = rows.iter().map(|row| scope.spawn(|| check(row))).collect();
        checks
            .into_iter()
            .flat_map(|check| check.join().unwrap())
            .collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A server that takes one call at a time on a connection, and one that leaves after each answer.
#[test]
fn calls_share_connections_and_outlive_them() {
    let all = ["--all", "--prompt", "x", "--json", "--no-log"];
    let context = Context::new();
    let server = Server::start(&[Act::Answer], 1);
    context.write("orch.yaml", configuration(server.address, &["a", "b", "c"]));
    run(&server, &context, &all).exits(0);
    assert_eq!(server.seen.lock().unwrap().len(), 3);

    let server = Server::start(&[Act::AnswerAndLeave], 100);
    let agents = configuration(server.address, &["a"]);
    let tasks = "tasks:\n  t:\n    steps:\n      - {id: one, agent: a, prompt: x}\n      \
                 - {id: two, agent: a, prompt: y}\n      - {id: three, agent: a, prompt: z}\n";
    context.write("orch.yaml", format!("{agents}{tasks}"));
    run(&server, &context, &["--task", "t", "--json"]).exits(0);
    assert_eq!(*server.seen.lock().unwrap(), [0, 1, 2]);
}
