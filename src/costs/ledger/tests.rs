use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::costs::{BudgetSettings, PriceOverride};
use crate::usage::{CostSource, Usage};

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

/// Free input, output at one microdollar a token: 300,000 tokens hold 0.30 USD.
const PRICE: PriceOverride = PriceOverride {
    input: Usd::ZERO,
    output: Usd::from_pico(1_000_000_000_000),
    cache_read: None,
    cache_write: None,
};

fn attempt(run: &str, output_tokens: u64) -> Attempt {
    Attempt {
        run_id: run.into(),
        agent: "coder".into(),
        session: Some("talk".into()),
        turn: 1,
        attempt: 1,
        provider: "lab".to_owned(),
        model: "lab/model".to_owned(),
        price: Some(PRICE),
        max_output_tokens: output_tokens,
        ..Attempt::default()
    }
}

fn caps(scope: Scope, limit: &str) -> Caps {
    Caps {
        budgets: vec![Budget {
            scope,
            limit: usd(limit),
        }],
        ..Caps::default()
    }
}

fn ledger() -> Ledger {
    Ledger::new(Store::in_memory().unwrap(), Arc::new(Prices::built_in()))
}

/// The hold of an attempt that is sent.
async fn start(ledger: &Ledger, attempt: &Attempt, caps: &Caps) -> Result<Hold, Refused> {
    metered(ledger, attempt, caps, &Arc::default()).await
}

async fn metered(
    ledger: &Ledger,
    attempt: &Attempt,
    caps: &Caps,
    meter: &Arc<Meter>,
) -> Result<Hold, Refused> {
    let hold = ledger.start_attempt(attempt, caps, Arc::clone(meter));
    let hold = hold.await?;
    assert_eq!(hold.clearance().wait().await, Ok(()));
    Ok(hold)
}

fn output(tokens: u64) -> Outcome {
    Outcome {
        usage: Some(Usage {
            output_tokens: tokens,
            ..Usage::default()
        }),
        ..Outcome::default()
    }
}

fn spending(spent: &str, held: &str) -> Spending {
    Spending {
        spent: usd(spent),
        held: usd(held),
    }
}

#[tokio::test]
async fn no_more_is_admitted_than_the_cap_affords_at_its_worst() {
    for scope in [
        Scope::Run,
        Scope::CommandLine,
        Scope::Agent("coder".into()),
        Scope::Session,
        Scope::Day,
        Scope::Month,
    ] {
        let ledger = ledger();
        let caps = caps(scope.clone(), "1");
        let attempt = attempt("r", 300_000);
        let starts = (0..8).map(|_| start(&ledger, &attempt, &caps));
        let (holds, refused): (Vec<_>, Vec<_>) = futures_util::future::join_all(starts)
            .await
            .into_iter()
            .partition(Result::is_ok);
        assert_eq!((holds.len(), refused.len()), (3, 5), "{scope}");
        for refusal in refused {
            let Err(Refused::Budget(over)) = refusal else {
                panic!("{refusal:?}")
            };
            assert_eq!(over.budget, scope.to_string());
            assert_eq!((over.limit, over.left), (usd("1"), usd("0.1")));
            assert_eq!((over.spent, over.held), (Usd::ZERO, usd("0.9")));
            assert_eq!(over.asked, usd("0.3"));
        }
        assert_eq!(ledger.run_cost("r"), Ok(spending("0", "0.9")));
        for hold in holds {
            let settled = hold.unwrap().settle(output(100_000)).await.unwrap();
            assert_eq!(settled.cost, usd("0.1"));
            assert_eq!(settled.source, CostSource::Computed);
        }
        assert_eq!(ledger.run_cost("r"), Ok(spending("0.3", "0")));
    }
}

