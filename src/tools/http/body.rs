//! Bodies as text.

use encoding_rs::{Encoding, UTF_8};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::exchange::{Cut, Response};
use crate::clock;
use crate::redact::Redactor;
use crate::tools::ToolStatus;

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
    if response.cut.is_some() {
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

/// A note when the body is not whole.
pub(super) fn cut_note(response: &Response) -> String {
    match &response.cut {
        None => String::new(),
        Some(Cut::Long) => "\n[the body is longer: the rest was not read]".to_owned(),
        Some(Cut::Late(limit)) => format!(
            "\n[the body broke off: the rest did not come within {} s]",
            clock::seconds(*limit)
        ),
        Some(Cut::Broken(why)) => format!("\n[the body broke off: {why}]"),
    }
}

/// What came of a request whose answer, but for its body, is one that was wanted.
pub(super) fn status(response: &Response) -> ToolStatus {
    match response.cut {
        None | Some(Cut::Long) => ToolStatus::Ok,
        Some(Cut::Late(_)) => ToolStatus::TimedOut,
        Some(Cut::Broken(_)) => ToolStatus::Failed,
    }
}
