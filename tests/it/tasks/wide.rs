//! Graphs of many steps; how long they take is measured by `cargo bench --bench tasks`.

use std::collections::BTreeSet;

use super::config;
use crate::support::stub::Seen;
use crate::support::{Context, Stub, stub};

const STEPS: usize = 100;

#[test]
fn every_step_of_a_wide_graph_is_asked_once() {
    let server = Stub::start(|seen| stub::text(&seen.last_text()));
    let context = Context::new();
    let step =
        |step| format!("          - {{id: s{step}, agent: b, needs: [], prompt: 'say {step}'}}\n");
    let inner = (0..STEPS).map(step).collect::<Vec<_>>().concat();
    let graph = format!(
        "  wide:\n    steps:\n      - id: all\n        max_parallel: 64\n        steps:\n{inner}"
    );
    context.write("orch.yaml", config(&server.url(), &graph));
    let result = context.orch(&["--task", "wide", "--json"]).exits(0).json();
    let outputs: Vec<&str> = result["results"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["output"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..STEPS).map(|step| format!("say {step}")).collect();
    assert_eq!(outputs, expected);
    let asked: BTreeSet<String> = server.chats().iter().map(Seen::last_text).collect();
    assert_eq!((asked.len(), server.chats().len()), (STEPS, STEPS));
}