#[tokio::test]
async fn threads_with_a_store_each_share_one_budget() {
    let directory = tempfile::tempdir().unwrap();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let state = directory.path().to_owned();
            std::thread::spawn(move || {
                let store = Store::open(&state).unwrap();
                let ledger = Ledger::new(store, Arc::new(Prices::built_in()));
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build()
                    .unwrap();
                let admitted = runtime.block_on(start(
                    &ledger,
                    &attempt("r", 300_000),
                    &caps(Scope::Day, "1"),
                ));
                let count = usize::from(admitted.is_ok());
                // As if the process died: the row stays as it is.
                std::mem::forget(admitted);
                count
            })
        })
        .collect();
    let admitted: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    assert_eq!(admitted, 3);
    let ledger = Ledger::new(
        Store::open(directory.path()).unwrap(),
        Arc::new(Prices::built_in()),
    );
    assert_eq!(ledger.run_cost("r"), Ok(spending("0", "0.9")));
}

#[tokio::test]
async fn a_dropped_hold_is_charged_what_had_come_or_stays_held() {
    let ledger = ledger();
    let caps = caps(Scope::Run, "1");
    let asked = Attempt {
        prompt: PromptSize::of("a prompt that costs nothing here"),
        ..attempt("r", 300_000)
    };
    // Nothing had come: it stays at its hold, for ever.
    drop(start(&ledger, &asked, &caps).await.unwrap());
    assert_eq!(ledger.run_cost("r"), Ok(spending("0", "0.3")));
    // 3000 bytes had come, at 1.2 times 1000 tokens.
    let meter = Arc::default();
    let hold = metered(&ledger, &asked, &caps, &meter).await.unwrap();
    meter.received(3000);
    drop(hold);
    assert_eq!(ledger.run_cost("r"), Ok(spending("0.0012", "0.3")));
    // More was told than came.
    let meter = Arc::default();
    let hold = metered(&ledger, &asked, &caps, &meter).await.unwrap();
    meter.received(3000);
    meter.reported(output(5000).usage.unwrap());
    drop(hold);
    assert_eq!(ledger.run_cost("r"), Ok(spending("0.0062", "0.3")));
    // A request that never left costs nothing.
    let hold = start(&ledger, &asked, &caps).await.unwrap();
    let refused = Outcome {
        ended: Ended::Refused {
            class: "auth".to_owned(),
        },
        ..Outcome::default()
    };
    assert_eq!(hold.settle(refused).await.unwrap().cost, Usd::ZERO);
    assert_eq!(ledger.run_cost("r"), Ok(spending("0.0062", "0.3")));
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_nothing_held() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let ledger = Ledger::new(store, Arc::new(Prices::built_in()));
    let written = || ledger.store.write(Durability::Normal, |_| Ok(()));
    let caps = caps(Scope::Run, "1");
    let attempt = attempt("r", 300_000);
    for is_written in [false, true] {
        let (release, blocked) = std::sync::mpsc::channel::<()>();
        let blocker = ledger.store.write(Durability::Normal, move |_| {
            blocked.recv().unwrap();
            Ok(())
        });
        let mut starting = Box::pin(start(&ledger, &attempt, &caps));
        assert!(futures_util::poll!(starting.as_mut()).is_pending());
        if is_written {
            // Written, and the word of it not yet taken.
            release.send(()).unwrap();
            blocker.await.unwrap();
            written().await.unwrap();
            assert_eq!(ledger.run_cost("r"), Ok(spending("0", "0.3")));
            drop(starting);
        } else {
            drop(starting);
            release.send(()).unwrap();
            blocker.await.unwrap();
        }
        written().await.unwrap();
        assert_eq!(ledger.run_cost("r"), Ok(spending("0", "0")));
    }
}

#[tokio::test]
async fn output_gives_way_to_what_the_budget_affords() {
    let ledger = ledger();
    let caps = caps(Scope::Run, "0.5");
    let mut wanted = attempt("r", 400_000);
    wanted.least_output_tokens = Some(50_000);
    assert_eq!(
        ledger.affordable_output_tokens(&wanted, &caps),
        Ok(Some(500_000))
    );
    let first = start(&ledger, &wanted, &caps).await.unwrap();
    assert_eq!(
        (first.amount(), first.max_output_tokens()),
        (usd("0.4"), 400_000)
    );
    let second = start(&ledger, &wanted, &caps).await.unwrap();
    assert_eq!(
        (second.amount(), second.max_output_tokens()),
        (usd("0.1"), 100_000)
    );
    assert!(start(&ledger, &wanted, &caps).await.is_err());
    assert_eq!(ledger.affordable_output_tokens(&wanted, &caps), Ok(Some(0)));
    assert_eq!(
        ledger.affordable_output_tokens(&wanted, &Caps::default()),
        Ok(None)
    );
}

