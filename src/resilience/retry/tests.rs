use proptest::prelude::*;

use super::*;

fn error(kind: FaultKind) -> ProviderError {
    ProviderError::new("lab", kind, "it failed")
}

fn told(kind: FaultKind, millis: u64) -> ProviderError {
    ProviderError {
        retry_after: Some(Duration::from_millis(millis)),
        told_by: "header",
        ..error(kind)
    }
}

fn situation() -> Situation {
    Situation {
        attempts: 1,
        max_retries: 3,
        base: Duration::from_secs(1),
        strikes: 0,
        now: Instant::now(),
        deadline: None,
        committed: false,
        breaker_open: false,
        budget: RetryBudget::FULL,
        random: 0.5,
    }
}

fn retry(millis: u64, told_by: &'static str, price: u32) -> Decision {
    Decision::Retry {
        delay: Duration::from_millis(millis),
        told_by,
        price,
    }
}

const EVERY_KIND: [FaultKind; 26] = [
    FaultKind::RateLimited,
    FaultKind::Overloaded,
    FaultKind::Server,
    FaultKind::Network { permanent: false },
    FaultKind::Stream(StreamFault::FirstEvent),
    FaultKind::Stream(StreamFault::Idle),
    FaultKind::Stream(StreamFault::Truncated),
    FaultKind::Stream(StreamFault::Empty),
    FaultKind::Stream(StreamFault::InvalidJson),
    FaultKind::Network { permanent: true },
    FaultKind::Deadline,
    FaultKind::ContextLength,
    FaultKind::ContentPolicy,
    FaultKind::Quota,
    FaultKind::Auth,
    FaultKind::NotFound,
    FaultKind::BadRequest,
    FaultKind::Config,
    FaultKind::Protocol,
    FaultKind::Unavailable,
    FaultKind::NotRecorded,
    FaultKind::Recording { by_flag: true },
    FaultKind::TurnLimit,
    FaultKind::Budget,
    FaultKind::Schema,
    FaultKind::Denied,
];

#[test]
fn every_class_is_retried_or_not_as_the_table_says() {
    let network = FaultKind::Network { permanent: false };
    for (kind, expected) in [
        (FaultKind::RateLimited, Some(5)),
        (FaultKind::Overloaded, Some(5)),
        (FaultKind::Server, Some(5)),
        (network, Some(5)),
        (FaultKind::Stream(StreamFault::FirstEvent), Some(10)),
        (FaultKind::Stream(StreamFault::Idle), Some(10)),
        (FaultKind::Stream(StreamFault::Truncated), Some(5)),
        (FaultKind::Stream(StreamFault::Empty), Some(5)),
        (FaultKind::Stream(StreamFault::InvalidJson), Some(5)),
        (FaultKind::Network { permanent: true }, None),
        (FaultKind::Deadline, None),
        (FaultKind::ContextLength, None),
        (FaultKind::ContentPolicy, None),
        (FaultKind::Quota, None),
        (FaultKind::Auth, None),
        (FaultKind::NotFound, None),
        (FaultKind::BadRequest, None),
        (FaultKind::Protocol, None),
        (FaultKind::Unavailable, None),
        (FaultKind::NotRecorded, None),
        (FaultKind::Recording { by_flag: false }, None),
        (FaultKind::Config, None),
        (FaultKind::TurnLimit, None),
        (FaultKind::Budget, None),
        (FaultKind::Schema, None),
        (FaultKind::Denied, None),
    ] {
        let decision = decide(&error(kind.clone()), &situation());
        let wanted = expected.map_or(Decision::GiveUp(GiveUp::Hopeless), |price| {
            retry(500, "backoff", price)
        });
        assert_eq!(decision, wanted, "{kind:?}");
    }
}

#[test]
fn a_told_wait_is_a_floor_and_free_for_rate_limits() {
    for (kind, millis, expected) in [
        (FaultKind::RateLimited, 2_000, retry(2_100, "header", 0)),
        (FaultKind::RateLimited, 1, retry(1, "header", 0)),
        (FaultKind::RateLimited, 60_000, retry(60_500, "header", 0)),
        (FaultKind::Overloaded, 20_000, retry(20_500, "header", 5)),
        (
            FaultKind::RateLimited,
            60_001,
            Decision::GiveUp(GiveUp::TooLong(Duration::from_millis(60_001))),
        ),
        (FaultKind::Quota, 1_000, Decision::GiveUp(GiveUp::Hopeless)),
    ] {
        let decision = match decide(&told(kind, millis), &situation()) {
            Decision::Retry {
                delay,
                told_by,
                price,
            } => {
                let whole = u64::try_from(delay.as_millis()).unwrap();
                retry(whole, told_by, price)
            }
            other @ Decision::GiveUp(_) => other,
        };
        assert_eq!(decision, expected, "{millis}");
    }
}

/// A server knows better than a class that trying again is of no use, so `false` is obeyed. `true` could
/// only add what the class rules out: a refused key or an empty account would loop. So it says nothing.
#[test]
fn a_header_can_forbid_a_retry_but_never_allow_one() {
    for kind in EVERY_KIND {
        let header = |value| ProviderError {
            should_retry: Some(value),
            ..error(kind.clone())
        };
        assert_eq!(
            decide(&header(false), &situation()),
            Decision::GiveUp(GiveUp::Hopeless),
            "{kind:?}"
        );
        assert_eq!(
            decide(&header(true), &situation()),
            decide(&error(kind.clone()), &situation()),
            "{kind:?}"
        );
    }
}

