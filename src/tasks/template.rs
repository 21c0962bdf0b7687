//! Templates: prompts, commands and expressions over what is known when a step starts.
//!
//! What a model said is only ever a value in a template, never a template itself.

use std::sync::LazyLock;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};
use serde::Deserialize;

use super::scope::Scope;
use super::shell;

/// How much a template may do: about so many instructions, or 64 times as many bytes of text.
const FUEL: u64 = 1_000_000;

/// The name of templates whose values become words of a shell line.
const COMMAND: &str = "command";

/// Begins and ends a value in a command that is being rendered; neither is a character.
const VALUE: [char; 2] = [shell::VALUE, '\u{fdd1}'];

/// Why a template gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

/// The environment of all templates; it can load nothing and knows no templates of others.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_debug(false);
    environment.set_formatter(|out, state, value| {
        if value.is_undefined() {
            return Err(Error::from(ErrorKind::UndefinedError));
        }
        let mut text = text_of(value);
        // Whatever a value calls itself: in a command it is a value.
        if state.name() == COMMAND {
            let [begin, end] = VALUE;
            text = format!("{begin}{}{end}", text.replace(VALUE, ""));
        }
        out.write_str(&text).map_err(Error::from)
    });
    environment
});

/// Nothing for none, text as it is, everything else as JSON.
fn text_of(value: &Value) -> String {
    match value.kind() {
        ValueKind::None => String::new(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            serde_json::to_string(value).unwrap_or_else(|_| value.to_string())
        }
        _ => value.to_string(),
    }
}

/// A text as one word of a shell line, whatever it holds.
pub(super) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    // No program is given an argument with a zero byte in it.
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

/// Renders a prompt.
///
/// # Errors
/// When it is no template, or names what is not there.
pub(super) fn text(source: &str, scope: &Scope) -> Result<String, TemplateError> {
    render("prompt", source, scope)
}

/// Renders a shell line: every value in it is one word, or a part of one.
///
/// # Errors
/// When it is no template, names what is not there, or a value stands where it would be no word.
pub(super) fn command(source: &str, scope: &Scope) -> Result<String, TemplateError> {
    let rendered = render(COMMAND, &source.replace(VALUE, ""), scope)?;
    let [begin, end] = VALUE;
    let (mut line, mut filled) = (String::new(), String::new());
    for (index, part) in rendered.split(begin).enumerate() {
        let (value, literal) = part.split_once(end).unwrap_or(("", part));
        if index > 0 {
            line.push(begin);
            filled.push_str(&shell_word(value));
        }
        line.push_str(literal);
        filled.push_str(literal);
    }
    shell::check(&line)
        .map_err(|misplaced| TemplateError(format!("{misplaced}; {}", misplaced.hint())))?;
    Ok(filled)
}

fn render(name: &str, source: &str, scope: &Scope) -> Result<String, TemplateError> {
    if !source.contains('{') {
        return Ok(source.to_owned());
    }
    ENVIRONMENT
        .render_named_str(name, source, scope.value())
        .map_err(|error| told(&error, source))
}

/// The value of a text that is one `{{ expression }}`; any other text is rendered.
///
/// # Errors
/// When it is no template, or names what is not there.
pub(super) fn value(source: &str, scope: &Scope) -> Result<serde_json::Value, TemplateError> {
    let Some(expression) = only_expression(source) else {
        return text(source, scope).map(serde_json::Value::from);
    };
    let value = evaluate(expression, scope)?;
    if value.is_undefined() {
        return Err(TemplateError(format!("`{expression}` is not there")));
    }
    serde_json::Value::deserialize(value)
        .map_err(|_| TemplateError(format!("`{expression}` is no plain value")))
}

/// The truth of an expression, with or without `{{ }}` round it.
///
/// # Errors
/// When it is no expression, or names what is not there.
pub(super) fn condition(source: &str, scope: &Scope) -> Result<bool, TemplateError> {
    let expression = only_expression(source).unwrap_or(source);
    let value = evaluate(expression, scope)?;
    if value.is_undefined() {
        return Err(TemplateError(format!("`{expression}` is not there")));
    }
    Ok(value.is_true())
}

fn evaluate(expression: &str, scope: &Scope) -> Result<Value, TemplateError> {
    ENVIRONMENT
        .compile_expression(expression)
        .and_then(|compiled| compiled.eval(scope.value()))
        .map_err(|error| told(&error, expression))
}

/// The expression of a text that is nothing but one `{{ expression }}`.
pub(super) fn only_expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let whole = !inner.contains("{{") && !inner.contains("}}");
    whole.then(|| inner.trim_matches(['-', ' ', '\t', '\n', '\r']))
}

/// What is wrong, with the words of the template that it is about.
fn told(error: &Error, source: &str) -> TemplateError {
    TemplateError(complaint(error, source))
}

/// The same, where it is checked and not rendered.
pub(super) fn complaint(error: &Error, source: &str) -> String {
    let about = error
        .range()
        .and_then(|range| {
            // The place that is told may begin in the middle of `a.b.c`.
            let part_of_a_name = |c: char| c.is_alphanumeric() || "_.[]'\"".contains(c);
            let before = source.get(..range.start)?;
            let start = before.trim_end_matches(part_of_a_name).len();
            source.get(start..range.end)
        })
        .map(str::trim)
        .filter(|words| !words.is_empty() && words.len() <= 80);
    let mut words = match error.kind() {
        ErrorKind::UndefinedError => "it names what is not there".to_owned(),
        ErrorKind::OutOfFuel => "it does too much".to_owned(),
        kind => kind.to_string(),
    };
    if let Some(detail) = error.detail()
        && error.kind() != ErrorKind::UndefinedError
    {
        words.push_str(&format!(": {detail}"));
    }
    match about {
        Some(about) => format!("the template cannot be used at `{about}`: {words}"),
        None => format!("the template cannot be used: {words}"),
    }
}

#[cfg(test)]
mod tests;
