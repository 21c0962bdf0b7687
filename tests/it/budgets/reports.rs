//! What was spent, as users and scripts ask for it.

use std::process::Stdio;

use expectrl::session::OsSession as Session;
use expectrl::{Eof, Expect};
use serde_json::{Value, json};

use super::priced;
use crate::support::terminal::PATIENCE;
use crate::support::{Context, Stub, stub};

/// Two runs of agent `a` and one of `b`, a cent and a half each.
fn three_runs() -> (Stub, Context, Vec<String>) {
    let server = Stub::start(|_| stub::text("ok"));
    let context = Context::new();
    // Five tokens out at three tenths of a cent.
    let yaml = priced(&server.url(), 0.0, 3000.0, "", "max_output_tokens: 5")
        + "  b: {role: R, provider: stub, model: m, max_output_tokens: 5}\n";
    context.write("orch.yaml", yaml);
    let runs = ["a", "a", "b"].map(|agent| {
        let result = context
            .orch(&["--agent", agent, "--prompt", "x", "--json"])
            .exits(0)
            .json();
        result["run_id"].as_str().unwrap().to_owned()
    });
    (server, context, runs.into())
}

#[test]
fn reports_are_of_the_time_run_and_agent_that_was_asked_for() {
    let (_server, context, runs) = three_runs();
    let total = |args: &[&str]| {
        let costs = context
            .orch(&[&["--costs", "--json"], args].concat())
            .exits(0)
            .json();
        costs["total_cost_usd"].as_str().unwrap().to_owned()
    };
    for (args, cost) in [
        (vec![], "0.045000"),
        (vec!["--since", "today"], "0.045000"),
        (vec!["--since", "1h"], "0.045000"),
        (vec!["--until", "2020-01-01"], "0.000000"),
        (vec!["--since", "2999-01-01"], "0.000000"),
        (vec!["--since", "9999-12-31"], "0.000000"),
        (vec!["--until", "9999-12-31"], "0.045000"),
        (vec!["--until", "9999-12"], "0.045000"),
        (vec!["--since", "2020-01", "--until", "2998"], ""),
        (vec!["--run", &runs[1]], "0.015000"),
        (vec!["--run", &runs[1][..runs[1].len() - 1]], "0.015000"),
        (vec!["--agent", "a"], "0.030000"),
        (vec!["--agent", "b", "--since", "today"], "0.015000"),
    ] {
        if cost.is_empty() {
            let wrong = context.orch(&[&["--costs"], &args[..]].concat()).exits(2);
            assert!(
                wrong.stderr.contains("`2998` is no time such as"),
                "{wrong:#?}"
            );
        } else {
            assert_eq!(total(&args), cost, "{args:?}");
        }
    }
    for [since, until] in [
        ["2026-03-29", "2026-03-28"],
        ["1h", "2h"],
        ["2026-03-29T03:30:00+02:00", "2026-03-29T01:30:00Z"],
    ] {
        let args = ["--costs", "--since", since, "--until", until];
        let refused = context.orch(&args).exits(2);
        let words = "error: `since` is not before `until`, so nothing lies between them";
        assert!(refused.stderr.starts_with(words), "{refused:#?}");
    }
    let pairs = runs[0].chars().zip(runs[1].chars());
    let common: String = pairs
        .take_while(|(one, other)| one == other)
        .map(|(one, _)| one)
        .collect();
    for (id, words) in [
        ("nobody", "there is no run `nobody`".to_owned()),
        (&common, format!("`{common}` begins several runs: ")),
    ] {
        for args in [&["--costs", "--run"][..], &["--resume"]] {
            let refused = context.orch(&[args, &[id]].concat()).exits(2);
            assert!(
                refused.stderr.starts_with(&format!("error: {words}")),
                "{refused:#?}"
            );
            let named = runs.iter().filter(|run| refused.stderr.contains(*run));
            assert!(id == "nobody" || named.count() >= 2, "{refused:#?}");
        }
    }
    let csv = context
        .orch(&["--costs", "--csv", "--run", &runs[2]])
        .exits(0)
        .stdout;
    assert_eq!(csv.lines().count(), 2);
    assert!(csv.contains(&format!(",{},", runs[2])), "{csv}");
    let export: Value = context.orch(&["--costs", "--export"]).exits(0).json();
    assert_eq!(export["requests"].as_array().unwrap().len(), 3);
    assert_eq!(export["summary"]["total_cost_usd"], "0.045000");
    assert_eq!(export["budget_limit"], json!(null));
    let table = context.orch(&["--costs"]).exits(0).stdout;
    for words in [
        "requests  3",
        "cost      $0.0450",
        "stub/m",
        "█",
        "today",
        "this month",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let status = context.orch(&["--status", "--json"]).exits(0).json();
    assert_eq!(status["costs"]["total_requests"], 3);
}

#[test]
fn a_session_shows_and_resets_costs_and_caps_itself() {
    let (server, context, runs) = three_runs();
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "xterm").stdin(Stdio::inherit());
    let mut session = Session::spawn(command).unwrap();
    session.set_expect_timeout(Some(PATIENCE));
    session.expect("[a] > ").unwrap();
    let mut say = |line: &str, answers: &[&str]| {
        session.send_line(line).unwrap();
        for answer in answers {
            session
                .expect(answer)
                .unwrap_or_else(|error| panic!("{line}: {answer}: {error}"));
        }
        session.expect("[a] > ").unwrap();
    };
    say("/costs", &["requests  3", "$0.0450"]);
    say("/costs since today", &["requests  3"]);
    say("/costs --until 2020-01-01", &["requests  0"]);
    say(
        &format!("/costs run {}", runs[0]),
        &["requests  1", "$0.0150"],
    );
    say("/costs agent b json", &["\"total_requests\": 1"]);
    say("/costs csv", &["id,started_at,run_id", &runs[2]]);
    say("/costs export", &["\"summary\""]);
    say("/costs since soon", &["`soon` is no time"]);
    say("/costs frobnicate", &["/costs [since DAY]"]);
    say("/costs reset", &["a new count begins"]);
    say("/costs", &["requests  0"]);
    say("/costs since today", &["requests  3"]);
    say(
        "/budget",
        &[
            "this conversation",
            "$0.000000 spent",
            "no limit",
            "day",
            "month",
        ],
    );
    say("/budget 0.025", &["of $0.025000", "$0.025000 left"]);
    say("hello", &["ok"]);
    say("/budget", &["$0.015000 spent", "$0.010000 left"]);
    say(
        "again",
        &["the budget `session` of 0.025000 USD would be exceeded"],
    );
    say("/budget none", &["no limit"]);
    say("again", &["ok"]);
    say("/budget -1", &["below zero"]);
    session.send_line("/quit").unwrap();
    session.expect(Eof).unwrap();
    assert_eq!(server.chats().len(), 5);
}

