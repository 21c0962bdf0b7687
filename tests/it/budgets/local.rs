//! Servers on this machine: free, unless they are known to cost something.

use super::priced;
use crate::support::{Context, Stub, agent_config, stub};

#[test]
fn a_model_without_a_price_beside_priced_ones_is_not_free() {
    let server = Stub::replies([stub::text("Hello.")]);
    let ask = ["--agent", "a", "--prompt", "x", "--json"];
    let context = Context::new();
    context.write("orch.yaml", agent_config(&server.url(), ""));
    let free = context
        .orch(&[&ask[..], &["--budget", "1"]].concat())
        .exits(0)
        .json();
    assert_eq!(
        (&free["cost_usd"], &free["cost_source"]),
        (&"0.000000".into(), &"computed".into())
    );

    context.write("orch.yaml", priced(&server.url(), 1.0, 1.0, "", ""));
    let mistyped = [&ask[..], &["--model", "stub/n", "--budget", "1"]].concat();
    let refused = context.orch(&mistyped).exits(7).json();
    let told = "the price of `stub/n` is not known, so no budget can cover it";
    assert_eq!(refused["error"]["message"], told, "{refused:#}");
    let unpriced = context
        .orch(&[&ask[..], &["--model", "stub/n"]].concat())
        .exits(0)
        .json();
    assert_eq!(unpriced["cost_source"], "unpriced", "{unpriced:#}");
    assert_eq!(server.seen().len(), 2);
}
