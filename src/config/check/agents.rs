//! The `agents:` section.

use serde_json::Value;

use super::Checker;
use super::names::Section;
use crate::agents::AgentSettings;
use crate::config::findings::Findings;
use crate::config::node::{Data, Key, Node};
use crate::config::problem::Problem;
use crate::config::{Settings, de};
use crate::providers;

impl Checker<'_> {
    pub(in crate::config) fn agent(
        &mut self,
        key: &Key<'_>,
        agent: &mut AgentSettings,
        node: &Node<'_>,
    ) {
        self.file_name("an agent", key);
        if let Some(provider) = node.get("provider") {
            self.provider_name(provider);
        }
        self.models(agent, node);
        self.normalise_tools(&mut agent.tools, node.get("tools"));
        self.list_refers(node, "servers", Section::Servers);
        self.list_refers(node, "mcp_servers", Section::McpServers);
        self.list_refers(node, "delegates", Section::Agents);
        if let Some(grants) = node.get("grant") {
            for (name, tools) in grants.entries() {
                self.refers_by_name(&name.text, name.at, Section::Agents);
                if let Some(granted) = agent.grant.get_mut(&*name.text) {
                    self.normalise_tools(granted, Some(tools));
                }
                self.granted_to_delegate(&name.text, name, node);
            }
        }
        for (key, value) in [
            ("max_turns", agent.max_turns.map(u64::from)),
            ("max_output_tokens", agent.max_output_tokens),
        ] {
            self.findings.refuse_zero(node, key, value);
        }
        self.findings
            .refuse_negative(node, "budget_usd", agent.budget_usd);
        self.findings.check_temperature(node, agent.temperature);
        self.schema(node);
        if let Some(sandbox) = node.get("sandbox") {
            self.sandbox(sandbox);
        }
    }

    /// The models that would answer for an agent: those that could not are found before anything is spent.
    fn models(&mut self, agent: &AgentSettings, node: &Node<'_>) {
        self.findings.refuse_empty(node, "model");
        self.findings.refuse_empty_items(node, "fallback");
        if self.is_doubtful(node, "provider") {
            return;
        }
        let settings = self.root.get("settings");
        let general = |key| settings.and_then(|settings| settings.get(key));
        let default = Settings::default();
        let provider = agent.provider.as_deref();
        let provider = provider
            .or_else(|| general("default_provider").and_then(Node::text))
            .unwrap_or(&default.default_provider);
        if let Some(model) = node.get("model").or_else(|| general("default_model")) {
            self.model(provider, model, providers::resolve);
        }
        // A recording answers alone.
        if provider != "replay" {
            for model in node.get("fallback").map(Node::items).unwrap_or_default() {
                // Only a prefix can be unknown, and it says the same whoever answers first.
                self.model(provider, model, |provider, model| {
                    let first = providers::resolve(provider, model);
                    providers::resolve_fallback(provider, &first, model, |_| false, |_| false)
                });
            }
        }
    }

    /// A grant for an agent that is never called has no effect.
    fn granted_to_delegate(&mut self, name: &str, key: &Key<'_>, agent: &Node<'_>) {
        let delegates = agent.get("delegates");
        let doubtful = self.findings.is_meant(agent.place(), "delegates")
            || delegates.is_some_and(|node| self.findings.is_wrong(node.place()));
        let items = delegates.map(Node::items).unwrap_or_default();
        let is_delegate = items.iter().any(|item| item.text() == Some(name));
        if !doubtful && !is_delegate && self.agents.allow(name) {
            let problem = Problem::new(
                key.at,
                format!("`{name}` is granted tools and is no delegate"),
            )
            .with_hint("name it in `delegates` too".to_owned());
            self.findings.add(problem);
        }
    }

    /// A JSON Schema is a mapping, and one that answers can be checked against.
    pub(super) fn schema(&mut self, node: &Node<'_>) {
        if node
            .get("output_schema")
            .is_some_and(|schema| !matches!(schema.data(), Data::Mapping(_)))
        {
            let hint = Some("such as `{type: object, properties: {passed: {type: boolean}}}`");
            self.findings.refuse(
                node,
                "output_schema",
                "must be a JSON Schema, a mapping",
                hint,
            );
            return;
        }
        let written = node.entry("output_schema");
        let Some((key, schema)) = written.filter(|(_, schema)| !schema.is_null()) else {
            return;
        };
        // What cannot be read was reported when the document was.
        let value: Option<Value> = de::read(schema, de::Name::of(key), &mut Findings::default());
        let Some(fault) = value.as_ref().and_then(providers::schema_fault) else {
            return;
        };
        let at = fault.path.iter().try_fold(schema, |node, step| {
            let item = || node.items().get(step.parse::<usize>().ok()?);
            let value = node.entry(step).map(|(_, value)| value);
            value.or_else(item)
        });
        let at = at.filter(|_| !fault.path.is_empty());
        let at = at.or_else(|| reference(schema, &fault.words));
        let at = at.unwrap_or(schema).place();
        let hint = fault.path.last().filter(|key| *key == "type").map(|_| {
            "the types are `array`, `boolean`, `integer`, `null`, `number`, `object` and `string`"
                .to_owned()
        });
        let message = format!("`output_schema` is no JSON Schema: {}", fault.words);
        self.findings
            .add_about(at, Problem::new(at, message).with_hint(hint));
    }
}

/// The reference of a schema that is told of: that one leads nowhere is known, not from where.
fn reference<'n, 't>(node: &'n Node<'t>, words: &str) -> Option<&'n Node<'t>> {
    let is_meant = |text: &str| words.contains(&format!("'{}'", text.trim_start_matches('#')));
    let here = node.entry("$ref").map(|(_, value)| value);
    let here = here.filter(|value| value.text().is_some_and(is_meant));
    let below = node.entries().iter().map(|(_, value)| value);
    let mut below = below.chain(node.items());
    here.or_else(|| below.find_map(|node| reference(node, words)))
}
