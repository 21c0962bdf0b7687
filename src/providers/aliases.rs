//! From the model that a user wrote to the vendor that answers and the name that it knows.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::vendors::{self, Vendor};

/// Where a model's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The provider: a vendor's prefix, a name from `providers:`, `claude` or `replay`.
    pub vendor: String,
    /// The vendor's own name of the model, sent as it is.
    pub model: String,
    /// `vendor/model`: the name in results, ledger and price table.
    pub canonical: String,
    /// What the user should know about the choice.
    pub notice: Option<String>,
}

impl Resolved {
    /// Whether both are the same model of the same provider.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.vendor, &self.canonical) == (&other.vendor, &other.canonical)
    }
}

/// An alias that can be written for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// What is written.
    pub name: &'static str,
    /// Under which provider: `claude`, `anthropic`, or empty for all others.
    pub provider: &'static str,
    /// What it means: `vendor/model`, or the CLI's own name.
    pub target: &'static str,
    /// Why it is not what it once was.
    pub notice: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "'de: 'static"))]
struct Tables {
    claude_cli: BTreeMap<&'static str, &'static str>,
    anthropic: BTreeMap<&'static str, &'static str>,
    http: BTreeMap<&'static str, Renamed>,
    more: BTreeMap<&'static str, &'static str>,
}

/// An alias of the original program.
#[derive(Deserialize)]
struct Renamed {
    original: &'static str,
    now: &'static str,
    note: &'static str,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    serde_json::from_str(include_str!("model-aliases.json")).unwrap_or_else(|_| Tables {
        // A test reads the same text, so this cannot happen in a built program.
        claude_cli: BTreeMap::new(),
        anthropic: BTreeMap::new(),
        http: BTreeMap::new(),
        more: BTreeMap::new(),
    })
});

impl Renamed {
    fn notice(&self, alias: &str) -> Option<String> {
        let original = if self.original.contains('/') {
            self.original.to_owned()
        } else {
            format!("{}/{}", bare_vendor(self.original), self.original)
        };
        if original == self.now {
            return None;
        }
        let fate = match self.note.rsplit_once(": ") {
            Some((_, "absent")) | None => "which is no longer offered",
            Some((_, fate)) => fate,
        };
        Some(format!(
            "`{alias}` meant {original}, {fate}; {} answers instead",
            self.now
        ))
    }
}

/// Resolves a model as an agent wrote it, under the agent's provider: a vendor's prefix, a name from
/// `providers:`, `claude`, `replay`, or `litellm` for "by the model's prefix". For models of a fallback
/// chain there is [`resolve_fallback`].
pub fn resolve(provider: &str, model: &str) -> Resolved {
    if provider == "claude" {
        return claude(model);
    }
    let own = vendors::find(provider);
    match own {
        // A provider of the user's own, or one on the user's machines, knows its models itself.
        None if provider != "litellm" => sent_to(provider, stripped(model, &[provider]), None),
        Some(vendor) if vendor.local => match alias(vendor.prefix, model) {
            Some((target, notice)) if prefix_of(target) == vendor.prefix => {
                by_target(target, notice)
            }
            _ => at_vendor(vendor, model),
        },
        _ => {
            if let Some((target, notice)) = alias(provider, model) {
                let elsewhere = own.is_some_and(|vendor| vendor.prefix != prefix_of(target));
                let notice = notice.or_else(|| {
                    elsewhere.then(|| format!("`{model}` is {target}, not a model of `{provider}`"))
                });
                return by_target(target, notice);
            }
            match own {
                Some(vendor) => at_vendor(vendor, model),
                None => by_prefix(model),
            }
        }
    }
}

