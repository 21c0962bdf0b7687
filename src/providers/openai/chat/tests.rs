//! The table of streams, and what it does not hold.

use serde_json::json;

use super::*;
use crate::providers::FaultKind;
use crate::providers::StreamFault;
use crate::providers::answer::Delta;
use crate::providers::classify::classify;
use crate::providers::sse::Framer;
use crate::providers::vectors;

struct Outcome {
    answer: Answer,
    deltas: Vec<Delta>,
    result: Result<(), Fault>,
}

/// Feeds a stream as a connection would.
fn outcome(chunks: &[Vec<u8>]) -> Outcome {
    let (mut framer, mut decoder) = (Framer::default(), Decoder::default());
    let mut answer = Answer::default();
    let mut run = || -> Result<bool, Fault> {
        let mut take = |framer: &mut Framer, answer: &mut Answer| {
            while let Some(event) = framer.next() {
                if decoder.event(&event, answer)?.done {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        for chunk in chunks {
            framer.feed(chunk).expect("short lines");
            if take(&mut framer, &mut answer)? {
                return Ok(true);
            }
        }
        framer.end().expect("short lines");
        take(&mut framer, &mut answer)
    };
    let result = run();
    let result = result.and_then(|done| answer.end(done));
    Outcome {
        deltas: std::mem::take(&mut answer.fresh),
        answer,
        result,
    }
}

fn class(fault: &Fault) -> &'static str {
    let kind = match fault {
        Fault::Told(body) => classify(200, body, false),
        Fault::Invalid(_) | Fault::TooLong(_) => FaultKind::Stream(StreamFault::InvalidJson),
        Fault::Foreign(_) => FaultKind::Protocol,
        Fault::Truncated => FaultKind::Stream(StreamFault::Truncated),
        Fault::Empty => FaultKind::Stream(StreamFault::Empty),
    };
    kind.class()
}

/// The outcome in the words of the table.
fn told(outcome: &Outcome) -> Value {
    let mut told = serde_json::Map::new();
    let answer = &outcome.answer;
    match &outcome.result {
        Ok(()) => {
            told.insert("outcome".into(), "ok".into());
            told.insert("finish".into(), json!(answer.finish));
        }
        Err(fault) => {
            told.insert("outcome".into(), "error".into());
            let mut error = json!({"class": class(fault)});
            if let Fault::Told(body) = fault {
                error["message"] = body.message.clone().into();
                if let Some(status) = body.status {
                    error["code"] = status.into();
                } else if !body.code.is_empty() {
                    error["code"] = body.code.clone().into();
                } else if class(fault) == "overloaded" {
                    error["code"] = body.kind.clone().into();
                }
            }
            told.insert("error".into(), error);
            told.insert("retry_safe".into(), (!answer.is_committed()).into());
        }
    }
    for (key, text) in [
        ("content", &answer.text),
        ("reasoning", &answer.reasoning),
        ("refusal", &answer.refusal),
    ] {
        if !text.is_empty() {
            told.insert(key.into(), text.clone().into());
        }
    }
    if let Some(usage) = answer.usage {
        told.insert("usage".into(), json!(usage));
    }
    let calls: Vec<Value> = answer.calls.iter().map(told_call).collect();
    if !calls.is_empty() {
        told.insert("tool_calls".into(), calls.into());
    }
    told.into()
}

fn told_call(call: &ToolCall) -> Value {
    let id = Some(&call.id).filter(|id| !id.is_empty());
    let mut told = json!({"id": id, "name": call.name, "arguments": call.arguments});
    if call.malformed {
        told["malformed"] = true.into();
    }
    if !call.extra.is_null() {
        told["extra_content"] = call.extra.clone();
    }
    told
}

#[test]
fn every_stream_of_the_table_gives_its_answer_whole_and_byte_by_byte() {
    let mut checked = 0;
    for vector in vectors::streams() {
        let mut expected = vector.expect["result"].clone();
        if expected.is_null() {
            continue;
        }
        if let Some(usage) = expected.get_mut("usage") {
            let mut all = Told::default();
            all.add(usage);
            *usage = json!(all.usage());
        }
        for chunks in vector.feeds() {
            let outcome = outcome(&chunks);
            let mut told = told(&outcome);
            if vector.id == "C33" {
                // The words of this error are ours.
                told["error"].as_object_mut().unwrap().remove("message");
            }
            if let Some(deltas) = vector.expect["deltas"].as_array() {
                let handed_out: Vec<Value> = outcome
                    .deltas
                    .iter()
                    .map(|delta| match delta {
                        Delta::Text(text) => json!({"t": "text", "s": text}),
                        Delta::Reasoning(text) => json!({"t": "reasoning", "s": text}),
                    })
                    .collect();
                assert_eq!(&handed_out, deltas, "{}", vector.id);
            }
            // Order of keys means nothing.
            expected.sort_all_objects();
            told.sort_all_objects();
            assert_eq!(told, expected, "{}", vector.id);
        }
        checked += 1;
    }
    assert_eq!(checked, 43);
}

fn stream(events: &[Value]) -> Outcome {
    let events: Vec<Vec<u8>> = events
        .iter()
        .map(|event| format!("data: {event}\n\n").into_bytes())
        .collect();
    outcome(&events)
}

#[test]
fn whole_calls_without_index_and_id_are_told_apart() {
    let call = |name: &str| json!({"function": {"name": name, "arguments": "{}"}});
    let outcome = stream(&[
        json!({"choices": [{"delta": {"tool_calls": [call("f"), call("g")]}}]}),
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    ]);
    assert_eq!(outcome.result, Ok(()));
    let names: Vec<&str> = outcome
        .answer
        .calls
        .iter()
        .map(|call| call.name.as_str())
        .collect();
    assert_eq!(names, ["f", "g"]);
}

#[test]
fn a_count_of_nothing_takes_none_back() {
    let counted = |input: u64, output: u64| json!({"choices": [], "usage": {"prompt_tokens": input, "completion_tokens": output}});
    let end = json!({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]});
    for (told, input, output) in [
        (vec![counted(100, 50), counted(0, 0)], 100, 50),
        (vec![counted(0, 0), counted(100, 50)], 100, 50),
        (vec![counted(100, 1), counted(100, 50)], 100, 50),
        (vec![counted(0, 0)], 0, 0),
    ] {
        let events: Vec<Value> = std::iter::once(end.clone()).chain(told).collect();
        let usage = stream(&events).answer.usage.expect("told");
        assert_eq!((usage.input_tokens, usage.output_tokens), (input, output));
    }
}

#[test]
fn a_stop_without_content_is_empty_and_a_limit_used_up_says_so() {
    let end = |reason: &str| {
        stream(&[json!({"choices": [{"delta": {"reasoning": "hm"}, "finish_reason": reason}]})])
    };
    assert_eq!(end("stop").result, Err(Fault::Empty));
    let cut = end("length");
    assert_eq!(
        (cut.result, cut.answer.finish),
        (Ok(()), Some(Finish::Length))
    );
    assert_eq!(cut.answer.warnings.len(), 1);
    let filtered = end("content_filter");
    assert_eq!(filtered.answer.finish, Some(Finish::ContentFilter));
    assert_eq!(filtered.result, Ok(()));
}

#[test]
fn documents_are_answers_too() {
    let take = |document: &str| {
        let mut answer = Answer::default();
        let result = Decoder::default()
            .document(document.as_bytes(), &mut answer)
            .and_then(|()| answer.end(true));
        (answer, result)
    };
    let (answer, result) = take(
        r#"

        {"model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls", "message":
        {"role": "assistant", "content": null, "tool_calls":
        [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2}}"#,
    );
    assert_eq!(result, Ok(()));
    assert_eq!(answer.calls[0].arguments, r#"{"x":1}"#);
    assert_eq!(answer.usage.expect("told").output_tokens, 2);
    for (document, expected) in [
        (
            r#"[{"error": {"code": 503, "message": "m"}}]"#,
            "overloaded",
        ),
        (r#"{"error": "down"}"#, "server"),
        (
            r#"{"object": "error", "message": "m", "code": 400}"#,
            "protocol",
        ),
        (r#"{"hello": "world"}"#, "protocol"),
        (r#"{"choices": []}"#, "empty"),
        ("{", "invalid_json"),
    ] {
        let fault = take(document).1.expect_err(document);
        assert_eq!(class(&fault), expected, "{document}");
    }
}

#[test]
fn reasoning_details_in_pieces_go_back_whole() {
    let piece = |index: u64, text: &str, signature: Value| {
        json!({"choices": [{"delta": {"content": "", "reasoning_details": [
            {"type": "reasoning.text", "text": text, "signature": signature, "index": index}]}}]})
    };
    let outcome = stream(&[
        piece(0, "a", Value::Null),
        piece(0, "b", "sig".into()),
        piece(1, "c", Value::Null),
        json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]}),
    ]);
    assert_eq!(
        outcome.answer.extra,
        json!([
            {"type": "reasoning.text", "text": "ab", "signature": "sig", "index": 0},
            {"type": "reasoning.text", "text": "c", "signature": null, "index": 1},
        ])
    );
}

#[test]
fn an_answer_without_end_is_refused_at_the_cap() {
    let (mut decoder, mut answer) = (Decoder::default(), Answer::default());
    let event = SseEvent {
        name: String::new(),
        data: json!({"choices": [{"delta": {"content": "x".repeat(1 << 20)}}]}).to_string(),
    };
    let fault = (0..100).find_map(|_| decoder.event(&event, &mut answer).err());
    let long = Fault::TooLong("is longer than 64 MiB".to_owned());
    assert_eq!(fault, Some(long));
}
