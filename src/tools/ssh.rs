//! The `ssh` tool: a command on a configured server.

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{ToolAnswer, ToolContext, ToolError, params};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// The name of the server.
    #[serde(rename = "host")]
    _host: String,
    /// The command line to run there.
    #[serde(rename = "command")]
    _command: String,
    /// Seconds that it may take; 120 by default.
    #[serde(rename = "timeout")]
    _timeout: Option<f64>,
}

pub(super) fn schema() -> Value {
    params::schema::<Params>()
}

pub(super) fn run(_context: &ToolContext, value: Value) -> BoxFuture<'_, ToolAnswer> {
    Box::pin(async move {
        let _params: Params = params::parse("ssh", &value)?;
        Err(ToolError::refused(
            "the sandbox that `ssh` needs is not available",
        ))
    })
}