/// Resolves a model as an agent wrote it where users have providers of their own. `is_free` tells of those that they
/// have given an address: before a `/` its name means it as the name of a vendor does, and a bare name is one of its
/// models, whatever it looks like, since what is asked there is not meant for others.
pub fn resolve_among(provider: &str, model: &str, is_free: impl Fn(&str) -> bool) -> Resolved {
    // Elsewhere the name before a `/` belongs to the model.
    let Some(vendor) = vendors::find(provider).filter(|vendor| !vendor.slash_names) else {
        return resolve(provider, model);
    };
    match model.split_once('/') {
        None if is_free(vendor.prefix) && alias(provider, model).is_none() => {
            sent_to(vendor.prefix, model, None)
        }
        Some((prefix, name)) if !is_named(prefix) && is_free(prefix) => sent_to(prefix, name, None),
        Some((prefix, _)) if !is_named(prefix) && !is_free(vendor.prefix) => Resolved {
            notice: Some(format!(
                "`{prefix}` is no known provider: `{model}` is asked of {}",
                vendor.title
            )),
            ..resolve(provider, model)
        },
        _ => resolve(provider, model),
    }
}

/// Whether the name before a `/` is one that everybody has.
pub(super) fn is_named(prefix: &str) -> bool {
    prefix == "claude" || vendors::find(prefix).is_some()
}

/// Resolves a model that answers when `first`, the model of an agent of this provider, cannot. An alias and
/// `vendor/model` may belong to anybody, but where the Claude CLI takes the calls its models stay with it: who
/// has a login there need not have a key. A bare name is one of the agent's own provider, unless only another
/// vendor lists it; a server of the user's own is never left for one, since what is asked there is not meant for
/// others. `is_free` and `is_listed` are those of [`known`](super::known()).
pub fn resolve_fallback(
    provider: &str,
    first: &Resolved,
    model: &str,
    is_free: impl Fn(&str) -> bool,
    is_listed: impl Fn(&Resolved) -> bool,
) -> Resolved {
    let is_the_clis = || TABLES.claude_cli.contains_key(model) || model.starts_with("claude-");
    if provider == "claude" && is_the_clis() {
        return claude(model);
    }
    let by_name = resolve("litellm", model);
    if model.contains('/') || alias("litellm", model).is_some() {
        return by_name;
    }
    let is_own = match vendors::find(&first.vendor) {
        Some(vendor) => vendor.local || is_free(vendor.prefix),
        None => !matches!(first.vendor.as_str(), "claude" | "replay"),
    };
    if is_own {
        return sent_to(&first.vendor, model, None);
    }
    if provider == "litellm" {
        return by_name;
    }
    let own = resolve(provider, model);
    if is_listed(&by_name) && !is_listed(&own) {
        by_name
    } else {
        own
    }
}

/// Every alias, for `--models`.
pub fn available_models() -> Vec<Alias> {
    let tables = &*TABLES;
    let plain = |provider, (&name, &target): (&&'static str, &&'static str)| Alias {
        name,
        provider,
        target,
        notice: None,
    };
    let mut all = Vec::new();
    all.extend(tables.claude_cli.iter().map(|entry| plain("claude", entry)));
    all.extend(
        tables
            .anthropic
            .iter()
            .map(|entry| plain("anthropic", entry)),
    );
    all.extend(tables.http.iter().map(|(&name, renamed)| Alias {
        name,
        provider: "",
        target: renamed.now,
        notice: renamed.notice(name),
    }));
    all.extend(tables.more.iter().map(|entry| plain("", entry)));
    all
}

/// Whether a name means a model under a provider: a vendor's prefix, `claude`, or `litellm`.
pub(super) fn is_alias(provider: &str, name: &str) -> bool {
    if provider == "claude" {
        // `opus[1m]`, `opusplan`: the CLI has ways to use its models.
        let clis = &TABLES.claude_cli;
        return clis.contains_key(name) || clis.values().any(|target| name.starts_with(target));
    }
    alias(provider, name).is_some()
}

/// The model that took the place of a retired one, `vendor/model`.
pub(super) fn successor(vendor: &str, model: &str) -> Option<&'static str> {
    TABLES.http.values().find_map(|renamed| {
        let original = stripped(renamed.original, &[vendor]);
        let is_it = original == model && prefix_of(renamed.now) == vendor;
        (is_it && renamed.now != format!("{vendor}/{model}")).then_some(renamed.now)
    })
}

