//! What a server bills and does not show: prompts that it does not count, thoughts that it hides, models that it puts
//! in place of others, answers that go on past their limit.

use std::process::Stdio;

use serde_json::json;

use super::{money, priced};
use crate::support::{Context, Ran, Stub, ran, stub};

/// A provider of the list, with its own prices, served here.
fn listed(url: &str, model: &str) -> String {
    format!(
        "settings: {{max_retries: 0, clocks: {{first_event: 0.5, idle: 0.5}}}}\nproviders:\n  \
         openai: {{base_url: \"{url}\", api_key_env: KEY}}\nagents:\n  \
         a: {{role: R, provider: openai, model: {model}, tools: [], max_output_tokens: 1000}}\n"
    )
}

/// Asks the agent, with the key that its provider wants.
fn ask(context: &Context, arguments: &[&str]) -> Ran {
    let prompt = ["--config", "orch.yaml", "--agent", "a", "--prompt", "x"];
    let mut command = context.command(&[&prompt[..], arguments].concat());
    ran(command
        .env("KEY", "k")
        .stdin(Stdio::null())
        .output()
        .unwrap())
}

/// What the ledger says: spent and held, picodollars.
fn costs(context: &Context) -> (i64, i64) {
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    (money(&costs["total_cost_usd"]), money(&costs["held_usd"]))
}

/// Every turn is charged its whole prompt, also after a first one whose prompt was not counted.
#[test]
fn a_prompt_that_the_server_does_not_count_is_charged_in_every_turn() {
    for count in [json!(null), json!(0), json!(1)] {
        let told = count.clone();
        let server = Stub::start(move |seen| {
            let (delta, finish) = if seen.number % 5 < 4 {
                let call = json!({"index": 0, "id": "c", "type": "function",
                    "function": {"name": "read", "arguments": "{\"path\": \"words.txt\"}"}});
                (json!({"tool_calls": [call]}), "tool_calls")
            } else {
                (json!({"content": "done"}), "stop")
            };
            let mut usage = stub::usage(0, 5);
            usage["usage"]["prompt_tokens"] = told.clone();
            stub::sse(&[
                stub::chunk(&delta, None),
                stub::chunk(&json!({}), Some(finish)),
                usage,
            ])
        });
        let context = Context::new();
        context.write("words.txt", "twenty thousand bytes of words ".repeat(650));
        let yaml = priced(
            &server.url(),
            1.0,
            1.0,
            "",
            "tools: [read], max_output_tokens: 50",
        );
        context.write("orch.yaml", yaml);
        let result = ask(&context, &["--json"]).exits(0).json();
        assert_eq!(result["turns"], 5, "{result:#}");
        // A quarter of the bytes that were sent, in tokens at a microdollar each; there was more than the files.
        let sent: usize = (0..5).map(|turn| turn * 20_150).sum();
        let least = i64::try_from(sent / 4).unwrap() * 1_000_000;
        let cost = money(&result["cost_usd"]);
        assert!(
            (least..2 * least).contains(&cost),
            "{count}: {cost} {least}"
        );
        assert_eq!(result["cost_source"], "estimated", "{count}");
        // And a budget stops it where it would be exceeded.
        let refused = ask(&context, &["--json", "--budget", "0.05"])
            .exits(7)
            .json();
        assert!(money(&refused["cost_usd"]) <= 50_000_000_000, "{refused:#}");
    }
}

