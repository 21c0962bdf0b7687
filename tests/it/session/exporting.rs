//! Writing a conversation into a file.

use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use super::on_terminal;
use crate::support::{Context, Stub, stub, terminal::Terminal};

fn start(context: &Context) -> Terminal {
    let home = context.work();
    on_terminal(context, |command| _ = command.env("HOME", home), 100, 40)
}

#[test]
fn an_export_makes_a_file_and_replaces_none() {
    let server = Stub::start(|_| stub::text("an answer"));
    let context = Context::with_agent(&server.url(), "");
    let work = context.work();
    let config = context.read("orch.yaml");
    context.write("kept.md", "mine");
    symlink("kept.md", work.join("link.md")).unwrap();
    symlink("nowhere.md", work.join("dangling.md")).unwrap();
    let made = Command::new("mkfifo").arg(work.join("pipe.md")).status();
    assert!(made.unwrap().success());
    let mut terminal = start(&context);
    terminal.line("hello");
    terminal.shows("an answer");
    terminal.prompt("[a] >");
    for (file, shown) in [
        ("orch.yaml", "`/export` cannot write `orch.yaml`"),
        ("plain", "`/export` cannot write `plain`"),
        ("kept.md", "`kept.md` is there already and stays as it is"),
        ("link.md", "`link.md` is there already"),
        ("dangling.md", "`dangling.md` is there already"),
        ("pipe.md", "`pipe.md` is there already"),
        ("new.md", "wrote new.md"),
        ("new.json", "wrote new.json"),
        ("~/home.md", "wrote ~/home.md"),
        ("new.json", "`new.json` is there already"),
    ] {
        terminal.line(&format!("/export {file}"));
        terminal.shows(shown);
        terminal.prompt("[a] >");
    }
    assert_eq!(context.read("orch.yaml"), config);
    assert_eq!(context.read("kept.md"), "mine");
    assert!(work.join("link.md").is_symlink());
    assert!(!work.join("nowhere.md").exists());
    assert!(!work.join("plain").exists());
    let pipe = work.join("pipe.md").symlink_metadata().unwrap();
    assert!(pipe.file_type().is_fifo());
    assert!(context.read("new.md").contains("an answer"));
    assert_eq!(context.read("home.md"), context.read("new.md"));
    let json: serde_json::Value = serde_json::from_str(&context.read("new.json")).unwrap();
    assert_eq!(json["messages"].as_array().unwrap().len(), 2);
    let mode = work.join("new.md").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    terminal.line("/quit");
    terminal.ends(0);
}
