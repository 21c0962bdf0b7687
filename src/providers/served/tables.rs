//! The tables of streams and refusals over a real connection.

use super::*;
use crate::providers::{Finish, vectors};

#[tokio::test(start_paused = true)]
async fn every_refusal_is_one_request_with_its_class_and_delay() {
    let mut checked = 0;
    for vector in vectors::errors() {
        let headers: Vec<(&str, &str)> = vector
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().expect("a text")))
            .collect();
        let server = Server::always(answer(vector.status, &headers, &vector.body)).await;
        let name = match vector.adapt.as_deref() {
            Some("max_tokens") => "openai",
            _ => "lab",
        };
        let asked = Request {
            model: match vector.adapt.as_deref() {
                Some("max_tokens") => "gpt-6".to_owned(),
                _ => "m".to_owned(),
            },
            temperature: Some(0.2).filter(|_| vector.adapt.as_deref() != Some("max_tokens")),
            ..request()
        };
        let error = ask(&*server.provider(name), &asked)
            .await
            .expect_err("a refusal");
        let id = &vector.id;
        assert_eq!(error.kind.class(), vector.class, "{id}: {error}");
        let delay = vector.delay_ms.map(Duration::from_millis);
        assert_eq!(error.retry_after.filter(|_| delay.is_some()), delay, "{id}");
        assert_eq!(error.retry_once, vector.max_retries == Some(1), "{id}");
        let header = vector.headers.get("x-should-retry");
        let should_retry = header.map(|value| value == "true");
        assert_eq!(error.should_retry, should_retry, "{id}");
        let requests = server.seen().len();
        assert_eq!(requests, 1 + usize::from(vector.adapt.is_some()), "{id}");
        assert!(!error.committed && !error.message.contains("sk-ab"), "{id}");
        checked += 1;
    }
    assert_eq!(checked, 45);
}

#[tokio::test(start_paused = true)]
async fn every_stream_gives_its_answer_or_its_class() {
    let mut checked = 0;
    for vector in vectors::streams() {
        let expected = &vector.expect["result"];
        if expected.is_null() {
            continue;
        }
        for chunks in vector.feeds() {
            let mut actions = vec![stream_head()];
            for chunk in chunks {
                actions.push(Do::Send(chunk));
                actions.push(Do::Wait(Duration::from_millis(1)));
            }
            actions.push(Do::Close);
            let server = Server::always(actions).await;
            let result = ask(&*server.provider("lab"), &request()).await;
            check(&vector.id, expected, result);
        }
        checked += 1;
    }
    assert_eq!(checked, 43);
}

fn check(id: &str, expected: &Value, result: Result<Reply, ProviderError>) {
    let text = |key: &str| expected[key].as_str().unwrap_or_default();
    match result {
        Ok(reply) => {
            assert_eq!(text("outcome"), "ok", "{id}");
            assert_eq!(reply.message.text, text("content"), "{id}");
            assert_eq!(reply.message.reasoning, text("reasoning"), "{id}");
            assert_eq!(reply.refusal, text("refusal"), "{id}");
            let finish: Finish =
                serde_json::from_value(expected["finish"].clone()).expect("a finish");
            assert_eq!(reply.finish, finish, "{id}");
            let calls = expected["tool_calls"].as_array().map_or(0, Vec::len);
            assert_eq!(reply.message.calls.len(), calls, "{id}");
            assert!(reply.message.calls.iter().all(|call| !call.id.is_empty()));
            assert_eq!(reply.usage.is_some(), !expected["usage"].is_null(), "{id}");
        }
        Err(error) => {
            let class = expected["error"]["class"].as_str();
            assert_eq!(Some(error.kind.class()), class, "{id}: {error}");
            assert_eq!(
                Some(!error.committed),
                expected["retry_safe"].as_bool(),
                "{id}"
            );
            assert_eq!(error.partial.text, text("content"), "{id}");
            assert_eq!(error.partial.reasoning, text("reasoning"), "{id}");
        }
    }
}
