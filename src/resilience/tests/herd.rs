use super::*;

fn limited(per_minute: u32) -> EndpointSettings {
    EndpointSettings {
        requests_per_minute: Some(per_minute),
        ..settings()
    }
}

/// A link without a deadline of its own.
fn unhurried(script: &Arc<Script>, settings: EndpointSettings) -> Link {
    let mut link = link(script, settings);
    link.clocks.total = None;
    link
}

fn all_ok(results: &[Ended]) {
    for (agent, _, result) in results {
        assert!(result.is_ok(), "agent {agent}: {result:?}");
    }
}

fn agents(script: &Script) -> Vec<String> {
    let seen = script.seen();
    seen.iter().map(|seen| seen.agent.to_string()).collect()
}

fn in_order(count: usize) -> Vec<String> {
    (0..count).map(|agent| format!("agent{agent}")).collect()
}

#[tokio::test(start_paused = true)]
async fn fifty_agents_share_a_limit_first_come_first_served() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Answer(seconds(1)));
    let results = lab.herd(50, &[unhurried(&script, limited(10))], None).await;
    all_ok(&results);
    assert_eq!(agents(&script), in_order(50));
    let seen = script.seen();
    for (index, request) in seen.iter().enumerate() {
        let minute = seen[..=index]
            .iter()
            .filter(|earlier| request.at - earlier.at < seconds(60));
        assert!(minute.count() <= 10);
    }
    // Four full minutes for what does not fit the first.
    assert!(
        (seconds(240)..seconds(243)).contains(&lab.elapsed()),
        "{:?}",
        lab.elapsed()
    );
    let status = lab.resilience.status();
    let limits = &status.limits[0];
    assert_eq!(
        (limits.admitted, limits.waited, limits.rejected),
        (50, 40, 0)
    );
    assert!(limits.waited_s > 40.0 * 60.0);
    lab.assert_nothing_is_taken();
}

#[tokio::test(start_paused = true)]
async fn who_cannot_go_in_time_is_told_at_once() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Answer(seconds(1)));
    let chain = [unhurried(&script, limited(10))];
    let results = lab.herd(50, &chain, Some(seconds(100))).await;
    let (gone, late): (Vec<_>, Vec<_>) =
        results.into_iter().partition(|(.., result)| result.is_ok());
    assert_eq!((gone.len(), late.len()), (20, 30));
    for (agent, when, result) in late {
        let error = result.unwrap_err();
        assert!(
            agent >= 20 && when < seconds(1),
            "agent {agent} after {when:?}"
        );
        assert_eq!(error.kind, CallErrorKind::RateLimit);
        assert_eq!(
            error.message,
            "the call cannot go before its time is up: limit of 10 requests a minute"
        );
        assert!(error.retryable && error.retry_after.unwrap() >= seconds(100));
        let hint = error.hint.unwrap();
        assert!(
            hint.contains("`rate_limit_per_minute`, or try again at "),
            "{hint}"
        );
    }
    assert_eq!(lab.resilience.status().limits[0].rejected, 30);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_met_by_fifty_at_once_is_left_one_by_one_in_order() {
    let lab = Lab::new();
    let script = Script::new("lab", |seen| {
        if seen.n < 50 {
            Act::Fail(SOON, told(FaultKind::RateLimited, seconds(2)))
        } else {
            Act::Answer(Duration::from_millis(300))
        }
    });
    let results = lab.herd(50, &[link(&script, settings())], None).await;
    all_ok(&results);
    let seen = script.seen();
    assert_eq!(seen.len(), 100);
    assert_eq!(agents(&script)[50..], in_order(50));
    assert!(seen[50].at - seen[49].at >= seconds(2));
    let gaps = script.gaps(50);
    assert_eq!(
        gaps[0],
        Duration::from_millis(320),
        "the first one tries alone"
    );
    assert!(
        gaps.iter().all(|gap| *gap >= Duration::from_millis(20)),
        "{gaps:?}"
    );
    assert!(lab.elapsed() < seconds(5));
    assert_eq!(lab.resilience.status().limits[0].retry_budget, 100);
}

#[tokio::test(start_paused = true)]
async fn one_rate_limit_holds_all_who_come_and_order_is_kept() {
    let lab = Lab::new();
    let script = Script::new("lab", |seen| match seen.n {
        0 => Act::Fail(SOON, told(FaultKind::RateLimited, seconds(2))),
        _ => Act::Answer(SOON),
    });
    let narrow = EndpointSettings {
        max_concurrency: Some(1),
        ..settings()
    };
    let results = lab.herd(50, &[link(&script, narrow)], None).await;
    all_ok(&results);
    // The first comes back to its own place, before all who have not been served.
    assert_eq!(agents(&script)[1..], in_order(50));
    assert!(
        script
            .gaps(1)
            .iter()
            .all(|gap| *gap >= Duration::from_millis(20))
    );
}

