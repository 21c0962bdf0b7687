//! Why a server cannot be used, in words that tell nothing of how this program is made.

use std::error::Error;

use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

/// Why a conversation did not begin.
pub(super) fn of_begin(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::TransportError { error, .. } => of_transport(error),
        ClientInitializeError::ConnectionClosed(_) => "it ended before it answered".to_owned(),
        other => other.to_string(),
    }
}

/// Why a request got no answer.
pub(super) fn of_request(error: &ServiceError) -> String {
    match error {
        ServiceError::TransportClosed => "it has ended".to_owned(),
        ServiceError::TransportSend(error) => of_transport(error),
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
