//! Many agents at once, of which some never answer.

use serde_json::{Value, json};

use crate::support::{Context, Stub, agent_config, stub};

#[test]
fn when_two_of_five_hang_three_answers_and_two_time_outs_are_given() {
    let server = Stub::start(|seen| {
        let system = seen.body["messages"][0]["content"].as_str().unwrap();
        match &system[2..3] {
            "b" | "d" => vec![stub::stream_head(), stub::Do::Hang],
            name => stub::text(&format!("I am {name}")),
        }
    });
    let context = Context::new();
    let agent = |name: &str| format!("  {name}: {{role: R, provider: stub, model: stub-model}}\n");
    let agents = ["a", "b", "c", "d", "e"].map(agent).concat();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0}}\nproviders:\n  stub: {{kind: openai, base_url: \"{}\"}}\nagents:\n{agents}",
            server.url()
        ),
    );
    let all = ["--all", "--prompt", "who?", "--timeout", "8", "--json"];
    let whole = context.orch(&all).exits(8).json();
    assert_eq!(whole["error"]["class"], "partial");
    assert_eq!(whole["error"]["message"], "2 of 5 agents failed: b, d");
    let said: Vec<(&Value, &Value, &Value)> = whole["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["agent"], &one["output"], &one["error"]["class"]))
        .collect();
    let (none, late) = (Value::Null, json!("timeout"));
    let expected = [
        (json!("a"), json!("I am a"), &none),
        (json!("b"), json!(""), &late),
        (json!("c"), json!("I am c"), &none),
        (json!("d"), json!(""), &late),
        (json!("e"), json!("I am e"), &none),
    ];
    let expected: Vec<(&Value, &Value, &Value)> = expected
        .iter()
        .map(|(agent, output, class)| (agent, output, *class))
        .collect();
    assert_eq!(said, expected);
    // Those that answered stay answered: only the others are asked again.
    let id = whole["run_id"].as_str().unwrap();
    context.orch(&["--resume", id, "--timeout", "4"]).exits(8);
    assert_eq!(server.chats().len(), 7);
}

#[test]
fn warnings_of_several_agents_are_told_with_their_names() {
    let server = Stub::start(|_| {
        stub::sse(&[
            stub::chunk(&json!({"role": "assistant", "content": "cut of"}), None),
            stub::chunk(&json!({}), Some("length")),
            stub::usage(10, 5),
        ])
    });
    let context = Context::new();
    let second = "  b: {role: R, provider: stub, model: stub-model}\n";
    context.write("orch.yaml", agent_config(&server.url(), second));
    let all = ["--all", "--prompt", "x"];
    let whole = context.orch(&[&all[..], &["--json"]].concat()).exits(0);
    let whole = whole.json();
    let said = |index: usize| {
        let words = whole["results"][index]["warnings"][0].as_str().unwrap();
        words.to_owned()
    };
    let expected = [format!("a: {}", said(0)), format!("b: {}", said(1))];
    assert_eq!(whole["warnings"], json!(expected));
    let told = context.orch(&all).exits(0).stderr;
    for words in expected {
        assert_eq!(told.matches(&words).count(), 1, "{told}");
        assert!(told.contains(&format!("warning: {words}")), "{told}");
    }
}
