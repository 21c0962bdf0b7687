//! Answers in which one thing is not as it should be: whatever it is, there is an answer or an error.

use serde_json::json;

use super::*;

const ROUNDS: usize = 2000;

/// What may stand where something else is expected.
fn odd(dice: &mut fastrand::Rng) -> Value {
    let all = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(0.5),
        json!(""),
        json!("7"),
        json!("\u{1f980}\u{0}\u{fffd}"),
        json!("x".repeat(5000)),
        json!(format!("the key is {KEY}")),
        json!([]),
        json!([null, [[]]]),
        json!({}),
        json!({"error": {"code": 99, "message": []}}),
        json!({"": {"index": -1}}),
    ];
    all[dice.usize(..all.len())].clone()
}

/// Changes one place of a document: another value, one more, one less.
fn mutate(value: &mut Value, dice: &mut fastrand::Rng) {
    let deeper = dice.u8(..5) > 0;
    match value {
        Value::Object(object) if deeper && !object.is_empty() => {
            let at = dice.usize(..object.len());
            if dice.u8(..10) == 0 {
                let key = object.keys().nth(at).cloned().unwrap();
                object.remove(&key);
            } else {
                mutate(object.values_mut().nth(at).unwrap(), dice);
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = dice.usize(..list.len());
            match dice.u8(..10) {
                0 => drop(list.remove(at)),
                1 => list.push(list[at].clone()),
                _ => mutate(&mut list[at], dice),
            }
        }
        other => *other = odd(dice),
    }
}

/// The events of a stream with one of them changed, lost, doubled or moved, or with one byte that is not
/// what it was.
fn stream_of(mut events: Vec<Value>, dice: &mut fastrand::Rng) -> Vec<u8> {
    let at = dice.usize(..events.len());
    match dice.u8(..10) {
        0 => drop(events.remove(at)),
        1 => events.insert(at, events[at].clone()),
        2 => {
            let other = dice.usize(..events.len());
            events.swap(at, other);
        }
        3 => events.insert(at, odd(dice)),
        _ => mutate(&mut events[at], dice),
    }
    let mut bytes = Vec::new();
    for event in &events {
        if let Some(name) = event["type"].as_str() {
            bytes.extend_from_slice(format!("event: {name}\n").as_bytes());
        }
        bytes.extend_from_slice(format!("data: {event}\n\n").as_bytes());
    }
    bytes.extend_from_slice(b"data: [DONE]\n\n");
    let at = dice.usize(..bytes.len());
    match dice.u8(..8) {
        0 => bytes[at] = dice.u8(..),
        1 => bytes.truncate(at),
        2 => drop(bytes.remove(at)),
        _ => {}
    }
    bytes
}

fn chat() -> Vec<Value> {
    let chunk = |delta: Value, reason: Value| json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
    vec![
        chunk(
            json!({"role": "assistant", "reasoning_content": "hm", "content": null}),
            json!(null),
        ),
        chunk(json!({"content": "some text"}), json!(null)),
        chunk(
            json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "read", "arguments": "{\"pa"}}]}),
            json!(null),
        ),
        chunk(
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "th\": 1}"}}, {"index": 1, "id": "c2", "function": {"name": "glob", "arguments": "{}"}}]}),
            json!(null),
        ),
        chunk(json!({}), json!("tool_calls")),
        json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.1,
            "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 3}}}),
    ]
}

fn messages() -> Vec<Value> {
    let begin = |index: u32, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u32, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    vec![
        json!({"type": "message_start", "message": {"id": "msg", "model": "m", "usage": {"input_tokens": 10,
            "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1}}}}),
        begin(0, json!({"type": "thinking", "thinking": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        delta(0, json!({"type": "signature_delta", "signature": "s"})),
        json!({"type": "content_block_stop", "index": 0}),
        begin(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "some text"})),
        json!({"type": "ping"}),
        begin(
            2,
            json!({"type": "tool_use", "id": "t1", "name": "read", "input": {}}),
        ),
        delta(
            2,
            json!({"type": "input_json_delta", "partial_json": "{\"path\": 1}"}),
        ),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ]
}

fn documents() -> [Value; 3] {
    [
        json!({"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "some text", "reasoning": "hm", "refusal": null,
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "read", "arguments": "{}"}}]}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5}}),
        json!({"id": "msg", "type": "message", "model": "m", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "some text"}, {"type": "tool_use", "id": "t1", "name": "read", "input": {}}],
            "usage": {"input_tokens": 10, "output_tokens": 5}}),
        json!({"error": {"message": "m", "type": "t", "param": "p", "code": "429", "status": "S",
            "metadata": {"reasons": ["x"]}, "details": [{"violations": [{"quotaId": "q"}]}, {"retryDelay": "1.5s"}]}}),
    ]
}

/// An answer of the kind that comes at this number, and what is wrong with it.
fn mutated(number: usize) -> Vec<Do> {
    let mut dice = fastrand::Rng::with_seed(number as u64);
    let [chat_document, messages_document, mut error] = documents();
    let stream = [("content-type", "text/event-stream")];
    let (events, mut document) = match number % 2 {
        0 => (chat(), chat_document),
        _ => (messages(), messages_document),
    };
    match dice.u8(..8) {
        0..5 => answer(200, &stream, stream_of(events, &mut dice)),
        5 | 6 => {
            mutate(&mut document, &mut dice);
            answer(200, &[], document.to_string())
        }
        _ => {
            mutate(&mut error, &mut dice);
            let status = dice.u16(400..600);
            let wait = odd(&mut dice).to_string().replace(['"', '\u{0}'], "");
            let wait = if wait.is_ascii() && wait.len() < 100 {
                wait
            } else {
                String::new()
            };
            answer(status, &[("retry-after", &wait)], error.to_string())
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_wrong_thing_is_an_answer_or_an_error_and_never_more() {
    let server = Server::start(|number, _| mutated(number)).await;
    let providers = [server.provider("lab"), server.provider("anthropic")];
    let mut answered = 0;
    for number in 0..ROUNDS {
        let asked = Request {
            // Nothing is learnt from one answer about the next.
            model: format!("m{number}"),
            ..request()
        };
        match ask(&*providers[number % 2], &asked).await {
            Ok(reply) => {
                answered += 1;
                let usage = reply.usage.unwrap_or_default();
                assert!(usage.total_tokens() <= 5_000_000_000, "{number}: {usage:?}");
            }
            Err(error) => {
                assert!(!error.message.is_empty(), "{number}");
                assert!(!error.message.contains(KEY), "{number}: {error}");
                assert!(error.message.chars().count() < 1500, "{number}: {error}");
            }
        }
        let seen = server.seen.lock().unwrap().len();
        assert_eq!(seen, number + 1, "{number}: one request an attempt");
    }
    assert!((ROUNDS / 4..ROUNDS).contains(&answered), "{answered}");
}
