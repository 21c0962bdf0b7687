//! What the CLI is started with: its command line, its prompt, its environment, and which of its
//! conversations.

use orch::event::{EventKind, Events};
use orch::message::{Assistant, Message, ToolSpec};
use orch::providers::claude_cli::{ClaudeCli, ClaudeSpec, inherited};
use orch::providers::{FaultKind, Provider, Request, Running, ToolBridge, Variables};
use orch::redact::Redactor;
use orch::store::Store;
use orch::usage::{Meter, Usd};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::claude_driver::{INIT, RESULT, TEXT, complete, says};
use crate::claude_fake::{Fake, request};

/// A CLI that knows its conversations and tells them apart: it answers with the id and the prompt.
const REMEMBERS: &str = r#"
while [ $# -gt 0 ]; do
  case "$1" in
    --session-id) id=$2; [ -e $D/s-$id ] && { echo "Error: Session ID $id is already in use." >&2; exit 1; }; touch $D/s-$id; break;;
    --resume) id=$2; [ -e $D/s-$id ] || { echo "No conversation found with session ID: $id" >&2; exit 1; }; break;;
  esac
  shift
done
cat $D/prompt >> $D/s-$id; echo >> $D/s-$id
total=$(cat $D/total-$id 2>/dev/null || echo 0); total=$((total + 1)); echo $total > $D/total-$id
echo '{"type":"system","subtype":"init","session_id":"x","model":"m","apiKeySource":"none","mcp_servers":[]}'
"#;

const ANSWERS: &str = r#"echo "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"num_turns\":1,\"result\":\"answer $total\",\"total_cost_usd\":0.0$total,\"modelUsage\":{}}"
"#;

fn flag(fake: &Fake, name: &str) -> Option<String> {
    let arguments = fake.read("arguments");
    let mut words = arguments.lines().skip_while(|word| *word != name);
    words.next()?;
    words.next().map(str::to_owned)
}

/// The next request of a conversation, after an answer.
fn next(mut request: Request, answer: &str, prompt: &str) -> Request {
    request.messages.push(Message::Assistant(Assistant {
        text: answer.to_owned(),
        ..Assistant::default()
    }));
    request.messages.push(Message::User {
        text: prompt.to_owned(),
    });
    request.idempotency_key.push('+');
    request
}

#[tokio::test]
async fn the_command_is_the_recommended_one() {
    let fake = Fake::new(&says(&[INIT, TEXT, RESULT]));
    let mut request = request("/help");
    request.own_loop.max_turns = Some(7);
    request.own_loop.budget = Some(Usd::from_pico(500_000_000_000));
    request.own_loop.worst_reply = Usd::from_pico(100_000_000_000);
    request.own_loop.fallback_model = Some("haiku".to_owned());
    request.output_schema = Some(json!({"type": "object"}));
    request.max_output_tokens = Some(4096);
    request.session = Some("ours".into());
    complete(&fake, &request).await.unwrap();
    let arguments = fake.read("arguments");
    let uuid = flag(&fake, "--session-id").unwrap();
    let system = flag(&fake, "--system-prompt-file").unwrap();
    let expected = format!(
        "-p\n--output-format\nstream-json\n--verbose\n--include-partial-messages\n--model\nsonnet\n\
         --tools\n\n--permission-mode\ndontAsk\n--setting-sources\n\n--strict-mcp-config\n\
         --system-prompt-file\n{system}\n--system-prompt-snapshot\noff\n--max-turns\n7\n\
         --max-budget-usd\n0.400000\n--fallback-model\nhaiku\n--json-schema\n{{\"type\":\"object\"}}\n\
         --session-id\n{uuid}\n"
    );
    assert_eq!(arguments, expected);
    assert_eq!(fake.read("system"), "You test.");
    assert!(!std::path::Path::new(&system).exists());
    assert_eq!(fake.read("prompt"), "\n/help");
    let environment = fake.read("environment");
    for line in [
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS=4096",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS=1",
        "CLAUDE_CODE_MAX_RETRIES=1",
        "DISABLE_AUTOUPDATER=1",
        "ENABLE_TOOL_SEARCH=false",
    ] {
        assert!(
            environment.lines().any(|known| known == line),
            "{line}\n{environment}"
        );
    }
}

