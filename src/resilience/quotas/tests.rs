use proptest::prelude::*;

use super::*;
use crate::costs::Holder;

fn connection() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for step in [
        include_str!("../../store/migrations/001/quotas.sql"),
        include_str!("../../store/migrations/002/quotas.sql"),
    ] {
        connection.execute_batch(step).unwrap();
    }
    connection
}

fn key() -> Key {
    Key {
        lane: 7,
        breakers: [1, 7],
        endpoint: "lab".to_owned(),
        model: "lab/model".to_owned(),
    }
}

fn per_minute(limit: u64) -> Limits {
    Limits {
        per_minute: Some(limit),
        ..Limits::default()
    }
}

/// How many are granted, and from when there may be more.
fn ask(connection: &Connection, limits: Limits, asks: &[u64], now: i64) -> (u64, Option<i64>) {
    let admitted = admit(connection, &key(), limits, asks, now).unwrap();
    (admitted.grants.requests, admitted.full_until)
}

#[test]
fn grants_stop_at_the_limit_and_say_from_when_there_is_more() {
    let store = connection();
    assert_eq!(ask(&store, per_minute(3), &[0], 1_000), (1, None));
    assert_eq!(
        ask(&store, per_minute(3), &[0; 4], 2_000),
        (2, Some(61_125))
    );
    assert_eq!(ask(&store, per_minute(3), &[0], 61_124), (0, Some(61_125)));
    assert_eq!(
        ask(&store, per_minute(3), &[0; 2], 61_125),
        (1, Some(62_125))
    );
    // Larger than the limit at once: what has just been granted is waited for.
    assert_eq!(
        ask(&connection(), per_minute(2), &[0; 3], 0),
        (2, Some(60_125))
    );
}

#[test]
fn hours_and_tokens_count_too_and_corrections_make_room() {
    let store = connection();
    let limits = Limits {
        per_minute: Some(100),
        per_hour: Some(3),
        tokens_per_minute: Some(1_000),
    };
    let first = admit(&store, &key(), limits, &[600], 0).unwrap();
    assert_eq!(
        first.grants,
        Grants {
            bucket: 60_125,
            requests: 1,
            tokens: 600
        }
    );
    assert_eq!(ask(&store, limits, &[500], 1_000), (0, Some(60_125)));
    // It used 100 in the end.
    correct(&store, &key(), first.grants, (0, -500)).unwrap();
    assert_eq!(ask(&store, limits, &[500, 500], 1_000), (1, Some(60_125)));
    assert_eq!(ask(&store, limits, &[1], 70_000), (1, None));
    assert_eq!(ask(&store, limits, &[1], 140_000), (0, Some(3_607_500)));
    // One was never sent: the hour has room again.
    correct(&store, &key(), first.grants, (1, -100)).unwrap();
    assert_eq!(ask(&store, limits, &[1], 140_000), (1, None));
}

#[test]
fn cool_downs_and_open_breakers_hold_everybody() {
    let store = connection();
    cool(&store, &key(), 5_000).unwrap();
    cool(&store, &key(), 4_000).unwrap();
    assert_eq!(ask(&store, per_minute(9), &[0], 1_000), (0, Some(5_000)));
    assert_eq!(ask(&store, per_minute(9), &[0], 5_000), (1, None));
    open(&store, 1, "lab", (30_000, 0)).unwrap();
    let held = admit(&store, &key(), per_minute(9), &[0], 6_000).unwrap();
    assert_eq!((held.grants.requests, held.full_until), (0, Some(30_000)));
    assert_eq!(held.news.breakers[0].open_until, 30_000);
    assert_eq!(held.news.breakers[1], BreakerNews::default());
}

