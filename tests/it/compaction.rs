//! Conversations that outgrow the window of their model.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::sandbox::until;
use crate::support::{Context, Stub, stub};

/// How a request for a summary begins.
const SUM_UP: &str = "You are given the older part of a conversation";

/// The room of this window: three quarters of it, four bytes a token.
const WINDOW: &str = "windows: {stub-model: 2000}, ";

fn context(server: &Stub, window: &str, tools: &str) -> Context {
    let context = Context::new();
    context.write(
        "orch.yaml",
        format!(
            "settings: {{max_retries: 0}}\nproviders:\n  stub: {{kind: openai, base_url: \"{}\", {window}\
             prices: {{stub-model: {{input: 1, output: 1}}}}}}\nagents:\n  a: {{role: You are a., \
             provider: stub, model: stub-model, tools: [{tools}]}}\n",
            server.url()
        ),
    );
    context
}

/// Sums up where it is asked to, reads a file where that is wanted, else says `yes`.
fn server() -> Stub {
    Stub::start(|seen| {
        let system = seen.body["messages"][0]["content"].as_str().unwrap();
        if system.starts_with(SUM_UP) {
            return stub::text("They like blue.");
        }
        match seen.last_text() {
            text if text.starts_with("read") => {
                stub::tool_calls(&[("1", "read", json!({"path": "large.txt"}))])
            }
            _ => stub::text_with_usage("yes", 300, 5),
        }
    })
}

fn ask<'a>(prompt: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let named = ["--agent", "a", "--session", "s", "--prompt", prompt];
    [&named[..], more].concat()
}

fn long(word: &str) -> String {
    format!("{word} {}", "x".repeat(1_700))
}

/// The role and the beginning of every message of a request, without its system prompt.
fn outline(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap().iter().skip(1);
    messages
        .map(|message| {
            let text = message["content"].as_str().unwrap_or_default();
            let first = text.split([' ', '\n']).next().unwrap();
            format!("{} {first}", message["role"].as_str().unwrap())
        })
        .collect()
}

