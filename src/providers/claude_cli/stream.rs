//! What the CLI prints: one JSON object a line, taken apart into what a run needs.
//!
//! Every kind of line of version 2.1.330 is either understood here or left alone; so is every kind
//! and every key that a later version may bring.

use serde_json::Value;

use crate::providers::json::{is_heavy, within};
use crate::usage::Usage;

use super::money::{ModelUsage, api_usage, dollars, model_usage};

/// How much of what is no JSON is kept, bytes.
pub(super) const NOISE_KEPT: usize = 4096;

/// One line of the CLI's output.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A turn loop starts; it may do so more than once.
    Init(Init),
    /// A request failed, and the CLI will send it again.
    ApiRetry(ApiRetry),
    /// Another model answers instead.
    ModelFallback {
        /// The model that had no capacity.
        from: String,
        /// The model that answers now.
        to: String,
        /// Why, such as `overloaded`.
        trigger: String,
    },
    /// The CLI refused a call of a tool of its own.
    PermissionDenied {
        /// The tool.
        tool: String,
        /// Why.
        message: String,
    },
    /// A piece of a reply as it streams; of a sub-agent's when `nested`.
    Piece {
        /// Whether a sub-agent of the CLI says it.
        nested: bool,
        /// What came.
        piece: Piece,
    },
    /// One finished block of a reply, or several.
    Assistant(AssistantLine),
    /// Results of tools.
    ToolResults(Vec<ToolNews>),
    /// The end of a turn loop, with what it cost.
    Result(Box<ResultLine>),
    /// A JSON object that no run needs.
    Other,
    /// The beginning of what is no JSON object at all, or one with far more in it than the CLI has to say.
    Noise(String),
}

/// The first line of a turn loop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Init {
    /// The CLI's id of the conversation.
    pub session_id: String,
    /// The model's full name.
    pub model: String,
    /// Where the key comes from; `none` for a subscription login.
    pub api_key_source: String,
    /// The CLI's version.
    pub version: String,
    /// Names and states of MCP servers, such as `connected` or `failed`.
    pub mcp_servers: Vec<(String, String)>,
}

impl Init {
    /// Whether a subscription login pays, where that can be told from the source of the key at all.
    pub fn is_on_subscription(&self) -> bool {
        matches!(self.api_key_source.as_str(), "none" | "oauth")
    }
}

/// The announcement of a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiRetry {
    /// Counted from 1.
    pub attempt: u32,
    /// How often the CLI may try again.
    pub max_retries: u32,
    /// The wait before it, milliseconds.
    pub delay_ms: u64,
    /// HTTP status; none for a failure of the network.
    pub status: Option<u16>,
    /// The CLI's word for it, such as `rate_limit`.
    pub error: String,
}

/// A piece of a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// A reply begins; its prompt tokens are known.
    Start {
        /// The reply's id.
        id: String,
        /// Its usage so far.
        usage: Usage,
    },
    /// Text.
    Text(String),
    /// Reasoning.
    Thinking(String),
    /// So many bytes of a tool call.
    Call(usize),
    /// Tokens generated so far in this reply.
    Generated(u64),
    /// The reply ends.
    Stop,
    /// Nothing that shows progress: a ping, a signature, the frame of a block.
    Frame,
}

/// Finished blocks of one reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AssistantLine {
    /// The reply's id: several lines share it.
    pub id: String,
    /// Whether a sub-agent of the CLI says it.
    pub nested: bool,
    /// Whether the CLI made it up itself, to tell of an error.
    pub synthetic: bool,
    /// The model that answered.
    pub model: String,
    /// The reply's usage as its start told it; the generated tokens in it are not the final ones.
    pub usage: Usage,
    /// The text in it.
    pub text: String,
    /// The reasoning in it.
    pub thinking: String,
    /// The tools it calls.
    pub calls: Vec<CallNews>,
    /// The CLI's word for an error, such as `rate_limit`.
    pub error: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
}

/// A tool call, as news.
#[derive(Clone, Debug, PartialEq)]
pub struct CallNews {
    /// Its id.
    pub id: String,
    /// The tool as the CLI names it.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
}

