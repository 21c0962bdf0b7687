//! A CLI that never ends to talk: it is ended, and no more is held than an answer may take.

use orch::providers::claude_cli::heard::Heard;
use orch::providers::claude_cli::stream::{Line, parse};
use serde_json::json;
use tokio::time::Instant;

use crate::claude_driver::complete;
use crate::claude_fake::{Fake, request};

/// A megabyte of a text.
const TEXT: &str = "T=$(head -c 1000000 /dev/zero | tr '\\0' y)";

#[tokio::test]
async fn a_cli_that_says_too_much_is_ended() {
    let delta = r#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"'$T'"}}}"#;
    let block = r#"{"type":"assistant","message":{"id":"m","model":"m","content":[{"type":"text","text":"'$T'"}]}}"#;
    let refused =
        r#"{"type":"system","subtype":"permission_denied","tool_name":"'$N'","message":"'$T'"}"#;
    for line in [delta, block, refused] {
        let fake = Fake::new(&format!(
            "{TEXT}; N=0\nwhile :; do N=$((N + 1)); echo '{line}'; done"
        ));
        let error = complete(&fake, &request("x")).await.unwrap_err();
        assert!(error.message.contains("said more than 64 MiB"), "{error:?}");
        assert!(error.partial.text.len() <= 65 << 20);
        assert!(fake.left().is_empty());
    }
}

#[test]
fn of_earlier_results_only_the_money_is_kept() {
    let mut heard = Heard::default();
    for cost in 1..=3 {
        let line = json!({"type": "result", "subtype": "success", "result": "a long text",
            "num_turns": 1, "total_cost_usd": cost});
        heard.note(parse(line.to_string().as_bytes()), Instant::now());
    }
    let kept: Vec<_> = heard
        .results
        .iter()
        .map(|line| (line.total.cost.unwrap().to_string(), line.result.as_str()))
        .collect();
    let cost = |whole: u8| format!("{whole}.000000");
    assert_eq!(kept.len(), 3);
    for (number, (told, text)) in (1..).zip(kept) {
        assert!(told.starts_with(&cost(number)), "{told}");
        assert_eq!(text, if number == 3 { "a long text" } else { "" });
    }
}

#[test]
fn a_line_of_very_many_values_is_never_read() {
    let values = "0,".repeat(1 << 18);
    let line = format!("{{\"type\":\"system\",\"subtype\":\"status\",\"x\":[{values}0]}}");
    let Line::Noise(kept) = parse(line.as_bytes()) else {
        panic!("it was read");
    };
    assert!(kept.len() <= 4096, "{}", kept.len());
    // A long text is one value, as the CLI prints of a file or a picture.
    let text = "a,".repeat(1 << 20);
    let line =
        json!({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}});
    let Line::Assistant(read) = parse(line.to_string().as_bytes()) else {
        panic!("it was not read");
    };
    assert_eq!(read.text, text);
}
