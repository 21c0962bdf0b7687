//! The `write` tool: a file with this content, or with this content at its end.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::edit::wide;
use super::{Before, ToolAnswer, ToolContext, ToolError, ToolOutput, ToolStatus, params};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The file, relative to the workspace; missing directories are made.
    path: String,
    /// What it shall hold.
    content: String,
    /// Put the content at the end of the file instead of replacing it.
    append: Option<bool>,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let params: Params = params::parse("write", &value)?;
        context
            .blocking(move |workspace| {
                let Params {
                    path,
                    content,
                    append,
                } = params;
                let append = append.unwrap_or(false);
                let size = content.len();
                let replaced = workspace.replace(&path, |before| match (append, before) {
                    (true, Before::Content(old)) if let Some(name) = wide(old) => {
                        Err(ToolError::tell(format!(
                            "`{path}` is in {name}, not UTF-8: it cannot be appended to"
                        )))
                    }
                    (true, Before::Content(old)) => Ok([old, content.as_bytes()].concat()),
                    (true, Before::TooLarge) => Err(ToolError::tell(format!(
                        "`{path}` is too large to append to"
                    ))),
                    _ => Ok(content.into_bytes()),
                })?;
                let did = match (replaced.created, append) {
                    (true, _) => "created",
                    (false, true) => "appended to",
                    (false, false) => "replaced",
                };
                Ok(ToolOutput {
                    content: format!("{did} `{path}` ({size} bytes written)"),
                    status: ToolStatus::Ok,
                    exit_code: None,
                    warnings: Vec::new(),
                })
            })
            .await
    })
}
