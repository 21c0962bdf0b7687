//! What this machine can ask: keys, the Claude Code CLI, models of Ollama. Nothing is asked of anybody
//! but Ollama, and that on this machine or where `OLLAMA_HOST` says.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::config::Env;
use crate::providers::{self, ProxySettings, vendors};

/// The longest that Ollama is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// A provider that this machine can use, and how that was found out.
pub(super) struct Found {
    pub(super) provider: &'static str,
    pub(super) model: String,
    pub(super) why: String,
}

/// The vendors that a key opens, and a model of each for daily work; what is most likely meant first.
const MODELS: [(&str, &str); 12] = [
    ("anthropic", "sonnet"),
    ("openai", "gpt"),
    ("gemini", "gemini-pro"),
    ("mistral", "mistral-large"),
    ("groq", "groq"),
    ("deepseek", "deepseek-pro"),
    ("xai", "grok"),
    ("openrouter", "openrouter/anthropic/claude-sonnet-5.5"),
    ("together_ai", "openai/gpt-oss-120b"),
    ("fireworks_ai", "accounts/fireworks/models/gpt-oss-120b"),
    ("cerebras", "gpt-oss-120b"),
    ("cohere", "command-a-03-2025"),
];

/// The variable that holds the key of a vendor.
fn key_of(provider: &str, env: &Env) -> Option<&'static str> {
    let names = vendors::find(provider)?.key_variables.iter().copied();
    names.into_iter().find(|name| env.get(name).is_some())
}

/// Everything that can be used, what is most likely meant first.
pub(super) async fn all(env: &Env) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for (provider, model) in MODELS {
        if let Some(variable) = key_of(provider, env) {
            found.push(Found {
                provider,
                model: model.to_owned(),
                why: format!("{provider}, since `{variable}` is set"),
            });
        }
    }
    if installed(env, "claude") {
        found.push(Found {
            provider: "claude",
            model: "sonnet".to_owned(),
            why: "the Claude Code CLI, which is installed".to_owned(),
        });
    }
    found.extend(ollama(env).await);
    found
}

/// A model that Ollama has; the one that we would choose where it is there.
async fn ollama(env: &Env) -> Option<Found> {
    let written = ["OLLAMA_API_BASE", "OLLAMA_HOST"]
        .iter()
        .find_map(|name| env.process(name)?.to_str());
    let base = providers::ollama_base_url(written.unwrap_or("127.0.0.1:11434"));
    let url = Url::parse(&format!("{}/models", base.trim_end_matches('/'))).ok()?;
    let host = url.host_str()?.to_owned();
    let proxies = ProxySettings::from_variables(&|name| env.get(name).map(str::to_owned));
    let client = providers::http_client(&url, &proxies).ok()?;
    let asked = async { client.get(url).send().await?.bytes().await };
    let answer = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    let models: Value = serde_json::from_slice(&answer).ok()?;
    let names: Vec<&str> = models
        .get("data")?
        .as_array()?
        .iter()
        .filter_map(|model| model.get("id")?.as_str())
        .collect();
    let own = providers::resolve("ollama", "local").model;
    let known = |name: &&&str| name.split(':').next() == Some(own.as_str());
    let model = match names.iter().find(known) {
        Some(_) => "local",
        None => names.first()?,
    };
    Some(Found {
        provider: "ollama",
        model: model.to_owned(),
        why: format!("Ollama, which answers at {host}"),
    })
}

fn installed(env: &Env, program: &str) -> bool {
    let Some(path) = env.process("PATH") else {
        return false;
    };
    std::env::split_paths(path).any(|directory| {
        directory
            .join(program)
            .metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vendor_that_takes_a_key_is_looked_for_by_its_own_table() {
        let hosted = || vendors::VENDORS.iter().filter(|vendor| !vendor.local);
        let mut known: Vec<&str> = MODELS.iter().map(|(provider, _)| *provider).collect();
        let mut expected: Vec<&str> = hosted().map(|vendor| vendor.prefix).collect();
        known.sort_unstable();
        expected.sort_unstable();
        assert_eq!(known, expected);
        for vendor in hosted() {
            for variable in vendor.key_variables {
                let env = Env::new([((*variable).into(), "x".into())]);
                assert_eq!(key_of(vendor.prefix, &env), Some(*variable));
            }
            assert_eq!(key_of(vendor.prefix, &Env::default()), None);
        }
        // What is written is asked for at the vendor whose key it is.
        for (provider, model) in MODELS {
            assert_eq!(
                providers::resolve(provider, model).vendor,
                provider,
                "{model}"
            );
        }
    }
}
