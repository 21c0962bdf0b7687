//! Events and documents of the chat-completions protocol, put together to one answer.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::usage::Told;
use crate::message::ToolCall;
use crate::providers::Finish;
use crate::providers::answer::{Answer, Fault, Step};
use crate::providers::error_body::ErrorBody;
use crate::providers::json::{Scanner, at, text_at, weight};
use crate::providers::sse::SseEvent;

/// One chunk of a stream, or a whole document. What may have several shapes stays raw.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    x_groq: Option<Groq<'a>>,
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    object: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Groq<'a> {
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    delta: Option<Message<'a>>,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_details: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<CallDelta<'a>>>,
}

#[derive(Deserialize)]
struct CallDelta<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    function: Option<FunctionDelta<'a>>,
    #[serde(borrow, default)]
    extra_content: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct FunctionDelta<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The last call that began under each index.
    by_index: BTreeMap<u64, usize>,
    /// The last call that was sent under each id.
    by_id: BTreeMap<String, usize>,
    /// The arguments of the last call.
    last_arguments: Scanner,
    told: Told,
}

impl Decoder {
    /// Takes one event.
    pub(crate) fn event(&mut self, event: &SseEvent, answer: &mut Answer) -> Result<Step, Fault> {
        let data = event.data.trim();
        if data.is_empty() {
            return Ok(Step::default());
        }
        if data == "[DONE]" {
            return Ok(Step {
                progress: true,
                done: true,
            });
        }
        if event.name == "error" {
            return Err(Fault::Told(ErrorBody::parse(data)));
        }
        let chunk: Chunk<'_> =
            serde_json::from_str(data).map_err(|error| Fault::Invalid(error.to_string()))?;
        let progress = self.chunk(data, chunk, answer)?;
        Ok(Step {
            progress,
            done: false,
        })
    }

    /// Takes the one document of a server that does not stream.
    pub(crate) fn document(&mut self, document: &[u8], answer: &mut Answer) -> Result<(), Fault> {
        let text = String::from_utf8_lossy(document);
        let text = text.trim().trim_start_matches('\u{feff}');
        if text.starts_with('[') {
            return Err(Fault::Told(ErrorBody::parse(text)));
        }
        let chunk: Chunk<'_> =
            serde_json::from_str(text).map_err(|error| Fault::Invalid(error.to_string()))?;
        if chunk.error.is_none() && chunk.choices.is_none() {
            return Err(Fault::Foreign(text.to_owned()));
        }
        self.chunk(text, chunk, answer)?;
        Ok(())
    }

    fn chunk(&mut self, data: &str, chunk: Chunk<'_>, answer: &mut Answer) -> Result<bool, Fault> {
        let is_error = chunk.object.as_deref() == Some("error");
        if is_error || chunk.error.is_some() {
            return Err(Fault::Told(ErrorBody::parse(data)));
        }
        if let Some(told) = chunk
            .usage
            .or_else(|| chunk.x_groq.and_then(|groq| groq.usage))
            && let Ok(told) = serde_json::from_str(told.get())
        {
            self.count(&told, answer);
        }
        if let Some(model) = chunk.model.filter(|model| !model.is_empty())
            && answer.model.is_none()
        {
            answer.model = Some(model.into_owned());
        }
        let mut progress = false;
        for choice in chunk.choices.into_iter().flatten() {
            if choice.index.unwrap_or(0) != 0 {
                continue;
            }
            if let Some(message) = choice.delta.or(choice.message) {
                progress |= self.message(message, answer)?;
            }
            if let Some(reason) = choice.finish_reason.filter(|reason| !reason.is_empty()) {
                answer.finish = Some(finish(&reason)?);
                progress = true;
            }
        }
        Ok(progress)
    }

    fn message(&mut self, message: Message<'_>, answer: &mut Answer) -> Result<bool, Fault> {
        let before = answer.uncounted;
        let reasoning = [message.reasoning_content, message.reasoning]
            .into_iter()
            .flatten()
            .find_map(|raw| text(raw).filter(|text| !text.is_empty()));
        if let Some(reasoning) = reasoning {
            answer.add_reasoning(&reasoning)?;
        }
        if let Some(content) = message.content {
            content_into(content, answer)?;
        }
        if let Some(refusal) = message.refusal.and_then(text) {
            answer.add_refusal(&refusal)?;
        }
        for detail in message.reasoning_details.into_iter().flatten() {
            add_detail(detail, answer)?;
        }
        for call in message.tool_calls.into_iter().flatten() {
            self.call(call, answer)?;
        }
        Ok(answer.uncounted > before)
    }