/// The end of a tool call, as news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolNews {
    /// The id of the call.
    pub id: String,
    /// Whether it failed or was refused.
    pub is_error: bool,
    /// The first line of its text.
    pub summary: String,
}

/// The end of a turn loop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultLine {
    /// `success`, `error_max_turns` and so on; alone it decides nothing.
    pub subtype: String,
    /// Whether it failed; alone it decides nothing.
    pub is_error: bool,
    /// The answer, or the error when the subtype is `success` all the same.
    pub result: String,
    /// The errors, for the other subtypes.
    pub errors: Vec<String>,
    /// HTTP status of the API's error.
    pub api_error_status: Option<u16>,
    /// The API's type of the error.
    pub api_error_type: Option<String>,
    /// The CLI's word for an error without a status, such as `connection_failed`.
    pub api_error: Option<String>,
    /// Why the last reply ended.
    pub stop_reason: Option<String>,
    /// Why the loop ended.
    pub terminal_reason: Option<String>,
    /// Replies and more: only zero or not means something.
    pub num_turns: u32,
    /// What the conversation cost by now, former runs included.
    pub total: ModelUsage,
    /// What this turn loop cost, where the CLI tells it.
    pub since_last_result: Option<ModelUsage>,
    /// Tools that were refused.
    pub denied: Vec<String>,
    /// The answer that meets the schema.
    pub structured_output: Option<Value>,
    /// The CLI's id of the conversation.
    pub session_id: String,
}

/// Takes one line apart.
pub fn parse(line: &[u8]) -> Line {
    let noise = || {
        let begun = line.get(..NOISE_KEPT).unwrap_or(line);
        Line::Noise(String::from_utf8_lossy(begun).trim().to_owned())
    };
    if is_heavy(line) {
        return noise();
    }
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(line) else {
        return noise();
    };
    let value = Value::Object(object);
    match (text(&value, "type"), text(&value, "subtype")) {
        ("system", subtype) => system(&value, subtype),
        ("stream_event", _) => Line::Piece {
            nested: is_nested(&value),
            piece: piece(value.get("event").unwrap_or(&Value::Null)),
        },
        ("assistant", _) => Line::Assistant(assistant(&value)),
        ("user", _) => Line::ToolResults(tool_results(&value)),
        ("result", subtype) => Line::Result(Box::new(result(&value, subtype))),
        _ => Line::Other,
    }
}

fn system(value: &Value, subtype: &str) -> Line {
    match subtype {
        "init" => Line::Init(Init {
            session_id: owned(value, "session_id"),
            model: owned(value, "model"),
            api_key_source: owned(value, "apiKeySource"),
            version: owned(value, "claude_code_version"),
            mcp_servers: list(value, "mcp_servers")
                .map(|server| (owned(server, "name"), owned(server, "status")))
                .collect(),
        }),
        "api_retry" => Line::ApiRetry(ApiRetry {
            attempt: small(value, "attempt"),
            max_retries: small(value, "max_retries"),
            delay_ms: value.get("retry_delay_ms").and_then(whole).unwrap_or(0),
            status: status(value, "error_status"),
            error: owned(value, "error"),
        }),
        "model_fallback" => Line::ModelFallback {
            from: owned(value, "original_model"),
            to: owned(value, "fallback_model"),
            trigger: owned(value, "trigger"),
        },
        "permission_denied" => Line::PermissionDenied {
            tool: owned(value, "tool_name"),
            message: owned(value, "message"),
        },
        _ => Line::Other,
    }
}

fn piece(event: &Value) -> Piece {
    let delta = event.get("delta").unwrap_or(&Value::Null);
    match (text(event, "type"), text(delta, "type")) {
        ("message_start", _) => {
            let message = event.get("message").unwrap_or(&Value::Null);
            Piece::Start {
                id: owned(message, "id"),
                usage: api_usage(message.get("usage").unwrap_or(&Value::Null)),
            }
        }
        ("content_block_delta", "text_delta") => Piece::Text(owned(delta, "text")),
        ("content_block_delta", "thinking_delta") => Piece::Thinking(owned(delta, "thinking")),
        ("content_block_delta", "input_json_delta") => {
            Piece::Call(text(delta, "partial_json").len())
        }
        ("message_delta", _) => Piece::Generated(
            within(event, "/usage/output_tokens")
                .and_then(whole)
                .unwrap_or(0),
        ),
        ("message_stop", _) => Piece::Stop,
        _ => Piece::Frame,
    }
}

