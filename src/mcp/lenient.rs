//! Answers that hold, among what is known, something that is not: only that is given up, not the whole answer.

use rmcp::RoleClient;
use rmcp::model::{CallToolResult, ContentBlock, CustomResult, JsonRpcMessage, ServerResult, Tool};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use serde::Deserialize as _;
use serde_json::{Value, json};

/// A transport whose answers are read so.
pub(super) struct Lenient<T>(pub(super) T);

impl<T: Transport<RoleClient>> Transport<RoleClient> for Lenient<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.0.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let mut message = self.0.receive().await?;
        if let JsonRpcMessage::Response(response) = &mut message
            && let ServerResult::CustomResult(CustomResult(value)) = &mut response.result
            && let Some(known) = known(value)
        {
            response.result = known;
        }
        Some(message)
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.0.close().await
    }
}

/// The result of a tool or a list of tools that this value is but for some of its entries.
fn known(value: &mut Value) -> Option<ServerResult> {
    if let Some(Value::Array(blocks)) = value.get_mut("content") {
        for block in blocks {
            if ContentBlock::deserialize(&*block).is_err() {
                let kind = block.get("type").and_then(Value::as_str).unwrap_or("?");
                let words = format!("[something of the kind `{kind}`, which is not known here]");
                *block = json!({"type": "text", "text": words});
            }
        }
        let result = CallToolResult::deserialize(&*value).ok()?;
        return Some(ServerResult::CallToolResult(result));
    }
    let Some(Value::Array(tools)) = value.get_mut("tools") else {
        return None;
    };
    for tool in tools.iter_mut() {
        if Tool::deserialize(&*tool).is_err() {
            // A schema that is none stands for itself, so that the tool is left out by its name.
            let kind = tool.get("inputSchema").map_or("null", kind);
            *tool = json!({"name": tool.get("name"), "inputSchema": {"type": kind}});
        }
    }
    tools.retain(|tool| tool.get("name").is_some_and(Value::is_string));
    serde_json::from_value(value.take())
        .ok()
        .map(ServerResult::ListToolsResult)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
