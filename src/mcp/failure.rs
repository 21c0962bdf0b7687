//! Why a server cannot be used, in words that tell nothing of how this program is made.

use std::error::Error;
use std::io;

use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

/// Why a conversation did not begin.
pub(super) fn of_begin(error: &ClientInitializeError) -> String {
    use ClientInitializeError as Begin;
    match error {
        Begin::TransportError { error, .. } => of_transport(error),
        Begin::ConnectionClosed(_) => "it ended before it answered".to_owned(),
        Begin::JsonRpcError(error) => format!("it refuses to begin: {}", error.message),
        Begin::NoCompatibleProtocolVersion { .. } => {
            "it speaks no version of MCP that is known here".to_owned()
        }
        Begin::LegacyFallbackFailed { fallback, .. } => of_begin(fallback),
        Begin::ExpectedInitResponse(_)
        | Begin::ExpectedInitResult(_)
        | Begin::ConflictInitResponseId(..)
        | Begin::UncorrelatedErrorResponse { .. } => {
            "what it answers is no MCP: is it an MCP server?".to_owned()
        }
        other => other.to_string(),
    }
}

/// Why a server did not tell its tools.
pub(super) fn of_request(error: &ServiceError) -> String {
    match error {
        ServiceError::TransportClosed => "it has ended".to_owned(),
        ServiceError::TransportSend(error) => of_transport(error),
        ServiceError::McpError(error) => format!("it does not tell its tools: {}", error.message),
        ServiceError::UnexpectedResponse => "its list of tools is none".to_owned(),
        other => other.to_string(),
    }
}

/// Why a tool gave no result, for the model.
pub(super) fn of_call(error: &ServiceError) -> String {
    match error {
        ServiceError::TransportClosed => "the server has ended".to_owned(),
        ServiceError::TransportSend(error) if error.error.is::<io::Error>() => {
            "the server has ended".to_owned()
        }
        ServiceError::TransportSend(error) => format!("the server: {}", of_transport(error)),
        ServiceError::McpError(error) => error.message.to_string(),
        ServiceError::UnexpectedResponse => {
            "the answer of the server is no result of a tool".to_owned()
        }
        ServiceError::InputRequiredRoundsExceeded { .. } => {
            "the tool asks for more and more, which nobody gives here".to_owned()
        }
        other => other.to_string(),
    }
}

fn of_transport(error: &DynamicTransportError) -> String {
    match error
        .error
        .downcast_ref::<StreamableHttpError<reqwest::Error>>()
    {
        // Its own words name the whole address, in which there may be a key.
        Some(StreamableHttpError::Client(error)) => {
            let what = match error.status() {
                Some(status) => format!("HTTP {}", status.as_u16()),
                None => innermost(error),
            };
            format!("it cannot be reached: {what}")
        }
        Some(StreamableHttpError::AuthRequired(_)) => "it wants a login (HTTP 401)".to_owned(),
        Some(StreamableHttpError::InsufficientScope(_)) => {
            "what it was sent gives no right to it (HTTP 403)".to_owned()
        }
        Some(StreamableHttpError::HttpStatus(error)) => format!("it answers HTTP {}", error.status),
        Some(StreamableHttpError::SessionExpired) => {
            "it knows nothing of this session any more (HTTP 404)".to_owned()
        }
        Some(StreamableHttpError::ResponseBodyTooLarge { max_size }) => {
            format!("its answer is larger than {} MiB", max_size >> 20)
        }
        Some(StreamableHttpError::UnexpectedContentType(kind)) => format!(
            "it answers with `{}`, which is no MCP: is its `url` right?",
            kind.as_deref().unwrap_or("nothing")
        ),
        Some(
            StreamableHttpError::Deserialize(_)
            | StreamableHttpError::MissingSessionIdInResponse
            | StreamableHttpError::ServerDoesNotSupportSse
            | StreamableHttpError::UnexpectedEndOfStream,
        ) => "what it answers is no MCP: is its `url` right?".to_owned(),
        Some(error) => error.to_string(),
        None => error.error.to_string(),
    }
}

fn innermost(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(next) = innermost.source() {
        innermost = next;
    }
    innermost.to_string().to_lowercase()
}
