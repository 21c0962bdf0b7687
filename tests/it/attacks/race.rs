//! Races of the file tools against a directory that is swapped for a symbolic link to the outside,
//! in process, so that there are many of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use orch::event::Events;
use orch::message::ToolCall;
use orch::redact::Redactor;
use orch::sandbox::{Policy, SandboxSettings};
use orch::tools::{Approver, ToolContext, ToolStatus, Workspace, execute};
use rustix::fs::{CWD, RenameFlags};
use serde_json::{Value, json};

/// Calls of each tool; 100,000 with `ORCH_TEST_LONG=1`, which takes minutes.
fn calls(short: usize) -> usize {
    if std::env::var("ORCH_TEST_LONG").is_ok_and(|value| value == "1") {
        100_000
    } else {
        short
    }
}

fn context(work: &Path) -> ToolContext {
    let policy = Policy::new(work, work, &SandboxSettings::default()).unwrap();
    ToolContext {
        agent: "racer".into(),
        tools: ["read", "write", "grep"].map(ToOwned::to_owned).to_vec(),
        workspace: Arc::new(Workspace::open(Arc::new(policy)).unwrap()),
        servers: Arc::default(),
        http: Arc::default(),
        approvals: Arc::default(),
        approver: Approver::Nobody,
        redactor: Redactor::default(),
    }
}

async fn call(context: &ToolContext, tool: &str, arguments: &Value) -> (ToolStatus, String) {
    let call = ToolCall {
        id: "1".to_owned(),
        name: tool.to_owned(),
        arguments: arguments.to_string(),
        ..ToolCall::default()
    };
    let outcome = execute(context, &call, &Events::nobody()).await.unwrap();
    (outcome.status, outcome.content)
}

#[tokio::test]
async fn nothing_escapes_while_a_directory_is_swapped() {
    let base = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (work, outside) = (base.path().join("work"), base.path().join("outside"));
    std::fs::create_dir_all(work.join("sw")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(work.join("sw/secret.txt"), "INSIDE").unwrap();
    std::fs::write(outside.join("secret.txt"), "ESCAPED").unwrap();
    let (current, other) = (work.join("sw"), work.join("other"));
    std::os::unix::fs::symlink(&outside, &other).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut swaps = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &current, CWD, &other, RenameFlags::EXCHANGE)
                    .unwrap();
                swaps += 1;
            }
            swaps
        }
    });
    let context = context(&work);
    let mut seen = [0_usize; 2];
    let read = json!({"path": "sw/secret.txt"});
    for _ in 0..calls(20_000) {
        let (status, content) = call(&context, "read", &read).await;
        assert!(!content.contains("ESCAPED"), "{content}");
        seen[usize::from(status == ToolStatus::Ok)] += 1;
    }
    let grep = json!({"path": ".", "pattern": "INSIDE|ESCAPED"});
    for _ in 0..calls(2_000) {
        let (_, content) = call(&context, "grep", &grep).await;
        assert!(
            !content.contains("ESCAPED\n") && !content.contains(":ESCAPED"),
            "{content}"
        );
    }
    let write = json!({"path": "sw/new/race.txt", "content": "x"});
    for _ in 0..calls(1_000) {
        let (status, _) = call(&context, "write", &write).await;
        seen[usize::from(status == ToolStatus::Ok)] += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let swaps = swapper.join().unwrap();
    let left: Vec<_> = std::fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["secret.txt"], "written outside");
    assert!(
        swaps > 1000 && seen[0] > 0 && seen[1] > 0,
        "no race took place: {swaps} swaps, {seen:?}"
    );
}
