//! The `settings:` section, and the numbers that other sections share with it.

use super::Checker;
use crate::config::Settings;
use crate::config::findings::{Findings, suggestion};
use crate::config::node::Node;
use crate::config::problem::Problem;
use crate::costs::BudgetSettings;
use crate::providers::vendors::{self, VENDORS};
use crate::providers::{AZURE_HINT, Resolved};
use crate::usage::Usd;

/// Providers that are neither vendors nor in `providers:`.
const BUILT_IN: [&str; 2] = ["claude", "replay"];
/// No provider: the prefix of each model names it.
pub(super) const BY_PREFIX: &str = "litellm";

/// How a model leads to who answers: from the provider and what is written.
pub(super) type Resolve = fn(&str, &str) -> Resolved;

impl Findings {
    /// Reports what the value of a key says.
    pub(super) fn refuse(&mut self, node: &Node<'_>, key: &str, words: &str, hint: Option<&str>) {
        let Some((name, value)) = node.entry(key) else {
            return;
        };
        let at = if value.is_null() {
            name.at
        } else {
            value.place()
        };
        let problem = Problem::new(at, format!("`{key}` {words}"));
        self.add_about(at, problem.with_hint(hint.map(str::to_owned)));
    }

    /// Reports a 0 where nothing would be done with it.
    pub(super) fn refuse_zero(&mut self, node: &Node<'_>, key: &str, value: Option<u64>) {
        if value == Some(0) {
            self.refuse(node, key, "must be at least 1", None);
        }
    }

    /// Reports an amount of money below zero.
    pub(super) fn refuse_negative(&mut self, node: &Node<'_>, key: &str, value: Option<Usd>) {
        if value.is_some_and(|amount| amount < Usd::ZERO) {
            self.refuse(node, key, "must not be negative", None);
        }
    }

    pub(super) fn check_temperature(&mut self, node: &Node<'_>, value: Option<f64>) {
        if value.is_some_and(|value| !(0.0..=2.0).contains(&value)) {
            self.refuse(node, "temperature", "must be between 0 and 2", None);
        }
    }

    /// Reports a text without anything in it.
    pub(super) fn refuse_empty(&mut self, node: &Node<'_>, key: &str) {
        let text = node.get(key).and_then(Node::text);
        if text.is_some_and(|text| text.trim().is_empty()) {
            self.refuse(node, key, "is empty", None);
        }
    }

    /// Reports empty items of a list of names, paths or patterns.
    pub(super) fn refuse_empty_items(&mut self, node: &Node<'_>, key: &str) {
        for item in node.get(key).map(Node::items).unwrap_or_default() {
            if item.text().is_some_and(|text| text.trim().is_empty()) {
                let problem = Problem::new(item.place(), format!("an item of `{key}` is empty"));
                self.add_about(item.place(), problem);
            }
        }
    }
}

