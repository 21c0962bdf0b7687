//! What the Messages API is sent.

use serde_json::json;

use super::*;
use crate::message::ToolResult;
use crate::providers::ModelFacts;

fn wire(request: &Request) -> (Value, Wire) {
    let wire = build(request, "anthropic", Adapted::default());
    (serde_json::from_slice(&wire.body).expect("JSON"), wire)
}

fn user(text: &str) -> Message {
    Message::User {
        text: text.to_owned(),
    }
}

fn request() -> Request {
    Request {
        model: "claude-x".to_owned(),
        system: "Be brief.".to_owned(),
        messages: vec![user("Hello")],
        max_output_tokens: Some(100),
        ..Request::default()
    }
}

fn call(id: &str, name: &str, arguments: &str) -> ToolCall {
    ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        malformed: serde_json::from_str::<Value>(arguments).is_err(),
        ..ToolCall::default()
    }
}

fn result(id: &str, content: &str, is_error: bool) -> ToolResult {
    ToolResult {
        call_id: id.to_owned(),
        tool: "read".to_owned(),
        content: content.to_owned(),
        is_error,
    }
}

#[test]
fn a_single_question_is_plain_and_pays_for_no_cache() {
    let (body, _) = wire(&request());
    assert_eq!(
        body,
        json!({
            "model": "claude-x",
            "max_tokens": 100,
            "stream": true,
            "system": [{"type": "text", "text": "Be brief."}],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        })
    );
}

#[test]
fn a_tool_loop_is_cached_at_system_tools_and_tail() {
    let cached = json!({"type": "ephemeral"});
    let thinking = json!([
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}},
    ]);
    let asked = Request {
        tools: vec![ToolSpec {
            name: "read".to_owned(),
            description: "Reads.".to_owned(),
            parameters: json!({"type": "object"}),
        }],
        messages: vec![
            user("Read a"),
            Message::Assistant(Assistant {
                reasoning: "hm".to_owned(),
                calls: vec![call("toolu_1", "read", r#"{"path":"a"}"#)],
                vendor_extra: thinking.clone(),
                vendor: "anthropic".to_owned(),
                ..Assistant::default()
            }),
            Message::Tool {
                results: vec![result("toolu_1", "", true)],
            },
            user("Go on"),
        ],
        ..request()
    };
    let (body, _) = wire(&asked);
    assert_eq!(
        body["tools"],
        json!([{"name": "read", "description": "Reads.", "input_schema": {"type": "object"},
            "cache_control": cached}])
    );
    assert_eq!(
        body["system"],
        json!([{"type": "text", "text": "Be brief.", "cache_control": cached}])
    );
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [
                {"type": "text", "text": "Read a", "cache_control": cached}]},
            {"role": "assistant", "content": thinking},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true},
                {"type": "text", "text": "Go on", "cache_control": cached}]},
        ])
    );
    let marks = body.to_string().matches("cache_control").count();
    assert!(marks <= 4, "{marks}");
}

#[test]
fn a_history_made_elsewhere_is_made_to_fit() {
    let asked = Request {
        messages: vec![
            user(" "),
            Message::Assistant(Assistant {
                text: "\n".to_owned(),
                calls: vec![call("functions.f:0", "a tool", "[1]"), call("b", "", "{")],
                vendor_extra: json!([{"type": "reasoning.text"}]),
                vendor: "openrouter".to_owned(),
                ..Assistant::default()
            }),
            Message::Tool {
                results: vec![result("functions.f:0", "x", false), result("b", "y", false)],
            },
            Message::Assistant(Assistant::default()),
            user("Hello?"),
        ],
        ..request()
    };
    let (body, _) = wire(&asked);
    let messages = body["messages"].as_array().expect("a list");
    assert_eq!(messages.len(), 3);
    let id = messages[1]["content"][0]["id"].as_str().expect("an id");
    assert!(id.starts_with("call_"), "{id}");
    assert_eq!(
        messages[1]["content"],
        json!([{"type": "tool_use", "id": id, "name": "a_tool", "input": {}},
            {"type": "tool_use", "id": "b", "name": "unnamed", "input": {}}])
    );
    assert_eq!(messages[2]["content"][0]["tool_use_id"], id);
    assert_eq!(messages[2]["content"][2]["text"], "Hello?");
}

#[test]
fn limits_and_temperature_are_what_the_model_takes() {
    let facts = |sampling_params| ModelFacts {
        max_output_tokens: Some(50),
        sampling_params,
        ..ModelFacts::default()
    };
    for (temperature, sampling, sent) in [
        (Some(0.5), true, Some(0.5)),
        (Some(1.7), true, Some(1.0)),
        (Some(0.5), false, None),
        (None, false, None),
    ] {
        let asked = Request {
            temperature,
            facts: Some(facts(sampling)),
            ..request()
        };
        let (body, wire) = wire(&asked);
        assert_eq!(body["temperature"].as_f64(), sent);
        assert_eq!(body["max_tokens"], 50);
        let warned = temperature.is_some() && sent.is_none();
        assert_eq!(wire.warnings.len(), usize::from(warned));
    }
    let asked = Request {
        max_output_tokens: None,
        ..request()
    };
    assert_eq!(wire(&asked).0["max_tokens"], MAX_TOKENS);
}

#[test]
fn a_schema_goes_as_output_format_or_in_words() {
    let strict = json!({"type": "object", "properties": {"a": {"type": "string"}},
        "required": ["a"], "additionalProperties": false});
    let asked = |schema: &Value| Request {
        output_schema: Some(schema.clone()),
        ..request()
    };
    let (body, wire_sent) = wire(&asked(&strict));
    assert_eq!(
        body["output_config"],
        json!({"format": {"type": "json_schema", "schema": strict}})
    );
    assert!(wire_sent.sent.response_format);
    let (body, _) = wire(&asked(&json!({"type": "array"})));
    assert_eq!(body.get("output_config"), None);
    assert_eq!(body["system"].as_array().expect("a list").len(), 2);
    let refused = Adapted {
        no_response_format: true,
        ..Adapted::default()
    };
    let wire = build(&asked(&strict), "anthropic", refused);
    assert!(!String::from_utf8_lossy(&wire.body).contains("output_config"));
}
