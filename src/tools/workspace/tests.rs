use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::tools::testing::{Place, context, run};
use crate::tools::{Before, Changes, KeptChange, ToolContext, ToolStatus, Workspace};

async fn told(
    context: &ToolContext,
    tool: &str,
    arguments: serde_json::Value,
) -> (ToolStatus, String) {
    let outcome = run(context, tool, arguments).await;
    (outcome.status, outcome.content)
}

async fn read(context: &ToolContext, path: &str) -> (ToolStatus, String) {
    told(context, "read", json!({"path": path})).await
}

async fn write(context: &ToolContext, path: &str) -> (ToolStatus, String) {
    told(context, "write", json!({"path": path, "content": "new"})).await
}

fn pipe(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[tokio::test]
async fn reads_what_lies_inside() {
    let place = Place::new();
    place
        .file("d/f.txt", "inside")
        .file("..foo/bar..txt", "dots")
        .link("d", "s")
        .link("../work/d/f.txt", "around");
    let context = place.context();
    let absolute = place.work.join("d/f.txt");
    let up = place.work.join("d/../d/f.txt");
    for (path, content) in [
        ("d/f.txt", "inside"),
        ("./d/../d/f.txt", "inside"),
        ("s/f.txt", "inside"),
        ("..foo/bar..txt", "dots"),
        (absolute.to_str().unwrap(), "inside"),
        (up.to_str().unwrap(), "inside"),
    ] {
        assert_eq!(
            read(&context, path).await,
            (ToolStatus::Ok, content.to_owned()),
            "{path}"
        );
    }
    // A link that leaves and comes back is one that leaves.
    assert_eq!(read(&context, "around").await.0, ToolStatus::Refused);
}

#[tokio::test]
async fn nothing_outside_is_read_or_written() {
    let place = Place::new();
    place
        .link(&place.outside, "l")
        .link(place.outside.join("secret.txt"), "f")
        .link(place.outside.join("made.txt"), "dangling")
        .link("/proc/self/root", "magic");
    let evil = place.work.with_file_name("work-evil");
    std::fs::create_dir(&evil).unwrap();
    std::fs::write(evil.join("x"), "OUTSIDE").unwrap();
    let context = place.context();
    let secret = place.outside.join("secret.txt");
    for path in [
        "../outside/secret.txt",
        secret.to_str().unwrap(),
        "l/secret.txt",
        "f",
        "magic/etc/passwd",
        "/etc/passwd",
        "/proc/self/environ",
        evil.join("x").to_str().unwrap(),
    ] {
        let (status, words) = read(&context, path).await;
        assert_eq!(status, ToolStatus::Refused, "{path}: {words}");
        let (status, words) = write(&context, path).await;
        assert_eq!(status, ToolStatus::Refused, "{path}: {words}");
    }
    for path in ["l/new", "l/a/b/new", "dangling", "../outside/new"] {
        assert_eq!(write(&context, path).await.0, ToolStatus::Refused, "{path}");
    }
    assert_eq!(
        read(&context, "%2e%2e/outside/secret.txt").await.0,
        ToolStatus::Failed
    );
    assert_eq!(
        read(&context, "a\0b").await.1,
        "the path contains a NUL character"
    );
    let left: Vec<_> = std::fs::read_dir(&place.outside)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["secret.txt"]);
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "OUTSIDE");
}

#[tokio::test]
async fn only_regular_files_and_nothing_hangs() {
    let place = Place::new();
    pipe(&place.work.join("pipe"));
    place.link("/dev/zero", "zero").file("d/x", "");
    let context = place.context();
    let all = async {
        let words =
            "`pipe` is not a regular file (a pipe, socket or device): access is not allowed";
        assert_eq!(
            read(&context, "pipe").await,
            (ToolStatus::Refused, words.to_owned())
        );
        assert_eq!(
            write(&context, "pipe").await,
            (ToolStatus::Refused, words.to_owned())
        );
        let found = told(&context, "grep", json!({"path": ".", "pattern": "x"})).await;
        assert_eq!(found, (ToolStatus::Ok, "[nothing matches `x`]".to_owned()));
        assert_eq!(read(&context, "zero").await.0, ToolStatus::Refused);
    };
    tokio::time::timeout(Duration::from_mins(1), all)
        .await
        .unwrap();
    let words = "`d` is a directory: list it with `list_dir`";
    assert_eq!(
        read(&context, "d").await,
        (ToolStatus::Failed, words.to_owned())
    );
    assert_eq!(
        write(&context, "d").await.1,
        "`d` is a directory, not a file"
    );
    assert_eq!(
        write(&context, "new/").await.1,
        "`new/` is a directory, not a file"
    );
    assert_eq!(
        write(&context, "d/x/y").await.1,
        "`d/x/y`: a part of the path is no directory"
    );
    assert_eq!(read(&context, "none").await.1, "`none` does not exist");
}