#[tokio::test]
async fn a_new_day_has_a_new_budget_and_a_new_month_too() {
    let ledger = ledger();
    let evening = UNIX_EPOCH + Duration::from_mins(29_934_719); // 2026-11-30 23:59 UTC
    let caps = Caps {
        budgets: [(Scope::Day, "0.3"), (Scope::Month, "0.5")]
            .map(|(scope, limit)| Budget {
                scope,
                limit: usd(limit),
            })
            .into(),
        ..Caps::default()
    };
    let attempt = attempt("r", 300_000);
    let at = |time: SystemTime| {
        ledger.start_attempt_at(&attempt, &caps, Arc::new(Meter::default()), time)
    };
    std::mem::forget(at(evening - Duration::from_hours(24)).await.unwrap());
    let refused = at(evening).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the budget `month` of 0.500000 USD would be exceeded: 0.000000 spent, 0.300000 held, \
         0.200000 left, and this call may cost 0.300000; it resets at 2026-12-01 00:00 UTC"
    );
    assert_eq!(
        refused.hint(),
        "raise `settings.budget.month_usd`, or lower `max_output_tokens`, or wait"
    );
    let refused = at(evening - Duration::from_hours(24)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the budget `day` of 0.300000 USD would be exceeded: 0.000000 spent, 0.300000 held, \
         0.000000 left, and this call may cost 0.300000; it resets at 2026-11-30 00:00 UTC"
    );
    assert!(at(evening + Duration::from_mins(1)).await.is_ok());
}

#[tokio::test]
async fn models_without_a_price_are_denied_under_a_cap_and_told_otherwise() {
    let ledger = ledger();
    let unknown = Attempt {
        price: None,
        ..attempt("r", 100)
    };
    let refused = start(&ledger, &unknown, &caps(Scope::Month, "1"))
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the price of `lab/model` is not known, so no budget can cover it"
    );
    let mut hold = start(&ledger, &unknown, &Caps::default()).await.unwrap();
    assert_eq!(
        hold.take_warning().unwrap(),
        "the price of `lab/model` is not known: its calls count as what its server says they cost, or as nothing"
    );
    let settled = hold.settle(output(100)).await.unwrap();
    assert_eq!(
        (settled.cost, settled.source),
        (Usd::ZERO, CostSource::Unpriced)
    );
    // Told once; and what the vendor tells is charged.
    let mut hold = start(&ledger, &unknown, &Caps::default()).await.unwrap();
    assert_eq!(hold.take_warning(), None);
    let told = Outcome {
        reported_cost: Some(usd("0.25")),
        ..output(100)
    };
    let settled = hold.settle(told).await.unwrap();
    assert_eq!(
        (settled.cost, settled.source),
        (usd("0.25"), CostSource::Reported)
    );
    let allowed = Caps {
        on_unpriced: Some(OnUnpriced::Allow),
        ..caps(Scope::Month, "1")
    };
    assert_eq!(
        start(&ledger, &unknown, &allowed)
            .await
            .unwrap()
            .take_warning(),
        None
    );
    let local = Attempt {
        local: true,
        ..unknown
    };
    let hold = start(&self::ledger(), &local, &caps(Scope::Month, "0"))
        .await
        .unwrap();
    let settled = hold.settle(output(100)).await.unwrap();
    assert_eq!(
        (settled.cost, settled.source),
        (Usd::ZERO, CostSource::Computed)
    );
}

#[tokio::test]
async fn a_subscription_pays_and_the_list_price_is_told_apart() {
    let ledger = ledger();
    let paid = Attempt {
        subscription: true,
        ..attempt("r", 300_000)
    };
    let hold = start(&ledger, &paid, &caps(Scope::Run, "0")).await.unwrap();
    assert_eq!(hold.amount(), Usd::ZERO);
    let settled = hold.settle(output(100_000)).await.unwrap();
    assert_eq!(settled.cost, Usd::ZERO);
    assert_eq!(settled.source, CostSource::Subscription);
    assert_eq!(settled.list_price, Some(usd("0.1")));
}

