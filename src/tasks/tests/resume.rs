//! Runs that are stopped in the middle, and go on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::agents::testing::{last_text, text};
use crate::cancel::Cause;
use crate::providers::{FaultKind, ProviderError};
use crate::tools::ApprovalRequest;

#[tokio::test(start_paused = true)]
async fn what_is_finished_is_neither_done_nor_paid_again() {
    let tasks = "t:
  steps:
    - {id: one, agent: a, prompt: one}
    - {id: two, agent: b, for_each: [1, 2, 3], max_parallel: 1, prompt: 'item {{ item }}'}
    - {id: best, candidates: [a, b], judge: d, prompt: 'best'}
    - {id: end, agent: c, prompt: '{{ steps.two.output }} {{ steps.best.output }}'}";
    let answer = |agent: &str, prompt: &str| match agent {
        "d" => r#"{"reason": "", "marks": {"A": 1, "B": 2}}"#.to_owned(),
        agent => format!("{agent}: {prompt}"),
    };
    let whole = Model::says(move |request| text(&answer(&request.agent, &last_text(request))));
    let undisturbed = Bench::new(tasks, &whole).run().await.result;
    assert_eq!(undisturbed.attempts, 8);

    // Stopped while the n-th call is under way, for every n.
    for stop_at in 1..=8 {
        let stopped = Arc::new(AtomicBool::new(false));
        let calls = Arc::new(AtomicUsize::new(0));
        let (first_only, counter) = (Arc::clone(&stopped), Arc::clone(&calls));
        let model = Model::new(move |request| {
            let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let hangs = number == stop_at && !first_only.load(Ordering::SeqCst);
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Ok(text(&answer(&request.agent, &last_text(&request))))
            }
        });
        let bench = Bench::new(tasks, &model);
        let stopping = async {
            while calls.load(Ordering::SeqCst) < stop_at {
                tokio::task::yield_now().await;
            }
            stopped.store(true, Ordering::SeqCst);
            bench.canceller.cancel(Cause::Interrupt);
        };
        let (first, ()) = tokio::join!(bench.run(), stopping);
        assert_eq!(first.state, RunState::Interrupted);
        assert_eq!(first.result.exit_code(), 130);
        assert_eq!(
            first.result.error.unwrap().hint.as_deref(),
            Some("go on with `orch --resume r`")
        );
        let bench = bench.restarted();
        let second = bench.run().await;
        assert_eq!(second.state, RunState::Done);
        let mut result = second.result;
        let mut expected = undisturbed.clone();
        // Of two candidates that were under way at once both may have been cut off.
        let asked = bench.model.asked().len();
        assert!((9..=10).contains(&asked), "{asked} stopped at {stop_at}");
        // What was cut off counts as asked; it has cost nothing, since no byte of an answer had come.
        assert_eq!(result.attempts as usize, asked, "stopped at {stop_at}");
        for whole in [&mut result, &mut expected] {
            forget_disturbance(whole);
        }
        assert_eq!(result, expected, "stopped at {stop_at}");
    }
}

