//! Which found configurations must be trusted, and which workspaces are refused.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sha2::Digest as _;

use super::loading::Machine;
use crate::config::{DecidedBy, TrustState, needs_trust, refused_workspace, trust, trust_state};

#[test]
fn what_a_stranger_must_not_do_unasked_is_named() {
    for (text, expected) in [
        ("agents: {a: {role: x, tools: [bash]}}", vec![]),
        ("servers: {p: {host: h, key: /k}}", vec![]),
        (
            "providers: {lab: {base_url: \"http://127.0.0.1:8000/v1\"}}",
            vec![],
        ),
        ("providers: {openai: {max_concurrency: 2}}", vec![]),
        (
            "settings: {approvals: {default: ask}, sandbox: {read: [~/.gitconfig]}}",
            vec![],
        ),
        (
            "agents: {a: {sandbox: {tier: full, network: deny}}}",
            vec![],
        ),
        (
            "mcp_servers: {git: {command: [uvx, mcp-server-git]}, docs: {url: \"https://x/mcp\"}}",
            vec![
                "starts the MCP server `git` (`uvx mcp-server-git`)",
                "connects to the MCP server `docs` at https://x/mcp",
            ],
        ),
        (
            "providers: {lab: {base_url: \"http://x/v1\", api_key_env: LAB_KEY}}",
            vec!["sends the key of `lab` to http://x/v1"],
        ),
        (
            "providers: {openai: {base_url: \"http://x/v1\"}, groq: {base_url: \"http://y/v1\"}}",
            vec!["sends the key of `openai` to http://x/v1"],
        ),
        (
            "providers: {claude: {base_url: \"http://x\"}, mine: {kind: claude, base_url: \"http://y\"}}",
            vec![
                "sends the key of `claude` to http://x",
                "sends the key of `mine` to http://y",
            ],
        ),
        (
            "providers: {claude: {cli_path: ./claude}}",
            vec!["runs `./claude` as the Claude CLI"],
        ),
        (
            "providers: {claude: {native_tools: true}, mine: {kind: claude, native_tools: true, cli_path: c}, other: {kind: claude, native_tools: false}}",
            vec![
                "hands the Claude CLI its own tools, without approvals and allowed_commands (`claude`)",
                "runs `c` as the Claude CLI",
                "hands the Claude CLI its own tools, without approvals and allowed_commands (`mine`)",
            ],
        ),
        (
            "settings: {sandbox: {tier: landlock, network: loopback, read: [/opt], write: [/tmp]}, sandbox_paths: false, http: {allow: [\"localhost:1\"]}}",
            vec![
                "weakens the sandbox (`tier: landlock`)",
                "lets commands reach this machine's servers",
                "lets tools read /opt",
                "lets tools write /tmp",
                "opens the whole disk to tools",
                "lets http tools reach localhost:1",
            ],
        ),
        (
            "agents: {a: {sandbox: {tier: off, network: allow}}}",
            vec![
                "turns the sandbox of `a` off",
                "lets commands of `a` reach the network",
            ],
        ),
        (
            "settings: {ssh_strict_host_checking: false}\nservers: {p: {host: h}}",
            vec!["accepts unknown ssh hosts"],
        ),
    ] {
        let mut machine = Machine::new();
        machine
            .set("OPENAI_API_KEY", "sk-x")
            .write("work/orch.yaml", text);
        assert_eq!(needs_trust(&machine.load()), expected, "{text}");
        let named = machine.load_named(Some("orch.yaml")).unwrap();
        assert_eq!(needs_trust(&named), Vec::<String>::new());
        assert_eq!(trust_state(&named), TrustState::Trusted);
    }
}

