//! What an agent leaves in the workspace must not lead the program's own writing out of it.

use std::os::unix::fs::symlink;

use crate::support::{Context, Stub, stub};

fn answering() -> Stub {
    Stub::start(|_| stub::text("the answer"))
}

#[test]
fn links_where_logs_and_outputs_belong_are_not_followed() {
    let server = answering();
    for (planted, to) in [
        ("logs", "."),
        ("logs/a.md", "a.md"),
        ("outputs", "."),
        ("outputs/a", "."),
    ] {
        let context = Context::with_agent(&server.url(), "");
        let outside = context.home().join("outside");
        std::fs::create_dir_all(outside.join("a")).unwrap();
        std::fs::write(outside.join("a.md"), "mine").unwrap();
        let link = context.work().join(planted);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(outside.join(to), &link).unwrap();

        let result = context
            .orch(&["--agent", "a", "--prompt", "x", "--save", "--json"])
            .exits(0)
            .json();
        assert_eq!(result["output"], "the answer", "{planted}");
        let warnings = result["warnings"].to_string();
        assert!(
            warnings.contains("is a link, and it is not followed"),
            "{planted}: {warnings}"
        );
        assert_eq!(
            std::fs::read_to_string(outside.join("a.md")).unwrap(),
            "mine",
            "{planted}"
        );
        let left: Vec<_> = std::fs::read_dir(outside.join("a")).unwrap().collect();
        assert!(left.is_empty(), "{planted}: {left:?}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 2, "{planted}");
    }
}

#[test]
fn a_pipe_in_place_of_the_log_holds_up_nothing() {
    let server = answering();
    let context = Context::with_agent(&server.url(), "");
    std::fs::create_dir(context.work().join("logs")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(context.work().join("logs/a.md"))
        .status()
        .unwrap();
    assert!(made.success());
    let result = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(0)
        .json();
    let warnings = result["warnings"].to_string();
    assert!(warnings.contains("is not a file"), "{warnings}");
    context.orch(&["--logs", "a"]).exits(1);
}

#[test]
fn a_second_name_of_another_file_is_not_written_to() {
    let server = answering();
    let context = Context::with_agent(&server.url(), "");
    let victim = context.home().join("victim");
    std::fs::write(&victim, "mine").unwrap();
    std::fs::create_dir(context.work().join("logs")).unwrap();
    std::fs::hard_link(&victim, context.work().join("logs/a.md")).unwrap();
    let result = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(0)
        .json();
    let warnings = result["warnings"].to_string();
    assert!(warnings.contains("has another name"), "{warnings}");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "mine");
}
