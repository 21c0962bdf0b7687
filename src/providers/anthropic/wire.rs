//! Requests of the Messages API, with breakpoints for its prompt cache.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::message::{Assistant, Message, ToolCall, ToolSpec};
use crate::providers::adapt::{Adapted, Sent};
use crate::providers::attempt::Wire;
use crate::providers::json::text_at;
use crate::providers::{Request, ToolMode, call_ids, structured, text_tools};

/// Tokens of an answer where nobody says how many.
const MAX_TOKENS: u64 = 4096;

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u64,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
}

/// Marks where a part ends that is read from the cache the next time.
#[derive(Clone, Copy, Serialize)]
struct CacheControl {
    r#type: &'static str,
}

const CACHED: CacheControl = CacheControl {
    r#type: "ephemeral",
};

#[derive(Serialize)]
struct WireTool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: Cow<'a, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolUse {
        id: String,
        name: Cow<'a, str>,
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        #[serde(skip_serializing_if = "str::is_empty")]
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    #[serde(untagged)]
    Verbatim(&'a Value),
}

impl Block<'_> {
    fn mark(&mut self) {
        match self {
            Self::Text { cache_control, .. } | Self::ToolResult { cache_control, .. } => {
                *cache_control = Some(CACHED);
            }
            Self::ToolUse { .. } | Self::Verbatim(_) => {}
        }
    }

    fn is_thinking(&self) -> bool {
        matches!(self, Self::Verbatim(value) if is_thinking(value))
    }
}

/// Builds the request for a provider of this name.
pub(super) fn build(request: &Request, name: &str, adapted: Adapted) -> Wire {
    let text_tools = adapted.text_tools || request.tool_mode == ToolMode::Text;
    let told = text_tools.then(|| text_tools::history(&request.messages));
    let history = told.as_deref().unwrap_or(&request.messages);

    let mut system = vec![request.system.clone()];
    if text_tools {
        system.push(text_tools::instructions(&request.tools));
    }
    let mut output_config = None;
    if let Some(schema) = &request.output_schema {
        let strict = structured::strict(schema).filter(|_| !adapted.no_response_format);
        match strict {
            Some(schema) => {
                output_config = Some(json!({"format": {"type": "json_schema", "schema": schema}}));
            }
            None => system.push(structured::instructions(schema)),
        }
    }
    system.retain(|part| !part.trim().is_empty());

    let mut warnings = Vec::new();
    let temperature = temperature(request, adapted, &mut warnings);
    let mut tools: Vec<WireTool<'_>> = Vec::new();
    if !text_tools {
        tools.extend(request.tools.iter().map(offered));
    }
    let mut system: Vec<Block<'_>> = system.into_iter().map(text).collect();
    let mut messages = messages(history, name);
    if adapted.no_thinking {
        for message in &mut messages {
            message.content.retain(|block| !block.is_thinking());
        }
    }
    // Writing to the cache costs more than plain input: it pays where the next call reads it, in a
    // tool loop or a conversation, not for a single question.
    if !request.tools.is_empty() || request.messages.len() > 1 {
        if let Some(tool) = tools.last_mut() {
            tool.cache_control = Some(CACHED);
        }
        if let Some(block) = system.last_mut() {
            block.mark();
        }
        // The tail, and where the tail was the last time.
        let of_user = messages
            .iter_mut()
            .rev()
            .filter(|message| message.role == "user");
        for block in of_user
            .take(2)
            .filter_map(|message| message.content.last_mut())
        {
            block.mark();
        }
    }
    let sent = Sent {
        max_tokens: None,
        temperature: temperature.is_some(),
        stream_options: false,
        response_format: output_config.is_some(),
        tools: !tools.is_empty(),
        thinking: messages
            .iter()
            .any(|message| message.content.iter().any(Block::is_thinking)),
    };
    let body = Body {
        model: &request.model,
        max_tokens: max_tokens(request),
        stream: true,
        temperature,
        tools,
        system,
        messages,
        output_config,
    };
    Wire {
        // Only maps with keys that are no texts cannot be written, and there are none.
        body: serde_json::to_vec(&body).unwrap_or_default(),
        sent,
        text_tools,
        warnings,
    }
}