#[test]
fn trust_is_kept_for_one_content_at_one_place() {
    let text = "providers: {claude: {cli_path: ./claude}}\n";
    // What a stranger's file says about state must not decide where trust is looked for.
    let own_state = "settings: {state_dir: state}\n";
    let machine = Machine::new();
    machine.write("work/orch.yaml", &format!("{text}{own_state}"));
    let config = machine.load();
    let reasons = vec!["runs `./claude` as the Claude CLI".to_owned()];
    assert_eq!(trust_state(&config), TrustState::Asks(reasons.clone()));
    assert_eq!(
        TrustState::refusal(&reasons, &config.file),
        (
            "`orch.yaml` was found here and is not trusted, though it runs `./claude` as the Claude CLI".to_owned(),
            "read it, then: orch trust orch.yaml".to_owned()
        )
    );
    let path = config.path.clone().unwrap();
    trust(&config.trust_dir, &path, &config.hash).unwrap();
    assert_eq!(trust_state(&machine.load()), TrustState::Trusted);
    assert_eq!(
        config.trust_dir,
        machine.path("home/.local/state/orch/trust")
    );
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(config.trust_dir.clone()), 0o700);
    let entries: Vec<_> = fs::read_dir(&config.trust_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(mode(entries[0].clone()), 0o600);

    machine.write("work/orch.yaml", &format!("{text}{own_state}# changed\n"));
    assert_eq!(
        trust_state(&machine.load()),
        TrustState::Asks(reasons.clone())
    );
    let named = machine.load_named(Some("orch.yaml")).unwrap();
    trust(&config.trust_dir, &path, &named.hash).unwrap();
    assert_eq!(trust_state(&machine.load()), TrustState::Trusted);
    fs::rename(&path, machine.path("work/config.yaml")).unwrap();
    machine.write(
        "work/config.yaml",
        &format!("{text}{own_state}# changed\nagents: \n"),
    );
    assert_eq!(trust_state(&machine.load()), TrustState::Asks(reasons));
}

#[test]
fn trust_belongs_to_the_directory_whose_files_the_relative_paths_name() {
    let text = "providers: {claude: {cli_path: ./tools/claude}}\n";
    let asks = TrustState::Asks(vec!["runs `./tools/claude` as the Claude CLI".to_owned()]);
    let machine = Machine::new();
    machine.write("good/orch.yaml", text).write("evil/x", "");
    let good = machine.path("good/orch.yaml");
    let own = machine.path("good");
    let state = |directory: &Path| trust_state(&machine.load_in(directory));
    assert_eq!(state(&own), asks);
    let trusted = machine.load_in(&own);
    trust(&trusted.trust_dir, &good, &trusted.hash).unwrap();
    assert_eq!(state(&own), TrustState::Trusted);

    let evil = machine.path("evil");
    let in_place = evil.join("orch.yaml");
    let link = |target: &str| std::os::unix::fs::symlink(target, &in_place).unwrap();
    let plants: [(&str, &dyn Fn()); 5] = [
        ("a link", &|| link("../good/orch.yaml")),
        ("a link to the whole path", &|| link(good.to_str().unwrap())),
        ("a link to a link", &|| {
            fs::remove_file(evil.join("x")).unwrap();
            std::os::unix::fs::symlink("../good/orch.yaml", evil.join("x")).unwrap();
            link("x");
        }),
        ("a hard link", &|| fs::hard_link(&good, &in_place).unwrap()),
        ("a copy", &|| _ = fs::copy(&good, &in_place).unwrap()),
    ];
    for (what, plant) in plants {
        plant();
        assert_eq!(state(&evil), asks, "{what}");
        fs::remove_file(&in_place).unwrap();
    }

    // A directory that is a link is the one that it leads to, and so is every other way there.
    std::os::unix::fs::symlink("good", machine.path("by-link")).unwrap();
    for way in ["by-link", "evil/../good", "good/."] {
        assert_eq!(state(&machine.path(way)), TrustState::Trusted, "{way}");
    }

    // Who trusts a link trusts the directory that it is in, and no other.
    link("../good/orch.yaml");
    machine.write("good/orch.yaml", &format!("{text}# changed\n"));
    for way in ["evil/orch.yaml", "good/../evil/orch.yaml"] {
        let named = machine.load_named(Some(&format!("../{way}"))).unwrap();
        let path = named.path.as_deref().unwrap();
        trust(&named.trust_dir, path, &named.hash).unwrap();
        assert_eq!(state(&evil), TrustState::Trusted, "{way}");
        assert_eq!(state(&own), asks, "{way}");
        fs::remove_dir_all(&named.trust_dir).unwrap();
        assert_eq!(state(&evil), asks, "{way}");
    }
}

