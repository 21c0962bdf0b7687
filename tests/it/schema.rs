//! The JSON Schema that editors complete configurations with: what is shipped is what the program
//! prints, and every shipped configuration meets it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::Context;

const FILE: &str = "schema/config.schema.json";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped() -> Value {
    let text = std::fs::read_to_string(root().join(FILE)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Every configuration that is shipped.
fn configurations() -> Vec<PathBuf> {
    let mut found = vec![root().join("config.yaml")];
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            found.push(path);
        }
    }
    assert!(found.len() > 5, "{found:?}");
    found
}

/// What is wrong with a value, one line each.
fn faults(schema: &Value, value: &Value) -> Vec<String> {
    jsonschema::validator_for(schema)
        .unwrap()
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn the_shipped_schema_is_what_the_program_prints() {
    let printed = Context::new().run(&["schema"]).exits(0).stdout;
    let file = std::fs::read_to_string(root().join(FILE)).unwrap();
    assert!(file == printed, "write it anew: orch schema > {FILE}");
}

#[test]
fn every_shipped_configuration_meets_it_and_names_it() {
    let schema = shipped();
    for path in configurations() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            faults(&schema, &yaml(&text)),
            Vec::<String>::new(),
            "{}",
            path.display()
        );
        let named = text
            .lines()
            .next()
            .unwrap()
            .strip_prefix("# yaml-language-server: $schema=")
            .unwrap_or_else(|| panic!("{} names no schema", path.display()));
        let found = path.parent().unwrap().join(named).canonicalize().unwrap();
        assert_eq!(
            found,
            root().join(FILE).canonicalize().unwrap(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn it_knows_what_is_wrong() {
    let schema = shipped();
    for (text, wrong) in [
        ("agnets: {}", true),
        ("settings: {timeout: soon}", true),
        ("settings: {sandbox: {network: some}}", true),
        ("agents: {a: {role: R, toolz: []}}", true),
        ("tasks: {t: {steps: {}}}", true),
        ("engine: cloud", true),
        ("settings: {timeout: -1}", true),
        ("settings: {max_tool_iterations: 0}", true),
        ("settings: {temperature: 9}", true),
        ("settings: {budget: {run_usd: -1}}", true),
        ("settings: {budget: {warn_at: 80}}", true),
        ("servers: {s: {host: h, port: 0}}", true),
        ("servers: {s: {host: h, port: 70000}}", true),
        ("tasks: {t: {steps: [{run: x, max_parallel: 0}]}}", true),
        (
            "tasks: {t: {steps: [{agent: a, prompt: x, output_schema: 5}]}}",
            true,
        ),
        ("tasks: {t: {steps: [{}]}}", true),
        ("tasks: {t: {steps: [{run: x, gate: y}]}}", true),
        ("tasks: {t: {description: x}}", true),
        ("mcp_servers: {m: {timeout: 5}}", true),
        ("mcp_servers: {m: {command: [x], url: \"http://x\"}}", true),
        ("mcp_servers: {m: {command: [x], url: }}", false),
        (
            "settings: {clocks: , sandbox: , budget: , allowed_commands: , approvals: {rules: }}",
            false,
        ),
        (
            "agents: {a: {tools: , servers: , sandbox: }}\nproviders: {p: {headers: , prices: }}",
            false,
        ),
        (
            "settings: {timeout: \"300\", max_retries: \"3\", budget: {run_usd: \"0.50\"}}",
            false,
        ),
        (
            "mcp_servers: {m: {command: [x, 1], env: {PORT: 3000}}}",
            false,
        ),
        ("agents:\nsettings:\ntasks:", false),
        (
            "agents: {a: {role: R, tools: [read], output_schema: {type: object}}}",
            false,
        ),
        (
            "providers: {p: {kind: openai, base_url: \"http://127.0.0.1:1\"}}",
            false,
        ),
        (
            "settings: {timeout: 5, budget: {day_usd: 1.5}, max_concurrency: null}",
            false,
        ),
    ] {
        assert_eq!(
            !faults(&schema, &yaml(text)).is_empty(),
            wrong,
            "{text}: {:?}",
            faults(&schema, &yaml(text))
        );
    }
}

#[test]
fn editors_find_a_word_for_every_key() {
    fn look(value: &Value, at: &str, silent: &mut Vec<String>) {
        let Value::Object(fields) = value else { return };
        if let Some(Value::Object(keys)) = fields.get("properties") {
            for (name, key) in keys {
                if key.get("description").is_none() && !key.to_string().contains("\"description\"")
                {
                    silent.push(format!("{at}.{name}"));
                }
            }
        }
        for (name, inner) in fields {
            look(inner, &format!("{at}.{name}"), silent);
        }
    }
    let mut silent = Vec::new();
    look(&shipped(), "", &mut silent);
    assert_eq!(silent, Vec::<String>::new());
    assert_eq!(
        shipped()["$schema"],
        json!("https://json-schema.org/draft/2020-12/schema")
    );
}
