//! Calls of tools, counts and texts that no good server sends.

use serde_json::{Value, json};

use super::row::{Charged, Row, answered, check_all, failed};
use super::script::{
    all, answer, choice, chunk, delta, done, event, finish, last_chunk, stream, usage,
};
use super::server::Step;

const TOLD: (&str, Charged) = ("answered", Charged::Told);

fn begun(more: impl IntoIterator<Item = Step>) -> Vec<Step> {
    all([stream(), more.into_iter().collect()])
}

/// A turn that ends with these pieces of calls.
fn calling(pieces: &[Value]) -> Vec<Step> {
    let pieces = pieces
        .iter()
        .map(|calls| event(&choice(&json!({"tool_calls": calls}), None)));
    begun(pieces.chain([finish("tool_calls"), usage(), done(), last_chunk()]))
}

#[test]
fn calls_that_are_bent_are_mended_or_told_to_the_model() {
    let function = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    let one = |call: Value| vec![json!([call])];
    let good = function("list_dir", json!("{}"));
    let mut rows = Vec::new();
    for (name, pieces, ok) in [
        (
            "good",
            one(json!({"index": 0, "id": "c1", "type": "function", "function": good})),
            true,
        ),
        (
            "no index",
            one(json!({"id": "c1", "type": "function", "function": good})),
            true,
        ),
        ("no id", one(json!({"index": 0, "function": good})), true),
        (
            "an empty id",
            one(json!({"index": 0, "id": "", "function": good})),
            true,
        ),
        (
            "no arguments",
            one(json!({"index": 0, "id": "c1", "function": {"name": "list_dir"}})),
            true,
        ),
        (
            "empty arguments",
            one(json!({"index": 0, "id": "c1", "function": function("list_dir", json!(""))})),
            true,
        ),
        (
            "arguments as an object",
            one(json!({"index": 0, "id": "c1", "function": function("list_dir", json!({}))})),
            true,
        ),
        (
            "arguments that are null",
            one(json!({"index": 0, "id": "c1", "function": function("list_dir", json!("null"))})),
            true,
        ),
        (
            "in pieces",
            vec![
                json!([{"index": 0, "id": "c1", "type": "function", "function": function("list_dir", json!(""))}]),
                json!([{"index": 0, "function": {"arguments": "{\"pa"}}]),
                json!([{"index": 0, "function": {"arguments": "th\": \".\"}"}}]),
            ],
            true,
        ),
        (
            "two in one piece",
            vec![json!([
                {"index": 0, "id": "c1", "function": good},
                {"index": 1, "id": "c2", "function": good},
            ])],
            true,
        ),
        (
            "two of one id",
            vec![json!([
                {"index": 0, "id": "c1", "function": good},
                {"index": 1, "id": "c1", "function": good},
            ])],
            true,
        ),
        (
            "half arguments",
            one(
                json!({"index": 0, "id": "c1", "function": function("list_dir", json!("{\"path\": "))}),
            ),
            false,
        ),
        (
            "arguments that are a list",
            one(json!({"index": 0, "id": "c1", "function": function("list_dir", json!("[1]"))})),
            false,
        ),
        (
            "an unknown tool",
            one(json!({"index": 0, "id": "c1", "function": function("rm", json!("{}"))})),
            false,
        ),
    ] {
        let says = if ok {
            "\"ok\": true,\n      \"ms\""
        } else {
            "\"ok\": false,\n      \"ms\""
        };
        rows.push(Row {
            ledger: vec![TOLD; 2],
            says: vec![r#""output": "yes""#, says],
            ..answered(name, vec![calling(&pieces), answer()])
        });
    }
    check_all(&rows);
}

#[test]
fn counts_of_nonsense_break_nothing() {
    let told = |usage: Value| {
        let usage = event(&json!({"choices": [], "usage": usage}));
        vec![begun([
            delta("yes"),
            finish("stop"),
            usage,
            done(),
            last_chunk(),
        ])]
    };
    let estimate = |name: &str, usage: Value| Row {
        ledger: vec![("answered", Charged::Estimate)],
        ..answered(name, told(usage))
    };
    check_all(&[
        answered(
            "counts as floats",
            told(json!({"prompt_tokens": 1000.0, "completion_tokens": 5.0})),
        ),
        answered(
            "counts by their other names",
            told(json!({"input_tokens": 1000, "output_tokens": 5})),
        ),
        estimate("none", json!(null)),
        estimate("a list", json!([1, 2])),
        estimate(
            "words",
            json!({"prompt_tokens": "ten", "completion_tokens": "five"}),
        ),
        estimate(
            "less than nothing",
            json!({"prompt_tokens": -10, "completion_tokens": -5}),
        ),
        estimate(
            "no number",
            json!({"prompt_tokens": null, "completion_tokens": null}),
        ),
        estimate(
            "nothing",
            json!({"prompt_tokens": 0, "completion_tokens": 0}),
        ),
        estimate(
            "more than there is",
            json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX,
            "completion_tokens_details": {"reasoning_tokens": u64::MAX}}),
        ),
        estimate(
            "far too much",
            json!({"prompt_tokens": 1e30, "completion_tokens": 1e300}),
        ),
    ]);
}