#[test]
fn what_was_trusted_at_its_real_path_stays_trusted() {
    let machine = Machine::new();
    machine.write("work/orch.yaml", "mcp_servers: {a: {command: [x]}}\n");
    let config = machine.load();
    // As it was always kept where nothing is a link: a hash of the real path and of the content.
    let sha = |bytes: &[u8]| -> String {
        let mut text = String::new();
        for byte in sha2::Sha256::digest(bytes) {
            write!(text, "{byte:02x}").unwrap();
        }
        text
    };
    let path = machine.path("work/orch.yaml").display().to_string();
    let content = sha(b"mcp_servers: {a: {command: [x]}}\n");
    let entry = sha(format!("{path}\0{content}").as_bytes());
    machine.write(&format!("home/.local/state/orch/trust/{entry}"), "");
    assert_eq!(trust_state(&config), TrustState::Trusted);
}

#[test]
fn what_the_env_file_loosens_is_part_of_what_is_trusted() {
    let text = "settings: {sandbox: {network: loopback}}\nservers: {p: {host: h}}\n";
    let mut machine = Machine::new();
    machine.write("work/orch.yaml", text);
    let by_file = "lets commands reach this machine's servers".to_owned();
    let by_env = "accepts unknown ssh hosts (SSH_KNOWN_HOSTS_CHECK of .env)".to_owned();
    let accept = |machine: &Machine| {
        let config = machine.load();
        let path = config.path.as_deref().unwrap();
        trust(&config.trust_dir, path, &config.hash).unwrap();
    };
    accept(&machine);
    let loosened = TrustState::Asks(vec![by_file, by_env]);
    for (env, expected) in [
        ("", &TrustState::Trusted),
        (
            "A_KEY=one\nSSH_KEY_PATH=~/.ssh/team\n",
            &TrustState::Trusted,
        ),
        ("SSH_KNOWN_HOSTS_CHECK=true\n", &TrustState::Trusted),
        ("SSH_KNOWN_HOSTS_CHECK=\n", &TrustState::Trusted),
        ("SSH_KNOWN_HOSTS_CHECK=perhaps\n", &TrustState::Trusted),
        ("SSH_KNOWN_HOSTS_CHECK=false\n", &loosened),
        ("A_KEY=two\nexport SSH_KNOWN_HOSTS_CHECK='No'\n", &loosened),
    ] {
        machine.write("work/.env", env);
        assert_eq!(trust_state(&machine.load()), *expected, "{env}");
    }
    // One yes is for it with any keys, and none to what comes later.
    accept(&machine);
    machine.write("work/.env", "A_KEY=three\nSSH_KNOWN_HOSTS_CHECK=0\n");
    assert_eq!(trust_state(&machine.load()), TrustState::Trusted);
    machine.write("work/.env", "");
    assert_eq!(trust_state(&machine.load()), TrustState::Trusted);
    machine.write("work/orch.yaml", &format!("{text}# changed\n"));
    machine.write("work/.env", "SSH_KNOWN_HOSTS_CHECK=false\n");
    assert_eq!(trust_state(&machine.load()), loosened);

    // Without servers there is nothing to accept.
    let alone = "settings: {sandbox: {network: loopback}}\n";
    machine
        .write("work/.env", "")
        .write("work/orch.yaml", alone);
    accept(&machine);
    machine.write("work/.env", "SSH_KNOWN_HOSTS_CHECK=false\n");
    assert_eq!(trust_state(&machine.load()), TrustState::Trusted);
    assert_eq!(machine.load().accepts_hosts, None);

    // What the user's own environment says is the user's own choice.
    machine.write("work/orch.yaml", "servers: {p: {host: h}}\n");
    machine.set("SSH_KNOWN_HOSTS_CHECK", "false");
    assert_eq!(trust_state(&machine.load()), TrustState::Trusted);
    assert_eq!(machine.load().accepts_hosts, Some(DecidedBy::Process));
}

