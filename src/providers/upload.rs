//! Requests whose connection breaks while they are being written.
//!
//! A server may refuse a request by its head or its size, and close at once. What it said has come by then, but the
//! client below gives up on the connection at the first write that fails, and looks for an answer no more. So such a
//! request is sent once again, slowly, which leaves it time to be refused while nothing is written.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::http::causes;

/// Bytes that the system takes in one write: what is not longer cannot be cut, it fails as a whole or arrives.
pub(super) const ONE_WRITE: usize = 16 << 10;

/// Bytes of a slow body that go at once: servers may want to see some of it.
const BEGINNING: usize = 4096;

/// How long the others are held back.
const HELD_BACK: Duration = Duration::from_secs(2);

/// Whether the connection broke before all of a request was written: the server cannot have acted on it.
pub(super) fn is_cut(error: &reqwest::Error) -> bool {
    // There is no other way to tell it from a connection that broke later.
    causes(error).any(|cause| cause.to_string() == "error writing a body to connection")
}

/// A body that leaves a server time to refuse it. Its length must stand in the head.
pub(super) fn slow(mut body: Bytes) -> reqwest::Body {
    let beginning = body.split_to(BEGINNING.min(body.len()));
    let rest = stream::once(async move {
        tokio::time::sleep(HELD_BACK).await;
        body
    });
    let pieces = stream::iter([beginning]).chain(rest);
    reqwest::Body::wrap_stream(pieces.map(Ok::<_, std::convert::Infallible>))
}