#[tokio::test]
async fn a_conversation_is_resumed_and_charged_once() {
    let fake = Fake::new(&format!("{REMEMBERS}{ANSWERS}"));
    let mut first = request("one");
    first.session = Some("ours".into());
    let reply = complete(&fake, &first).await.unwrap();
    assert_eq!(
        (reply.message.text.as_str(), reply.subscription),
        ("answer 1", true)
    );
    assert_eq!(reply.reported_cost, Some("0.01".parse().unwrap()));
    let uuid = flag(&fake, "--session-id").unwrap();
    let second = next(first, "answer 1", "two");
    let reply = complete(&fake, &second).await.unwrap();
    assert_eq!(flag(&fake, "--resume").as_ref(), Some(&uuid));
    assert_eq!(fake.read("prompt"), "two");
    assert_eq!(reply.message.text, "answer 2");
    assert_eq!(reply.reported_cost, Some("0.01".parse().unwrap()));
    // Something else answered in between: the CLI's conversation no longer holds what ours does.
    let third = next(next(second, "answer 2", "three"), "somebody else's", "four");
    complete(&fake, &third).await.unwrap();
    let other = flag(&fake, "--session-id").unwrap();
    assert_ne!(other, uuid);
    let prompt = fake.read("prompt");
    assert!(
        prompt.contains("[assistant]\nsomebody else's\n") && prompt.ends_with("\nfour"),
        "{prompt}"
    );
    // The CLI forgot it.
    std::fs::remove_file(fake.path().join(format!("s-{other}"))).unwrap();
    let fourth = next(third, "answer 1", "five");
    let reply = complete(&fake, &fourth).await.unwrap();
    assert_eq!(reply.message.text, "answer 1");
    assert!(fake.read("prompt").ends_with("\nfive"));
    assert_ne!(flag(&fake, "--session-id").unwrap(), other);
}

#[tokio::test]
async fn a_cut_run_goes_on_where_it_was_cut() {
    let dies = format!("{REMEMBERS}[ $total = 1 ] && {{ echo '{TEXT}'; exit 1; }}\n{ANSWERS}");
    for session in [None, Some("ours".into())] {
        let fake = Fake::new(&dies);
        let mut request = request("a long work");
        request.session = session;
        let error = complete(&fake, &request).await.unwrap_err();
        assert!(
            error.committed && error.partial.text == "Hello",
            "{error:?}"
        );
        let uuid = flag(&fake, "--session-id").unwrap();
        let reply = complete(&fake, &request).await.unwrap();
        assert_eq!(flag(&fake, "--resume"), Some(uuid));
        assert!(
            fake.read("prompt")
                .starts_with("Your last answer was interrupted")
        );
        assert_eq!(reply.message.text, "answer 2");
        // Another call outside any conversation begins anew.
        let another = Request {
            idempotency_key: "other".to_owned(),
            ..request.clone()
        };
        if another.session.is_none() {
            complete(&fake, &another).await.unwrap_err();
            assert_eq!(fake.read("prompt"), "a long work");
        }
    }
}

#[tokio::test]
async fn one_run_at_a_time_writes_to_a_conversation() {
    let fake = Fake::new(&format!(
        "{REMEMBERS}[ -e $D/busy ] && exit 9; touch $D/busy; sleep 0.2; rm $D/busy\n{ANSWERS}"
    ));
    let mut one = request("one");
    one.session = Some("ours".into());
    let other = Request {
        idempotency_key: "other".to_owned(),
        ..one.clone()
    };
    let meter = Meter::default();
    let (events, mut told) = Events::channel("run");
    let (first, second) = tokio::join!(
        fake.provider.complete(&one, &meter, &events),
        fake.provider.complete(&other, &meter, &events)
    );
    first.unwrap();
    second.unwrap();
    drop(events);
    let mut waits = 0;
    while let Some(event) = told.recv().await {
        waits += usize::from(matches!(event.kind, EventKind::Throttled { .. }));
    }
    assert_eq!(waits, 1);
}

#[tokio::test]
async fn the_version_is_asked_once_for_a_binary() {
    let store = Store::in_memory().unwrap();
    let fake = Fake::with_store(&says(&[INIT, TEXT, RESULT]), store);
    for _ in 0..3 {
        complete(&fake, &request("hi")).await.unwrap();
    }
    assert_eq!(fake.read("asked"), "x\n");
    assert_eq!(fake.provider.health().await, Ok(()));
    assert_eq!(fake.read("asked"), "x\n");
}

#[tokio::test]
async fn an_older_cli_runs_without_what_it_does_not_know_and_says_so() {
    let old = r#"for word in "$@"; do [ "$word" = --system-prompt-snapshot ] && { echo "error: unknown option '$word'" >&2; exit 1; }; done
"#;
    let fake = Fake::new(&format!("{old}{}", says(&[INIT, TEXT, RESULT])));
    let reply = complete(&fake, &request("hi")).await.unwrap();
    assert_eq!(
        reply.warnings,
        ["claude 2.1.330 does not know `--system-prompt-snapshot`"]
    );
    assert!(!fake.read("arguments").contains("--system-prompt-snapshot"));
    let fake = Fake::new("echo \"error: unknown option '--strict-mcp-config'\" >&2; exit 1");
    let error = complete(&fake, &request("hi")).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Unavailable);
    assert_eq!(
        error.hint.as_deref(),
        Some("bring the CLI up to date: `npm install -g @anthropic-ai/claude-code`")
    );
}

