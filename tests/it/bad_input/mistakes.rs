//! What a user may get wrong on the command line.

use crate::support::{Context, Stub, ran, stub};

/// Each mistake says what is wrong and what to do about it.
#[test]
fn every_mistake_has_a_hint() {
    let server = Stub::start(|_| stub::text("ok"));
    let context = Context::with_agent(&server.url(), "");
    let ask = ["--agent", "a", "--prompt", "x"];
    for (args, words) in [
        (&["--prompt-file", "none"][..], "cannot read `none`"),
        (&["--prompt-file", "."], "cannot read `.`"),
        (&["--context", "none"], "cannot read `none`"),
        (&["--budget", "much"], "`much` is not an amount"),
        (&["--budget", "-1"], "a budget of `-1` is below zero"),
        (&["--record", "."], "the recording `.` cannot be written"),
        (&["--log-file", "."], "the log `.` cannot be written"),
        (&["--replay", "none"], "the recording `none` cannot be read"),
        (
            &["--replay", "/dev/zero"],
            "line 1 of `/dev/zero` is too long for a recorded reply",
        ),
        (
            &["--prompt-file", "/dev/zero"],
            "`/dev/zero` is larger than 64 MiB",
        ),
        (
            &["--context", "/dev/zero"],
            "`/dev/zero` is larger than 64 MiB",
        ),
    ] {
        let asked = if args[0] == "--prompt-file" {
            &ask[..2]
        } else {
            &ask[..]
        };
        let ran = context.orch(&[asked, args].concat()).exits(2);
        assert!(ran.stderr.contains(words), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("\nhint: "), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    let costs = context.orch(&["--costs", "--since", "soon"]).exits(2);
    assert!(costs.stderr.contains("\nhint: "), "{}", costs.stderr);
    let mut command = context.command(&["--config", "orch.yaml", "--agent", "a", "-"]);
    command.stdin(std::fs::File::open("/dev/zero").unwrap());
    let endless = ran(command.output().unwrap()).exits(2);
    let words = "error: standard input is larger than 64 MiB\n\nhint: ";
    assert!(endless.stderr.starts_with(words), "{}", endless.stderr);
    assert_eq!(server.seen().len(), 0);
}
