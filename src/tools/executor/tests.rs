use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::redact::Redactor;
use crate::tools::testing::{Place, run};
use crate::tools::{ApprovalSettings, Approver, Rule};

fn call(name: &str, arguments: &str, malformed: bool) -> ToolCall {
    ToolCall {
        id: "7".to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        malformed,
        ..ToolCall::default()
    }
}

async fn told(context: &ToolContext, call: &ToolCall) -> (ToolStatus, String) {
    let outcome = execute(context, call, &Events::nobody()).await.unwrap();
    (outcome.status, outcome.content)
}

#[tokio::test]
async fn only_tools_of_the_list_run() {
    let place = Place::new();
    place.file("a", "x");
    let mut context = place.context();
    context.tools = vec!["Read".to_owned(), "grep".to_owned()];
    for name in ["list_dir", "nothing"] {
        let words = format!("the tool `{name}` is not allowed here: you have `Read`, `grep`");
        let outcome = told(&context, &call(name, "{}", false)).await;
        assert_eq!(outcome, (ToolStatus::Refused, words));
    }
    let read = told(&context, &call("READ", r#"{"path": "a"}"#, false)).await;
    assert_eq!(read, (ToolStatus::Ok, "x".to_owned()));
    context.tools.clear();
    let (_, words) = told(&context, &call("read", "{}", false)).await;
    assert_eq!(
        words,
        "the tool `read` is not allowed here: you have no tools"
    );
}

#[tokio::test]
async fn arguments_that_are_wrong_are_told() {
    let place = Place::new();
    let context = place.context();
    for (arguments, malformed, expected) in [
        (
            r#"{"path": "a""#,
            true,
            "the arguments of `read` are not valid JSON (EOF while parsing an object at line 1 \
             column 12): nothing was run, send them again",
        ),
        (
            "[]",
            false,
            "the arguments of `read` are not one JSON object: send them again as one",
        ),
        (
            "",
            false,
            "wrong parameters of `read`: `path` is missing; it takes `path` (required), `offset`, \
             `limit`, `encoding`",
        ),
    ] {
        let outcome = told(&context, &call("read", arguments, malformed)).await;
        assert_eq!(outcome, (ToolStatus::Failed, expected.to_owned()));
    }
}

#[tokio::test]
async fn secrets_are_masked_and_long_results_cut() {
    let place = Place::new();
    let long = "x".repeat(70).repeat(1000);
    place
        .file("key", "the key is tok-4711-abcdef")
        .file("long", &long);
    let mut context = place.context();
    context.redactor = Redactor::new([SecretString::from("tok-4711-abcdef")]);
    let outcome = run(&context, "read", json!({"path": "key"})).await;
    assert_eq!(outcome.content, "the key is [redacted]");
    let flood = async |_| Ok("y\n".repeat(200_000).into());
    let outcome = guarded(
        &context,
        &call("x", "{}", false),
        &Events::nobody(),
        &Guard::default(),
        flood,
    )
    .await
    .unwrap();
    let half = "y\n".repeat(KEPT / 2);
    // The first line of the tail may have lost its beginning: it goes too.
    let tail = "y\n".repeat(KEPT / 2 - 1);
    let cut = format!("{half}[… 334466 bytes, 167233 lines cut …]\n{tail}");
    assert_eq!(outcome.content, cut);
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_takes_too_long_is_stopped_and_told() {
    let place = Place::new();
    let context = place.context();
    let guard = Guard {
        tool: "slow",
        limit: Some(Duration::from_secs(5)),
        ..Guard::default()
    };
    let never = async |_| std::future::pending().await;
    let outcome = guarded(
        &context,
        &call("slow", "{}", false),
        &Events::nobody(),
        &guard,
        never,
    )
    .await
    .unwrap();
    assert_eq!(outcome.status, ToolStatus::TimedOut);
    assert_eq!(
        outcome.content,
        "`slow` was stopped: it took longer than 5 s"
    );
    assert_eq!(outcome.ms, 5000);
}

#[tokio::test]
async fn tools_that_cannot_go_on_end_the_run() {
    let place = Place::new();
    let broken = async |_| Err(ToolError::Fatal(io::ErrorKind::NotConnected.into()));
    let error = guarded(
        &place.context(),
        &call("x", "{}", false),
        &Events::nobody(),
        &Guard::default(),
        broken,
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

fn rules(rules: &[(&str, Option<&str>, Action)]) -> Arc<ApprovalSettings> {
    Arc::new(ApprovalSettings {
        default: Action::Allow,
        rules: rules
            .iter()
            .map(|(tool, pattern, action)| Rule {
                tool: (*tool).to_owned(),
                pattern: pattern.map(ToOwned::to_owned),
                action: *action,
            })
            .collect(),
    })
}

#[tokio::test]
async fn rules_are_asked_before_anything_is_done() {
    let place = Place::new();
    let mut context = place.context();
    context.approvals = rules(&[
        ("write", Some("src/*"), Action::Ask),
        ("write", Some("lib/*"), Action::Deny),
    ]);
    let write = |path: &str| json!({"path": path, "content": "x"});
    let absolute = place.work.join("lib/a");
    for (path, words) in [
        (
            "lib/a",
            "a rule of the user denies this call of `write`: it was not run",
        ),
        (
            absolute.to_str().unwrap(),
            "a rule of the user denies this call of `write`: it was not run",
        ),
        (
            "x/../src/a",
            "this call of `write` needs the user's approval, and nobody can be asked: it was not run",
        ),
    ] {
        let outcome = run(&context, "write", write(path)).await;
        assert_eq!(
            (outcome.status, outcome.content.as_str()),
            (ToolStatus::Refused, words)
        );
        assert_eq!(outcome.effect, None);
    }
    assert!(std::fs::read_dir(&place.work).unwrap().next().is_none());
    context.approver = Approver::Yes;
    let outcome = run(&context, "write", write("src/a")).await;
    assert_eq!(
        (outcome.status, outcome.effect),
        (ToolStatus::Ok, Some(Effect::Write))
    );
    assert_eq!(place.text("src/a"), "x");
}

#[tokio::test]
async fn a_person_sees_exactly_what_would_run_and_events_tell_it() {
    let place = Place::new();
    let mut context = place.context();
    context.approvals = rules(&[("bash", Some("git push*"), Action::Ask)]);
    let (sender, mut requests) = mpsc::channel(1);
    context.approver = Approver::Ask(sender);
    let (events, mut told) = Events::channel("run");
    let call = call("bash", r#"{"command": "git push \u001b[2K"}"#, false);
    let person = async {
        let request = requests.recv().await.unwrap();
        assert_eq!(request.action, "git push \\u{1b}[2K");
        request.reply.send(false).unwrap();
    };
    let running = async {
        let events = events;
        execute(&context, &call, &events).await
    };
    let watching = async {
        let mut kinds = Vec::new();
        while let Some(event) = told.recv().await {
            kinds.push(event.kind);
        }
        kinds
    };
    let (outcome, (), kinds) = tokio::join!(running, person, watching);
    let words = "the user said no to this call of `bash`: it was not run";
    assert_eq!(outcome.unwrap().content, words);
    let approval = |granted| EventKind::Approval {
        tool: "bash".to_owned(),
        action: "git push \\u{1b}[2K".to_owned(),
        granted,
    };
    assert_eq!(
        kinds,
        [
            EventKind::ToolStarted {
                call_id: "7".to_owned(),
                tool: "bash".to_owned(),
                arguments: json!({"command": "git push \u{1b}[2K"}),
            },
            approval(None),
            approval(Some(false)),
            EventKind::ToolFinished {
                call_id: "7".to_owned(),
                tool: "bash".to_owned(),
                ok: false,
                ms: 0,
                summary: words.to_owned(),
            },
        ]
    );
}
