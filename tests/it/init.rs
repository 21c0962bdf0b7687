//! `orch init` asks nothing: it finds what the machine has, and what it writes is right.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::{Context, Ran, Stub, ran, stub};

/// A server that lists these models.
fn models(names: &'static [&'static str]) -> Stub {
    Stub::start(move |_| {
        let list: Vec<_> = names
            .iter()
            .map(|name| json!({"id": name, "object": "model"}))
            .collect();
        let body = json!({"object": "list", "data": list}).to_string();
        stub::status(200, &[("content-type", "application/json")], &body)
    })
}

fn run(context: &Context, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = context.command(args);
    // What may run on the machine of the tests is no part of them.
    command
        .env("OLLAMA_HOST", "127.0.0.1:9")
        .envs(variables.iter().copied());
    ran(command.output().unwrap())
}

/// What `init` said, after the configuration that it wrote was found to be right.
#[track_caller]
fn init(context: &Context, variables: &[(&str, &str)], healthy: bool) -> String {
    let said = run(context, variables, &["init"]).exits(0).stdout;
    let check = run(context, variables, &["check"]).exits(0);
    assert!(
        check.stdout.contains("the configuration is in order"),
        "{check:#?}"
    );
    let health = run(context, variables, &["--health"]);
    assert_eq!(health.code == 0, healthy, "{health:#?}");
    said
}

#[test]
fn a_key_is_found() {
    let server = models(&["gpt-5.5"]);
    let url = server.url();
    let context = Context::new();
    let said = init(
        &context,
        &[
            ("OPENAI_API_KEY", "canary-key-of-init"),
            ("OPENAI_BASE_URL", &url),
            ("MISTRAL_API_KEY", "canary-key-two"),
        ],
        true,
    );
    assert!(
        said.contains("the agents use openai, since `OPENAI_API_KEY` is set\n"),
        "{said}"
    );
    assert!(said.contains("also there: mistral, since `MISTRAL_API_KEY` is set; an agent uses it with `provider: mistral`"), "{said}");
    let yaml = context.read("orch.yaml");
    assert!(
        yaml.contains("default_provider: openai\n  default_model: \"gpt\"\n"),
        "{yaml}"
    );
    assert!(!format!("{said}{yaml}").contains("canary"), "{said}{yaml}");
}

#[test]
fn the_key_of_every_vendor_is_found_under_each_of_its_names() {
    for (variable, provider) in [
        ("TOGETHER_API_KEY", "together_ai"),
        ("FIREWORKS_API_KEY", "fireworks_ai"),
        ("CEREBRAS_API_KEY", "cerebras"),
        ("COHERE_API_KEY", "cohere"),
        ("ANTHROPIC_AUTH_TOKEN", "anthropic"),
        ("OR_API_KEY", "openrouter"),
    ] {
        let context = Context::new();
        let said = run(&context, &[(variable, "canary-key-of-init")], &["init"]).exits(0);
        let words = format!("the agents use {provider}, since `{variable}` is set\n");
        assert!(said.stdout.contains(&words), "{said:#?}");
        let check = run(
            &context,
            &[(variable, "canary-key-of-init")],
            &["check", "--json"],
        );
        let known = check.exits(0).json();
        let line = known["providers"][provider].as_str().unwrap_or_default();
        assert!(line.ends_with("with a key"), "{known:#}");
        assert_eq!(known["notices"], json!([]), "{variable}");
    }
}

#[test]
fn a_key_of_the_env_file_is_found_and_the_file_left_alone() {
    let context = Context::new();
    context.write(".env", "ANTHROPIC_API_KEY=canary-key-of-init\n");
    let server = models(&["claude-sonnet-5-5"]);
    let said = init(&context, &[("ANTHROPIC_BASE_URL", &server.url())], true);
    assert!(
        said.contains("the agents use anthropic, since `ANTHROPIC_API_KEY` is set"),
        "{said}"
    );
    assert_eq!(
        context.read(".env"),
        "ANTHROPIC_API_KEY=canary-key-of-init\n"
    );
}

#[test]
fn a_model_of_ollama_is_found() {
    for (names, model) in [
        (&["qwen3:8b", "gemma4:latest"][..], "\"local\""),
        (&["qwen3:8b"], "\"qwen3:8b\""),
    ] {
        let server = models(names);
        let host = server.address().to_string();
        let context = Context::new();
        let said = init(&context, &[("OLLAMA_HOST", &host)], true);
        assert!(
            said.contains("the agents use Ollama, which answers at 127.0.0.1\n"),
            "{said}"
        );
        let yaml = context.read("orch.yaml");
        assert!(
            yaml.contains(&format!(
                "default_provider: ollama\n  default_model: {model}\n"
            )),
            "{yaml}"
        );
    }
}

#[test]
fn the_claude_cli_is_found() {
    let context = Context::new();
    let bin = context.home().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let cli = bin.join("claude");
    std::fs::write(
        &cli,
        "#!/bin/sh\ncase \"$1\" in --version) echo '2.1.330 (Claude Code)';; auth) echo '{\"loggedIn\": true}';; esac\n",
    )
    .unwrap();
    std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let said = init(&context, &[("PATH", &path)], true);
    assert!(
        said.contains("the agents use the Claude Code CLI, which is installed\n"),
        "{said}"
    );
}

#[test]
fn with_nothing_it_says_what_to_do() {
    let context = Context::new();
    let said = init(&context, &[("PATH", "/nowhere")], false);
    assert!(
        said.contains("no key, no Claude Code CLI and no model of Ollama were found"),
        "{said}"
    );
    // Nothing of the user's is overwritten.
    context.write("orch.yaml", "agents: {mine: {role: R}}\n");
    let refused = run(&context, &[], &["init"]).exits(3);
    assert!(
        refused.stderr.contains("`orch.yaml` is there already"),
        "{}",
        refused.stderr
    );
    assert_eq!(context.read("orch.yaml"), "agents: {mine: {role: R}}\n");
}

#[test]
fn agents_that_are_there_already_do_not_vanish() {
    for name in ["config.yaml", "config.yml"] {
        for text in [
            "agents: {mine: {role: R, provider: replay}}\n",
            "{\"agents\": {\"mine\": {\"role\": \"R\", \"provider\": \"replay\"}}}",
        ] {
            let context = Context::new();
            context.write(name, text);
            let refused = run(&context, &[], &["init"]).exits(3).stderr;
            assert!(
                refused.contains(&format!(
                    "`{name}` has agents here, and `orch.yaml` would come before it\n\nhint: `orch` uses `{name}` as it is"
                )),
                "{refused}"
            );
            assert!(!context.work().join("orch.yaml").exists());
            assert!(!context.work().join(".env.example").exists());
            let said = run(&context, &[], &["init", "--force"]).exits(0).stdout;
            assert!(
                said.contains(&format!(
                    "{name} is not read any more: orch.yaml comes before it\n"
                )),
                "{said}"
            );
            assert_eq!(context.read(name), text);
            let again = run(&context, &[], &["init"]).exits(3).stderr;
            assert!(again.contains("`orch.yaml` is there already"), "{again}");
        }
    }
    // Somebody else's file of that name is in nobody's way.
    let context = Context::new();
    context.write("config.yaml", "other: {agents: {}}\n");
    let said = run(&context, &[], &["init"]).exits(0).stdout;
    assert!(!said.contains("config.yaml"), "{said}");
}
