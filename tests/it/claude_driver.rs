//! The driver of the Claude CLI against a fake one: every recording, every misbehaviour, and no
//! process left.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use orch::event::{EventKind, Events};
use orch::providers::{Provider, ProviderError, Reply, Request};
use orch::usage::{Meter, Usd};

use crate::claude_fake::{Fake, WAIT, request};
use crate::claude_outcomes::{Expected, recordings, tokens};
use crate::sandbox::until;

pub async fn complete(fake: &Fake, request: &Request) -> Result<Reply, ProviderError> {
    let meter = Meter::default();
    fake.provider
        .complete(request, &meter, &Events::nobody())
        .await
}

/// A run whose time is over once the CLI [waits](WAIT). Until then the clocks stand still, so that it does not
/// matter how long the machine takes to come there; from then on they go.
async fn complete_late(fake: &Fake) -> Result<Reply, ProviderError> {
    let mut request = request("say hello");
    // The first of its clocks that comes.
    let total = Duration::from_secs(10);
    request.clocks.total = Some(total);
    tokio::time::pause();
    let waits = fake.path().join("waits");
    let late = async {
        // A clock that stands would be set on to its next alarm, but not while a thread is at work.
        let seen = tokio::task::spawn_blocking(move || {
            until("a CLI that waits", || waits.exists());
        });
        seen.await.unwrap();
        tokio::time::advance(total).await;
        tokio::time::resume();
    };
    tokio::join!(complete(fake, &request), late).0
}

#[tokio::test]
async fn every_recording_ends_as_it_must_and_leaves_no_process() {
    let (stopped, ended): (Vec<_>, Vec<_>) = recordings()
        .into_iter()
        .partition(|(recording, _)| recording.ended_by_recorder);
    assert_eq!(stopped.len(), 16);
    stream::iter(ended)
        .map(|(recording, expected)| async move {
            let fake = Fake::replaying(&recording);
            let outcome = complete(&fake, &request("say hello")).await;
            check(&fake, &outcome, &expected);
        })
        .buffer_unordered(6)
        .collect::<Vec<()>>()
        .await;
    // One after the other: they share the clock.
    for (recording, expected) in stopped {
        let fake = Fake::replaying(&recording);
        let outcome = complete_late(&fake).await;
        check(&fake, &outcome, &expected);
    }
}

fn check(fake: &Fake, outcome: &Result<Reply, ProviderError>, expected: &Expected) {
    let name = &expected.name;
    let (usage, cost) = match outcome {
        Ok(reply) => {
            assert_eq!(Some(&reply.message.text), expected.ok.as_ref(), "{name}");
            assert_eq!(reply.structured, expected.structured, "{name}");
            (reply.usage, reply.reported_cost)
        }
        Err(error) => {
            let class = error.kind.class();
            assert_eq!(Some(class), expected.class.as_deref(), "{name}: {error}");
            (error.partial.usage, error.partial.reported_cost)
        }
    };
    if expected.before.is_none() {
        assert_eq!(cost, expected.cost, "{name}");
        if expected.tokens.is_some() {
            assert_eq!(tokens(usage), expected.tokens, "{name}");
        }
    }
    assert_eq!(fake.left(), Vec::<std::path::PathBuf>::new(), "{name}");
}

/// Lines of the fake's output.
pub const INIT: &str = r#"{"type":"system","subtype":"init","session_id":"s","model":"claude-sonnet-5-5","apiKeySource":"ANTHROPIC_API_KEY","claude_code_version":"2.1.330","mcp_servers":[]}"#;
pub const TEXT: &str = r#"{"type":"assistant","message":{"id":"m1","model":"claude-sonnet-5-5","content":[{"type":"text","text":"Hello"}],"usage":{"input_tokens":100,"output_tokens":1}},"parent_tool_use_id":null}"#;
const TOOL: &str = r#"{"type":"assistant","message":{"id":"m1","model":"claude-sonnet-5-5","content":[{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"make"}}],"usage":{"input_tokens":100,"output_tokens":1}},"parent_tool_use_id":null}"#;
pub const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"Hello","total_cost_usd":0.25,"modelUsage":{},"model_usage_since_last_result":{"m":{"inputTokens":100,"outputTokens":20,"costUSD":0.01}},"terminal_reason":"completed"}"#;
const INTERRUPTED: &str = r#"{"type":"result","subtype":"error_during_execution","is_error":true,"num_turns":2,"errors":["[ede_diagnostic] x"],"total_cost_usd":0.3,"terminal_reason":"aborted_tools","model_usage_since_last_result":{"m":{"inputTokens":100,"outputTokens":20,"costUSD":0.05}}}"#;