impl Checker<'_> {
    pub(in crate::config) fn settings(&mut self, settings: &mut Settings, node: &Node<'_>) {
        if let Some(provider) = node.get("default_provider") {
            self.provider_name(provider);
        }
        for (key, value) in [
            ("max_tool_iterations", Some(settings.max_tool_iterations)),
            (
                "circuit_breaker_threshold",
                Some(settings.circuit_breaker_threshold),
            ),
        ] {
            self.findings.refuse_zero(node, key, value.map(u64::from));
        }
        self.findings
            .refuse_zero(node, "max_output_tokens", settings.max_output_tokens);
        self.findings.check_temperature(node, settings.temperature);
        for key in ["default_model", "working_dir"] {
            self.findings.refuse_empty(node, key);
        }
        if let Some(budget) = node.get("budget") {
            self.budget(&settings.budget, budget);
        }
        if let Some(sandbox) = node.get("sandbox") {
            self.sandbox(sandbox);
        }
        self.findings.refuse_empty_items(node, "allowed_commands");
        let allowed = node.get("http").and_then(|http| http.get("allow"));
        for item in allowed.map(Node::items).unwrap_or_default() {
            if item.text().is_some_and(|text| !is_host_and_port(text)) {
                let words = format!(
                    "`{}` is not a host and a port",
                    item.text().unwrap_or_default()
                );
                let problem = Problem::new(item.place(), words)
                    .with_hint("such as `127.0.0.1:3000`".to_owned());
                self.findings.add_about(item.place(), problem);
            }
        }
        self.approvals(settings, node);
    }

    fn budget(&mut self, budget: &BudgetSettings, node: &Node<'_>) {
        for (key, value) in [
            ("run_usd", budget.run_usd),
            ("session_usd", budget.session_usd),
            ("day_usd", budget.day_usd),
            ("month_usd", budget.month_usd),
        ] {
            self.findings.refuse_negative(node, key, value);
        }
        if !(0.0..=1.0).contains(&budget.warn_at) {
            let hint = Some("a fraction of the cap, such as 0.8");
            self.findings
                .refuse(node, "warn_at", "must be between 0 and 1", hint);
        }
    }

    pub(super) fn sandbox(&mut self, node: &Node<'_>) {
        for key in ["read", "read_deny", "write"] {
            self.findings.refuse_empty_items(node, key);
        }
    }

    fn approvals(&mut self, settings: &mut Settings, node: &Node<'_>) {
        let rules = node
            .get("approvals")
            .and_then(|approvals| approvals.get("rules"));
        let nodes = rules.map(Node::items).unwrap_or_default();
        let known: Vec<&Node<'_>> = nodes
            .iter()
            .filter(|node| !self.findings.dropped.contains(&node.place()))
            .collect();
        for (rule, node) in settings.approvals.rules.iter_mut().zip(known) {
            let Some(name) = node.get("tool") else {
                continue;
            };
            // A pattern, a tool of an MCP server, or the tool that calls agents.
            if rule.tool.contains(['*', '?']) || rule.tool.contains("__") || rule.tool == "delegate"
            {
                continue;
            }
            if let Some(tool) = self.tool(&rule.tool) {
                tool.clone_into(&mut rule.tool);
            } else {
                let hint = suggestion(&rule.tool, self.tools, "tools");
                let problem = Problem::new(name.place(), format!("unknown tool `{}`", rule.tool));
                self.findings
                    .add_about(name.place(), problem.with_hint(hint));
            }
        }
    }

    /// Reports a provider that is neither built in, nor a vendor, nor in `providers:`.
    pub(super) fn provider_name(&mut self, node: &Node<'_>) {
        let Some(name) = node.text() else { return };
        if name != BY_PREFIX && !self.answers(name) {
            let words = format!("unknown provider `{name}`");
            self.unknown_provider(node, name, &words, &[BY_PREFIX]);
        }
    }

    /// Whether calls can be sent to the provider of this name.
    fn answers(&self, provider: &str) -> bool {
        let is_vendor = vendors::find(provider).is_some();
        is_vendor || BUILT_IN.contains(&provider) || self.providers.allow(provider)
    }

    /// Reports a model of which no call could be sent, as it is written at `node` for agents of `provider`.
    pub(super) fn model(&mut self, provider: &str, node: &Node<'_>, resolve: Resolve) {
        let written = node.text().unwrap_or_default();
        if written.trim().is_empty() {
            return;
        }
        let resolved = resolve(provider, written);
        // A provider that is unknown itself has been reported.
        let is_sent_elsewhere = resolved.vendor != provider;
        if is_sent_elsewhere && !self.answers(&resolved.vendor) {
            let words = format!("unknown provider `{}` in `{written}`", resolved.vendor);
            self.unknown_provider(node, &resolved.vendor, &words, &[]);
        }
    }

    fn unknown_provider(&mut self, node: &Node<'_>, name: &str, words: &str, also: &[&str]) {
        let vendors = VENDORS.iter().map(|vendor| vendor.prefix);
        let known: Vec<&str> = BUILT_IN
            .into_iter()
            .chain(also.iter().copied())
            .chain(vendors)
            .chain(self.providers.iter())
            .filter(|_| self.findings.may_suggest())
            .collect();
        let hint = match name {
            "azure" => Some(AZURE_HINT.to_owned()),
            name => suggestion(name, &known, "providers"),
        };
        let hint =
            hint.unwrap_or_else(|| "a vendor, `claude`, or a name from `providers:`".to_owned());
        let problem = Problem::new(node.place(), words).with_hint(hint);
        self.findings.add_about(node.place(), problem);
    }
}

/// `host:port`, the host as a name or an address, an IPv6 address in brackets.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let host_is_whole = match host.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    host_is_whole && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::is_host_and_port;

    #[test]
    fn local_addresses_are_hosts_with_ports() {
        for (text, expected) in [
            ("127.0.0.1:3000", true),
            ("localhost:80", true),
            ("[::1]:8080", true),
            ("::1:8080", false),
            ("127.0.0.1", false),
            ("127.0.0.1:0", false),
            ("127.0.0.1:70000", false),
            ("http://127.0.0.1:3000", false),
            (":3000", false),
        ] {
            assert_eq!(is_host_and_port(text), expected, "{text}");
        }
    }
}
