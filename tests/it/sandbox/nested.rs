//! What the repositories below a workspace would start for the user: as closed as in its own repository.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::Place;

fn git(place: &Place, directory: &str, arguments: &[&str]) {
    let output = std::process::Command::new("git")
        .args(arguments)
        .current_dir(place.path(directory))
        .env_clear()
        .env("PATH", super::path())
        .env("HOME", place.path("home"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn hooks_and_settings_that_a_nested_repository_names_cannot_be_planted() {
    let place = Place::new();
    let hook = "#!/bin/sh\n# mine\n";
    for name in [
        "work/lib/.hooks/pre-commit",
        "work/shared/pre-push",
        "work/lib/tools/clean",
    ] {
        place.write(name, hook);
        std::fs::set_permissions(place.path(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    place.write("work/lib/more.inc", "[user]\n\tname = Mine\n");
    for name in ["work/lib", "work/deep/er", "work/plain"] {
        std::fs::create_dir_all(place.path(name)).unwrap();
        git(&place, name, &["init", "-q"]);
    }
    for (name, value) in [
        ("core.hooksPath", ".hooks"),
        ("include.path", "../more.inc"),
        ("filter.x.clean", "tools/clean %f"),
    ] {
        git(&place, "work/lib", &["config", name, value]);
    }
    // One that leads out of its own files, one that is not there yet.
    git(
        &place,
        "work/deep/er",
        &["config", "core.hooksPath", "../../shared"],
    );
    git(
        &place,
        "work/deep/er",
        &["config", "include.path", "../absent.inc"],
    );
    let said = place.bash(
        "for f in lib/.hooks/pre-commit lib/.hooks/post-commit shared/pre-push shared/post-merge lib/more.inc \
             lib/tools/clean deep/er/absent.inc; do echo evil > $f; chmod +x $f; done; rm -rf lib/.hooks; mv shared s; \
         mv lib/more.inc x; rm -f lib/tools/clean; mv deep/er deep/e; true; \
         echo fine > lib/file && echo fine > plain/hooks && mkdir plain/.hooks && echo fine > plain/.hooks/pre-commit",
    );
    assert_eq!(said.status, "ok", "{said:?}");
    for name in [
        "work/lib/.hooks/pre-commit",
        "work/shared/pre-push",
        "work/lib/tools/clean",
    ] {
        assert_eq!(place.read(name), hook, "{name}");
    }
    assert_eq!(place.read("work/lib/more.inc"), "[user]\n\tname = Mine\n");
    for name in [
        "lib/.hooks/post-commit",
        "shared/post-merge",
        "deep/er/absent.inc",
    ] {
        assert!(!place.path("work").join(name).exists(), "{name}");
    }
    assert_eq!(place.read("work/lib/file"), "fine\n");
    assert_eq!(place.read("work/plain/.hooks/pre-commit"), "fine\n");

    // The file tools agree.
    for name in [
        "lib/.hooks/post-commit",
        "shared/post-merge",
        "lib/more.inc",
        "deep/er/absent.inc",
    ] {
        let said = place.tool("write", &json!({"path": name, "content": "evil"}), &[]);
        assert_eq!(said.status, "refused", "{name}: {said:?}");
    }
    let said = place.tool(
        "write",
        &json!({"path": "plain/.hooks/x", "content": "fine"}),
        &[],
    );
    assert_eq!(said.status, "ok", "{said:?}");
}

#[test]
fn worktrees_and_submodules_start_only_what_they_did() {
    let place = Place::new();
    for name in ["work/main", "outside/module"] {
        std::fs::create_dir_all(place.path(name)).unwrap();
        git(&place, name, &["init", "-q"]);
        git(
            &place,
            name,
            &["commit", "-q", "--allow-empty", "-m", "first"],
        );
    }
    git(&place, "work/main", &["worktree", "add", "-q", "../tree"]);
    let module = place.path("outside/module");
    let module = module.to_str().unwrap();
    let add = [
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        module,
        "sub",
    ];
    git(&place, "work/main", &add);
    git(&place, "work/main", &["config", "core.hooksPath", ".hooks"]);
    git(
        &place,
        "work/main/sub",
        &["config", "core.hooksPath", ".hooks"],
    );
    place.bash(
        "for d in main tree main/sub; do mkdir -p $d/.hooks; echo evil > $d/.hooks/pre-commit; chmod +x $d/.hooks/*; done; true",
    );
    for name in ["main", "tree", "main/sub"] {
        let hook = place.path("work").join(name).join(".hooks/pre-commit");
        assert!(!hook.exists(), "{name}");
    }
}
