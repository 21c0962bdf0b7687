//! Which model of a chain answers next, and what its request may carry: pure.

use super::call::{CallErrorKind, Link};
use crate::message::Message;
use crate::providers::{Endpoint, FaultKind, Request};

/// Models that one call asks at most.
pub(super) const MAX_LINKS: usize = 5;

/// What a link's failure means for those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nobody else is asked.
    Nobody,
    /// The next one is.
    Anybody,
    /// Only one with a larger window.
    Larger,
    /// Only one that does not share the account.
    OtherAccount,
}

fn next_for(kind: &CallErrorKind) -> Next {
    match kind {
        CallErrorKind::RateLimit | CallErrorKind::CircuitOpen => Next::Anybody,
        CallErrorKind::Deadline | CallErrorKind::Budget(_) | CallErrorKind::Ledger => Next::Nobody,
        CallErrorKind::Provider(fault) => match fault {
            FaultKind::ContextLength => Next::Larger,
            FaultKind::Quota | FaultKind::Auth => Next::OtherAccount,
            FaultKind::NotFound
            | FaultKind::RateLimited
            | FaultKind::Overloaded
            | FaultKind::Server
            | FaultKind::Network { .. }
            | FaultKind::Stream(_)
            | FaultKind::Unavailable => Next::Anybody,
            FaultKind::Deadline
            | FaultKind::ContentPolicy
            | FaultKind::BadRequest
            | FaultKind::Config
            | FaultKind::Protocol
            | FaultKind::NotRecorded
            | FaultKind::Recording { .. }
            | FaultKind::TurnLimit
            | FaultKind::Budget
            | FaultKind::Schema
            | FaultKind::Denied => Next::Nobody,
        },
    }
}

/// The index of the link that answers after the one at `failed`, if one may. `prompt_tokens` is about
/// how large the prompt is.
pub(super) fn next_link(
    chain: &[Link],
    failed: usize,
    kind: &CallErrorKind,
    prompt_tokens: u64,
) -> Option<usize> {
    let next = next_for(kind);
    let from = chain.get(failed)?;
    let is_allowed = |link: &Link| match next {
        Next::Nobody => false,
        Next::Anybody => true,
        Next::Larger => {
            let needed = window(from).unwrap_or(prompt_tokens);
            window(link).is_some_and(|window| window > needed)
        }
        Next::OtherAccount => !shares_account(from.provider.endpoint(), link.provider.endpoint()),
    };
    let is_repeated = |index: usize, link: &Link| {
        chain
            .iter()
            .take(index)
            .any(|earlier| is_same_model(earlier, link))
    };
    (failed + 1..chain.len().min(MAX_LINKS)).find(|&index| {
        chain
            .get(index)
            .is_some_and(|link| is_allowed(link) && !is_repeated(index, link))
    })
}

/// The link behind this one that its provider may turn to by itself, in the middle of its work: where it
/// takes its own turns, and the next model is one of its own.
pub(super) fn own_fallback(chain: &[Link], index: usize) -> Option<&Link> {
    let link = chain.get(index)?;
    let next = chain.get(index + 1)?;
    let is_its_own = link.provider.runs_own_tools()
        && link.provider.endpoint() == next.provider.endpoint()
        && link.model != next.model;
    is_its_own.then_some(next)
}

fn window(link: &Link) -> Option<u64> {
    link.facts.as_ref()?.max_input_tokens
}

fn is_same_model(one: &Link, other: &Link) -> bool {
    one.model == other.model && one.provider.endpoint() == other.provider.endpoint()
}

/// Whether two endpoints draw on one account: one key, or one login of one program.
fn shares_account(one: &Endpoint, other: &Endpoint) -> bool {
    if one.key_fingerprint.is_empty() {
        return one.provider == other.provider && one.base_url == other.base_url;
    }
    one.key_fingerprint == other.key_fingerprint
}

/// The request without what only another vendor understands: signatures of thinking, extra fields of
/// calls. `None` when there is nothing to drop: a conversation is not copied without need.
pub(super) fn without_foreign(request: &Request, vendor: &str) -> Option<Request> {
    let is_foreign = |message: &Message| match message {
        Message::Assistant(said) => {
            said.vendor != vendor
                && (!said.vendor_extra.is_null()
                    || said.calls.iter().any(|call| !call.extra.is_null()))
        }
        Message::User { .. } | Message::Tool { .. } => false,
    };
    if !request.messages.iter().any(is_foreign) {
        return None;
    }
    let mut request = request.clone();
    for message in &mut request.messages {
        if is_foreign(message)
            && let Message::Assistant(said) = message
        {
            said.vendor_extra = serde_json::Value::Null;
            said.vendor.clear();
            for call in &mut said.calls {
                call.extra = serde_json::Value::Null;
            }
        }
    }
    Some(request)
}
