//! Repositories that a command leaves behind start nothing when the user's git meets them outside.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::json;

use super::{Place, finished, started, until, wait_for};

/// A setting that leaves a trace where git obeys it.
fn planted(place: &Place) -> String {
    let trace = place.path("outside/trace");
    format!("\tfsmonitor = \"touch {}; echo\"", trace.display())
}

/// What `git status` of the user does in a directory of the workspace.
#[track_caller]
fn nothing_starts(place: &Place, directories: &[&str]) {
    for directory in directories {
        let output = Command::new("git")
            .args(["status", "--short"])
            .current_dir(place.path(directory))
            .env("HOME", place.path("home"))
            .output()
            .unwrap();
        assert!(
            !place.path("outside/trace").exists(),
            "{directory}: {output:?}"
        );
    }
}

#[test]
fn git_directories_inside_of_others_are_found() {
    let deep = "1/2/3/4/5/6/7/8/9/10";
    for (git, name) in [
        (".git/evil", "sub"),
        (".git/objects/evil/er", "sub"),
        (&format!(".git/modules/{deep}"), "sub"),
        (".git/modules/x/y", "deep/sub"),
    ] {
        let place = Place::new();
        place.bash("git init -q .").ok();
        let setting = planted(&place);
        let up = "../".repeat(git.split('/').count());
        let said = place.bash(&format!(
            "mkdir -p {name}; cd {name}; git init -q .; git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x
             cd \"$OLDPWD\"; git add {name} 2>/dev/null; mkdir -p {git}; mv {name}/.git/* {git}/; rmdir {name}/.git
             echo \"gitdir: $PWD/{git}\" > {name}/.git
             printf '%s\\n' '[core]' 'repositoryformatversion = 0' 'worktree = {up}{name}' '{setting}' > {git}/config"
        ));
        let content = said.ok();
        assert!(content.contains("core.fsmonitor"), "{git}: {content}");
        nothing_starts(&place, &["work", &format!("work/{name}")]);
    }
}

#[test]
fn the_common_directory_of_no_worktree_is_not_used() {
    let place = Place::new();
    place.bash("git init -q .").ok();
    let setting = planted(&place);
    place
        .bash(&format!(
            "git init -q --bare .git/worktrees; printf '%s\\n' '[core]' '{setting}' >> .git/worktrees/config
             rm .git/worktrees/HEAD; mkdir -p .git/worktrees/a/b sub; echo ../.. > .git/worktrees/a/b/commondir
             echo ref: refs/heads/main > .git/worktrees/a/b/HEAD; echo $PWD/sub/.git > .git/worktrees/a/b/gitdir
             echo \"gitdir: $PWD/.git/worktrees/a/b\" > sub/.git"
        ))
        .ok();
    nothing_starts(&place, &["work", "work/sub"]);
}

#[test]
fn worktrees_of_a_repository_stay_what_they_are() {
    let place = Place::new();
    place
        .bash("git init -q . && git commit -q --allow-empty -m x && git worktree add -q tree && git init -q --bare bare")
        .ok();
    let said = place.bash("cd tree && git commit -q --allow-empty -m y && git log --oneline");
    assert_eq!(said.ok().lines().count(), 2);
    assert_eq!(
        place.read("work/.git/worktrees/tree/commondir").trim(),
        "../.."
    );
    // Branches may be called as secrets are.
    let said = place.bash("git branch server.key && git branch .env.x 2>/dev/null; git rev-parse -q --verify server.key && git log -1 --format=%s server.key");
    assert!(said.ok().ends_with("x\n"));
}

#[test]
fn settings_are_found_behind_a_line_that_goes_on() {
    let place = Place::new();
    let setting = planted(&place);
    let said = place.bash(&format!(
        "git init -q a; printf '%s\\n' '[core]' 'bogus = a \\' '[user]' '{setting}' >> a/.git/config
         git init -q b; printf '%s\\n' '[core]' '{setting}' '!' >> b/.git/config"
    ));
    let content = said.ok();
    nothing_starts(&place, &["work/a", "work/b"]);
    assert!(content.contains("core.fsmonitor"), "{content}");
    // What nobody understands is no configuration any more.
    assert!(!place.path("work/b/.git/config").exists());
}

/// An ordinary user, whom the modes of files bind.
const NOBODY: u32 = 65534;

