//! What can be told of a run, and that no key is in any of it.

use serde_json::Value;

use crate::support::{Context, Ran, Stub, ran, stub};

/// One for each place in which a configuration keeps a secret, none of a shape that is known.
const KEYS: &[&str] = &[
    "canary-of-the-environment-4711",
    "canary-of-the-env-file-4712",
    "canary-of-a-header-4713",
    "canary-of-an-mcp-server-4714",
    "sk-proj-Zx81canaryOfAShapeThatIsKnown0123456789abcdefg",
];

fn context(server: &Stub) -> Context {
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{retry_delay: 0.01}}\n\
             providers:\n  lab:\n    kind: openai\n    base_url: \"{}\"\n    api_key_env: LAB_KEY\n    \
             headers: {{x-api-key: {}}}\n\
             mcp_servers:\n  \
             m: {{command: [\"/bin/false\", \"--token\", \"{}\"], env: {{M_TOKEN: {}}}}}\n\
             agents:\n  a: {{role: R, provider: lab, model: m, tools: [read], mcp_servers: [m]}}\n",
            server.url(),
            KEYS[2],
            KEYS[4],
            KEYS[3],
        ),
    );
    context.write(".env", format!("OTHER_TOKEN={}\n", KEYS[1]));
    context.write("notes.txt", format!("{}\n", KEYS[1]));
    context
}

fn run(context: &Context, variables: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = context.command(&[&["--config", "orch.yaml"], args].concat());
    command
        .env("LAB_KEY", KEYS[0])
        .envs(variables.iter().copied());
    ran(command.output().unwrap())
}

#[track_caller]
fn clean(what: &str, text: &str) {
    for key in KEYS {
        assert!(!text.contains(key), "{what} shows {key}: {text}");
    }
}

/// A model whose first answer is a refusal, that reads a secret then, and says it.
fn server() -> Stub {
    Stub::replies([
        stub::status(
            503,
            &[("x-request-id", "request-1")],
            &format!("{{\"error\": \"no {}\"}}", KEYS[0]),
        ),
        stub::tool_calls(&[("c", "read", serde_json::json!({"path": "notes.txt"}))]),
        stub::text(&format!("It says {} and {}", KEYS[1], KEYS[2])),
    ])
}

const ASK: &[&str] = &["--agent", "a", "--prompt", "Read the notes."];

