//! Streams of the Messages API.

use serde_json::json;

use super::*;
use crate::providers::answer;
use crate::providers::classify::classify;
use crate::usage::Usage;

fn answer_of(events: &[Value]) -> (Answer, Result<(), Fault>) {
    let (mut decoder, mut answer) = (Decoder::default(), Answer::default());
    for event in events {
        let event = SseEvent {
            name: event["type"].as_str().unwrap_or_default().to_owned(),
            data: event.to_string(),
        };
        match decoder.event(&event, &mut answer) {
            Ok(step) if step.done => {
                let result = answer.end(true);
                return (answer, result);
            }
            Ok(_) => {}
            Err(fault) => return (answer, Err(fault)),
        }
    }
    let result = answer.end(false);
    (answer, result)
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "type": "message",
        "role": "assistant", "content": [], "model": "claude-x", "stop_reason": null,
        "usage": {"input_tokens": 10, "cache_creation_input_tokens": 20,
            "cache_read_input_tokens": 30, "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 0}}}})
}

fn begin(index: u64, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
        "usage": {"output_tokens": 15}})
}

fn done() -> Value {
    json!({"type": "message_stop"})
}

#[test]
fn only_counts_of_what_came_out_are_believed() {
    let text = delta(0, &json!({"type": "text_delta", "text": "Hi"}));
    let whole = |told: Value| {
        let end =
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": told});
        let begun = begin(0, &json!({"type": "text", "text": ""}));
        let events = [
            start(),
            begun,
            text.clone(),
            end,
            json!({"type": "message_stop"}),
        ];
        let usage = answer_of(&events).0.usage.expect("told");
        (usage.input_tokens, usage.output_tokens)
    };
    // The count at the beginning is that of the first piece.
    assert_eq!(whole(json!(null)), (60, 0));
    assert_eq!(whole(json!({"output_tokens": 15})), (60, 15));
    // A count of nothing takes none back.
    let zeros = json!({"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 15});
    assert_eq!(whole(zeros), (60, 15));
}

#[test]
fn thinking_text_and_calls_come_together() {
    let (answer, result) = answer_of(&[
        start(),
        json!({"type": "ping"}),
        begin(
            0,
            &json!({"type": "thinking", "thinking": "", "signature": ""}),
        ),
        delta(0, &json!({"type": "thinking_delta", "thinking": "Let me "})),
        delta(0, &json!({"type": "thinking_delta", "thinking": "see."})),
        delta(0, &json!({"type": "signature_delta", "signature": "c2ln"})),
        json!({"type": "content_block_stop", "index": 0}),
        begin(1, &json!({"type": "redacted_thinking", "data": "xyz"})),
        begin(2, &json!({"type": "text", "text": ""})),
        delta(2, &json!({"type": "text_delta", "text": "I read."})),
        begin(
            3,
            &json!({"type": "tool_use", "id": "toolu_1", "name": "read", "input": {}}),
        ),
        delta(3, &json!({"type": "input_json_delta", "partial_json": ""})),
        delta(
            3,
            &json!({"type": "input_json_delta", "partial_json": "{\"path\":"}),
        ),
        delta(
            3,
            &json!({"type": "input_json_delta", "partial_json": "\"a\"}"}),
        ),
        begin(
            4,
            &json!({"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}),
        ),
        stop("tool_use"),
        done(),
    ]);
    assert_eq!(result, Ok(()));
    assert_eq!(
        (answer.text.as_str(), answer.reasoning.as_str()),
        ("I read.", "Let me see.")
    );
    assert_eq!(answer.finish, Some(Finish::ToolCalls));
    assert_eq!(answer.model.as_deref(), Some("claude-x"));
    let calls: Vec<(&str, &str, bool)> = answer
        .calls
        .iter()
        .map(|call| (call.id.as_str(), call.arguments.as_str(), call.malformed))
        .collect();
    assert_eq!(
        calls,
        [
            ("toolu_1", "{\"path\":\"a\"}", false),
            ("toolu_2", "{}", false)
        ]
    );
    assert_eq!(
        answer.usage,
        Some(Usage {
            input_tokens: 60,
            output_tokens: 15,
            cache_read_tokens: 30,
            cache_write_tokens: 20,
            ..Usage::default()
        })
    );
    assert_eq!(
        answer.extra,
        json!([
            {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "I read."},
            {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ])
    );
    assert_eq!(
        answer.fresh,
        [
            answer::Delta::Reasoning("Let me ".to_owned()),
            answer::Delta::Reasoning("see.".to_owned()),
            answer::Delta::Text("I read.".to_owned()),
        ]
    );
}

#[test]
fn every_reason_to_stop_has_its_meaning() {
    for (reason, finish, warnings) in [
        ("end_turn", Finish::Stop, 0),
        ("stop_sequence", Finish::Stop, 0),
        ("max_tokens", Finish::Length, 0),
        ("model_context_window_exceeded", Finish::Length, 0),
        ("pause_turn", Finish::Length, 1),
        ("refusal", Finish::ContentFilter, 0),
    ] {
        let text = begin(0, &json!({"type": "text", "text": "x"}));
        let (answer, result) = answer_of(&[start(), text, stop(reason), done()]);
        assert_eq!((result, answer.finish), (Ok(()), Some(finish)), "{reason}");
        assert_eq!(answer.warnings.len(), warnings, "{reason}");
        assert_eq!(answer.extra, Value::Null);
    }
    let refused = json!({"type": "message_delta", "delta": {"stop_reason": "refusal",
        "stop_details": {"type": "refusal", "explanation": "no"}}});
    let (answer, result) = answer_of(&[start(), refused, done()]);
    assert_eq!((result, answer.refusal.as_str()), (Ok(()), "no"));
}

#[test]
fn bad_ends_are_errors() {
    let text = begin(0, &json!({"type": "text", "text": "half"}));
    let (answer, result) = answer_of(&[start(), text.clone()]);
    assert_eq!(
        (result, answer.is_committed()),
        (Err(Fault::Truncated), true)
    );
    assert_eq!(answer_of(&[start(), done()]).1, Err(Fault::Empty));
    assert_eq!(answer_of(&[start(), text, stop("end_turn")]).1, Ok(()));
    for (error, class) in [
        ("overloaded_error", "overloaded"),
        ("rate_limit_error", "rate_limited"),
        ("api_error", "server"),
        ("invalid_request_error", "bad_request"),
    ] {
        let error = json!({"type": "error", "error": {"type": error, "message": "m"}});
        let Err(Fault::Told(body)) = answer_of(&[start(), error]).1 else {
            panic!("an error is told");
        };
        assert_eq!(classify(200, &body, false).class(), class);
    }
}

#[test]
fn documents_are_answers_too() {
    let take = |document: Value| {
        let mut answer = Answer::default();
        let result = Decoder::default()
            .document(document.to_string().as_bytes(), &mut answer)
            .and_then(|()| answer.end(true));
        (answer, result)
    };
    let (answer, result) = take(json!({"type": "message", "model": "claude-x",
        "content": [{"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}],
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2}}));
    assert_eq!((result, answer.text.as_str()), (Ok(()), "Hi"));
    assert_eq!(answer.calls[0].arguments, r#"{"a":1}"#);
    assert_eq!(answer.usage.expect("told").total_tokens(), 3);
    let told = take(json!({"type": "error", "error": {"type": "api_error", "message": "m"}})).1;
    assert!(matches!(told, Err(Fault::Told(_))), "{told:?}");
    assert!(matches!(take(json!({"a": 1})).1, Err(Fault::Foreign(_))));
}

#[test]
fn an_answer_ends_once() {
    let events: Vec<Value> = std::iter::once(start())
        .chain(std::iter::repeat_n(stop("pause_turn"), 3))
        .chain([stop("refusal"), done()])
        .collect();
    let (answer, result) = answer_of(&events);
    assert_eq!(result, Ok(()));
    assert_eq!(answer.finish, Some(Finish::Length));
    assert_eq!(answer.refusal, "");
    let paused = answer
        .warnings
        .iter()
        .filter(|words| words.contains("paused"));
    assert_eq!(paused.count(), 1);
}

#[test]
fn the_input_of_a_tool_of_the_vendor_goes_back() {
    let search = |input: Value| json!({"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": input});
    let piece = |json: &str| {
        delta(
            0,
            &json!({"type": "input_json_delta", "partial_json": json}),
        )
    };
    let (answer, result) = answer_of(&[
        start(),
        begin(0, &search(json!({}))),
        piece("{\"query\":"),
        piece("\"x\"}"),
        begin(1, &json!({"type": "text", "text": "Found."})),
        stop("end_turn"),
        done(),
    ]);
    assert_eq!(result, Ok(()));
    assert_eq!(answer.extra[0], search(json!({"query": "x"})));
}