pub fn says(lines: &[&str]) -> String {
    let quoted: Vec<String> = lines
        .iter()
        .map(|line| ["echo '", line, "'\n"].concat())
        .collect();
    quoted.concat()
}

#[tokio::test]
async fn a_late_run_that_is_interrupted_in_a_tool_tells_what_it_cost() {
    let last_words = INTERRUPTED.replace('"', "\\\"");
    let fake = Fake::new(&format!(
        "{}trap \"echo '{last_words}'; exit 0\" INT\n{WAIT}",
        says(&[INIT, TOOL])
    ));
    let error = complete_late(&fake).await.unwrap_err();
    assert_eq!(error.kind.class(), "deadline");
    assert_eq!(error.partial.reported_cost, Some("0.05".parse().unwrap()));
    assert_eq!(fake.left(), Vec::<std::path::PathBuf>::new());
}

/// What has to come of a misbehaviour: the text or the class, and the cost, within these seconds.
struct Case {
    name: &'static str,
    behaviour: String,
    outcome: Result<&'static str, &'static str>,
    cost: Option<&'static str>,
    within: u64,
}

#[tokio::test]
async fn no_misbehaviour_hangs_misleads_or_misbills() {
    let case = |name, behaviour, outcome, cost, within| Case {
        name,
        behaviour,
        outcome,
        cost,
        within,
    };
    let good = says(&[INIT, TEXT, RESULT]);
    let cut = says(&[INIT, TEXT]);
    let flood = "head -c 10000000 /dev/zero | tr '\\0' 'x' >&2; echo >&2; echo 'last words' >&2\n";
    let cases = vec![
        case(
            "sleeps after its result",
            format!("{good}sleep 1000"),
            Ok("Hello"),
            Some("0.01"),
            12,
        ),
        case(
            "sleeps after its result, deaf",
            format!("{good}trap '' TERM INT; sleep 1000"),
            Ok("Hello"),
            Some("0.01"),
            12,
        ),
        case(
            "deaf in a tool",
            format!("{}trap '' TERM INT; sleep 1000", says(&[INIT, TOOL])),
            Err("deadline"),
            None,
            14,
        ),
        case(
            "silent before anything",
            format!("{}sleep 1000", says(&[INIT])),
            Err("first_event_timeout"),
            None,
            8,
        ),
        case(
            "silent in the middle",
            format!("{cut}sleep 1000"),
            Err("idle_timeout"),
            None,
            8,
        ),
        case(
            "dies without a result",
            format!("{cut}exit 0"),
            Err("truncated"),
            None,
            6,
        ),
        case(
            "is killed",
            format!("{cut}kill -9 $$"),
            Err("truncated"),
            None,
            6,
        ),
        case(
            "half a line",
            format!("{cut}printf '%s' '{{\"type\":\"resu'"),
            Err("truncated"),
            None,
            6,
        ),
        case(
            "result without a line end",
            format!("{cut}printf '%s' '{RESULT}'"),
            Ok("Hello"),
            Some("0.01"),
            6,
        ),
        case(
            "floods standard error",
            format!("{flood}{good}"),
            Ok("Hello"),
            Some("0.01"),
            10,
        ),
        case(
            "floods and dies",
            format!("{flood}exit 1"),
            Err("bad_request"),
            None,
            10,
        ),
        case(
            "leaves a child of its own session",
            format!("setsid sleep 1000 < /dev/null > /dev/null 2>&1 &\n{good}"),
            Ok("Hello"),
            Some("0.01"),
            6,
        ),
        case(
            "leaves one that holds its output",
            format!("setsid sleep 1000 &\n{good}"),
            Ok("Hello"),
            Some("0.01"),
            6,
        ),
        case(
            "noise between lines",
            format!(
                "{}echo warning\necho\necho '[1]'\n{}",
                says(&[INIT, TEXT]),
                says(&[RESULT])
            ),
            Ok("Hello"),
            Some("0.01"),
            6,
        ),
        case(
            "fails after its answer",
            format!("{good}echo 'plan mode cannot check' >&2; exit 1"),
            Err("bad_request"),
            Some("0.01"),
            6,
        ),
        case(
            "tells of a retry of its first request",
            format!(
                "{}{}",
                says(&[
                    INIT,
                    r#"{"type":"system","subtype":"api_retry","attempt":1,"max_retries":1,"retry_delay_ms":7503,"error_status":429,"error":"rate_limit"}"#
                ]),
                "sleep 1000"
            ),
            Err("rate_limited"),
            None,
            8,
        ),
    ];
    stream::iter(cases)
        .map(misbehave)
        .buffer_unordered(6)
        .collect::<Vec<()>>()
        .await;
}

