//! The `http_request` tool, and what `web_fetch` shares with it. Only the address that was checked
//! is connected to; no key, cookie or proxy of the user is used.

mod address;
mod body;
mod exchange;
mod target;
pub(super) mod web_fetch;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{ToolAnswer, ToolContext, ToolError, ToolOutput, ToolStatus, params};
use crate::redact::Redactor;
pub use address::is_host_and_port;
use exchange::{Request, Response, send};

/// The longest that a request may take where the settings set no limit.
const LONGEST: Duration = Duration::from_mins(5);

/// Bytes of response headers that are shown.
const SHOWN_HEADERS: usize = 8 * 1024;

/// Headers that decide where a request goes or how it is framed; what begins with `proxy-` too.
const RESERVED: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "expect",
    "http2-settings",
    "accept-encoding",
    "forwarded",
];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The URL, http or https.
    url: String,
    /// GET (the default), POST, PUT, PATCH, DELETE, HEAD or OPTIONS.
    method: Option<String>,
    /// Request headers, by name.
    headers: Option<BTreeMap<String, String>>,
    /// The request's body.
    body: Option<String>,
    /// Seconds that it may take.
    timeout: Option<f64>,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("http_request", &value)?;
        let mut headers = headers(params.headers.as_ref())?;
        if let Some(body) = params
            .body
            .as_ref()
            .filter(|_| !headers.contains_key(CONTENT_TYPE))
        {
            headers.insert(CONTENT_TYPE, media_type_of(body));
        }
        let request = Request {
            method: method(params.method.as_deref())?,
            url: target::parse(&params.url)?,
            headers,
            body: params.body,
        };
        let limit = limit(context, params.timeout)?;
        let response = send(context, request, limit).await?;
        Ok(shown(&response, &context.redactor))
    })
}

fn method(name: Option<&str>) -> Result<Method, ToolError> {
    let name = name.unwrap_or("GET").to_ascii_uppercase();
    match name.as_str() {
        "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS" => {
            Method::from_bytes(name.as_bytes())
                .map_err(|error| ToolError::tell(format!("`{name}`: {error}")))
        }
        _ => Err(ToolError::refused(format!(
            "the method `{name}` is not allowed"
        ))),
    }
}

fn headers(given: Option<&BTreeMap<String, String>>) -> Result<HeaderMap, ToolError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given.into_iter().flatten() {
        let wrong = || {
            ToolError::refused(format!(
                "the header `{}` is not allowed",
                name.escape_debug()
            ))
        };
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        if RESERVED.contains(&parsed.as_str()) || parsed.as_str().starts_with("proxy-") {
            return Err(wrong());
        }
        let value = HeaderValue::from_str(value).map_err(|_| {
            ToolError::refused(format!(
                "the value of the header `{name}` holds line ends or control characters, which is not allowed"
            ))
        })?;
        headers.append(parsed, value);
    }
    Ok(headers)
}

fn media_type_of(body: &str) -> HeaderValue {
    let json = matches!(
        serde_json::from_str(body),
        Ok(Value::Object(_) | Value::Array(_))
    );
    HeaderValue::from_static(if json {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    })
}

/// What the model asked for, within what the settings allow.
fn limit(context: &ToolContext, asked: Option<f64>) -> Result<Duration, ToolError> {
    let most = context.http.timeout.limit().unwrap_or(LONGEST);
    let Some(seconds) = asked else {
        return Ok(most);
    };
    if seconds <= 0.0 {
        return Err(ToolError::tell(format!(
            "`timeout` must be more than 0 seconds, not {seconds}"
        )));
    }
    Ok(Duration::try_from_secs_f64(seconds).map_or(most, |asked| asked.min(most)))
}

fn shown(response: &Response, redactor: &Redactor) -> ToolOutput {
    let status = response.status;
    let mut text = format!("HTTP {status}");
    if response.hops > 0 {
        text.push_str(&format!(
            "\n[after {} redirects: {}]",
            response.hops, response.url
        ));
    }
    let mut room = SHOWN_HEADERS;
    for (name, value) in &response.headers {
        let line = format!("\n{name}: {}", String::from_utf8_lossy(value.as_bytes()));
        match room.checked_sub(line.len()) {
            Some(left) => room = left,
            None => break,
        }
        text.push_str(&line);
    }
    match body::text(response, redactor) {
        Some(body) if body.is_empty() => {}
        Some(body) => {
            text.push_str("\n\n");
            text.push_str(&body);
        }
        None => text.push_str(&format!(
            "\n\n[a body of {} bytes that are no text]",
            response.body.len()
        )),
    }
    text.push_str(&body::cut_note(response));
    ToolOutput {
        content: text,
        status: if status.is_client_error() || status.is_server_error() {
            ToolStatus::Failed
        } else {
            body::status(response)
        },
        exit_code: None,
        warnings: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
