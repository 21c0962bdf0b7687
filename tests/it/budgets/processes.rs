//! Many processes on one budget: killed while they hold, with other caps than their neighbours, one after
//! another.

use std::process::{Child, Stdio};

use super::{money, priced};
use crate::bad_input::kill;
use crate::sandbox::until;
use crate::support::{Context, Stub, ran, stub};

const ASK: [&str; 5] = ["--agent", "a", "--prompt", "x", "--json"];

/// Output at a tenth of a cent a token, 300 tokens an answer.
fn place(server: &Stub, cap: &str) -> Context {
    let context = Context::new();
    write(&context, server, cap);
    context
}

fn write(context: &Context, server: &Stub, cap: &str) {
    let budget = format!("budget: {{day_usd: {cap}}}");
    context.write(
        "orch.yaml",
        priced(
            &server.url(),
            0.0,
            1000.0,
            &budget,
            "max_output_tokens: 300",
        ),
    );
}

fn begin(context: &Context) -> Child {
    let mut command = context.command(&[&["--config", "orch.yaml"], &ASK[..]].concat());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_killed_processes_held_stays_held_for_all_others() {
    let server = Stub::start(|_| vec![stub::Do::Hang]);
    let context = place(&server, "1.00");
    let mut children: Vec<Child> = (0..10).map(|_| begin(&context)).collect();
    // Three are admitted; those who are not end by themselves.
    until("three calls", || server.chats().len() == 3);
    let mut running = Vec::new();
    until("seven refusals", || {
        let ids = children.iter_mut().filter_map(|child| {
            let is_over = child.try_wait().unwrap().is_some();
            (!is_over).then(|| child.id())
        });
        running = ids.collect();
        running.len() == 3
    });
    for id in running {
        kill(id, libc::SIGKILL);
    }
    let mut codes: Vec<i32> = children
        .into_iter()
        .map(|child| ran(child.wait_with_output().unwrap()).code)
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, [7, 7, 7, 7, 7, 7, 7, 128 + 9, 128 + 9, 128 + 9]);
    assert_eq!(server.chats().len(), 3);
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(
        (&costs["total_cost_usd"], &costs["held_usd"]),
        (&"0.000000".into(), &"0.900000".into())
    );
    // Whoever comes now, and after a repair too.
    context.orch(&ASK).exits(7);
    let check = context
        .orch(&["check", "--store", "--json"])
        .exits(0)
        .json();
    assert_eq!(check["dead_holds"].as_array().unwrap().len(), 3);
    context.orch(&ASK).exits(7);
    assert_eq!(server.chats().len(), 3);
}

