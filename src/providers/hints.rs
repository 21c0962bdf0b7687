//! What a user can do about a failed call.

use std::time::Duration;

use super::vendors::Vendor;
use super::{FaultKind, address, aliases};
use crate::clock;

/// What hints are made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    /// The provider's name.
    pub name: &'a str,
    pub vendor: Option<&'static Vendor>,
    /// The model that was asked.
    pub model: &'a str,
    /// The variables that may hold the key.
    pub key_variables: &'a [String],
    /// Whether a key was sent.
    pub has_key: bool,
    /// The base URL.
    pub base_url: &'a str,
    /// The server runs on this machine.
    pub loopback: bool,
}

/// The hint for a class of failure.
pub(super) fn hint(kind: &FaultKind, facts: Facts<'_>) -> Option<String> {
    let Facts { name, model, .. } = facts;
    match kind {
        FaultKind::Auth => Some(key(facts)),
        FaultKind::Quota => Some(match facts.vendor.and_then(|vendor| vendor.billing_page) {
            Some(page) => format!("top up or raise the limit of the account: {page}"),
            None => format!("top up or raise the limit of the account of `{name}`"),
        }),
        FaultKind::NotFound => Some(not_found(facts)),
        FaultKind::ContextLength => Some(
            "shorten the prompt, start a new conversation, or choose a model with a larger window"
                .to_owned(),
        ),
        FaultKind::ContentPolicy => {
            Some("the vendor refused the content; change the prompt".to_owned())
        }
        FaultKind::Protocol => Some(format!(
            "`base_url` must point at the API of a model server; it is {}",
            address::shown(facts.base_url)
        )),
        FaultKind::Network { permanent: true } => Some(format!(
            "check the `base_url` of `{name}` and its certificate"
        )),
        FaultKind::Network { permanent: false } if facts.loopback => Some(match facts.vendor {
            Some(vendor) if vendor.prefix == "ollama" => {
                "is Ollama running? start it with `ollama serve`".to_owned()
            }
            Some(vendor) => format!("is {} running on this machine?", vendor.title),
            None => format!("is the server of `{name}` running on this machine?"),
        }),
        FaultKind::BadRequest if facts.vendor.is_some_and(|vendor| vendor.local) => {
            Some(format!("does `{model}` fit what this server can do?"))
        }
        _ => None,
    }
}

fn key(facts: Facts<'_>) -> String {
    match (facts.key_variables, facts.has_key) {
        ([], _) => format!(
            "name the variable that holds the key: `providers: {{{}: {{api_key_env: NAME}}}}`",
            facts.name
        ),
        ([variable, ..], true) => {
            format!("the key in `{variable}` was refused; put a good one there")
        }
        ([variable, others @ ..], false) => {
            let others = match others {
                [] => String::new(),
                others => format!(" (or {})", others.join(", ")),
            };
            format!("set `{variable}`{others} in the environment or in a `.env` file")
        }
    }
}

fn not_found(facts: Facts<'_>) -> String {
    let (name, model) = (facts.name, facts.model);
    if model.is_empty() {
        let place = address::shown(facts.base_url);
        return format!("check the `base_url` of `{name}`; it is {place}");
    }
    if facts.vendor.is_some_and(|vendor| vendor.prefix == "ollama") {
        return format!("pull it first: `ollama pull {model}`");
    }
    match aliases::successor(name, model) {
        Some(successor) => format!("`{successor}` took its place"),
        None => format!(
            "check the name `{model}` and the `base_url` of `{name}`; `orch --models` lists the \
             models that have an alias"
        ),
    }
}

/// How long a clock is, for a message.
pub(super) fn span(limit: Option<Duration>) -> String {
    match limit {
        Some(limit) => format!("{} s", clock::seconds(limit)),
        None => "no limit".to_owned(),
    }
}
