//! What each vendor is sent.

use serde_json::json;

use super::*;
use crate::message::ToolResult;
use crate::providers::ModelFacts;
use crate::providers::vendors;

fn quirks(vendor: &str) -> &'static Quirks {
    vendors::find(vendor).map_or(&vendors::UNKNOWN, |vendor| &vendor.quirks)
}

fn wire(vendor: &str, request: &Request) -> (Value, Wire) {
    adapted(vendor, request, Adapted::default())
}

fn adapted(vendor: &str, request: &Request, adapted: Adapted) -> (Value, Wire) {
    let wire = build(
        request,
        Dialect {
            name: vendor,
            quirks: quirks(vendor),
            adapted,
        },
    );
    (serde_json::from_slice(&wire.body).expect("JSON"), wire)
}

fn user(text: &str) -> Message {
    Message::User {
        text: text.to_owned(),
    }
}

fn read_tool() -> ToolSpec {
    ToolSpec {
        name: "read".to_owned(),
        description: "Reads a file.".to_owned(),
        parameters: json!({"$schema": "x", "type": "object", "properties": {"path": {"type": "string"}}}),
    }
}

fn request(model: &str) -> Request {
    Request {
        model: model.to_owned(),
        system: "Be brief.".to_owned(),
        messages: vec![user("Hello")],
        max_output_tokens: Some(100),
        ..Request::default()
    }
}

/// A conversation in the middle of a tool loop.
fn in_a_loop(vendor: &str) -> Request {
    let call = ToolCall {
        id: "functions.read:0".to_owned(),
        name: "read".to_owned(),
        arguments: r#"{"path":"a"}"#.to_owned(),
        extra: json!({"google": {"thought_signature": "c2ln"}}),
        ..ToolCall::default()
    };
    let broken = ToolCall {
        id: "b".to_owned(),
        arguments: "{".to_owned(),
        malformed: true,
        extra: Value::Null,
        ..call.clone()
    };
    let result = |id: &str, content: &str| ToolResult {
        call_id: id.to_owned(),
        tool: "read".to_owned(),
        content: content.to_owned(),
        is_error: false,
    };
    Request {
        messages: vec![
            user("Read a"),
            Message::Assistant(Assistant {
                reasoning: "hm".to_owned(),
                calls: vec![call, broken],
                vendor: vendor.to_owned(),
                vendor_extra: json!([{"type": "reasoning.text", "text": "hm"}]),
                ..Assistant::default()
            }),
            Message::Tool {
                results: vec![result("functions.read:0", "text of a"), result("b", "")],
            },
        ],
        tools: vec![read_tool()],
        ..request("m")
    }
}

#[test]
fn an_unknown_host_gets_what_is_safe() {
    let (body, wire) = wire("lab", &in_a_loop("lab"));
    assert_eq!(
        body,
        json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Read a"},
                {"role": "assistant", "tool_calls": [
                    {"id": "functions.read:0", "type": "function",
                     "function": {"name": "read", "arguments": "{\"path\":\"a\"}"}},
                    {"id": "b", "type": "function", "function": {"name": "read", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "functions.read:0", "content": "text of a"},
                {"role": "tool", "tool_call_id": "b", "content": "(no output)"},
            ],
            "max_tokens": 100,
            "stream": true,
            "stream_options": {"include_usage": true},
            "tools": [{"type": "function", "function": {"name": "read",
                "description": "Reads a file.",
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}}],
        })
    );
    assert!(!String::from_utf8_lossy(&wire.body).contains("null"));
    assert_eq!(wire.warnings, Vec::<String>::new());
}

#[test]
fn output_limit_and_temperature_go_as_the_model_takes_them() {
    for (vendor, model, field, temperature, sent) in [
        ("openai", "gpt-4o", "max_tokens", 0.5, Some(0.5)),
        ("openai", "gpt-5-chat", "max_tokens", 0.5, Some(0.5)),
        ("openai", "gpt-6.1-sol", "max_completion_tokens", 0.5, None),
        ("openai", "o3-mini", "max_completion_tokens", 0.5, None),
        (
            "openai",
            "ft:o4-mini-2025",
            "max_completion_tokens",
            0.5,
            None,
        ),
        ("openai", "omni", "max_tokens", 0.5, Some(0.5)),
        ("mistral", "m", "max_tokens", 0.0, Some(0.0)),
        ("groq", "m", "max_tokens", 0.0, Some(1e-8)),
        ("lab", "gpt-6", "max_tokens", 0.5, Some(0.5)),
    ] {
        let asked = Request {
            temperature: Some(temperature),
            ..request(model)
        };
        let (body, wire) = wire(vendor, &asked);
        assert_eq!(body[field], 100, "{vendor} {model}");
        assert_eq!(wire.sent.max_tokens, Some(field));
        assert_eq!(body["temperature"].as_f64(), sent, "{vendor} {model}");
        assert_eq!(wire.warnings.len(), usize::from(sent.is_none()));
    }
    let no_sampling = Request {
        temperature: Some(0.5),
        facts: Some(ModelFacts {
            sampling_params: false,
            ..ModelFacts::default()
        }),
        ..request("m")
    };
    let (body, wire) = wire("gemini", &no_sampling);
    assert_eq!((body.get("temperature"), wire.warnings.len()), (None, 1));
}

