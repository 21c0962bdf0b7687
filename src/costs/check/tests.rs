use std::sync::Arc;

use super::*;
use crate::costs::report::{Filter, report};
use crate::costs::{Attempt, BudgetSettings, Caps, Ledger, Outcome, PriceOverride, Prices};
use crate::usage::{Meter, Usage};

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

async fn spend(state: &Path) {
    let ledger = Ledger::new(Store::open(state).unwrap(), Arc::new(Prices::built_in()));
    let attempt = |agent: &str| Attempt {
        run_id: "r".into(),
        session: Some("s".into()),
        agent: agent.into(),
        delegators: vec!["lead".into(), "coder".into()],
        model: "lab/m".to_owned(),
        price: Some(PriceOverride {
            input: Usd::ZERO,
            output: usd("1"),
            cache_read: None,
            cache_write: None,
        }),
        max_output_tokens: 2_000,
        ..Attempt::default()
    };
    for (agent, outcome) in [("coder", true), ("tester", true), ("tester", false)] {
        let meter = Arc::new(Meter::default());
        let attempt = attempt(agent);
        let hold = ledger
            .start_attempt(&attempt, &Caps::default(), meter)
            .await
            .unwrap();
        if outcome {
            let outcome = Outcome {
                usage: Some(Usage {
                    output_tokens: 1_000,
                    ..Usage::default()
                }),
                ..Outcome::default()
            };
            hold.settle(outcome).await.unwrap();
        } else {
            std::mem::forget(hold);
        }
    }
}

#[tokio::test]
async fn totals_are_the_sum_of_their_rows_and_are_rebuilt_when_they_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    let nothing = check_store(state, true).await.unwrap();
    assert!(!nothing.exists && nothing.is_sound());
    spend(state).await;
    let expected = StoreCheck {
        path: state.join(FILE_NAME),
        exists: true,
        schema: crate::store::migrations::current_version(),
        attempts: 3,
        live_holds: 1,
        ..StoreCheck::default()
    };
    assert_eq!(check_store(state, false).await, Ok(expected.clone()));

    let store = Store::open(state).unwrap();
    let spoil = store.write(Durability::Full, |transaction| {
        transaction.execute_batch(
            "UPDATE totals SET spent = spent + 5 WHERE scope = 'run/r';
             DELETE FROM totals WHERE scope = 'run/r/agent/lead';
             INSERT INTO totals VALUES ('run/x', 7, 8);
             UPDATE attempts SET process_started = 1 WHERE state = 'held';",
        )
    });
    spoil.await.unwrap();
    store.close().await.unwrap();
    let wrong = |scope: &str, spent: [&str; 2], held: [&str; 2]| WrongTotal {
        scope: scope.to_owned(),
        spent_usd: usd(spent[0]),
        should_be_spent_usd: usd(spent[1]),
        held_usd: usd(held[0]),
        should_be_held_usd: usd(held[1]),
    };
    let check = check_store(state, false).await.unwrap();
    assert_eq!(
        check.wrong_totals,
        [
            wrong("run/r", ["0.002000000005", "0.002"], ["0.002", "0.002"]),
            wrong("run/r/agent/lead", ["0", "0.002"], ["0", "0.002"]),
            wrong("run/x", ["0.000000000007", "0"], ["0.000000000008", "0"]),
        ]
    );
    assert!(!check.is_sound());
    assert_eq!((check.live_holds, check.dead_holds.len()), (0, 1));
    let dead = &check.dead_holds[0];
    assert_eq!(
        (dead.id, dead.agent.as_str(), dead.held_usd),
        (3, "tester", usd("0.002"))
    );

    let repaired = check_store(state, true).await.unwrap();
    assert!(repaired.repaired && repaired.is_sound());
    let after = check_store(state, false).await.unwrap();
    assert_eq!(after.wrong_totals, []);
    assert_eq!(after.dead_holds, check.dead_holds);
}

