//! Colours, the end of an answer, and files that may not grow.

use crate::support::{Context, Ran, Stub, ran, stub};

/// Runs where everything else asks for colours.
fn forced(context: &Context, args: &[&str]) -> Ran {
    let mut command = context.command(args);
    command.env("CLICOLOR_FORCE", "1");
    ran(command.output().expect("orch runs"))
}

#[test]
fn color_wins_for_help_and_wrong_flags_too() {
    let context = Context::new();
    let help = context.run(&["--color", "always", "--help"]).exits(0);
    assert!(help.stdout.contains("\x1b["), "{}", help.stdout);
    let wrong = context.run(&["--color=always", "--nope"]).exits(2);
    assert!(wrong.stderr.contains("\x1b[31merror:"), "{}", wrong.stderr);
    for (args, code) in [
        (&["--color", "never", "--help"][..], 0),
        (&["--agents", "--color=never", "--help"], 0),
        (&["--color", "never", "--nope"], 2),
    ] {
        let plain = forced(&context, args).exits(code);
        assert!(!plain.stdout.contains('\x1b'), "{plain:#?}");
        assert!(!plain.stderr.contains('\x1b'), "{plain:#?}");
    }
}

#[test]
fn an_answer_ends_with_one_line_end() {
    let server = Stub::replies([stub::text("one\n\ntwo\n\n\n")]);
    let context = Context::with_agent(&server.url(), "");
    let said = context.orch(&["--agent", "a", "--prompt", "x"]).exits(0);
    assert_eq!(said.stdout, "one\n\ntwo\n");
    let all = context.orch(&["--all", "--prompt", "x"]).exits(0);
    assert_eq!(all.stdout, "── a \none\n\ntwo\n\n");
}

#[test]
fn a_file_that_may_not_grow_ends_in_a_result() {
    let server = Stub::replies([stub::text("hello")]);
    let context = Context::with_agent(&server.url(), "");
    let limit = ["/bin/sh", "-c", "ulimit -f 1; exec \"$@\"", "sh"];
    let args = [
        "--config",
        "orch.yaml",
        "--agent",
        "a",
        "--prompt",
        "x",
        "--json",
    ];
    let ran = ran(context.wrapped(&limit, &args).output().expect("orch runs"));
    assert!((1..128).contains(&ran.code), "{ran:#?}");
    let result = ran.json();
    assert_eq!(result["ok"], false, "{result}");
    assert!(result["error"]["message"].is_string(), "{result}");
}
