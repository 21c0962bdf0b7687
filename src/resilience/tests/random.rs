//! Whatever two processes do and whenever calls are dropped: the limit holds and nothing is left.

use proptest::prelude::*;

use super::sharing::two;
use super::*;

/// A call of one of the processes.
#[derive(Clone, Copy, Debug)]
struct Plan {
    process: usize,
    /// Milliseconds from the start.
    comes: u64,
    /// Milliseconds until it is dropped; `None` for one that waits as long as it takes.
    patience: Option<u64>,
    fate: Fate,
}

/// What the server does with the requests of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Answer,
    Fail,
    RateLimit,
    Stall,
}

fn plan() -> impl Strategy<Value = Plan> {
    let fate = prop_oneof![
        6 => Just(Fate::Answer),
        1 => Just(Fate::Fail),
        1 => Just(Fate::RateLimit),
        1 => Just(Fate::Stall),
    ];
    (
        0..2_usize,
        0..90_000_u64,
        proptest::option::of(1..150_000_u64),
        fate,
    )
        .prop_map(|(process, comes, patience, fate)| Plan {
            process,
            comes,
            // Nothing else ends one that hangs.
            patience: patience.or((fate == Fate::Stall).then_some(5_000)),
            fate,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn two_processes_keep_a_limit_whatever_is_dropped_or_fails(
        per_minute in 1_u32..9,
        concurrency in proptest::option::of(1_u32..4),
        plans in proptest::collection::vec(plan(), 1..50),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(follow(per_minute, concurrency, &plans));
    }
}

async fn follow(per_minute: u32, concurrency: Option<u32>, plans: &[Plan]) {
    let labs = two().labs;
    let fates: Vec<Fate> = plans.iter().map(|plan| plan.fate).collect();
    let script = Script::new("lab", move |seen| {
        match fates[seen.agent.parse::<usize>().unwrap()] {
            Fate::Answer => Act::Answer(seconds(2)),
            Fate::Fail => Act::Fail(SOON, dead_server()),
            Fate::RateLimit => Act::Fail(SOON, told(FaultKind::RateLimited, seconds(3))),
            Fate::Stall => Act::Stall("well"),
        }
    });
    let settings = EndpointSettings {
        requests_per_minute: Some(per_minute),
        max_concurrency: concurrency,
        max_retries: 1,
        breaker: false,
        ..settings()
    };
    let mut link = link(&script, settings);
    link.clocks.total = None;
    let mut set = JoinSet::new();
    for (number, plan) in plans.iter().copied().enumerate() {
        let (resilience, chain) = (Arc::clone(&labs[plan.process].resilience), [link.clone()]);
        set.spawn(async move {
            sleep(Duration::from_millis(plan.comes)).await;
            let name = number.to_string();
            let (mut request, context) = (request(&name, Delivery::Buffered), context(&name));
            let events = Events::nobody();
            let call = resilience.call(&chain, &mut request, &context, &events);
            match plan.patience {
                Some(patience) => {
                    let patience = Duration::from_millis(patience);
                    tokio::time::timeout(patience, call).await.ok()
                }
                None => Some(call.await),
            }
            .map(|result| result.is_ok())
            .filter(|_| plan.patience.is_none())
            .map(|ok| (ok, plan.fate))
        });
    }
    for (ok, fate) in set.join_all().await.into_iter().flatten() {
        assert_eq!(
            ok,
            fate == Fate::Answer,
            "who waits gets his turn: {fate:?}"
        );
    }
    let seen = script.seen();
    for (index, first) in seen.iter().enumerate() {
        let minute = seen[index..]
            .iter()
            .take_while(|other| other.at < first.at + Duration::from_mins(1));
        assert!(
            minute.count() <= per_minute as usize,
            "{per_minute} a minute"
        );
    }
    for lab in &labs {
        lab.assert_nothing_is_taken();
    }
    tokio::time::advance(seconds(120)).await;
    for lab in &labs {
        for limits in lab.resilience.status().limits {
            let used = limits.requests_per_minute.map(|requests| requests.used);
            assert_eq!(used, Some(0), "{limits:?}");
        }
    }
}
