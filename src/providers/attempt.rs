//! One attempt at a model server, whatever its protocol: send, adapt once where an optional field is
//! refused, read.

use super::adapt::{self, Adapted, Sent};
use super::read::{self, Decoder, Reading};
use super::target::Target;
use super::watch::Watch;
use super::{ProviderError, Reply, Request};
use crate::event::Events;
use crate::usage::Meter;

/// How often one request is changed because a server refused an optional field of it.
const ADAPTATIONS: usize = 3;

/// A request as it is sent.
#[derive(Debug)]
pub(super) struct Wire {
    /// The body.
    pub body: Vec<u8>,
    /// Its optional fields.
    pub sent: Sent,
    /// Whether tools are offered in words.
    pub text_tools: bool,
    /// What the user asked for and the model does not take.
    pub warnings: Vec<String>,
}

/// What one attempt is given.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub target: &'a Target,
    /// The path of the call.
    pub path: &'a str,
    pub request: &'a Request,
    pub meter: &'a Meter,
    pub events: &'a Events,
}

/// Makes the attempt.
///
/// # Errors
/// When no whole, well-ended answer came.
pub(super) async fn make(
    attempt: Attempt<'_>,
    build: impl Fn(Adapted) -> Wire + Send + Sync,
    decoder: Decoder,
) -> Result<Reply, ProviderError> {
    let Attempt {
        target, request, ..
    } = attempt;
    let base_url = &target.endpoint.base_url;
    let mut adapted = adapt::remembered(base_url, &request.model);
    let mut warnings = Vec::new();
    let mut changes = 0;
    // The clocks run over the changed requests as well: they are one attempt.
    let watch = Watch::start(request.clocks);
    loop {
        let wire = build(adapted);
        let url = target.url(attempt.path);
        let response = target.post(url, wire.body, request, &watch).await?;
        if response.status().is_success() {
            warnings.extend(wire.warnings);
            let reading = Reading {
                target,
                request,
                meter: attempt.meter,
                events: attempt.events,
                text_tools: wire.text_tools,
                warnings,
            };
            return read::read(reading, response, decoder, watch).await;
        }
        let refusal = target.refusal(response, &watch).await;
        let changed = adapt::change(refusal.status, &refusal.body, wire.sent, adapted);
        let Some(changed) = changed.filter(|_| changes < ADAPTATIONS) else {
            let mut error = target.refused(&refusal, request);
            decoder.charge(&refusal.body.usage, &mut error.partial);
            return Err(error);
        };
        changes += 1;
        warnings.push(changed.warning(adapted, &request.model));
        adapt::remember(base_url, &request.model, changed);
        adapted = changed;
    }
}
