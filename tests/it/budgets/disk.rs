//! What cannot be recorded is not spent: a full, read-only, locked or damaged store ends in a clear error
//! before a model is asked.

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use super::{money, priced};
use crate::support::{Context, Ran, Stub, ran, stub};

/// Ten tokens in and five out at a tenth of a cent each.
const ANSWER: i64 = 15_000_000_000;

fn place(server: &Stub) -> Context {
    let context = Context::new();
    let yaml = priced(&server.url(), 1000.0, 1000.0, "", "max_output_tokens: 5");
    context.write("orch.yaml", yaml);
    context
}

const ASK: [&str; 4] = ["--agent", "a", "--prompt", "x"];

/// Runs a script in a mount namespace of its own; `$ORCH` is the program with the configuration, `$STATE`
/// the state directory.
fn in_namespace(context: &Context, script: &str) -> Ran {
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .current_dir(context.work())
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", context.home())
        .env("ORCH_STATE_DIR", context.state())
        .env("STATE", context.state())
        .env(
            "ORCH",
            format!("{} --config orch.yaml", env!("CARGO_BIN_EXE_orch")),
        )
        .stdin(std::process::Stdio::null());
    ran(command.output().expect("`unshare` of util-linux is needed"))
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    for words in words {
        assert!(ran.stderr.contains(words), "{words}: {ran:#?}");
    }
}

#[test]
fn a_disk_that_is_full_from_the_start_is_told_before_any_call() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = place(&server);
    let refused = in_namespace(
        &context,
        r#"mount -t tmpfs -o size=64k none "$STATE" && exec $ORCH --agent a --prompt x"#,
    )
    .exits(1);
    says(
        &refused,
        &["the disk is full", "nothing may be spent", "hint:"],
    );
    assert_eq!(server.chats().len(), 0);
}

/// The disk fills up while runs follow each other, at whatever moment that is: each call that was made is in
/// the ledger once there is space again, and those that come too late are not made.
#[test]
fn a_disk_that_fills_up_loses_no_call() {
    for filler in [0, 1, 3, 8, 20] {
        let server = Stub::start(|_| stub::text("ok"));
        let context = place(&server);
        let script = format!(
            r#"mount -t tmpfs -o size=900k none "$STATE" || exit 99
            $ORCH --agent a --prompt x >/dev/null || exit 98
            dd if=/dev/zero of="$STATE/filler" bs=4k 2>/dev/null
            truncate -s -$(({filler} * 4096)) "$STATE/filler"
            refused=0
            for round in 1 2 3 4 5 6 7 8 9 10 11 12; do
                $ORCH --agent a --prompt x >/dev/null 2>"$HOME/stderr" || refused=$((refused + 1))
            done
            cat "$HOME/stderr" >&2
            mount -o remount,size=9m "$STATE"
            $ORCH --costs --json && $ORCH check --store >/dev/null && echo "refused $refused""#
        );
        let ran = in_namespace(&context, &script).exits(0);
        let (costs, refused) = ran.stdout.rsplit_once("refused ").unwrap();
        let costs: serde_json::Value = serde_json::from_str(costs).unwrap();
        assert!(refused.trim().parse::<u32>().unwrap() > 0, "{ran:#?}");
        says(&ran, &["the disk is full"]);
        let asked = server.chats().len();
        assert_eq!(costs["total_requests"], asked, "{filler}: {ran:#?}");
        let recorded = money(&costs["total_cost_usd"]) + money(&costs["held_usd"]);
        assert!(
            recorded >= i64::try_from(asked).unwrap() * ANSWER,
            "{filler}: {asked} asked, {costs}"
        );
    }
}

#[test]
fn a_store_that_cannot_be_written_is_told_before_any_call() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = place(&server);
    for first in ["true", "$ORCH --agent a --prompt x"] {
        let asked = server.chats().len();
        let script = format!(
            r#"mount -t tmpfs none "$STATE" && {first} >/dev/null && echo ready >"$HOME/ready" &&
            mount -o remount,ro "$STATE" && exec $ORCH --agent a --prompt x"#
        );
        let refused = in_namespace(&context, &script).exits(1);
        assert_eq!(
            std::fs::read_to_string(context.home().join("ready")).unwrap(),
            "ready\n"
        );
        says(
            &refused,
            &["error: the ", " cannot be ", "settings.state_dir"],
        );
        let made = usize::from(first != "true");
        assert_eq!(server.chats().len(), asked + made, "{refused:#?}");
    }
    // What was spent can still be read there.
    let costs = in_namespace(
        &context,
        r#"mount -t tmpfs none "$STATE" && $ORCH --agent a --prompt x >/dev/null &&
        mount -o remount,ro "$STATE" && exec $ORCH --costs --json"#,
    )
    .exits(0)
    .json();
    assert_eq!(costs["total_cost_usd"], "0.015000");
}