/// Forgets how long it took and how often it was asked.
fn forget_disturbance(result: &mut RunResult) {
    result.duration_ms = 0;
    result.attempts = 0;
    let parts = result.results.iter_mut().flatten();
    parts.for_each(forget_disturbance);
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_by_whoever_goes_on() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let model = Model::new(move |request| {
        let fails = &*request.agent == "b" && is_broken.load(Ordering::SeqCst);
        async move {
            if fails {
                return Err(ProviderError::new("stub", FaultKind::Server, "broken"));
            }
            Ok(text("fine"))
        }
    });
    let bench = Bench::new(
        "t: {steps: [{agent: a, prompt: x}, {id: blk, steps: [{agent: b, prompt: y}]}, {agent: c, prompt: z}]}",
        &model,
    );
    assert_eq!(bench.run().await.state, RunState::Failed);
    let bench = bench.restarted();
    assert_eq!(bench.run().await.state, RunState::Failed);
    broken.store(false, Ordering::SeqCst);
    let bench = bench.restarted();
    let ended = bench.run().await;
    assert_eq!(ended.state, RunState::Done);
    assert_eq!(ended.result.output, "fine");
    assert_eq!(bench.model.askers(), ["a", "b", "b", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_gate_waits_for_a_yes_and_costs_nothing() {
    let model = Model::says(|request| text(&last_text(request)));
    let tasks = "t:
  inputs: {v: {default: '1'}}
  steps:
    - {id: go, gate: 'deploy {{ inputs.v }}?'}
    - {id: ship, agent: a, prompt: 'ship after {{ steps.go.output }}'}
    - {id: other, agent: b, needs: [], prompt: other}";
    let bench = Bench::new(tasks, &model);
    let parked = bench.run().await;
    assert_eq!(parked.state, RunState::Parked);
    assert_eq!(
        error_of(&parked),
        ("denied", "the run waits for a yes: deploy 1?")
    );
    assert_eq!(parked.result.exit_code(), 9);
    // What does not wait for it is done meanwhile.
    assert_eq!(outputs(&parked.result), [("other", "other")]);

    let mut bench = bench.restarted();
    assert_eq!(bench.run().await.state, RunState::Parked);
    bench = bench.restarted();
    bench.approver = Approver::Yes;
    let ended = bench.run().await;
    assert_eq!(ended.state, RunState::Done);
    assert_eq!(bench.model.askers(), ["b", "a"]);
    assert_eq!(
        outputs(&ended.result),
        [
            ("go", "yes"),
            ("ship", "ship after yes"),
            ("other", "other")
        ]
    );
    // The yes is not asked for again.
    bench = bench.restarted();
    bench.approver = Approver::Nobody;
    assert_eq!(bench.run().await.state, RunState::Done);
}

#[tokio::test(start_paused = true)]
async fn a_no_at_a_gate_ends_the_run_until_somebody_goes_on() {
    let model = Model::says(|request| text(&last_text(request)));
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<ApprovalRequest>(1);
    let mut bench = Bench::new(
        "t: {steps: [{gate: 'sure?'}, {agent: a, prompt: x}]}",
        &model,
    );
    bench.approver = Approver::Ask(sender);
    let person = async {
        let request = receiver.recv().await.unwrap();
        assert_eq!(
            (&*request.agent, &*request.tool, &*request.action),
            ("t", "gate", "sure?")
        );
        request.reply.send(false).unwrap();
    };
    let (ended, ()) = tokio::join!(bench.run(), person);
    assert_eq!(ended.state, RunState::Failed);
    assert_eq!(
        error_of(&ended),
        ("denied", "the step `step1` failed: the user said no")
    );
    let mut bench = bench.restarted();
    bench.approver = Approver::Yes;
    assert_eq!(bench.run().await.state, RunState::Done);
}

#[tokio::test(start_paused = true)]
async fn the_steps_of_a_finished_block_are_seen_by_whoever_goes_on() {
    let model = Model::says(|request| text(&last_text(request)));
    let tasks = "t:
  steps:
    - id: checks
      steps:
        - {id: unit, agent: a, prompt: unit}
        - {id: deep, steps: [{id: lint, agent: a, prompt: lint}]}
        - {id: never, when: 'false', steps: [{id: inner, agent: a, prompt: no}]}
    - {id: go, gate: 'go?'}
    - {id: end, agent: b, prompt: '{{ steps.unit.output }} {{ steps.lint.output }} {{ steps.inner.skipped }}'}";
    let bench = Bench::new(tasks, &model);
    assert_eq!(bench.run().await.state, RunState::Parked);
    let mut bench = bench.restarted();
    bench.approver = Approver::Yes;
    let ended = bench.run().await;
    assert_eq!(ended.result.output, "unit lint true");
    assert_eq!(bench.model.askers(), ["a", "a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn the_steps_of_a_block_that_was_left_out_were_left_out() {
    let model = Model::says(|request| text(&last_text(request)));
    for (block, expected) in [
        (
            "when: 'false', steps: [{id: in1, agent: a, prompt: x}]",
            "[] true",
        ),
        // What a failure kept from starting was left out as well.
        (
            "on_failure: continue, steps: [{id: bad, gate: '{{ run.id.x.y }}'}, {id: in1, agent: a, prompt: x}]",
            "[] true",
        ),
    ] {
        let tasks = format!(
            "t: {{steps: [{{id: blk, {block}}}, {{agent: b, prompt: '[{{{{ steps.in1.output }}}}] {{{{ steps.in1.skipped }}}}'}}]}}"
        );
        let ended = Bench::new(&tasks, &model).run().await;
        assert_eq!(ended.result.output, expected, "{block}");
    }
}