#[test]
fn one_extra_try_is_one() {
    let once = ProviderError {
        retry_once: true,
        ..error(FaultKind::BadRequest)
    };
    assert_eq!(decide(&once, &situation()), retry(500, "backoff", 5));
    let again = Situation {
        attempts: 2,
        ..situation()
    };
    assert_eq!(decide(&once, &again), Decision::GiveUp(GiveUp::Hopeless));
}

#[test]
fn attempts_deadline_budget_and_commitment_end_it() {
    let server = error(FaultKind::Server);
    let now = situation().now;
    for (name, changed, expected) in [
        (
            "the last attempt",
            Situation {
                attempts: 4,
                ..situation()
            },
            GiveUp::AttemptsUsed,
        ),
        (
            "no retries configured",
            Situation {
                max_retries: 0,
                ..situation()
            },
            GiveUp::AttemptsUsed,
        ),
        (
            "the wait ends at the deadline",
            Situation {
                now,
                deadline: Some(now + Duration::from_millis(500)),
                ..situation()
            },
            GiveUp::Deadline(Duration::from_millis(500)),
        ),
        (
            "four tokens left",
            Situation {
                budget: 4,
                ..situation()
            },
            GiveUp::RetryBudget,
        ),
        (
            "text is out",
            Situation {
                committed: true,
                ..situation()
            },
            GiveUp::Committed,
        ),
    ] {
        assert_eq!(
            decide(&server, &changed),
            Decision::GiveUp(expected),
            "{name}"
        );
    }
    let open = Situation {
        budget: 0,
        breaker_open: true,
        ..situation()
    };
    assert_eq!(
        decide(&server, &open),
        retry(500, "backoff", 0),
        "the breaker meters"
    );
}

#[test]
fn the_backoff_doubles_to_its_cap() {
    for (attempts, strikes, random, millis) in [
        (1, 0, 1.0, 1_000),
        (2, 0, 1.0, 2_000),
        (3, 0, 1.0, 4_000),
        (1, 4, 1.0, 16_000),
        (9, 0, 1.0, 30_000),
        (1, 1_000, 1.0, 30_000),
        (1, 0, 0.0, 50),
        (2, 0, 0.25, 500),
    ] {
        let changed = Situation {
            attempts,
            strikes,
            max_retries: 20,
            random,
            ..situation()
        };
        assert_eq!(
            decide(&error(FaultKind::Server), &changed),
            retry(millis, "backoff", 5)
        );
    }
}

#[test]
fn the_budget_allows_twenty_retries_of_an_outage_and_refills_with_successes() {
    let mut budget = RetryBudget::default();
    let mut retries = 0;
    while budget.left() >= 5 {
        budget.take(5);
        retries += 1;
    }
    assert_eq!(retries, 20);
    budget.succeeded(None);
    budget.succeeded(Some(5));
    assert_eq!(budget.left(), 6);
    budget.succeeded(Some(100));
    assert_eq!(budget.left(), RetryBudget::FULL);
}

/// The extra load that retries put on an endpoint which fails at a steady rate, as simulated for
/// 20,000 calls: none in an outage but the start's 20, a fifth at half.
#[test]
fn the_budget_bounds_the_extra_load() {
    for (success, least, most) in [(0.0, 0.0, 0.001), (0.5, 0.15, 0.25), (1.0, 0.0, 0.0)] {
        let mut dice = fastrand::Rng::with_seed(7);
        let mut budget = RetryBudget::default();
        let mut extra = 0_u32;
        for _ in 0..20_000 {
            let mut last_price = None;
            for attempt in 1..=4 {
                if dice.f64() < success {
                    budget.succeeded(last_price);
                    break;
                }
                if attempt == 4 || budget.left() < 5 {
                    break;
                }
                budget.take(5);
                last_price = Some(5);
                extra += 1;
            }
        }
        let load = f64::from(extra) / 20_000.0;
        assert!((least..=most).contains(&load), "{success}: {load}");
    }
}

proptest! {
    #[test]
    fn no_retry_is_earlier_than_told_or_later_than_the_deadline(
        told_ms in proptest::option::of(1_u64..100_000),
        left_ms in proptest::option::of(0_u64..100_000),
        attempts in 1_u32..10,
        strikes in 0_u32..10,
        random in 0.0_f64..=1.0,
    ) {
        let now = Instant::now();
        let error = ProviderError {
            retry_after: told_ms.map(Duration::from_millis),
            ..error(FaultKind::RateLimited)
        };
        let deadline = left_ms.map(|left| now + Duration::from_millis(left));
        let changed = Situation { attempts, strikes, now, deadline, random, ..situation() };
        if let Decision::Retry { delay, .. } = decide(&error, &changed) {
            prop_assert!(attempts <= 3);
            prop_assert!(error.retry_after.is_none_or(|told| delay >= told && told <= MAX_RETRY_AFTER));
            prop_assert!(delay <= MAX_RETRY_AFTER + TOLD_JITTER);
            prop_assert!(deadline.is_none_or(|deadline| now + delay < deadline));
        }
    }
}
