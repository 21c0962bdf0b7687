//! Servers that break, lie or flood.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::*;
use crate::providers::{FaultKind, StreamFault};

async fn fault(actions: Vec<Do>) -> ProviderError {
    let server = Server::always(actions).await;
    let error = ask(&*server.provider("lab"), &request()).await;
    assert_eq!(server.seen().len(), 1, "an attempt is one request");
    error.expect_err("a fault")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let server = Server {
        url: format!("http://{address}/v1"),
        seen: Arc::default(),
    };
    let error = ask(&*server.provider("ollama"), &request())
        .await
        .expect_err("nobody listens");
    assert_eq!(error.kind, FaultKind::Network { permanent: false });
    let expected = format!("no connection to {address}: Connection refused (os error 111)");
    assert_eq!(error.message, expected);
    let hint = "is Ollama running? start it with `ollama serve`";
    assert_eq!(error.hint.as_deref(), Some(hint));
    assert!(!error.partial.reached_model);
}

#[tokio::test]
async fn connections_break_before_and_in_the_middle_of_the_answer() {
    for action in [Do::Reset, Do::Close] {
        let error = fault(vec![action]).await;
        assert_eq!(
            error.kind,
            FaultKind::Network { permanent: false },
            "{error}"
        );
        assert!(error.partial.reached_model && !error.committed);
    }
    let chunked = Do::Send(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/event-stream\r\n\r\n"
            .to_vec(),
    );
    for end in [Do::Reset, Do::Close] {
        let data = format!(
            "data: {}\n\n",
            json!({"choices": [{"delta": {"content": "par"}}]})
        );
        let chunk = Do::Send(format!("{:x}\r\n{data}\r\n", data.len()).into_bytes());
        let pause = Do::Wait(Duration::from_millis(20));
        let error = fault(vec![chunked.clone(), chunk, pause, end]).await;
        assert_eq!(
            error.kind,
            FaultKind::Stream(StreamFault::Truncated),
            "{error}"
        );
        assert_eq!(
            (error.partial.text.as_str(), error.committed),
            ("par", true)
        );
    }
    let error = fault(vec![chunked, Do::Close]).await;
    assert_eq!(
        error.kind,
        FaultKind::Stream(StreamFault::Truncated),
        "{error}"
    );
    assert!(!error.committed && error.partial.reached_model);
}

