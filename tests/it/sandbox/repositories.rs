//! Repositories that a command leaves behind start nothing when the user's git meets them outside.

use std::process::Command;

use super::Place;

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