/// An agent of the configuration or of the ledger can be asked for; one of neither is a slip of the finger.
#[test]
fn agents_that_are_gone_are_still_reported_and_unknown_ones_are_refused() {
    let (server, context, _) = three_runs();
    let now = priced(&server.url(), 0.0, 3000.0, "", "max_output_tokens: 5")
        + "  fresh: {role: R, provider: stub, model: m}\n";
    context.write("orch.yaml", now);
    for (agent, cost) in [("a", "0.030000"), ("b", "0.015000"), ("fresh", "0.000000")] {
        let costs = context.orch(&["--costs", "--json", "--agent", agent]);
        assert_eq!(costs.exits(0).json()["total_cost_usd"], cost, "{agent}");
    }
    for form in [&["--json"][..], &["--csv"], &["--export"], &[]] {
        let args = [&["--costs", "--agent", "fresch"], form].concat();
        let refused = context.orch(&args).exits(2);
        let told = format!("{}{}", refused.stdout, refused.stderr);
        assert!(told.contains("there is no agent `fresch`"), "{refused:#?}");
        assert!(told.contains("did you mean `fresh`?"), "{refused:#?}");
    }
}

#[test]
fn the_budgets_are_told_before_anything_was_spent() {
    let context = Context::new();
    let budget = "budget: {day_usd: 5, month_usd: 50}";
    context.write(
        "orch.yaml",
        priced("http://127.0.0.1:9/v1", 0.0, 1.0, budget, ""),
    );
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    for (at, budget, limit) in [(0, "day", "5.000000"), (1, "month", "50.000000")] {
        let line = &costs["budgets"][at];
        assert_eq!(line["budget"], budget);
        assert_eq!(
            (&line["limit_usd"], &line["left_usd"]),
            (&json!(limit), &json!(limit))
        );
        assert_eq!(
            (&line["used_usd"], &line["held_usd"]),
            (&json!("0.000000"), &json!("0.000000"))
        );
    }
    let text = context.orch(&["--costs"]).exits(0).stdout;
    assert!(
        text.contains("today       $0.00 of $5.00, $5.00 left"),
        "{text}"
    );
    context.orch(&["--costs", "--agent", "nobody"]).exits(2);
    assert!(!context.state().join("orch.db").exists());
}

