use super::*;

const NONE: &[&str] = &[];

/// The words that were handed out and not struck.
fn shown(kinds: &[EventKind]) -> String {
    kinds.iter().fold(String::new(), |mut text, kind| {
        match kind {
            EventKind::TextDelta { text: piece } => text.push_str(piece),
            EventKind::StreamReset => text.clear(),
            _ => {}
        }
        text
    })
}

/// A stream that breaks after some pieces, for each who takes the answer: attempts, resets, what is
/// shown in the end.
#[tokio::test(start_paused = true)]
async fn a_broken_stream_is_asked_again_as_far_as_the_reader_can_bear() {
    for (delivery, pieces, breaks, expected) in [
        (Delivery::Buffered, NONE, 3, Some((4, 0))),
        (Delivery::Live, NONE, 3, Some((4, 0))),
        (Delivery::Raw, NONE, 3, Some((4, 0))),
        (Delivery::Buffered, &["a"], 3, Some((4, 3))),
        (Delivery::Live, &["a"], 1, Some((2, 1))),
        (Delivery::Live, &["a", "b", "c"], 1, Some((2, 1))),
        (Delivery::Live, &["a"], 2, None),
        (Delivery::Raw, &["a"], 1, None),
        (Delivery::Raw, &["a", "b", "c"], 1, None),
    ] {
        let name = format!("{delivery:?} {pieces:?} {breaks}");
        let lab = Lab::new();
        let script = Script::new("lab", move |seen| {
            if seen.n < breaks {
                Act::Say(pieces, fault(FaultKind::Stream(StreamFault::Truncated)))
            } else {
                Act::Answer(SOON)
            }
        });
        let (events, mut receiver) = Events::channel("run");
        let result = lab
            .call_as(&[link(&script, settings())], delivery, &events)
            .await;
        let kinds = drain(&mut receiver);
        let resets = kinds
            .iter()
            .filter(|kind| **kind == EventKind::StreamReset)
            .count();
        if let Some((attempts, expected_resets)) = expected {
            let answer = result.unwrap();
            assert_eq!(
                (answer.attempts, resets),
                (attempts, expected_resets),
                "{name}"
            );
            assert_eq!(shown(&kinds), "yes", "{name}");
        } else {
            let error = result.unwrap_err();
            assert_eq!(
                error.kind,
                CallErrorKind::Provider(FaultKind::Stream(StreamFault::Truncated))
            );
            assert_eq!(error.partial.text, pieces.concat(), "{name}");
            assert_eq!(shown(&kinds), pieces.concat(), "what is out stays out");
            assert_eq!(
                error.attempts.last().unwrap().note.as_deref(),
                Some("committed")
            );
            assert!(error.cost > Usd::ZERO, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_model_answers_only_if_what_is_shown_can_be_struck() {
    let broken = |_: &Seen| {
        Act::Say(
            &["a"],
            ProviderError {
                should_retry: Some(false),
                ..fault(FaultKind::Stream(StreamFault::Idle))
            },
        )
    };
    for (delivery, answers) in [
        (Delivery::Buffered, true),
        (Delivery::Live, true),
        (Delivery::Raw, false),
    ] {
        let lab = Lab::new();
        let first = Script::new("lab", broken);
        let second = Script::new("other", |_| Act::Answer(SOON));
        let chain = [link(&first, settings()), link(&second, settings())];
        let (events, mut receiver) = Events::channel("run");
        let result = lab.call_as(&chain, delivery, &events).await;
        let kinds = drain(&mut receiver);
        assert_eq!(result.is_ok(), answers, "{delivery:?}");
        assert_eq!(shown(&kinds), if answers { "yes" } else { "a" });
        assert_eq!(second.requests(), usize::from(answers));
    }
}