/// The field is required.
fn max_tokens(request: &Request) -> u64 {
    let most = request
        .facts
        .as_ref()
        .and_then(|facts| facts.max_output_tokens);
    let asked = request.max_output_tokens.unwrap_or(MAX_TOKENS);
    most.map_or(asked, |most| most.min(asked))
}

fn temperature(request: &Request, adapted: Adapted, warnings: &mut Vec<String>) -> Option<f64> {
    let temperature = request.temperature?;
    if adapted.no_temperature {
        return None;
    }
    if request
        .facts
        .as_ref()
        .is_some_and(|facts| !facts.sampling_params)
    {
        warnings.push(format!(
            "`{}` takes no `temperature`: it was left out",
            request.model
        ));
        return None;
    }
    Some(temperature.clamp(0.0, 1.0))
}

fn offered(tool: &ToolSpec) -> WireTool<'_> {
    WireTool {
        name: &tool.name,
        description: &tool.description,
        input_schema: structured::parameters(&tool.parameters),
        cache_control: None,
    }
}

fn text<'a>(text: impl Into<Cow<'a, str>>) -> Block<'a> {
    Block::Text {
        text: text.into(),
        cache_control: None,
    }
}

fn messages<'a>(history: &'a [Message], name: &str) -> Vec<WireMessage<'a>> {
    let mut wire: Vec<WireMessage<'a>> = Vec::with_capacity(history.len());
    let mut own = false;
    for message in history {
        let (role, content) = match message {
            Message::User { text: said } if said.trim().is_empty() => {
                ("user", vec![text("(empty)")])
            }
            Message::User { text: said } => ("user", vec![text(said.as_str())]),
            Message::Assistant(said) => {
                own = said.vendor == name;
                ("assistant", assistant(said, own))
            }
            Message::Tool { results } => {
                let block = |result: &'a crate::message::ToolResult| Block::ToolResult {
                    tool_use_id: call_id(&result.call_id, own),
                    content: &result.content,
                    is_error: result.is_error,
                    cache_control: None,
                };
                ("user", results.iter().map(block).collect())
            }
        };
        match wire.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == role => last.content.extend(content),
            _ => wire.push(WireMessage { role, content }),
        }
    }
    wire
}

fn assistant(said: &Assistant, own: bool) -> Vec<Block<'_>> {
    if own && let Some(content) = said.vendor_extra.as_array() {
        return verbatim(content).into_iter().map(Block::Verbatim).collect();
    }
    let mut content = Vec::new();
    if !said.text.trim().is_empty() {
        content.push(text(said.text.as_str()));
    }
    content.extend(said.calls.iter().map(|call| Block::ToolUse {
        id: call_id(&call.id, own),
        name: tool_name(&call.name),
        input: input(call),
    }));
    content
}

/// The blocks of an answer as they may go back: thinking that was cut before its signature is refused, and so is
/// thinking that nothing follows.
fn verbatim(content: &[Value]) -> Vec<&Value> {
    let is_cut = |block: &Value| {
        text_at(block, "type") == "thinking" && text_at(block, "signature").is_empty()
    };
    let mut content: Vec<&Value> = content.iter().filter(|block| !is_cut(block)).collect();
    while content.last().is_some_and(|block| is_thinking(block)) {
        content.pop();
    }
    content
}

fn is_thinking(block: &Value) -> bool {
    matches!(text_at(block, "type"), "thinking" | "redacted_thinking")
}

/// Arguments as the object that they must be.
pub(super) fn input(call: &ToolCall) -> Value {
    serde_json::from_str(&call.arguments)
        .ok()
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}))
}

fn call_id(id: &str, own: bool) -> String {
    if own {
        id.to_owned()
    } else {
        call_ids::portable(id, false)
    }
}

/// Other models call tools by names that are refused here, even as history.
fn tool_name(name: &str) -> Cow<'_, str> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(known) {
        return Cow::Borrowed(name);
    }
    let changed: String = name
        .chars()
        .take(64)
        .map(|c| if known(c) { c } else { '_' })
        .collect();
    Cow::Owned(if changed.is_empty() {
        "unnamed".to_owned()
    } else {
        changed
    })
}

#[cfg(test)]
mod tests;
