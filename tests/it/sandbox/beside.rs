//! What other programs and other commands do to a workspace while a command runs in it.

use super::{Place, finished, started, until, wait_for};

/// Saves a file as editors do: a new one takes the name.
fn save(place: &Place, name: &str, content: &str) {
    let new = format!("{name}.saved~");
    place.write(&new, content);
    std::fs::rename(place.path(&new), place.path(name)).unwrap();
}

#[test]
fn what_was_replaced_while_a_command_ran_is_covered_again_and_told() {
    let place = Place::new();
    place.bash("git init -q .").ok();
    let script = place.path("work/hook");
    place.write("work/hook", "#!/bin/sh\n");
    let config = place.path("work/.git/config");
    let text = place.read("work/.git/config");
    std::fs::write(
        &config,
        format!("{text}[core]\n\tpager = {}\n", script.display()),
    )
    .unwrap();
    for name in ["deep/.env", "orch.yaml", "kept/.env", "far/.env"] {
        place.write(&format!("work/{name}"), "CANARY-OLD\n");
    }
    let running = started(
        &place,
        &format!(
            "touch ready; {}
             while cat deep/.env || [ -w orch.yaml ] || [ -w hook ]; do sleep 0.05; done 2>/dev/null
             mv deep shallow; mv kept elsewhere; mv far away
             cat shallow/.env elsewhere/.env; echo evil >> orch.yaml; echo evil >> hook; touch moved; {}
             while cat away/.env; do sleep 0.05; done 2>/dev/null; true",
            wait_for("go"),
            wait_for("again"),
        ),
    );
    until("the command", || place.path("work/ready").exists());
    save(&place, "work/deep/.env", "NEW\n");
    save(&place, "work/orch.yaml", "agents: {}\n");
    save(&place, "work/hook", "#!/bin/sh\ntrue\n");
    // In place, which changes nothing for the command.
    place.write("work/kept/.env", "CANARY-OLDER\n");
    place.write("work/go", "");
    until("all to be covered", || place.path("work/moved").exists());
    assert_eq!(place.read("work/orch.yaml"), "agents: {}\n");
    assert_eq!(place.read("work/hook"), "#!/bin/sh\ntrue\n");
    save(&place, "work/away/.env", "NEW\n");
    place.write("work/again", "");
    let said: serde_json::Value = serde_json::from_str(&finished(running)).unwrap();
    let content = said["content"].as_str().unwrap();
    for (name, what) in [
        (
            "deep/.env",
            "read or change the new one until it was hidden again",
        ),
        (
            "far/.env",
            "read or change the new one until it was hidden again",
        ),
        (
            "orch.yaml",
            "change the new one until it was protected again",
        ),
        ("hook", "change the new one until it was protected again"),
    ] {
        let path = place.path("work").join(name);
        let words = format!("`{}` was replaced", path.display());
        let told = content.lines().find(|line| line.contains(&words));
        assert!(
            told.is_some_and(|told| told.contains(what)),
            "{name}: {content}"
        );
    }
    assert_eq!(content.matches("was replaced").count(), 4, "{content}");
    assert!(!content.contains("CANARY"), "{content}");
}

#[test]
fn commands_start_beside_one_that_creates_and_removes_files() {
    let place = Place::new();
    for name in ["deep/down/.env", "keys/server.key"] {
        place.write(&format!("work/{name}"), "CANARY-SECRET");
    }
    let running = started(
        &place,
        "mkdir new; touch ready; i=0
         while [ ! -e over ]; do
             i=$((i+1)); : > new/$i; : > new/$i.key; mkdir -p new/d$i/e; mv new/d$i new/g$i; rm -rf new/g$((i-9)) new/$((i-9)).key
         done",
    );
    until("the command", || place.path("work/ready").exists());
    for _ in 0..5 {
        let said = place.bash("cat deep/down/.env keys/server.key; echo done");
        assert!(!said.content.contains("CANARY"), "{said:?}");
        assert!(said.ok().contains("done"));
    }
    place.write("work/over", "");
    finished(running);
}

#[test]
fn a_command_beside_one_that_moves_secrets_about_does_not_see_them() {
    let place = Place::new();
    for number in 0..20 {
        place.write(&format!("work/a/{number}/.env"), "CANARY-SECRET");
    }
    let running = started(
        &place,
        "mkdir b; touch ready
         while [ ! -e over ]; do
             for i in $(seq 0 19); do mv a/$i b/$i; : > b/x; done 2>/dev/null; sleep 0.1
             for i in $(seq 0 19); do mv b/$i a/$i; : > a/x; done 2>/dev/null; sleep 0.1
         done",
    );
    until("the command", || place.path("work/ready").exists());
    for _ in 0..8 {
        let said =
            place.bash("for i in $(seq 30); do cat a/*/.env b/*/.env; done 2>/dev/null; echo done");
        assert!(!said.content.contains("CANARY"), "{said:?}");
    }
    place.write("work/over", "");
    finished(running);
}