/// Makes everything of a place theirs, where the tests run as root.
pub(super) fn give_away(place: &Place) {
    if rustix::process::geteuid().is_root() {
        let owner = format!("{NOBODY}:{NOBODY}");
        let output = Command::new("chown")
            .args(["-R", &owner])
            .arg(place.path(""))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

pub(super) fn as_nobody(command: &mut Command) -> &mut Command {
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// What a script of that user said.
#[track_caller]
fn bash_of_nobody(place: &Place, script: &str) -> String {
    let mut command = place.command("bash", &[]);
    let mut child = as_nobody(&mut command).spawn().unwrap();
    let parameters = json!({"command": script, "timeout": 120}).to_string();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(parameters.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    said
}

#[test]
fn what_its_owner_may_not_list_is_looked_through() {
    for (git, shut) in [
        ("s/.git", "chmod 0111 s/.git"),
        (
            "s/.git",
            "chmod 0555 s/.git/hooks s/.git; chmod 0444 s/.git/config",
        ),
        ("p/q/s/.git", "chmod 0111 p/q/s/.git p/q/s p/q p"),
        ("s/.git", "chmod 0111 s/.git s ."),
        ("vault/s/.git", "true"),
    ] {
        let place = Place::new().with_settings(json!({"sandbox": {"read_deny": ["vault"]}}));
        give_away(&place);
        let setting = planted(&place);
        let said = bash_of_nobody(
            &place,
            &format!(
                "git init -q $(dirname {git}); printf '%s\\n' '[core]' '{setting}' >> {git}/config; {shut}"
            ),
        );
        assert!(said.contains("core.fsmonitor"), "{shut}: {said}");
        let top = place.path("work").join(git);
        let output = as_nobody(Command::new("git").arg("status"))
            .current_dir(top.parent().unwrap())
            .env("HOME", place.path("home"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(!place.path("outside/trace").exists(), "{shut}: {output:?}");
    }
}

#[test]
fn repositories_deep_down_are_found() {
    let place = Place::new();
    let setting = planted(&place);
    let said = place.bash(&format!(
        "mkdir sub; top=$PWD; for i in $(seq 300); do mkdir d; cd d; done; git init -q .
         printf '%s\\n' '[core]' '{setting}' \"worktree = $top/sub\" >> .git/config
         echo \"gitdir: $PWD/.git\" > $top/sub/.git"
    ));
    let content = said.ok();
    assert!(content.contains("core.fsmonitor"), "{content}");
    nothing_starts(&place, &["work/sub"]);
}

#[test]
fn commands_do_not_undo_each_others_protection() {
    for last in [
        "true",
        "rm r/.git/config; printf '%s\\n' '[core]' 'bare = false' > r/.git/config; chmod 444 r/.git/config",
        "git config -f r/.git/config core.fsmonitor later",
    ] {
        let place = Place::new();
        let setting = planted(&place);
        let plant = format!("printf '%s\\n' '[core]' '{setting}' >> r/.git/config");
        let first = started(
            &place,
            &format!(
                "git init -q r; {plant}; touch first; {}; {last}",
                wait_for("second")
            ),
        );
        until("the first command", || place.path("work/first").exists());
        let second = started(
            &place,
            &format!(
                "touch second; {}; {plant}; printf '%s\\n' '[core]' '{setting}' > n; mv n r/.git/config; true",
                wait_for("over")
            ),
        );
        let said = finished(first);
        assert!(last != "true" || said.contains("core.fsmonitor"), "{said}");
        place.write("work/over", "");
        finished(second);
        nothing_starts(&place, &["work/r"]);
    }
}

#[test]
fn what_was_written_when_the_cover_had_gone_is_taken_out() {
    let place = Place::new();
    place.bash("git init -q .").ok();
    let config = place.path("work/.git/config");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str("[core]\n\tpager = mine\n[filter \"lfs\"]\n\tclean = mine\n");
    std::fs::write(&config, &text).unwrap();
    let setting = planted(&place);
    let running = started(
        &place,
        &format!(
            "touch ready; {}; printf '%s\\n' '[core]' '{setting}' >> .git/config",
            wait_for("go")
        ),
    );
    until("the command", || place.path("work/ready").exists());
    // As git does it for the user outside.
    let output = Command::new("git")
        .args(["config", "user.name", "somebody"])
        .current_dir(place.path("work"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    place.write("work/go", "");
    let said = finished(running);
    assert!(
        said.contains("was changed while commands ran") && said.contains("core.fsmonitor"),
        "{said}"
    );
    nothing_starts(&place, &["work"]);
    let now = place.read("work/.git/config");
    for kept in ["\tpager = mine\n", "\tclean = mine\n", "somebody"] {
        assert!(now.contains(kept), "{now}");
    }
}