    fn call(&mut self, delta: CallDelta<'_>, answer: &mut Answer) -> Result<(), Fault> {
        let function = delta.function.unwrap_or_default();
        let id = delta.id.map(word).unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let position = self.position(delta.index, &id, &name, &answer.calls);
        let position = if let Some(position) = position {
            position
        } else {
            let position = answer.add_call(ToolCall::default())?;
            if let Some(index) = delta.index {
                self.by_index.insert(index, position);
            }
            self.last_arguments = Scanner::default();
            position
        };
        let arguments = function.arguments.map(arguments).unwrap_or_default();
        if position + 1 == answer.calls.len() {
            self.last_arguments.take(arguments.as_bytes());
        }
        let extra = delta.extra_content.map(RawValue::get);
        // What is held twice is counted twice.
        answer.hold(extra.map_or(0, weight) + 2 * id.len())?;
        // A name alone is a piece of a call as well.
        answer.add_call_chars(arguments.len() + name.len())?;
        let Some(call) = answer.calls.get_mut(position) else {
            return Ok(());
        };
        if !id.is_empty() {
            self.by_id.insert(id.clone(), position);
            call.id = id;
        }
        if !name.is_empty() {
            call.name = name.into_owned();
        }
        call.arguments.push_str(&arguments);
        if let Some(extra) = extra.and_then(|extra| serde_json::from_str(extra).ok()) {
            call.extra = extra;
        }
        Ok(())
    }

    /// The call that a piece belongs to; `None` for a new one.
    fn position(
        &self,
        index: Option<u64>,
        id: &str,
        name: &str,
        calls: &[ToolCall],
    ) -> Option<usize> {
        match index {
            // Proxies repeat index 0 for every call: another id with a name begins another call.
            Some(index) => {
                let position = *self.by_index.get(&index)?;
                let call = calls.get(position)?;
                let another =
                    !id.is_empty() && !call.id.is_empty() && call.id != id && !name.is_empty();
                (!another).then_some(position)
            }
            None if !id.is_empty() => self.by_id.get(id).copied(),
            // Whole calls without index and id: a name after a call that is whole begins another.
            None => {
                let last = calls.last()?;
                let another =
                    !name.is_empty() && !last.name.is_empty() && self.last_arguments.is_whole();
                (!another).then_some(calls.len() - 1)
            }
        }
    }

    /// Takes a `usage` object, wherever it was told.
    pub(crate) fn count(&mut self, told: &Value, answer: &mut Answer) {
        self.told.add(told);
        answer.usage = self.told.usage();
        answer.cost = self.told.cost();
    }
}

/// What a vendor's word for the end means.
fn finish(reason: &str) -> Result<Finish, Fault> {
    match reason {
        "tool_calls" | "function_call" | "tool_use" => Ok(Finish::ToolCalls),
        "length" | "model_length" | "max_tokens" => Ok(Finish::Length),
        "content_filter" | "safety" | "SAFETY" | "sensitive" => Ok(Finish::ContentFilter),
        "error" | "network_error" => Err(Fault::Told(ErrorBody {
            message: "the model stopped with an error".to_owned(),
            ..ErrorBody::default()
        })),
        "insufficient_system_resource" => Err(Fault::Told(ErrorBody {
            message: "the vendor has not the resources to go on".to_owned(),
            code: reason.to_owned(),
            ..ErrorBody::default()
        })),
        _ => Ok(Finish::Stop),
    }
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(raw.get()).ok()
}

/// A text, or a number as its digits.
fn word(raw: &RawValue) -> String {
    text(raw).map_or_else(|| raw.get().to_owned(), Cow::into_owned)
}

/// Arguments as JSON text; some send the value itself.
fn arguments(raw: &RawValue) -> Cow<'_, str> {
    text(raw).unwrap_or(Cow::Borrowed(raw.get()))
}

/// A text, or Mistral's list of parts.
fn content_into(raw: &RawValue, answer: &mut Answer) -> Result<(), Fault> {
    if let Some(text) = text(raw) {
        return answer.add_text(&text);
    }
    let Ok(Value::Array(parts)) = serde_json::from_str(raw.get()) else {
        return Ok(());
    };
    for part in &parts {
        match part.get("thinking") {
            Some(Value::Array(thoughts)) => {
                for thought in thoughts {
                    answer.add_reasoning(text_at(thought, "text"))?;
                }
            }
            Some(thought) => answer.add_reasoning(thought.as_str().unwrap_or_default())?,
            None => answer.add_text(text_at(part, "text"))?,
        }
    }
    Ok(())
}

/// OpenRouter sends the details of reasoning in pieces; they go back whole.
fn add_detail(piece: &RawValue, answer: &mut Answer) -> Result<(), Fault> {
    let weight = weight(piece.get());
    let Ok(piece) = serde_json::from_str::<Value>(piece.get()) else {
        return Ok(());
    };
    if !answer.extra.is_array() {
        answer.extra = Value::Array(Vec::new());
    }
    let Some(details) = answer.extra.as_array_mut() else {
        return Ok(());
    };
    let same = |known: &&mut Value| {
        !at(&piece, "index").is_null()
            && at(known, "index") == at(&piece, "index")
            && at(known, "type") == at(&piece, "type")
    };
    let Some(known) = details.last_mut().filter(same) else {
        details.push(piece);
        return answer.hold(weight);
    };
    let (Some(known), Value::Object(piece)) = (known.as_object_mut(), piece) else {
        return Ok(());
    };
    let mut held = 0;
    for (key, value) in piece {
        match (key.as_str(), known.get_mut(&key), value) {
            (_, _, Value::Null) => {}
            ("text" | "summary" | "data", Some(Value::String(text)), Value::String(more)) => {
                held += more.len();
                text.push_str(&more);
            }
            (_, Some(known), value) if *known == value => {}
            (_, _, value) => {
                held += weight;
                known.insert(key, value);
            }
        }
    }
    answer.hold(held)
}

#[cfg(test)]
mod tests;