fn assistant(value: &Value) -> AssistantLine {
    let message = value.get("message").unwrap_or(&Value::Null);
    let mut line = AssistantLine {
        id: owned(message, "id"),
        nested: is_nested(value),
        synthetic: text(message, "model") == "<synthetic>",
        model: owned(message, "model"),
        usage: api_usage(message.get("usage").unwrap_or(&Value::Null)),
        error: optional(value, "error"),
        request_id: optional(value, "request_id"),
        ..AssistantLine::default()
    };
    for block in list(message, "content") {
        match text(block, "type") {
            "text" => line.text.push_str(text(block, "text")),
            "thinking" => line.thinking.push_str(text(block, "thinking")),
            "tool_use" => line.calls.push(CallNews {
                id: owned(block, "id"),
                tool: owned(block, "name"),
                arguments: block.get("input").cloned().unwrap_or(Value::Null),
            }),
            _ => {}
        }
    }
    line
}

fn tool_results(value: &Value) -> Vec<ToolNews> {
    let message = value.get("message").unwrap_or(&Value::Null);
    list(message, "content")
        .filter(|block| text(block, "type") == "tool_result")
        .map(|block| ToolNews {
            id: owned(block, "tool_use_id"),
            is_error: block.get("is_error").and_then(Value::as_bool) == Some(true),
            summary: first_line(block.get("content").unwrap_or(&Value::Null)),
        })
        .collect()
}

fn result(value: &Value, subtype: &str) -> ResultLine {
    let models = model_usage(value.get("modelUsage").unwrap_or(&Value::Null));
    ResultLine {
        subtype: subtype.to_owned(),
        is_error: value.get("is_error").and_then(Value::as_bool) == Some(true),
        result: owned(value, "result"),
        errors: list(value, "errors")
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        api_error_status: status(value, "api_error_status"),
        api_error_type: optional(value, "api_error_type"),
        api_error: optional(value, "api_error"),
        stop_reason: optional(value, "stop_reason"),
        terminal_reason: optional(value, "terminal_reason"),
        num_turns: small(value, "num_turns"),
        total: ModelUsage {
            // The total stands apart: entries of models may be missing.
            cost: dollars(value.get("total_cost_usd")).or(models.cost),
            ..models
        },
        since_last_result: value
            .get("model_usage_since_last_result")
            .map(model_usage)
            .filter(|part| *part != ModelUsage::default()),
        denied: list(value, "permission_denials")
            .map(|denial| owned(denial, "tool_name"))
            .collect(),
        structured_output: value
            .get("structured_output")
            .filter(|output| !output.is_null())
            .cloned(),
        session_id: owned(value, "session_id"),
    }
}

fn is_nested(value: &Value) -> bool {
    value
        .get("parent_tool_use_id")
        .is_some_and(|id| !id.is_null())
}

fn first_line(content: &Value) -> String {
    let text = match content {
        Value::String(text) => text.as_str(),
        Value::Array(blocks) => blocks
            .iter()
            .map(|block| text(block, "text"))
            .find(|text| !text.is_empty())
            .unwrap_or_default(),
        _ => "",
    };
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn owned(value: &Value, key: &str) -> String {
    text(value, key).to_owned()
}

fn optional(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// A whole number, however it is written.
fn whole(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float is clamped by the cast, which is what a count wants"
    )]
    value
        .as_u64()
        .or_else(|| value.as_f64().map(|number| number.max(0.0) as u64))
}

fn small(value: &Value, key: &str) -> u32 {
    let number = value.get(key).and_then(whole).unwrap_or(0);
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn status(value: &Value, key: &str) -> Option<u16> {
    value
        .get(key)
        .and_then(Value::as_u64)
        .and_then(|status| u16::try_from(status).ok())
}
