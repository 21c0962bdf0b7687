//! Files that their modes close, which bind every user but root.

use std::io::Write as _;

use serde_json::{Value, json};

use super::Place;
use super::repositories::{as_nobody, give_away};

/// What a tool tells an ordinary user.
fn told(place: &Place, tool: &str, parameters: &Value) -> String {
    let mut command = place.command(tool, &[]);
    let mut child = as_nobody(&mut command).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(parameters.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    said["content"].as_str().unwrap().to_owned()
}

#[test]
fn a_search_says_which_files_it_could_not_read() {
    let place = Place::new();
    place.write("work/d/open", "needle\n");
    place.write("work/d/shut", "needle\n");
    place.write("work/d/shut2", "needle\n");
    give_away(&place);
    for name in ["shut", "shut2"] {
        set_mode(&place, &format!("work/d/{name}"), 0o000);
    }
    let grep = json!({"pattern": "needle", "path": "."});
    assert_eq!(
        told(&place, "grep", &grep),
        "d/open:1:needle\n[2 files could not be read, `d/shut` among them]"
    );
    let grep = json!({"pattern": "needle", "path": "d/shut"});
    assert_eq!(
        told(&place, "grep", &grep),
        "`d/shut`: permission denied by the system"
    );
}

#[test]
fn a_file_that_the_system_would_not_let_be_written_is_not_replaced() {
    let place = Place::new();
    place.write("work/f", "old");
    give_away(&place);
    // Nobody's directory, but not their file.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(place.path("work/f"), Some(0), Some(0)).unwrap();
    } else {
        set_mode(&place, "work/f", 0o464);
    }
    let edit = json!({"path": "f", "old_string": "old", "new_string": "new"});
    assert_eq!(
        told(&place, "edit", &edit),
        "`f`: permission denied by the system"
    );
    assert_eq!(place.read("work/f"), "old");
}

fn set_mode(place: &Place, path: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(place.path(path), mode).unwrap();
}
