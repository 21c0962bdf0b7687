//! Bodies as text.

use encoding_rs::{Encoding, UTF_8};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::exchange::Response;
use crate::redact::Redactor;

/// The body as text; `None` when it is none. Of one that was cut, without what could be half a secret.
pub(super) fn text(response: &Response, redactor: &Redactor) -> Option<String> {
    let body = &response.body;
    let marked = Encoding::for_bom(body).map(|(encoding, _)| encoding);
    let wide = marked.is_some_and(|encoding| encoding != UTF_8);
    let head = body.get(..body.len().min(8192)).unwrap_or_default();
    if !wide && head.contains(&0) {
        return None;
    }
    let named = charset(&response.headers).and_then(|name| Encoding::for_label(name.as_bytes()));
    let (text, _, _) = marked.or(named).unwrap_or(UTF_8).decode(body);
    let mut text = text.into_owned();
    if response.cut {
        text.truncate(redactor.before_cut(&text).len());
    }
    Some(text)
}

/// The media type, in small letters, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

fn charset(headers: &HeaderMap) -> Option<String> {
    let value = headers
        .get(CONTENT_TYPE)?
        .to_str()
        .ok()?
        .to_ascii_lowercase();
    let name = value.split("charset=").nth(1)?.split(';').next()?;
    Some(name.trim().trim_matches('"').to_owned())
}

/// A note when the body was longer than what was read.
pub(super) fn cut_note(response: &Response) -> &'static str {
    if response.cut {
        "\n[the body is longer: the rest was not read]"
    } else {
        ""
    }
}