#[tokio::test]
async fn what_is_no_model_server_is_said_to_be_none() {
    for (actions, words) in [
        (
            answer(302, &[("location", "https://login.example/")], ""),
            "HTTP 302: sent on to https://login.example/, which is not followed",
        ),
        (
            answer(
                200,
                &[("content-type", "text/html")],
                "<html><title>Sign in</title>",
            ),
            "what answered is no model server: Sign in",
        ),
        (
            answer(200, &[], "It works!"),
            "what answered is no model server: It works!",
        ),
        (
            answer(200, &[], r#"{"message": "welcome"}"#),
            "what answered is no model server: welcome",
        ),
    ] {
        let error = fault(actions).await;
        assert_eq!(
            (&error.kind, error.message.as_str()),
            (&FaultKind::Protocol, words)
        );
        assert!(error.hint.expect("a hint").contains("base_url"));
        assert!(!error.partial.reached_model);
    }
}

#[tokio::test]
async fn floods_are_cut_off() {
    // A refusal of 10 MB, plain and packed.
    let page = format!("<html>{}", "x".repeat(10 << 20));
    let packed = gzip(page.as_bytes());
    assert!(packed.len() < 64 << 10);
    for actions in [
        answer(500, &[], &page),
        answer(500, &[("content-encoding", "gzip")], &packed),
    ] {
        let error = fault(actions).await;
        assert_eq!(error.kind, FaultKind::Server);
        assert!(error.message.len() < 1000, "{}", error.message.len());
    }
    // A line of 80 MB, packed.
    let line = gzip(&[b"data: ".to_vec(), vec![b'x'; 80 << 20]].concat());
    let headers = [
        ("content-encoding", "gzip"),
        ("content-type", "text/event-stream"),
    ];
    let error = fault(answer(200, &headers, &line)).await;
    assert_eq!(error.kind, FaultKind::Stream(StreamFault::InvalidJson));
    assert_eq!(error.message, "a line of the answer is longer than 16 MiB");
    // A document of 80 MB, packed.
    let document = gzip(&[b"{\"x\":\"".to_vec(), vec![b'x'; 80 << 20]].concat());
    let error = fault(answer(200, &[("content-encoding", "gzip")], &document)).await;
    assert_eq!(error.kind, FaultKind::Stream(StreamFault::InvalidJson));
    // What is said to be packed and is not.
    let error = fault(answer(200, &[("content-encoding", "gzip")], "data: x\n\n")).await;
    assert_eq!(
        error.kind,
        FaultKind::Stream(StreamFault::Truncated),
        "{error}"
    );
}

#[tokio::test]
async fn a_long_answer_is_no_flood() {
    let text = "word ".repeat(2 << 20);
    let server = Server::always(stream(&text)).await;
    let reply = ask(&*server.provider("lab"), &request())
        .await
        .expect("an answer");
    assert_eq!(reply.message.text.len(), text.len());
}

#[tokio::test]
async fn keys_and_pages_are_named_and_never_shown() {
    let body = r#"{"error":{"message":"bad key sk-test-0123456789 or sk-other-987654321","code":"invalid_api_key"}}"#;
    let error = fault(answer(401, &[("x-request-id", "req_1")], body)).await;
    assert_eq!(error.kind, FaultKind::Auth);
    assert_eq!(error.message, "HTTP 401: bad key [redacted] or [redacted]");
    let hint = "the key in `LAB_KEY` was refused; put a good one there";
    assert_eq!(error.hint.as_deref(), Some(hint));
    assert_eq!(error.request_id.as_deref(), Some("req_1"));
    assert_eq!(
        (error.status, error.code.as_deref()),
        (Some(401), Some("invalid_api_key"))
    );

    let server = Server::always(answer(
        402,
        &[],
        r#"{"error":{"message":"Insufficient Balance"}}"#,
    ))
    .await;
    let error = ask(&*server.provider("deepseek"), &request())
        .await
        .expect_err("no money");
    let hint = error.hint.expect("a hint");
    assert!(
        hint.contains("https://platform.deepseek.com/top_up"),
        "{hint}"
    );

    let server = Server::always(answer(404, &[], r#"{"error":{"code":"model_not_found"}}"#)).await;
    let asked = Request {
        model: "gpt-4".to_owned(),
        ..request()
    };
    let error = ask(&*server.provider("openai"), &asked)
        .await
        .expect_err("gone");
    assert_eq!(
        error.hint.as_deref(),
        Some("`openai/gpt-4.1` took its place")
    );
}

#[tokio::test]
async fn a_key_that_is_needed_and_missing_is_told_before_anything_is_sent() {
    for (name, url, hint) in [
        (
            "openai",
            "https://api.openai.com/v1",
            "set `OPENAI_API_KEY` in the environment or in a `.env` file",
        ),
        (
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "set `GEMINI_API_KEY` (or GOOGLE_API_KEY, GOOGLE_GENERATIVE_AI_API_KEY) in the \
             environment or in a `.env` file",
        ),
        (
            "lab",
            "https://models.example.com/v1",
            "name the variable that holds the key: `providers: {lab: {api_key_env: NAME}}`",
        ),
    ] {
        let server = Server {
            url: url.to_owned(),
            seen: Arc::default(),
        };
        let variables = vendors::find(name).map_or(&[][..], |vendor| vendor.key_variables);
        let spec = ConnectSpec {
            key: None,
            key_variables: variables.iter().map(|&name| name.to_owned()).collect(),
            ..server.spec(name)
        };
        let error = connect(&spec).err().expect("no key");
        assert_eq!(error.kind, FaultKind::Auth);
        assert_eq!(error.message, format!("no key for `{name}` was found"));
        assert_eq!(error.hint.as_deref(), Some(hint));
    }
    let local = Server {
        url: "http://192.168.0.7:8000/v1".to_owned(),
        seen: Arc::default(),
    };
    let spec = ConnectSpec {
        key: None,
        ..local.spec("lab")
    };
    assert!(connect(&spec).is_ok());
}

#[tokio::test(start_paused = true)]
async fn https_that_is_none_or_never_shakes_hands_is_no_connection() {
    for (answer, words) in [
        (None, " within 10 s"),
        (
            Some("HTTP/1.1 400 Bad Request\r\n\r\n"),
            ": received corrupt message",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            if let Some(answer) = answer {
                stream.write_all(answer.as_bytes()).await.expect("a reader");
            }
            std::future::pending::<()>().await;
        });
        let server = Server {
            url: format!("https://{address}/v1"),
            seen: Arc::default(),
        };
        let error = ask(&*server.provider("lab"), &request())
            .await
            .expect_err("no TLS");
        assert_eq!(
            error.kind,
            FaultKind::Network { permanent: false },
            "{error}"
        );
        let expected = format!("no connection to {address}{words}");
        assert!(error.message.starts_with(&expected), "{error}");
        assert!(!error.partial.reached_model);
    }
}