#[test]
fn one_process_at_a_time_tries_a_half_open_endpoint() {
    let store = connection();
    open(&store, 1, "lab", (30_000, 1)).unwrap();
    assert_eq!(ask(&store, per_minute(9), &[0, 0], 30_000), (1, None));
    assert_eq!(ask(&store, per_minute(9), &[0], 30_001), (0, Some(32_000)));
    // It says that it is over: the next, who is told whether it succeeded.
    trial_over(&store, 1, 1).unwrap();
    assert_eq!(
        look(&store, &key(), 30_002).unwrap().breakers[0].proven(),
        1
    );
    assert_eq!(ask(&store, per_minute(9), &[0], 30_002), (1, None));
    assert_eq!(
        look(&store, &key(), 30_003).unwrap().breakers[0].proven(),
        0
    );
    // It never says anything: the next, after a while.
    assert_eq!(ask(&store, per_minute(9), &[0], 32_002), (1, None));
    open(&store, 1, "lab", (90_000, 2)).unwrap();
    assert_eq!(ask(&store, per_minute(9), &[0], 32_003), (0, Some(90_000)));
    close(&store, 1).unwrap();
    assert_eq!(ask(&store, per_minute(9), &[0; 5], 32_004), (5, None));
}

#[test]
fn another_boot_makes_everything_void_but_the_names() {
    let store = connection();
    begin(&store, "one").unwrap();
    register(&store, &key(), per_minute(2), 0).unwrap();
    ask(&store, per_minute(2), &[0, 0], 900_000);
    cool(&store, &key(), 990_000).unwrap();
    open(&store, 1, "lab", (950_000, 0)).unwrap();
    begin(&store, "one").unwrap();
    assert_eq!(
        ask(&store, per_minute(2), &[0], 910_000),
        (0, Some(990_000))
    );
    let lane = LaneStatus {
        endpoint: "lab".to_owned(),
        model: "lab/model".to_owned(),
        limits: per_minute(2),
        used: [2, 0, 0],
        cooling: 80_000,
    };
    let breaker = OpenBreaker {
        name: "lab".to_owned(),
        left: 40_000,
    };
    assert_eq!(
        super::status(&store, 910_000).unwrap(),
        (vec![lane.clone()], vec![breaker])
    );
    begin(&store, "two").unwrap();
    let again = LaneStatus {
        used: [0; 3],
        cooling: 0,
        ..lane
    };
    assert_eq!(super::status(&store, 5_000).unwrap(), (vec![again], vec![]));
    assert_eq!(ask(&store, per_minute(2), &[0], 5_000), (1, None));
    // Other limits are noted, and what has expired goes.
    register(&store, &key(), per_minute(3), 70_000).unwrap();
    let (lanes, _) = super::status(&store, 5_000).unwrap();
    assert_eq!((lanes[0].limits, lanes[0].used), (per_minute(3), [0; 3]));
}

proptest! {
    /// Whatever several processes ask and give back: never more than the limits in any minute, and
    /// what is said of when there is more is true.
    #[test]
    fn processes_together_keep_the_limits(
        limit in 1_u64..12,
        token_limit in 20_u64..80,
        steps in proptest::collection::vec(
            (0_i64..15_000, proptest::collection::vec(1_u64..20, 1..6), 0_u8..4),
            1..80,
        ),
    ) {
        let store = connection();
        let limits = Limits {
            per_minute: Some(limit),
            per_hour: Some(limit * 10),
            tokens_per_minute: Some(token_limit),
        };
        let mut now = 1_000_000;
        // When, requests, tokens.
        let mut made: Vec<(i64, u64, u64)> = Vec::new();
        for (wait, asks, fate) in steps {
            now += wait;
            let admitted = admit(&store, &key(), limits, &asks, now).unwrap();
            let grants = admitted.grants;
            let granted = usize::try_from(grants.requests).unwrap();
            prop_assert_eq!(grants.tokens, asks[..granted].iter().sum::<u64>());
            prop_assert_eq!(admitted.full_until.is_none(), granted == asks.len());
            let mut entry = (now, grants.requests, grants.tokens);
            if granted > 0 && fate == 0 {
                // One is cancelled before it is sent.
                let tokens = asks[0];
                correct(&store, &key(), grants, (1, -clamp(tokens))).unwrap();
                entry = (now, entry.1 - 1, entry.2 - tokens);
            } else if granted > 0 && fate == 1 {
                // One used fewer tokens.
                correct(&store, &key(), grants, (0, 1 - clamp(asks[0]))).unwrap();
                entry.2 = entry.2 + 1 - asks[0];
            }
            made.push(entry);
            for (period, most) in [(MINUTE, limit), (HOUR, limit * 10)] {
                let requests: u64 = made.iter().filter(|(at, ..)| *at + period > now).map(|entry| entry.1).sum();
                prop_assert!(requests <= most, "{requests} of {most}");
            }
            let tokens: u64 = made.iter().filter(|(at, ..)| *at + MINUTE > now).map(|entry| entry.2).sum();
            prop_assert!(tokens <= token_limit);
            if let (Some(until), Some(next)) = (admitted.full_until, asks.get(granted)) {
                prop_assert!(until > now);
                now = until;
                let again = admit(&store, &key(), limits, &[*next], now).unwrap().grants;
                prop_assert_eq!(again.requests, 1);
                made.push((now, again.requests, again.tokens));
            }
        }
    }
}