#[tokio::test]
async fn damage_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    spend(state).await;
    let path = state.join(FILE_NAME);
    let other = Connection::open(&path).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(other);
    let mut bytes = std::fs::read(&path).unwrap();
    let page = bytes.len() / 4096;
    assert!(page >= 4);
    // The second page is the ledger's first: its header and cells become nonsense.
    bytes[4096..2 * 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    for repair in [false, true, false] {
        match check_store(state, repair).await {
            Ok(check) => assert!(!check.is_sound(), "{check:?}"),
            Err(error) => assert_eq!(error.kind, crate::store::StoreErrorKind::Corrupt),
        }
    }
}

/// Rebuilding totals does not make a damaged page whole: that must not be told as repaired.
#[tokio::test]
async fn damage_that_stays_is_not_called_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    spend(state).await;
    let path = state.join(FILE_NAME);
    let other = Connection::open(&path).unwrap();
    // A page that no table uses and that is on no list of free ones.
    other
        .execute_batch(
            "CREATE TABLE lost (x); PRAGMA writable_schema = ON;
             DELETE FROM sqlite_schema WHERE name = 'lost';
             PRAGMA writable_schema = OFF;
             UPDATE totals SET spent = 1;",
        )
        .unwrap();
    drop(other);
    let check = check_store(state, true).await.unwrap();
    assert!(check.repaired && !check.damage_left.is_empty(), "{check:?}");
    assert!(!check.is_sound());
    assert_eq!(check_store(state, false).await.unwrap().wrong_totals, []);
}

/// What a clock before 1970 recorded is found under the same day by the rows and by the totals.
#[tokio::test]
async fn a_clock_before_1970_leaves_a_sound_store() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(
        Store::open(directory.path()).unwrap(),
        Arc::new(Prices::built_in()),
    );
    let attempt = Attempt {
        run_id: "r".into(),
        most: Some(usd("1")),
        ..Attempt::default()
    };
    let long_ago = std::time::UNIX_EPOCH - std::time::Duration::from_hours(500_000);
    let hold = ledger
        .start_attempt_at(
            &attempt,
            &Caps::default(),
            Arc::new(Meter::default()),
            long_ago,
        )
        .await
        .unwrap();
    std::mem::forget(hold);
    let check = check_store(directory.path(), false).await.unwrap();
    assert!(check.is_sound() && check.live_holds == 1, "{check:?}");
}

/// Changes a store as a rotten disk would: nothing is asked whether it may be.
fn spoil(state: &Path, statements: &str) {
    let other = Connection::open(state.join(FILE_NAME)).unwrap();
    other
        .execute_batch(&format!(
            "PRAGMA ignore_check_constraints = ON; {statements}"
        ))
        .unwrap();
}

