use std::sync::Arc;

use super::*;
use crate::costs::{Attempt, Caps, Ended, Ledger, Outcome, PriceOverride, Prices};
use crate::usage::{Meter, Usage};

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn time(text: &str) -> SystemTime {
    since(text, SystemTime::UNIX_EPOCH).unwrap()
}

async fn spend(ledger: &Ledger, at: &str, attempt: Attempt, outcome: Option<Outcome>) {
    let attempt = Attempt {
        run_id: "r1".into(),
        turn: 1,
        attempt: 1,
        price: Some(PriceOverride {
            input: usd("1"),
            output: usd("10"),
            cache_read: Some(usd("0.1")),
            cache_write: None,
        }),
        max_output_tokens: 1_000,
        ..attempt
    };
    let meter = Arc::new(Meter::default());
    let hold = ledger
        .start_attempt_at(&attempt, &Caps::default(), meter, time(at))
        .await
        .unwrap();
    match outcome {
        Some(outcome) => drop(hold.settle(outcome).await.unwrap()),
        None => std::mem::forget(hold),
    }
}

fn answered(input_tokens: u64, output_tokens: u64, cache_read_tokens: u64) -> Outcome {
    Outcome {
        usage: Some(Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            ..Usage::default()
        }),
        model: Some("model-2026".to_owned()),
        ..Outcome::default()
    }
}

fn by(agent: &str, model: &str, task: Option<&str>) -> Attempt {
    Attempt {
        agent: agent.into(),
        provider: "lab".to_owned(),
        model: model.to_owned(),
        task: task.map(Into::into),
        ..Attempt::default()
    }
}

/// Three days of two agents, one with a comma in a name, one call still held.
async fn ledger() -> Ledger {
    let ledger = Ledger::new(Store::in_memory().unwrap(), Arc::new(Prices::built_in()));
    spend(
        &ledger,
        "2026-11-22T23:59:59Z",
        by("coder", "lab/a", None),
        Some(answered(1_000_000, 100_000, 500_000)),
    )
    .await;
    spend(
        &ledger,
        "2026-11-23T00:00:00Z",
        by("coder", "lab/b", Some("deploy, \"now\"")),
        Some(answered(1_000, 100, 0)),
    )
    .await;
    let refused = Outcome {
        ended: Ended::Refused {
            class: "rate_limited".to_owned(),
        },
        ..Outcome::default()
    };
    spend(
        &ledger,
        "2026-11-24T08:00:00Z",
        by("tester", "lab/a", None),
        Some(refused),
    )
    .await;
    spend(
        &ledger,
        "2026-11-24T09:00:00Z",
        by("tester", "lab/a", None),
        None,
    )
    .await;
    ledger
}

fn settings() -> BudgetSettings {
    BudgetSettings {
        day_usd: Some(usd("0.02")),
        ..BudgetSettings::default()
    }
}

fn whole(ledger: &Ledger, filter: &Filter) -> Report {
    report(
        ledger.store(),
        filter,
        &settings(),
        time("2026-11-24T10:00:00Z"),
    )
    .unwrap()
}

#[tokio::test]
async fn the_report_is_what_the_interface_says() {
    let ledger = ledger().await;
    let report = whole(&ledger, &Filter::default());
    let entry = |requests, input: u64, output: u64, cost: &str| serde_json::json!({"requests": requests, "input_tokens": input, "output_tokens": output, "cost_usd": cost});
    let expected = serde_json::json!({
        "total_requests": 4,
        "total_input_tokens": 1_001_000,
        "total_output_tokens": 100_100,
        "total_tokens": 1_101_100,
        "total_cache_read_tokens": 500_000,
        "total_cost_usd": "1.552000",
        "held_usd": "0.010000",
        "by_model": {
            "lab/a": entry(3, 1_000_000, 100_000, "1.550000"),
            "lab/b": entry(1, 1_000, 100, "0.002000"),
        },
        "by_agent": {
            "coder": entry(2, 1_001_000, 100_100, "1.552000"),
            "tester": entry(2, 0, 0, "0.000000"),
        },
        "by_task": {"deploy, \"now\"": entry(1, 1_000, 100, "0.002000")},
        "by_day": {
            "2026-11-22": entry(1, 1_000_000, 100_000, "1.550000"),
            "2026-11-23": entry(1, 1_000, 100, "0.002000"),
            "2026-11-24": entry(2, 0, 0, "0.000000"),
        },
        "budgets": [
            {"budget": "day", "limit_usd": "0.020000", "used_usd": "0.000000", "held_usd": "0.010000",
             "left_usd": "0.010000", "resets_at": "2026-11-25T00:00:00Z"},
            {"budget": "month", "limit_usd": null, "used_usd": "1.552000", "held_usd": "0.010000",
             "left_usd": null, "resets_at": "2026-12-01T00:00:00Z"},
        ],
    });
    assert_eq!(serde_json::to_value(&report).unwrap(), expected);
}