#[test]
fn a_cap_that_is_changed_holds_for_what_was_spent_before() {
    let server = Stub::start(|_| stub::text_with_usage("ok", 10, 300));
    let context = place(&server, "1.00");
    for _ in 0..3 {
        context.orch(&ASK).exits(0);
    }
    context.orch(&ASK).exits(7);
    write(&context, &server, "0.50");
    let refused = context.orch(&ASK).exits(7).json();
    let message = refused["error"]["message"].as_str().unwrap();
    for words in [
        "`day`",
        "0.500000 USD",
        "0.900000 spent",
        "0.000000 left",
        "resets at",
        "00:00 UTC",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    write(&context, &server, "1.25");
    context.orch(&ASK).exits(0);
    context.orch(&ASK).exits(7);
    assert_eq!(server.chats().len(), 4);
    // A run under another cap at the same time: each is held to its own, over the same total.
    write(&context, &server, "0");
    context.orch(&ASK).exits(7);
    assert_eq!(server.chats().len(), 4);
}

#[test]
fn a_cap_below_one_hold_asks_for_less_or_refuses() {
    let server = Stub::start(|seen| {
        let most = seen.body["max_tokens"]
            .as_u64()
            .or_else(|| seen.body["max_completion_tokens"].as_u64());
        stub::text_with_usage("ok", 10, most.unwrap())
    });
    let context = Context::new();
    let write = |cap: &str, agent: &str| {
        let budget = format!("budget: {{day_usd: {cap}}}");
        context.write(
            "orch.yaml",
            priced(&server.url(), 0.0, 1000.0, &budget, agent),
        );
    };
    // What the user asked for is not lowered behind the user's back.
    write("0.25", "max_output_tokens: 300");
    context.orch(&ASK).exits(7);
    assert_eq!(server.chats().len(), 0);
    // Without a word of the user it is what the budget affords: 400 of 8192 tokens.
    write("0.40", "max_turns: 1");
    let result = context.orch(&ASK).exits(0).json();
    assert_eq!(result["cost_usd"], "0.400000");
    let warnings = result["warnings"].to_string();
    assert!(
        warnings.contains("room for 400 output tokens"),
        "{warnings}"
    );
    // A hundred tokens are not worth a call.
    write("0.50", "max_turns: 1");
    context.orch(&ASK).exits(7);
    assert_eq!(server.chats().len(), 1);
}

/// A run that was killed goes on with what it had spent and held, under the cap of its configuration or its own.
#[test]
fn a_resumed_run_goes_on_counting() {
    goes_on_counting("budget: {run_usd: 1.00}", &[], "run");
    goes_on_counting("", &["--budget", "1.00"], "--budget");
}

fn goes_on_counting(settings: &str, flags: &[&str], budget: &str) {
    let server = Stub::start(|seen| {
        if seen.number == 1 {
            return vec![stub::Do::Hang];
        }
        stub::text_with_usage("ok", 10, 300)
    });
    let context = Context::new();
    let yaml = priced(
        &server.url(),
        0.0,
        1000.0,
        settings,
        "max_output_tokens: 300",
    ) + "tasks:\n  t:\n    steps:\n      - {id: one, agent: a, prompt: x}\n      \
         - {id: two, agent: a, prompt: x}\n      - {id: three, agent: a, prompt: x}\n";
    context.write("orch.yaml", yaml);
    let task = [&["--config", "orch.yaml", "--task", "t"], flags].concat();
    let mut command = context.command(&task);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the second call", || server.chats().len() == 2);
    kill(child.id(), libc::SIGKILL);
    child.wait().unwrap();
    let runs = context.orch(&["--runs", "--json"]).exits(0).json();
    assert_eq!(runs[0]["state"], "interrupted");
    let run = runs[0]["run_id"].as_str().unwrap();
    // 0.3 spent and 0.3 held for ever: the second step fits, the third does not.
    let resumed = context.orch(&["--resume", run, "--json"]);
    assert_eq!(server.chats().len(), 3, "{resumed:#?}");
    assert!([7, 8].contains(&resumed.code), "{resumed:#?}");
    assert!(
        resumed
            .stdout
            .contains(&format!("the budget `{budget}` of 1.000000 USD")),
        "{resumed:#?}"
    );
    let costs = context
        .orch(&["--costs", "--run", run, "--json"])
        .exits(0)
        .json();
    assert_eq!(money(&costs["total_cost_usd"]), 600_000_000_000);
    assert_eq!(money(&costs["held_usd"]), 300_000_000_000);
    // Another cap takes the place of the one that the run began with.
    if !flags.is_empty() {
        let more = ["--resume", run, "--budget", "2", "--json"];
        let done = context.orch(&more).exits(0).json();
        assert_eq!(done["ok"], true, "{done:#}");
        assert_eq!(server.chats().len(), 4);
    }
}

/// The cap of the command line holds for agents that are taken up again, too.
#[test]
fn a_resumed_run_of_agents_keeps_its_cap() {
    for (ask, codes) in [(&["--agent", "a"][..], &[7][..]), (&["--all"], &[7, 8])] {
        let server = Stub::start(|seen| {
            if seen.number == 0 {
                return stub::tool_calls(&[("c1", "list_dir", serde_json::json!({}))]);
            }
            vec![stub::Do::Hang]
        });
        let context = Context::new();
        let agent = "tools: [list_dir], max_output_tokens: 300";
        context.write("orch.yaml", priced(&server.url(), 0.0, 1000.0, "", agent));
        let flags = ["--config", "orch.yaml", "--prompt", "x", "--budget", "0.4"];
        let mut child = context
            .command(&[&flags[..], ask].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the second call", || server.chats().len() == 2);
        kill(child.id(), libc::SIGKILL);
        child.wait().unwrap();
        let runs = context.orch(&["--runs", "--json"]).exits(0).json();
        let run = runs[0]["run_id"].as_str().unwrap();
        let resumed = context.orch(&["--resume", run, "--json"]);
        assert!(codes.contains(&resumed.code), "{resumed:#?}");
        assert!(
            resumed
                .stdout
                .contains("the budget `--budget` of 0.400000 USD"),
            "{resumed:#?}"
        );
        assert_eq!(server.chats().len(), 2);
    }
}
