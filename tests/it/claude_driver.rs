//! The driver of the Claude CLI against a fake one: every recording, every misbehaviour, and no
//! process left.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use orch::event::{EventKind, Events};
use orch::providers::{Provider, ProviderError, Reply, Request};
use orch::usage::{Meter, Usd};

use crate::claude_fake::{Fake, request};
use crate::claude_outcomes::{Expected, Recording, recordings, tokens};

async fn complete(fake: &Fake, request: &Request) -> Result<Reply, ProviderError> {
    let meter = Meter::default();
    fake.provider
        .complete(request, &meter, &Events::nobody())
        .await
}

#[tokio::test]
async fn every_recording_ends_as_it_must_and_leaves_no_process() {
    stream::iter(recordings())
        .map(|(recording, expected)| async move { check(&recording, &expected).await })
        .buffer_unordered(6)
        .collect::<Vec<()>>()
        .await;
}

async fn check(recording: &Recording, expected: &Expected) {
    let name = &expected.name;
    let fake = Fake::replaying(recording);
    let mut request = request("say hello");
    if recording.ended_by_recorder {
        request.clocks.total = Some(Duration::from_millis(2500));
    }
    let outcome = complete(&fake, &request).await;
    let (usage, cost) = match &outcome {
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
