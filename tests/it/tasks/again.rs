//! Runs of tasks that failed or were cut off, and are gone on with.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{config, run_id};
use crate::support::{Context, Stub, stub};

#[test]
fn what_was_done_before_a_failure_is_not_done_again() {
    let was_broken = AtomicBool::new(false);
    let server = Stub::start(move |seen| {
        if seen.body["messages"].as_array().unwrap().len() == 2 {
            let written = json!({"path": "log.txt", "content": "worked\n", "append": true});
            return stub::tool_calls(&[("1", "write", written)]);
        }
        if was_broken.swap(true, Ordering::SeqCst) {
            stub::text("worked")
        } else {
            stub::status(500, &[], "{}")
        }
    });
    let context = Context::new();
    let tasks = "  t: {steps: [{task: u}]}
  u:
    steps:
      - {run: 'echo pushed >> log.txt'}
      - {gate: 'sure?'}
      - {agent: a, prompt: work}
      - {run: 'test -e go && echo went'}
";
    context.write("orch.yaml", config(&server.url(), tasks));
    context.orch(&["--task", "t", "--yes"]).exits(8);
    let id = run_id(&context);
    // The yes stays, and of the agent only the turn that failed is asked for again.
    context.orch(&["--resume", &id]).exits(8);
    assert_eq!(context.read("log.txt"), "pushed\nworked\n");
    assert_eq!(server.chats().len(), 3);
    // A command that failed is run again.
    context.write("go", "");
    let done = context.orch(&["--resume", &id]).exits(0);
    assert_eq!(done.stdout, "went\n");
    assert_eq!(context.read("log.txt"), "pushed\nworked\n");
    assert_eq!(server.chats().len(), 3);
}

#[test]
fn a_run_goes_on_with_the_models_that_it_began_with() {
    for (args, now) in [
        // The model of the command line.
        (&["--model", "other"][..], "one"),
        // The model of the settings, which name another one by now.
        (&[], "two"),
    ] {
        let server = Stub::start(|seen| stub::text(&seen.last_text()));
        let context = Context::new();
        let tasks =
            "  t: {steps: [{agent: a, prompt: x}, {run: 'test -e go'}, {agent: b, prompt: y}]}\n";
        let with = |model: &str| {
            let settings = format!("settings: {{default_model: {model}, ");
            let text = config(&server.url(), tasks).replace(", model: stub-model", "");
            context.write("orch.yaml", text.replace("settings: {", &settings));
        };
        with("one");
        context.orch(&[&["--task", "t"], args].concat()).exits(8);
        context.write("go", "");
        with(now);
        let ran = context.orch(&["--resume", &run_id(&context)]).exits(0);
        let models: Vec<_> = server
            .chats()
            .iter()
            .map(|chat| chat.body["model"].as_str().unwrap().to_owned())
            .collect();
        let expected = args.last().copied().unwrap_or("one");
        assert_eq!(models, [expected, expected]);
        let notice =
            "the configuration of `b` has changed; the run goes on with what it began with";
        // The agents themselves are what they were where only the command line named another model.
        assert_eq!(
            ran.stderr.contains(notice),
            args.is_empty(),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn no_other_command_is_run_because_a_secret_was_masked() {
    let server = Stub::replies([]);
    let context = Context::new();
    let tasks = "  t:
    steps:
      - {run: 'test -e go'}
      - {id: blk, steps: [{id: url, run: \"printf %s 'postgres://test:test1234@localhost/db' > url\"}]}
";
    let text = config(&server.url(), tasks);
    context.write("orch.yaml", &text);
    context.orch(&["--task", "t"]).exits(1);
    let id = run_id(&context);
    context.write("go", "");
    // Which text was meant cannot be told from another one.
    context.write("orch.yaml", text.replace("> url", "> other"));
    let refused = context.orch(&["--resume", &id]).exits(8);
    assert!(
        refused
            .stderr
            .contains("the step was kept without the secret in its text"),
        "{}",
        refused.stderr
    );
    for file in ["url", "other"] {
        assert!(!context.work().join(file).exists(), "{file}");
    }
    context.write("orch.yaml", &text);
    context.orch(&["--resume", &id]).exits(0);
    assert_eq!(context.read("url"), "postgres://test:test1234@localhost/db");
}
