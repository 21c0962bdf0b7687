//! A configuration with every key set, and the originals.

use super::{complaint, document};
use crate::config::de::{self, Name};
use crate::config::findings::Findings;
use crate::config::{Engine, node, schema};
use crate::providers::{ProviderKind, Seconds};
use crate::tasks::{ForEach, OnFailure};
use crate::tools::Action;

pub(super) const FULL: &str = include_str!("full.yaml");

#[test]
fn every_key_is_read() {
    let (document, notices) = document(FULL).unwrap();
    assert_eq!(notices, Vec::<String>::new());
    let settings = &document.settings;
    assert_eq!(settings.clocks.idle, Some(Seconds(60.0)));
    assert_eq!(
        settings.budget.day_usd.map(|usd| usd.to_string()),
        Some("10.000000".to_owned())
    );
    assert_eq!(settings.approvals.rules[0].action, Action::Ask);
    assert_eq!(settings.approvals.rules[1].tool, "git__*");
    let lab = document.providers.get("lab").unwrap();
    assert_eq!(lab.kind, Some(ProviderKind::Openai));
    assert_eq!(lab.prices["my-model"].output.to_string(), "0.400000");
    assert_eq!(
        document.servers.get("production").unwrap().jump.as_deref(),
        Some("ops@jump:22")
    );
    assert_eq!(document.mcp_servers.get("git").unwrap().env["DEBUG"], "1");
    assert_eq!(
        document.agents.names().collect::<Vec<_>>(),
        ["reviewer", "tester", "judge"]
    );
    let reviewer = document.agents.get("reviewer").unwrap();
    assert_eq!(
        reviewer.role,
        "You are a demanding but constructive code reviewer.\n"
    );
    assert_eq!(reviewer.grant["tester"], ["bash"]);
    assert_eq!(
        reviewer.output_schema,
        Some(serde_json::json!({"type": "object"}))
    );
    let deploy = document.tasks.get("deploy").unwrap();
    assert_eq!(deploy.steps.len(), 9);
    assert_eq!(
        deploy.steps[1].for_each,
        Some(ForEach::Template(
            "{{ steps.test.structured.failed }}".to_owned()
        ))
    );
    assert_eq!(deploy.steps[1].on_failure, OnFailure::Stop);
    assert_eq!(deploy.steps[6].steps[0].run.as_deref(), Some("cargo test"));
    assert_eq!(document.engine, Engine::Local);
}

