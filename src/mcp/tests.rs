use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::ServiceExt;
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tokio::net::UnixStream;

use super::bridge::{Bridge, RunTool};
use super::relay;
use crate::message::{ToolResult, ToolSpec};

fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: format!("does {name}"),
        parameters: json!({"type": "object", "properties": {"text": {"type": "string"}}}),
    }
}

fn echo() -> RunTool {
    Arc::new(|call| {
        Box::pin(async move {
            ToolResult {
                call_id: call.id,
                is_error: call.name == "fail",
                content: format!("{} {}", call.name, call.arguments),
                tool: call.name,
            }
        })
    })
}

fn open(run: RunTool) -> (tempfile::TempDir, Bridge) {
    let directory = tempfile::tempdir().unwrap();
    let program = std::path::Path::new("orch");
    let tools = [tool("echo"), tool("fail")];
    let bridge = Bridge::open(directory.path(), program, &tools, run).unwrap();
    (directory, bridge)
}

#[tokio::test]
async fn tools_are_listed_and_called_over_the_bridge() {
    let (directory, bridge) = open(echo());
    let address = bridge.address();
    assert_eq!(address.relay, ["orch", "__relay"]);
    let stream = UnixStream::connect(&address.socket).await.unwrap();
    let client = ().serve(stream).await.unwrap();
    let tools = client.list_all_tools().await.unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(names, ["echo", "fail"]);
    for (name, is_error) in [("echo", false), ("fail", true)] {
        let arguments = json!({"text": "hi"}).as_object().unwrap().clone();
        let request = CallToolRequestParams::new(name).with_arguments(arguments);
        let result = client.call_tool(request).await.unwrap();
        assert_eq!(result.is_error, Some(is_error));
        let text = &result.content[0].as_text().unwrap().text;
        assert_eq!(*text, format!("{name} {{\"text\":\"hi\"}}"));
    }
    assert!(!address.running.any());
    drop(bridge);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// Told when a call was dropped before it ended.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_call_ends_with_its_connection_and_with_the_bridge() {
    for close_bridge in [false, true] {
        let dropped = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&dropped);
        let (_directory, bridge) = open(Arc::new(move |_| {
            let guard = Dropped(Arc::clone(&seen));
            Box::pin(async move {
                let _guard = guard;
                std::future::pending().await
            })
        }));
        let address = bridge.address();
        let stream = UnixStream::connect(&address.socket).await.unwrap();
        let client = ().serve(stream).await.unwrap();
        let peer = client.peer().clone();
        let call =
            tokio::spawn(async move { peer.call_tool(CallToolRequestParams::new("echo")).await });
        while !address.running.any() {
            tokio::task::yield_now().await;
        }
        if close_bridge {
            drop(bridge);
        } else {
            drop(client);
        }
        tokio::time::timeout(Duration::from_mins(1), async {
            while !dropped.load(Ordering::SeqCst) || address.running.any() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .unwrap();
        call.abort();
    }
}

#[test]
fn the_relay_passes_bytes_both_ways_and_ends_with_either_side() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let (input, mut to_relay) = std::io::pipe().unwrap();
    let (mut from_relay, output) = std::io::pipe().unwrap();
    let relay = std::thread::spawn(move || {
        relay::relay(
            theirs,
            File::from(std::os::fd::OwnedFd::from(input)),
            File::from(std::os::fd::OwnedFd::from(output)),
        )
    });
    let mut orch = ours;
    to_relay.write_all(b"question\n").unwrap();
    let mut heard = [0; 9];
    orch.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"question\n");
    orch.write_all(b"answer\n").unwrap();
    let mut heard = [0; 7];
    from_relay.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"answer\n");
    drop(to_relay);
    assert_eq!(orch.read(&mut [0; 1]).unwrap(), 0);
    drop(orch);
    relay.join().unwrap().unwrap();
}