#[test]
fn failures_in_a_row_open_a_breaker_whoever_meets_them() {
    let store = connection();
    let process = Holder::this_process();
    let failed = |answered| Failed {
        process,
        answered,
        threshold: 3,
        open_until: 99_000,
    };
    let news = |now| look(&store, &key(), now).unwrap().breakers;
    let fail = |answered, now| {
        super::fail(&store, (7, "lab/model"), failed(answered), now).unwrap();
        news(now)[1]
    };
    assert!(!news(0)[1].fails);
    let once = fail(None, 1_000);
    assert_eq!((once.fails, once.open_until), (true, 0));
    assert!(!news(1_000)[0].fails, "the endpoint is not the model");
    assert_eq!(fail(None, 2_000).open_until, 0);
    // One who has heard an answer since the first two begins anew.
    assert_eq!(fail(Some(2_500), 3_000).open_until, 0);
    assert_eq!(fail(Some(500), 4_000).open_until, 0);
    // An answer ends the row for all.
    forget(&store, 7, 4_000).unwrap();
    assert!(!news(4_000)[1].fails);
    assert_eq!(fail(None, 5_000).open_until, 0);
    // What is older than a minute is none of it.
    assert_eq!(fail(None, 66_000).open_until, 0);
    assert_eq!(fail(None, 67_000).open_until, 0);
    let open = fail(None, 68_000);
    assert_eq!((open.open_until, open.fails), (99_000, false));
    // What a process has met that is gone does not count.
    let store = connection();
    let gone = Failed {
        process: Holder {
            process_id: i64::from(i32::MAX),
            started: 1,
        },
        ..failed(None)
    };
    for at in [68_000, 68_001] {
        super::fail(&store, (7, "lab/model"), gone, at).unwrap();
    }
    let count = |connection: &Connection| {
        let sql = "SELECT count(*) FROM quota_failures";
        connection.query_row(sql, [], |row| row.get::<_, i64>(0))
    };
    assert_eq!(count(&store), Ok(2));
    super::fail(&store, (7, "lab/model"), failed(None), 68_002).unwrap();
    assert_eq!(
        look(&store, &key(), 68_003).unwrap().breakers[1].open_until,
        0
    );
    assert_eq!(count(&store), Ok(1));
}

#[test]
fn an_open_breaker_counts_no_failures() {
    let store = connection();
    let failed = Failed {
        process: Holder::this_process(),
        answered: None,
        threshold: 1,
        open_until: 99_000,
    };
    let fail = |now| {
        super::fail(&store, (7, "lab/model"), failed, now).unwrap();
        look(&store, &key(), now).unwrap().breakers[1]
    };
    assert_eq!(fail(68_000).open_until, 99_000);
    // Nothing more is counted while it is open, and it closes with an empty row.
    assert!(!fail(69_000).fails);
    close(&store, 7).unwrap();
    let news = look(&store, &key(), 70_000).unwrap();
    assert_eq!(news.breakers[1], BreakerNews::default());
}
