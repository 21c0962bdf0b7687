//! Whole answers, as they are asked for and as they come.

use serde_json::json;

use super::*;
use crate::event::EventKind;
use crate::message::{Assistant, ToolSpec};
use crate::providers::{FaultKind, Finish, LimitNews, ToolMode};
use crate::usage::{Usage, Usd};

fn read_tool() -> ToolSpec {
    ToolSpec {
        name: "read".to_owned(),
        description: "Reads a file.".to_owned(),
        parameters: json!({"type": "object"}),
    }
}

#[tokio::test]
async fn an_answer_comes_whole_with_everything_that_was_told() {
    let server = Server::start(|_, _| {
        let head = Do::Send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_7\r\n\
              x-ratelimit-limit-requests: 500\r\nx-ratelimit-limit-tokens: 30000\r\n\r\n"
                .to_vec(),
        );
        let call = json!({"index": 0, "id": "c1", "function": {"name": "read", "arguments": "{}"}});
        vec![
            head,
            event(&json!({"model": "m-2026", "choices": [{"delta": {"reasoning": "hm"}}]})),
            text_delta("Hel"),
            Do::Wait(Duration::from_millis(20)),
            text_delta("lo"),
            event(&json!({"choices": [{"delta": {"tool_calls": [call]}}]})),
            finish("tool_calls"),
            event(
                &json!({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4,
                "cost": 0.00125}}),
            ),
            done(),
            Do::Close,
        ]
    })
    .await;
    let mut spec = server.spec("openrouter");
    spec.headers.insert("X-Title".to_owned(), "orch".to_owned());
    let provider = connect(&spec).expect("a provider");
    let (events, mut receiver) = Events::channel("run");
    let meter = Meter::default();
    let mut reply = provider
        .complete(&request(), &meter, &events)
        .await
        .expect("an answer");
    assert!(reply.first_event.take().is_some());
    let usage = Usage {
        input_tokens: 9,
        output_tokens: 4,
        ..Usage::default()
    };
    let cost = Some(Usd::from_pico(1_250_000_000));
    let expected = Reply {
        message: Assistant {
            text: "Hello".to_owned(),
            reasoning: "hm".to_owned(),
            calls: vec![crate::message::ToolCall {
                id: "c1".to_owned(),
                name: "read".to_owned(),
                arguments: "{}".to_owned(),
                ..Default::default()
            }],
            vendor: "openrouter".to_owned(),
            ..Assistant::default()
        },
        finish: Finish::ToolCalls,
        usage: Some(usage),
        reported_cost: cost,
        model: Some("m-2026".to_owned()),
        request_id: Some("req_7".to_owned()),
        limits: LimitNews {
            requests_per_minute: Some(500),
            tokens_per_minute: Some(30_000),
            exhausted_for: None,
        },
        ..Reply::default()
    };
    assert_eq!(reply, expected);
    let reading = meter.reading();
    assert_eq!((reading.answered, reading.reported), (true, Some(usage)));
    assert_eq!((reading.output_bytes, reading.reported_cost), (13, cost));

    let mut shown = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        shown.push(event.kind);
    }
    let text = |text: &str| EventKind::TextDelta {
        text: text.to_owned(),
    };
    assert_eq!(
        shown.first(),
        Some(&EventKind::ReasoningDelta {
            text: "hm".to_owned()
        })
    );
    assert_eq!(shown[1..], [text("Hel"), text("lo")]);

    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /v1/chat/completions");
    for (name, value) in [
        ("authorization", "Bearer sk-test-0123456789"),
        ("idempotency-key", "key-1"),
        ("content-type", "application/json"),
        ("accept-encoding", "identity"),
        ("x-title", "orch"),
        ("user-agent", concat!("orch/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(
            seen.headers.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    assert_eq!(seen.body["stream"], true);
    assert_eq!(seen.body["max_tokens"], 100);
}

#[tokio::test]
async fn calls_share_a_connection() {
    let server = Server::always(stream("x")).await;
    let provider = server.provider("lab");
    for _ in 0..3 {
        ask(&*provider, &request()).await.expect("an answer");
    }
    // Another provider of the same place as well.
    ask(&*server.provider("other"), &request())
        .await
        .expect("an answer");
    let connections: Vec<usize> = server.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 0, 0, 0]);
}