/// What a call that failed in the dark holds is no cost: it is listed apart.
#[test]
fn the_list_of_runs_tells_what_was_spent_and_what_is_held() {
    let server = Stub::start(|seen| match seen.last_text() {
        text if text.contains("fail") => vec![stub::Do::Reset],
        _ => stub::text("ok"),
    });
    let context = Context::new();
    let yaml = priced(&server.url(), 0.0, 3000.0, "", "max_output_tokens: 5");
    context.write("orch.yaml", yaml);
    context.orch(&["--agent", "a", "--prompt", "go"]).exits(0);
    context.orch(&["--agent", "a", "--prompt", "fail"]).exits(5);
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    for (at, cost, held) in [(0, "0.000000", "0.015000"), (1, "0.015000", "0.000000")] {
        let money = (&runs[at]["cost_usd"], &runs[at]["held_usd"]);
        assert_eq!(money, (&json!(cost), &json!(held)), "{runs:#}");
    }
    let text = context.orch(&["--runs"]).exits(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].ends_with(" a  $0.000000 + $0.015000 held"),
        "{text}"
    );
    assert!(lines[1].ends_with(" a  $0.015000"), "{text}");
}

/// Two sessions side by side under one cap of the day: together they do not pass it.
#[test]
fn two_sessions_share_a_budget() {
    let server = Stub::start(|_| stub::text_with_usage("ok", 10, 300));
    let context = Context::new();
    let yaml = priced(
        &server.url(),
        0.0,
        1000.0,
        "budget: {day_usd: 1.00}",
        "max_output_tokens: 300",
    );
    context.write("orch.yaml", yaml);
    let mut sessions: Vec<Session> = (0..2)
        .map(|_| {
            let mut command = context.command(&["--config", "orch.yaml"]);
            command.env("TERM", "xterm").stdin(Stdio::inherit());
            let mut session = Session::spawn(command).unwrap();
            session.set_expect_timeout(Some(PATIENCE));
            session.expect("[a] > ").unwrap();
            session
        })
        .collect();
    for turn in 0..4 {
        let session = &mut sessions[turn % 2];
        session.send_line("go on").unwrap();
        let answer = if turn < 3 {
            "ok"
        } else {
            "the budget `day` of 1.000000 USD would be exceeded"
        };
        session.expect(answer).unwrap();
        session.expect("[a] > ").unwrap();
    }
    assert_eq!(server.chats().len(), 3);
    for mut session in sessions {
        session.send_line("/quit").unwrap();
        session.expect(Eof).unwrap();
    }
}
