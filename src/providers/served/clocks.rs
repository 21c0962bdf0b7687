//! Servers that are slow, silent or never done.

use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::event::EventKind;
use crate::providers::{Clocks, FaultKind, StreamFault};

/// Asks and tells how many seconds it took.
async fn timed(actions: Vec<Do>, clocks: Clocks) -> (Result<Reply, ProviderError>, u64) {
    let server = Server::always(actions).await;
    let provider = server.provider("lab");
    let asked = Request {
        clocks,
        ..request()
    };
    let start = Instant::now();
    let result = ask(&*provider, &asked).await;
    (result, start.elapsed().as_secs())
}

fn every_second(bytes: &str) -> Do {
    Do::Repeat(Duration::from_secs(1), bytes.as_bytes().to_vec())
}

#[tokio::test(start_paused = true)]
async fn what_shows_no_progress_keeps_no_clock_from_running_out() {
    let role = format!(
        "data: {}\n\n",
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    );
    for noise in [": ping\n\n", "\n\n", "data:\n\n", role.as_str()] {
        let (result, seconds) =
            timed(vec![stream_head(), every_second(noise)], Clocks::default()).await;
        let error = result.expect_err("nothing came");
        assert_eq!(
            error.kind,
            FaultKind::Stream(StreamFault::FirstEvent),
            "{noise}"
        );
        assert_eq!((seconds, error.committed), (120, false));

        let begun = vec![stream_head(), text_delta("half"), every_second(noise)];
        let (result, seconds) = timed(begun, Clocks::default()).await;
        let error = result.expect_err("nothing more came");
        assert_eq!(error.kind, FaultKind::Stream(StreamFault::Idle), "{noise}");
        assert_eq!(error.message, "the answer made no progress for 60 s");
        assert_eq!((seconds, error.committed), (60, true));
        assert_eq!(error.partial.text, "half");
        assert!(error.partial.reached_model);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_before_the_head_and_blank_lines_before_a_document_run_out_too() {
    let (result, seconds) = timed(vec![Do::Hang], Clocks::default()).await;
    let error = result.expect_err("nothing came");
    assert_eq!(error.kind, FaultKind::Stream(StreamFault::FirstEvent));
    assert_eq!(seconds, 120);
    let head = Do::Send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n".to_vec());
    let (result, seconds) = timed(vec![head, every_second("\n")], Clocks::default()).await;
    let error = result.expect_err("nothing came");
    assert_eq!(error.kind, FaultKind::Stream(StreamFault::FirstEvent));
    assert_eq!(seconds, 120);
}

#[tokio::test(start_paused = true)]
async fn progress_keeps_the_idle_clock_and_the_total_ends_it() {
    let delta = format!(
        "data: {}\n\n",
        json!({"choices": [{"index": 0, "delta": {"content": "x"}}]})
    );
    let drip = vec![
        stream_head(),
        Do::Repeat(Duration::from_secs(50), delta.into_bytes()),
    ];
    let (result, seconds) = timed(drip, Clocks::default()).await;
    let error = result.expect_err("it never ends");
    assert_eq!((error.kind.clone(), seconds), (FaultKind::Deadline, 300));
    assert_eq!(error.message, "the answer was not finished within 300 s");
    assert_eq!(error.partial.text, "xxxxx");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_said_why_it_ends_is_whole_without_its_end() {
    let open = vec![stream_head(), text_delta("all"), finish("stop"), Do::Hang];
    let (result, seconds) = timed(open, Clocks::default()).await;
    assert_eq!(result.expect("an answer").message.text, "all");
    assert_eq!(seconds, 5);
    let noisy = vec![
        stream_head(),
        text_delta("all"),
        finish("stop"),
        every_second(": ping\n\n"),
    ];
    let (result, seconds) = timed(noisy, Clocks::default()).await;
    assert_eq!((result.is_ok(), seconds), (true, 5));
    let cut = vec![
        stream_head(),
        text_delta("all"),
        finish("length"),
        Do::Reset,
    ];
    let (result, _) = timed(cut, Clocks::default()).await;
    assert_eq!(result.expect("an answer").message.text, "all");
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_event_is_waited_for_and_measured() {
    let slow = vec![
        Do::Wait(Duration::from_secs(40)),
        stream_head(),
        Do::Wait(Duration::from_mins(1)),
        text_delta("late"),
        finish("stop"),
        done(),
        Do::Close,
    ];
    let (result, _) = timed(slow, Clocks::default()).await;
    let reply = result.expect("an answer");
    assert_eq!(reply.first_event.map(|first| first.as_secs()), Some(100));
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_is_slow_is_not_the_models_silence() {
    let mut actions = vec![stream_head()];
    actions.extend((0..1200).flat_map(|_| [text_delta("x"), Do::Wait(Duration::from_millis(1))]));
    actions.extend([finish("stop"), done(), Do::Close]);
    let server = Server::always(actions).await;
    let provider = server.provider("lab");
    let (events, mut receiver) = Events::channel("run");
    let asked = Request {
        clocks: Clocks {
            total: None,
            ..Clocks::default()
        },
        ..request()
    };
    let meter = Meter::default();
    let watcher = async {
        // Longer than every clock, with the channel full.
        tokio::time::sleep(Duration::from_secs(1000)).await;
        let mut shown = 0;
        while shown < 1200 {
            if let Some(EventKind::TextDelta { text }) =
                receiver.recv().await.map(|event| event.kind)
            {
                shown += text.len();
            }
        }
    };
    let (reply, ()) = tokio::join!(provider.complete(&asked, &meter, &events), watcher);
    assert_eq!(reply.expect("an answer").message.text.len(), 1200);
    assert_eq!(meter.reading().output_bytes, 1200);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_body_never_ends_is_told_soon() {
    let head = "HTTP/1.1 429 X\r\ncontent-length: 1000\r\nretry-after: 3600\r\n\r\n{";
    let (result, seconds) = timed(vec![Do::Send(head.into()), Do::Hang], Clocks::default()).await;
    let error = result.expect_err("a refusal");
    assert_eq!((error.kind.clone(), seconds), (FaultKind::RateLimited, 5));
    assert_eq!(error.retry_after, Some(Duration::from_hours(1)));
}
