//! What the results of steps say: which step, what it cost, how long it took.

use std::time::Duration;

use super::*;
use crate::agents::testing::{last_text, text};
use crate::cancel::Cause;
use crate::providers::{FaultKind, ProviderError};

/// The steps of a result and of its parts, as a tree.
fn steps(result: &RunResult) -> String {
    let parts: Vec<String> = result.results.iter().flatten().map(steps).collect();
    let inner = match parts.as_slice() {
        [] => String::new(),
        parts => format!("({})", parts.join(" ")),
    };
    format!("{}{inner}", result.step.as_deref().unwrap_or("-"))
}

#[tokio::test(start_paused = true)]
async fn what_was_stopped_names_its_step() {
    for (tasks, expected) in [
        ("t: {steps: [{id: s, agent: b, prompt: x}]}", "-(s)"),
        (
            "t: {steps: [{id: s, repeat: {until: 'false', max: 3}, steps: [{id: x, agent: a, prompt: x}, {id: y, agent: b, prompt: y}]}]}",
            "-(s(x y))",
        ),
        (
            "t: {steps: [{id: s, for_each: [1, 2], max_parallel: 1, agent: b, prompt: x}]}",
            "-(s(s[0]))",
        ),
        (
            "t: {steps: [{id: s, for_each: [1], steps: [{id: x, agent: b, prompt: x}]}]}",
            "-(s(s[0](x)))",
        ),
        (
            "t: {steps: [{id: s, candidates: [a, b], vote: true, prompt: x}]}",
            "-(s(s.1 s.2))",
        ),
        (
            "t: {steps: [{id: n, task: u}]}\nu: {steps: [{id: s, retries: 1, agent: c, prompt: x}]}",
            "-(n(s))",
        ),
    ] {
        // `b` never answers, and `c` only fails at once.
        let model = Model::new(|request| async move {
            match &*request.agent {
                "b" => std::future::pending().await,
                "c" if last_text(&request) == "x" => {
                    tokio::time::sleep(Duration::from_secs(6)).await;
                    Err(ProviderError::new("stub", FaultKind::Server, "broken"))
                }
                _ => Ok(text("said")),
            }
        });
        let bench = Bench::new(tasks, &model);
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            bench.canceller.cancel(Cause::Interrupt);
        };
        let (ended, ()) = tokio::join!(bench.run(), stopping);
        assert_eq!(steps(&ended.result), expected, "{tasks}");
        let step = &ended.result.results.as_ref().unwrap()[0];
        assert!(!step.ok, "{tasks}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_a_later_attempt_are_named_like_those_of_the_first() {
    let model = Model::says(|_| text("no verdict"));
    let tasks = "t: {steps: [{id: s, retries: 1, candidates: [a, b], judge: d, prompt: x}]}";
    let ended = Bench::new(tasks, &model).run().await;
    assert_eq!(steps(&ended.result), "-(s(s.1 s.2 s.judge))");
}

#[tokio::test(start_paused = true)]
async fn answers_that_nobody_judges_have_cost_what_they_cost() {
    let model = Model::says(|_| text("said"));
    let tasks = "t: {inputs: {x: {default: {}}}, steps: [{id: s, candidates: [a, b], judge: d, \
        criteria: '{{ inputs.x.y.z }}', prompt: x}]}";
    let ended = Bench::new(tasks, &model).run().await;
    let step = &ended.result.results.as_ref().unwrap()[0];
    assert_eq!(
        (step.ok, step.attempts, ended.result.attempts),
        (false, 2, 2)
    );
    assert_eq!(steps(step), "s(s.1 s.2)");
}

#[tokio::test(start_paused = true)]
async fn items_have_the_class_that_all_of_them_have_and_the_time_that_they_took() {
    for (answers, class) in [
        (["fails", "fails"], "provider"),
        (["fails", ""], "failed"),
        (["fails", "fine"], "partial"),
    ] {
        let model = Model::new(|request| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match last_text(&request).as_str() {
                "<fails>" => Err(ProviderError::new("stub", FaultKind::Server, "broken")),
                told => Ok(text(told.trim_matches(['<', '>']))),
            }
        });
        let tasks = format!(
            "t: {{steps: [{{id: s, for_each: {answers:?}, max_parallel: 1, agent: a, prompt: '<{{{{ item }}}}>'}}]}}"
        );
        let ended = Bench::new(&tasks, &model).run().await;
        let step = &ended.result.results.as_ref().unwrap()[0];
        assert_eq!(
            step.error.as_ref().unwrap().class.name(),
            class,
            "{answers:?}"
        );
        assert_eq!(step.duration_ms, 2000, "{answers:?}");
    }
}
