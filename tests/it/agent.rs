//! One agent, one prompt: the main job, against a model server on loopback.

use serde_json::{Value, json};

use crate::support::{Context, Stub, agent_config, stub};

#[test]
fn an_answer_streams_to_standard_output_alone() {
    let server = Stub::replies([stub::text("Hello there.")]);
    let context = Context::with_agent(&server.url(), "");
    let ran = context
        .orch(&["--agent", "a", "--prompt", "Say hello."])
        .exits(0);
    assert_eq!(ran.stdout, "Hello there.\n");
    assert!(
        ran.stderr.contains("10 in / 5 out tokens"),
        "{}",
        ran.stderr
    );
    let body = &server.chats()[0].body;
    assert_eq!(body["model"], "stub-model");
    assert_eq!(
        body["messages"],
        json!([{"role": "system", "content": "# a\n\nYou are a."}, {"role": "user", "content": "Say hello."}])
    );
    assert_eq!(body["stream"], true);
    let tools: Vec<&str> = body["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["function"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(tools, ["read", "write", "edit", "glob", "grep", "list_dir"]);
    let quiet = context
        .orch(&["--agent", "a", "--prompt", "x", "--quiet"])
        .exits(0);
    assert_eq!(
        (quiet.stdout.as_str(), quiet.stderr.as_str()),
        ("Hello there.\n", "")
    );
}

#[test]
fn tools_run_and_their_results_go_back_in_order() {
    let server = Stub::replies([
        stub::tool_calls(&[
            ("call_b", "read", json!({"path": "notes.txt"})),
            ("call_a", "list_dir", json!({"path": "."})),
            ("call_c", "bash", json!({"command": "id"})),
        ]),
        stub::text("The notes say 42."),
    ]);
    let context = Context::new();
    context.write(
        "orch.yaml",
        agent_config(&server.url(), "").replace("stub-model", "gpt-4o"),
    );
    context.write("notes.txt", "the answer is 42\n");
    let result = context
        .orch(&["--agent", "a", "--prompt", "Read the notes.", "--json"])
        .exits(0)
        .json();
    assert_eq!(result["output"], "The notes say 42.");
    assert_eq!(result["ok"], true);
    assert_eq!(result["turns"], 2);
    assert_eq!(result["attempts"], 2);
    assert_eq!(result["finish_reason"], "stop");
    assert_eq!(
        result["usage"],
        json!({"input_tokens": 20, "output_tokens": 10, "cache_read_tokens": 0, "cache_write_tokens": 0,
            "reasoning_tokens": 0})
    );
    let tools: Vec<(&str, bool)> = result["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            (
                tool["tool"].as_str().unwrap(),
                tool["ok"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(tools, [("read", true), ("list_dir", true), ("bash", false)]);

    let chats = server.chats();
    assert_eq!(chats.len(), 2);
    let results = chats[1].tool_messages();
    let ids: Vec<&Value> = results
        .iter()
        .map(|message| &message["tool_call_id"])
        .collect();
    assert_eq!(ids, ["call_b", "call_a", "call_c"]);
    assert!(
        results[0]["content"]
            .as_str()
            .unwrap()
            .contains("the answer is 42")
    );
    assert!(
        results[1]["content"]
            .as_str()
            .unwrap()
            .contains("[f] notes.txt")
    );
    let refused = results[2]["content"].as_str().unwrap();
    assert!(
        refused.contains("bash") && refused.contains("read"),
        "{refused}"
    );
    let assistant = &chats[1].body["messages"][2];
    assert_eq!(assistant["tool_calls"][0]["id"], "call_b");
}

#[test]
fn a_priced_model_costs_what_the_table_says() {
    // gpt-4o: 2.5 USD a million tokens in, 10 out: 1000 in and 200 out are 0.0045 USD.
    let server = Stub::replies([stub::text_with_usage("ok", 1000, 200)]);
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "providers:\n  openai: {{base_url: \"{}\"}}\nagents:\n  a: {{role: R, provider: openai, model: gpt4o}}\n",
            server.url()
        ),
    );
    let mut command = context.command(&[
        "--config",
        "orch.yaml",
        "--agent",
        "a",
        "--prompt",
        "x",
        "--json",
    ]);
    command.env("OPENAI_API_KEY", "sk-test-0123456789abcdef");
    let result = crate::support::ran(command.output().unwrap())
        .exits(0)
        .json();
    assert_eq!(result["cost_usd"], "0.004500");
    assert_eq!(result["cost_source"], "computed");
    assert_eq!(result["model"], "openai/gpt-4o");
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_cost_usd"], "0.004500");
    assert_eq!(costs["total_requests"], 1);
    assert_eq!(costs["by_agent"]["a"]["cost_usd"], "0.004500");
    assert_eq!(
        server.chats()[0].headers["authorization"],
        "Bearer sk-test-0123456789abcdef"
    );
}

#[test]
fn max_turns_is_no_success() {
    let server = Stub::start(|_| stub::tool_calls(&[("c", "list_dir", json!({}))]));
    let context = Context::with_agent(&server.url(), "");
    context.write(
        "orch.yaml",
        context
            .read("orch.yaml")
            .replace("tools:", "max_turns: 3, tools:"),
    );
    let result = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(10)
        .json();
    assert_eq!(result["ok"], false);
    assert_eq!(result["error"]["class"], "turn_limit");
    assert_eq!(result["turns"], 3);
    assert_eq!(result["tools"].as_array().unwrap().len(), 3);
    assert_eq!(result["usage"]["input_tokens"], 30);
}

#[test]
fn the_error_of_a_later_turn_throws_nothing_away() {
    let server = Stub::replies([
        stub::tool_calls(&[("c", "write", json!({"path": "made.txt", "content": "x"}))]),
        stub::status(
            401,
            &[],
            r#"{"error":{"message":"bad key","type":"invalid_request_error"}}"#,
        ),
    ]);
    let context = Context::with_agent(&server.url(), "");
    let result = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(4)
        .json();
    assert_eq!(result["error"]["class"], "auth");
    assert_eq!(result["error"]["status"], 401);
    assert_eq!(result["usage"]["input_tokens"], 10);
    assert_eq!(result["tools"][0]["ok"], true);
    assert_eq!(context.read("made.txt"), "x");
}

#[test]
fn a_cut_answer_and_a_filtered_one_are_told() {
    let finish = |reason: &str| {
        let body = format!(
            "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
            stub::chunk(&json!({"content": "partial"}), None),
            stub::chunk(&json!({}), Some(reason))
        );
        stub::status(200, &[("content-type", "text/event-stream")], &body)
    };
    let server = Stub::replies([finish("length"), finish("content_filter")]);
    let context = Context::with_agent(&server.url(), "");
    let cut = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(0)
        .json();
    assert_eq!(cut["finish_reason"], "length");
    assert_eq!(
        cut["warnings"],
        json!(["the answer was cut by the output limit"])
    );
    let filtered = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(1)
        .json();
    assert_eq!(filtered["finish_reason"], "content_filter");
    assert_eq!(filtered["output"], "partial");
    assert_eq!(filtered["error"]["class"], "failed");
}

#[test]
fn conversations_go_on_by_name_and_by_continue() {
    let server = Stub::start(|seen| {
        let count = seen.body["messages"].as_array().unwrap().len();
        stub::text(&format!("{count} messages"))
    });
    let context = Context::with_agent(&server.url(), "");
    let say = |args: &[&str]| {
        let mut all = vec!["--agent", "a", "--prompt", "x", "--json"];
        all.extend(args);
        context.orch(&all).exits(0).json()
    };
    assert_eq!(say(&["--session", "s"])["output"], "2 messages");
    assert_eq!(say(&["--session", "s"])["session"], "s");
    assert_eq!(say(&[])["output"], "2 messages");
    assert_eq!(say(&["--session", "s"])["output"], "6 messages");
    assert_eq!(say(&["--continue"])["output"], "8 messages");
    let nobody = context
        .orch(&[
            "--agent",
            "a",
            "--prompt",
            "x",
            "--session",
            "other",
            "--json",
        ])
        .json();
    assert_eq!(nobody["output"], "2 messages");
}

#[test]
fn events_are_lines_and_the_result_is_the_last() {
    let server = Stub::replies([
        stub::tool_calls(&[("c1", "list_dir", json!({"path": "."}))]),
        stub::text("Done."),
    ]);
    let context = Context::with_agent(&server.url(), "");
    let lines = context
        .orch(&["--agent", "a", "--prompt", "x", "--output", "stream-json"])
        .exits(0)
        .json_lines();
    let types: Vec<&str> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(types.iter().filter(|kind| **kind == "result").count(), 1);
    assert_eq!(types.last(), Some(&"result"));
    assert_eq!(types[0], "run.started");
    for expected in [
        "turn.started",
        "tool.started",
        "tool.finished",
        "text.delta",
        "usage",
    ] {
        assert!(types.contains(&expected), "{expected} in {types:?}");
    }
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], number);
        assert_eq!(line["run_id"], lines[0]["run_id"]);
    }
    assert_eq!(lines.last().unwrap()["output"], "Done.");
}
