//! The `bash` tool: a shell line in the sandbox.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{ToolAnswer, ToolContext, ToolError, params};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The command line.
    #[serde(rename = "command")]
    _command: String,
    /// Where to run it, relative to the workspace; the workspace itself by default.
    #[serde(rename = "working_dir")]
    _working_dir: Option<String>,
    /// Seconds that it may take; 120 by default.
    #[serde(rename = "timeout")]
    _timeout: Option<f64>,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(_context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let _params: Params = params::parse("bash", &value)?;
        Err(ToolError::refused(
            "the sandbox that `bash` needs is not available",
        ))
    })
}