#[test]
fn the_originals_load() {
    for (name, text, agents) in [
        (
            "config",
            include_str!("../../../tests/it/fixtures/original/config.yaml"),
            vec!["assistant"],
        ),
        (
            "dev_team",
            include_str!("../../../tests/it/fixtures/original/dev_team.yaml"),
            vec!["architect", "developer", "reviewer", "tester"],
        ),
        (
            "devops",
            include_str!("../../../tests/it/fixtures/original/devops.yaml"),
            vec!["deployer", "monitor"],
        ),
        (
            "local_ollama",
            include_str!("../../../tests/it/fixtures/original/local_ollama.yaml"),
            vec!["assistant", "coder"],
        ),
        (
            "simple",
            include_str!("../../../tests/it/fixtures/original/simple.yaml"),
            vec!["assistant"],
        ),
    ] {
        let (document, notices) = document(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            document.agents.names().collect::<Vec<_>>(),
            agents,
            "{name}"
        );
        assert_eq!(notices, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_is_shipped_loads_and_meets_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for (name, text, agents) in [
        ("config", include_str!("../../../config.yaml"), 1),
        ("simple", include_str!("../../../examples/simple.yaml"), 1),
        (
            "dev_team",
            include_str!("../../../examples/dev_team.yaml"),
            4,
        ),
        ("devops", include_str!("../../../examples/devops.yaml"), 2),
        (
            "local_ollama",
            include_str!("../../../examples/local_ollama.yaml"),
            2,
        ),
    ] {
        let (document, _) = document(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(document.agents.len(), agents, "{name}");
        let errors: Vec<String> = validator
            .iter_errors(&as_json(text))
            .map(|error| format!("{name}: {error} at {}", error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new());
    }
    // What is commented out must be right as well.
    let uncommented: String = include_str!("../../../config.yaml")
        .lines()
        .map(|line| match line.trim_start().strip_prefix("# ") {
            Some(rest) if line.starts_with("  ") => format!("  {rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let kept: Vec<&str> = uncommented
        .lines()
        .filter(|line| !line.ends_with('.'))
        .collect();
    let (document, _) = document(&kept.join("\n")).unwrap();
    assert_eq!(
        document.agents.names().collect::<Vec<_>>(),
        ["assistant", "coder"]
    );
    assert_eq!(
        document.tasks.get("check").map(|task| task.steps.len()),
        Some(2)
    );
    assert_eq!(document.servers.len() + document.providers.len(), 2);
    assert_eq!(document.settings.approvals.rules.len(), 1);
}

/// A text as JSON, as the schema sees it.
fn as_json(text: &str) -> serde_json::Value {
    let tree = node::parse(text).unwrap();
    let name = Name {
        key: "file",
        item: None,
        at: tree.root.at,
    };
    de::read(&tree.root, name, &mut Findings::default()).unwrap()
}

#[test]
fn the_same_text_meets_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let value = as_json(FULL);
    let errors: Vec<String> = validator
        .iter_errors(&value)
        .map(|e| format!("{e} at {}", e.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    for wrong in [
        serde_json::json!({"setings": {}}),
        serde_json::json!({"settings": {"timeout": "5m"}}),
        serde_json::json!({"agents": {"a": {"modle": "x"}}}),
        serde_json::json!({"tasks": {"t": {"steps": [{"on_failure": "explode"}]}}}),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
    assert!(
        validator
            .is_valid(&serde_json::json!({"agents": {"a": null}, "tasks": null, "settings": null}))
    );
}

#[test]
fn comments_alone_mean_nothing() {
    for text in [
        "",
        "\n",
        "# only\n",
        "---\n",
        "settings:\nagents:\nservers:\ntasks:\nproviders:\nmcp_servers:\nengine:\n",
        "agents:\n  a:\n    # nothing\n",
        "settings:\n  budget:\n  clocks:\n  timeout:\n  allowed_commands:\n  default_model: ~\n",
    ] {
        let (read, _) = document(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(read, crate::config::Document::default(), "{text}");
    }
}

#[test]
fn scalars_are_taken_as_they_are_meant() {
    let (document, notices) = document(
        "settings:\n  timeout: \"5\"\n  max_retries: '2'\n  sandbox_paths: yes\n  enable_circuit_breaker: Off\n  \
         max_tool_iterations: 5.0\n  tokens_per_minute: 60_000\n  default_model: 4.10\n  sandbox: {tier: off}\n\
         agents:\n  7:\n    role: yes\n    tools: [WebFetch, webfetch, Bash, TodoRead, LIST_DIR, HttpRequest]\n    budget_usd: 1e-3\n  8: {budget_usd: \"10\"}\n",
    )
    .unwrap();
    let settings = &document.settings;
    assert_eq!(settings.timeout, Seconds(5.0));
    assert_eq!(settings.max_retries, 2);
    assert!(settings.sandbox_paths);
    assert!(!settings.enable_circuit_breaker);
    assert_eq!(settings.max_tool_iterations, 5);
    assert_eq!(settings.tokens_per_minute, Some(60_000));
    assert_eq!(settings.default_model, "4.10");
    assert_eq!(settings.sandbox.tier, crate::sandbox::Tier::Off);
    let agent = document.agents.get("7").unwrap();
    assert_eq!(agent.role, "yes");
    assert_eq!(
        agent.tools,
        ["web_fetch", "bash", "list_dir", "http_request"]
    );
    assert_eq!(
        agent.budget_usd.map(|usd| usd.to_string()),
        Some("0.001000".to_owned())
    );
    assert_eq!(
        notices,
        ["13: the tool `TodoRead` is accepted and does nothing"]
    );
}

#[test]
fn anchors_and_merge_keys_work() {
    let (document, _) = document(
        "agents:\n  a: &base\n    model: x\n    tools: &tools [read]\n  b:\n    <<: *base\n    model: y\n  c:\n    <<: [*base, {max_turns: 3}]\n    tools: *tools\n",
    )
    .unwrap();
    let get = |name| document.agents.get(name).unwrap();
    assert_eq!(
        (get("b").model.as_deref(), get("b").tools.as_slice()),
        (Some("y"), ["read".to_owned()].as_slice())
    );
    assert_eq!(
        (get("c").max_turns, get("c").model.as_deref()),
        (Some(3), Some("x"))
    );
    assert_eq!(
        complaint("x: &a [read]\nagents:\n  b: {tools: [*a]}\n"),
        "orch.yaml:1:1: unknown key `x`\n  1 | x: &a [read]\n    | ^\n  known here: settings, providers, servers, mcp_servers, agents, tasks, engine\n\n\
         orch.yaml:1:7: item 1 of `tools` must be a text, not a list\n  1 | x: &a [read]\n    |       ^"
    );
}
