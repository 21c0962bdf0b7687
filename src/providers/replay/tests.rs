//! Recording and replaying.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;

use super::*;
use crate::event::Event;
use crate::message::{Message, ToolCall, ToolResult};
use crate::providers::{Finish, ProviderKind, ProxySettings, connect};
use crate::usage::Usage;

/// Says what it is told to, in pieces.
struct Parrot {
    endpoint: Endpoint,
    replies: Mutex<Vec<(Vec<&'static str>, Reply)>>,
}

impl Provider for Parrot {
    fn name(&self) -> &str {
        &self.endpoint.provider
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn complete<'a>(
        &'a self,
        _request: &'a Request,
        _meter: &'a Meter,
        events: &'a Events,
    ) -> BoxFuture<'a, Result<Reply, ProviderError>> {
        Box::pin(async {
            let (pieces, mut reply) = self.replies.lock().unwrap().remove(0);
            for piece in pieces {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let text = piece.to_owned();
                reply.message.text.push_str(piece);
                events.emit(EventKind::TextDelta { text }).await;
            }
            Ok(reply)
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }
}

fn spec(path: &Path) -> ConnectSpec {
    ConnectSpec {
        cli: None,
        name: "replay".to_owned(),
        kind: ProviderKind::Replay,
        vendor: None,
        base_url: String::new(),
        key: None,
        bearer: false,
        key_variables: Vec::new(),
        headers: BTreeMap::new(),
        proxy: ProxySettings::default(),
        recording: Some(path.to_owned()),
        recording_by_flag: false,
        redactor: redactor(),
    }
}

fn user(text: &str) -> Message {
    Message::User {
        text: text.to_owned(),
    }
}

fn request(agent: &str, messages: Vec<Message>) -> Request {
    Request {
        agent: agent.into(),
        messages,
        ..Request::default()
    }
}

fn call() -> ToolCall {
    ToolCall {
        id: "call_1".to_owned(),
        name: "read".to_owned(),
        arguments: r#"{"path":"README.md","limit":5}"#.to_owned(),
        ..ToolCall::default()
    }
}

fn after_the_tool(content: &str, prompt: &str) -> Vec<Message> {
    vec![
        user(prompt),
        Message::Assistant(Assistant {
            text: "I look.".to_owned(),
            calls: vec![call()],
            ..Assistant::default()
        }),
        Message::Tool {
            results: vec![ToolResult {
                call_id: "call_1".to_owned(),
                tool: "read".to_owned(),
                content: content.to_owned(),
                is_error: false,
            }],
        },
    ]
}

fn deltas(receiver: &mut tokio::sync::mpsc::Receiver<Event>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        if let EventKind::TextDelta { text } = event.kind {
            texts.push(text);
        }
    }
    texts
}

async fn ask(provider: &dyn Provider, request: &Request) -> Result<Reply, ProviderError> {
    provider
        .complete(request, &Meter::default(), &Events::nobody())
        .await
}

/// Records a turn that calls a tool and the answer after it.
async fn record(path: &Path, redactor: Redactor) {
    let usage = Usage {
        input_tokens: 7,
        output_tokens: 3,
        ..Usage::default()
    };
    let calling = Reply {
        message: Assistant {
            calls: vec![call()],
            vendor_extra: json!(["secret of the vendor"]),
            ..Assistant::default()
        },
        finish: Finish::ToolCalls,
        usage: Some(usage),
        ..Reply::default()
    };
    let parrot = Parrot {
        endpoint: Endpoint {
            provider: "openai".to_owned(),
            base_url: String::new(),
            key_fingerprint: String::new(),
            loopback: true,
        },
        replies: Mutex::new(vec![
            (vec!["I ", "look."], calling),
            (
                vec!["The key is my", "-12345-key, ", "done."],
                Reply::default(),
            ),
            (vec!["Again."], Reply::default()),
        ]),
    };
    let file = RecordFile::open(path, redactor).expect("a file");
    let recorder = Recorder::new(Arc::new(parrot), file);
    assert_eq!((recorder.name(), recorder.is_recorded()), ("openai", false));
    let (events, mut receiver) = Events::channel("run");
    let first = request("guide", vec![user("What is it?")]);
    let reply = recorder
        .complete(&first, &Meter::default(), &events.for_agent("guide"))
        .await
        .expect("a reply");
    assert_eq!(reply.warnings, Vec::<String>::new());
    assert_eq!(deltas(&mut receiver), ["I ", "look."]);
    let second = request("guide", after_the_tool("old text", "What is it?"));
    ask(&recorder, &second).await.expect("a reply");
    ask(&recorder, &second).await.expect("a reply");
}

fn redactor() -> Redactor {
    Redactor::new([SecretString::from("my-12345-key")])
}

#[tokio::test(start_paused = true)]
async fn what_was_recorded_is_replayed_though_the_files_have_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.jsonl");
    record(&path, redactor()).await;
    let replay = connect(&spec(&path)).expect("a provider");
    assert!(replay.is_recorded() && replay.endpoint().loopback);
    replay.health().await.expect("a good recording");

