//! What `orch check --store` says of a store that has rotted, and what a run may spend in it.

use rusqlite::Connection;
use serde_json::json;

use super::priced;
use crate::support::{Context, Stub, stub};

/// A store with one run of a cent and a half in it, changed as a rotten disk would, under a cap of two cents.
fn rotten(statements: &str) -> (Stub, Context) {
    let server = Stub::start(|_| stub::text("ok"));
    let context = Context::new();
    let budget = "budget: {day_usd: 0.02}";
    let yaml = priced(&server.url(), 0.0, 3000.0, budget, "max_output_tokens: 5");
    context.write("orch.yaml", yaml);
    context.orch(&["--agent", "a", "--prompt", "x"]).exits(0);
    let store = Connection::open(context.state().join("orch.db")).unwrap();
    let statements = format!("PRAGMA ignore_check_constraints = ON; {statements}");
    store.execute_batch(&statements).unwrap();
    (server, context)
}

#[test]
fn a_rotten_row_is_told_and_buys_nothing() {
    for statements in [
        "UPDATE attempts SET cost = -5000000000000",
        "UPDATE attempts SET cost = -5000000000000; UPDATE totals SET spent = -5000000000000",
        "UPDATE attempts SET started_at = 9223372036854775807",
        "UPDATE attempts SET delegators = 'x'",
        "UPDATE attempts SET state = 'weird'",
    ] {
        let (server, context) = rotten(statements);
        let check = context
            .orch(&["check", "--store", "--json"])
            .exits(1)
            .json();
        assert_ne!(check["damage"], json!([]), "{check:#}");
        let text = context.orch(&["check", "--store"]).exits(1);
        assert!(text.stdout.contains("row 1 of `attempts`: it"), "{text:#?}");
        let costs = context.orch(&["--costs"]).exits(0).stdout;
        assert!(!costs.contains("-$") && !costs.contains("$0.-"), "{costs}");
        let more = context.orch(&["--agent", "a", "--prompt", "x"]);
        // Where the total has rotted as well, one more is all that the cap ever allows.
        let spoilt = statements.contains("totals");
        assert_eq!(
            more.code,
            if spoilt { 0 } else { 7 },
            "{statements}: {more:#?}"
        );
        context.orch(&["--agent", "a", "--prompt", "x"]).exits(7);
        assert_eq!(server.chats().len(), if spoilt { 2 } else { 1 });
    }
}

#[test]
fn a_store_that_no_run_can_use_is_told() {
    for statements in [
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 1",
        "PRAGMA user_version = -3",
        "DROP TABLE baselines",
    ] {
        let (_server, context) = rotten(statements);
        let check = context.orch(&["check", "--store"]).exits(1);
        let told = format!("{}{}", check.stdout, check.stderr);
        assert!(!told.contains("orch check --store"), "{told}");
        context.orch(&["check", "--store", "--json"]).exits(1);
    }
    let (_server, context) = rotten("");
    let path = context.state().join("orch.db");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/nonexistent/orch.db", &path).unwrap();
    let check = context.orch(&["check", "--store"]).exits(1);
    assert!(check.stderr.contains("leads nowhere"), "{check:#?}");
}