/// What an alias means under a provider, and what to say about it.
fn alias(provider: &str, name: &str) -> Option<(&'static str, Option<String>)> {
    let tables = &*TABLES;
    if provider == "anthropic"
        && let Some(target) = tables.anthropic.get(name)
    {
        return Some((target, None));
    }
    if let Some(renamed) = tables.http.get(name) {
        return Some((renamed.now, renamed.notice(name)));
    }
    let target = tables
        .more
        .get(name)
        .or_else(|| tables.anthropic.get(name))?;
    Some((target, None))
}

fn claude(model: &str) -> Resolved {
    let model = stripped(model, &["claude"]);
    let model = TABLES.claude_cli.get(model).copied().unwrap_or(model);
    // The CLI knows its own short names, also with a window behind them (`sonnet[1m]`); for prices they mean what
    // the API's mean.
    let (name, window) = model.split_at(model.find('[').unwrap_or(model.len()));
    let canonical = match TABLES.anthropic.get(name) {
        Some(target) => by_target(target, None).canonical + window,
        None if model.starts_with("claude-") => format!("anthropic/{model}"),
        None => format!("claude/{model}"),
    };
    Resolved {
        vendor: "claude".to_owned(),
        model: model.to_owned(),
        canonical,
        notice: None,
    }
}

/// A name that is no alias, under a vendor's own name: only a vendor whose names hold no slashes
/// leaves a prefix any meaning.
fn at_vendor(vendor: &'static Vendor, model: &str) -> Resolved {
    let names: Vec<&str> = [vendor.prefix]
        .into_iter()
        .chain(vendor.other_prefixes.iter().copied())
        .collect();
    if !vendor.slash_names
        && let Some((prefix, _)) = model.split_once('/')
        && is_named(prefix)
    {
        return by_target(model, None);
    }
    if vendor.prefix == "openai" && model.starts_with("claude-") {
        return by_prefix(model);
    }
    sent_to(vendor.prefix, stripped(model, &names), None)
}

/// A name that is no alias, under no vendor's name.
fn by_prefix(model: &str) -> Resolved {
    if model.contains('/') {
        by_target(model, None)
    } else {
        sent_to(bare_vendor(model), model, None)
    }
}

fn by_target(target: &str, notice: Option<String>) -> Resolved {
    let (prefix, model) = match target.split_once('/') {
        Some((prefix, model)) => (prefix, model),
        None => (bare_vendor(target), target),
    };
    if prefix == "claude" {
        return claude(model);
    }
    let vendor = vendors::find(prefix).map_or(prefix, |vendor| vendor.prefix);
    sent_to(vendor, model, notice)
}

fn sent_to(vendor: &str, model: &str, notice: Option<String>) -> Resolved {
    Resolved {
        vendor: vendor.to_owned(),
        model: model.to_owned(),
        canonical: format!("{vendor}/{model}"),
        notice,
    }
}

/// The vendor of a name without prefix.
fn bare_vendor(model: &str) -> &'static str {
    if model.starts_with("claude-") {
        "anthropic"
    } else {
        "openai"
    }
}

fn prefix_of(target: &str) -> &str {
    target
        .split_once('/')
        .map_or_else(|| bare_vendor(target), |(prefix, _)| prefix)
}

