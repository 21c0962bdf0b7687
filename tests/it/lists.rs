//! What is asked about the configuration and the house: answers without a run, nothing written.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::{Context, Stub, agent_config, ran, stub};

#[test]
fn status_writes_nothing_to_the_disk() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    std::fs::remove_dir(context.state()).unwrap();
    for args in [
        &["--status", "--json"][..],
        &["--status"],
        &["--agents", "--json"],
        &["--models"],
        &["--costs", "--json"],
        &["--tasks"],
        &["--logs", "a"],
        &["check"],
        &["check", "--explain", "a"],
        &["--agent", "a", "--prompt", "x", "--dry-run"],
    ] {
        context.orch(args).exits(0);
        let left: Vec<_> = std::fs::read_dir(context.work())
            .unwrap()
            .map(|f| f.unwrap().file_name())
            .collect();
        assert_eq!(left, ["orch.yaml"], "{args:?}");
        assert!(!context.state().exists(), "{args:?}");
    }
    let status = context.orch(&["--status", "--json"]).json();
    assert_eq!(status["agents"]["a"]["provider"], "stub");
    assert_eq!(status["settings"]["max_retries"], 0);
    assert_eq!(status["costs"]["total_requests"], 0);
    for key in [
        "config_path",
        "settings",
        "agents",
        "servers",
        "costs",
        "limits",
        "breakers",
        "sandbox",
        "store",
    ] {
        assert!(status.as_object().unwrap().contains_key(key), "{key}");
    }
    let agents = context.orch(&["--agents", "--json"]).json();
    assert_eq!(
        agents,
        json!([{"name": "a", "provider": "stub", "model": "stub-model",
            "tools": ["read", "write", "edit", "glob", "grep", "list_dir"], "servers": []}])
    );
}

/// Whatever comes first makes the state directory, for its owner alone; one that is there stays as the user made it.
#[test]
fn the_state_directory_is_private_whoever_makes_it() {
    let server = Stub::start(|_| stub::text("ok"));
    let prices =
        r#"{"schema": 1, "models": {"lab/m": {"input_per_mtok": 1, "output_per_mtok": 1}}}"#;
    for args in [
        &["--config", "orch.yaml", "prices", "--update", "prices.json"][..],
        &["--config", "orch.yaml", "--agent", "a", "--prompt", "x"],
        &["trust", "orch.yaml"],
    ] {
        let context = Context::with_agent(&server.url(), "");
        context.write("prices.json", prices);
        let (state, given) = (context.home().join(".local/state/orch"), context.state());
        let mut command = context.command(args);
        command.env_remove("ORCH_STATE_DIR");
        assert_eq!(ran(command.output().unwrap()).code, 0, "{args:?}");
        for made in [&state, &context.home().join(".local")] {
            assert_eq!(mode(made), 0o700, "{args:?}: {}", made.display());
        }
        let widely = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&given, widely).unwrap();
        context.run(args).exits(0);
        assert_eq!(mode(&given), 0o755, "{args:?}");
        for entry in std::fs::read_dir(&given).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path) & 0o077, 0, "{args:?}: {}", path.display());
        }
    }
}

