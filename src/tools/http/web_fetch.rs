//! The `web_fetch` tool: a page as readable text.

use futures_util::future::BoxFuture;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::exchange::{Request, send};
use super::{body, limit, target};
use crate::redact::Redactor;
use crate::tools::{ToolAnswer, ToolContext, ToolError, ToolOutput, params};

/// Characters of text that one call gives, when it asks for no other number.
const USUAL: u64 = 20_000;

/// The most that it may ask for.
const MOST: u64 = 60_000;

/// Bytes of a page that are turned into text.
const LARGEST: usize = 2 * 1024 * 1024;

/// Elements inside elements: the time that a parser takes grows with the square of it.
const DEEPEST: usize = 500;

/// Columns of the text.
const WIDTH: usize = 100;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The URL of the page, http or https.
    url: String,
    /// The most characters to give.
    max_chars: Option<u64>,
}

pub(in crate::tools) fn schema() -> Value {
    params::schema::<Params>()
}

pub(in crate::tools) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("web_fetch", &value)?;
        let accept =
            HeaderValue::from_static("text/html,application/xhtml+xml,text/*;q=0.9,*/*;q=0.5");
        let request = Request {
            method: Method::GET,
            url: target::parse(&params.url)?,
            headers: HeaderMap::from_iter([(ACCEPT, accept)]),
            body: None,
        };
        let response = send(context, request, limit(context, None)?).await?;
        let url = response.url.clone();
        if !response.status.is_success() {
            return Err(ToolError::tell(format!(
                "`{url}` answered {}",
                response.status
            )));
        }
        let (note, status) = (body::cut_note(&response), body::status(&response));
        let media = body::media_type(&response.headers);
        let Some(text) = body::text(&response, &context.redactor) else {
            return Err(ToolError::tell(format!("`{url}` is no text but `{media}`")));
        };
        let text = if is_html(&media, &text) {
            context.blocking(move |_| readable(&text)).await?
        } else {
            text
        };
        let most = params
            .max_chars
            .filter(|most| *most > 0)
            .unwrap_or(USUAL)
            .min(MOST);
        Ok(ToolOutput {
            status,
            ..ToolOutput::from(cut(text, most, &context.redactor) + &note)
        })
    })
}

fn is_html(media: &str, text: &str) -> bool {
    match media {
        "text/html" | "application/xhtml+xml" => true,
        "" => text.trim_start().starts_with('<'),
        _ => false,
    }
}

/// The text of a page: headings, lists, tables, its links at the end.
fn readable(html: &str) -> Result<String, ToolError> {
    let end = (0..=LARGEST.min(html.len()))
        .rev()
        .find(|end| html.is_char_boundary(*end))
        .unwrap_or(0);
    let html = html.get(..end).unwrap_or_default();
    if depth(html) > DEEPEST {
        return Err(ToolError::tell(
            "the page is nested too deeply to be shown as text: fetch it with `http_request`",
        ));
    }
    html2text::config::plain()
        .allow_width_overflow()
        .no_table_borders()
        .string_from_read(html.as_bytes(), WIDTH)
        .map_err(|error| {
            ToolError::tell(format!("the page could not be turned into text: {error}"))
        })
}

/// How deep elements are nested, about: those that end by themselves are not counted.
fn depth(html: &str) -> usize {
    const SELF_ENDING: [&str; 26] = [
        "area", "base", "br", "col", "dd", "dt", "embed", "hr", "img", "input", "li", "link",
        "meta", "option", "p", "param", "source", "tbody", "td", "tfoot", "th", "thead", "tr",
        "track", "wbr", "path",
    ];
    let (mut depth, mut deepest) = (0_usize, 0);
    for piece in html.split('<').skip(1) {
        let closing = piece.starts_with('/');
        let name: String = piece
            .trim_start_matches('/')
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .take(16)
            .flat_map(char::to_lowercase)
            .collect();
        if name.is_empty() || SELF_ENDING.contains(&name.as_str()) {
            continue;
        }
        if closing {
            depth = depth.saturating_sub(1);
        } else if !piece.split('>').next().unwrap_or_default().ends_with('/') {
            depth += 1;
            deepest = deepest.max(depth);
        }
    }
    deepest
}

fn cut(text: String, most: u64, redactor: &Redactor) -> String {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    match text.char_indices().nth(most) {
        Some((end, _)) => {
            let total = text.chars().count();
            let kept = redactor.before_cut(text.get(..end).unwrap_or_default());
            format!(
                "{kept}\n[the first {most} of {total} characters; `max_chars` can ask for more]"
            )
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_readable() {
        let html = "<html><head><title>T</title><style>x{}</style></head><body><h1>Head</h1>\
                    <p>One <a href='/x'>link</a>.</p><script>alert(1)</script>\
                    <ul><li>a<li>b</ul><table><tr><td>1<td>2</table></body></html>";
        let text = readable(html).unwrap();
        assert_eq!(
            text,
            "# Head\n\nOne [link][1].\n* a\n* b\n\n1 2\n\n[1]: /x\n"
        );
    }

    #[test]
    fn a_page_that_is_nested_too_deeply_is_refused_quickly() {
        assert_eq!(
            depth("<p><br><div><b></b><img/><svg/></div><li><li></x>"),
            2
        );
        assert!(readable(&"<div>".repeat(400_000)).is_err());
        assert!(readable(&"<ul><li>".repeat(300_000)).is_err());
        assert!(readable(&"<p>x".repeat(100_000)).is_ok());
    }

    #[test]
    fn text_is_cut_where_it_was_asked() {
        assert_eq!(cut("äöü".into(), 3, &Redactor::default()), "äöü");
        assert_eq!(
            cut("äöü".into(), 2, &Redactor::default()),
            "äö\n[the first 2 of 3 characters; `max_chars` can ask for more]"
        );
    }
}