    let (events, mut receiver) = Events::channel("run");
    let meter = Meter::default();
    let asked = request("guide", vec![user(" What is it?\r\n")]);
    let reply = replay
        .complete(&asked, &meter, &events)
        .await
        .expect("a reply");
    let usage = Usage {
        input_tokens: 7,
        output_tokens: 3,
        ..Usage::default()
    };
    let expected = Reply {
        message: Assistant {
            text: "I look.".to_owned(),
            calls: vec![call()],
            vendor: "replay".to_owned(),
            ..Assistant::default()
        },
        finish: Finish::ToolCalls,
        usage: Some(usage),
        reported_cost: Some(Usd::ZERO),
        ..Reply::default()
    };
    assert_eq!(reply, expected);
    assert_eq!(deltas(&mut receiver), ["I ", "look."]);
    assert_eq!(meter.reading().reported, Some(usage));

    // Other ids, another text of the file, another order of keys: the same question.
    let mut later = after_the_tool("new text", "What is it?");
    if let Message::Assistant(said) = &mut later[1] {
        said.calls[0].id = "other".to_owned();
        said.calls[0].arguments = r#"{"limit": 5, "path": "README.md"}"#.to_owned();
    }
    let asked = request("guide", later);
    for expected in ["The key is [redacted], done.", "Again.", "Again."] {
        let reply = ask(&*replay, &asked).await.expect("a reply");
        assert_eq!(reply.message.text, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_and_vendors_words_are_not_in_the_file_and_it_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.jsonl");
    record(&path, redactor()).await;
    let text = std::fs::read_to_string(&path).expect("a file");
    assert!(
        !text.contains("12345") && !text.contains("secret of the vendor"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 3);
    let mode = std::fs::metadata(&path)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_recorded_tells_the_first_difference() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.jsonl");
    record(&path, redactor()).await;
    let replay = connect(&spec(&path)).expect("a provider");
    let mut other_call = after_the_tool("old text", "What is it?");
    if let Message::Assistant(said) = &mut other_call[1] {
        said.calls[0].name = "grep".to_owned();
    }
    let mut longer = after_the_tool("old text", "What is it?");
    longer.push(user("And now?"));
    for (asked, words) in [
        (
            request("guide", vec![user("Who are you?")]),
            "message 1 (user) of `guide` is `Who are you?`, recorded is `What is it?`",
        ),
        (
            request("guide", other_call),
            "message 2 (assistant) of `guide` is `I look. grep({\"limit\":5,\"path\":\"README.md\"})`, \
             recorded is `I look. read({\"limit\":5,\"path\":\"README.md\"})`",
        ),
        (
            request("guide", longer),
            "the conversation of `guide` goes on with message 4 (user) `And now?`, the recording \
             ends before it",
        ),
        (
            request("coder", vec![user("What is it?")]),
            "`coder` is not in the recording, only `guide`",
        ),
    ] {
        let error = ask(&*replay, &asked).await.expect_err("not recorded");
        assert_eq!(error.kind, FaultKind::NotRecorded);
        assert_eq!(error.message, format!("this was not recorded: {words}"));
        assert!(error.hint.is_some());
    }
}

#[tokio::test]
async fn a_bad_recording_names_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.jsonl");
    let replay = connect(&spec(&path)).expect("a provider");
    let error = replay.health().await.expect_err("there is none");
    assert!(error.message.contains("cannot be read"), "{error}");
    assert_eq!(error.kind, FaultKind::Recording { by_flag: false });
    std::fs::write(&path, "\n{}\n").expect("written");
    let replay = connect(&spec(&path)).expect("a provider");
    let error = replay.health().await.expect_err("no reply");
    assert!(error.message.starts_with("line 2 of"), "{error}");
    let nameless = ConnectSpec {
        recording: None,
        ..spec(&path)
    };
    assert!(connect(&nameless).is_err());
}
