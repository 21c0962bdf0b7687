//! From names and settings to a provider that can be called.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::anthropic::Messages;
use super::openai::Chat;
use super::replay::Replay;

use super::claude_cli::{ClaudeCli, ClaudeSpec};
use super::vendors::{self, Vendor};
use super::{
    FaultKind, Provider, ProviderError, ProviderKind, ProviderSettings, ProxySettings, address,
};
use crate::redact::Redactor;

/// Everything that a provider is made of, resolved.
#[derive(Clone)]
pub struct ConnectSpec {
    /// The name as configured: a vendor's prefix, a name from `providers:`, `claude`, `replay`.
    pub name: String,
    /// The protocol.
    pub kind: ProviderKind,
    /// The known vendor of this name, if it is one.
    pub vendor: Option<&'static Vendor>,
    /// The base URL, without the path of the call; the CLI's path for `claude`.
    pub base_url: String,
    /// The key.
    pub key: Option<SecretString>,
    /// Whether the key goes as `Authorization: Bearer` although the vendor has a header of its own.
    pub bearer: bool,
    /// The variables that may hold the key, for messages.
    pub key_variables: Vec<String>,
    /// Extra request headers; they may hold secrets.
    pub headers: BTreeMap<String, String>,
    /// Proxies.
    pub proxy: ProxySettings,
    /// The recording of a `replay` provider.
    pub recording: Option<PathBuf>,
    /// The recording was named on the command line.
    pub recording_by_flag: bool,
    /// Keeps secrets out of messages, and out of what a `replay` provider compares.
    pub redactor: Redactor,
    /// What a `claude` provider is made of beside.
    pub cli: Option<ClaudeSpec>,
}

/// Where the values of variables come from.
#[derive(Clone, Copy)]
pub struct Variables<'a> {
    /// Keys: the process environment, then `.env` files.
    pub secret: &'a dyn Fn(&str) -> Option<SecretString>,
    /// Everything else: the process environment alone, so that a file in somebody else's directory
    /// cannot send a key elsewhere.
    pub plain: &'a dyn Fn(&str) -> Option<String>,
}

impl ConnectSpec {
    /// Puts together what the vendor's table, the configuration and the environment say about a
    /// provider.
    ///
    /// # Errors
    /// When no base URL is known. A missing key is told when a provider is connected.
    pub fn new(
        name: &str,
        settings: Option<&ProviderSettings>,
        variables: Variables<'_>,
    ) -> Result<Self, ProviderError> {
        let none = ProviderSettings::default();
        let settings = settings.unwrap_or(&none);
        let vendor = vendors::find(name);
        let kind = settings.kind_of(name);
        let base_url = match kind {
            ProviderKind::Replay => String::new(),
            ProviderKind::Claude => settings.cli_path.clone().unwrap_or_else(|| "claude".into()),
            ProviderKind::Openai | ProviderKind::Anthropic => {
                base_url(name, kind, vendor, settings, variables)?
            }
        };
        let key_variables: Vec<String> = match &settings.api_key_env {
            Some(variable) => vec![variable.clone()],
            None => vendor
                .map(|vendor| vendor.key_variables)
                .unwrap_or_default()
                .iter()
                .map(|&variable| variable.to_owned())
                .collect(),
        };
        let found = key_variables
            .iter()
            .find_map(|variable| Some((variable, (variables.secret)(variable)?)));
        let bearer = found.as_ref().is_some_and(|(variable, _)| {
            vendor.is_some_and(|vendor| vendor.bearer_variables.contains(&variable.as_str()))
        });
        let mut headers = settings.headers.clone();
        for &(variable, header) in vendor
            .map(|vendor| vendor.header_variables)
            .unwrap_or_default()
        {
            if let Some(value) = (variables.plain)(variable) {
                headers.entry(header.to_owned()).or_insert(value);
            }
        }
        let key = found.map(|(_, key)| key);
        let redactor = Redactor::new(key.clone());
        let cli = (kind == ProviderKind::Claude)
            .then(|| ClaudeSpec::new(name, settings, key.as_ref(), variables));
        Ok(Self {
            cli,
            name: name.to_owned(),
            kind,
            vendor,
            base_url,
            key,
            bearer,
            key_variables,
            headers,
            proxy: ProxySettings::from_variables(variables.plain),
            recording: settings.recording.as_ref().map(PathBuf::from),
            recording_by_flag: false,
            redactor,
        })
    }
}