#[tokio::test]
async fn a_budget_that_is_nearly_used_up_is_told_once() {
    let ledger = ledger();
    let settings = BudgetSettings {
        run_usd: Some(usd("1")),
        day_usd: Some(usd("10")),
        ..BudgetSettings::default()
    };
    let caps = Caps::new(&settings, Some(usd("2"))).with_agent("coder", Some(usd("1.1")));
    let mut told = Vec::new();
    for _ in 0..3 {
        let hold = start(&ledger, &attempt("r", 300_000), &caps).await.unwrap();
        let settled = hold.settle(output(300_000)).await.unwrap();
        told.push(settled.warnings);
    }
    let near = |budget: &str, limit: &str| BudgetWarning {
        budget: budget.to_owned(),
        used: usd("0.9"),
        limit: usd(limit),
    };
    assert_eq!(
        told,
        [
            vec![],
            vec![],
            vec![near("run", "1"), near("agent coder", "1.1")]
        ]
    );
    // The same ledger, the next run: its own budgets count from nothing.
    let hold = start(&ledger, &attempt("s", 300_000), &caps).await.unwrap();
    assert_eq!(hold.settle(output(300_000)).await.unwrap().warnings, []);
}

#[tokio::test]
async fn who_delegates_pays_too() {
    let ledger = ledger();
    let caps = Caps::default().with_agent("lead", Some(usd("0.5")));
    let delegated = Attempt {
        delegators: vec!["lead".into()],
        ..attempt("r", 300_000)
    };
    let _held = start(&ledger, &delegated, &caps).await.unwrap();
    assert!(start(&ledger, &delegated, &caps).await.is_err());
    assert!(
        start(&ledger, &attempt("other", 300_000), &caps)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_begun() {
    let ledger = ledger();
    let caps = caps(Scope::Run, "1");
    let attempt = attempt("r", 1_000);
    let full = ledger.store.write(Durability::Normal, |transaction| {
        let pages: i64 = transaction.pragma_query_value(None, "page_count", |row| row.get(0))?;
        transaction.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    });
    full.await.unwrap();
    let mut holds = Vec::new();
    let refused = loop {
        match start(&ledger, &attempt, &caps).await {
            Ok(hold) => holds.push(hold),
            Err(refused) => break refused,
        }
        assert!(holds.len() < 1_000, "the database grows");
    };
    let Refused::Store(error) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.kind, crate::store::StoreErrorKind::DiskFull);
    let held = Usd::from_pico(1_000_000_000 * i64::try_from(holds.len()).unwrap());
    let spent = Usd::ZERO;
    assert_eq!(ledger.run_cost("r"), Ok(Spending { spent, held }));
}

fn priced(rate: &str) -> PriceOverride {
    PriceOverride {
        input: usd(rate),
        output: usd(rate),
        cache_read: None,
        cache_write: None,
    }
}

#[tokio::test]
async fn a_vendor_that_tells_the_impossible_is_not_believed() {
    let ledger = ledger();
    let asked = Attempt {
        price: Some(priced("1")),
        prompt: PromptSize::of(&"word ".repeat(400)),
        ..attempt("r", 1_000)
    };
    let tokens = |input_tokens, output_tokens| {
        Some(Usage {
            input_tokens,
            output_tokens,
            ..Usage::default()
        })
    };
    // 2000 bytes of prompt and 300 of text: 500 and 120 tokens, a microdollar each.
    let estimate = (usd("0.00062"), CostSource::Estimated);
    for (usage, cost, expected) in [
        (tokens(u64::MAX, 5), None, estimate),
        (tokens(5, 2_000_000_000), None, estimate),
        (tokens(0, 0), None, estimate),
        (tokens(0, 120), None, estimate),
        (tokens(1, 120), None, estimate),
        (tokens(500, 1), None, estimate),
        (tokens(500, 0), None, estimate),
        (None, Some(usd("-3")), estimate),
        (None, Some(Usd::MAX), estimate),
        (
            tokens(100, 20),
            Some(usd("-3")),
            (usd("0.00012"), CostSource::Computed),
        ),
        (
            tokens(u64::MAX, 5),
            Some(usd("0.02")),
            (usd("0.02"), CostSource::Reported),
        ),
    ] {
        let meter = Arc::new(Meter::default());
        let hold = ledger
            .start_attempt(&asked, &Caps::default(), Arc::clone(&meter))
            .await
            .unwrap();
        meter.received(300);
        let outcome = Outcome {
            usage,
            reported_cost: cost,
            ..Outcome::default()
        };
        let settled = hold.settle(outcome).await.unwrap();
        assert_eq!(
            (settled.cost, settled.source),
            expected,
            "{usage:?} {cost:?}"
        );
    }
}

#[tokio::test]
async fn sums_beyond_all_measure_stay_readable() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let ledger = Ledger::new(store, Arc::new(Prices::built_in()));
    let dear = Attempt {
        price: Some(priced("9000000")),
        ..attempt("r", 10)
    };
    for _ in 0..3 {
        let hold = start(&ledger, &dear, &Caps::default()).await.unwrap();
        let settled = hold.settle(output(1_000_000_000)).await.unwrap();
        assert_eq!(settled.cost, Usd::MAX);
    }
    assert_eq!(
        ledger.run_cost("r"),
        Ok(Spending {
            spent: Usd::MAX,
            held: Usd::ZERO
        })
    );
    let refused = start(&ledger, &attempt("r", 1), &caps(Scope::Day, "1")).await;
    assert!(matches!(refused, Err(Refused::Budget(_))), "{refused:?}");
    let report = crate::costs::report::report(
        ledger.store(),
        &crate::costs::report::Filter::default(),
        &BudgetSettings::default(),
        SystemTime::now(),
    )
    .unwrap();
    assert_eq!(
        (report.total_requests, report.total_cost_usd),
        (3, Usd::MAX)
    );
    let check = crate::costs::check_store(directory.path(), false).await;
    assert!(check.as_ref().unwrap().is_sound(), "{check:?}");
}

