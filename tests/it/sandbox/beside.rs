//! What other programs and other commands do to a workspace while a command runs in it.

use super::{Place, finished, started, until};

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
