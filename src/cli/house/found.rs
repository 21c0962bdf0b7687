//! What this machine can ask: keys, the Claude Code CLI, models of Ollama. Nothing is asked of anybody
//! but Ollama, and that on this machine or where `OLLAMA_HOST` says.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use crate::config::Env;
use crate::providers::{self, ProxySettings};

/// The longest that Ollama is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// A provider that this machine can use, and how that was found out.
pub(super) struct Found {
    pub(super) provider: &'static str,
    pub(super) model: String,
    pub(super) why: String,
}

/// Keys that may be set, the provider each opens and a model of it for daily work.
const KEYS: &[(&str, &str, &str)] = &[
    ("ANTHROPIC_API_KEY", "anthropic", "sonnet"),
    ("OPENAI_API_KEY", "openai", "gpt"),
    ("GEMINI_API_KEY", "gemini", "gemini-pro"),
    ("GOOGLE_API_KEY", "gemini", "gemini-pro"),
    ("MISTRAL_API_KEY", "mistral", "mistral-large"),
    ("GROQ_API_KEY", "groq", "groq"),
    ("DEEPSEEK_API_KEY", "deepseek", "deepseek-pro"),
    ("XAI_API_KEY", "xai", "grok"),
    (
        "OPENROUTER_API_KEY",
        "openrouter",
        "openrouter/anthropic/claude-sonnet-5.5",
    ),
];

/// Everything that can be used, what is most likely meant first.
pub(super) async fn all(env: &Env) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for (variable, provider, model) in KEYS {
        if env.get(variable).is_some() && !found.iter().any(|found| found.provider == *provider) {
            found.push(Found {
                provider,
                model: (*model).to_owned(),
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
