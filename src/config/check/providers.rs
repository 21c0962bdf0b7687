//! The sections `providers:`, `servers:` and `mcp_servers:`.

use std::collections::BTreeMap;

use url::Url;

use super::Checker;
use super::settings::BY_PREFIX;
use crate::config::node::{Key, Node};
use crate::config::problem::Problem;
use crate::mcp::McpServer;
use crate::providers::{self, ProviderKind, ProviderSettings, vendors};
use crate::tools::Server;

impl Checker<'_> {
    pub(in crate::config) fn provider(
        &mut self,
        key: &Key<'_>,
        provider: &mut ProviderSettings,
        node: &Node<'_>,
    ) {
        if key.text.is_empty() || key.text.contains(['/', ' ']) {
            let message = format!("`{}` cannot be the name of a provider", key.text);
            self.findings.add(
                Problem::new(key.at, message).with_hint(
                    "it stands before the `/` of a model, as in `lab/my-model`".to_owned(),
                ),
            );
        }
        if key.text == BY_PREFIX {
            let message = format!("`{BY_PREFIX}` cannot be the name of a provider");
            let hint = "it means \"by the model's prefix\" and would be passed by; choose another, such as `proxy`";
            self.findings
                .add(Problem::new(key.at, message).with_hint(hint.to_owned()));
        }
        if let Some(url) = &provider.base_url {
            self.url(node, "base_url", url);
        }
        let known = vendors::find(&key.text);
        if let Some(vendor) = known.filter(|vendor| vendor.prefix != key.text) {
            let message = format!("`{}` is another name of `{}`", key.text, vendor.prefix);
            let hint = format!(
                "write `{}`, by which its settings are looked up",
                vendor.prefix
            );
            self.findings
                .add(Problem::new(key.at, message).with_hint(hint));
        }
        self.unused(provider.kind_of(&key.text), node);
        let speaks_http = matches!(
            provider.kind,
            None | Some(ProviderKind::Openai | ProviderKind::Anthropic)
        );
        let is_known = known.is_some() || matches!(&*key.text, "claude" | "replay");
        if speaks_http && !is_known && node.get("base_url").is_none() {
            self.needs(key, node, &["base_url", "kind"], "`base_url`");
        }
        if provider.kind == Some(ProviderKind::Replay) && node.get("recording").is_none() {
            self.needs(key, node, &["recording"], "`recording`");
        }
        if let Some(name) = &provider.api_key_env
            && !is_variable(name)
        {
            let hint = Some("the variable that holds the key, never the key itself");
            self.findings
                .refuse(node, "api_key_env", "must be the name of a variable", hint);
        }
        self.headers(node);
        for (name, price) in node.get("prices").map(Node::entries).unwrap_or_default() {
            if let Some(prices) = provider.prices.get(&*name.text) {
                for (key, value) in [
                    ("input", Some(prices.input)),
                    ("output", Some(prices.output)),
                    ("cache_read", prices.cache_read),
                    ("cache_write", prices.cache_write),
                ] {
                    self.findings.refuse_negative(price, key, value);
                }
            }
        }
        for table in ["prices", "windows"] {
            self.names_once(&key.text, table, node);
        }
    }

    /// Reports settings that would be read and have no effect.
    fn unused(&mut self, kind: ProviderKind, node: &Node<'_>) {
        if self.is_doubtful(node, "kind") {
            return;
        }
        let (name, unused): (_, &[&str]) = match kind {
            ProviderKind::Openai => ("openai", &["cli_path", "native_tools", "recording"]),
            ProviderKind::Anthropic => ("anthropic", &["cli_path", "native_tools", "recording"]),
            ProviderKind::Claude => ("claude", &["headers", "recording"]),
            ProviderKind::Replay => (
                "replay",
                &[
                    "base_url",
                    "api_key_env",
                    "headers",
                    "cli_path",
                    "native_tools",
                ],
            ),
        };
        for key in unused {
            if node.get(key).is_some_and(|value| !value.is_null()) {
                let words = format!("has no effect on a provider of kind `{name}`");
                self.findings.refuse(node, key, &words, None);
            }
        }
    }

    /// Reports models that stand twice in a table of a provider, under two of their names: which entry holds?
    fn names_once(&mut self, provider: &str, table: &str, node: &Node<'_>) {
        let entries = node.get(table).map(Node::entries).unwrap_or_default();
        let mut known: BTreeMap<String, &str> = BTreeMap::new();
        for (key, _) in entries {
            let model = providers::resolve(provider, &key.text);
            let first = *known
                .entry(format!("{} {}", model.vendor, model.canonical))
                .or_insert(&key.text);
            // The same word twice is told of as any other key.
            if first != key.text {
                let message = format!(
                    "`{first}` and `{}` are one model, listed twice in `{table}`",
                    key.text
                );
                let hint = "keep one of them".to_owned();
                self.findings
                    .add(Problem::new(key.at, message).with_hint(hint));
            }
        }
    }

    pub(in crate::config) fn server(
        &mut self,
        key: &Key<'_>,
        server: &mut Server,
        node: &Node<'_>,
    ) {
        if key.text.starts_with('-')
            || key
                .text
                .chars()
                .any(|c| c.is_whitespace() || c.is_control())
        {
            let message = format!("`{}` cannot be the name of a server", key.text);
            self.findings.add(Problem::new(key.at, message));
        }
        for field in ["host", "user", "jump"] {
            let text = node.get(field).and_then(Node::text);
            if text.is_some_and(|text| !is_ssh_word(text)) {
                let words = "must be one word that does not begin with `-`";
                self.findings.refuse(node, field, words, None);
            }
        }
        self.findings
            .refuse_zero(node, "port", Some(server.port.into()));
    }

    pub(in crate::config) fn mcp_server(
        &mut self,
        key: &Key<'_>,
        server: &mut McpServer,
        node: &Node<'_>,
    ) {
        let is_name = !key.text.is_empty()
            && key.text.len() <= 40
            && !key.text.contains("__")
            && key
                .text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
        if !is_name {
            let message = format!("`{}` cannot be the name of an MCP server", key.text);
            self.findings.add(Problem::new(key.at, message).with_hint(
                "its tools are called `name__tool`: letters, digits, `-` and single `_`, at most 40".to_owned(),
            ));
        }
        match (node.get("command"), node.get("url")) {
            (None, None) => self.needs(key, node, &["command", "url"], "`command` or `url`"),
            (Some(_), Some(_)) => {
                let problem = Problem::new(
                    key.at,
                    format!("`{}` has both a `command` and a `url`", key.text),
                );
                self.findings
                    .add(problem.with_hint("keep one of them".to_owned()));
            }
            (Some(command), None) => {
                if command
                    .items()
                    .first()
                    .is_none_or(|word| word.text() == Some(""))
                {
                    self.findings
                        .refuse(node, "command", "names no program", None);
                }
            }
            (None, Some(_)) => {
                if let Some(url) = &server.url {
                    self.url(node, "url", url);
                }
            }
        }
        self.headers(node);
        if let Some(sandbox) = node.get("sandbox") {
            self.sandbox(sandbox);
        }
    }

    /// Reports an entry that lacks one of these keys, unless one was mistyped.
    pub(super) fn needs(&mut self, key: &Key<'_>, node: &Node<'_>, keys: &[&str], words: &str) {
        let is_meant = |key: &&str| {
            self.findings.is_meant(node.place(), key)
                || node
                    .get(key)
                    .is_some_and(|value| self.findings.is_wrong(value.place()))
        };
        if !keys.iter().any(is_meant) {
            self.findings.add(Problem::new(
                key.at,
                format!("`{}` needs {words}", key.text),
            ));
        }
    }

    /// Reports what is no http address, without its password.
    fn url(&mut self, node: &Node<'_>, key: &str, text: &str) {
        let hint = Some("such as `http://127.0.0.1:8000/v1`");
        match Url::parse(text) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") || url.host().is_none() => {
                self.findings
                    .refuse(node, key, "must begin with `http://` or `https://`", hint);
            }
            Ok(url) if url.password().is_some() => {
                let hint = Some("keys and passwords come from the environment");
                self.findings
                    .refuse(node, key, "must not hold a password", hint);
            }
            Ok(_) => {}
            Err(error) => {
                self.findings
                    .refuse(node, key, &format!("is no URL: {error}"), hint);
            }
        }
    }

    /// Reports request headers that HTTP does not allow.
    fn headers(&mut self, node: &Node<'_>) {
        for (name, value) in node.get("headers").map(Node::entries).unwrap_or_default() {
            if http::HeaderName::from_bytes(name.text.as_bytes()).is_err() {
                let problem =
                    Problem::new(name.at, format!("`{}` is no name of a header", name.text));
                self.findings.add(problem);
            } else if value
                .text()
                .is_some_and(|text| http::HeaderValue::from_str(text).is_err())
            {
                let problem = Problem::new(
                    value.place(),
                    format!(
                        "the value of the header `{}` holds characters that HTTP does not allow",
                        name.text
                    ),
                );
                self.findings.add_about(value.place(), problem);
            }
        }
    }
}

/// Whether a text is a name that an environment variable can have.
fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether ssh takes a text as a host or a user and never as an option.
fn is_ssh_word(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.contains("@-")
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}