#[tokio::test]
async fn filters_choose_rows_and_a_reset_starts_anew() {
    let ledger = ledger().await;
    let requests = |filter: Filter| whole(&ledger, &filter).total_requests;
    let filter = |since: Option<&str>, until: Option<&str>| Filter {
        since: since.map(time),
        until: until.map(time),
        ..Filter::default()
    };
    assert_eq!(requests(filter(Some("2026-11-23"), None)), 3);
    assert_eq!(requests(filter(None, Some("2026-11-23"))), 1);
    assert_eq!(requests(filter(Some("2026-11-23"), Some("2026-11-24"))), 1);
    let of_agent = Filter {
        agent: Some("coder".to_owned()),
        ..Filter::default()
    };
    let of_run = |run: &str| Filter {
        run: Some(run.to_owned()),
        ..Filter::default()
    };
    assert_eq!(requests(of_agent.clone()), 2);
    assert_eq!(requests(of_run("r1")), 4);
    assert_eq!(requests(of_run("r2")), 0);

    reset(ledger.store(), time("2026-11-24T11:00:00Z"))
        .await
        .unwrap();
    let report = whole(&ledger, &Filter::default());
    assert_eq!((report.total_requests, report.held_usd), (0, Usd::ZERO));
    assert_eq!(report.budgets[1].used_usd, usd("1.552"));
    assert_eq!(requests(of_agent), 0);
    assert_eq!(requests(of_run("r1")), 4);
    assert_eq!(requests(filter(Some("2026-11-01"), None)), 4);
    spend(
        &ledger,
        "2026-11-24T12:00:00Z",
        by("coder", "lab/a", None),
        Some(answered(1, 1, 0)),
    )
    .await;
    assert_eq!(requests(Filter::default()), 1);
}

#[tokio::test]
async fn the_rows_are_told_as_csv() {
    let ledger = ledger().await;
    let mut lines = Vec::new();
    csv(ledger.store(), &Filter::default(), |line| {
        lines.push(line.to_owned());
        Ok::<(), StoreError>(())
    })
    .unwrap();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        lines[0],
        "id,started_at,run_id,task,step,session,agent,purpose,turn,attempt,provider,model_asked,\
         model_answered,request_id,state,outcome,duration_ms,input_tokens,output_tokens,\
         cache_read_tokens,cache_write_tokens,cache_write_1h_tokens,reasoning_tokens,cost_usd,\
         cost_source,held_usd,computed_usd,reported_usd,reported_less_computed_usd,price_source,\
         price_version\n"
    );
    let duration = lines[2].split(',').nth(17).unwrap();
    assert_eq!(
        lines[2],
        format!(
            "2,2026-11-23T00:00:00.000Z,r1,\"deploy, \"\"now\"\"\",,,coder,agent,1,1,lab,lab/b,\
             model-2026,,settled,answered,{duration},1000,100,0,0,0,0,0.002000,computed,0.010000,\
             0.002000,,,config,\n"
        )
    );
    assert!(
        lines[4].contains(",held,,,0,0,0,0,0,0,0.000000,,0.010000,,,,config,"),
        "{}",
        lines[4]
    );
}

#[tokio::test]
async fn csv_pages_leave_nothing_out() {
    let ledger = ledger().await;
    let copy = ledger.store().write(Durability::Normal, |transaction| {
        transaction.execute(
            "INSERT INTO attempts (run_id, turn, attempt, purpose, agent, provider, model_asked, process_id,
                 process_started, started_at, state, price_source, price_version, held)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1996)
             SELECT 'r', 1, 1, 'agent', 'a', 'p', 'm', 1, 1, 0, 'settled', 'none', '', 0 FROM n",
            [],
        )
    });
    copy.await.unwrap();
    let mut lines = 0;
    csv(ledger.store(), &Filter::default(), |_| {
        lines += 1;
        Ok::<(), StoreError>(())
    })
    .unwrap();
    assert_eq!(lines, 1 + 2000);
}

