//! What the provider is made of.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::providers::{Endpoint, ProviderSettings, Variables};
use crate::redact::Redactor;
use crate::sandbox::Policy;
use crate::store::Store;

use super::argv::{INHERITED, PLAIN_ONLY, for_cloud};

/// What the provider is made of, resolved. Agents share one provider, since it holds the places for
/// CLIs.
#[derive(Clone, Debug)]
pub struct ClaudeSpec {
    /// The name as configured.
    pub name: String,
    /// The CLI: a path, or a name that is looked up in `PATH`.
    pub cli_path: String,
    /// Whether the CLI gets its own tools back.
    pub native_tools: bool,
    /// CLIs at once; as many as the free memory holds when absent.
    pub max_concurrency: Option<u32>,
    /// What the CLI gets of our environment.
    pub environment: Vec<(String, SecretString)>,
    /// Where its files are kept.
    pub state_dir: PathBuf,
    /// Where what is known of its conversations and binaries is kept; without one nothing is.
    pub store: Option<Store>,
    /// The rules of its sandbox; without them it runs with the rights of the user.
    pub policy: Option<Arc<Policy>>,
    /// Keeps secrets out of messages and events.
    pub redactor: Redactor,
}

/// What the CLI gets of our environment: what it needs to run, to find its login and to reach its
/// API, and no key of anybody else.
pub fn inherited(variables: Variables<'_>) -> Vec<(String, SecretString)> {
    let value = |name: &str| -> Option<SecretString> {
        let plain = || (variables.plain)(name).map(SecretString::from);
        if PLAIN_ONLY.contains(&name) {
            plain()
        } else {
            (variables.secret)(name).or_else(plain)
        }
    };
    let is_set = |name: &str| (variables.plain)(name).is_some_and(|value| !value.is_empty());
    let (bedrock, vertex) = (
        is_set("CLAUDE_CODE_USE_BEDROCK"),
        is_set("CLAUDE_CODE_USE_VERTEX"),
    );
    PLAIN_ONLY
        .iter()
        .chain(&INHERITED)
        .chain(for_cloud(bedrock, vertex))
        .filter_map(|name| Some(((*name).to_owned(), value(name)?)))
        .collect()
}

impl ClaudeSpec {
    /// Puts together what the configuration and the environment say. Where its files and the store
    /// are is for the caller to set.
    pub fn new(
        name: &str,
        settings: &ProviderSettings,
        key: Option<&SecretString>,
        variables: Variables<'_>,
    ) -> Self {
        let mut environment = inherited(variables);
        let mut set = |variable: &str, value: SecretString| {
            environment.retain(|(known, _)| known != variable);
            environment.push((variable.to_owned(), value));
        };
        if let Some(key) = key {
            set("ANTHROPIC_API_KEY", key.clone());
        }
        if let Some(url) = &settings.base_url {
            set("ANTHROPIC_BASE_URL", url.clone().into());
        }
        let keys = environment
            .iter()
            .filter(|(variable, _)| INHERITED.contains(&variable.as_str()))
            .map(|(_, key)| key.clone());
        Self {
            name: name.to_owned(),
            cli_path: settings
                .cli_path
                .clone()
                .unwrap_or_else(|| "claude".to_owned()),
            native_tools: settings.native_tools.unwrap_or(false),
            max_concurrency: settings.max_concurrency,
            redactor: Redactor::new(keys),
            environment,
            state_dir: PathBuf::new(),
            store: None,
            policy: None,
        }
    }

    /// A variable that the CLI gets of our environment.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.expose_secret())
            .filter(|value| !value.is_empty())
    }

    /// Whether its login comes with the environment, so that it needs none of the user's files.
    pub fn brings_login(&self) -> bool {
        [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_VERTEX",
        ]
        .into_iter()
        .any(|name| self.variable(name).is_some())
    }

    /// Whether `none` as the source of the key means a subscription login: with a bearer token, a cloud or a
    /// gateway, which may have a key of its own, it says the same, and somebody is billed.
    pub fn may_subscribe(&self) -> bool {
        [
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_BASE_URL",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_VERTEX",
        ]
        .into_iter()
        .all(|name| self.variable(name).is_none())
    }

    /// The place that is called.
    pub fn endpoint(&self) -> Endpoint {
        let key = [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
        ]
        .into_iter()
        .find_map(|name| self.variable(name));
        let host = self
            .variable("ANTHROPIC_BASE_URL")
            .and_then(|url| url::Url::parse(url).ok());
        let loopback = host
            .as_ref()
            .and_then(url::Url::host)
            .is_some_and(|host| match host {
                url::Host::Domain(name) => name == "localhost",
                url::Host::Ipv4(address) => address.is_loopback(),
                url::Host::Ipv6(address) => address.is_loopback(),
            });
        Endpoint {
            provider: self.name.clone(),
            base_url: self.cli_path.clone(),
            key_fingerprint: key.map(fingerprint).unwrap_or_default(),
            loopback,
        }
    }
}

fn fingerprint(key: &str) -> String {
    hex(Sha256::digest(key).get(..4).unwrap_or_default())
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
