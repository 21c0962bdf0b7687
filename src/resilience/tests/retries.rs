use super::*;

#[tokio::test(start_paused = true)]
async fn a_first_answer_is_one_request_with_everything_set() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Answer(SOON));
    let answer = lab.call(&[link(&script, settings())]).await.unwrap();
    assert_eq!(
        answer,
        Answer {
            reply: super::answer(),
            usage: Usage {
                input_tokens: 10,
                output_tokens: 1,
                ..Usage::default()
            },
            cost: "0.000011".parse().unwrap(),
            cost_source: CostSource::Computed,
            requested_model: "lab/model".to_owned(),
            model: "lab/model".to_owned(),
            attempts: 1,
            failures: Vec::new(),
            fallbacks: Vec::new(),
            warnings: Vec::new(),
            prompt_tokens: Some(10),
        }
    );
    let seen = &script.seen()[0].request;
    assert_eq!(seen.model, "model");
    assert_eq!(seen.max_output_tokens, Some(100));
    assert_eq!(seen.clocks.total, Some(seconds(300)));
    assert!(!seen.idempotency_key.is_empty());
    lab.assert_nothing_is_taken();
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_reported_and_paid_for() {
    let lab = Lab::new();
    let script = Script::new("lab", |seen| match seen.n {
        0 => Act::Fail(SOON, fault(FaultKind::Server)),
        1 => Act::Say(
            &["half an answer"],
            fault(FaultKind::Stream(StreamFault::Truncated)),
        ),
        _ => Act::Answer(SOON),
    });
    let (events, mut receiver) = Events::channel("run");
    let answer = lab
        .call_as(&[link(&script, settings())], Delivery::Buffered, &events)
        .await
        .unwrap();
    assert_eq!(answer.attempts, 3);
    let classes: Vec<_> = answer
        .failures
        .iter()
        .map(|report| (report.n, report.class.as_str(), report.delay_ms.is_some()))
        .collect();
    assert_eq!(classes, [(1, "server", true), (2, "truncated", true)]);
    // The first never reached a model; the second is charged an estimate: prompt and text.
    assert_eq!(answer.cost_source, CostSource::Estimated);
    let second = answer.usage.input_tokens - 10;
    assert!(
        second > 0 && answer.usage.output_tokens > 1,
        "{:?}",
        answer.usage
    );
    assert_eq!(lab.spending().spent, answer.cost);
    assert_eq!(lab.spending().held, Usd::ZERO);
    let seen = script.seen();
    assert_eq!(
        seen[0].request.idempotency_key,
        seen[2].request.idempotency_key
    );
    assert_eq!(
        types(&drain(&mut receiver)),
        [
            "usage",
            "retry",
            "text.delta",
            "usage",
            "stream.reset",
            "retry",
            "text.delta",
            "usage"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_end_and_the_error_tells_all_of_them() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| {
        let mut error = fault(FaultKind::Overloaded);
        error.status = Some(529);
        error.request_id = Some("req_1".to_owned());
        Act::Fail(SOON, error)
    });
    let error = lab.call(&[link(&script, settings())]).await.unwrap_err();
    assert_eq!(script.requests(), 4);
    assert_eq!(error.kind, CallErrorKind::Provider(FaultKind::Overloaded));
    assert_eq!(error.message, "it failed, after 4 attempts");
    assert!(error.retryable);
    assert_eq!(error.status, Some(529));
    assert_eq!(error.attempts.len(), 4);
    assert_eq!(error.attempts[3].delay_ms, None);
    assert_eq!(error.attempts[3].request_id.as_deref(), Some("req_1"));
    assert!(lab.elapsed() <= seconds(8), "{:?}", lab.elapsed());
    assert_eq!(error.cost, Usd::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_help_is_asked_once() {
    for (kind, status) in [
        (FaultKind::Auth, 401),
        (FaultKind::Auth, 403),
        (FaultKind::Quota, 429),
        (FaultKind::ContextLength, 400),
        (FaultKind::ContentPolicy, 400),
        (FaultKind::BadRequest, 400),
        (FaultKind::NotFound, 404),
        (FaultKind::Protocol, 302),
    ] {
        let lab = Lab::new();
        let wanted = kind.clone();
        let script = Script::new("lab", move |_| {
            let mut error = told(kind.clone(), seconds(1));
            error.status = Some(status);
            error.should_retry = Some(true);
            Act::Fail(SOON, error)
        });
        let chain = [link(&script, settings())];
        let error = lab.call(&chain).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Provider(wanted.clone()));
        assert_eq!(script.requests(), 1, "{wanted:?}");
        assert!(lab.elapsed() < seconds(1), "{wanted:?}");
        assert!(!error.retryable);
        // A refused key and an empty account are not asked again by the next call either.
        let again = lab.call(&chain).await.unwrap_err();
        assert_eq!(again.kind, CallErrorKind::Provider(wanted.clone()));
        let stands = matches!(wanted, FaultKind::Auth | FaultKind::Quota);
        assert_eq!(script.requests(), if stands { 1 } else { 2 }, "{wanted:?}");
        // An account may be filled meanwhile; a key stays what it is, until it is reset.
        tokio::time::advance(seconds(301)).await;
        lab.call(&chain).await.unwrap_err();
        let stands = matches!(wanted, FaultKind::Auth);
        let before = script.requests();
        assert_eq!(before == 1, stands, "{wanted:?}");
        lab.resilience.reset();
        lab.call(&chain).await.unwrap_err();
        assert_eq!(script.requests(), before + 1, "{wanted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_rate_limit_fails_at_once_and_says_when() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| {
        Act::Fail(SOON, told(FaultKind::RateLimited, seconds(3600)))
    });
    let chain = [link(&script, settings())];
    let error = lab.call(&chain).await.unwrap_err();
    assert!(lab.elapsed() < seconds(1));
    assert_eq!(script.requests(), 1);
    assert_eq!(error.kind, CallErrorKind::Provider(FaultKind::RateLimited));
    assert_eq!(error.retry_after, Some(seconds(3600)));
    assert_eq!(error.attempts[0].note.as_deref(), Some("wait_too_long"));
    let hint = error.hint.unwrap();
    assert!(hint.starts_with("try again at "), "{hint}");
    // Everybody else knows it now.
    let error = lab.call(&chain).await.unwrap_err();
    assert!(lab.elapsed() < seconds(1));
    assert_eq!(script.requests(), 1);
    assert_eq!(error.kind, CallErrorKind::Provider(FaultKind::RateLimited));
    assert!(error.retryable && error.hint.unwrap().starts_with("try again at "));
    tokio::time::advance(seconds(3601)).await;
    lab.call(&chain).await.unwrap_err();
    assert_eq!(script.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_told_wait_is_waited_and_not_shortened() {
    for wait in [1, 20, 60] {
        let lab = Lab::new();
        let script = Script::new("lab", move |seen| match seen.n {
            0 => Act::Fail(SOON, told(FaultKind::RateLimited, seconds(wait))),
            1 => Act::Fail(SOON, told(FaultKind::Overloaded, seconds(wait))),
            _ => Act::Answer(SOON),
        });
        let (events, mut receiver) = Events::channel("run");
        lab.call_as(&[link(&script, settings())], Delivery::Buffered, &events)
            .await
            .unwrap();
        for gap in script.gaps(0) {
            let most = seconds(wait + 1) + Duration::from_millis(100);
            assert!((seconds(wait)..most).contains(&gap), "{gap:?}");
        }
        let told_by: Vec<_> = drain(&mut receiver)
            .into_iter()
            .filter_map(|kind| match kind {
                EventKind::Retry { told_by, .. } => Some(told_by),
                _ => None,
            })
            .collect();
        assert_eq!(told_by, ["header", "header"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_beyond_the_deadline_is_not_waited() {
    for (kind, wait) in [
        (FaultKind::RateLimited, 30),
        (FaultKind::Overloaded, 30),
        (FaultKind::RateLimited, 10),
    ] {
        let lab = Lab::new();
        let wanted = kind.clone();
        let script = Script::new("lab", move |_| {
            Act::Fail(SOON, told(kind.clone(), seconds(wait)))
        });
        let mut link = link(&script, settings());
        link.clocks.total = Some(seconds(10));
        let error = lab.call(&[link]).await.unwrap_err();
        assert!(lab.elapsed() < seconds(1));
        assert_eq!(error.kind, CallErrorKind::Provider(wanted));
        assert_eq!(error.attempts[0].note.as_deref(), Some("deadline"));
        assert_eq!(script.requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_an_attempt_and_its_cost_is_known() {
    let lab = Lab::new();
    for (act, total, most) in [
        (0, 5, seconds(5)),
        // One that does not heed its clock is cut.
        (1, 5, Duration::from_millis(5_500)),
    ] {
        let script = Script::new("lab", move |_| match act {
            0 => Act::Hang,
            _ => Act::Stall("well"),
        });
        let started = Instant::now();
        let mut link = link(&script, settings());
        link.clocks.total = Some(seconds(total));
        let error = lab.call(&[link]).await.unwrap_err();
        assert_eq!(started.elapsed(), most);
        assert_eq!(error.kind, CallErrorKind::Provider(FaultKind::Deadline));
        assert_eq!(error.attempts.len(), 1);
        assert_eq!(error.cost > Usd::ZERO, act == 1);
    }
    lab.assert_nothing_is_taken();
}

#[tokio::test(start_paused = true)]
async fn a_budget_refuses_before_anything_is_sent() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Answer(SOON));
    let chain = [link(&script, settings())];
    let mut context = context("solo");
    let caps = crate::costs::BudgetSettings {
        run_usd: Some("0.00001".parse().unwrap()),
        ..Default::default()
    };
    context.caps = Arc::new(crate::costs::Caps::new(&caps, None));
    let mut request = request("solo", Delivery::Buffered);
    let error = lab
        .resilience
        .call(&chain, &mut request, &context, &Events::nobody())
        .await
        .unwrap_err();
    assert!(matches!(error.kind, CallErrorKind::Budget(_)), "{error:?}");
    assert_eq!(script.requests(), 0);
    lab.assert_nothing_is_taken();
    let status = lab.resilience.status();
    assert_eq!(status.limits[0].admitted, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_watching_changes_nothing() {
    let mut answers = Vec::new();
    for watched in [true, false] {
        let lab = Lab::new();
        let script = Script::new("lab", |seen| match seen.n {
            0 => Act::Say(&["no"], fault(FaultKind::Stream(StreamFault::Idle))),
            _ => Act::Answer(SOON),
        });
        let (events, receiver) = Events::channel("run");
        if !watched {
            drop(receiver);
        }
        let answer = lab
            .call_as(&[link(&script, settings())], Delivery::Live, &events)
            .await
            .unwrap();
        answers.push((answer.reply, answer.usage, answer.cost, lab.spending()));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_is_up_asks_nobody() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Answer(SOON));
    let mut context = context("solo");
    context.deadline = Some(lab.started);
    let mut request = request("solo", Delivery::Buffered);
    let error = lab
        .resilience
        .call(
            &[link(&script, settings())],
            &mut request,
            &context,
            &Events::nobody(),
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Deadline);
    assert_eq!(
        (error.message.as_str(), error.hint.as_deref()),
        (
            "the time is up",
            Some("raise `--timeout` or `settings.timeout`")
        )
    );
    assert_eq!(script.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_key_somebody_may_log_in_meanwhile() {
    let lab = Lab::new();
    let script = Script::at("lab", "", |seen| match seen.n {
        0 => Act::Fail(SOON, fault(FaultKind::Auth)),
        _ => Act::Answer(SOON),
    });
    let chain = [link(&script, settings())];
    lab.call(&chain).await.unwrap_err();
    lab.call(&chain).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_what_for() {
    let lab = Lab::new();
    let script = Script::new("lab", |_| Act::Answer(seconds(1)));
    let reason = async |settings: EndpointSettings| {
        let chain = [link(&script, settings)];
        let (events, mut receiver) = Events::channel("run");
        let calls = (0..3).map(|_| lab.call_as(&chain, Delivery::Buffered, &events));
        for result in futures_util::future::join_all(calls).await {
            result.unwrap();
        }
        drain(&mut receiver)
            .into_iter()
            .filter_map(|kind| match kind {
                EventKind::Throttled {
                    reason, wait_ms, ..
                } => Some((reason, wait_ms)),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let one = EndpointSettings {
        max_concurrency: Some(1),
        ..settings()
    };
    let wait = ("one call in flight at a time".to_owned(), None);
    assert_eq!(reason(one).await, [wait.clone(), wait]);
    let two = EndpointSettings {
        requests_per_minute: Some(2),
        ..settings()
    };
    let told = reason(two).await;
    let minute = |wait: u64| ("limit of 2 requests a minute".to_owned(), Some(wait));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0], minute(told[0].1.unwrap()));
}
