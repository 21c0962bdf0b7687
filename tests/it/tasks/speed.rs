//! Large graphs: in little more than the time of their calls.

use std::time::{Duration, Instant};

use super::config;
use crate::support::{Context, Stub, stub};

/// How long the server takes for an answer.
const ANSWER: Duration = Duration::from_millis(50);

fn server() -> Stub {
    Stub::start(|seen| {
        let mut actions = vec![stub::Do::Wait(ANSWER)];
        actions.extend(stub::text(&seen.last_text()));
        actions
    })
}

/// Steps that need nobody, 64 at a time.
fn graph(steps: usize) -> String {
    let step =
        |step| format!("          - {{id: s{step}, agent: b, needs: [], prompt: 'say {step}'}}\n");
    let inner = (0..steps).map(step).collect::<Vec<_>>().concat();
    format!(
        "  wide:\n    steps:\n      - id: all\n        max_parallel: 64\n        steps:\n{inner}"
    )
}

#[test]
fn a_thousand_steps_end_in_little_more_than_the_time_of_their_calls() {
    // Time can only be held to where the machine is quiet and the program is optimised.
    let long = std::env::var("ORCH_TEST_LONG").is_ok() && !cfg!(debug_assertions);
    let steps = if long { 1000 } else { 100 };
    let server = server();
    let context = Context::new();
    context.write("orch.yaml", config(&server.url(), &graph(steps)));
    let start = Instant::now();
    let result = context.orch(&["--task", "wide", "--json"]).exits(0).json();
    let took = start.elapsed();
    assert_eq!(server.chats().len(), steps);
    assert_eq!(
        result["results"][0]["results"].as_array().unwrap().len(),
        steps
    );
    if long {
        let ideal = ANSWER * u32::try_from(steps.div_ceil(64)).unwrap();
        assert!(
            took < ideal.mul_f64(1.3),
            "{took:?} for an ideal of {ideal:?}"
        );
    }
}