#[tokio::test]
async fn a_server_that_does_not_stream_answers_too() {
    let document = format!(
        "\n\n \n{}",
        json!({"model": "m", "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "whole"}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    );
    for kind in ["application/json", "text/event-stream"] {
        let server = Server::always(answer(200, &[("content-type", kind)], &document)).await;
        let reply = ask(&*server.provider("lab"), &request())
            .await
            .expect("an answer");
        assert_eq!(
            (reply.message.text.as_str(), reply.finish),
            ("whole", Finish::Stop)
        );
        assert!(reply.usage.is_some());
    }
}

#[tokio::test]
async fn an_optional_field_that_is_refused_is_left_out_from_then_on() {
    let server = Server::start(|_, seen| {
        let refuse = |words: &str| {
            let body = json!({"error": {"message": words, "code": "unsupported_value"}});
            answer(400, &[], body.to_string())
        };
        if seen.body.get("temperature").is_some() {
            return refuse("Unsupported value: 'temperature' does not support 0.2");
        }
        if seen.body.get("stream_options").is_some() {
            return refuse("Unrecognized request argument supplied: stream_options");
        }
        stream("fine")
    })
    .await;
    let provider = server.provider("lab");
    let asked = Request {
        temperature: Some(0.2),
        ..request()
    };
    let reply = ask(&*provider, &asked).await.expect("an answer");
    assert_eq!(
        reply.warnings,
        [
            "`m` refused the request as it was: `temperature` was left out",
            "`m` refused the request as it was: `stream_options` was left out",
        ]
    );
    assert_eq!(server.seen().len(), 3);
    let reply = ask(&*provider, &asked).await.expect("an answer");
    assert_eq!((reply.warnings.len(), server.seen().len()), (0, 4));
}

#[tokio::test]
async fn a_model_without_function_calling_is_offered_tools_in_words() {
    let server = Server::start(|_, seen| {
        if seen.body.get("tools").is_some() {
            let words = r#"{"error":{"message":"registry.ollama.ai/library/m:latest does not support tools"}}"#;
            return answer(400, &[], words);
        }
        stream("I look.\n```tool\n{\"tool\": \"read\", \"params\": {\"path\": \"a```b\"}}\n```\n")
    })
    .await;
    let asked = Request {
        tools: vec![read_tool()],
        ..request()
    };
    let (events, mut receiver) = Events::channel("run");
    let provider = server.provider("ollama");
    let reply = provider
        .complete(&asked, &Meter::default(), &events)
        .await
        .expect("an answer");
    assert_eq!(
        (reply.message.text.as_str(), reply.finish),
        ("I look.", Finish::ToolCalls)
    );
    let call = &reply.message.calls[0];
    assert_eq!((call.name.as_str(), call.malformed), ("read", false));
    assert_eq!(call.arguments, r#"{"path":"a```b"}"#);
    assert!(call.id.starts_with("call_"));
    assert_eq!(reply.warnings.len(), 1);
    let mut shown = String::new();
    while let Ok(event) = receiver.try_recv() {
        if let EventKind::TextDelta { text } = event.kind {
            shown.push_str(&text);
        }
    }
    assert_eq!(shown, "I look.\n");
    let system = server.seen()[1].body["messages"][0]["content"].clone();
    assert!(
        system
            .as_str()
            .expect("a text")
            .contains("`read`: Reads a file.")
    );

    let asked = Request {
        tool_mode: ToolMode::Text,
        ..asked
    };
    let reply = ask(&*server.provider("lab"), &asked)
        .await
        .expect("an answer");
    assert_eq!((reply.message.calls.len(), server.seen().len()), (1, 3));
}

#[tokio::test]
async fn a_prompt_that_seems_cut_is_told() {
    let server = Server::start(|_, _| {
        let body = format!(
            "data: {}\n\ndata: [DONE]\n\n",
            json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 4096, "completion_tokens": 1}})
        );
        answer(200, &[("content-type", "text/event-stream")], body)
    })
    .await;
    for (length, warnings) in [(4_000, 0), (20_000, 0), (100_000, 1)] {
        let asked = Request {
            messages: vec![Message::User {
                text: "x".repeat(length),
            }],
            ..request()
        };
        let reply = ask(&*server.provider("ollama"), &asked)
            .await
            .expect("an answer");
        assert_eq!(reply.warnings.len(), warnings, "{length}");
    }
}

#[tokio::test]
async fn anthropic_is_spoken_natively() {
    let server = Server::start(|_, seen| {
        if seen.line.starts_with("GET") {
            return answer(200, &[], r#"{"data": [{"id": "claude-x"}]}"#);
        }
        let events = [
            json!({"type": "message_start", "message": {"model": "claude-x",
                "usage": {"input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 1}}}),
            json!({"type": "content_block_start", "index": 0,
                "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": "Hi"}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 2}}),
            json!({"type": "message_stop"}),
        ];
        let body: Vec<String> = events
            .iter()
            .map(|event| {
                format!(
                    "event: {}\ndata: {event}\n\n",
                    event["type"].as_str().unwrap()
                )
            })
            .collect();
        let headers = [
            ("content-type", "text/event-stream"),
            ("request-id", "req_a"),
        ];
        answer(200, &headers, body.concat())
    })
    .await;
    let provider = server.provider("anthropic");
    let reply = ask(&*provider, &request()).await.expect("an answer");
    assert_eq!(
        (reply.message.text.as_str(), reply.finish),
        ("Hi", Finish::Stop)
    );
    assert_eq!(reply.usage.expect("told").input_tokens, 105);
    assert_eq!(reply.request_id.as_deref(), Some("req_a"));
    provider.health().await.expect("healthy");
    let bearer = ConnectSpec {
        bearer: true,
        ..server.spec("anthropic")
    };
    ask(&*connect(&bearer).expect("a provider"), &request())
        .await
        .expect("an answer");
    let seen = server.seen();
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(
        lines,
        ["POST /v1/messages", "GET /v1/models", "POST /v1/messages"]
    );
    let header = |number: usize, name: &str| seen[number].headers.get(name).cloned();
    assert_eq!(
        header(0, "x-api-key").as_deref(),
        Some("sk-test-0123456789")
    );
    assert_eq!(
        header(0, "anthropic-version").as_deref(),
        Some("2023-06-01")
    );
    assert_eq!(header(2, "x-api-key"), None);
    assert_eq!(
        header(2, "authorization").as_deref(),
        Some("Bearer sk-test-0123456789")
    );
}

#[tokio::test]
async fn health_asks_no_model() {
    for (models, path, class) in [
        (200, 500, None),
        (401, 500, Some("auth")),
        (429, 500, Some("rate_limited")),
        (503, 500, Some("overloaded")),
        (404, 405, None),
        (405, 400, None),
        (404, 404, Some("not_found")),
        (404, 401, Some("auth")),
        (302, 500, Some("protocol")),
    ] {
        let server = Server::start(move |_, seen| {
            let status = if seen.line.ends_with("/models") {
                models
            } else {
                path
            };
            answer(status, &[], r#"{"data": []}"#)
        })
        .await;
        let result = server.provider("lab").health().await;
        let told = result.as_ref().err().map(|error| error.kind.class());
        assert_eq!(told, class, "{models} {path}");
        assert!(
            server
                .seen()
                .iter()
                .all(|seen| seen.line.starts_with("GET "))
        );
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = listener.local_addr().expect("an address");
    drop(listener);
    let server = Server::always(stream("never")).await;
    for scheme in ["http", "https"] {
        let mut spec = server.spec("lab");
        spec.proxy = ProxySettings {
            all: Some(format!("http://me:secret@{dead}")),
            ..ProxySettings::default()
        };
        spec.base_url = format!("{scheme}://models.test/v1");
        let provider = connect(&spec).expect("a provider");
        let error = ask(&*provider, &request()).await.expect_err("no proxy");
        let expected = format!(
            "no connection to models.test through the proxy {dead}: Connection refused (os error 111)"
        );
        assert_eq!(error.message, expected);
        let hint = error.hint.expect("a hint");
        assert!(hint.contains(&format!("`{}_PROXY`", scheme.to_uppercase())));
    }
}

#[tokio::test]
async fn a_page_is_not_healthy_whatever_its_status() {
    let page = "<!doctype html><html><title>Open WebUI</title></html>";
    let long = format!("{page}{}", "x".repeat(1 << 20));
    let models = format!("\n {{\"data\": [{}", " ".repeat(1 << 20));
    for (of_models, body, words) in [
        (
            200,
            page,
            Some("what answered is no model server: Open WebUI"),
        ),
        (
            200,
            &long,
            Some("what answered is no model server: Open WebUI"),
        ),
        (
            404,
            page,
            Some("what answered is no model server: Open WebUI"),
        ),
        (200, "OK", Some("what answered is no model server: OK")),
        (200, &models, None),
        (200, "[]", None),
        (200, "", None),
        (200, r#"{"data": [{"id": "m"}]}"#, None),
        (
            200,
            r#"{"status": "ok"}"#,
            Some("what answered is no model server"),
        ),
        (
            200,
            r#"{"error": {"message": "no such route"}}"#,
            Some("what answered is no model server: no such route"),
        ),
    ] {
        let body = body.to_owned();
        let server = Server::start(move |_, seen| {
            let is_list = seen.line.contains("/models");
            answer(if is_list { of_models } else { 200 }, &[], &body)
        })
        .await;
        let result = server.provider("lab").health().await;
        let told = result.as_ref().err().map(|error| error.message.as_str());
        assert_eq!(told, words);
        if let Err(error) = result {
            assert!(error.hint.expect("a hint").contains("base_url"));
        }
    }
}

#[tokio::test]
async fn a_proxy_is_used_for_hosts_that_are_not_here() {
    let server = Server::always(stream("through")).await;
    let mut spec = server.spec("lab");
    spec.proxy = ProxySettings {
        http: Some(server.url.trim_end_matches("/v1").to_owned()),
        no_proxy: Some("direct.test".to_owned()),
        ..ProxySettings::default()
    };
    spec.base_url = "http://models.test/v1".to_owned();
    let provider = connect(&spec).expect("a provider");
    ask(&*provider, &request()).await.expect("an answer");
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST http://models.test/v1/chat/completions");
    // This machine is called directly.
    spec.base_url = server.url.clone();
    ask(&*connect(&spec).expect("a provider"), &request())
        .await
        .expect("an answer");
    assert_eq!(server.seen()[1].line, "POST /v1/chat/completions");
}

#[tokio::test]
async fn a_model_of_another_api_is_refused_before_anything_is_sent() {
    let server = Server::always(stream("x")).await;
    let asked = Request {
        facts: Some(crate::providers::ModelFacts {
            responses_only: true,
            ..Default::default()
        }),
        ..request()
    };
    let error = ask(&*server.provider("openai"), &asked)
        .await
        .expect_err("not spoken");
    assert_eq!(
        (error.kind, server.seen().len()),
        (FaultKind::BadRequest, 0)
    );
}
