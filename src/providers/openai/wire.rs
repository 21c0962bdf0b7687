//! Requests of the chat-completions protocol, in every vendor's dialect. Absent fields are left
//! out: many servers refuse nulls.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::message::{Assistant, Message, ToolCall, ToolSpec};
use crate::providers::adapt::{Adapted, Sent};
use crate::providers::attempt::Wire;
use crate::providers::vendors::{Quirks, ReasoningReplay, Structured};
use crate::providers::{Request, ToolMode, call_ids, structured, text_tools};

/// What stands for a signature where the history of a conversation has none.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Value>,
}

#[derive(Default, Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_details: Option<&'a Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: String,
    r#type: &'static str,
    function: WireFunction<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Cow<'a, Value>>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct WireTool<'a> {
    r#type: &'static str,
    function: OfferedFunction<'a>,
}

#[derive(Serialize)]
struct OfferedFunction<'a> {
    name: &'a str,
    description: &'a str,
    parameters: Cow<'a, Value>,
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect<'a> {
    /// The provider's name: what a vendor wants back goes back to it alone.
    pub name: &'a str,
    pub quirks: &'a Quirks,
    pub adapted: Adapted,
}

/// Builds the request.
pub(super) fn build(request: &Request, dialect: Dialect<'_>) -> Wire {
    let Dialect {
        quirks, adapted, ..
    } = dialect;
    let mut sent = Sent::default();
    let mut warnings = Vec::new();
    let text_tools = adapted.text_tools || request.tool_mode == ToolMode::Text;

    let told = text_tools.then(|| text_tools::history(&request.messages));
    let history = told.as_deref().unwrap_or(&request.messages);
    let mut system = request.system.clone();
    let mut add = |words: &str| {
        if !words.is_empty() {
            system.push_str(if system.is_empty() { "" } else { "\n\n" });
            system.push_str(words);
        }
    };
    if text_tools {
        add(&text_tools::instructions(&request.tools));
    }
    let mut response_format = None;
    if let Some(schema) = &request.output_schema {
        let (format, in_words) = schema_mechanism(schema, request, quirks, adapted);
        response_format = format;
        if in_words {
            add(&structured::instructions(schema));
        }
    }
    sent.response_format = response_format.is_some();

    let reasons = quirks.reasoning_models && is_reasoning_model(&request.model);
    let field = if reasons == adapted.other_max_tokens {
        "max_tokens"
    } else {
        "max_completion_tokens"
    };
    sent.max_tokens = request.max_output_tokens.map(|_| field);
    let temperature = temperature(request, quirks, adapted, reasons, &mut warnings);
    sent.temperature = temperature.is_some();
    sent.stream_options = quirks.stream_options && !adapted.no_stream_options;

    let mut tools = Vec::new();
    if !text_tools {
        tools.extend(request.tools.iter().map(offered));
    }
    sent.tools = !tools.is_empty();
    let body = Body {
        model: &request.model,
        messages: messages(&system, history, dialect),
        max_tokens: request.max_output_tokens.filter(|_| field == "max_tokens"),
        max_completion_tokens: request.max_output_tokens.filter(|_| field != "max_tokens"),
        temperature,
        stream: true,
        stream_options: sent.stream_options.then(|| json!({"include_usage": true})),
        tools,
        response_format,
        usage: quirks.usage_include.then(|| json!({"include": true})),
    };
    Wire {
        // Only maps with keys that are no texts cannot be written, and there are none.
        body: serde_json::to_vec(&body).unwrap_or_default(),
        sent,
        text_tools,
        warnings,
    }
}

/// `response_format`, and whether the schema is told in words as well.
fn schema_mechanism(
    schema: &Value,
    request: &Request,
    quirks: &Quirks,
    adapted: Adapted,
) -> (Option<Value>, bool) {
    if adapted.no_response_format {
        return (None, true);
    }
    let format = match quirks.structured {
        Structured::Instruct => None,
        Structured::SchemaWithoutTools if !request.tools.is_empty() => None,
        Structured::Schema | Structured::SchemaWithoutTools => structured::response_format(schema),
        // It takes any object, and only when the prompt says JSON.
        Structured::Object if structured::is_object(schema) && request.tools.is_empty() => {
            return (Some(json!({"type": "json_object"})), true);
        }
        Structured::Object => None,
    };
    let in_words = format.is_none();
    (format, in_words)
}

/// Models that reason before they answer and refuse what steers plain sampling.
fn is_reasoning_model(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let numbered = name
        .strip_prefix('o')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let generation = name.contains("gpt-5") || name.contains("gpt-6");
    numbered || (generation && !name.contains("gpt-5-chat"))
}

