//! Going on with a run from another directory.

use serde_json::json;

use super::{config, run_id};
use crate::support::{Context, Stub, ran, stub};

/// A run whose second model turn fails, and goes on to write a file.
fn begun(server: &Stub, tasks: &str) -> Context {
    let context = Context::new();
    context.write("one/orch.yaml", config(&server.url(), tasks));
    context.write("two/orch.yaml", config(&server.url(), tasks));
    context
}

fn server() -> Stub {
    let write = || stub::tool_calls(&[("1", "write", json!({"path": "made.txt", "content": "x"}))]);
    Stub::start(move |seen| match seen.number {
        0 => stub::status(500, &[], "{}"),
        1 => write(),
        _ => stub::text("made"),
    })
}

#[test]
fn a_run_goes_on_where_it_began_alone() {
    let tasks = "  t: {steps: [{agent: a, prompt: make}]}\n";
    for begin in [
        &["--agent", "a", "--prompt", "make"][..],
        &["--all", "--agents-only", "a", "--prompt", "make"],
        &["--task", "t"],
    ] {
        let server = server();
        let context = begun(&server, tasks);
        let within = |place: &str, args: &[&str]| {
            let mut command = context.command(args);
            command.current_dir(context.work().join(place));
            ran(command.output().unwrap())
        };
        let named = [&["--config", "orch.yaml"], begin].concat();
        within("one", &named).exits(5);
        let listed = within("one", &["--config", "orch.yaml", "--runs", "--json"]).json();
        let id = listed[0]["run_id"].as_str().unwrap();
        let resume = ["--config", "orch.yaml", "--resume", id];
        let refused = within("two", &resume).exits(2);
        let one = context.work().join("one").canonicalize().unwrap();
        let words = format!("error: the run works in `{}`, and this", one.display());
        assert!(refused.stderr.starts_with(&words), "{}", refused.stderr);
        let config = one.join("orch.yaml");
        let hint = format!(
            "hint: name its configuration: orch --config {} --resume {id}",
            config.display()
        );
        assert!(refused.stderr.contains(&hint), "{}", refused.stderr);
        assert_eq!(server.chats().len(), 1);
        // As the hint says; the directory itself does not matter.
        within(
            "two",
            &["--config", config.to_str().unwrap(), "--resume", id],
        )
        .exits(0);
        assert_eq!(context.read("one/made.txt"), "x");
        assert!(!context.work().join("two/made.txt").exists());
    }
}

/// Where the directory was moved, its runs have moved with it.
#[test]
fn a_run_goes_on_where_its_directory_was_moved() {
    let server = server();
    let context = begun(&server, " {}\n");
    let orch = |config: &str, args: &[&str]| context.run(&[&["--config", config], args].concat());
    orch("one/orch.yaml", &["--agent", "a", "--prompt", "make"]).exits(5);
    std::fs::rename(context.work().join("one"), context.work().join("three")).unwrap();
    context.write("orch.yaml", context.read("three/orch.yaml"));
    let id = run_id(&context);
    let done = orch("three/orch.yaml", &["--resume", &id]).exits(0);
    assert!(
        done.stderr.contains("which is gone; it goes on in"),
        "{}",
        done.stderr
    );
    assert_eq!(context.read("three/made.txt"), "x");
}
