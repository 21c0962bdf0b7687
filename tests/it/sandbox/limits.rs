//! A command that takes too much ends, and the program does not.

use std::sync::Arc;
use std::time::Duration;

use orch::sandbox::{Command, Exceeded};
use serde_json::json;

use super::Place;

#[test]
fn memory_over_all_processes() {
    let place = Place::new();
    // Pages that are written, so that they count; each process stays below the limit of one.
    let said = place.bash(
        "for i in 1 2 3 4 5 6; do python3 -c \"
import time
b = bytearray(b'x') * (900 << 20)
time.sleep(30)\" & done; wait",
    );
    assert_eq!(said.status, "error");
    assert!(
        said.content
            .ends_with("[ended: it used more memory than it may]"),
        "{}",
        said.content
    );
}

#[test]
fn memory_that_processes_share_counts_once() {
    let place = Place::new();
    let said = place.bash(
        "python3 -c \"
import os, time
b = bytearray(b'x') * (600 << 20)
children = []
for i in range(9):
    pid = os.fork()
    if pid == 0:
        time.sleep(1); os._exit(0)
    children.append(pid)
for pid in children: os.waitpid(pid, 0)
print('shared')\"",
    );
    assert_eq!(said.ok(), "shared\n");
}

#[test]
fn processes() {
    let place = Place::new();
    let said = place.bash(
        "python3 -c \"
import subprocess
started = []
try:
    while len(started) < 2000: started.append(subprocess.Popen(['sleep', '20']))
except OSError as error: print('stopped', len(started) < 1000)
for one in started: one.kill()\"",
    );
    assert_eq!(said.ok(), "stopped True\n");
    // A bomb ends with its shell.
    let said = place.tool(
        "bash",
        &json!({"command": ":(){ :|:& };: ; sleep 2", "timeout": 20}),
        &[],
    );
    assert_ne!(said.status, "refused");
}

#[test]
fn files_and_temporary_files() {
    let place = Place::new();
    let said = place.bash(
        "truncate -s 3G big; stat -c %s big; truncate -s 2G big; stat -c %s big; head -c 2G /dev/zero > /tmp/big; stat -c %s /tmp/big; ulimit -c",
    );
    let content = said.content;
    let sizes: Vec<u64> = content
        .lines()
        .filter_map(|line| line.parse().ok())
        .collect();
    assert_eq!(sizes, [0, 2 << 30, 1 << 30, 0], "{content}");
}

#[tokio::test]
async fn files_without_content_fill_a_disk_too() {
    let place = Place::new();
    let mut policy = place.policy();
    policy.limits.disk = 64 << 20;
    let script = "python3 -c \"
import os, time
os.mkdir('d')
for i in range(60000): open(f'd/{i}', 'w').close()
time.sleep(60)\"";
    let command = Command::script(&Arc::new(policy), script);
    let outcome = command.run(Duration::from_mins(2)).await.unwrap();
    assert_eq!(outcome.limit, Some(Exceeded::Disk));
}

#[test]
fn output_without_end() {
    let place = Place::new();
    let said = place.tool("bash", &json!({"command": "yes", "timeout": 60}), &[]);
    assert!(
        said.content
            .ends_with("[ended: it wrote more output than it may]"),
        "{}",
        said.content.len()
    );
    assert!(said.content.len() < 200_000);
    let said = place.bash("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end");
    let content = said.ok();
    assert!(
        content.starts_with("xxx")
            && content.ends_with("xxx\nend\n")
            && content.contains("left out")
    );
}