#[test]
fn a_variable_that_the_file_overrules_is_nobodys_choice() {
    let mut machine = Machine::new();
    machine.set("SSH_KNOWN_HOSTS_CHECK", "true").write(
        "work/orch.yaml",
        "settings: {ssh_strict_host_checking: false}\nservers: {p: {host: h}}\n",
    );
    let asks = TrustState::Asks(vec!["accepts unknown ssh hosts".to_owned()]);
    assert_eq!(trust_state(&machine.load()), asks);
}

#[test]
fn an_env_file_elsewhere_loosens_no_configuration() {
    let machine = Machine::new();
    machine
        .write("home/.config/orch/config.yaml", "servers: {p: {host: h}}\n")
        .write("work/.env", "SSH_KNOWN_HOSTS_CHECK=false\nA_KEY=x\n");
    let config = machine.load();
    assert_eq!(config.accepts_hosts, None);
    assert!(config.document.settings.ssh_strict_host_checking);
    assert_eq!(config.env.get("A_KEY"), Some("x"));
    let file = machine.path("work/.env").display().to_string();
    let words = "set it in the environment, or beside the configuration";
    assert_eq!(
        config.notices,
        [format!(
            "`SSH_KNOWN_HOSTS_CHECK` of `{file}` is ignored: {words}"
        )]
    );
    // It may still be stricter.
    machine.write("home/.config/orch/.env", "SSH_KNOWN_HOSTS_CHECK=false\n");
    assert_eq!(machine.load().accepts_hosts, Some(DecidedBy::Dotenv));
    machine.write("work/.env", "SSH_KNOWN_HOSTS_CHECK=true\n");
    assert_eq!(machine.load().accepts_hosts, None);
    // By whatever way the directory is named, it is the same one.
    machine
        .write("work/own.yaml", "servers: {p: {host: h}}\n")
        .write("work/.env", "SSH_KNOWN_HOSTS_CHECK=false\n");
    for named in ["own.yaml", "./own.yaml", "../work/own.yaml"] {
        let config = machine.load_named(Some(named)).unwrap();
        assert_eq!(config.accepts_hosts, Some(DecidedBy::Dotenv), "{named}");
        assert_eq!(config.notices, Vec::<String>::new(), "{named}");
    }
}

/// What is trusted is the place that `link` leads to, not wherever it leads later.
fn trusted_as_long_as_the_link_leads_there(machine: &Machine, asked: &str) {
    let config = machine.load();
    let path = config.path.as_ref().unwrap();
    trust(&config.trust_dir, path, &config.hash).unwrap();
    assert_eq!(trust_state(&machine.load()), TrustState::Trusted);
    fs::remove_file(machine.path("work/link")).unwrap();
    std::os::unix::fs::symlink("../other", machine.path("work/link")).unwrap();
    let reasons = vec![format!("{asked} {}", machine.path("other").display())];
    assert_eq!(trust_state(&machine.load()), TrustState::Asks(reasons));
}