/// The head of an answer, or the text of one that was thought out before, tells nothing of its cost.
#[test]
fn a_call_that_was_cut_before_its_cost_could_be_seen_stays_at_its_hold() {
    let head = stub::chunk(&json!({"role": "assistant", "content": ""}), None);
    let begun = stub::chunk(&json!({"content": "begun, and more"}), None);
    // 1000 tokens at 2 and at 10 USD a million, and the prompt.
    for (model, events, holds) in [
        ("gpt-4o", vec![head.clone()], Some(10_000_000_000)),
        ("gpt-4o", vec![head.clone(), begun.clone()], None),
        ("gpt-5-mini", vec![head.clone()], Some(2_000_000_000)),
        ("gpt-5-mini", vec![head, begun], Some(2_000_000_000)),
    ] {
        let shown = events.clone();
        let server = Stub::start(move |_| {
            let mut actions = vec![stub::stream_head()];
            actions.extend(shown.iter().map(stub::event));
            actions.push(stub::Do::Hang);
            actions
        });
        let context = Context::new();
        context.write("orch.yaml", listed(&server.url(), model));
        ask(&context, &[]).exits(6);
        let (spent, held) = costs(&context);
        match holds {
            Some(output) => assert!(
                spent == 0 && held > output,
                "{model} {events:?}: {spent} {held}"
            ),
            None => assert!(spent > 0 && held == 0, "{model} {events:?}: {spent} {held}"),
        }
    }
}

/// An answer that ended for its length has as many tokens as it was given, whatever was seen of them.
#[test]
fn an_answer_that_took_all_of_its_tokens_is_charged_them_where_none_are_told() {
    let server = Stub::start(|_| {
        stub::sse(&[
            stub::chunk(&json!({"content": "short"}), None),
            stub::chunk(&json!({}), Some("length")),
        ])
    });
    let context = Context::new();
    let yaml = priced(&server.url(), 0.0, 1000.0, "", "max_output_tokens: 300");
    context.write("orch.yaml", yaml);
    let result = ask(&context, &["--json"]).exits(0).json();
    assert_eq!(result["finish_reason"], "length");
    assert_eq!(result["cost_usd"], "0.300000");
    assert_eq!(result["cost_source"], "estimated");
}

/// A dearer model than the one that was asked is charged as what it is, and told of once.
#[test]
fn a_dearer_model_that_answers_is_charged_at_its_own_price() {
    let server = Stub::start(|_| {
        let mut chunks = [
            stub::chunk(&json!({"content": "ok"}), None),
            stub::chunk(&json!({}), Some("stop")),
            stub::usage(1000, 100),
        ];
        for chunk in &mut chunks {
            chunk["model"] = json!("gpt-4o-2024-08-06");
        }
        stub::sse(&chunks)
    });
    let context = Context::new();
    context.write("orch.yaml", listed(&server.url(), "gpt-4o-mini"));
    let result = ask(&context, &["--json"]).exits(0).json();
    // 1000 tokens at 2.50 and 100 at 10 USD a million.
    assert_eq!(result["cost_usd"], "0.003500");
    assert_eq!(
        result["warnings"],
        json!(["`gpt-4o-2024-08-06` answered, which costs more than the model that was asked"])
    );
}

/// Who writes on past the limit that it was given is cut off; what came is kept and charged.
#[test]
fn an_answer_that_goes_on_past_its_limit_is_cut_off() {
    let server = Stub::start(|_| {
        let mut actions = vec![stub::stream_head()];
        let piece = stub::event(&stub::chunk(
            &json!({"content": "and on ".repeat(100)}),
            None,
        ));
        actions.extend(std::iter::repeat_n(piece, 100));
        actions.push(stub::Do::Hang);
        actions
    });
    let context = Context::new();
    let yaml = priced(&server.url(), 0.0, 1.0, "", "max_output_tokens: 1000");
    context.write("orch.yaml", yaml);
    let result = ask(&context, &["--json"]).exits(0).json();
    assert_eq!(result["finish_reason"], "length");
    // Sixteen bytes a token, some more, and one piece.
    let text = result["output"].as_str().unwrap().len();
    assert!((20_096..=20_096 + 45_000).contains(&text), "{text}");
    assert_eq!(
        result["warnings"],
        json!([
            "the server wrote on past `max_output_tokens`, and was cut off",
            "the answer was cut by the output limit"
        ])
    );
    let charged = i64::try_from(text.div_ceil(3) * 6 / 5).unwrap() * 1_000_000;
    let cost = money(&result["cost_usd"]);
    assert!(
        (charged..charged + 2_000_000).contains(&cost),
        "{cost} {charged}"
    );
    assert_eq!(costs(&context), (cost, 0));
}
