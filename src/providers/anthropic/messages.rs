//! Events and documents of the Messages API, put together to one answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::usage::Told;
use crate::message::ToolCall;
use crate::providers::Finish;
use crate::providers::answer::{Answer, Fault, Step};
use crate::providers::error_body::ErrorBody;
use crate::providers::json::{at, text_at, weight};
use crate::providers::sse::SseEvent;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    message: Option<Value>,
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    content_block: Option<Value>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(default)]
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    thinking: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    signature: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    partial_json: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stop_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    stop_details: Option<Value>,
}

/// A block of content while it comes.
#[derive(Debug)]
struct Block {
    /// As it began.
    value: Value,
    text: String,
    signature: String,
    /// The input of a tool that the vendor runs itself, as JSON text.
    input: String,
    /// Which call of the answer it is.
    call: Option<usize>,
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    blocks: BTreeMap<u64, Block>,
    told: Told,
}

impl Decoder {
    /// Takes one event.
    pub(crate) fn event(&mut self, event: &SseEvent, answer: &mut Answer) -> Result<Step, Fault> {
        let data = event.data.trim();
        if data.is_empty() {
            return Ok(Step::default());
        }
        let last = Step {
            progress: true,
            done: true,
        };
        if data == "[DONE]" {
            return Ok(last);
        }
        if event.name == "error" {
            return Err(Fault::Told(ErrorBody::parse(data)));
        }
        let told: Event<'_> =
            serde_json::from_str(data).map_err(|error| Fault::Invalid(error.to_string()))?;
        if told.error.is_some() {
            return Err(Fault::Told(ErrorBody::parse(data)));
        }
        let before = answer.uncounted;
        match told.r#type.as_ref() {
            "message_start" => {
                let message = told.message.unwrap_or_default();
                answer.model = at(&message, "model").as_str().map(str::to_owned);
                let mut begun = at(&message, "usage").clone();
                // What comes out is not known yet: the count that stands here is that of the first piece.
                if let Some(counts) = begun.as_object_mut() {
                    counts.remove("output_tokens");
                }
                self.count(&begun, answer);
            }
            "content_block_start" => {
                answer.hold(weight(data))?;
                self.begin(told.index, told.content_block.unwrap_or_default(), answer)?;
            }
            "content_block_delta" => {
                if let Some(delta) = told.delta {
                    self.grow(told.index.unwrap_or(0), &delta, answer)?;
                }
            }
            "message_delta" => {
                self.count(&told.usage.unwrap_or_default(), answer);
                if let Some(delta) = told.delta
                    && let Some(reason) = delta.stop_reason
                {
                    self.stop(&reason, &delta.stop_details.unwrap_or_default(), answer)?;
                }
            }
            "message_stop" => return Ok(last),
            _ => {}
        }
        Ok(Step {
            progress: answer.uncounted > before || answer.finish.is_some(),
            done: false,
        })
    }

    /// Takes the one document of a server that does not stream.
    pub(crate) fn document(&mut self, document: &[u8], answer: &mut Answer) -> Result<(), Fault> {
        let value: Value =
            serde_json::from_slice(document).map_err(|error| Fault::Invalid(error.to_string()))?;
        let is_error = text_at(&value, "type") == "error"
            || !at(&value, "error").is_null()
            || value.is_array();
        if is_error {
            return Err(Fault::Told(ErrorBody::from_value(&value)));
        }
        let Some(content) = at(&value, "content").as_array() else {
            return Err(Fault::Foreign(
                String::from_utf8_lossy(document).into_owned(),
            ));
        };
        answer.model = at(&value, "model").as_str().map(str::to_owned);
        self.count(at(&value, "usage"), answer);
        for (index, block) in content.iter().enumerate() {
            self.begin(Some(index as u64), block.clone(), answer)?;
        }
        if let Some(reason) = at(&value, "stop_reason").as_str() {
            self.stop(reason, at(&value, "stop_details"), answer)?;
        }
        Ok(())
    }

    fn begin(
        &mut self,
        index: Option<u64>,
        value: Value,
        answer: &mut Answer,
    ) -> Result<(), Fault> {
        let text = |key: &str| text_at(&value, key);
        let mut block = Block {
            text: String::new(),
            signature: text("signature").to_owned(),
            input: String::new(),
            call: None,
            value: Value::Null,
        };
        match text("type") {
            "text" => text("text").clone_into(&mut block.text),
            "thinking" => text("thinking").clone_into(&mut block.text),
            "tool_use" => {
                let input = at(&value, "input");
                let arguments = match input.as_object() {
                    Some(fields) if !fields.is_empty() => input.to_string(),
                    _ => String::new(),
                };
                answer.add_call_chars(text("name").len() + arguments.len())?;
                block.call = Some(answer.add_call(ToolCall {
                    id: text("id").to_owned(),
                    name: text("name").to_owned(),
                    arguments,
                    ..ToolCall::default()
                })?);
            }
            _ => {}
        }
        match text("type") {
            "text" => answer.add_text(&block.text)?,
            "thinking" => answer.add_reasoning(&block.text)?,
            _ => {}
        }
        block.value = value;
        let next = self.blocks.last_key_value().map_or(0, |(last, _)| last + 1);
        self.blocks.insert(index.unwrap_or(next), block);
        Ok(())
    }

    fn grow(&mut self, index: u64, delta: &Delta<'_>, answer: &mut Answer) -> Result<(), Fault> {
        let block = self.blocks.get_mut(&index);
        if let Some(piece) = &delta.text {
            answer.add_text(piece)?;
        }
        if let Some(piece) = &delta.thinking {
            answer.add_reasoning(piece)?;
        }
        if let Some(piece) = &delta.partial_json {
            answer.add_call_chars(piece.len())?;
        }
        let Some(block) = block else {
            return Ok(());
        };
        for piece in [&delta.text, &delta.thinking].into_iter().flatten() {
            block.text.push_str(piece);
        }
        if let Some(piece) = &delta.signature {
            answer.hold(piece.len())?;
            block.signature.push_str(piece);
        }
        if let Some(piece) = &delta.partial_json {
            match block.call.and_then(|call| answer.calls.get_mut(call)) {
                Some(call) => call.arguments.push_str(piece),
                None => block.input.push_str(piece),
            }
        }
        Ok(())
    }

    fn stop(&mut self, reason: &str, details: &Value, answer: &mut Answer) -> Result<(), Fault> {
        if answer.finish.is_some() {
            return Ok(());
        }
        answer.finish = Some(match reason {
            "tool_use" => Finish::ToolCalls,
            "max_tokens" | "model_context_window_exceeded" => Finish::Length,
            "refusal" => {
                if answer.text.is_empty() {
                    let words = at(details, "explanation").as_str();
                    answer.add_refusal(words.unwrap_or("the vendor stopped this answer"))?;
                }
                Finish::ContentFilter
            }
            "pause_turn" => {
                let words = "the vendor paused this answer before it was finished";
                answer.warnings.push(words.to_owned());
                Finish::Length
            }
            _ => Finish::Stop,
        });
        answer.extra = self.verbatim(&answer.calls);
        Ok(())
    }

    /// The content as it goes back, where there is more to it than text and calls: thinking, whose
    /// signatures hold only in their place.
    fn verbatim(&self, calls: &[ToolCall]) -> Value {
        let kind = |block: &Block| text_at(&block.value, "type").to_owned();
        let plain = |block| matches!(kind(block).as_str(), "text" | "tool_use");
        if self.blocks.values().all(plain) {
            return Value::Null;
        }
        let whole = |block: &Block| {
            let mut value = block.value.clone();
            let fields = value.as_object_mut()?;
            let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
            match kind(block).as_str() {
                // An empty text is refused when it comes back.
                "text" if block.text.trim().is_empty() => return None,
                "text" => drop(set("text", block.text.clone().into())),
                "thinking" => {
                    set("thinking", block.text.clone().into());
                    set("signature", block.signature.clone().into());
                }
                "tool_use" => {
                    let call = block.call.and_then(|call| calls.get(call));
                    set("input", call.map_or(Value::Null, super::wire::input));
                }
                _ => {
                    if let Ok(input @ Value::Object(_)) = serde_json::from_str(&block.input) {
                        set("input", input);
                    }
                }
            }
            Some(value)
        };
        self.blocks.values().filter_map(whole).collect()
    }

    /// Takes a `usage` object, wherever it was told.
    pub(crate) fn count(&mut self, told: &Value, answer: &mut Answer) {
        self.told.add(told);
        answer.usage = self.told.usage();
    }
}

#[cfg(test)]
mod tests;
