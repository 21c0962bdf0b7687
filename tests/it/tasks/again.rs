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
