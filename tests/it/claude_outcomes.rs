//! Every recording of the real CLI, decided: outcome, class, text, usage, cost to the picodollar.

use jiff::ZonedDateTime;
use orch::providers::claude_cli::heard::Heard;
use orch::providers::claude_cli::money::ModelUsage;
use orch::providers::claude_cli::outcome::{Circumstances, Ended, Stopped, decide};
use orch::providers::claude_cli::stream::parse;
use orch::providers::{ProviderError, Reply};
use orch::usage::{Usage, Usd};
use serde::Deserialize;
use serde_json::Value;

/// One run of the real CLI.
#[derive(Clone, Deserialize)]
pub struct Recording {
    pub name: String,
    pub stdout: String,
    pub stderr: String,
    pub exit: String,
    pub ended_by_recorder: bool,
}

/// What has to come of it.
#[derive(Clone, Deserialize)]
pub struct Expected {
    pub name: String,
    pub ok: Option<String>,
    pub structured: Option<Value>,
    pub class: Option<String>,
    pub before: Option<Usd>,
    pub cost: Option<Usd>,
    pub tokens: Option<[u64; 4]>,
}

pub fn recordings() -> Vec<(Recording, Expected)> {
    let recordings: Vec<Recording> =
        serde_json::from_str(include_str!("fixtures/claude/recordings.json")).unwrap();
    let mut expected: Vec<Expected> =
        serde_json::from_str(include_str!("fixtures/claude/expected.json")).unwrap();
    for run in &mut expected {
        // A cost of nothing is none.
        run.cost = run.cost.filter(|cost| *cost > Usd::ZERO);
    }
    assert_eq!(recordings.len(), 154);
    assert_eq!(expected.len(), 154);
    recordings.into_iter().zip(expected).collect()
}

fn run(
    recording: &Recording,
    stopped: Option<Stopped>,
    before: Usd,
) -> Result<Reply, Box<ProviderError>> {
    let mut heard = Heard::default();
    for line in recording.stdout.split_inclusive('\n') {
        heard.note(parse(line.as_bytes()), tokio::time::Instant::now());
    }
    let number: Option<i32> = recording.exit.parse().ok();
    let ended = Ended {
        code: number.map_or(Some(1), |number| Some(number).filter(|number| *number >= 0)),
        signal: number.filter(|number| *number < 0).map(i32::abs),
        stopped,
    };
    let now: ZonedDateTime = "2026-11-22T12:00:00[UTC]".parse().unwrap();
    let circumstances = Circumstances {
        provider: "claude",
        stderr: &recording.stderr,
        before: ModelUsage {
            cost: Some(before).filter(|before| *before > Usd::ZERO),
            usage: Usage::default(),
        },
        may_subscribe: true,
        limit: None,
        now: &now,
    };
    decide(heard, &ended, &circumstances).0
}

pub fn tokens(usage: Option<Usage>) -> Option<[u64; 4]> {
    usage.map(|usage| {
        [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
        ]
    })
}

#[test]
fn every_recording_is_decided_as_it_must_be() {
    for (recording, expected) in recordings() {
        let name = &expected.name;
        assert_eq!(&recording.name, name);
        let stopped = recording.ended_by_recorder.then_some(Stopped::Deadline);
        let outcome = run(&recording, stopped, expected.before.unwrap_or_default());
        let (usage, cost) = match outcome {
            Ok(reply) => {
                assert_eq!(Some(&reply.message.text), expected.ok.as_ref(), "{name}");
                assert_eq!(reply.structured, expected.structured, "{name}");
                assert!(reply.own_turns >= 1, "{name}");
                (reply.usage, reply.reported_cost)
            }
            Err(error) => {
                assert_eq!(
                    Some(error.kind.class()),
                    expected.class.as_deref(),
                    "{name}: {error}"
                );
                assert!(
                    !error.message.is_empty() && !error.message.contains('\n'),
                    "{name}: {error}"
                );
                (error.partial.usage, error.partial.reported_cost)
            }
        };
        assert_eq!(cost, expected.cost, "{name}");
        if expected.tokens.is_some() {
            assert_eq!(tokens(usage), expected.tokens, "{name}");
        }
    }
}

#[test]
fn a_run_that_dies_by_itself_is_cut_not_late() {
    for (recording, _) in recordings() {
        if recording.ended_by_recorder && !recording.stdout.contains("\"result\"") {
            let error = run(&recording, None, Usd::ZERO).unwrap_err();
            assert_eq!(
                error.kind.class(),
                "truncated",
                "{}: {error}",
                recording.name
            );
        }
    }
}