#[test]
fn what_was_refused_once_is_not_sent_again() {
    let asked = Request {
        temperature: Some(0.5),
        output_schema: Some(json!({"type": "object", "properties": {}})),
        ..in_a_loop("openai")
    };
    let everything = Adapted {
        other_max_tokens: true,
        no_temperature: true,
        no_stream_options: true,
        no_response_format: true,
        text_tools: true,
        no_thinking: false,
    };
    let (body, wire) = adapted("openai", &asked, everything);
    let keys: Vec<&String> = body.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        ["model", "messages", "max_completion_tokens", "stream"]
    );
    assert!(wire.text_tools);
    let system = body["messages"][0]["content"].as_str().expect("a text");
    assert!(system.starts_with("Be brief.\n\n## Tools"), "{system}");
    assert!(system.contains("JSON Schema below"), "{system}");
    assert_eq!(body["messages"][2]["role"], "assistant");
    assert_eq!(body["messages"][3]["role"], "user");
}

#[test]
fn what_a_vendor_wants_back_goes_back_to_it_alone() {
    let assistant = |vendor: &str, by: &str| {
        let (body, _) = wire(vendor, &in_a_loop(by));
        body["messages"][2].clone()
    };
    let signature = "/tool_calls/0/extra_content/google/thought_signature";
    let gemini = assistant("gemini", "gemini");
    assert_eq!(gemini.pointer(signature), Some(&json!("c2ln")));
    assert_eq!(gemini["tool_calls"][1].get("extra_content"), None);
    let foreign = assistant("gemini", "openai");
    assert_eq!(foreign.pointer(signature), Some(&json!(NO_SIGNATURE)));
    assert_eq!(foreign["tool_calls"][1].get("extra_content"), None);
    assert_eq!(assistant("openai", "gemini").pointer(signature), None);

    for (vendor, field) in [
        ("deepseek", "reasoning_content"),
        ("vllm", "reasoning"),
        ("openrouter", "reasoning_details"),
    ] {
        assert!(assistant(vendor, vendor).get(field).is_some(), "{vendor}");
        assert!(assistant(vendor, "openai").get(field).is_none(), "{vendor}");
    }
    // An earlier turn's reasoning stays away.
    let mut later = in_a_loop("deepseek");
    later.messages.push(user("And b?"));
    let (body, _) = wire("deepseek", &later);
    assert_eq!(body["messages"][2].get("reasoning_content"), None);
    assert_eq!(assistant("xai", "xai")["content"], "");
}

#[test]
fn call_ids_are_as_the_vendor_takes_them_in_both_places() {
    for (vendor, by, kept) in [
        ("lab", "lab", true),
        ("openai", "lab", false),
        ("mistral", "mistral", false),
    ] {
        let (body, _) = wire(vendor, &in_a_loop(by));
        let id = body["messages"][2]["tool_calls"][0]["id"].clone();
        assert_eq!(body["messages"][3]["tool_call_id"], id, "{vendor}");
        assert_eq!(id == "functions.read:0", kept, "{vendor}");
    }
}

#[test]
fn a_schema_goes_by_the_vendors_own_way() {
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]});
    let asked = |tools: bool| Request {
        output_schema: Some(schema.clone()),
        tools: if tools { vec![read_tool()] } else { Vec::new() },
        ..request("m")
    };
    for (vendor, tools, format, in_words) in [
        ("openai", true, Some("json_schema"), false),
        ("gemini", false, Some("json_schema"), false),
        ("ollama", false, Some("json_schema"), false),
        ("ollama", true, None, true),
        ("fireworks_ai", true, None, true),
        ("deepseek", false, Some("json_object"), true),
        ("deepseek", true, None, true),
        ("groq", false, None, true),
        ("lab", false, None, true),
    ] {
        let (body, wire) = wire(vendor, &asked(tools));
        assert_eq!(body["response_format"]["type"].as_str(), format, "{vendor}");
        assert_eq!(wire.sent.response_format, format.is_some());
        let system = body["messages"][0]["content"].as_str().expect("a text");
        assert_eq!(system.contains("JSON Schema"), in_words, "{vendor}");
    }
    let (body, _) = wire("openai", &asked(false));
    assert_eq!(body["response_format"]["json_schema"]["strict"], true);
}

#[test]
fn an_empty_answer_of_the_history_is_left_out_and_openrouter_is_asked_for_the_cost() {
    let mut asked = request("m");
    asked
        .messages
        .push(Message::Assistant(Assistant::default()));
    asked.messages.push(user("Still there?"));
    let (body, _) = wire("openrouter", &asked);
    assert_eq!(body["messages"].as_array().expect("a list").len(), 3);
    assert_eq!(body["usage"], json!({"include": true}));
}
