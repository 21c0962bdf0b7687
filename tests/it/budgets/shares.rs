//! Agents that are asked at the same time, without a cap of their own: each gets its share of what the budget leaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::priced;
use crate::support::{Context, Stub, stub};

/// A server that answers nobody before so many are there; and the output tokens that each asked for.
fn meeting(guests: usize) -> (Stub, Arc<Mutex<Vec<u64>>>) {
    let (gate, arrived) = (stub::Gate::closed(), AtomicUsize::new(0));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&asked);
    let server = Stub::start(move |seen| {
        let most = ["max_tokens", "max_completion_tokens"];
        let most = most.iter().find_map(|key| seen.body[key].as_u64());
        list.lock().unwrap().push(most.unwrap());
        if arrived.fetch_add(1, Ordering::SeqCst) + 1 == guests {
            gate.open();
        }
        let mut answer = vec![stub::Do::Gate(gate.clone())];
        answer.extend(stub::text("ok"));
        answer
    });
    (server, asked)
}

/// Output at a tenth of a cent a token, input free: 8192 tokens would be 8.192 USD.
fn team(server: &Stub, settings: &str, own: &str) -> Context {
    let others: String = ["b", "c", "d"]
        .map(|name| format!("  {name}: {{role: R, provider: stub, model: m}}\n"))
        .concat();
    let tasks = "tasks:\n  \
        vote: {steps: [{candidates: [a, b, c, d], vote: true, prompt: x}]}\n  \
        each: {steps: [{agent: a, for_each: [1, 2, 3, 4], prompt: 'x {{ item }}'}]}\n";
    let context = Context::new();
    let yaml = priced(&server.url(), 0.0, 1000.0, settings, own);
    context.write("orch.yaml", yaml + &others + tasks);
    context
}

#[test]
fn those_who_are_asked_together_get_equal_shares() {
    for args in [
        &["--all", "--prompt", "x"][..],
        &["--task", "vote"],
        &["--task", "each"],
    ] {
        let (server, asked) = meeting(4);
        let context = team(&server, "budget: {run_usd: 4}", "");
        context.orch(args).exits(0);
        assert_eq!(*asked.lock().unwrap(), [1000; 4], "{args:?}");
    }
}

/// What an agent may spend by itself is shared with nobody.
#[test]
fn a_budget_of_ones_own_is_held_whole() {
    let (server, asked) = meeting(4);
    let context = team(&server, "budget: {run_usd: 40}", "budget_usd: 3");
    context.orch(&["--all", "--prompt", "x"]).exits(0);
    let mut asked = asked.lock().unwrap().clone();
    asked.sort_unstable();
    assert_eq!(asked, [3000, 8192, 8192, 8192]);
}

/// Where a share is too small to be worth a call, as many are asked as the budget affords.
#[test]
fn a_share_is_no_less_than_a_call_is_worth() {
    let (server, asked) = meeting(3);
    let context = team(&server, "budget: {run_usd: 0.8}", "");
    let result = context.orch(&["--all", "--prompt", "x", "--json"]);
    let result = result.exits(8).json();
    assert_eq!(*asked.lock().unwrap(), [256; 3]);
    let refused = result["results"].as_array().unwrap().iter();
    let classes: Vec<_> = refused
        .filter_map(|one| one["error"]["class"].as_str())
        .collect();
    assert_eq!(classes, ["budget"]);
}