/// The running totals: scope, spent, held.
fn totals(state: &Path) -> Vec<(String, i64, i64)> {
    let other = Connection::open(state.join(FILE_NAME)).unwrap();
    let mut statement = other
        .prepare("SELECT scope, spent, held FROM totals ORDER BY scope")
        .unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// What nobody can have written is told, and no budget gains from it: its total knows better than the rows.
#[tokio::test]
async fn damaged_rows_are_told_and_lower_no_total() {
    for (change, told) in [
        ("cost = -5000000000000", "its cost is below zero"),
        ("held = -4", "its hold is below zero"),
        ("state = 'weird'", "its state is none that there is"),
        ("input_tokens = -7", "its tokens are fewer than none"),
        ("reasoning_tokens = -1", "its tokens are fewer than none"),
        ("started_at = -5", "it began at no time that there is"),
        (
            "started_at = 9223372036854775807",
            "it began at no time that there is",
        ),
        (
            "delegators = 'not json'",
            "its delegators are no list of names",
        ),
        (
            "delegators = '{\"a\": {\"b\": 1}}'",
            "its delegators are no list of names",
        ),
        (
            "delegators = '[\"lead\", 7]'",
            "its delegators are no list of names",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        spend(state).await;
        let before = totals(state);
        spoil(state, &format!("UPDATE attempts SET {change} WHERE id = 1"));
        for repair in [false, true, true] {
            let check = check_store(state, repair).await.unwrap();
            let told = format!("row 1 of `attempts`: {told}");
            assert!(check.damage.contains(&told), "{change}: {check:?}");
            assert!(!check.is_sound(), "{change}: {check:?}");
            assert_eq!(check.wrong_totals, [], "{change}");
            assert_eq!(check.damage_left.contains(&told), repair, "{check:?}");
            assert_eq!(totals(state), before, "{change}");
        }
    }
}

/// A total that has rotted, too, is put back to what the rows that can be read come to.
#[tokio::test]
async fn a_total_is_rebuilt_beside_a_damaged_row() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    spend(state).await;
    spoil(
        state,
        "UPDATE attempts SET cost = -5000000000000 WHERE id = 1;
         UPDATE totals SET spent = -7, held = -7 WHERE scope = 'run/r'",
    );
    let check = check_store(state, true).await.unwrap();
    assert_eq!(
        check.wrong_totals,
        [WrongTotal {
            scope: "run/r".to_owned(),
            spent_usd: Usd::from_pico(-7),
            should_be_spent_usd: usd("0.001"),
            held_usd: Usd::from_pico(-7),
            should_be_held_usd: usd("0.002"),
        }]
    );
    assert!(check.repaired && !check.is_sound());
    assert_eq!(
        check_store(state, false).await.unwrap().wrong_totals,
        [],
        "{check:?}"
    );
    // Nothing that is shown is less than nothing either.
    let store = Store::open(state).unwrap();
    let now = std::time::SystemTime::now();
    let (filter, budgets) = (Filter::default(), BudgetSettings::default());
    let report = report(&store, &filter, &budgets, now).unwrap();
    assert_eq!(report.total_cost_usd, usd("0.001"));
}

/// Rows of types that no writer has: each is told, and the rest is looked at all the same.
#[tokio::test]
async fn a_value_of_another_type_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    spend(state).await;
    spoil(
        state,
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name = 'attempts'",
    );
    spoil(
        state,
        "UPDATE attempts SET process_id = 'x', cost = 'y' WHERE id = 3;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE name = 'attempts'",
    );
    let check = check_store(state, true).await.unwrap();
    for told in [
        "non-INTEGER value in attempts.process_id",
        "non-INTEGER value in attempts.cost",
    ] {
        assert!(check.damage.contains(&told.to_owned()), "{check:?}");
    }
    assert!(!check.is_sound() && !check.repaired, "{check:?}");
    assert_eq!(check.attempts, 3);
}

/// Every run would fail in a store whose tables are not those of its version; nothing can mend it.
#[tokio::test]
async fn tables_that_are_not_those_of_the_version_are_told() {
    for (change, told) in [
        ("DROP TABLE baselines", "the table `baselines` is missing"),
        ("DROP TABLE attempts", "the table `attempts` is missing"),
        (
            "DROP INDEX runs_by_time",
            "the index `runs_by_time` is missing",
        ),
        (
            "ALTER TABLE totals ADD COLUMN more INTEGER",
            "the table `totals` is not as version 2 made it",
        ),
        (
            "PRAGMA user_version = 1",
            "the index `quota_failures_of` is of a later version than 1",
        ),
        (
            "PRAGMA user_version = 1",
            "the table `quota_failures` is of a later version than 1",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        spend(state).await;
        spoil(state, change);
        for repair in [false, true] {
            let check = check_store(state, repair).await.unwrap();
            assert!(check.damage.contains(&told.to_owned()), "{check:?}");
            assert!(!check.is_sound() && !check.repaired, "{check:?}");
        }
    }
    // What somebody added for themselves is in nobody's way.
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path();
    spend(state).await;
    spoil(
        state,
        "CREATE INDEX mine ON attempts (agent); CREATE VIEW dear AS SELECT * FROM attempts; ANALYZE",
    );
    let check = check_store(state, true).await.unwrap();
    assert!(check.is_sound() && !check.repaired, "{check:?}");
}