#[test]
fn a_plain_run_tells_nothing_more() {
    let server = server();
    let context = context(&server);
    let ran = run(&context, &[], ASK).exits(0);
    assert!(
        !ran.stderr.contains("INFO") && !ran.stderr.contains("DEBUG"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_is_done_is_told_in_two_measures() {
    for (flag, there, not_there) in [
        (
            "-v",
            &[
                "configuration read",
                "sandbox of the tools",
                "asking ",
                "asking again",
                "tool ended",
                "answered",
            ][..],
            &["DEBUG"][..],
        ),
        (
            "-vv",
            &[
                "opening the store",
                "request sent",
                "status=503",
                "request-1",
                "tool begun",
            ],
            &["TRACE"],
        ),
    ] {
        let server = server();
        let context = context(&server);
        let ran = run(&context, &[], &[ASK, &[flag]].concat()).exits(0);
        for word in there {
            assert!(
                ran.stderr.contains(word),
                "{flag}: no {word}: {}",
                ran.stderr
            );
        }
        for word in not_there {
            assert!(!ran.stderr.contains(word), "{flag}: {word}: {}", ran.stderr);
        }
        clean(flag, &format!("{}{}", ran.stdout, ran.stderr));
    }
}

#[test]
fn rust_log_chooses_and_quiet_silences() {
    let server = server();
    let context = context(&server);
    let all = run(&context, &[("RUST_LOG", "trace")], ASK).exits(0);
    assert!(all.stderr.contains("hyper"), "{}", all.stderr);
    clean("everything", &format!("{}{}", all.stdout, all.stderr));
    let of_tools = run(&context, &[("RUST_LOG", "orch::store=debug")], &["--costs"]).exits(0);
    assert!(
        of_tools.stderr.contains("opening the store")
            && !of_tools.stderr.contains("configuration read"),
        "{}",
        of_tools.stderr
    );
    let wrong = run(&context, &[("RUST_LOG", "orch=loud")], &["--tasks"]).exits(0);
    assert!(
        wrong
            .stderr
            .starts_with("note: `RUST_LOG` is not understood"),
        "{}",
        wrong.stderr
    );
    let quiet = run(&context, &[("RUST_LOG", "trace")], &["--tasks", "--quiet"]).exits(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn the_log_file_is_json_of_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let server = server();
    let context = context(&server);
    let ran = run(
        &context,
        &[],
        &[ASK, &["--log-file", "run.log", "--json"]].concat(),
    )
    .exits(0);
    assert_eq!(ran.json()["ok"], true);
    assert!(!ran.stderr.contains("INFO"), "{}", ran.stderr);
    let text = context.read("run.log");
    clean("the log", &text);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let asked: Vec<&Value> = lines
        .iter()
        .filter(|line| line["message"] == "asking")
        .collect();
    assert_eq!(asked.len(), 3, "{text}");
    for line in asked {
        assert_eq!(line["model"], "lab/m", "{line}");
        assert_eq!(line["span"]["agent"], "a", "{line}");
        assert_eq!(line["span"]["id"], ran.json()["run_id"], "{line}");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    let mode = context
        .work()
        .join("run.log")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // A second run adds to it; a full one makes room.
    run(&context, &[], &["--tasks", "--log-file", "run.log"]).exits(0);
    assert!(context.read("run.log").len() > text.len());
    context.write("run.log", "x".repeat(11 << 20));
    run(&context, &[], &["--tasks", "--log-file", "run.log"]).exits(0);
    assert_eq!(context.read("run.log.1").len(), 11 << 20);
    assert!(context.read("run.log").starts_with('{'));
    let refused = run(
        &context,
        &[],
        &["--tasks", "--json", "--log-file", "nowhere/run.log"],
    )
    .exits(2);
    assert!(
        refused
            .stderr
            .contains("the log `nowhere/run.log` cannot be written"),
        "{}",
        refused.stderr
    );
    assert_eq!(refused.json()["error"]["class"], "usage");
}

#[test]
fn a_check_can_be_pasted() {
    let server = server();
    let context = context(&server);
    for form in [&[][..], &["--json"], &["--explain", "a"], &["-vv"]] {
        let ran = run(&context, &[], &[&["check"], form].concat()).exits(0);
        let told = format!("{}{}", ran.stdout, ran.stderr);
        clean("check", &told);
        if form.is_empty() {
            for word in [
                "version: ",
                "system: Linux ",
                "store: ",
                "lab: http://127.0.0.1:",
                ", with a key",
                "m: /bin/false\n",
                "stdout: no terminal",
            ] {
                assert!(told.contains(word), "no {word}: {told}");
            }
        }
    }
    // Nor does what is wrong with it.
    let right = context.read("orch.yaml");
    context.write(
        "orch.yaml",
        right
            .replace("kind: openai", "knid: openai")
            .replace("M_TOKEN", "timeuot: 1, M_TOKEN"),
    );
    let wrong = run(&context, &[], &["check"]).exits(3);
    assert!(wrong.stderr.contains("knid"), "{}", wrong.stderr);
    clean(
        "a wrong configuration",
        &format!("{}{}", wrong.stdout, wrong.stderr),
    );
}

#[test]
fn a_check_says_where_the_configuration_comes_from() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    let named = context.orch(&["check"]).exits(0).stdout;
    let line = "found: named by `--config` or `ORCH_CONFIG`\n";
    assert!(named.contains(line), "{named}");
    context.run(&["trust", "orch.yaml"]).exits(0);
    let found = context.run(&["check"]).exits(0).stdout;
    let line = "found: in the current directory\n";
    assert!(found.contains(line), "{found}");
    std::fs::create_dir_all(context.home().join(".config/orch")).unwrap();
    std::fs::rename(
        context.work().join("orch.yaml"),
        context.home().join(".config/orch/config.yaml"),
    )
    .unwrap();
    let own = context.run(&["check"]).exits(0).stdout;
    let line = "found: in the user's own configuration directory\n";
    assert!(own.contains(line), "{own}");
    std::fs::remove_dir_all(context.home().join(".config")).unwrap();
    let none = context.run(&["check"]).exits(0).stdout;
    assert!(none.contains("found: nowhere\n"), "{none}");
}
