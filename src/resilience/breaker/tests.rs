use proptest::prelude::*;

use super::*;

const SETTINGS: BreakerSettings = BreakerSettings {
    enabled: true,
    threshold: 5,
    timeout: Duration::from_secs(30),
};
const FAILURE: Verdict = Verdict::Failure { told: None };

/// No stretch and no cut of the open time.
const EVEN: f64 = 0.5;

fn call(breaker: &mut Breaker, now: Instant, verdict: Verdict) -> Option<State> {
    assert_eq!(breaker.gate(now), Gate::Pass);
    let permit = breaker.enter(now);
    breaker.record(permit, verdict, now, EVEN)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A breaker that opened just now.
fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(SETTINGS);
    for _ in 0..5 {
        call(&mut breaker, now, FAILURE);
    }
    assert_eq!(
        breaker.state(),
        State::Open {
            until: now + seconds(30)
        }
    );
    breaker
}

#[test]
fn it_opens_after_failures_in_a_row_and_neutral_calls_count_for_nothing() {
    let now = Instant::now();
    let mut breaker = Breaker::new(SETTINGS);
    for verdict in [
        FAILURE,
        FAILURE,
        Verdict::Neutral,
        FAILURE,
        FAILURE,
        Verdict::Neutral,
    ] {
        assert_eq!(call(&mut breaker, now, verdict), None);
    }
    let until = now + seconds(30);
    assert_eq!(
        call(&mut breaker, now, FAILURE),
        Some(State::Open { until })
    );
    assert_eq!(breaker.gate(now), Gate::Until(until));
    assert_eq!(breaker.gate(until), Gate::Pass);
}

#[test]
fn it_opens_at_half_of_the_calls_of_a_minute() {
    // (successes before, failures, opens)
    for (successes, failures, opens) in [(3, 3, true), (4, 3, false), (3, 2, false), (2, 3, true)] {
        let now = Instant::now();
        let mut breaker = Breaker::new(SETTINGS);
        for _ in 0..successes {
            call(&mut breaker, now, Verdict::Success);
        }
        let mut last = None;
        for _ in 0..failures {
            last = call(&mut breaker, now, FAILURE);
        }
        assert_eq!(last.is_some(), opens, "{successes} and {failures}");
    }
    // What happened more than a minute ago is forgotten.
    let now = Instant::now();
    let mut breaker = Breaker::new(SETTINGS);
    call(&mut breaker, now, FAILURE);
    call(&mut breaker, now, FAILURE);
    let later = now + seconds(60);
    call(&mut breaker, later, Verdict::Success);
    call(&mut breaker, later, Verdict::Success);
    assert_eq!(call(&mut breaker, later, FAILURE), None);
    assert_eq!(breaker.window.totals(later), (3, 1));
}

#[test]
fn a_threshold_of_one_opens_at_once_and_of_two_not_after_one() {
    let now = Instant::now();
    for (threshold, opens) in [(1, true), (2, false)] {
        let mut breaker = Breaker::new(BreakerSettings {
            threshold,
            ..SETTINGS
        });
        call(&mut breaker, now, Verdict::Success);
        assert_eq!(call(&mut breaker, now, FAILURE).is_some(), opens);
    }
}

#[test]
fn half_open_lets_one_try_then_two_then_closes() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let now = start + seconds(30);
    let first = breaker.enter(now);
    assert_eq!(breaker.gate(now), Gate::Busy);
    assert_eq!(breaker.record(first, Verdict::Success, now, EVEN), None);
    let second = breaker.enter(now);
    assert_eq!(breaker.gate(now), Gate::Pass);
    let third = breaker.enter(now);
    assert_eq!(breaker.gate(now), Gate::Busy);
    assert_eq!(
        breaker.record(second, Verdict::Success, now, EVEN),
        Some(State::Closed)
    );
    // The third began before it closed: its failure is not held against the new era.
    assert_eq!(breaker.record(third, FAILURE, now, EVEN), None);
    assert_eq!(breaker.failures_in_a_row(), 0);
    assert_eq!(breaker.window.totals(now), (0, 0));
}

#[test]
fn a_neutral_probe_gives_its_permit_back() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let now = start + seconds(30);
    for _ in 0..100 {
        assert_eq!(call(&mut breaker, now, Verdict::Neutral), None);
    }
    assert_eq!(
        breaker.state(),
        State::HalfOpen {
            successes: 0,
            in_flight: 0
        }
    );
}