async fn misbehave(case: Case) {
    let name = case.name;
    let fake = Fake::new(&case.behaviour);
    let mut request = request("say hello");
    let seconds = Duration::from_secs;
    // The clock that has to end it is short; the others leave time to a busy machine.
    match case.outcome {
        Err("deadline") => request.clocks.total = Some(seconds(4)),
        Err("first_event_timeout") => request.clocks.first_event = Some(seconds(3)),
        Err("idle_timeout") => request.clocks.idle = Some(seconds(2)),
        _ => {}
    }
    let started = Instant::now();
    let outcome = complete(&fake, &request).await;
    let took = started.elapsed();
    assert!(took < seconds(2 * case.within), "{name}: took {took:?}");
    let cost = match &outcome {
        Ok(reply) => reply.reported_cost,
        Err(error) => error.partial.reported_cost,
    };
    let told = match &outcome {
        Ok(reply) => Ok(reply.message.text.as_str()),
        Err(error) => Err(error.kind.class()),
    };
    assert_eq!(told, case.outcome, "{name}: {outcome:?}");
    assert_eq!(
        cost,
        case.cost.map(|cost| cost.parse::<Usd>().unwrap()),
        "{name}"
    );
    if let Err(error) = &outcome
        && name == "tells of a retry of its first request"
    {
        assert_eq!(error.retry_after, Some(Duration::from_millis(7503)));
        assert_eq!((error.status, error.told_by), (Some(429), "header"));
    }
    assert_eq!(fake.left(), Vec::<std::path::PathBuf>::new(), "{name}");
}

#[tokio::test]
async fn a_dropped_run_ends_with_everything_it_started() {
    let behaviour = format!("{}setsid sleep 1000 &\nsleep 1000", says(&[INIT, TEXT]));
    let fake = Fake::new(&behaviour);
    let request = request("say hello");
    let meter = Meter::default();
    let (events, mut told) = Events::channel("run");
    let run = tokio::time::timeout(Duration::from_mins(1), async {
        tokio::select! {
            outcome = fake.provider.complete(&request, &meter, &events) => panic!("it ended: {outcome:?}"),
            () = async {
                while let Some(event) = told.recv().await {
                    if matches!(event.kind, EventKind::TextDelta { .. }) {
                        // What it starts after its first words may take a while.
                        while fake.left().len() < 2 {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        break;
                    }
                }
            } => {}
        }
    });
    run.await.unwrap();
    let reading = meter.reading();
    assert!(reading.answered && reading.output_bytes == 5, "{reading:?}");
    let gone = async {
        while !fake.left().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), gone)
        .await
        .unwrap();
}