fn temperature(
    request: &Request,
    quirks: &Quirks,
    adapted: Adapted,
    reasons: bool,
    warnings: &mut Vec<String>,
) -> Option<f64> {
    let temperature = request.temperature?;
    if adapted.no_temperature {
        return None;
    }
    let takes = request
        .facts
        .as_ref()
        .is_none_or(|facts| facts.sampling_params);
    if !takes || reasons {
        warnings.push(format!(
            "`{}` takes no `temperature`: it was left out",
            request.model
        ));
        return None;
    }
    if temperature == 0.0 && !quirks.zero_temperature {
        return Some(1e-8);
    }
    Some(temperature)
}

fn offered(tool: &ToolSpec) -> WireTool<'_> {
    WireTool {
        r#type: "function",
        function: OfferedFunction {
            name: &tool.name,
            description: &tool.description,
            parameters: structured::parameters(&tool.parameters),
        },
    }
}

fn messages<'a>(
    system: &str,
    history: &'a [Message],
    dialect: Dialect<'_>,
) -> Vec<WireMessage<'a>> {
    let mut wire = Vec::with_capacity(history.len() + 1);
    if !system.is_empty() {
        wire.push(WireMessage {
            role: "system",
            content: Some(Cow::Owned(system.to_owned())),
            ..WireMessage::default()
        });
    }
    let is_user = |message: &Message| matches!(message, Message::User { .. });
    // What belongs to the tool loop that runs: everything after the last words of the user.
    let running = history.iter().rposition(is_user).unwrap_or(0);
    let mut own = false;
    for (position, message) in history.iter().enumerate() {
        match message {
            Message::User { text } => wire.push(WireMessage {
                role: "user",
                content: Some(Cow::Borrowed(text)),
                ..WireMessage::default()
            }),
            Message::Assistant(said) => {
                own = said.vendor == dialect.name;
                wire.extend(assistant(said, own, position > running, dialect));
            }
            Message::Tool { results } => wire.extend(results.iter().map(|result| WireMessage {
                role: "tool",
                content: Some(match result.content.as_str() {
                    "" => Cow::Borrowed("(no output)"),
                    content => Cow::Borrowed(content),
                }),
                tool_call_id: Some(call_id(&result.call_id, own, dialect)),
                ..WireMessage::default()
            })),
        }
    }
    wire
}

/// Ids go back as they came to whoever made them; others get what they take.
fn call_id(id: &str, own: bool, dialect: Dialect<'_>) -> String {
    if own && !dialect.quirks.short_call_ids {
        id.to_owned()
    } else {
        call_ids::portable(id, dialect.quirks.short_call_ids)
    }
}

/// An assistant's message; `None` for an empty one, which some refuse.
fn assistant<'a>(
    said: &'a Assistant,
    own: bool,
    running: bool,
    dialect: Dialect<'_>,
) -> Option<WireMessage<'a>> {
    if said.text.is_empty() && said.calls.is_empty() {
        return None;
    }
    let quirks = dialect.quirks;
    let content = Some(Cow::Borrowed(said.text.as_str()))
        .filter(|text| !text.is_empty() || quirks.empty_content);
    let reasoning = Some(said.reasoning.as_str())
        .filter(|reasoning| own && running && !reasoning.is_empty() && !said.calls.is_empty());
    let details =
        own && quirks.reasoning == ReasoningReplay::Details && said.vendor_extra.is_array();
    let tool_calls = said
        .calls
        .iter()
        .enumerate()
        .map(|(number, call)| WireCall {
            id: call_id(&call.id, own, dialect),
            r#type: "function",
            function: WireFunction {
                name: &call.name,
                // What is no JSON breaks servers that read it; the tool's result tells what was wrong.
                arguments: if call.malformed {
                    "{}"
                } else {
                    &call.arguments
                },
            },
            extra_content: signature(call, own, number, quirks),
        });
    Some(WireMessage {
        role: "assistant",
        content,
        reasoning_content: reasoning.filter(|_| quirks.reasoning == ReasoningReplay::Content),
        reasoning: reasoning.filter(|_| quirks.reasoning == ReasoningReplay::Reasoning),
        reasoning_details: details.then_some(&said.vendor_extra),
        tool_calls: tool_calls.collect(),
        ..WireMessage::default()
    })
}

/// The signature of a call: its own, or for the first call of a history made elsewhere the stand-in.
fn signature<'a>(
    call: &'a ToolCall,
    own: bool,
    number: usize,
    quirks: &Quirks,
) -> Option<Cow<'a, Value>> {
    match (quirks.thought_signatures, own, number) {
        (true, true, _) if !call.extra.is_null() => Some(Cow::Borrowed(&call.extra)),
        (true, false, 0) => Some(Cow::Owned(
            json!({"google": {"thought_signature": NO_SIGNATURE}}),
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
