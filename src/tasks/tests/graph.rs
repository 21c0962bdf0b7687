//! Steps in their order: what starts when, and what a failure means.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::*;
use crate::agents::testing::{last_text, text};
use crate::providers::{FaultKind, ProviderError};

/// A model that takes a second and repeats what it is asked; a prompt that ends with `fail` fails, `json …` is
/// answered with what stands behind it.
fn echo() -> Arc<Model> {
    Model::new(|request| async move {
        sleep(Duration::from_secs(1)).await;
        let asked = last_text(&request);
        if asked.ends_with("fail") {
            return Err(ProviderError::new("stub", FaultKind::Server, "broken"));
        }
        let answer = asked.strip_prefix("json ").unwrap_or(&asked);
        Ok(text(answer))
    })
}

#[tokio::test(start_paused = true)]
async fn steps_follow_each_other_and_see_what_came_before() {
    let bench = Bench::with_inputs(
        "t:
  inputs: {what: {required: true}, times: {default: 2}}
  steps:
    - {agent: a, prompt: 'build {{ inputs.what }} {{ inputs.times }}'}
    - {id: check, agent: b, prompt: '<{{ steps.step1.output }}>'}
    - {id: end, agent: c, when: 'steps.check.ok', prompt: '{{ run.task }}: {{ steps.check.output }}'}",
        &echo(),
        &["what=it"],
    );
    let start = Instant::now();
    let ended = bench.run().await;
    assert_eq!(ended.state, RunState::Done);
    assert_eq!(
        outputs(&ended.result),
        [
            ("step1", "build it 2"),
            ("check", "<build it 2>"),
            ("end", "t: <build it 2>")
        ]
    );
    assert!(ended.result.ok);
    assert_eq!(ended.result.output, "t: <build it 2>");
    assert_eq!(
        (ended.result.kind, ended.result.agent.as_str()),
        ("task", "t")
    );
    assert_eq!(
        (ended.result.attempts, ended.result.usage.input_tokens),
        (3, 30)
    );
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert_eq!(bench.ended(), ["step1", "check", "end"]);
    // The keys of the journal are a promise to runs that are under way.
    assert_eq!(
        bench.keys().await,
        [
            "r/check",
            "r/check/t1",
            "r/end",
            "r/end/t1",
            "r/step1",
            "r/step1/t1"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_does_not_need_each_other_runs_side_by_side() {
    let bench = Bench::new(
        "t:
  steps:
    - {id: a, agent: a, prompt: one}
    - {id: b, agent: b, needs: [], prompt: two}
    - {id: c, agent: c, needs: [], prompt: three}
    - {id: d, agent: d, needs: [a, b, c], prompt: '{{ steps.a.output }} {{ steps.c.output }}'}",
        &echo(),
    );
    let start = Instant::now();
    let ended = bench.run().await;
    assert_eq!(ended.result.output, "one three");
    assert_eq!(start.elapsed(), Duration::from_secs(2));

    let at_once = Bench::new(
        "t: {steps: [{id: x, max_parallel: 2, steps: [{agent: a, prompt: '1', needs: []}, {agent: a, prompt: '2', needs: []}, {agent: a, prompt: '3', needs: []}]}]}",
        &echo(),
    );
    let start = Instant::now();
    assert!(at_once.run().await.result.ok);
    assert_eq!(start.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_ends_the_task_unless_it_may_be_passed_over() {
    let bench = Bench::new(
        "t: {steps: [{agent: a, prompt: x}, {agent: b, prompt: fail}, {agent: c, prompt: y}]}",
        &echo(),
    );
    let ended = bench.run().await;
    assert_eq!(ended.state, RunState::Failed);
    assert_eq!(
        error_of(&ended),
        ("partial", "the step `step2` failed: broken")
    );
    assert_eq!(outputs(&ended.result), [("step1", "x"), ("step2", "")]);
    assert_eq!(ended.result.exit_code(), 8);

    let alone = Bench::new(
        "t: {steps: [{agent: a, prompt: fail}, {agent: c, prompt: y}]}",
        &echo(),
    );
    let ended = alone.run().await;
    assert_eq!(
        error_of(&ended),
        ("provider", "the step `step1` failed: broken")
    );

    let over = Bench::new(
        "t: {steps: [{id: x, agent: a, prompt: fail, on_failure: continue}, {agent: c, prompt: '{{ steps.x.ok }} {{ steps.x.error }}'}]}",
        &echo(),
    );
    let ended = over.run().await;
    assert_eq!(ended.state, RunState::Failed);
    assert_eq!(ended.result.output, "false broken");
    assert_eq!(error_of(&ended), ("partial", "the step `x` failed: broken"));
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_left_out_holds_up_nobody() {
    let bench = Bench::new(
        "t:
  steps:
    - {id: x, agent: a, prompt: x}
    - {id: y, agent: b, when: 'not steps.x.ok', prompt: y}
    - {id: z, agent: c, prompt: '{{ steps.y.skipped }} <{{ steps.y.output }}>'}",
        &echo(),
    );
    let ended = bench.run().await;
    assert!(ended.result.ok);
    assert_eq!(outputs(&ended.result), [("x", "x"), ("z", "true <>")]);
}

#[tokio::test(start_paused = true)]
async fn items_are_done_side_by_side_in_their_order() {
    let bench = Bench::new(
        "t:
  steps:
    - {id: list, agent: a, prompt: 'json [\"x\",\"y\",\"fail\",\"z\",\"w\"]', output_schema: {type: array}}
    - {id: fix, agent: b, for_each: '{{ steps.list.structured }}', max_parallel: 2, prompt: 'fix {{ item }}', on_failure: continue}
    - {id: end, agent: c, prompt: '{{ steps.fix.structured }} {{ steps.fix.items[2].ok }}'}",
        &echo(),
    );
    let start = Instant::now();
    let ended = bench.run().await;
    // One for the list, three for five items two at a time, one for the end.
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    assert_eq!(
        ended.result.output,
        r#"["fix x","fix y","","fix z","fix w"] false"#
    );
    let fix = &ended.result.results.as_ref().unwrap()[1];
    assert_eq!(
        fix.error.as_ref().unwrap().message,
        "1 of 5 items failed: broken"
    );
    let steps: Vec<&str> = fix
        .results
        .iter()
        .flatten()
        .filter_map(|result| result.step.as_deref())
        .collect();
    assert_eq!(steps, ["fix[0]", "fix[1]", "fix[2]", "fix[3]", "fix[4]"]);
    let keys = bench.keys().await;
    for key in ["r/fix[0]/t1", "r/fix[0]", "r/fix[2]#1", "r/fix"] {
        assert!(keys.iter().any(|known| known == key), "{key} {keys:?}");
    }

    let none = Bench::new("t: {steps: [{agent: a, for_each: [], prompt: x}]}", &echo());
    let ended = none.run().await;
    assert!(ended.result.ok);
    let no_list = Bench::new(
        "t: {inputs: {x: {default: 3}}, steps: [{agent: a, for_each: '{{ inputs.x }}', prompt: x}]}",
        &echo(),
    );
    assert_eq!(
        error_of(&no_list.run().await),
        (
            "failed",
            "the step `step1` failed: `for_each` gave no list: `{{ inputs.x }}`"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_is_tried_again_as_a_whole() {
    let failures = Arc::new(AtomicUsize::new(2));
    let left = Arc::clone(&failures);
    let model = Model::new(move |request| {
        let fails = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        async move {
            match fails {
                Ok(_) => Err(ProviderError::new("stub", FaultKind::Server, "broken")),
                Err(_) => Ok(text(&last_text(&request))),
            }
        }
    });
    let tasks = "t: {steps: [{agent: a, prompt: x, retries: 2}]}";
    let bench = Bench::new(tasks, &model);
    let ended = bench.run().await;
    assert!(ended.result.ok);
    assert_eq!(ended.result.attempts, 3);
    assert_eq!(
        bench.keys().await,
        ["r/step1", "r/step1#1", "r/step1#2", "r/step1#3/t1"]
    );

    failures.store(9, Ordering::SeqCst);
    let bench = Bench::new(tasks, &model);
    let ended = bench.run().await;
    assert_eq!((ended.result.ok, ended.result.attempts), (false, 3));
}

#[tokio::test(start_paused = true)]
async fn a_step_has_its_own_time() {
    let model = Model::new(|_| std::future::pending());
    let bench = Bench::new("t: {steps: [{agent: a, prompt: x, timeout: 7}]}", &model);
    let start = Instant::now();
    let ended = bench.run().await;
    assert_eq!(ended.result.error.unwrap().class.name(), "timeout");
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn loops_end_when_their_condition_is_met() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let model = Model::says(move |request| match last_text(request).as_str() {
        "test" => {
            let passed = counter.fetch_add(1, Ordering::SeqCst) == 2;
            text(&json!({"passed": passed}).to_string())
        }
        other => text(other),
    });
    let tasks = "t:
  steps:
    - id: green
      repeat: {until: 'steps.test.structured.passed', max: MAX}
      steps:
        - {id: write, agent: a, prompt: 'write<{{ steps.test.output }}>'}
        - {id: test, agent: b, prompt: test, output_schema: {properties: {passed: {}}}}
    - {agent: c, prompt: '{{ steps.write.output }} {{ steps.green.structured.passed }}'}";
    let bench = Bench::new(&tasks.replace("MAX", "5"), &model);
    let ended = bench.run().await;
    assert!(ended.result.ok, "{:?}", ended.result.error);
    assert_eq!(ended.result.output, r#"write<{"passed":false}> true"#);
    assert_eq!(ended.result.attempts, 7);
    let keys = bench.keys().await;
    for key in [
        "r/green/write/t1",
        "r/green~2/test/t1",
        "r/green~3/test",
        "r/green",
    ] {
        assert!(keys.iter().any(|known| known == key), "{key} {keys:?}");
    }

    count.store(5, Ordering::SeqCst);
    let bench = Bench::new(&tasks.replace("MAX", "2"), &model);
    let ended = bench.run().await;
    assert_eq!(
        error_of(&ended),
        (
            "partial",
            "the step `green` failed: `steps.test.structured.passed` was not true after 2 rounds"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_can_be_a_step() {
    let bench = Bench::new(
        "t:
  inputs: {x: {default: outer}}
  steps:
    - {id: one, agent: a, prompt: '{{ inputs.x }}'}
    - {id: sub, task: u, inputs: {list: ['{{ steps.one.output }}', 2], y: '{{ steps.one.ok }}'}}
    - {id: end, agent: c, prompt: 'end {{ steps.sub.output }}'}
u:
  inputs: {list: {required: true}, y: {}}
  steps:
    - {id: one, agent: b, prompt: 'inner {{ inputs.list }} {{ inputs.y }}'}",
        &echo(),
    );
    let ended = bench.run().await;
    assert_eq!(ended.result.output, r#"end inner ["outer",2] true"#);
    assert_eq!(bench.ended(), ["one", "sub/one", "sub", "end"]);
    assert!(bench.keys().await.contains(&"r/sub/one/t1".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_template_that_cannot_be_rendered_fails_its_step_alone() {
    let bench = Bench::new(
        "t: {inputs: {x: {}}, steps: [{agent: a, prompt: '{{ inputs.x.y }}'}]}",
        &echo(),
    );
    let ended = bench.run().await;
    assert_eq!(
        error_of(&ended),
        (
            "failed",
            "the step `step1` failed: `prompt`: the template cannot be used at `inputs.x.y`: it names what is not there"
        )
    );
    assert_eq!(bench.model.asked().len(), 0);
}
