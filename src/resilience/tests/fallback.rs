use serde_json::json;

use super::*;
use crate::message::ToolCall;
use crate::providers::ModelFacts;

fn always(name: &str, key: &str, error: ProviderError) -> Arc<Script> {
    Script::at(name, key, move |_| Act::Fail(SOON, error.clone()))
}

fn good(name: &str, key: &str) -> Arc<Script> {
    Script::at(name, key, |_| Act::Answer(SOON))
}

fn windowed(script: &Arc<Script>, window: Option<u64>) -> Link {
    Link {
        facts: Some(ModelFacts {
            max_input_tokens: window,
            ..ModelFacts::default()
        }),
        ..link(script, settings())
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_model_answers_on_the_classes_that_allow_it() {
    for (kind, told_wait, first_requests, answers) in [
        (FaultKind::Overloaded, None, 4, true),
        (FaultKind::Server, None, 4, true),
        (FaultKind::Network { permanent: false }, None, 4, true),
        (FaultKind::Network { permanent: true }, None, 1, true),
        (FaultKind::Stream(StreamFault::Empty), None, 4, true),
        (FaultKind::RateLimited, Some(61), 1, true),
        (FaultKind::RateLimited, Some(1), 4, true),
        (FaultKind::Quota, None, 1, true),
        (FaultKind::Auth, None, 1, true),
        (FaultKind::NotFound, None, 1, true),
        (FaultKind::Unavailable, None, 1, true),
        (FaultKind::ContextLength, None, 1, false),
        (FaultKind::BadRequest, None, 1, false),
        (FaultKind::ContentPolicy, None, 1, false),
        (FaultKind::Protocol, None, 1, false),
    ] {
        let lab = Lab::new();
        let error = ProviderError {
            retry_after: told_wait.map(seconds),
            ..fault(kind.clone())
        };
        let first = always("lab", "a", error);
        let second = good("other", "b");
        let chain = [link(&first, settings()), link(&second, settings())];
        let (events, mut receiver) = Events::channel("run");
        let result = lab.call_as(&chain, Delivery::Buffered, &events).await;
        assert_eq!(first.requests(), first_requests, "{kind:?}");
        assert_eq!(result.is_ok(), answers, "{kind:?}");
        let told = drain(&mut receiver)
            .into_iter()
            .find(|kind| matches!(kind, EventKind::Fallback { .. }));
        let Ok(answer) = result else {
            assert_eq!(told, None);
            continue;
        };
        let class = kind.class().to_owned();
        assert_eq!(
            told,
            Some(EventKind::Fallback {
                from: "lab/model".to_owned(),
                to: "other/model".to_owned(),
                class: class.clone(),
            })
        );
        assert_eq!(answer.requested_model, "lab/model");
        assert_eq!(answer.model, "other/model");
        assert_eq!(answer.attempts as usize, first_requests + 1);
        assert_eq!(answer.failures.len(), first_requests);
        assert_eq!(
            answer.fallbacks,
            [FallbackReport {
                from: "lab/model".to_owned(),
                to: "other/model".to_owned(),
                class,
                message: "it failed".to_owned(),
            }]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_window_goes_to_a_larger_one_only() {
    for (own, other, answers) in [
        (Some(8_000), Some(200_000), true),
        (Some(8_000), Some(8_000), false),
        (Some(8_000), Some(4_000), false),
        (Some(8_000), None, false),
        (None, Some(200_000), true),
    ] {
        let lab = Lab::new();
        let first = always("lab", "a", fault(FaultKind::ContextLength));
        let second = good("other", "b");
        let chain = [windowed(&first, own), windowed(&second, other)];
        let result = lab.call(&chain).await;
        assert_eq!(result.is_ok(), answers, "{own:?} {other:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_account_is_not_asked_through_another_model_or_door() {
    let lab = Lab::new();
    let first = always("lab", "same", fault(FaultKind::Quota));
    let door = good("proxy", "same");
    let other = good("other", "own");
    let second_model = Link {
        model: "small".to_owned(),
        ..link(&first, settings())
    };
    let chain = [
        link(&first, settings()),
        second_model,
        link(&door, settings()),
        link(&other, settings()),
    ];
    let answer = lab.call(&chain).await.unwrap();
    assert_eq!(answer.model, "other/model");
    assert_eq!((first.requests(), door.requests()), (1, 0));
    // The next call knows it already and asks nobody in vain.
    let answer = lab.call(&chain).await.unwrap();
    assert_eq!((answer.attempts, first.requests()), (1, 1));
    assert_eq!(answer.fallbacks[0].class, "quota");
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_not_waited_for_when_another_model_can_answer() {
    let lab = Lab::new();
    let first = always("lab", "a", dead_server());
    let second = good("other", "b");
    let chain = [link(&first, settings()), link(&second, settings())];
    lab.call(&chain).await.unwrap();
    lab.call(&chain).await.unwrap();
    let started = Instant::now();
    let answer = lab.call(&chain).await.unwrap();
    assert!(started.elapsed() < seconds(1));
    assert_eq!(answer.fallbacks[0].class, "circuit_open");
    assert_eq!(answer.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn each_model_is_asked_once_and_no_more_than_five() {
    let lab = Lab::new();
    let scripts: Vec<_> = (0..7)
        .map(|index| {
            let name = format!("lab{index}");
            always(&name, &name, fault(FaultKind::NotFound))
        })
        .collect();
    let mut chain: Vec<_> = scripts
        .iter()
        .map(|script| link(script, settings()))
        .collect();
    chain.insert(1, chain[0].clone());
    let error = lab.call(&chain).await.unwrap_err();
    let requests: Vec<_> = scripts.iter().map(|script| script.requests()).collect();
    assert_eq!(requests, [1, 1, 1, 1, 0, 0, 0]);
    assert_eq!(error.provider, "lab3");
    assert_eq!(error.attempts.len(), 4);
    assert_eq!(error.fallbacks.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_is_shared_and_waits_count() {
    let lab = Lab::new();
    let first = always("lab", "a", told(FaultKind::Overloaded, seconds(15)));
    let second = Script::at("other", "b", |_| Act::Hang);
    let mut chain = [link(&first, settings()), link(&second, settings())];
    chain[0].clocks.total = Some(seconds(40));
    chain[1].clocks.total = Some(seconds(1000));
    let error = lab.call(&chain).await.unwrap_err();
    assert_eq!(lab.elapsed(), seconds(40));
    assert_eq!(error.kind, CallErrorKind::Provider(FaultKind::Deadline));
    assert!(second.seen()[0].request.clocks.total.unwrap() < seconds(12));
}

#[tokio::test(start_paused = true)]
async fn what_only_the_first_vendor_understands_is_dropped_for_the_next_and_kept_for_the_first() {
    let lab = Lab::new();
    let first = always("lab", "a", fault(FaultKind::NotFound));
    let second = good("other", "b");
    let chain = [link(&first, settings()), link(&second, settings())];
    let said = Assistant {
        text: "hm".to_owned(),
        calls: vec![ToolCall {
            id: "1".to_owned(),
            name: "read".to_owned(),
            arguments: "{}".to_owned(),
            malformed: false,
            extra: json!({"thought_signature": "x"}),
        }],
        vendor_extra: json!(["signature"]),
        vendor: "lab".to_owned(),
        ..Assistant::default()
    };
    let mut request = request("solo", Delivery::Buffered);
    request.messages.push(Message::Assistant(said.clone()));
    let before = request.messages.clone();
    lab.resilience
        .call(&chain, &mut request, &context("solo"), &Events::nobody())
        .await
        .unwrap();
    assert_eq!(request.messages, before, "the conversation is not touched");
    assert_eq!(first.seen()[0].request.messages, before);
    let mut plain = said;
    plain.vendor_extra = json!(null);
    plain.vendor.clear();
    plain.calls[0].extra = json!(null);
    assert_eq!(
        second.seen()[0].request.messages[1],
        Message::Assistant(plain)
    );
}

#[tokio::test(start_paused = true)]
async fn who_stands_behind_one_that_waits_for_a_breaker_need_not_wait_with_him() {
    let lab = Lab::new();
    let first = Script::new("lab", |seen| match seen.n {
        0 => Act::Fail(seconds(1), dead_server()),
        _ => Act::Answer(SOON),
    });
    let second = good("other", "b");
    let touchy = EndpointSettings {
        max_retries: 0,
        max_concurrency: Some(1),
        breaker_threshold: 1,
        ..settings()
    };
    let alone = [link(&first, touchy.clone())];
    let with_another = [link(&first, touchy), link(&second, settings())];
    let opens_it = lab.call(&alone);
    let waits_for_it = lab.call(&alone);
    let need_not_wait = async {
        let answer = lab.call(&with_another).await.unwrap();
        (answer.model, lab.elapsed())
    };
    let (failed, waited, other) = tokio::join!(opens_it, waits_for_it, need_not_wait);
    failed.unwrap_err();
    waited.unwrap();
    assert!(lab.elapsed() > seconds(24));
    assert_eq!(other, ("other/model".to_owned(), seconds(1) + SOON));
}

#[tokio::test(start_paused = true)]
async fn a_provider_with_turns_of_its_own_is_told_of_its_next_model_and_kept_within_the_budget() {
    let named = |script: &Arc<Script>, model: &str, times: u64| {
        let plain = link(script, settings());
        let dear = PriceOverride {
            input: PRICE.input.times(times),
            output: PRICE.output.times(times),
            ..PRICE
        };
        Link {
            model: model.to_owned(),
            price: Some(dear),
            ..plain
        }
    };
    let mut worst = Vec::new();
    for (behind, expected) in [
        (vec![("cli", "opus")], Some("opus")),
        (vec![("cli", "opus"), ("lab", "m")], Some("opus")),
        (vec![], None),
        (vec![("cli", "sonnet")], None),
        (vec![("lab", "opus"), ("cli", "opus")], None),
    ] {
        let cli = good("cli", "a");
        let mut chain = vec![named(&cli, "sonnet", 1)];
        for (name, model) in behind {
            let script = if name == "cli" {
                Arc::clone(&cli)
            } else {
                good(name, "b")
            };
            chain.push(named(&script, model, 3));
        }
        let lab = Lab::new();
        let mut context = context("solo");
        let caps = crate::costs::BudgetSettings {
            run_usd: Some("10".parse().unwrap()),
            ..Default::default()
        };
        context.caps = Arc::new(crate::costs::Caps::new(&caps, None));
        let mut request = request("solo", Delivery::Buffered);
        let nobody = Events::nobody();
        let call = lab.resilience.call(&chain, &mut request, &context, &nobody);
        call.await.unwrap();
        let own = &cli.seen()[0].request.own_loop;
        assert_eq!(own.fallback_model.as_deref(), expected);
        assert_eq!(own.budget, Some("10".parse().unwrap()));
        worst.push(own.worst_reply);
    }
    assert!(worst[2] > Usd::ZERO);
    let dear = worst[2].times(3);
    assert_eq!(worst, [dear, dear, worst[2], worst[2], worst[2]]);
}