fn mode(path: &std::path::Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn health_spends_no_tokens_and_says_what_is_wrong() {
    let server = Stub::start(|seen| match seen.method.as_str() {
        "GET" => stub::status(200, &[], r#"{"object":"list","data":[]}"#),
        _ => stub::text("OK"),
    });
    let context = Context::with_agent(&server.url(), "");
    let healthy = context.orch(&["--health", "--json"]).exits(0).json();
    assert_eq!(healthy["a"]["healthy"], true);
    assert!(server.chats().is_empty());
    context.orch(&["--health", "--deep"]).exits(0);
    assert_eq!(server.chats().len(), 1);
    assert_eq!(
        context.orch(&["--costs", "--json"]).json()["total_requests"],
        1
    );
    let url = server.url();
    drop(server);
    let down = Context::with_agent(&url, "");
    let sick = down.orch(&["--health", "--json"]).exits(1).json();
    assert_eq!(sick["a"]["healthy"], false);
    assert_eq!(sick["a"]["class"], "provider");
}

#[test]
fn a_found_configuration_must_be_trusted_before_it_may_do_much() {
    let server = Stub::start(|_| stub::text("hi"));
    let context = Context::new();
    let yaml = format!(
        "providers:\n  lab: {{base_url: \"{}\", api_key_env: LAB_KEY}}\nagents:\n  a: {{role: R, provider: lab, model: m}}\n",
        server.url()
    );
    context.write("orch.yaml", &yaml);
    let run = || {
        let mut command = context.command(&["--agent", "a", "--prompt", "x"]);
        command.env("LAB_KEY", "0123456789abcdef");
        crate::support::ran(command.output().unwrap())
    };
    let refused = run().exits(3);
    assert!(
        refused.stderr.contains("orch trust orch.yaml"),
        "{refused:?}"
    );
    assert!(server.seen().is_empty());
    context.run(&["trust", "orch.yaml"]).exits(0);
    assert_eq!(run().exits(0).stdout, "hi\n");
    context.write("orch.yaml", format!("{yaml}# changed\n"));
    run().exits(3);
}

#[test]
fn what_the_env_file_loosens_is_asked_about_and_explained() {
    let context = Context::new();
    let yaml = agent_config("http://127.0.0.1:9", "servers: {p: {host: h, user: u}}\n");
    let yaml = yaml.replace("tools: [", "servers: [p], tools: [ssh, ");
    context.write("orch.yaml", yaml);
    let explained = |context: &Context| context.run(&["check", "--explain", "a"]);
    let strict = explained(&context).exits(0).stdout;
    assert!(!strict.contains("host key"), "{strict}");
    context.write(".env", "SSH_KNOWN_HOSTS_CHECK=false\n");
    let refused = explained(&context).exits(3).stderr;
    assert!(
        refused.contains("accepts unknown ssh hosts (SSH_KNOWN_HOSTS_CHECK of .env)"),
        "{refused}"
    );
    context.run(&["trust", "orch.yaml"]).exits(0);
    let loose = explained(&context).exits(0).stdout;
    let line = "connect to servers whose host key nobody knows yet, never to those whose key has changed — SSH_KNOWN_HOSTS_CHECK of .env\n";
    assert_eq!(loose.replacen(line, "", 1), strict);
    assert_ne!(loose, strict);
}

#[test]
fn a_found_configuration_must_be_trusted_before_agents_work_elsewhere() {
    let server = Stub::start(|_| stub::text("hi"));
    let context = Context::new();
    let yaml = agent_config(&server.url(), "");
    let yaml = yaml.replace("settings: {", "settings: {working_dir: ../victim, ");
    assert!(yaml.contains("victim"), "{yaml}");
    context.write("orch.yaml", &yaml);
    let victim = context.work().join("../victim");
    std::fs::create_dir(&victim).unwrap();
    let prompt = ["--agent", "a", "--prompt", "x"];
    let refused = context.run(&prompt).exits(3);
    let elsewhere = std::fs::canonicalize(&victim).unwrap();
    let words = format!("it lets agents work in {}", elsewhere.display());
    assert!(refused.stderr.contains(&words), "{}", refused.stderr);
    assert!(refused.stderr.contains("orch trust orch.yaml"));
    assert!(server.seen().is_empty());
    context.orch(&prompt).exits(0);
    context.run(&["trust", "orch.yaml"]).exits(0);
    context.run(&prompt).exits(0);
}

#[test]
fn a_configuration_that_is_no_file_is_told_with_its_hint_apart() {
    let context = Context::new();
    for (named, message, hint) in [
        (
            "absent.yaml",
            "absent.yaml: there is no such file",
            "`orch init` writes a configuration",
        ),
        (
            ".",
            ".: is a directory",
            "name the file in it, such as `orch.yaml`",
        ),
    ] {
        let flags = ["--config", named, "--agents"];
        let told = context.run(&flags).exits(3).stderr;
        assert_eq!(told, format!("error: {message}\n\nhint: {hint}\n"));
        let error = &context.run(&[&flags[..], &["--json"]].concat()).exits(3);
        let error = &error.json()["error"];
        assert_eq!(
            (&error["message"], &error["hint"]),
            (&message.into(), &hint.into())
        );
    }
    let told = context.run(&["trust", "."]).exits(3).stderr;
    assert!(told.starts_with("error: .: is a directory\n"), "{told}");
}

#[test]
fn many_agents_answer_and_some_fail() {
    let server = Stub::start(|seen| {
        if seen.body["model"] == "bad" {
            stub::status(401, &[], "{}")
        } else {
            stub::text("fine")
        }
    });
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0}}\nproviders:\n  stub: {{kind: openai, base_url: \"{}\"}}\nagents:\n  one: {{role: R, \
             provider: stub, model: good}}\n  two: {{role: R, provider: stub, model: bad}}\n  three: {{role: R, provider: stub, model: good}}\n",
            server.url()
        ),
    );
    let all = context
        .orch(&["--all", "--prompt", "x", "--json"])
        .exits(8)
        .json();
    assert_eq!(
        (all["kind"].as_str(), all["ok"].as_bool()),
        (Some("all"), Some(false))
    );
    assert_eq!(all["error"]["class"], "partial");
    assert_eq!(all["usage"]["input_tokens"], 20);
    let results: Vec<_> = all["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| {
            (
                result["agent"].as_str().unwrap(),
                result["ok"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(results, [("one", true), ("two", false), ("three", true)]);
    let text = context
        .orch(&["--all", "--agents-only", "one,three", "--prompt", "x"])
        .exits(0);
    assert_eq!(text.stdout.matches("fine\n").count(), 2);
    context
        .orch(&["--all", "--agents-only", "two", "--prompt", "x"])
        .exits(4);
}

#[test]
fn the_time_of_a_health_check_is_kept() {
    let mute = Stub::start(|_| vec![stub::Do::Hang]);
    let context = Context::with_agent(&mute.url(), "");
    for args in [&["--health"][..], &["--health", "--deep"]] {
        let started = std::time::Instant::now();
        let args = [args, &["--timeout", "2", "--json"]].concat();
        let told = context.orch(&args).exits(1).json();
        assert_eq!(told["a"]["class"], "timeout", "{told}");
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
        let none = context.orch(&[&args[..1], &["--timeout", "0"]].concat());
        assert!(
            none.exits(2)
                .stderr
                .contains("`--timeout 0` is no time span"),
            "{args:?}"
        );
    }
}

#[test]
fn the_path_of_the_cli_starts_at_the_configuration() {
    let context = Context::new();
    context.write("conf/cli", "#!/bin/sh\necho '2.1.0 (Claude Code)'\n");
    let cli = context.work().join("conf/cli");
    std::fs::set_permissions(cli, std::fs::Permissions::from_mode(0o755)).unwrap();
    context.write(
        "conf/orch.yaml",
        "providers: {claude: {cli_path: ./cli}}\nagents: {a: {role: r, provider: claude, model: opus}}\n",
    );
    let told = context.run(&["--config", "conf/orch.yaml", "--health"]);
    assert_eq!(told.exits(0).stdout, "ok   a  claude answers\n");
}

#[test]
fn the_house_answers() {
    let context = Context::new();
    context.run(&["init"]).exits(0);
    assert!(context.read("orch.yaml").contains("assistant"));
    context.run(&["init"]).exits(3);
    context.run(&["init", "--force"]).exits(0);
    context.orch(&["check"]).exits(0);
    context.orch(&["check", "--store"]).exits(0);
    for (vendor, pointer) in [
        ("openai", "/0/function/name"),
        ("anthropic", "/0/name"),
        ("gemini", "/0/function_declarations/0/name"),
    ] {
        let schema = context.run(&["schema", "--tools", vendor]).exits(0).json();
        assert!(schema.pointer(pointer).is_some(), "{vendor}: {schema}");
    }
    let schema = context.run(&["schema"]).exits(0).json();
    assert!(schema["properties"]["agents"].is_object());
    let price = context.orch(&["prices", "gpt4o", "--json"]).exits(0).json();
    assert_eq!(price["usd_per_mtok"]["input"], "2.500000");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            context
                .run(&["completions", shell])
                .exits(0)
                .stdout
                .contains("orch")
        );
    }
    assert!(context.run(&["man"]).exits(0).stdout.starts_with(".ie"));
    assert!(context.run(&["--help"]).exits(0).stdout.contains("--agent"));
    context.run(&["--version"]).exits(0);
    let over = context.orch(&[
        "--agent",
        "assistant",
        "--prompt",
        "x",
        "--dry-run",
        "--budget",
        "0",
    ]);
    assert_eq!(over.code, 7, "{over:?}");
}

#[test]
fn a_tool_runs_alone_under_a_policy() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    context.write("x.txt", "one\n");
    let tool = |args: &[&str]| context.orch(&[&["tool"], args].concat());
    assert_eq!(
        tool(&["read", r#"{"path": "x.txt"}"#]).exits(0).stdout,
        "one\n"
    );
    assert_eq!(
        tool(&["Read", r#"{"path": "x.txt"}"#, "--agent", "a"])
            .exits(0)
            .stdout,
        "one\n"
    );
    tool(&["read", r#"{"path": "none"}"#]).exits(1);
    tool(&["read", r#"{"path": "../../etc/passwd"}"#]).exits(9);
    tool(&[
        "http_request",
        r#"{"url": "http://127.0.0.1/"}"#,
        "--agent",
        "a",
    ])
    .exits(9);
    tool(&["frobnicate"]).exits(2);
    tool(&["read", "{nonsense"]).exits(1);
}

#[test]
fn a_model_that_nobody_knows_is_refused_before_anything_is_asked() {
    let context = Context::new();
    context.write(
        "orch.yaml",
        "agents:\n  a: {role: R, provider: openai, model: gpt4o}\n  \
         b: {role: R, provider: openai, model: gtp4o}\n  \
         c: {role: R, provider: ollama, model: whatever}\n",
    );
    for (agent, model, message, hint) in [
        (
            "a",
            "gtp4o",
            "there is no known model `gtp4o`",
            "did you mean `gpt4o`? a model that is not listed is written `openai/gtp4o`",
        ),
        (
            "a",
            "zzzzzzzz",
            "there is no known model `zzzzzzzz`",
            "`orch --models` lists aliases; a model that is not listed is written `openai/zzzzzzzz`",
        ),
        (
            "a",
            "nope/x",
            "`nope/x` names no known provider",
            "`providers:` of the configuration has no `nope`; a model of `openai` is written `openai/nope/x`",
        ),
    ] {
        let ask = ["--agent", agent, "--model", model, "--prompt", "x"];
        let ran = context.orch(&ask).exits(2);
        assert_eq!(ran.stderr, format!("error: {message}\n\nhint: {hint}\n"));
        let planned = context.orch(&[&ask[..], &["--dry-run"]].concat()).exits(2);
        assert!(planned.stderr.contains(message), "{}", planned.stderr);
    }
    // What is written whole, what a server of one's own has, and what one of several agents knows.
    for args in [
        &["--agent", "a", "--model", "openai/zzz"][..],
        &["--agent", "c", "--model", "zzz"],
        &["--all", "--model", "zzz"],
    ] {
        context
            .orch(&[args, &["--prompt", "x", "--dry-run"]].concat())
            .exits(0);
    }
    // A configuration may be newer than the list.
    let check = context.orch(&["check", "--json"]).exits(0).json();
    let notice = "b: there is no known model `gtp4o`; did you mean `gpt4o`? a model that is not listed is written \
                  `openai/gtp4o`";
    assert_eq!(check["notices"], serde_json::json!([notice]));
}

/// Who named a server of their own did not mean another one to read the prompt.
#[test]
fn a_prompt_goes_to_the_provider_that_is_named_and_to_no_other() {
    let server = Stub::start(|_| stub::text("ok"));
    let url = server.url();
    let context = Context::new();
    context.write(".env", "OPENAI_API_KEY=sk-test-0123456789abcdef\n");
    for (provider, model, asked) in [
        ("lab", "lab/m", "m"),
        ("lab", "lab/org/m", "org/m"),
        ("openai", "claude-x", "claude-x"),
        ("openai", "org/m", "org/m"),
    ] {
        context.write(
            "orch.yaml",
            format!(
                "settings: {{max_retries: 0}}\nproviders: {{{provider}: {{base_url: \"{url}\"}}}}\n\
                 agents: {{a: {{role: R, provider: openai, model: {model}, tools: []}}}}\n"
            ),
        );
        let ask = ["--agent", "a", "--prompt", "x", "--json"];
        let answer = context.orch(&ask).exits(0).json();
        assert_eq!(answer["model"], format!("{provider}/{asked}"));
        assert_eq!(server.chats().last().unwrap().body["model"], asked);
    }
    assert_eq!(server.chats().len(), 4);
}

#[test]
fn a_tool_runs_beside_a_damaged_store() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    let store = context.state().join("orch.db");
    let damaged = "no database ".repeat(1_000);
    std::fs::write(&store, &damaged).unwrap();
    let ran = context
        .orch(&["tool", "read", r#"{"path": "orch.yaml", "limit": 1}"#])
        .exits(0);
    assert!(ran.stdout.contains("settings"), "{}", ran.stdout);
    assert_eq!(std::fs::read_to_string(&store).unwrap(), damaged);
    context.orch(&["--costs"]).exits(1);
}