#[tokio::test]
async fn a_cap_that_does_not_cover_a_call_does_not_deny_its_model() {
    let ledger = ledger();
    let unknown = Attempt {
        price: None,
        session: None,
        ..attempt("r", 100)
    };
    let of_sessions = caps(Scope::Session, "1");
    assert!(start(&ledger, &unknown, &of_sessions).await.is_ok());
    let in_session = Attempt {
        session: Some("talk".into()),
        ..unknown
    };
    assert!(start(&ledger, &in_session, &of_sessions).await.is_err());
}

#[tokio::test]
async fn a_clock_that_is_set_back_gives_nothing_back() {
    let ledger = ledger();
    let noon = UNIX_EPOCH + Duration::from_hours(498_756); // 2026-11-24 12:00 UTC
    let settings = BudgetSettings {
        run_usd: Some(usd("1")),
        day_usd: Some(usd("0.7")),
        month_usd: Some(usd("0.9")),
        ..BudgetSettings::default()
    };
    let caps = Caps::new(&settings, None);
    let wanted = attempt("r", 300_000);
    let at = async |hours_back: u64| {
        let now = noon - Duration::from_hours(hours_back);
        let meter = Arc::new(Meter::default());
        let held = ledger.start_attempt_at(&wanted, &caps, meter, now).await;
        match held.map(std::mem::forget) {
            Ok(()) => "held".to_owned(),
            Err(Refused::Budget(over)) => over.budget,
            Err(other) => panic!("{other:?}"),
        }
    };
    // Each day has its own, whatever order they come in; the month counts them all, the run too.
    assert_eq!(at(0).await, "held");
    assert_eq!(at(24).await, "held");
    assert_eq!(at(1).await, "held");
    assert_eq!(at(0).await, "month");
    assert_eq!(at(24).await, "month");
    assert_eq!(at(24 * 40).await, "run");
}
