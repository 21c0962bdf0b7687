//! Runs of agents that call others, and runs that go on where an earlier process stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::testing::{Lab, Model, calls, last_text, text};
use super::*;
use crate::cancel::{self, Cause};
use crate::costs::{Ledger, Prices, Spent};
use crate::event::Events;
use crate::message::Message;
use crate::providers::{FaultKind, ProviderError};

fn lead(delegates: &[&str]) -> AgentSettings {
    AgentSettings {
        delegates: delegates.iter().map(ToString::to_string).collect(),
        tools: vec!["read".to_owned()],
        ..AgentSettings::default()
    }
}

fn delegate(agent: &str, prompt: &str) -> (&'static str, Value) {
    ("delegate", json!({"agent": agent, "prompt": prompt}))
}

fn results(finished: &Finished, message: usize) -> Vec<(bool, Value)> {
    let Message::Tool { results } = &finished.messages[message] else {
        panic!("{:?}", finished.messages[message]);
    };
    results
        .iter()
        .map(|result| {
            let content = serde_json::from_str(&result.content);
            (
                result.is_error,
                content.unwrap_or_else(|_| json!(result.content)),
            )
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn when_two_of_five_hang_the_caller_gets_three_answers_and_two_time_outs() {
    let lab = Lab::new();
    let model = Model::new(|request| async move {
        match (&*request.agent, last_text(&request).as_str()) {
            ("lead", "go") => Ok(calls(&[
                delegate("a", "1"),
                delegate("b", "hang"),
                delegate("a", "2"),
                delegate("b", "hang"),
                delegate("b", "3"),
            ])),
            ("lead", _) => Ok(text("done")),
            (_, "hang") => std::future::pending().await,
            (agent, prompt) => Ok(text(&format!("{agent} did {prompt}"))),
        }
    });
    let agent = lab.agent("lead", &model, lead(&["a", "b"]));
    let resolve = |_: &Agent, name: &str| {
        Ok((
            lab.agent(name, &model, AgentSettings::default()),
            Vec::new(),
        ))
    };
    let team = Team::new(&resolve, DelegationSettings::default());
    let (_canceller, cancel) = cancel::switch();
    let start = Instant::now();
    let ask = Ask {
        prompt: "go".to_owned(),
        deadline: Some(start + Duration::from_secs(100)),
        ..Ask::default()
    };
    let finished = run(
        &agent,
        ask,
        &lab.resilience,
        &team,
        &Events::nobody(),
        &cancel,
    )
    .await;
    assert_eq!(start.elapsed().as_secs(), 80);
    assert_eq!(finished.result.output, "done");
    let timed_out = |result: &(bool, Value)| {
        result.0 && result.1["error"]["class"] == "timeout" && result.1["ok"] == false
    };
    let results = results(&finished, 2);
    assert_eq!(
        results[0],
        (
            false,
            json!({"agent": "a", "ok": true, "output": "a did 1"})
        )
    );
    assert_eq!(results[2].1["output"], "a did 2");
    assert_eq!(results[4].1["output"], "b did 3");
    assert!(
        timed_out(&results[1]) && timed_out(&results[3]),
        "{results:?}"
    );
    // The lead's two calls and those of five children.
    assert_eq!(finished.result.attempts, 7);
    assert!(finished.result.usage.output_tokens >= 25);
}

#[tokio::test(start_paused = true)]
async fn limits_of_delegation_are_told_to_the_model() {
    let lab = Lab::new();
    let model = Model::says(|request| match last_text(request).as_str() {
        "go" => calls(&[
            delegate("a", "x"),
            delegate("nobody", "x"),
            delegate("a", " "),
            delegate("a", "x"),
            delegate("a", "x"),
        ]),
        // A called agent may call its own; at the deepest it has no such tool.
        "x" => {
            let offered = request.tools.iter().any(|tool| tool.name == "delegate");
            text(if offered { "offered" } else { "not offered" })
        }
        _ => text("done"),
    });
    let agent = lab.agent("lead", &model, lead(&["a"]));
    let resolve = |caller: &Agent, name: &str| {
        assert_eq!(&*caller.name, "lead");
        Ok((lab.agent(name, &model, lead(&["a"])), Vec::new()))
    };
    let limits = DelegationSettings {
        max_depth: 1,
        max_children: 2,
    };
    let team = Team::new(&resolve, limits);
    let (_canceller, cancel) = cancel::switch();
    let ask = Ask {
        prompt: "go".to_owned(),
        ..Ask::default()
    };
    let finished = run(
        &agent,
        ask,
        &lab.resilience,
        &team,
        &Events::nobody(),
        &cancel,
    )
    .await;
    let told = results(&finished, 2);
    assert_eq!(told[0].1["output"], "not offered");
    assert_eq!(
        told[1],
        (true, json!("you may not call `nobody`: you may call `a`"))
    );
    assert_eq!(told[2], (true, json!("`prompt` is empty")));
    assert_eq!(told[3].1["output"], "not offered");
    assert_eq!(
        told[4],
        (
            true,
            json!("2 agents were called already, the most in one run: go on without")
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_where_it_was_cut_off() {
    let lab = Lab::new();
    std::fs::write(lab.workspace().join("x.txt"), "one").unwrap();
    let cut = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&cut);
    let model = Model::new(move |request| {
        let counter = Arc::clone(&counter);
        async move {
            match last_text(&request).as_str() {
                "go" => Ok(calls(&[
                    ("write", json!({"path": "new.txt", "content": "new"})),
                    ("read", json!({"path": "x.txt"})),
                    delegate("a", "child"),
                ])),
                "child" => Ok(calls(&[("read", json!({"path": "x.txt"}))])),
                // The child's second turn never ends in the first process.
                "one" if &*request.agent == "a" && counter.fetch_add(1, Ordering::SeqCst) == 0 => {
                    std::future::pending().await
                }
                _ => Ok(text(&format!(
                    "{} saw {}",
                    request.agent,
                    last_text(&request)
                ))),
            }
        }
    });
    let settings = AgentSettings {
        tools: vec!["read".to_owned(), "write".to_owned()],
        ..lead(&["a"])
    };
    let agent = lab.agent("lead", &model, settings);
    let resolve = |_: &Agent, name: &str| {
        let settings = AgentSettings {
            tools: vec!["read".to_owned()],
            ..AgentSettings::default()
        };
        Ok((lab.agent(name, &model, settings), Vec::new()))
    };
    let ask = || Ask {
        run_id: "r".into(),
        prompt: "go".to_owned(),
        journal: Journal::of_run(lab.store.clone(), &"r".into()).under("s"),
        ..Ask::default()
    };
    let nobody = Events::nobody();
    let first = {
        let team = Team::new(&resolve, DelegationSettings::default());
        let (canceller, cancel) = cancel::switch();
        let running = run(&agent, ask(), &lab.resilience, &team, &nobody, &cancel);
        let stopping = async {
            let write = ask().journal.under("t1").under("0");
            let is_kept = || write.recall::<Value>().unwrap() != Recorded::Never;
            while cut.load(Ordering::SeqCst) == 0 || !is_kept() {
                tokio::task::yield_now().await;
            }
            canceller.cancel(Cause::Terminate);
        };
        tokio::join!(running, stopping).0
    };
    assert_eq!(
        first.result.error.unwrap().message,
        "terminated by a signal"
    );
    assert_eq!(model.askers(), ["lead", "a", "a"]);
    // What is there now must not be written over by a second run of the tool.
    std::fs::write(lab.workspace().join("new.txt"), "changed since").unwrap();

    let team = Team::new(&resolve, DelegationSettings::default());
    let (_canceller, cancel) = cancel::switch();
    let ledger = Ledger::new(lab.store.clone(), Arc::new(Prices::built_in()));
    let earlier = ledger.earlier("r").unwrap();
    let going_on = Ask {
        spent: Spent::after(earlier.of_agent("lead")),
        ..ask()
    };
    let second = run(&agent, going_on, &lab.resilience, &team, &nobody, &cancel).await;
    // Only the turn that was cut off was asked for again, and what had not been asked for.
    assert_eq!(model.askers(), ["lead", "a", "a", "a", "lead"]);
    let written = std::fs::read_to_string(lab.workspace().join("new.txt")).unwrap();
    assert_eq!(written, "changed since");
    let result = second.result;
    assert!(result.ok, "{result:?}");
    assert!(result.output.contains("a saw one"), "{}", result.output);
    // The call that was cut off counts as well.
    assert_eq!((result.turns, result.attempts), (2, 5));
    assert_eq!(result.usage.output_tokens, 4 * 5);
    let ran: Vec<_> = result
        .tools
        .iter()
        .map(|tool| (tool.tool.as_str(), tool.ok))
        .collect();
    assert_eq!(ran, [("write", true), ("read", true), ("delegate", true)]);
    assert_eq!(result.warnings, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_tool_whose_end_was_missed_is_not_run_again() {
    let lab = Lab::new();
    std::fs::write(lab.workspace().join("x.txt"), "one").unwrap();
    let model = Model::says(|request| match last_text(request).as_str() {
        "go" => calls(&[
            ("write", json!({"path": "new.txt", "content": "new"})),
            ("read", json!({"path": "x.txt"})),
        ]),
        other => text(other),
    });
    let settings = AgentSettings {
        tools: vec!["read".to_owned(), "write".to_owned()],
        ..AgentSettings::default()
    };
    let agent = lab.agent("lead", &model, settings);
    let journal = Journal::of_run(lab.store.clone(), &"r".into()).under("s");
    let ask = || Ask {
        run_id: "r".into(),
        prompt: "go".to_owned(),
        journal: journal.clone(),
        ..Ask::default()
    };
    let (_canceller, cancel) = cancel::switch();
    let team = Team::nobody();
    let nobody = Events::nobody();
    run(&agent, ask(), &lab.resilience, &team, &nobody, &cancel).await;
    // As if the process had died before the end of the tools was kept.
    lab.store
        .write(crate::store::Durability::Full, |transaction| {
            transaction.execute(
                "DELETE FROM journal WHERE key LIKE '%/t1/%' OR key LIKE '%/t2'",
                [],
            )
        })
        .await
        .unwrap();
    std::fs::remove_file(lab.workspace().join("new.txt")).unwrap();
    let finished = run(&agent, ask(), &lab.resilience, &team, &nobody, &cancel).await;
    assert!(!lab.workspace().join("new.txt").exists());
    assert!(
        finished
            .result
            .output
            .starts_with("the program was interrupted while this call of `write` ran")
    );
    assert!(finished.result.output.ends_with("\none"));
    assert_eq!(
        finished.result.warnings,
        ["a call of `write` was cut off when the run was interrupted; its outcome is not known"]
    );
    assert_eq!(model.asked().len(), 3);
    // The third process is told the same and does nothing again.
    let third = run(&agent, ask(), &lab.resilience, &team, &nobody, &cancel).await;
    assert_eq!(third.result.output, finished.result.output);
    assert_eq!(model.asked().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_asked_again() {
    let lab = Lab::new();
    let model =
        Model::new(|_| async { Err(ProviderError::new("stub", FaultKind::Server, "broken")) });
    let agent = lab.agent("a", &model, AgentSettings::default());
    let journal = Journal::of_run(lab.store.clone(), &"r".into());
    let (_canceller, cancel) = cancel::switch();
    for asked in 1..=2 {
        let ask = Ask {
            prompt: "go".to_owned(),
            journal: journal.clone(),
            ..Ask::default()
        };
        let team = Team::nobody();
        let finished = run(
            &agent,
            ask,
            &lab.resilience,
            &team,
            &Events::nobody(),
            &cancel,
        )
        .await;
        assert_eq!(finished.result.error.unwrap().message, "broken");
        assert_eq!(model.asked().len(), asked);
    }
}
