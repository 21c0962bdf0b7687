//! Whether a model that is named is one that can be meant.

use super::aliases::{Resolved, is_alias, is_named, resolve_among};
use super::vendors;

/// Why a model is none that can be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Nobody is known by the part before the `/`.
    Provider(String),
    /// The vendor is known and lists no such model: whoever means it writes its whole name, `vendor/model`.
    Model(Resolved),
}

/// Looks whether a model, as a user wrote it under a provider, is an alias, a listed model or one whose provider
/// was named with it. `is_free` tells of the providers that the user has given an address of their own: those, and
/// servers on the user's machines, have the models that they have. `is_listed` looks into the price list.
///
/// # Errors
/// What is unknown about it.
pub fn known(
    provider: &str,
    model: &str,
    is_free: impl Fn(&str) -> bool,
    is_listed: impl Fn(&Resolved) -> bool,
) -> Result<(), Unknown> {
    let resolved = resolve_among(provider, model, &is_free);
    let vendor = resolved.vendor.as_str();
    if vendor == "replay" || is_free(vendor) {
        return Ok(());
    }
    let known = match vendors::find(vendor) {
        // Gateways give the CLI names of their own, all with its family's.
        None if vendor == "claude" => {
            is_alias("claude", model) || model.contains('/') || model.contains("claude")
        }
        None => return Err(Unknown::Provider(resolved.vendor)),
        Some(vendor) if vendor.local => true,
        Some(vendor) => match model.split_once('/') {
            Some((prefix, _)) if !vendor.slash_names && !is_named(prefix) => {
                return Err(Unknown::Provider(prefix.to_owned()));
            }
            Some(_) => true,
            None => is_alias(provider, model) || is_listed(&resolved),
        },
    };
    if known {
        Ok(())
    } else {
        Err(Unknown::Model(resolved))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_by_table_by_prefix_or_by_their_provider() {
        let is_free = |provider: &str| provider == "lab";
        let is_listed = |resolved: &Resolved| resolved.canonical == "openai/gpt-5";
        let known = |provider, model| match known(provider, model, is_free, is_listed) {
            Ok(()) => String::new(),
            Err(Unknown::Provider(name)) => format!("provider {name}"),
            Err(Unknown::Model(resolved)) => resolved.canonical,
        };
        for (provider, model, unknown) in [
            ("openai", "gpt4o", ""),
            ("openai", "gpt-5", ""),
            ("openai", "sonnet", ""),
            ("openai", "openai/zzz", ""),
            ("openai", "org/zzz", "provider org"),
            ("openai", "openai/org/zzz", ""),
            ("openai", "lab/zzz", ""),
            ("openai", "claude/opus", ""),
            ("groq", "org/zzz", ""),
            ("openai", "zzz", "openai/zzz"),
            ("litellm", "zzz", "openai/zzz"),
            ("litellm", "lab/zzz", ""),
            ("litellm", "bal/zzz", "provider bal"),
            ("litellm", "claude-zzz", "anthropic/claude-zzz"),
            ("anthropic", "zzz", "anthropic/zzz"),
            ("openrouter", "maker/zzz", ""),
            ("ollama", "zzz", ""),
            ("lab", "zzz", ""),
            ("replay", "zzz", ""),
            ("claude", "opus", ""),
            ("claude", "opus[1m]", ""),
            ("claude", "opusplan", ""),
            ("claude", "powerful", ""),
            ("claude", "claude-zzz", ""),
            ("claude", "us.anthropic.claude-zzz-v1:0", ""),
            ("claude", "claude/zzz", ""),
            ("claude", "zzz", "claude/zzz"),
            ("claude", "gpt4o", "claude/gpt4o"),
        ] {
            assert_eq!(known(provider, model), unknown, "{provider} {model}");
        }
    }
}