#[tokio::test]
async fn secrets_and_protected_files_stay_closed() {
    let place = Place::new();
    place
        .file(".env", "SECRET")
        .file("sub/.env.local", "SECRET")
        .file("sub/id_ed25519", "SECRET")
        .file(".git/config", "[core]")
        .file(".env.example", "KEY=")
        .file(".venv/.env/lib.py", "code")
        .file("settings/production", "HIDDEN")
        .link("../settings/production", "sub/.env")
        .link("../settings/production", "sub/id_rsa")
        .link(".env", "notes")
        .link(".git", "g");
    std::fs::hard_link(place.work.join(".env.example"), place.work.join("same")).unwrap();
    let context = place.context();
    for path in [
        ".env",
        "sub/.env.local",
        "sub/id_ed25519",
        "notes",
        "./sub/../.env",
        // What leads to a file of another name is one all the same.
        "sub/.env",
        "sub/id_rsa",
    ] {
        assert_eq!(read(&context, path).await.0, ToolStatus::Refused, "{path}");
        assert_eq!(write(&context, path).await.0, ToolStatus::Refused, "{path}");
    }
    let found = told(&context, "grep", json!({"path": ".", "pattern": "SECRET"})).await;
    assert_eq!(found.1, "[nothing matches `SECRET`]");
    for path in [
        ".env.production",
        "orch.yaml",
        "config.yaml",
        ".git/config",
        ".git/hooks/pre-commit",
        "g/config",
        "g/hooks/pre-commit",
        "new/.git/hooks/x",
    ] {
        let (status, words) = write(&context, path).await;
        assert_eq!(status, ToolStatus::Refused, "{path}: {words}");
    }
    assert!(!place.work.join(".git/hooks").exists() && !place.work.join("new").exists());
    assert_eq!(read(&context, ".git/config").await.1, "[core]");
    assert_eq!(read(&context, ".venv/.env/lib.py").await.1, "code");
    assert_eq!(write(&context, ".env.example").await.0, ToolStatus::Ok);
}

#[tokio::test]
async fn private_directories_do_not_even_show() {
    let place = Place::new();
    place.file("state/ledger", "SECRET").file("a", "x");
    let mut policy = place.policy();
    policy.private.push(place.work.join("state"));
    let context = context(policy);
    assert_eq!(read(&context, "state/ledger").await.0, ToolStatus::Refused);
    assert_eq!(
        told(&context, "list_dir", json!({"path": "state"})).await.0,
        ToolStatus::Refused
    );
    let listed = told(&context, "list_dir", json!({"recursive": true})).await;
    assert_eq!(listed.1, "[f] a");
    let globbed = told(&context, "glob", json!({"pattern": "**"})).await;
    assert_eq!(globbed.1, "a");
}

#[tokio::test]
async fn a_write_makes_directories_and_keeps_the_mode() {
    let place = Place::new();
    place.file("run.sh", "old");
    let mode = std::fs::Permissions::from_mode(0o750);
    std::fs::set_permissions(place.work.join("run.sh"), mode).unwrap();
    let context = place.context();
    let outcome = run(
        &context,
        "write",
        json!({"path": "run.sh", "content": "new"}),
    )
    .await;
    assert_eq!(outcome.content, "replaced `run.sh` (3 bytes written)");
    let kept = std::fs::metadata(place.work.join("run.sh")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o7777, 0o750);
    let outcome = run(
        &context,
        "write",
        json!({"path": "a/b/c", "content": "1\n"}),
    )
    .await;
    assert_eq!(outcome.content, "created `a/b/c` (2 bytes written)");
    let more = json!({"path": "a/b/c", "content": "2\n", "append": true});
    assert_eq!(
        told(&context, "write", more).await.1,
        "appended to `a/b/c` (2 bytes written)"
    );
    assert_eq!(place.text("a/b/c"), "1\n2\n");
    let edit = json!({"path": "a/b/c", "old_string": "2", "new_string": "3"});
    assert_eq!(
        told(&context, "edit", edit).await.1,
        "edited `a/b/c` at line 2"
    );
    assert_eq!(place.text("a/b/c"), "1\n3\n");
    let names: Vec<_> = std::fs::read_dir(place.work.join("a/b")).unwrap().collect();
    assert_eq!(names.len(), 1, "a temporary file was left: {names:?}");
}