#[test]
fn chunks_of_other_dialects_are_read() {
    let mut bytes: Vec<Step> = Vec::new();
    let text = format!("data: {}\n\n", choice(&json!({"content": "yes"}), None));
    bytes.push(chunk(&text));
    let with = |more: Vec<Step>| {
        vec![begun(all([
            vec![delta("yes")],
            more,
            vec![usage(), done(), last_chunk()],
        ]))]
    };
    let crab = format!(
        "data: {}\n\n",
        choice(&json!({"content": "h\u{e9} \u{1f980}"}), None)
    );
    let apart = crab
        .bytes()
        .map(|byte| Step::Send([b"1\r\n", &[byte][..], b"\r\n"].concat()));
    check_all(&[
        answered(
            "an empty reason in each chunk",
            vec![begun([
                event(&choice(&json!({"content": "yes"}), Some(""))),
                event(&choice(&json!({}), Some("stop"))),
                usage(),
                done(),
                last_chunk(),
            ])],
        ),
        answered(
            "a reason that nobody knows",
            with(vec![finish("eos_token")]),
        ),
        answered(
            "an error that is null",
            with(vec![event(
                &json!({"error": null, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            )]),
        ),
        answered(
            "no choices at first",
            vec![begun([
                event(&json!({"choices": [], "prompt_filter_results": []})),
                delta("yes"),
                finish("stop"),
                usage(),
                done(),
                last_chunk(),
            ])],
        ),
        answered(
            "choices that are null",
            with(vec![event(&json!({"choices": null})), finish("stop")]),
        ),
        answered(
            "a delta that is null",
            with(vec![event(
                &json!({"choices": [{"index": 0, "delta": null, "finish_reason": "stop"}]}),
            )]),
        ),
        answered(
            "content that is null",
            with(vec![event(&choice(
                &json!({"content": null}),
                Some("stop"),
            ))]),
        ),
        answered(
            "a second choice",
            with(vec![
                event(
                    &json!({"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": null}]}),
                ),
                finish("stop"),
            ]),
        ),
        answered(
            "the reason twice",
            with(vec![finish("stop"), finish("stop")]),
        ),
        answered(
            "content in parts",
            vec![begun([
                event(&choice(
                    &json!({"content": [{"type": "text", "text": "yes"}]}),
                    None,
                )),
                finish("stop"),
                usage(),
                done(),
                last_chunk(),
            ])],
        ),
        Row {
            says: vec!["\"output\": \"h\u{e9} \u{1f980}\""],
            ..answered(
                "letters cut in the middle",
                vec![begun(apart.chain([
                    finish("stop"),
                    usage(),
                    done(),
                    last_chunk(),
                ]))],
            )
        },
        failed(
            "an array where an event should be",
            vec![begun([chunk("data: [1, 2]\n\n"), last_chunk()])],
            5,
            [("invalid_json", Charged::Held); 3],
        ),
    ]);
}