/// Makes a provider. Nothing is sent, no TLS is set up, no file is read.
///
/// # Errors
/// A key that is needed and missing (`Auth`), a base URL or header that is none (`Config`).
pub fn connect(spec: &ConnectSpec) -> Result<Arc<dyn Provider>, ProviderError> {
    match spec.kind {
        ProviderKind::Openai => Ok(Arc::new(Chat::connect(spec)?)),
        ProviderKind::Anthropic => Ok(Arc::new(Messages::connect(spec)?)),
        ProviderKind::Replay => Ok(Arc::new(Replay::connect(spec)?)),
        ProviderKind::Claude => match &spec.cli {
            Some(cli) => Ok(Arc::new(ClaudeCli::new(cli.clone()))),
            None => Err(ProviderError::new(
                &spec.name,
                FaultKind::Unavailable,
                "nothing says where the Claude Code CLI is",
            )),
        },
    }
}

fn base_url(
    name: &str,
    kind: ProviderKind,
    vendor: Option<&Vendor>,
    settings: &ProviderSettings,
    variables: Variables<'_>,
) -> Result<String, ProviderError> {
    let from_variable = || {
        vendor?
            .base_variables
            .iter()
            .find_map(|variable| (variables.plain)(variable))
    };
    let written = settings.base_url.clone().or_else(from_variable);
    match (written, vendor) {
        (Some(url), Some(vendor)) if vendor.prefix == "ollama" => Ok(address::ollama(&url)),
        (Some(url), _) if kind == ProviderKind::Anthropic => Ok(address::anthropic(&url)),
        (Some(url), _) => Ok(url),
        (None, Some(vendor)) => Ok(vendor.base_url.to_owned()),
        (None, None) => Err(no_base_url(name)),
    }
}

/// How models of Azure are reached.
pub const AZURE_HINT: &str = "add to `providers:` an entry `azure` with \
    `base_url: https://RESOURCE.openai.azure.com/openai/v1` and `api_key_env: AZURE_API_KEY`";