#[tokio::test]
async fn a_read_only_file_stays_as_it_is() {
    let place = Place::new();
    place.file("f", "old");
    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.work.join("f"), mode).unwrap();
    };
    let context = place.context();
    let words = "`f` is read-only (mode 0444): nothing was written";
    let edit = json!({"path": "f", "old_string": "old", "new_string": "new"});
    mode(0o444);
    for told in [
        write(&context, "f").await,
        told(&context, "edit", edit).await,
    ] {
        assert_eq!(told, (ToolStatus::Failed, words.to_owned()));
    }
    assert_eq!(place.text("f"), "old");
    mode(0o644);
    assert_eq!(write(&context, "f").await.0, ToolStatus::Ok);
}

#[tokio::test]
async fn what_is_noted_about_a_file_outlives_an_edit() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let place = Place::new();
    place.file("f", "old");
    let file = place.work.join("f");
    if setxattr(&file, "user.origin", b"there", XattrFlags::empty()).is_err() {
        // A file system without such notes.
        return;
    }
    assert_eq!(write(&place.context(), "f").await.0, ToolStatus::Ok);
    let mut value = [0; 16];
    let length = getxattr(&file, "user.origin", &mut value).unwrap();
    assert_eq!(
        (&value[..length], place.text("f").as_str()),
        (&b"there"[..], "new")
    );
}

#[tokio::test]
async fn encodings_are_named() {
    let wide = |text: &str, big: bool| -> Vec<u8> {
        let unit = |unit: u16| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        };
        text.encode_utf16().flat_map(unit).collect()
    };
    let place = Place::new();
    let long = "ä".repeat(40_000);
    place
        .file("little", wide("\u{feff}hä\n", false))
        .file("big", wide("\u{feff}hä\n", true))
        .file("bare", wide("plain text\n", false))
        .file("long", &long)
        .file("odd", format!("x{long}"))
        .file("wide", wide(&format!("\u{feff}x{long}"), false));
    let context = place.context();
    for (path, encoding, expected) in [
        ("little", None, "hä\n[the file is in UTF-16LE]"),
        ("big", None, "hä\n[the file is in UTF-16BE]"),
        // The name alone says nothing of the order of bytes; the file's mark does.
        ("big", Some("utf-16"), "hä\n[the file is in UTF-16BE]"),
        (
            "bare",
            None,
            "`bare` is a binary file of 22 bytes: it cannot be shown as text; it looks like UTF-16LE, which \
             `encoding` can name",
        ),
        (
            "bare",
            Some("utf-16le"),
            "plain text\n[the file is in UTF-16LE]",
        ),
    ] {
        let read = json!({"path": path, "encoding": encoding});
        assert_eq!(told(&context, "read", read).await.1, expected, "{path}");
    }
    for path in ["long", "odd", "wide"] {
        let text = read(&context, path).await.1;
        assert!(
            !text.contains('\u{fffd}') && !text.contains("some bytes"),
            "{path}"
        );
        assert!(
            text.contains("ä\n[the last line is too long to be shown whole]"),
            "{path}"
        );
    }
    let edit = |path: &str| json!({"path": path, "old_string": "h", "new_string": "H"});
    assert_eq!(
        told(&context, "edit", edit("little")).await.1,
        "`little` is in UTF-16LE, not UTF-8: it cannot be edited"
    );
}

#[tokio::test]
async fn a_hard_link_is_replaced_and_a_link_refused() {
    let place = Place::new();
    let victim = place.outside.join("secret.txt");
    std::fs::hard_link(&victim, place.work.join("h")).unwrap();
    place.file("real", "x").link("real", "l");
    let context = place.context();
    assert_eq!(write(&context, "h").await.0, ToolStatus::Ok);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "OUTSIDE");
    assert_eq!(std::fs::metadata(&victim).unwrap().nlink(), 1);
    let words =
        "`l` is a symbolic link to `real`: writing through it is not allowed, name the file itself";
    assert_eq!(
        write(&context, "l").await,
        (ToolStatus::Refused, words.to_owned())
    );
    assert_eq!(place.text("real"), "x");
}

#[tokio::test]
async fn edits_side_by_side_lose_nothing() {
    let place = Place::new();
    let lines = |open: char, close: char| {
        let lines: Vec<String> = (0..40).map(|i| format!("{open}{i}{close}\n")).collect();
        lines.concat()
    };
    place.file("f", lines('<', '>'));
    let context = place.context();
    let edits = (0..40).map(|i| {
        let edit =
            json!({"path": "f", "old_string": format!("<{i}>"), "new_string": format!("[{i}]")});
        run(&context, "edit", edit)
    });
    for outcome in futures_util::future::join_all(edits).await {
        assert_eq!(outcome.status, ToolStatus::Ok, "{}", outcome.content);
    }
    assert_eq!(place.text("f"), lines('[', ']'));
}