#[test]
fn a_store_that_stays_locked_is_told_before_any_call() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = place(&server);
    context.orch(&ASK).exits(0);
    let other = Connection::open(context.state().join("orch.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = context.orch(&ASK).exits(1);
    says(&refused, &["is locked by other processes", "hint:"]);
    assert_eq!(server.chats().len(), 1);
    // Reading needs no lock.
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_requests"], 1);
    other.execute_batch("COMMIT").unwrap();
    context.orch(&ASK).exits(0);
    assert_eq!(server.chats().len(), 2);
}

#[test]
fn a_torn_store_is_recovered_or_told_before_any_call() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = place(&server);
    let (database, log) = (
        context.state().join("orch.db"),
        context.state().join("orch.db-wal"),
    );
    for torn in [1, 100, 4000, 9000] {
        context.orch(&ASK).exits(0);
        // As after a power cut: the end of the log did not reach the disk.
        let length = std::fs::metadata(&log).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
        file.set_len(length - torn).unwrap();
        drop(file);
        std::fs::remove_file(context.state().join("orch.db-shm")).unwrap();
        context.orch(&ASK).exits(0);
        context.orch(&["check", "--store"]).exits(0);
    }
    let asked = server.chats().len();
    assert_eq!(asked, 8);
    let other = Connection::open(&database).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(other);
    let whole = std::fs::read(&database).unwrap();
    for (what, damaged) in [
        ("half of it", whole[..whole.len() / 2].to_vec()),
        ("a piece", whole[..1000].to_vec()),
        ("nonsense in the middle", {
            let mut bytes = whole.clone();
            bytes[4096..].fill(0x5a);
            bytes
        }),
        ("nonsense", vec![0x5a; whole.len()]),
    ] {
        for name in ["orch.db-wal", "orch.db-shm"] {
            std::fs::remove_file(context.state().join(name)).ok();
        }
        std::fs::write(&database, damaged).unwrap();
        let refused = context.orch(&ASK).exits(1);
        assert!(
            refused.stderr.contains("damaged") || refused.stderr.contains("not a database"),
            "{what}: {refused:#?}"
        );
        says(&refused, &["hint:"]);
        assert_eq!(server.chats().len(), asked, "{what}");
        let checked = context.orch(&["check", "--store"]);
        assert_eq!(checked.code, 1, "{what}: {checked:#?}");
    }
}

/// A store that is taken away, replaced or emptied while a run uses it: no further call is made, since it
/// would be in no ledger.
#[test]
fn a_store_that_goes_away_ends_the_run_before_the_next_call() {
    type Harm = fn(&Path);
    let remove: Harm = |state| {
        for name in ["orch.db", "orch.db-wal", "orch.db-shm"] {
            std::fs::remove_file(state.join(name)).unwrap();
        }
    };
    let rename: Harm = |state| std::fs::rename(state.join("orch.db"), state.join("old")).unwrap();
    let replace: Harm = |state| {
        std::fs::copy(state.join("orch.db"), state.join("new")).unwrap();
        std::fs::rename(state.join("new"), state.join("orch.db")).unwrap();
    };
    let empty: Harm = |state| std::fs::write(state.join("orch.db"), "").unwrap();
    let empty_log: Harm = |state| std::fs::write(state.join("orch.db-wal"), "").unwrap();
    let remove_log: Harm = |state| std::fs::remove_file(state.join("orch.db-wal")).unwrap();
    for (name, harm) in [
        ("removed", remove),
        ("renamed", rename),
        ("replaced", replace),
        ("emptied", empty),
        ("its log emptied", empty_log),
        ("its log removed", remove_log),
    ] {
        // The second has a writer's thread.
        for asked in [&ASK[..], &["--all", "--prompt", "x"]] {
            goes_away(name, harm, asked);
        }
    }
}

fn goes_away(name: &str, harm: fn(&Path), asked: &[&str]) {
    let context = Context::new();
    let state = context.state();
    let server = Stub::start(move |seen| {
        if seen.number == 1 {
            harm(&state);
        }
        stub::tool_calls(&[("c", "list_dir", serde_json::json!({}))])
    });
    let agent = "max_output_tokens: 5, tools: [list_dir]";
    context.write(
        "orch.yaml",
        priced(&server.url(), 1000.0, 1000.0, "", agent),
    );
    let ended = context.orch(asked).exits(1);
    assert!(
        ended
            .stderr
            .contains("was removed or replaced while it was in use"),
        "{name}: {ended:#?}"
    );
    let without_cause = |line: &str| line.ends_with("the ledger could not be written to its end");
    assert!(
        !ended.stderr.lines().any(without_cause),
        "{name}: {ended:#?}"
    );
    assert_eq!(server.chats().len(), 2, "{name}");
}

/// The index of the log can be made anew: a copy without it is read whole.
#[test]
fn a_log_without_its_index_is_read() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = place(&server);
    context.orch(&ASK).exits(0);
    std::fs::remove_file(context.state().join("orch.db-shm")).unwrap();
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(money(&costs["total_cost_usd"]), ANSWER);
}

#[test]
fn the_check_mends_what_can_be_rebuilt() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = place(&server);
    context.orch(&["check", "--store"]).exits(0);
    context.orch(&ASK).exits(0);
    let other = Connection::open(context.state().join("orch.db")).unwrap();
    other
        .execute_batch("UPDATE totals SET spent = 0; DELETE FROM totals WHERE scope LIKE 'month/%'")
        .unwrap();
    let check = context
        .orch(&["check", "--store", "--json"])
        .exits(0)
        .json();
    assert_eq!(check["repaired"], true);
    assert!(
        check["wrong_totals"].as_array().unwrap().len() >= 4,
        "{check}"
    );
    let check = context
        .orch(&["check", "--store", "--json"])
        .exits(0)
        .json();
    assert_eq!(
        (&check["repaired"], &check["attempts"]),
        (&false.into(), &1.into())
    );
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    for budget in costs["budgets"].as_array().unwrap() {
        assert_eq!(budget["used_usd"], "0.015000", "{costs}");
    }
}