#[tokio::test]
async fn the_export_has_the_form_of_the_original() {
    let ledger = ledger().await;
    let filter = Filter {
        until: Some(time("2026-11-23")),
        ..Filter::default()
    };
    let budgets = BudgetSettings {
        month_usd: Some(usd("10")),
        ..BudgetSettings::default()
    };
    let now = time("2026-11-24T10:00:00Z");
    let exported = export(ledger.store(), &filter, &budgets, now).unwrap();
    let expected = serde_json::json!({
        "requests": [{
            "model": "lab/a", "input_tokens": 1_000_000, "output_tokens": 100_000,
            "cache_read_tokens": 500_000, "total_cost": "1.550000", "timestamp": "2026-11-22T23:59:59.000Z",
        }],
        "summary": {
            "total_requests": 1, "total_input_tokens": 1_000_000, "total_output_tokens": 100_000,
            "total_tokens": 1_100_000, "total_cache_read_tokens": 500_000, "total_cost_usd": "1.550000",
            "by_model": {"lab/a": {
                "requests": 1, "input_tokens": 1_000_000, "output_tokens": 100_000, "cost_usd": "1.550000",
            }},
        },
        "budget_limit": "10.000000",
    });
    assert_eq!(exported, expected);
}

#[tokio::test]
async fn the_text_has_tables_with_bars() {
    let ledger = ledger().await;
    let report = whole(&ledger, &Filter::default());
    let expected = "\
requests  4
tokens    1,001,000 in, 100,100 out, 500,000 of the input from a cache
cost      $1.55
14 days   ▁▁▁▁▁▁▁▁▁▁▁█▂▁  at most $1.55 a day
held      $0.0100 by calls under way or of unknown end

model  requests      input   output       cost
lab/a         3  1,000,000  100,000      $1.55  ████████████████████████
lab/b         1      1,000      100  $0.002000  █

agent   requests      input   output   cost
coder          2  1,001,000  100,100  $1.55  ████████████████████████
tester         2          0        0  $0.00

task           requests  input  output       cost
deploy, \"now\"         1  1,000     100  $0.002000  ████████████████████████

day (UTC)   requests      input   output       cost
2026-11-22         1  1,000,000  100,000      $1.55  ████████████████████████
2026-11-23         1      1,000      100  $0.002000  █
2026-11-24         2          0        0      $0.00

today       $0.00 of $0.0200, $0.0100 left, $0.0100 held, resets 2026-11-25 UTC  ████████████░░░░░░░░░░░░
this month  $1.55, no budget set, $0.0100 held
";
    assert_eq!(report_text(&report, Some(110)), expected);
    // The days side by side stay, whatever the width.
    let no_bars: String = expected
        .lines()
        .map(|line| {
            let is_bar = |block: char| "█░".contains(block) && !line.starts_with("14 days");
            line.split(is_bar).next().unwrap().trim_end().to_owned() + "\n"
        })
        .collect();
    // So narrow, the days have no place in one line.
    let narrower = report_text(&report, Some(50));
    assert_eq!(narrower.split("\n\n").count(), 6);
    for (table, expected) in narrower.split("\n\n").zip(no_bars.split("\n\n")) {
        if expected.starts_with("day") {
            assert!(table.starts_with("day (UTC)\nrequests"), "{table}");
        } else {
            assert_eq!(table, expected);
        }
    }
    let narrow = report_text(&report, Some(40));
    let tables: Vec<&str> = narrow.split("\n\n").collect();
    let expected = "\
model
requests      input   output       cost
lab/a
       3  1,000,000  100,000      $1.55
lab/b
       1      1,000      100  $0.002000";
    assert_eq!(tables[1], expected);
    let nobody = Filter {
        agent: Some("nobody".to_owned()),
        ..Filter::default()
    };
    let expected = "\
requests  0
tokens    0 in, 0 out
cost      $0.00

today       $0.00 of $0.0200, $0.0100 left, $0.0100 held, resets 2026-11-25 UTC
this month  $1.55, no budget set, $0.0100 held
";
    assert_eq!(report_text(&whole(&ledger, &nobody), None), expected);
}
