//! Answers that are small on the wire and would be large in memory, or long to read.

use serde_json::{Value, json};

use super::bodies::gzip;
use super::row::{Charged, Row, answered, check_all, failed};
use super::script::{all, answer, chunk, done, event, finish, last_chunk, status, stream, usage};
use super::server::Step;

const MANY: usize = 1 << 18;

fn cut(name: &str, script: Vec<Step>, says: &'static str) -> Row {
    Row {
        settings: &[("max_retries", "0")],
        says: vec![says],
        memory: Some(400),
        ..failed(name, vec![script], 5, [("invalid_json", Charged::Held)])
    }
}

fn calls(calls: &str) -> Step {
    chunk(&format!(
        "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{calls}]}}}}]}}\n\n"
    ))
}

/// The same for so many numbers, with commas between.
fn each(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect::<Vec<_>>().join(",")
}

/// A list of so many values.
fn list(values: usize) -> String {
    format!("[{}0]", "0,".repeat(values))
}

#[test]
fn an_answer_of_very_many_calls_is_refused_at_once() {
    let many = "has more than 1024 tool calls";
    let ended = |more: Vec<Step>| {
        all([
            stream(),
            more,
            vec![finish("tool_calls"), done(), last_chunk()],
        ])
    };
    let index = |number| format!("{{\"index\":{number}}}");
    let id = |number| format!("{{\"id\":\"{number}\"}}");
    // The name stands in every piece of a call that is never whole.
    let open = |number: usize| {
        let piece = if number == 0 { "[{}" } else { ",{}" };
        format!("{{\"function\":{{\"name\":\"list_dir\",\"arguments\":\"{piece}\"}}}}")
    };
    let half = MANY / 2 - 10;
    let pieces = MANY / 5;
    check_all(&[
        cut("indices", ended(vec![calls(&each(half, index))]), many),
        cut("ids", ended(vec![calls(&each(half, id))]), many),
        cut(
            "indices of many events",
            ended((0..2000).map(|number| calls(&index(number))).collect()),
            many,
        ),
        Row {
            ledger: vec![
                ("answered", Charged::Beyond),
                ("answered", Charged::Estimate),
            ],
            ..answered(
                "very many pieces of one call",
                vec![
                    all([
                        stream(),
                        vec![
                            calls(&each(pieces, open)),
                            finish("tool_calls"),
                            usage(),
                            done(),
                            last_chunk(),
                        ],
                    ]),
                    answer(),
                ],
            )
        },
    ]);
}

#[test]
fn a_small_body_never_becomes_a_large_value() {
    let values = "has an event of more than 262144 values";
    let long = "longer than 16 MiB";
    let packed = |body: &str| status(200, "content-encoding: gzip", gzip(body.as_bytes()));
    let chat = |values| {
        format!(
            "{{\"choices\":[{{\"message\":{{\"content\":\"hi\",\"reasoning_details\":{}}},\
             \"finish_reason\":\"stop\"}}]}}",
            list(values)
        )
    };
    let messages = |values| {
        format!(
            "{{\"content\":[{{\"type\":\"text\",\"text\":\"hi\"}},{{\"type\":\"x\",\"d\":{}}}],\
             \"stop_reason\":\"end_turn\"}}",
            list(values)
        )
    };
    let choices = format!("data: {{\"choices\":[{}{{}}]}}\n\n", "{},".repeat(4 << 20));
    let (fits, huge) = (7 << 20, 31 << 20);
    let small = |row| Row {
        memory: Some(150),
        ..row
    };
    let anthropic = |row| Row {
        kind: "anthropic",
        ..small(row)
    };
    check_all(&[
        small(cut("a document", packed(&chat(fits)), values)),
        small(cut("a large document", packed(&chat(huge)), long)),
        anthropic(cut("a message", packed(&messages(fits)), values)),
        anthropic(cut("a large message", packed(&messages(huge)), long)),
        small(cut(
            "choices",
            all([stream(), vec![chunk(&choices), last_chunk()]]),
            values,
        )),
    ]);
}

#[test]
fn what_goes_back_verbatim_is_held_up_to_a_cap() {
    let long = "the answer is longer than 64 MiB";
    let data = "x".repeat(1 << 20);
    let flood = |one: &dyn Fn(usize) -> Value| {
        let events = (0..100).map(|number| event(&one(number))).collect();
        all([stream(), events, vec![last_chunk()]])
    };
    let details = |index| {
        json!({"choices": [{"delta": {"reasoning_details":
            [{"type": "reasoning.encrypted", "data": data, "index": index}]}}]})
    };
    // Few bytes, many values.
    let lists = |index| {
        let list = if index < 20 {
            vec![0; MANY / 2]
        } else {
            Vec::new()
        };
        json!({"choices": [{"delta": {"reasoning_details": [{"data": list, "index": index}]}}]})
    };
    let begun = json!({"type": "content_block_start", "index": 0,
        "content_block": {"type": "thinking", "thinking": "a", "signature": ""}});
    let signature = |number| match number {
        0 => begun.clone(),
        _ => json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "signature_delta", "signature": data}}),
    };
    let redacted = |index| {
        json!({"type": "content_block_start", "index": index,
            "content_block": {"type": "redacted_thinking", "data": data}})
    };
    let anthropic = |row| Row {
        kind: "anthropic",
        ..row
    };
    check_all(&[
        cut("details", flood(&details), long),
        cut("details of many values", flood(&lists), long),
        // A piece of its thoughts came.
        anthropic(Row {
            ledger: vec![("invalid_json", Charged::Estimate)],
            ..cut("a signature", flood(&signature), long)
        }),
        anthropic(cut("hidden thinking", flood(&redacted), long)),
    ]);
}