/// A name without the provider's own prefix.
fn stripped<'a>(model: &'a str, prefixes: &[&str]) -> &'a str {
    match model.split_once('/') {
        Some((prefix, rest)) if prefixes.contains(&prefix) && !rest.is_empty() => rest,
        _ => model,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(provider: &str, model: &str) -> String {
        resolve(provider, model).canonical
    }

    #[test]
    fn names_go_where_their_provider_and_prefix_say() {
        for (provider, model, expected) in [
            ("litellm", "gpt4o", "openai/gpt-4o"),
            ("openai", "gpt4o", "openai/gpt-4o"),
            ("openai", "gpt-4o", "openai/gpt-4o"),
            ("openai", "openai/gpt-4o", "openai/gpt-4o"),
            ("openai", "my-org/my-model", "openai/my-org/my-model"),
            ("openai", "claude/opus", "anthropic/claude-opus-5-5"),
            ("claude", "sonnet[1m]", "anthropic/claude-sonnet-5-5[1m]"),
            ("openai", "sonnet", "anthropic/claude-sonnet-5-5"),
            ("anthropic", "sonnet", "anthropic/claude-sonnet-5-5"),
            ("anthropic", "fast", "anthropic/claude-haiku-5-5"),
            ("anthropic", "claude-x", "anthropic/claude-x"),
            ("litellm", "claude-x", "anthropic/claude-x"),
            ("litellm", "powerful", "anthropic/claude-opus-5-5"),
            ("litellm", "hosted_vllm/a/b", "vllm/a/b"),
            ("litellm", "lab/a", "lab/a"),
            (
                "litellm",
                "openrouter/anthropic/c",
                "openrouter/anthropic/c",
            ),
            ("openrouter", "anthropic/c", "openrouter/anthropic/c"),
            ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
            ("gemini", "gemini-pro", "gemini/gemini-4-argon"),
            ("xai", "groq/x", "groq/x"),
            ("lab", "gpt4o", "lab/gpt4o"),
            ("lab", "lab/m", "lab/m"),
            ("lab", "openai/gpt-oss-20b", "lab/openai/gpt-oss-20b"),
            ("replay", "gpt4o", "replay/gpt4o"),
            ("claude", "smart", "anthropic/claude-sonnet-5-5"),
            ("claude", "opus", "anthropic/claude-opus-5-5"),
            ("claude", "claude-x", "anthropic/claude-x"),
            ("litellm", "claude/opus", "anthropic/claude-opus-5-5"),
        ] {
            assert_eq!(canonical(provider, model), expected, "{provider} {model}");
        }
        assert_eq!(resolve("litellm", "claude/opus").vendor, "claude");
        assert_eq!(resolve("claude", "powerful").model, "opus");
    }

    #[test]
    fn a_provider_of_the_user_is_meant_by_its_name_and_keeps_bare_names() {
        for (own, provider, model, expected, is_told) in [
            ("lab", "openai", "lab/m", "lab/m", false),
            ("lab", "gemini", "lab/a/b", "lab/a/b", false),
            ("lab", "openai", "nope/m", "openai/nope/m", true),
            ("lab", "openai", "claude-x", "anthropic/claude-x", false),
            ("lab", "openai", "groq/m", "groq/m", false),
            ("lab", "groq", "lab/m", "groq/lab/m", false),
            ("lab", "lab", "openai/m", "lab/openai/m", false),
            ("lab", "litellm", "lab/m", "lab/m", false),
            ("openai", "openai", "claude-x", "openai/claude-x", false),
            ("openai", "openai", "nope/m", "openai/nope/m", false),
            ("openai", "openai", "openai/m", "openai/m", false),
            ("openai", "openai", "gpt4o", "openai/gpt-4o", false),
            ("openai", "xai", "openai/m", "openai/m", false),
        ] {
            let resolved = resolve_among(provider, model, |name| name == own);
            let told = (resolved.canonical.as_str(), resolved.notice.is_some());
            assert_eq!(told, (expected, is_told), "{own}: {provider} {model}");
        }
    }

    /// Where a fallback goes. `xai` is behind an address of the user's own, and one model of OpenAI is listed.
    fn fallback(provider: &str, first: &str, model: &str) -> (String, String) {
        let first = resolve(provider, first);
        let is_free = |name: &str| matches!(name, "lab" | "xai");
        let is_listed = |resolved: &Resolved| resolved.canonical == "openai/gpt-4o";
        let resolved = resolve_fallback(provider, &first, model, is_free, is_listed);
        assert!(resolved.canonical.ends_with(&resolved.model) || resolved.vendor == "claude");
        (resolved.vendor, resolved.model)
    }

    #[test]
    fn a_fallback_goes_where_its_name_or_its_agent_says() {
        for (provider, model, vendor, expected) in [
            // The models of the CLI stay with it.
            ("claude", "opus", "claude", "opus"),
            ("claude", "powerful", "claude", "opus"),
            ("claude", "claude-opus-5-5", "claude", "claude-opus-5-5"),
            ("claude", "anthropic/claude-x", "anthropic", "claude-x"),
            ("claude", "gemini-pro", "gemini", "gemini-4-argon"),
            ("claude", "gpt-4o", "openai", "gpt-4o"),
            ("claude", "small", "claude", "small"),
            // Aliases and whole names mean the same everywhere.
            ("anthropic", "opus", "anthropic", "claude-opus-5-5"),
            ("openai", "sonnet", "anthropic", "claude-sonnet-5-5"),
            ("openai", "claude/sonnet", "claude", "sonnet"),
            ("lab", "gemini-pro", "gemini", "gemini-4-argon"),
            ("lab", "sonnet", "anthropic", "claude-sonnet-5-5"),
            ("lab", "openai/small", "openai", "small"),
            ("lab", "lab/small", "lab", "small"),
            ("ollama", "llama3.2", "ollama", "llama3.2"),
            // A bare name is one of the agent's own provider.
            ("openai", "small", "openai", "small"),
            ("anthropic", "small", "anthropic", "small"),
            ("groq", "small", "groq", "small"),
            ("lab", "small", "lab", "small"),
            ("ollama", "gpt-oss:20b", "ollama", "gpt-oss:20b"),
            ("hosted_vllm", "small", "vllm", "small"),
            ("litellm", "small", "openai", "small"),
            // A vendor is left for the one that lists it, a server of the user's own for nobody.
            ("anthropic", "gpt-4o", "openai", "gpt-4o"),
            ("lab", "gpt-4o", "lab", "gpt-4o"),
            ("lab", "claude-x", "lab", "claude-x"),
            ("ollama", "gpt-4o", "ollama", "gpt-4o"),
            ("xai", "gpt-4o", "xai", "gpt-4o"),
            ("xai", "small", "xai", "small"),
        ] {
            let told = fallback(provider, "m", model);
            let expected = (vendor.to_owned(), expected.to_owned());
            assert_eq!(told, expected, "{provider} {model}");
        }
        // The server that answers first counts, however it was named.
        for (provider, first, vendor) in [
            ("litellm", "lab/m", "lab"),
            ("litellm", "ollama/m", "ollama"),
            ("openai", "ollama/m", "ollama"),
            ("litellm", "groq/m", "openai"),
        ] {
            let told = fallback(provider, first, "small");
            assert_eq!(told, (vendor.to_owned(), "small".to_owned()), "{first}");
        }
    }

    #[test]
    fn nothing_moves_from_a_local_model_to_a_remote_one() {
        for alias in available_models() {
            for provider in ["ollama", "lm_studio", "vllm", "lab"] {
                assert_eq!(
                    resolve(provider, alias.name).vendor,
                    provider,
                    "{}",
                    alias.name
                );
            }
        }
        assert_eq!(canonical("ollama", "deepseek"), "ollama/deepseek-r1");
        assert_eq!(canonical("ollama", "mistral"), "ollama/mistral");
    }

    #[test]
    fn every_alias_of_the_original_answers_and_a_retired_one_says_so() {
        let tables: Tables =
            serde_json::from_str(include_str!("model-aliases.json")).expect("the table is JSON");
        assert_eq!((tables.http.len(), tables.claude_cli.len()), (29, 7));
        for (name, renamed) in &tables.http {
            let resolved = resolve("litellm", name);
            assert_eq!(resolved.canonical, renamed.now);
            assert!(vendors::find(&resolved.vendor).is_some(), "{name}");
            let same = renamed.original.rsplit('/').next() == renamed.now.rsplit('/').next();
            assert_eq!(
                resolved.notice.is_none(),
                same,
                "{name}: {:?}",
                resolved.notice
            );
        }
        assert_eq!(
            resolve("litellm", "gpt4").notice.as_deref(),
            Some("`gpt4` meant openai/gpt-4, retired 2026-10-23; openai/gpt-4.1 answers instead")
        );
        assert_eq!(
            resolve("litellm", "gemini").notice.as_deref(),
            Some(
                "`gemini` meant gemini/gemini-1.5-pro, which is no longer offered; \
                 gemini/gemini-4-argon answers instead"
            )
        );
    }

    #[test]
    fn a_retired_name_has_a_successor() {
        assert_eq!(successor("openai", "gpt-4"), Some("openai/gpt-4.1"));
        assert_eq!(successor("openai", "gpt-4o"), None);
        assert_eq!(
            successor("groq", "mixtral-8x7b-32768"),
            Some("groq/openai/gpt-oss-20b")
        );
    }
}