/// Attempts that this many calls may make at an endpoint that never answers.
fn allowed(calls: usize) -> usize {
    calls + calls / 4 + 20
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_is_not_flooded_and_all_calls_end_in_time() {
    for (max_concurrency, breaker) in [(None, true), (Some(16), true), (None, false)] {
        let lab = Lab::new();
        let script = Script::new("lab", |_| Act::Fail(SOON, dead_server()));
        let settings = EndpointSettings {
            max_concurrency,
            breaker,
            ..settings()
        };
        let results = lab.herd(100, &[link(&script, settings)], None).await;
        assert!(results.iter().all(|(.., result)| result.is_err()));
        let requests = script.requests();
        assert!(
            requests <= allowed(100),
            "{requests} with {max_concurrency:?} {breaker}"
        );
        assert!(lab.elapsed() <= seconds(300), "{:?}", lab.elapsed());
        // Retries never come in a bunch.
        let first_tries = 100.min(max_concurrency.unwrap_or(100)) as usize;
        let gaps = script.gaps(first_tries);
        assert!(
            gaps.iter().all(|gap| *gap >= Duration::from_millis(5)),
            "{gaps:?}"
        );
        lab.assert_nothing_is_taken();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_recovers_serves_everybody_in_a_minute() {
    for max_concurrency in [None, Some(16)] {
        let lab = Lab::new();
        let began = Instant::now();
        let script = Script::new("lab", move |seen| {
            if seen.at - began < seconds(10) {
                Act::Fail(SOON, dead_server())
            } else {
                Act::Answer(seconds(2))
            }
        });
        let settings = EndpointSettings {
            max_concurrency,
            ..settings()
        };
        let chain = [link(&script, settings)];
        let results = lab.herd(100, &chain, Some(seconds(60))).await;
        all_ok(&results);
        assert!(lab.elapsed() < seconds(60), "{:?}", lab.elapsed());
        let first_tries = max_concurrency.unwrap_or(100) as usize;
        let gaps = script.gaps(first_tries);
        assert!(
            gaps.iter().all(|gap| *gap >= Duration::from_millis(5)),
            "{gaps:?}"
        );
        // Each call that had failed is made once more, and nobody tries in vain more than once.
        assert!(
            script.requests() <= 100 + first_tries + 2,
            "{}",
            script.requests()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn only_one_call_tries_a_half_open_endpoint() {
    let lab = Lab::new();
    let script = Script::new("lab", |seen| match seen.n {
        0..=4 => Act::Fail(SOON, dead_server()),
        // No sign of life for three seconds.
        _ => Act::Answer(seconds(3)),
    });
    let once = EndpointSettings {
        max_retries: 0,
        ..settings()
    };
    let chain = [link(&script, once)];
    for _ in 0..5 {
        lab.call(&chain).await.unwrap_err();
    }
    let opened = Instant::now();
    let results = lab.herd(100, &chain, None).await;
    all_ok(&results);
    let seen = script.seen();
    assert!(seen[5].at - opened >= seconds(24));
    let while_it_tries = seen[5..]
        .iter()
        .filter(|request| request.at < seen[5].at + seconds(3));
    assert_eq!(while_it_tries.count(), 1);
    let next = seen[5..]
        .iter()
        .filter(|request| request.at < seen[5].at + seconds(6));
    assert_eq!(next.count(), 3, "then two");
    assert_eq!(script.requests(), 105);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_wait_for_a_breaker_fails_at_once_and_says_when() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Fail(SOON, fault(FaultKind::Server)));
    let once = EndpointSettings {
        max_retries: 0,
        breaker_threshold: 2,
        ..settings()
    };
    let mut link = link(&script, once);
    link.clocks.total = Some(seconds(20));
    let chain = [link];
    for _ in 0..2 {
        lab.call(&chain).await.unwrap_err();
    }
    let started = Instant::now();
    let error = lab.call(&chain).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(error.kind, CallErrorKind::CircuitOpen);
    assert_eq!(
        error.message,
        "`lab` failed too often and is left alone for a while; the last time: it failed"
    );
    assert!(error.retry_after.unwrap() >= seconds(23) && error.retryable);
    assert!(error.hint.unwrap().starts_with("try again at "));
    assert_eq!(script.requests(), 2);
    let breaker = &lab.resilience.status().breakers[0];
    assert_eq!(
        (breaker.state, breaker.rejected, breaker.failures),
        ("open", 1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_wait_without_a_timer_each_passing_costs_little() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Answer(SOON));
    let began = std::time::SystemTime::now();
    let narrow = EndpointSettings {
        max_concurrency: Some(2),
        ..settings()
    };
    let results = lab.herd(1000, &[unhurried(&script, narrow)], None).await;
    all_ok(&results);
    assert_eq!(agents(&script), in_order(1000));
    assert_eq!(lab.elapsed(), seconds(5));
    assert!(began.elapsed().unwrap() < seconds(20));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_seat_is_none_of_the_calls_time_but_of_the_runs() {
    for (deadline, answered) in [(None, 4), (Some(seconds(500)), 2)] {
        let cli = Script::new("cli", |_| Act::Answer(seconds(200)));
        let mut chain = [link(&cli, settings())];
        chain[0].clocks.total = Some(seconds(300));
        let lab = Lab::new();
        let ended = lab.herd(4, &chain, deadline).await;
        let (good, bad): (Vec<_>, Vec<_>) = ended.into_iter().partition(|(_, _, end)| end.is_ok());
        assert_eq!(good.len(), answered);
        for (_, at, end) in bad {
            // One was under way, the other had no seat.
            assert!(at <= seconds(510), "{at:?}");
            assert_eq!(end.unwrap_err().kind.class(), "deadline");
        }
        assert_eq!(cli.seats.available_permits(), 1);
        lab.assert_nothing_is_taken();
    }
}
