//! Runs that failed, and are gone on with: only what failed is done again.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::agents::testing::{calls, last_text, text};
use crate::cancel::Cause;
use crate::providers::{FaultKind, ProviderError, Request};

/// What every agent answers: `d` with a verdict, `tool` with a call first, the others with what they are
/// told.
fn answer(request: &Request) -> crate::providers::Reply {
    let told = last_text(request);
    match (&*request.agent, told.as_str()) {
        ("d", _) => text(r#"{"reason": "", "marks": {"A": 1, "B": 2}}"#),
        (_, "tool") => calls(&[("nothing", json!({}))]),
        (agent, told) => text(&format!("{agent}: {told}")),
    }
}

/// A model whose call of this number fails, counted from 1.
fn failing_at(number: usize) -> Arc<Model> {
    let count = Arc::new(AtomicUsize::new(0));
    Model::new(move |request| {
        let fails = count.fetch_add(1, Ordering::SeqCst) + 1 == number;
        async move {
            if fails {
                return Err(ProviderError::new("stub", FaultKind::Server, "broken"));
            }
            Ok(answer(&request))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn what_was_finished_below_a_failure_is_neither_done_nor_paid_again() {
    for tasks in [
        "t: {steps: [{id: n, task: u}]}
u: {steps: [{id: x, agent: a, prompt: x}, {id: y, agent: b, prompt: '{{ steps.x.output }}'}]}",
        "t: {steps: [{id: blk, steps: [{id: x, agent: a, prompt: x}, {id: y, agent: b, prompt: y}]}, {agent: c, prompt: '{{ steps.x.output }}'}]}",
        "t: {steps: [{for_each: [1, 2], max_parallel: 1, steps: [{id: x, agent: a, prompt: x}, {agent: b, prompt: '{{ item }} {{ steps.x.output }}'}]}]}",
        "t: {steps: [{agent: a, prompt: tool}]}",
        "t: {steps: [{candidates: [a, b], max_parallel: 1, judge: d, prompt: x}]}",
        "t: {steps: [{candidates: [a, b], max_parallel: 1, synthesise: c, prompt: x}]}",
        "t: {steps: [{id: l, repeat: {until: \"steps.y.output == 'b: b: '\", max: 3}, steps: [{id: x, agent: a, prompt: '{{ steps.y.output }}'}, {id: y, agent: b, prompt: '{{ steps.l.output }}'}]}]}",
    ] {
        let undisturbed = Bench::new(tasks, &failing_at(0));
        let expected = undisturbed.run().await;
        let count = undisturbed.model.asked().len();
        assert!(count > 1, "{tasks}");
        for number in 1..=count {
            let bench = Bench::new(tasks, &failing_at(number));
            let first = bench.run().await;
            if first.state == RunState::Done {
                // One of two candidates is enough.
                continue;
            }
            let bench = bench.restarted();
            let second = bench.run().await;
            assert_eq!(second.result.ok, expected.result.ok, "{tasks} {number}");
            assert_eq!(
                second.result.output, expected.result.output,
                "{tasks} {number}"
            );
            assert_eq!(
                second.result.cost_usd, expected.result.cost_usd,
                "{tasks} {number}"
            );
            assert_eq!(
                second.result.turns, expected.result.turns,
                "{tasks} {number}"
            );
            let asked = bench.model.asked().len();
            assert_eq!(asked, count + 1, "{tasks} {number}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_no_good_is_asked_for_anew() {
    for (tasks, askers) in [
        (
            "t: {steps: [{id: s, agent: a, prompt: x, output_schema: {type: object}}]}",
            "aaaa",
        ),
        // The answers that were judged stay.
        (
            "t: {steps: [{id: s, candidates: [a, b], max_parallel: 1, judge: c, prompt: x}]}",
            "abcccc",
        ),
        // A loop that came to its end begins anew.
        (
            "t: {steps: [{id: s, agent: a, prompt: x, repeat: {until: 'false', max: 2}}]}",
            "aaaa",
        ),
    ] {
        let model = Model::says(|_| text("no"));
        let bench = Bench::new(tasks, &model);
        assert_eq!(bench.run().await.state, RunState::Failed);
        let bench = bench.restarted();
        assert_eq!(bench.run().await.state, RunState::Failed);
        assert_eq!(bench.model.askers().concat(), askers, "{tasks}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_attempt_that_was_cut_off_is_gone_on_with() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    // The first attempt fails at `b`, the second is cut off there.
    let model = Model::new(move |request| {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            match number {
                2 => Err(ProviderError::new("stub", FaultKind::Server, "broken")),
                4 => std::future::pending().await,
                _ => Ok(answer(&request)),
            }
        }
    });
    let tasks = "t: {steps: [{retries: 1, steps: [{agent: a, prompt: x}, {agent: b, prompt: y}]}]}";
    let bench = Bench::new(tasks, &model);
    let stopping = async {
        while count.load(Ordering::SeqCst) < 4 {
            tokio::task::yield_now().await;
        }
        bench.canceller.cancel(Cause::Interrupt);
    };
    let (first, ()) = tokio::join!(bench.run(), stopping);
    assert_eq!(first.state, RunState::Interrupted);
    let bench = bench.restarted();
    assert_eq!(bench.run().await.state, RunState::Done);
    assert_eq!(bench.model.askers().concat(), "ababb");
}
