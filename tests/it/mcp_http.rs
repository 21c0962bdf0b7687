//! MCP servers that speak over HTTP: their tools are called as those of any other server.

use std::sync::Mutex;

use serde_json::{Value, json};

use crate::support::stub::{self, Do};
use crate::support::{Context, Stub};

/// A server that speaks streamable HTTP: single answers as JSON, calls of tools as streams, in a session
/// that the client has to name and to end.
fn mcp_server() -> Stub {
    let session = Mutex::new(false);
    Stub::start(move |seen| {
        let mut open = session.lock().unwrap();
        if seen.headers.get("x-key").map(String::as_str) != Some("a value") {
            return stub::status(401, &[], "");
        }
        let named = seen.headers.get("mcp-session-id").map(String::as_str) == Some("s1");
        let body = &seen.body;
        let method = body["method"].as_str().unwrap_or_default();
        if method != "initialize" && !(*open && named) {
            return stub::status(404, &[], "");
        }
        match (seen.method.as_str(), method) {
            ("POST", "initialize") => {
                *open = true;
                let result = json!({
                    "protocolVersion": body["params"]["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "stub", "version": "1"},
                });
                let answer = answer(body, &result).to_string();
                stub::status(200, &[("mcp-session-id", "s1")], &answer)
            }
            ("POST", "tools/list") => {
                let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}});
                let tools = json!({"tools": [
                    {"name": "echo", "description": "Says it again.", "inputSchema": schema},
                    {"name": "fail", "inputSchema": {"type": "object"}},
                ]});
                stub::status(200, &[], &answer(body, &tools).to_string())
            }
            ("POST", "tools/call") => call(body),
            ("POST", _) => stub::status(202, &[], ""),
            ("DELETE", _) => {
                *open = false;
                stub::status(200, &[], "")
            }
            // It starts no conversation by itself.
            _ => stub::status(405, &[], ""),
        }
    })
}

fn answer(request: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": request["id"], "result": result})
}

/// A call is answered with a stream: something that is no answer, then the answer.
fn call(request: &Value) -> Vec<Do> {
    let text = request["params"]["arguments"]["text"]
        .as_str()
        .unwrap_or("nothing");
    let result = json!({
        "content": [{"type": "text", "text": format!("echo: {text}")}],
        "isError": request["params"]["name"] == "fail",
    });
    let news = json!({"jsonrpc": "2.0", "method": "notifications/message",
        "params": {"level": "info", "data": "soon"}});
    vec![
        stub::stream_head(),
        stub::piece(&format!("event: message\ndata: {news}\n\n")),
        stub::piece(&format!(
            "event: message\ndata: {}\n\n",
            answer(request, &result)
        )),
        stub::stream_end(),
    ]
}

fn context(model: &Stub, entries: &str, named: &str) -> Context {
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0}}\n\
             providers:\n  stub: {{kind: openai, base_url: \"{}\"}}\n\
             mcp_servers:\n{entries}\
             agents:\n  a: {{role: R, provider: stub, model: m, mcp_servers: [{named}]}}\n",
            model.url()
        ),
    );
    context
}

fn entry(server: &Stub, key: &str) -> String {
    let address = server.address();
    format!("  web: {{url: \"http://{address}/mcp\", headers: {{x-key: {key}}}, timeout: 20}}\n")
}

#[test]
fn tools_of_a_server_over_http_are_offered_and_called() {
    let server = mcp_server();
    let model = Stub::replies([
        stub::tool_calls(&[
            ("1", "web__echo", json!({"text": "hi"})),
            ("2", "web__fail", json!({})),
        ]),
        stub::text("done"),
    ]);
    let context = context(&model, &entry(&server, "a value"), "web");
    let ran = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(0);
    let result = ran.json();
    assert_eq!(result["output"], "done");
    assert_eq!(result["warnings"], json!([]));
    let chats = model.chats();
    let offered = &chats[0].body["tools"];
    assert_eq!(offered[0]["function"]["name"], "web__echo");
    assert_eq!(offered[0]["function"]["description"], "Says it again.");
    assert_eq!(offered[1]["function"]["name"], "web__fail");
    let results = chats[1].tool_messages();
    assert_eq!(results[0]["content"], "echo: hi");
    assert!(
        results[1]["content"]
            .as_str()
            .unwrap()
            .contains("echo: nothing")
    );
    assert_eq!(
        (&result["tools"][0]["ok"], &result["tools"][1]["ok"]),
        (&json!(true), &json!(false))
    );
    // The session is ended, so that the server need not keep it.
    let last = server.seen().pop().unwrap();
    assert_eq!(
        (last.method.as_str(), last.path.as_str()),
        ("DELETE", "/mcp")
    );
    let health = context.orch(&["--health", "--json"]).exits(0).json();
    assert_eq!(health["a"]["healthy"], true, "{health}");
    assert!(!ran.stderr.contains("a value"));
}

#[test]
fn a_server_that_refuses_is_named_by_the_run_and_by_health() {
    let server = mcp_server();
    let mute = Stub::replies([vec![Do::Hang]]);
    let model = Stub::replies([stub::text("done")]);
    let entries = format!(
        "{}  mute: {{url: \"http://{}/mcp\", timeout: 1.5}}\n",
        entry(&server, "wrong"),
        mute.address()
    );
    let context = context(&model, &entries, "web, mute");
    let result = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(0)
        .json();
    let warnings = result["warnings"].as_array().unwrap();
    let told = |start: &str| {
        let found = warnings
            .iter()
            .find_map(|words| words.as_str()?.strip_prefix(start));
        found
            .unwrap_or_else(|| panic!("{start}: {warnings:?}"))
            .to_owned()
    };
    let refused = told("the MCP server `web` cannot be used: ");
    assert!(refused.contains("401"), "{refused}");
    assert!(!refused.contains("wrong"), "{refused}");
    assert_eq!(
        told("the MCP server `mute` cannot be used: "),
        "it did not answer in 1.5 s"
    );
    let health = context.orch(&["--health", "--json"]).exits(1).json();
    let message = health["a"]["message"].as_str().unwrap();
    assert!(
        message.contains("`web`") && message.contains("`mute`"),
        "{message}"
    );
    // What else is wrong does not hide it.
    drop(model);
    let health = context.orch(&["--health", "--json"]).exits(1).json();
    let message = health["a"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("stub: ") && message.contains("`web`") && message.contains("`mute`"),
        "{message}"
    );
}
