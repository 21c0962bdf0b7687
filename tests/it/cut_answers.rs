//! Answers that a limit or a filter of the vendor cut: what they ask for is not run by guess, and the conversation
//! goes on after them.

use serde_json::{Value, json};

use crate::support::stub::{Do, Seen};
use crate::support::{Context, Ran, Stub, agent_config, stub};

fn anthropic(url: &str) -> Context {
    let context = Context::new();
    context.write(
        "orch.yaml",
        agent_config(url, "").replace("kind: openai", "kind: anthropic"),
    );
    context
}

fn ask(context: &Context, prompt: &str) -> Ran {
    context.orch(&[
        "--agent",
        "a",
        "--session",
        "s",
        "--json",
        "--prompt",
        prompt,
    ])
}

/// A whole answer of the Messages API.
fn message(blocks: &[(Value, Vec<Value>)], reason: &str) -> Vec<Do> {
    let mut events = vec![json!({"type": "message_start",
        "message": {"model": "m", "usage": {"input_tokens": 10, "output_tokens": 1}}})];
    for (index, (block, deltas)) in blocks.iter().enumerate() {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        let delta = |delta| json!({"type": "content_block_delta", "index": index, "delta": delta});
        events.extend(deltas.iter().map(delta));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(
        json!({"type": "message_delta", "delta": {"stop_reason": reason},
        "usage": {"output_tokens": 5}}),
    );
    events.push(json!({"type": "message_stop"}));
    stub::sse(&events)
}

fn text(text: &str) -> (Value, Vec<Value>) {
    (json!({"type": "text", "text": text}), Vec::new())
}

fn thinking(signature: &str) -> (Value, Vec<Value>) {
    let mut deltas = vec![json!({"type": "thinking_delta", "thinking": "hm"})];
    if !signature.is_empty() {
        deltas.push(json!({"type": "signature_delta", "signature": signature}));
    }
    let block = json!({"type": "thinking", "thinking": "", "signature": ""});
    (block, deltas)
}

fn call() -> (Value, Vec<Value>) {
    let block = json!({"type": "tool_use", "id": "t1", "name": "list_dir", "input": {}});
    (block, Vec::new())
}

fn chat_call(name: &str, arguments: &str, finish: &str) -> Vec<Do> {
    let call = json!({"index": 0, "id": "t1", "type": "function",
        "function": {"name": name, "arguments": arguments}});
    stub::sse(&[
        stub::chunk(&json!({"tool_calls": [call]}), None),
        stub::chunk(&json!({}), Some(finish)),
        stub::usage(10, 5),
    ])
}

#[test]
fn a_call_whose_arguments_a_limit_cut_away_is_not_run() {
    let chat = chat_call("list_dir", "", "length");
    let server = Stub::replies([chat, stub::text("done")]);
    let context = Context::with_agent(&server.url(), "");
    let result = ask(&context, "x").exits(0).json();
    assert_eq!(result["tools"][0]["ok"], false, "{result:#}");
    assert_eq!(result["output"], "done");
    let told = server.chats()[1].tool_messages();
    let told = told[0]["content"].as_str().unwrap();
    assert!(told.contains("nothing was run"), "{told}");

    for reason in ["max_tokens", "model_context_window_exceeded", "pause_turn"] {
        let server = Stub::replies([
            message(&[call()], reason),
            message(&[text("done")], "end_turn"),
        ]);
        let result = ask(&anthropic(&server.url()), "x").exits(0).json();
        assert_eq!(result["tools"][0]["ok"], false, "{reason}: {result:#}");
    }

    // A tool that needs nothing may be called so by an answer that is whole.
    let whole = chat_call("list_dir", "", "tool_calls");
    let server = Stub::replies([whole, stub::text("done")]);
    let context = Context::with_agent(&server.url(), "");
    let result = ask(&context, "x").exits(0).json();
    assert_eq!(result["tools"][0]["ok"], true, "{result:#}");
}

#[test]
fn a_filtered_answer_runs_nothing_and_no_words_of_ours_go_back() {
    let write = r#"{"path": "made", "content": "x"}"#;
    let chat = Stub::replies([
        chat_call("write", write, "content_filter"),
        stub::text("fine"),
    ]);
    let messages = Stub::replies([
        message(&[call()], "refusal"),
        message(&[text("fine")], "end_turn"),
    ]);
    for (server, context) in [
        (&chat, Context::with_agent(&chat.url(), "")),
        (&messages, anthropic(&messages.url())),
    ] {
        let ran = ask(&context, "one").exits(1);
        let error = ran.json()["error"]["message"].to_string();
        assert!(error.contains("content filter"), "{error}");
        assert_eq!(ran.json()["tools"], json!([]));
        assert_eq!(server.chats().len(), 1);
        assert!(!context.work().join("made").exists());

        assert_eq!(ask(&context, "two").exits(0).json()["output"], "fine");
        let sent = server.chats()[1].body["messages"].to_string();
        assert!(sent.contains("two"), "{sent}");
        for never in ["tool_call", "tool_use", "the vendor stopped"] {
            assert!(!sent.contains(never), "{never}: {sent}");
        }
    }
}

/// Answers a request as the API does; `first` is the answer to the first one.
fn strict(seen: &Seen, first: &[(Value, Vec<Value>)]) -> Vec<Do> {
    let refused = |words: &str| {
        let error = json!({"type": "error",
            "error": {"type": "invalid_request_error", "message": words}});
        stub::status(400, &[], &error.to_string())
    };
    for said in seen.body["messages"].as_array().unwrap() {
        let content = said["content"].as_array().unwrap();
        let is_thinking = |block: &Value| block["type"] == "thinking";
        if content
            .iter()
            .any(|block| is_thinking(block) && block["signature"] == "")
        {
            return refused("messages.1.content.0: Invalid `signature` in `thinking` block");
        }
        if said["role"] == "assistant" && content.last().is_none_or(is_thinking) {
            return refused(
                "messages.1: The final block in an assistant message cannot be `thinking`.",
            );
        }
    }
    match seen.number {
        0 => message(first, "max_tokens"),
        _ => message(&[text("fine")], "end_turn"),
    }
}

#[test]
fn a_conversation_goes_on_after_an_answer_that_was_cut_while_it_thought() {
    for first in [
        vec![thinking("")],
        vec![thinking("sig")],
        vec![thinking("sig"), text("half"), thinking("")],
        vec![thinking("sig"), text("half"), thinking("sig")],
    ] {
        let begun = first.clone();
        let server = Stub::start(move |seen| strict(seen, &begun));
        let context = anthropic(&server.url());
        ask(&context, "one");
        let result = ask(&context, "two").exits(0).json();
        assert_eq!(result["output"], "fine", "{first:?}");
        assert_eq!(server.chats().len(), 2, "{first:?}");
        let sent = server.chats()[1].body["messages"].to_string();
        let kept = first.len() > 1;
        assert_eq!(sent.contains("half"), kept, "{sent}");
        // What was signed goes back in its place.
        assert_eq!(sent.contains("\"signature\":\"sig\""), kept, "{sent}");
    }
}

#[test]
fn thinking_that_the_api_refuses_is_left_out_and_the_prompt_answered() {
    let server = Stub::start(|seen| {
        if seen.body.to_string().contains("\"thinking\"") {
            let error = json!({"type": "error", "error": {"type": "invalid_request_error",
                "message": "messages.1.content.0: Invalid `signature` in `thinking` block"}});
            return stub::status(400, &[], &error.to_string());
        }
        message(&[thinking("old"), text("fine")], "end_turn")
    });
    let context = anthropic(&server.url());
    ask(&context, "one").exits(0);
    let result = ask(&context, "two").exits(0).json();
    assert_eq!(result["output"], "fine");
    let warnings = result["warnings"].to_string();
    assert!(warnings.contains("was left out"), "{warnings}");
    assert_eq!(server.chats().len(), 3);
    let sent = server.chats()[2].body["messages"].to_string();
    assert!(sent.contains("fine"), "{sent}");
}

#[test]
fn what_a_vendor_refuses_is_not_to_be_asked_again() {
    let refused = stub::status(400, &[], r#"{"error": {"message": "no"}}"#);
    let server = Stub::replies([refused]);
    let context = Context::with_agent(&server.url(), "");
    let ran = context.orch(&["--agent", "a", "--prompt", "x", "--json"]);
    assert_eq!(ran.exits(5).json()["error"]["hint"], Value::Null);

    let broken = stub::status(500, &[], r#"{"error": {"message": "no"}}"#);
    let server = Stub::replies([broken]);
    let context = Context::with_agent(&server.url(), "");
    let ran = context.orch(&["--agent", "a", "--prompt", "x", "--json"]);
    let hint = ran.exits(5).json()["error"]["hint"].to_string();
    assert!(hint.contains("--resume"), "{hint}");
}

#[test]
fn a_proxy_that_wants_a_login_is_asked_once() {
    let server = Stub::replies([stub::status(407, &[], "")]);
    let context = Context::new();
    context.write(
        "orch.yaml",
        "settings: {max_retries: 2, retry_delay: 0.05}\n\
         providers:\n  lab: {kind: openai, base_url: \"https://192.0.2.1/v1\", api_key_env: LAB_KEY}\n\
         agents:\n  a: {role: R, provider: lab, model: m, tools: []}\n",
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
    command
        .env("LAB_KEY", "sk-proxy-0123456789")
        .env("HTTPS_PROXY", format!("http://{}", server.address()));
    let ran = crate::support::ran(command.output().unwrap()).exits(5);
    assert_eq!(server.seen().len(), 1, "{ran:#?}");
    let hint = ran.json()["error"]["hint"].to_string();
    assert!(hint.contains("HTTPS_PROXY"), "{hint}");
}
