use super::*;

/// What cancelling must leave as it was.
async fn assert_as_before(lab: &Lab, name: &str, held: bool) {
    lab.assert_nothing_is_taken();
    assert_eq!(lab.spending().held > Usd::ZERO, held, "{name}");
    // The next call goes through as if nothing had been.
    tokio::time::advance(seconds(200)).await;
    let script = Script::new("lab", |_| Act::Answer(SOON));
    let started = Instant::now();
    lab.call(&[link(&script, settings())])
        .await
        .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(started.elapsed() < seconds(1), "{name}");
}

/// Calls until `after` has passed, then drops the call.
async fn drop_after(lab: &Lab, chain: &[Link], after: Duration) {
    let cut = tokio::time::timeout(after, lab.call(chain)).await;
    assert!(cut.is_err(), "it ended by itself: {cut:?}");
}

#[tokio::test(start_paused = true)]
async fn while_the_server_thinks() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Hang);
    drop_after(&lab, &[link(&script, settings())], seconds(3)).await;
    // Nobody knows whether the model worked: the money stays held.
    assert_as_before(&lab, "thinking", true).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_an_answer() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Stall("half an answer"));
    drop_after(&lab, &[link(&script, settings())], seconds(3)).await;
    assert!(lab.spending().spent > Usd::ZERO, "what came is paid for");
    assert_as_before(&lab, "answering", false).await;
}

#[tokio::test(start_paused = true)]
async fn between_two_attempts() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| {
        Act::Fail(SOON, told(FaultKind::Overloaded, seconds(9)))
    });
    drop_after(&lab, &[link(&script, settings())], seconds(3)).await;
    assert_as_before(&lab, "backoff", false).await;
}

#[tokio::test(start_paused = true)]
async fn while_a_rate_limit_cools_down() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| {
        Act::Fail(SOON, told(FaultKind::RateLimited, seconds(9)))
    });
    drop_after(&lab, &[link(&script, settings())], seconds(3)).await;
    assert_as_before(&lab, "cooling", false).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_line_for_a_window() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Answer(SOON));
    let one = EndpointSettings {
        requests_per_minute: Some(1),
        ..settings()
    };
    let chain = [link(&script, one)];
    lab.call(&chain).await.unwrap();
    drop_after(&lab, &chain, seconds(3)).await;
    drop_after(&lab, &chain, seconds(3)).await;
    let used = lab.resilience.status().limits[0].requests_per_minute;
    assert_eq!(used, Some(Used { used: 1, limit: 1 }));
    lab.call(&chain).await.unwrap();
    assert!((seconds(60)..seconds(61)).contains(&lab.elapsed()));
    assert_as_before(&lab, "window", false).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_line_for_a_permit_the_next_one_gets_it() {
    let lab = Lab::new();
    let script = Script::new("lab", |seen| match seen.n {
        0 => Act::Answer(seconds(10)),
        _ => Act::Answer(SOON),
    });
    let one = EndpointSettings {
        max_concurrency: Some(1),
        ..settings()
    };
    let chain = [link(&script, one)];
    let first = lab.call(&chain);
    let second = drop_after(&lab, &chain, seconds(3));
    let third = lab.call(&chain);
    let (first, (), third) = tokio::join!(first, second, third);
    first.unwrap();
    third.unwrap();
    assert_eq!(lab.elapsed(), seconds(10) + SOON);
    assert_as_before(&lab, "permit", false).await;
}

#[tokio::test(start_paused = true)]
async fn in_the_half_open_state_the_permit_is_given_back() {
    let lab = Lab::new();
    let script = Script::new("lab", |seen| match seen.n {
        0..=4 => Act::Fail(SOON, dead_server()),
        5 => Act::Hang,
        _ => Act::Answer(SOON),
    });
    let once = EndpointSettings {
        max_retries: 0,
        ..settings()
    };
    let chain = [link(&script, once)];
    for _ in 0..5 {
        lab.call(&chain).await.unwrap_err();
    }
    // Waits for the breaker: nothing is taken.
    drop_after(&lab, &chain, seconds(5)).await;
    assert_eq!(script.requests(), 5);
    tokio::time::advance(seconds(40)).await;
    // Tries, and is cancelled while another one waits for what comes of it.
    let (cut, waited) = tokio::join!(
        tokio::time::timeout(seconds(7), lab.call(&chain)),
        lab.call(&chain)
    );
    assert!(cut.is_err());
    waited.unwrap();
    assert_eq!(script.gaps(5), [seconds(7)]);
    assert_eq!(lab.resilience.status().breakers[0].state, "half_open");
    lab.call(&chain).await.unwrap();
    assert_eq!(lab.resilience.status().breakers[0].state, "closed");
    assert_as_before(&lab, "half-open", true).await;
}

#[tokio::test(start_paused = true)]
async fn when_a_hundred_are_dropped_at_any_time_nothing_is_left() {
    let mut dice = fastrand::Rng::with_seed(11);
    for round in 0..20 {
        let lab = Lab::new();
        let script = Script::new("lab", |seen| match seen.n % 5 {
            0 => Act::Fail(SOON, told(FaultKind::RateLimited, seconds(2))),
            1 => Act::Fail(seconds(1), dead_server()),
            2 => Act::Stall("well"),
            _ => Act::Answer(seconds(1)),
        });
        let tight = EndpointSettings {
            requests_per_minute: Some(30),
            max_concurrency: Some(4),
            tokens_per_minute: Some(3_000),
            ..settings()
        };
        let chain = [link(&script, tight)];
        let mut set = JoinSet::new();
        for agent in 0..100 {
            let (resilience, chain) = (Arc::clone(&lab.resilience), chain.clone());
            let patience = Duration::from_millis(dice.u64(1..40_000));
            set.spawn(async move {
                let name = format!("agent{agent}");
                let (mut request, context) = (request(&name, Delivery::Buffered), context(&name));
                let events = Events::nobody();
                let call = resilience.call(&chain, &mut request, &context, &events);
                tokio::time::timeout(patience, call).await.is_ok()
            });
        }
        set.join_all().await;
        lab.assert_nothing_is_taken();
        let breakers = lab.resilience.status().breakers;
        assert!(
            breakers
                .iter()
                .all(|breaker| breaker.state != "half_open" || round < 20)
        );
        let good = Script::new("lab", |_| Act::Answer(SOON));
        tokio::time::advance(seconds(200)).await;
        for _ in 0..3 {
            lab.call(&[link(&good, settings())]).await.unwrap();
        }
        lab.assert_nothing_is_taken();
        assert!(
            lab.resilience
                .status()
                .breakers
                .iter()
                .all(|breaker| breaker.state == "closed")
        );
    }
}
