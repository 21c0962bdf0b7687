use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A window counts a little longer than a minute.
const MINUTE: Duration = Duration::from_millis(60_050);

fn settings() -> EndpointSettings {
    EndpointSettings {
        requests_per_minute: None,
        max_concurrency: None,
        ..EndpointSettings::default()
    }
}

fn ask(tokens: u64) -> Ask {
    Ask {
        tokens,
        retry: false,
    }
}

fn limiter(settings: &EndpointSettings) -> (Limiter, LaneId) {
    let mut limiter = Limiter::default();
    let lane = limiter.add_lane(settings);
    (limiter, lane)
}

/// Comes new and looks at once.
fn come(limiter: &mut Limiter, lane: LaneId, tokens: u64, now: Instant) -> (Ticket, Turn) {
    let ticket = limiter.ticket();
    (ticket, limiter.advance(lane, ticket, ask(tokens), now))
}

fn admitted(turn: Turn) -> Admission {
    match turn {
        Turn::Admitted(admission) => admission,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_waits_for_the_window_and_the_others_for_the_first() {
    let (mut limiter, lane) = limiter(&EndpointSettings {
        requests_per_minute: Some(1),
        burst: 1,
        ..settings()
    });
    let start = Instant::now();
    admitted(come(&mut limiter, lane, 1, start).1);
    admitted(come(&mut limiter, lane, 1, start).1);
    let (third, turn) = come(&mut limiter, lane, 1, start);
    let later = start + MINUTE;
    assert_eq!(turn, Turn::Until(later, Cause::RequestsPerMinute));
    let (fourth, turn) = come(&mut limiter, lane, 1, start);
    assert_eq!(turn, Turn::Behind);
    assert_eq!(
        limiter.bound(lane, ask(1), start),
        Some((later + MINUTE, Cause::RequestsPerMinute))
    );
    assert!(!limiter.listen(lane, fourth, Waker::noop()));
    admitted(limiter.advance(lane, third, ask(1), later));
    assert!(limiter.listen(lane, fourth, Waker::noop()), "it was woken");
    admitted(limiter.advance(lane, fourth, ask(1), later));
    assert_eq!(
        limiter.statistics(lane),
        LaneStatistics {
            admitted: 4,
            waited: 2,
            waited_for: MINUTE * 2,
            ..LaneStatistics::default()
        }
    );
}

#[test]
fn several_windows_hold_together_and_tokens_are_corrected() {
    let (mut limiter, lane) = limiter(&EndpointSettings {
        requests_per_minute: Some(100),
        requests_per_hour: Some(3),
        tokens_per_minute: Some(1_000),
        ..settings()
    });
    let start = Instant::now();
    assert_eq!(limiter.never_fits(lane, ask(1_001)), Some(1_000));
    assert_eq!(limiter.never_fits(lane, ask(1_000)), None);
    let first = admitted(come(&mut limiter, lane, 800, start).1);
    let (second, turn) = come(&mut limiter, lane, 500, start);
    assert_eq!(turn, Turn::Until(start + MINUTE, Cause::TokensPerMinute));
    // A small one does not pass the big one.
    let (third, turn) = come(&mut limiter, lane, 1, start);
    assert_eq!(turn, Turn::Behind);
    assert_eq!(limiter.settle(first, 500, start), None);
    assert!(limiter.listen(lane, second, Waker::noop()));
    let second = admitted(limiter.advance(lane, second, ask(500), start));
    assert_eq!(limiter.used(lane, start), [Some(2), Some(2), Some(1_000)]);
    assert_eq!(limiter.cancel(second, start), None);
    assert_eq!(limiter.used(lane, start), [Some(1), Some(1), Some(500)]);
    let third = admitted(limiter.advance(lane, third, ask(1), start));
    limiter.settle(third, 0, start);
    admitted(come(&mut limiter, lane, 1, start).1);
    let (_, turn) = come(&mut limiter, lane, 1, start);
    let hour = start + Duration::from_millis(3_600_050);
    assert_eq!(turn, Turn::Until(hour, Cause::RequestsPerHour));
}

#[test]
fn who_waits_longest_over_all_models_gets_the_next_permit() {
    let narrow = EndpointSettings {
        max_concurrency: Some(1),
        ..settings()
    };
    let (mut limiter, one) = limiter(&narrow);
    let two = limiter.add_lane(&narrow);
    let now = Instant::now();
    let running = admitted(come(&mut limiter, one, 1, now).1);
    let blocked = Turn::Blocked(Cause::Concurrency);
    let (first, turn) = come(&mut limiter, two, 1, now);
    assert_eq!(turn, blocked);
    let (second, turn) = come(&mut limiter, one, 1, now);
    assert_eq!(turn, blocked);
    limiter.settle(running, 1, now);
    // A newcomer takes no permit that the first in the line was woken for.
    assert_eq!(come(&mut limiter, one, 1, now).1, Turn::Behind);
    assert_eq!(limiter.advance(one, second, ask(1), now), blocked);
    assert!(limiter.listen(two, first, Waker::noop()));
    // It gives up: the second is woken instead.
    assert!(!limiter.listen(one, second, Waker::noop()));
    limiter.leave(two, first, now);
    assert!(limiter.listen(one, second, Waker::noop()));
    admitted(limiter.advance(one, second, ask(1), now));
    assert_eq!(limiter.in_flight(), 1);
}

#[test]
fn a_rate_limit_holds_the_line_and_who_comes_back_stands_where_he_stood() {
    let (mut limiter, lane) = limiter(&settings());
    let start = Instant::now();
    let (old, turn) = come(&mut limiter, lane, 1, start);
    let first = admitted(turn);
    let (other, turn) = come(&mut limiter, lane, 1, start);
    let second = admitted(turn);
    limiter.cool(lane, start, Duration::from_secs(2), true);
    limiter.settle(second, 0, start);
    limiter.cool(lane, start, Duration::from_secs(1), true);
    limiter.settle(first, 0, start);
    assert_eq!(limiter.strikes(lane), 1, "one rate limit, met by two");
    let until = start + Duration::from_secs(2);
    let cooling = Turn::Until(until, Cause::CoolDown);
    let (new, turn) = come(&mut limiter, lane, 1, start);
    assert_eq!(turn, cooling);
    let again = Ask {
        tokens: 1,
        retry: true,
    };
    assert_eq!(limiter.advance(lane, other, again, start), cooling);
    assert_eq!(limiter.advance(lane, old, again, start), cooling);
    assert_eq!(limiter.advance(lane, other, again, start), Turn::Behind);
    let trial = admitted(limiter.advance(lane, old, again, until));
    assert!(trial.is_trial());
    let waits = Turn::Until(until + Duration::from_secs(1), Cause::Trial);
    assert_eq!(limiter.advance(lane, other, again, until), waits);
    limiter.accepted(&trial, until);
    assert_eq!(limiter.strikes(lane), 0);
    let step = until + Duration::from_millis(20);
    assert_eq!(
        limiter.advance(lane, other, again, until),
        Turn::Until(step, Cause::Paced)
    );
    admitted(limiter.advance(lane, other, again, step));
    assert_eq!(
        limiter.advance(lane, new, ask(1), step),
        Turn::Until(step + Duration::from_millis(20), Cause::Paced)
    );
}

#[test]
fn told_limits_lower_but_never_raise() {
    let news = |requests, tokens| LimitNews {
        requests_per_minute: requests,
        tokens_per_minute: tokens,
        exhausted_for: None,
    };
    let configured = EndpointSettings {
        requests_per_minute: Some(60),
        ..settings()
    };
    for (loopback, told, expected) in [
        (
            false,
            news(Some(30), Some(9_000)),
            [Some(30), None, Some(9_000)],
        ),
        (false, news(Some(500), None), [Some(60), None, None]),
        (false, news(Some(0), Some(0)), [Some(60), None, None]),
        (true, news(Some(30), Some(9_000)), [Some(30), None, None]),
    ] {
        let (mut limiter, lane) = limiter(&configured);
        limiter.learn(lane, &told, loopback);
        assert_eq!(limiter.limits(lane), expected, "{told:?}");
    }
    // More than a told limit is no reason to refuse: only a full window is asked for.
    let (mut limiter, lane) = limiter(&settings());
    let now = Instant::now();
    limiter.learn(lane, &news(None, Some(100)), false);
    assert_eq!(limiter.never_fits(lane, ask(5_000)), None);
    admitted(come(&mut limiter, lane, 5_000, now).1);
    assert_eq!(limiter.used(lane, now), [None, None, Some(100)]);
}

fn grants(bucket: i64, requests: u64, tokens: u64) -> Grants {
    Grants {
        bucket,
        requests,
        tokens,
    }
}

#[test]
fn a_shared_limit_is_asked_for_all_who_could_go() {
    let (mut limiter, lane) = limiter(&EndpointSettings {
        requests_per_minute: Some(3),
        ..settings()
    });
    limiter.share(lane, true);
    let now = Instant::now();
    let (first, turn) = come(&mut limiter, lane, 1, now);
    assert_eq!(turn, Turn::Ask);
    assert_eq!(limiter.wanted(lane).asks, [0]);
    let later: Vec<Ticket> = (0..4).map(|_| come(&mut limiter, lane, 1, now).0).collect();
    let waits = Turn::Blocked(Cause::OtherProcesses);
    assert_eq!(limiter.advance(lane, first, ask(1), now), waits);
    assert_eq!(limiter.granted(lane, grants(7, 1, 0), None, now), None);
    let gone = admitted(limiter.advance(lane, first, ask(1), now));
    assert_eq!(limiter.advance(lane, later[0], ask(1), now), Turn::Ask);
    assert_eq!(limiter.wanted(lane).asks, [0, 0]);
    // Others have taken one of the two.
    let until = now + Duration::from_secs(9);
    assert_eq!(
        limiter.granted(lane, grants(7, 1, 0), Some(until), now),
        None
    );
    admitted(limiter.advance(lane, later[0], ask(1), now));
    let full = Turn::Until(until, Cause::OtherProcesses);
    assert_eq!(limiter.advance(lane, later[1], ask(1), now), full);
    assert_eq!(limiter.advance(lane, later[1], ask(1), until), Turn::Ask);
    // Everybody leaves before the answer comes: all of it is given back.
    for ticket in &later[1..] {
        limiter.leave(lane, *ticket, until);
    }
    let one = grants(8, 1, 0);
    assert_eq!(limiter.granted(lane, one, None, until), Some(one));
    // Grants that were not used at once are asked for again, and the old ones given back.
    let (ticket, turn) = come(&mut limiter, lane, 1, until);
    assert_eq!(turn, Turn::Ask);
    limiter.granted(lane, one, None, until);
    let late = until + Duration::from_millis(51);
    assert_eq!(limiter.advance(lane, ticket, ask(1), late), Turn::Ask);
    let wanted = Wanted {
        asks: vec![0],
        unused: Some(one),
    };
    assert_eq!(limiter.wanted(lane), wanted);
    let other = grants(9, 1, 0);
    assert_eq!(limiter.granted(lane, other, None, late), None);
    limiter.leave(lane, ticket, late);
    assert_eq!(limiter.unused(lane), Some(other));
    assert_eq!(limiter.unused(lane), None);
    // What was never sent is given back where it was counted.
    assert_eq!(limiter.cancel(gone, late), Some(grants(7, 1, 0)));
}

#[test]
fn shared_tokens_are_asked_for_as_far_as_they_fit_and_corrected() {
    let (mut limiter, lane) = limiter(&EndpointSettings {
        tokens_per_minute: Some(100),
        max_concurrency: Some(9),
        ..settings()
    });
    limiter.share(lane, true);
    let now = Instant::now();
    let (first, turn) = come(&mut limiter, lane, 50, now);
    assert_eq!(turn, Turn::Ask);
    for tokens in [30, 20, 1] {
        come(&mut limiter, lane, tokens, now);
    }
    assert_eq!(limiter.wanted(lane).asks, [50]);
    limiter.granted(lane, grants(1, 0, 0), None, now);
    assert_eq!(limiter.advance(lane, first, ask(50), now), Turn::Ask);
    assert_eq!(limiter.wanted(lane).asks, [50, 30, 20]);
    limiter.granted(lane, grants(2, 3, 100), None, now);
    let first = admitted(limiter.advance(lane, first, ask(50), now));
    assert_eq!(limiter.settle(first, 8, now), Some(grants(2, 1, 50)));
    // The others give up: what was granted for them goes back.
    for ticket in 2..=4 {
        limiter.leave(lane, ticket, now);
    }
    assert_eq!(limiter.unused(lane), Some(grants(2, 2, 50)));
}

/// Runs a limiter as tasks would: everybody looks when he is woken or when his time has come, and
/// at no other time.
struct World {
    limiter: Limiter,
    now: Instant,
    /// Who waits: lane, ask, and when to look again.
    waiting: BTreeMap<Ticket, (LaneId, Ask, Option<Instant>)>,
    running: Vec<(LaneId, Admission)>,
    admitted: Vec<(Instant, LaneId, Ticket, u64)>,
}

impl World {
    fn look(&mut self, ticket: Ticket) {
        let (lane, ask, timer) = self.waiting.get_mut(&ticket).unwrap();
        *timer = None;
        match self.limiter.advance(*lane, ticket, *ask, self.now) {
            Turn::Admitted(admission) => {
                let (lane, ask, _) = self.waiting.remove(&ticket).unwrap();
                self.running.push((lane, admission));
                self.admitted.push((self.now, lane, ticket, ask.tokens));
            }
            Turn::Until(at, _) => *timer = Some(at),
            Turn::Behind | Turn::Blocked(_) => {}
            Turn::Ask => panic!("nothing is shared"),
        }
    }

    /// Lets everybody look who was woken or whose time has come.
    fn settle_down(&mut self) {
        loop {
            let tickets: Vec<Ticket> = self.waiting.keys().copied().collect();
            let mut looked = false;
            for ticket in tickets {
                let Some((lane, _, timer)) = self.waiting.get(&ticket).copied() else {
                    continue;
                };
                let due = timer.is_some_and(|at| at <= self.now);
                if self.limiter.listen(lane, ticket, Waker::noop()) || due {
                    looked = true;
                    self.look(ticket);
                }
            }
            if !looked {
                return;
            }
        }
    }

    /// The next time at which somebody looks.
    fn next_timer(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|(.., timer)| *timer).min()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Random arrivals, ends, refunds, cancellations and rate limits on two models of one endpoint.
    /// Never more than the limits in any minute, nobody is passed by one who came later, nobody is
    /// forgotten, and in the end nothing is left.
    #[test]
    fn limits_order_and_progress_hold(
        per_minute in 1_u32..8,
        tokens_per_minute in 20_u64..60,
        concurrency in 1_u32..4,
        steps in proptest::collection::vec((0_u8..8, 0_u64..9_000, 1_u64..20, any::<usize>()), 1..120),
    ) {
        let settings = EndpointSettings {
            requests_per_minute: Some(per_minute),
            tokens_per_minute: Some(tokens_per_minute),
            max_concurrency: Some(concurrency),
            ..settings()
        };
        let (mut limiter, one) = limiter(&settings);
        let two = limiter.add_lane(&settings);
        let start = Instant::now();
        let mut world = World {
            limiter,
            now: start,
            waiting: BTreeMap::new(),
            running: Vec::new(),
            admitted: Vec::new(),
        };
        for (step, wait, tokens, pick) in steps {
            world.now += Duration::from_millis(wait);
            world.settle_down();
            match step {
                0..=3 => {
                    let lane = if pick % 3 == 0 { two } else { one };
                    let ticket = world.limiter.ticket();
                    world.waiting.insert(ticket, (lane, ask(tokens), None));
                    world.look(ticket);
                }
                4 | 5 if !world.running.is_empty() => {
                    let (_, admission) = world.running.swap_remove(pick % world.running.len());
                    if step == 4 {
                        world.limiter.settle(admission, tokens.min(3), world.now);
                    } else {
                        world.limiter.accepted(&admission, world.now);
                        world.limiter.settle(admission, 0, world.now);
                    }
                }
                6 if !world.waiting.is_empty() => {
                    let ticket = *world.waiting.keys().nth(pick % world.waiting.len()).unwrap();
                    let (lane, ..) = world.waiting.remove(&ticket).unwrap();
                    world.limiter.leave(lane, ticket, world.now);
                }
                7 if !world.running.is_empty() => {
                    let (lane, admission) = world.running.swap_remove(pick % world.running.len());
                    world.limiter.cool(lane, world.now, Duration::from_millis(wait), true);
                    world.limiter.settle(admission, 0, world.now);
                }
                _ => {}
            }
            world.settle_down();
            prop_assert!(world.limiter.in_flight() <= concurrency);
        }
        // Everything ends, and everybody who still waits gets his turn.
        while !world.waiting.is_empty() {
            for (_, admission) in std::mem::take(&mut world.running) {
                world.limiter.settle(admission, 1, world.now);
            }
            world.settle_down();
            if world.running.is_empty() && !world.waiting.is_empty() {
                let next = world.next_timer();
                prop_assert!(next.is_some(), "somebody waits and nobody will look");
                world.now = next.unwrap().max(world.now);
                world.settle_down();
            }
        }
        for (_, admission) in std::mem::take(&mut world.running) {
            world.limiter.settle(admission, 1, world.now);
        }
        prop_assert_eq!(world.limiter.in_flight(), 0);
        prop_assert!(world.limiter.crowd.is_empty());
        for lane in [one, two] {
            prop_assert_eq!(world.limiter.waiting(lane), 0);
            let mine: Vec<_> = world.admitted.iter().filter(|(_, of, ..)| *of == lane).collect();
            prop_assert!(mine.is_sorted_by_key(|(.., ticket, _)| *ticket), "first come, first served");
            for (index, (at, ..)) in mine.iter().enumerate() {
                let minute = mine[..=index].iter().filter(|(then, ..)| *then + Duration::from_mins(1) > *at);
                prop_assert!(minute.count() <= per_minute as usize);
            }
        }
        let much_later = world.now + MINUTE;
        prop_assert_eq!(world.limiter.used(one, much_later), [Some(0), None, Some(0)]);
    }
}
