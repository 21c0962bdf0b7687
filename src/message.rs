//! The words in which agents, providers and tools talk: messages, tool calls and their results.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One entry of a conversation. The system prompt is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Message {
    /// What the user, or another agent, said.
    User {
        /// The text, whole.
        text: String,
    },
    /// What the model answered.
    Assistant(Assistant),
    /// The results of every tool call of the assistant message before it, in call order.
    Tool {
        /// One result a call.
        results: Vec<ToolResult>,
    },
}

/// A model's answer as it is kept in a conversation and sent back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Assistant {
    /// The visible text.
    #[serde(default)]
    pub text: String,
    /// The reasoning that the vendor showed; never part of the text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// The tools the model asked for, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// What only the vendor understands and wants back verbatim (thinking blocks with their
    /// signatures, `reasoning_details`); dropped when another vendor continues.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub vendor_extra: Value,
    /// The vendor that `vendor_extra` belongs to, such as `gemini`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vendor: String,
}

/// A tool call that a model asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id under which the result goes back; made by us when the vendor sent none.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments as JSON text, as received.
    pub arguments: String,
    /// Set when `arguments` is not one JSON value: it is told to the model and never run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub malformed: bool,
    /// What the vendor wants back with this call (`extra_content` of Gemini).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub extra: Value,
}

/// What a tool call gave, as the model sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the call that this answers.
    pub call_id: String,
    /// The tool's name.
    pub tool: String,
    /// The text for the model: capped, secrets masked.
    pub content: String,
    /// Whether the tool failed or was refused.
    #[serde(default)]
    pub is_error: bool,
}

/// A tool as it is offered to a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// The name that the model calls.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its parameters, an object.
    pub parameters: Value,
}