#[test]
fn each_failed_probe_doubles_the_open_time_up_to_four_times() {
    let mut now = Instant::now();
    let mut breaker = opened(now);
    now += seconds(30);
    for open in [60, 120, 120] {
        let until = now + seconds(open);
        assert_eq!(
            call(&mut breaker, now, FAILURE),
            Some(State::Open { until })
        );
        now = until;
    }
    assert_eq!(call(&mut breaker, now, Verdict::Success), None);
    assert_eq!(
        call(&mut breaker, now, Verdict::Success),
        Some(State::Closed)
    );
    for _ in 0..4 {
        assert_eq!(call(&mut breaker, now, FAILURE), None);
    }
    let until = now + seconds(30);
    assert_eq!(
        call(&mut breaker, now, FAILURE),
        Some(State::Open { until })
    );
}

#[test]
fn a_told_time_extends_the_open_state_and_chance_moves_it_a_fifth() {
    for (told, random, expected) in [
        (None, 0.0, 24),
        (None, 1.0, 36),
        (Some(10), 0.5, 30),
        (Some(90), 0.5, 90),
        (Some(1_000_000_000), 0.5, 3600),
    ] {
        let now = Instant::now();
        let mut breaker = Breaker::new(BreakerSettings {
            threshold: 1,
            ..SETTINGS
        });
        let permit = breaker.enter(now);
        let told = told.map(seconds);
        let Some(State::Open { until }) =
            breaker.record(permit, Verdict::Failure { told }, now, random)
        else {
            panic!("it did not open");
        };
        let off = (until - now).abs_diff(seconds(expected));
        assert!(off < Duration::from_micros(1), "{told:?} {random}: {off:?}");
    }
}

#[test]
fn what_others_found_out_opens_and_closes_it() {
    let now = Instant::now();
    let mut breaker = Breaker::new(SETTINGS);
    let until = now + seconds(50);
    assert_eq!(breaker.open_until(until, 1, 0), Some(State::Open { until }));
    assert_eq!(breaker.open_until(now + seconds(40), 0, 0), None);
    let longer = until + seconds(120);
    assert_eq!(
        call(&mut breaker, until, FAILURE),
        Some(State::Open { until: longer })
    );
    assert_eq!(breaker.close(), Some(State::Closed));
    assert_eq!(breaker.close(), None);
}

#[test]
fn a_success_of_others_counts_when_it_is_tried() {
    let now = Instant::now();
    let mut breaker = Breaker::new(SETTINGS);
    assert!(breaker.open_until(now, 0, 1).is_some());
    assert_eq!(
        call(&mut breaker, now, Verdict::Success),
        Some(State::Closed)
    );
    let mut failing = Breaker::new(SETTINGS);
    assert!(failing.open_until(now, 0, 1).is_some());
    let Some(State::Open { until }) = call(&mut failing, now, FAILURE) else {
        panic!("it fails again");
    };
    assert_eq!(
        call(&mut failing, until, Verdict::Success),
        None,
        "what was before is void"
    );
}

#[test]
fn switched_off_it_counts_but_never_opens() {
    let now = Instant::now();
    let mut breaker = opened(now);
    breaker.configure(BreakerSettings {
        enabled: false,
        ..SETTINGS
    });
    for _ in 0..20 {
        assert_eq!(call(&mut breaker, now, FAILURE), None);
    }
    assert_eq!(breaker.statistics().failures, 25);
    assert_eq!(breaker.open_until(now + seconds(5), 0, 0), None);
    breaker.reset();
    assert_eq!(*breaker.statistics(), BreakerStatistics::default());
}

proptest! {
    /// Whatever comes in whatever order: no more calls try a half-open endpoint than allowed, none
    /// passes an open one before its time, and once all calls are over no permit is missing.
    #[test]
    fn permits_never_leak(steps in proptest::collection::vec((0_u8..4, 0_u64..40, any::<usize>()), 1..200)) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(BreakerSettings { threshold: 2, ..SETTINGS });
        let mut held = Vec::new();
        for (step, wait, pick) in steps {
            now += seconds(wait);
            if step == 0 || held.is_empty() {
                let gate = breaker.gate(now);
                if let Gate::Until(until) = gate {
                    prop_assert!(until > now);
                }
                if gate == Gate::Pass {
                    held.push(breaker.enter(now));
                }
            } else {
                let permit = held.swap_remove(pick % held.len());
                let verdict = [Verdict::Neutral, Verdict::Success, FAILURE][usize::from(step - 1)];
                breaker.record(permit, verdict, now, EVEN);
            }
            if let State::HalfOpen { successes, in_flight } = breaker.state() {
                prop_assert!(in_flight <= permits(successes));
                prop_assert_eq!(in_flight as usize, held.iter().filter(|permit| permit.era == breaker.era).count());
            }
        }
        for permit in held {
            breaker.record(permit, Verdict::Neutral, now, EVEN);
        }
        if let State::HalfOpen { in_flight, .. } = breaker.state() {
            prop_assert_eq!(in_flight, 0);
        }
        prop_assert_eq!(breaker.gate(now + seconds(200)), Gate::Pass);
    }
}