#[tokio::test]
async fn further_roots_are_open_as_far_as_the_settings_say() {
    let place = Place::new();
    std::fs::create_dir(place.outside.join("lib")).unwrap();
    std::fs::write(place.outside.join("lib/a.rs"), "lib").unwrap();
    std::fs::write(place.outside.join("lib/.env"), "SECRET").unwrap();
    let mut policy = place.policy();
    policy.read = vec![place.outside.join("lib"), place.outside.join("missing")];
    policy.write = vec![place.outside.join("secret.txt")];
    let context = context(policy);
    let path = |name: &str| place.outside.join(name).to_str().unwrap().to_owned();
    assert_eq!(read(&context, &path("lib/a.rs")).await.1, "lib");
    assert_eq!(read(&context, &path("secret.txt")).await.1, "OUTSIDE");
    assert_eq!(write(&context, &path("secret.txt")).await.0, ToolStatus::Ok);
    for name in ["lib/new", "lib/../new", "lib/.env", "other"] {
        assert_eq!(
            write(&context, &path(name)).await.0,
            ToolStatus::Refused,
            "{name}"
        );
    }
    assert_eq!(
        read(&context, &path("lib/../secret2")).await.0,
        ToolStatus::Refused
    );
    assert_eq!(
        read(&context, &path("lib/.env")).await.0,
        ToolStatus::Refused
    );
    let found = told(
        &context,
        "grep",
        json!({"path": path("lib"), "pattern": "."}),
    )
    .await;
    assert_eq!(found.1, format!("{}:1:lib", path("lib/a.rs")));
}

#[tokio::test]
async fn without_confinement_the_disk_is_open_but_for_what_is_protected() {
    let place = Place::new();
    std::fs::write(place.outside.join(".env"), "SECRET").unwrap();
    place.link(&place.outside, "l").file(".env", "SECRET");
    let mut policy = place.policy();
    policy.confined = false;
    let context = context(policy);
    assert_eq!(read(&context, "../outside/secret.txt").await.1, "OUTSIDE");
    assert_eq!(
        read(&context, place.outside.join("secret.txt").to_str().unwrap())
            .await
            .1,
        "OUTSIDE"
    );
    assert_eq!(write(&context, "l/new").await.0, ToolStatus::Ok);
    for path in [
        ".env",
        "../outside/.env",
        "l/.env",
        "/proc/self/environ",
        "/proc/self/cwd/x",
    ] {
        assert_eq!(read(&context, path).await.0, ToolStatus::Refused, "{path}");
        assert_eq!(write(&context, path).await.0, ToolStatus::Refused, "{path}");
    }
    assert_eq!(write(&context, "orch.yaml").await.0, ToolStatus::Refused);
}

#[tokio::test]
async fn the_workspace_may_be_moved() {
    let place = Place::new();
    place.file("a", "x");
    let context = place.context();
    let moved = place.work.with_file_name("moved");
    std::fs::rename(&place.work, &moved).unwrap();
    std::fs::create_dir(&place.work).unwrap();
    place.file("a", "other");
    assert_eq!(read(&context, "a").await.1, "x");
}

#[tokio::test]
async fn a_change_can_be_taken_back_unless_something_came_after() {
    let place = Place::new();
    place.file("old", "1");
    let kept = Changes::default();
    let mut context = place.context();
    let workspace = Workspace::open(Arc::clone(context.workspace.policy())).unwrap();
    context.workspace = Arc::new(workspace.keeping(Some(kept.clone())));
    for (path, content) in [("old", "1.5"), ("d/new", "2"), ("old", "2")] {
        let parameters = json!({"path": path, "content": content});
        assert_eq!(
            run(&context, "write", parameters).await.status,
            ToolStatus::Ok
        );
    }
    let changes = kept.take();
    let names: Vec<&Path> = changes.iter().map(KeptChange::name).collect();
    assert_eq!(names, [Path::new("old"), Path::new("d/new")]);
    assert_eq!(*changes[0].before(), Before::Content(b"1".to_vec()));
    assert_eq!(*changes[1].before(), Before::Absent);
    let undo = |change: &KeptChange| change.undo().map_err(|error| error.to_string());
    place.file("old", "3");
    let words = format!(
        "`{}` was changed since: it is left as it is",
        place.work.join("old").display()
    );
    assert_eq!(undo(&changes[0]), Err(words));
    place.file("old", "2");
    assert_eq!(undo(&changes[0]), Ok(true));
    assert_eq!(undo(&changes[1]), Ok(true));
    assert_eq!(place.text("old"), "1");
    assert!(!place.work.join("d/new").exists());
    assert_eq!(undo(&changes[1]), Ok(false));
}
