//! Flags that a session takes: its conversation, its budget, how long a prompt may take.

use crate::support::{Context, Stub, agent_config, stub};

fn counting() -> Stub {
    Stub::start(|seen| {
        let count = seen.body["messages"].as_array().unwrap().len();
        stub::text(&format!("I see {count} messages."))
    })
}

#[test]
fn a_session_goes_on_with_the_conversation_that_is_named() {
    let server = counting();
    let context = Context::with_agent(&server.url(), "");
    let session = |flags: &[&str]| {
        let args = [&["--config", "orch.yaml"], flags].concat();
        context.run_with_stdin(&args, b"x\n").exits(0).stdout
    };
    let named = ["--session", "s"];
    assert_eq!(session(&named), "I see 2 messages.\n");
    assert_eq!(session(&named), "I see 4 messages.\n");
    assert_eq!(session(&[]), "I see 2 messages.\n");
    assert_eq!(session(&["--continue"]), "I see 4 messages.\n");
    assert_eq!(session(&named), "I see 6 messages.\n");
    let nothing = Context::with_agent(&server.url(), "");
    let ran = nothing.run_with_stdin(&["--config", "orch.yaml", "--continue"], b"x\n");
    let ran = ran.exits(2);
    assert!(
        ran.stderr
            .contains("there is no conversation of `a` to continue"),
        "{ran:#?}"
    );
}

#[test]
fn the_budget_of_a_session_is_that_of_its_conversation() {
    let server = counting();
    let context = Context::new();
    let yaml = agent_config(&server.url(), "").replace(
        "base_url:",
        "prices: {stub-model: {input: 0, output: 1000}}, base_url:",
    );
    context.write("orch.yaml", yaml);
    // An answer costs 0.005 USD; the least that a call asks for is 0.256.
    let args = ["--config", "orch.yaml", "--budget", "0.26"];
    let ran = context.run_with_stdin(&args, b"one\ntwo\n/budget\n");
    assert_eq!(server.seen().len(), 1, "{ran:#?}");
    assert!(
        ran.stderr
            .contains("the budget `session` of 0.260000 USD would be exceeded"),
        "{ran:#?}"
    );
    assert!(ran.stdout.contains("0.260000"), "{ran:#?}");
}

/// Two agents whose answers cost 0.005 USD each, and a task that asks both; the least that a call asks for is 0.256.
fn priced(server: &Stub) -> Context {
    let context = Context::new();
    let yaml = agent_config(
        &server.url(),
        "  b: {role: R, provider: stub, model: stub-model}\n",
    )
    .replace(
        "base_url:",
        "prices: {stub-model: {input: 0, output: 1000}}, base_url:",
    ) + "tasks:\n  t: {steps: [{agent: a, prompt: x}, {agent: b, prompt: y}]}\n";
    context.write("orch.yaml", yaml);
    context
}

#[test]
fn the_cap_of_a_conversation_covers_what_is_asked_from_within_it() {
    for (lines, asked) in [
        ("/budget 0.26\n/task t\n", 1),
        ("/budget 0.26\n/all hello\n", 1),
        ("/budget 0.26\none\n/task t\n", 1),
        ("/budget 0.26\n/task t\none\n", 1),
        ("/task t\n/budget 0.26\n/all hello\n", 2),
        // A copy has what its original has left.
        ("/budget 0.26\none\n/fork\ntwo\n", 1),
        ("/budget 0.26\none\n/fork f\n/fork g\n/task t\n", 1),
        ("/budget 0.26\none\n/new\n/task t\n", 2),
    ] {
        let server = counting();
        let context = priced(&server);
        let ran = context.run_with_stdin(&["--config", "orch.yaml"], lines.as_bytes());
        assert_eq!(server.seen().len(), asked, "{lines}{ran:#?}");
        let told = "the budget `session` of 0.260000 USD would be exceeded";
        assert!(ran.stderr.contains(told), "{lines}{ran:#?}");
        assert!(ran.stderr.contains("`/budget USD`"), "{lines}{ran:#?}");
    }
    let server = counting();
    let context = priced(&server);
    let session = |args: &[&str], lines: &str| {
        let args = [&["--config", "orch.yaml"], args].concat();
        context.run_with_stdin(&args, lines.as_bytes())
    };
    let ran = session(&[], "one\n/task t\n/all hello\n/fork f\n/budget\n").exits(0);
    assert_eq!(server.seen().len(), 5, "{ran:#?}");
    let said = "this conversation: $0.025000 spent";
    assert!(ran.stdout.contains(said), "{ran:#?}");
    let ran = session(&["--session", "f", "--budget", "0.26"], "two\n/budget\n");
    assert_eq!(server.seen().len(), 5, "{ran:#?}");
    assert!(ran.stdout.contains(said), "{ran:#?}");
    session(&["--session", "f"], "/budget 0.26\n/budget none\n/task t\n").exits(0);
    assert_eq!(server.seen().len(), 7);
}

#[test]
fn the_name_of_a_copy_may_not_be_taken() {
    let server = counting();
    let context = Context::with_agent(&server.url(), "");
    let lines = b"/session f\n/fork g\none\n/fork g\n/fork g\n";
    let ran = context.run_with_stdin(&["--config", "orch.yaml"], lines);
    let said = "a new conversation f\nI see 2 messages.\ngoing on in g\n";
    assert_eq!(ran.stdout, said, "{ran:#?}");
    for told in [
        "error: nothing was said yet\n",
        "error: there is a conversation `g` already\n",
    ] {
        assert!(ran.stderr.contains(told), "{ran:#?}");
    }
}

#[test]
fn the_budget_of_a_session_is_that_of_each_run_too() {
    let server = counting();
    let context = priced(&server);
    let args = ["--config", "orch.yaml", "--budget", "0.26"];
    for line in ["/all hello\n", "/task t\n"] {
        let before = server.seen().len();
        let ran = context.run_with_stdin(&args, line.as_bytes());
        assert_eq!(server.seen().len(), before + 1, "{line} {ran:#?}");
        let told = "the budget `--budget` of 0.260000 USD would be exceeded";
        assert!(ran.stderr.contains(told), "{line} {ran:#?}");
    }
}

#[test]
fn a_prompt_of_a_session_may_take_as_long_as_the_flag_says() {
    let server = Stub::start(|seen| match seen.last_text().as_str() {
        "slow" => vec![stub::stream_head(), stub::Do::Hang],
        _ => stub::text("Hello."),
    });
    let context = Context::with_agent(&server.url(), "");
    let args = ["--config", "orch.yaml", "--timeout", "1"];
    let ran = context.run_with_stdin(&args, b"slow\nquick\n").exits(0);
    assert!(ran.stderr.contains("not finished within"), "{ran:#?}");
    assert!(ran.stdout.contains("Hello."), "{ran:#?}");
}
