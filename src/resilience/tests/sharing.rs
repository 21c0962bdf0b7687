use super::*;
use crate::store::Durability;

/// Two processes on one machine, as far as limits are concerned.
pub(super) struct Two {
    store: Store,
    pub(super) labs: [Lab; 2],
}

pub(super) fn two() -> Two {
    let store = Store::in_memory().unwrap();
    let lab = || {
        let ledger = Ledger::new(store.clone(), Arc::new(Prices::built_in()));
        Lab {
            resilience: Arc::new(Resilience::neighbour(ledger.clone())),
            ledger,
            started: Instant::now(),
        }
    };
    let labs = [lab(), lab()];
    Two { store, labs }
}

fn limited(per_minute: u32) -> EndpointSettings {
    EndpointSettings {
        requests_per_minute: Some(per_minute),
        ..settings()
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_one_limit() {
    let Two { labs, .. } = two();
    let script = Script::new("lab", |_| Act::Answer(seconds(1)));
    let mut link = link(&script, limited(10));
    link.clocks.total = None;
    let chain = [link];
    let (first, second) = tokio::join!(
        labs[0].herd(15, &chain, None),
        labs[1].herd(15, &chain, None)
    );
    for (agent, _, result) in first.into_iter().chain(second) {
        result.unwrap_or_else(|error| panic!("agent {agent}: {error:?}"));
    }
    let seen = script.seen();
    assert_eq!(seen.len(), 30);
    for (index, request) in seen.iter().enumerate() {
        let minute = seen[..=index]
            .iter()
            .filter(|earlier| request.at - earlier.at < seconds(60));
        assert!(minute.count() <= 10, "request {index}");
    }
    assert!(labs[0].elapsed() < seconds(122), "{:?}", labs[0].elapsed());
    // Both tell what both have used.
    for lab in &labs {
        let used = lab.resilience.status().limits[0].requests_per_minute;
        assert_eq!(
            used,
            Some(Used {
                used: 10,
                limit: 10
            })
        );
        lab.assert_nothing_is_taken();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_before_it_is_sent_is_given_back_to_all() {
    let Two { labs, .. } = two();
    let script = Script::new("lab", |_| Act::Answer(SOON));
    let chain = [link(&script, limited(2))];
    // Refused by its budget after its turn had come.
    let mut poor = context("poor");
    let caps = crate::costs::BudgetSettings {
        run_usd: Some("0.00001".parse().unwrap()),
        ..Default::default()
    };
    poor.caps = Arc::new(crate::costs::Caps::new(&caps, None));
    for _ in 0..5 {
        let mut request = request("poor", Delivery::Buffered);
        labs[0]
            .resilience
            .call(&chain, &mut request, &poor, &Events::nobody())
            .await
            .unwrap_err();
    }
    labs[1].call(&chain).await.unwrap();
    labs[0].call(&chain).await.unwrap();
    assert!(labs[0].elapsed() < seconds(1));
    labs[1].call(&chain).await.unwrap();
    assert!(labs[0].elapsed() > seconds(59));
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_one_cool_down() {
    for settings in [settings(), limited(1000)] {
        let Two { labs, .. } = two();
        let script = Script::new("lab", |seen| match seen.n {
            0 => Act::Fail(SOON, told(FaultKind::RateLimited, seconds(20))),
            _ => Act::Answer(SOON),
        });
        let chain = [link(&script, settings)];
        let first = async { labs[0].call(&chain).await.unwrap() };
        let second = async {
            sleep(seconds(2)).await;
            labs[1].call(&chain).await.unwrap()
        };
        tokio::join!(first, second);
        let gaps = script.gaps(0);
        assert!(gaps[0] >= seconds(20), "{gaps:?}");
        assert!(labs[0].elapsed() < seconds(24), "{:?}", labs[0].elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_rate_limit_that_another_process_met_is_told_without_a_request() {
    let Two { labs, .. } = two();
    let script = Script::new("lab", |_| {
        Act::Fail(SOON, told(FaultKind::RateLimited, seconds(1800)))
    });
    let chain = [link(&script, settings())];
    labs[0].call(&chain).await.unwrap_err();
    let error = labs[1].call(&chain).await.unwrap_err();
    assert_eq!(script.requests(), 1);
    assert_eq!(error.kind, CallErrorKind::Provider(FaultKind::RateLimited));
    assert!(error.hint.unwrap().starts_with("try again at "));
    assert!(labs[1].elapsed() < seconds(1));
}

#[tokio::test(start_paused = true)]
async fn two_processes_share_one_breaker_and_one_tries_for_both() {
    for settings in [settings(), limited(1000)] {
        let Two { labs, .. } = two();
        let script = Script::new("lab", |seen| match seen.n {
            0..=4 => Act::Fail(SOON, dead_server()),
            _ => Act::Answer(seconds(1)),
        });
        let once = EndpointSettings {
            max_retries: 0,
            ..settings.clone()
        };
        let chain = [link(&script, once)];
        for _ in 0..5 {
            labs[0].call(&chain).await.unwrap_err();
        }
        let opened = labs[0].elapsed();
        let status = labs[1].resilience.status();
        assert_eq!(status.breakers.len(), 1, "{status:?}");
        assert_eq!(
            (status.breakers[0].name.as_str(), status.breakers[0].state),
            ("lab", "open")
        );
        let (first, second) =
            tokio::join!(labs[0].herd(5, &chain, None), labs[1].herd(5, &chain, None));
        assert!(
            first
                .iter()
                .chain(&second)
                .all(|(.., result)| result.is_ok())
        );
        let seen = script.seen();
        assert!(seen[5].at - labs[0].started >= opened + seconds(23));
        if settings.requests_per_minute.is_some() {
            let beside_it = seen[6..]
                .iter()
                .filter(|other| other.at < seen[5].at + seconds(1));
            assert_eq!(beside_it.count(), 0, "one tries for both");
        }
        assert_eq!(seen.len(), 15);
        assert!(labs[0].elapsed() < seconds(45), "{:?}", labs[0].elapsed());
        let open = |lab: &Lab| {
            let breakers = lab.resilience.status().breakers;
            breakers.iter().any(|breaker| breaker.state != "closed")
        };
        assert!(!open(&labs[0]) && !open(&labs[1]));
    }
}

#[tokio::test(start_paused = true)]
async fn processes_of_one_call_each_close_a_breaker_together() {
    for settings in [settings(), limited(1000)] {
        let Two { labs, .. } = two();
        let script = Script::new("lab", |seen| match seen.n {
            0..=4 => Act::Fail(SOON, dead_server()),
            _ => Act::Answer(seconds(1)),
        });
        let once = EndpointSettings {
            max_retries: 0,
            ..settings
        };
        let chain = [link(&script, once)];
        for _ in 0..5 {
            labs[0].call(&chain).await.unwrap_err();
        }
        for (lab, state) in labs.iter().zip(["half_open", "closed"]) {
            lab.call(&chain).await.unwrap();
            let breakers = lab.resilience.status().breakers;
            assert_eq!(breakers[0].state, state, "{breakers:?}");
        }
    }
}

/// Failures of both count together; while everything goes well, nothing is written about it.
#[tokio::test(start_paused = true)]
async fn failures_of_two_processes_count_together_and_good_calls_write_nothing() {
    for settings in [settings(), limited(1000)] {
        let Two { store, labs } = two();
        let script = Script::new("lab", |seen| match seen.n {
            12..=14 | 17..=19 => Act::Fail(SOON, dead_server()),
            _ => Act::Answer(SOON),
        });
        let once = EndpointSettings {
            max_retries: 0,
            ..settings
        };
        let chain = [link(&script, once)];
        let failures = || -> i64 {
            let count = |connection: &rusqlite::Connection| {
                let sql = "SELECT count(*) FROM quota_failures";
                connection.query_row(sql, [], |row| row.get(0))
            };
            store.read(count).unwrap()
        };
        for lab in labs.iter().cycle().take(12) {
            lab.call(&chain).await.unwrap();
        }
        assert_eq!(failures(), 0);
        for lab in labs.iter().cycle().take(3) {
            lab.call(&chain).await.unwrap_err();
            sleep(seconds(1)).await;
        }
        assert_eq!(failures(), 3);
        // The other one has seen them, and tells of its answer once.
        labs[1].call(&chain).await.unwrap();
        assert_eq!(failures(), 0);
        labs[0].call(&chain).await.unwrap();
        for lab in labs.iter().cycle().take(3) {
            lab.call(&chain).await.unwrap_err();
            sleep(seconds(1)).await;
        }
        assert_eq!(failures(), 3);
        assert!(labs.iter().all(|lab| {
            let breakers = lab.resilience.status().breakers;
            breakers.iter().all(|breaker| breaker.state == "closed")
        }));
    }
}

#[tokio::test(start_paused = true)]
async fn the_fifth_failure_of_two_processes_opens_the_breaker_of_both() {
    let Two { labs, .. } = two();
    let script = Script::new("lab", |_| Act::Fail(SOON, dead_server()));
    let once = EndpointSettings {
        max_retries: 0,
        ..settings()
    };
    let mut chain = [link(&script, once)];
    chain[0].clocks.total = Some(seconds(5));
    for lab in labs.iter().cycle().take(5) {
        lab.call(&chain).await.unwrap_err();
        sleep(seconds(1)).await;
    }
    assert_eq!(script.requests(), 5);
    for lab in &labs {
        let error = lab.call(&chain).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::CircuitOpen);
    }
    assert_eq!(script.requests(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_said_once_and_the_limit_is_kept_alone() {
    let Two { store, labs } = two();
    let script = Script::new("lab", |_| Act::Answer(SOON));
    let chain = [link(&script, limited(2))];
    labs[0].call(&chain).await.unwrap();
    store
        .write(Durability::Normal, |transaction| {
            transaction.execute_batch("DROP TABLE quota_use")
        })
        .await
        .unwrap();
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(labs[0].call(&chain).await.unwrap().warnings);
    }
    let told: Vec<String> = said.concat();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].ends_with(": rate limits are kept by this process alone"),
        "{told:?}"
    );
    assert!((seconds(120)..seconds(121)).contains(&labs[0].elapsed()));
}

/// Two handles of one file in two threads, in real time: what one has taken the other does not get.
#[test]
fn two_stores_of_one_file_keep_one_limit() {
    let directory = tempfile::tempdir().unwrap();
    let answered: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let store = Store::open(directory.path()).unwrap();
                        let ledger = Ledger::new(store, Arc::new(Prices::built_in()));
                        let lab = Lab {
                            resilience: Arc::new(Resilience::new(ledger.clone())),
                            ledger,
                            started: Instant::now(),
                        };
                        let script = Script::new("lab", |_| Act::Answer(SOON));
                        let chain = [link(&script, limited(7))];
                        let results = lab.herd(10, &chain, Some(seconds(20))).await;
                        results.iter().filter(|(.., result)| result.is_ok()).count()
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(answered, 7);
}

/// A store that writes at once tells its callers when it is free again: they may write in turn.
#[tokio::test]
async fn a_store_without_a_thread_is_shared_just_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let labs = [(); 2].map(|()| {
        let store = Store::open_direct(directory.path()).unwrap();
        let ledger = Ledger::new(store, Arc::new(Prices::built_in()));
        Lab {
            resilience: Arc::new(Resilience::new(ledger.clone())),
            ledger,
            started: Instant::now(),
        }
    });
    let script = Script::new("lab", |_| Act::Answer(SOON));
    let chain = [link(&script, limited(5))];
    let mut answered = 0;
    for lab in labs {
        let results = lab.herd(4, &chain, Some(seconds(20))).await;
        answered += results.iter().filter(|(.., result)| result.is_ok()).count();
    }
    assert_eq!(answered, 5);
}