#[tokio::test]
async fn a_missing_cli_names_the_command_that_installs_it() {
    let directory = tempfile::tempdir().unwrap();
    let provider = ClaudeCli::new(ClaudeSpec {
        name: "claude".to_owned(),
        cli_path: "claude".to_owned(),
        native_tools: false,
        max_concurrency: None,
        environment: vec![(
            "PATH".to_owned(),
            directory.path().display().to_string().into(),
        )],
        state_dir: directory.path().to_owned(),
        store: Some(Store::in_memory().unwrap()),
        policy: None,
        redactor: Redactor::default(),
    });
    let error = provider.health().await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "claude: the CLI `claude` is not installed"
    );
    assert!(
        error
            .hint
            .unwrap()
            .contains("npm install -g @anthropic-ai/claude-code")
    );
}

#[tokio::test]
async fn no_run_begins_that_one_reply_could_make_too_dear() {
    let fake = Fake::new("exit 1");
    let mut request = request("hi");
    request.own_loop.budget = Some("0.10".parse().unwrap());
    request.own_loop.worst_reply = "0.10".parse().unwrap();
    let error = complete(&fake, &request).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Budget);
    assert!(!error.partial.reached_model);
    assert!(!fake.path().join("arguments").exists());
}

#[tokio::test]
async fn a_run_without_its_tools_is_no_run() {
    let fake = Fake::new(&format!("{}sleep 1000", says(&[INIT])));
    let mut request = request("hi");
    request.tools = vec![ToolSpec {
        name: "ssh".to_owned(),
        description: String::new(),
        parameters: json!({}),
    }];
    request.own_loop.bridge = Some(ToolBridge {
        socket: "/tmp/s".into(),
        relay: vec!["/bin/orch".into(), "__relay".into()],
        running: Running::default(),
    });
    // It ends at once, by no clock: those would be told.
    let error = complete(&fake, &request).await.unwrap_err();
    assert_eq!(
        error.message,
        "the CLI could not start the relay to the agent's tools"
    );
    assert_eq!(flag(&fake, "--allowedTools").as_deref(), Some("mcp__orch"));
    assert_eq!(flag(&fake, "--tools").as_deref(), Some(""));
    let config: Value = serde_json::from_str(&fake.read("mcp")).unwrap();
    let server =
        json!({"type": "stdio", "command": "/bin/orch", "args": ["__relay", "/tmp/s"], "env": {}});
    assert_eq!(config, json!({"mcpServers": {"orch": server}}));
}

#[test]
fn the_cli_gets_its_own_keys_and_no_others() {
    let secret = |name: &str| match name {
        "ANTHROPIC_API_KEY" | "OPENAI_API_KEY" | "ANTHROPIC_BASE_URL" | "PATH" => {
            Some("from a file".into())
        }
        _ => None,
    };
    let plain = |name: &str| match name {
        "PATH" | "HOME" | "OPENAI_API_KEY" | "GITHUB_TOKEN" | "AWS_SECRET_ACCESS_KEY" => {
            Some("plain".to_owned())
        }
        _ => None,
    };
    let environment = inherited(Variables {
        secret: &secret,
        plain: &plain,
    });
    let names: Vec<&str> = environment.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["PATH", "HOME", "ANTHROPIC_API_KEY"]);
    assert_eq!(environment[0].1.expose_secret(), "plain");
}

#[tokio::test]
async fn a_run_that_died_with_its_program_is_gone_on_with() {
    let stops = format!("{REMEMBERS}[ $total = 1 ] && {{ echo '{TEXT}'; sleep 1000; }}\n{ANSWERS}");
    let fake = Fake::new(&stops);
    let mut request = request("a long work");
    request.session = Some("ours".into());
    let meter = Meter::default();
    let (events, mut told) = Events::channel("run");
    tokio::select! {
        outcome = fake.provider.complete(&request, &meter, &events) => panic!("it ended: {outcome:?}"),
        () = async {
            while let Some(event) = told.recv().await {
                if matches!(event.kind, EventKind::TextDelta { .. }) {
                    break;
                }
            }
        } => {}
    }
    let uuid = flag(&fake, "--session-id").unwrap();
    request.messages.push(Message::User {
        text: "Look at how things stand.".to_owned(),
    });
    request.idempotency_key = "of another process".to_owned();
    let reply = complete(&fake, &request).await.unwrap();
    assert_eq!(flag(&fake, "--resume"), Some(uuid));
    assert_eq!(fake.read("prompt"), "Look at how things stand.");
    assert_eq!(reply.message.text, "answer 2");
    let locks = fake.path().join("state/claude/locks");
    assert_eq!(std::fs::read_dir(locks).unwrap().count(), 0);
}