#[test]
fn a_workspace_outside_of_the_directory_of_a_found_configuration_must_be_trusted() {
    let machine = Machine::new();
    machine
        .write("victim/x", "")
        .write("other/x", "")
        .write("work/sub/x", "");
    std::os::unix::fs::symlink("../victim", machine.path("work/link")).unwrap();
    let victim = machine.path("victim").display().to_string();
    for (written, is_elsewhere) in [
        (".", false),
        ("sub", false),
        ("sub/..", false),
        ("../work/sub", false),
        ("../victim", true),
        ("link", true),
        ("~/../victim", true),
        (victim.as_str(), true),
    ] {
        let text = format!("settings: {{working_dir: {written}}}");
        machine.write("work/orch.yaml", &text);
        let reason = is_elsewhere.then(|| format!("lets agents work in {victim}"));
        let reasons: Vec<String> = reason.into_iter().collect();
        assert_eq!(needs_trust(&machine.load()), reasons, "{written}");
        let named = machine.load_named(Some("orch.yaml")).unwrap();
        assert_eq!(trust_state(&named), TrustState::Trusted, "{written}");
    }
    machine.write("work/orch.yaml", "settings: {working_dir: link}");
    trusted_as_long_as_the_link_leads_there(&machine, "lets agents work in");

    // The user's own works where the user is.
    fs::remove_file(machine.path("work/orch.yaml")).unwrap();
    let text = "settings: {working_dir: ../victim}";
    machine.write("home/.config/orch/config.yaml", text);
    assert_eq!(needs_trust(&machine.load()), Vec::<String>::new());
}

#[test]
fn a_ledger_outside_of_the_directory_of_a_found_configuration_must_be_trusted() {
    let machine = Machine::new();
    machine.write("victim/x", "").write("other/x", "");
    std::os::unix::fs::symlink("../victim", machine.path("work/link")).unwrap();
    let there = |place: &str| machine.path(place).display().to_string();
    for (written, elsewhere) in [
        ("state", None),
        ("../work/state", None),
        ("../victim/state", Some(there("victim/state"))),
        ("link", Some(there("victim"))),
    ] {
        machine.write(
            "work/orch.yaml",
            &format!("settings: {{state_dir: {written}}}"),
        );
        let reason =
            elsewhere.map(|place| format!("keeps its ledger and conversations in {place}"));
        let reasons: Vec<String> = reason.into_iter().collect();
        assert_eq!(needs_trust(&machine.load()), reasons, "{written}");
        let named = machine.load_named(Some("orch.yaml")).unwrap();
        assert_eq!(trust_state(&named), TrustState::Trusted, "{written}");
    }
    trusted_as_long_as_the_link_leads_there(&machine, "keeps its ledger and conversations in");
}

#[test]
fn dangerous_workspaces_are_refused_unless_named() {
    let mut machine = Machine::new();
    machine
        .write("home/orch.yaml", "")
        .write("work/orch.yaml", "");
    assert_eq!(refused_workspace(&machine.load()), None);
    for (text, what) in [
        ("settings: {working_dir: /}", "the whole disk"),
        ("settings: {working_dir: ../home}", "your home directory"),
        (
            "settings: {working_dir: ..}",
            "the directory that holds orch's own state",
        ),
        (
            "settings: {state_dir: deep/state}",
            "the directory that holds orch's own state",
        ),
    ] {
        machine.write("work/orch.yaml", text);
        let config = machine.load();
        let expected = (
            format!("the workspace `{}` is {what}", config.working_dir.display()),
            format!(
                "work in a directory of its own, or name the file: --config {}",
                config.path.as_ref().unwrap().display()
            ),
        );
        assert_eq!(refused_workspace(&config), Some(expected), "{text}");
        assert_eq!(
            refused_workspace(&machine.load_named(Some("orch.yaml")).unwrap()),
            None
        );
    }
    fs::remove_file(machine.path("work/orch.yaml")).unwrap();
    let work = machine.path("work").display().to_string();
    machine.set("HOME", &work);
    let (message, fix) = refused_workspace(&machine.load()).unwrap();
    assert_eq!(
        message,
        format!("the workspace `{work}` is your home directory")
    );
    assert_eq!(fix, "work in a directory of its own");
}