fn no_base_url(name: &str) -> ProviderError {
    if name == "azure" {
        let message = "`azure` models are reached through a deployment of your own";
        return ProviderError::new(name, FaultKind::Config, message).with_hint(AZURE_HINT);
    }
    let known: Vec<&str> = vendors::VENDORS
        .iter()
        .map(|vendor| vendor.prefix)
        .collect();
    ProviderError::new(
        name,
        FaultKind::Config,
        format!("provider `{name}` has no `base_url`"),
    )
    .with_hint(format!(
        "give it one under `providers:`, or use a known vendor: {}",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(
        name: &str,
        settings: Option<&ProviderSettings>,
        set: &[(&str, &str)],
    ) -> Result<ConnectSpec, ProviderError> {
        let value = |name: &str| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let variables = Variables {
            secret: &|name| value(name).map(SecretString::from),
            plain: &value,
        };
        ConnectSpec::new(name, settings, variables)
    }

    fn key(spec: &ConnectSpec) -> Option<&str> {
        spec.key.as_ref().map(secrecy::ExposeSecret::expose_secret)
    }

    #[test]
    fn a_known_vendor_needs_only_its_key() {
        let made = spec("gemini", None, &[("GOOGLE_API_KEY", "g")]).expect("known");
        assert_eq!(key(&made), Some("g"));
        assert_eq!(made.kind, ProviderKind::Openai);
        let base = "https://generativelanguage.googleapis.com/v1beta/openai";
        assert_eq!(made.base_url, base);
        let both = [("GOOGLE_API_KEY", "g"), ("GEMINI_API_KEY", "first")];
        assert_eq!(
            key(&spec("gemini", None, &both).expect("known")),
            Some("first")
        );

        let organised = [("OPENAI_ORG_ID", "org"), ("OPENAI_API_KEY", "k")];
        let made = spec("openai", None, &organised).expect("known");
        let headers: Vec<(&str, &str)> = made
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(headers, [("OpenAI-Organization", "org")]);
    }

    #[test]
    fn base_urls_come_from_the_configuration_then_the_environment() {
        let settings = ProviderSettings {
            base_url: Some("http://127.0.0.1:1/v1".to_owned()),
            ..ProviderSettings::default()
        };
        let set = [
            ("OPENAI_API_BASE", "http://b/v1"),
            ("OPENAI_BASE_URL", "http://a/v1"),
        ];
        for (name, settings, set, expected) in [
            ("openai", None, &set[..], "http://a/v1"),
            ("openai", None, &set[..1], "http://b/v1"),
            ("openai", Some(&settings), &set[..], "http://127.0.0.1:1/v1"),
            ("openai", None, &[], "https://api.openai.com/v1"),
            ("lab", Some(&settings), &[], "http://127.0.0.1:1/v1"),
            (
                "hosted_vllm",
                None,
                &[("HOSTED_VLLM_API_BASE", "http://v/v1")],
                "http://v/v1",
            ),
            (
                "ollama",
                None,
                &[("OLLAMA_HOST", "0.0.0.0")],
                "http://127.0.0.1:11434/v1",
            ),
            (
                "anthropic",
                None,
                &[("ANTHROPIC_BASE_URL", "http://c")],
                "http://c/v1",
            ),
        ] {
            let made = spec(name, settings, set).expect("a base URL");
            assert_eq!(made.base_url, expected, "{name}");
        }
    }

    #[test]
    fn protocols_and_keys_are_those_of_the_name_unless_the_configuration_says_otherwise() {
        let token = spec("anthropic", None, &[("ANTHROPIC_AUTH_TOKEN", "t")]).expect("known");
        assert_eq!((token.kind, token.bearer), (ProviderKind::Anthropic, true));
        let both = [("ANTHROPIC_AUTH_TOKEN", "t"), ("ANTHROPIC_API_KEY", "k")];
        let made = spec("anthropic", None, &both).expect("known");
        assert_eq!((key(&made), made.bearer), (Some("k"), false));
        let settings = ProviderSettings {
            kind: Some(ProviderKind::Openai),
            api_key_env: Some("MINE".to_owned()),
            ..ProviderSettings::default()
        };
        let set = [("ANTHROPIC_API_KEY", "k"), ("MINE", "mine")];
        let made = spec("anthropic", Some(&settings), &set).expect("known");
        assert_eq!(
            (made.kind, key(&made)),
            (ProviderKind::Openai, Some("mine"))
        );
        assert_eq!(made.key_variables, ["MINE"]);
        let settings = ProviderSettings {
            recording: Some("a.jsonl".to_owned()),
            ..ProviderSettings::default()
        };
        let made = spec("replay", Some(&settings), &[]).expect("no URL needed");
        assert_eq!(made.recording, Some(PathBuf::from("a.jsonl")));
        let claude = spec("claude", None, &[]).expect("no URL needed");
        assert_eq!(
            (claude.kind, claude.base_url.as_str()),
            (ProviderKind::Claude, "claude")
        );
    }

    #[test]
    fn what_cannot_be_reached_says_how_it_could() {
        let error = spec("azure", None, &[]).err().expect("refused");
        assert!(error.hint.expect("a hint").contains("openai/v1"));
        let error = spec("lab", None, &[]).err().expect("no URL");
        assert_eq!(error.message, "provider `lab` has no `base_url`");
        assert_eq!(error.kind, FaultKind::Config);
        let settings = ProviderSettings {
            base_url: Some("localhost:8000".to_owned()),
            ..ProviderSettings::default()
        };
        let made = spec("lab", Some(&settings), &[]).expect("not looked at yet");
        let error = connect(&made).err().expect("no URL");
        assert_eq!(error.message, "`localhost:8000` is no http or https URL");
    }
}