#[test]
fn older_turns_give_way_to_a_summary_that_the_next_process_finds() {
    let server = server();
    let context = context(&server, WINDOW, "");
    for word in ["first", "second", "third"] {
        context.orch(&ask(&long(word), &[])).exits(0);
    }
    // The summary is a call like any other: without money for it nothing is asked.
    let now = format!("and now? {}", "y".repeat(800));
    let refused = context.orch(&ask(&now, &["--budget", "0.000001"]));
    assert_eq!(refused.exits(7).stdout, "");
    assert_eq!(server.chats().len(), 3);

    let lines = context
        .orch(&ask(&now, &["--output", "stream-json"]))
        .exits(0)
        .json_lines();
    let compacted: Vec<&Value> = lines
        .iter()
        .filter(|line| line["type"] == "compacted")
        .map(|line| &line["messages"])
        .collect();
    assert_eq!(compacted, [&json!(4)]);
    let words: Vec<&Value> = lines
        .iter()
        .filter(|line| line["type"] == "text.delta")
        .map(|line| &line["text"])
        .collect();
    assert_eq!(words, [&json!("yes")]);
    let result = lines.last().unwrap();
    assert_eq!(
        result["warnings"],
        json!(["4 older messages were summed up to fit the window of the model"])
    );
    assert_eq!(
        (&result["attempts"], &result["turns"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(result["cost_usd"], "0.001283");

    let chats = server.chats();
    let summing = chats[3].last_text();
    for said in ["## User\n\nfirst xxx", "## Assistant\n\nyes", "second xxx"] {
        assert!(summing.contains(said), "{said}: {summing}");
    }
    assert!(!summing.contains("third"), "{summing}");
    let kept = [
        "user What",
        "assistant Understood.",
        "user third",
        "assistant yes",
    ];
    let asked = outline(&chats[4].body);
    assert_eq!(asked, [&kept[..], &["user and"]].concat());
    let summary = chats[4].body["messages"][1]["content"].as_str().unwrap();
    assert!(summary.ends_with("They like blue."), "{summary}");

    // The next process opens the conversation as it is now.
    let next = context.orch(&ask("more", &["--json"])).exits(0).json();
    assert_eq!(next["warnings"], json!([]));
    let asked = outline(&server.chats()[5].body);
    assert_eq!(
        asked,
        [&kept[..], &["user and", "assistant yes", "user more"]].concat()
    );
    let rows = context.orch(&["--costs", "--csv"]).exits(0).stdout;
    assert_eq!(rows.matches(",compaction,").count(), 1, "{rows}");
    // Nothing that was said is lost.
    let script = "/session s\n/export whole.md\n/quit\n";
    context
        .run_with_stdin(&["--config", "orch.yaml"], script.as_bytes())
        .exits(0);
    let whole = context.read("whole.md");
    for said in ["first xxx", "second xxx", "third xxx", "and now?", "more"] {
        assert!(whole.contains(said), "{said}: {whole}");
    }
}

#[test]
fn outputs_of_tools_are_cut_first() {
    let server = server();
    let context = context(&server, WINDOW, "read");
    context.write("large.txt", "0123456789\n".repeat(400));
    context.orch(&ask("read it", &[])).exits(0);
    let result = context
        .orch(&ask(&long("second"), &["--json"]))
        .exits(0)
        .json();
    assert_eq!(
        result["warnings"],
        json!(["older outputs of tools were cut to fit the window of `stub/stub-model`"])
    );
    let chats = server.chats();
    assert_eq!(chats.len(), 3);
    let output = |chat: usize| {
        let content = chats[chat].tool_messages()[0]["content"].clone();
        content.as_str().unwrap().to_owned()
    };
    assert!(output(1).len() > 4_000, "{}", output(1));
    assert!(output(2).len() < 600, "{}", output(2));
    assert!(output(2).contains("bytes left out"), "{}", output(2));
}

#[test]
fn a_vendor_that_says_that_it_is_too_long_is_believed() {
    let server = Stub::start(|seen| {
        let messages = seen.body["messages"].as_array().unwrap();
        let size = seen.body["messages"].to_string().len();
        if size > 5_000 {
            let error =
                json!({"error": {"message": "too long", "code": "context_length_exceeded"}});
            return stub::status(400, &[], &error.to_string());
        }
        if messages[0]["content"].as_str().unwrap().starts_with(SUM_UP) {
            return stub::text("They like blue.");
        }
        stub::text("yes")
    });
    let context = context(&server, "", "read");
    for word in ["first", "second"] {
        context.orch(&ask(&long(word), &[])).exits(0);
    }
    let result = context
        .orch(&ask(&long("third"), &["--json"]))
        .exits(0)
        .json();
    assert_eq!(result["output"], "yes");
    let last = server.chats().pop().unwrap();
    let asked = outline(&last.body);
    assert_eq!(asked[..2], ["user What", "assistant Understood."]);
    assert_eq!(asked.last().unwrap(), "user third");
    // A prompt that is too long by itself cannot be helped.
    let prompt = "x".repeat(6_000);
    let alone = ["--agent", "a", "--prompt", &prompt, "--json"];
    let before = server.chats().len();
    let failed = context.orch(&alone).exits(5).json();
    assert_eq!(failed["error"]["class"], "provider");
    assert_eq!(server.chats().len(), before + 1);
}

#[test]
fn a_summary_is_not_paid_twice_when_the_run_is_cut_off() {
    // The call behind the first summary hangs, once.
    let server = Stub::start(|seen| {
        let system = seen.body["messages"][0]["content"].as_str().unwrap();
        match seen.number {
            _ if system.starts_with(SUM_UP) => stub::text("They like blue."),
            4 => vec![stub::stream_head(), stub::Do::Hang],
            _ => stub::text("yes"),
        }
    });
    let context = context(&server, WINDOW, "");
    for word in ["first", "second", "third"] {
        context.orch(&ask(&long(word), &[])).exits(0);
    }
    let now = format!("and now? {}", "y".repeat(800));
    let mut child = context
        .command(&[&["--config", "orch.yaml"][..], &ask(&now, &[])].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("a question behind the summary", || {
        server.chats().len() == 5
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    let id = runs[0]["run_id"].as_str().unwrap();
    let result = context.orch(&["--resume", id, "--json"]).exits(0).json();
    assert_eq!(result["output"], "yes");
    let warnings = result["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings[0].as_str().unwrap().contains("is asked again"),
        "{warnings:?}"
    );
    let chats = server.chats();
    assert_eq!(chats.len(), 6);
    assert_eq!(chats[5].body["messages"], chats[4].body["messages"]);
    let next = context.orch(&ask("more", &["--json"])).exits(0).json();
    assert_eq!(next["warnings"], json!([]));
    assert_eq!(outline(&server.chats()[6].body)[0], "user What");
}
