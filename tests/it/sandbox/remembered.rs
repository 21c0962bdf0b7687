//! What was seen of a workspace is kept between processes, and believed only where it still holds: every secret
//! is covered in the first command of a new process, however it came there.

use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rustix::fs::inotify;
use serde_json::json;

use super::{Place, until};

/// A workspace with enough directories to be worth keeping.
fn place() -> Place {
    let place = Place::new();
    for number in 0..60 {
        place.write(&format!("work/d{number}/sub/file"), "text");
    }
    place.write("work/d0/.env", "CANARY-FIRST");
    settle(&place.path("work"));
    place
}

/// Waits until directories are old enough to be known again by their change time.
fn settle(directory: &Path) {
    fn newest(directory: &Path) -> SystemTime {
        let metadata = directory.metadata().unwrap();
        let changed = Duration::new(
            metadata.ctime().unsigned_abs(),
            u32::try_from(metadata.ctime_nsec()).unwrap(),
        );
        std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_dir())
            .map(|entry| newest(&entry.path()))
            .chain([SystemTime::UNIX_EPOCH + changed])
            .max()
            .unwrap()
    }
    let age = newest(directory);
    until("the workspace to be old enough", || {
        age.elapsed()
            .is_ok_and(|age| age > Duration::from_millis(2100))
    });
}

/// What is kept of the workspace.
fn kept(place: &Place) -> Vec<PathBuf> {
    std::fs::read_dir(place.path("state/scans"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[track_caller]
fn nothing_is_read(place: &Place) {
    let said = place.bash("grep -rs CANARY . ; find . -type f | xargs cat | grep CANARY; true");
    let content = said.ok();
    assert!(!content.contains("CANARY"), "{content}");
}

/// How many directories of the workspace a command opened, each as often as it did.
fn opened(place: &Place) -> usize {
    let watcher = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    for number in 0..60 {
        for name in [format!("d{number}"), format!("d{number}/sub")] {
            let path = place.path("work").join(name);
            inotify::add_watch(&watcher, path, inotify::WatchFlags::OPEN).unwrap();
        }
    }
    place.bash("true").ok();
    let mut buffer = vec![MaybeUninit::uninit(); 64 << 10];
    let mut events = inotify::Reader::new(&watcher, &mut buffer);
    // What has a name is told once more by the directory that has it.
    std::iter::from_fn(|| events.next().ok().map(|event| event.file_name().is_none()))
        .filter(|is_itself| *is_itself)
        .count()
}

#[test]
fn directories_that_did_not_change_are_not_read_again() {
    let place = place();
    assert!(opened(&place) >= 120);
    let [file]: [PathBuf; 1] = kept(&place).try_into().unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    // The one that holds a secret is watched over.
    assert_eq!(opened(&place), 1);
    std::fs::write(place.path("work/d7/sub/new"), "").unwrap();
    // One more, before the command and after it: its change is too recent to be known again.
    assert!((2..=3).contains(&opened(&place)));
}

#[test]
fn secrets_that_came_between_two_processes_are_covered() {
    let place = place();
    nothing_is_read(&place);
    assert_eq!(kept(&place).len(), 1);
    let work = |name: &str| place.path("work").join(name);
    // Made, renamed into place, moved in with its directory, a directory that is renamed to what makes it one,
    // another name of a secret, a link to a file under an ordinary name.
    place.write("work/d1/.env", "CANARY-MADE");
    place.write("outside/plain", "CANARY-RENAMED");
    std::fs::rename(place.path("outside/plain"), work("d2/sub/server.key")).unwrap();
    place.write("outside/tree/a/b/.env.local", "CANARY-MOVED");
    std::fs::rename(place.path("outside/tree"), work("d3/tree")).unwrap();
    place.write("outside/keys/credentials", "CANARY-CLOUD");
    std::fs::rename(place.path("outside/keys"), work("d4/.aws")).unwrap();
    std::fs::hard_link(work("d0/.env"), work("d5/sub/innocent")).unwrap();
    place.write("work/d6/plain", "CANARY-LINKED");
    symlink("plain", work("d6/.env")).unwrap();
    nothing_is_read(&place);
    // Two directories change places.
    std::fs::rename(work("d8"), work("d9x")).unwrap();
    std::fs::rename(work("d1"), work("d8")).unwrap();
    std::fs::rename(work("d9x"), work("d1")).unwrap();
    nothing_is_read(&place);
    assert_eq!(place.read("work/d8/.env"), "CANARY-MADE");
}

#[test]
fn times_that_were_set_back_hide_nothing() {
    let place = place();
    nothing_is_read(&place);
    let directory = place.path("work/d1");
    let before = directory.metadata().unwrap();
    place.write("work/d1/.env", "CANARY-MADE");
    let times = std::fs::FileTimes::new()
        .set_modified(before.modified().unwrap())
        .set_accessed(before.accessed().unwrap());
    std::fs::File::open(&directory)
        .unwrap()
        .set_times(times)
        .unwrap();
    assert_eq!(
        directory.metadata().unwrap().modified().unwrap(),
        before.modified().unwrap()
    );
    nothing_is_read(&place);
}

#[test]
fn what_is_mounted_over_a_directory_is_looked_at() {
    let place = place();
    nothing_is_read(&place);
    place.write("outside/other/.env", "CANARY-MOUNTED");
    let (work, other) = (place.path("work"), place.path("outside/other"));
    let script = format!(
        "\"$@\" < true >&2 && mount --bind {other} {work}/d1/sub && mount -t tmpfs none {work}/d2 && \
         mkdir {work}/d2/sub && echo CANARY-MEMORY > {work}/d2/sub/.env && \
         mount --bind {work}/d3/sub/file {work}/d0/.env && \"$@\" < read && \"$@\" < read",
        other = other.display(),
        work = work.display()
    );
    let parameters = |script: &str| json!({"command": script}).to_string();
    place.write("conf/true", &parameters("true"));
    let script_inside = "cat d1/sub/.env d2/sub/.env d0/.env d1/sub/* d0/sub/file; true";
    place.write("conf/read", &parameters(script_inside));
    let command = place.command("bash", &[]);
    let mut mounting = Command::new("unshare");
    mounting
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            &script,
            "sh",
        ])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let output = mounting
        .output()
        .expect("`unshare` is needed to mount something");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("text") && !said.contains("CANARY"), "{said}");
    // Without the mounts everything is as before.
    nothing_is_read(&place);
}

#[test]
fn nothing_but_a_whole_file_of_ones_own_is_believed() {
    let place = place();
    nothing_is_read(&place);
    let [file]: [PathBuf; 1] = kept(&place).try_into().unwrap();
    let whole = std::fs::read(&file).unwrap();
    // A file that lies: it knows of no secret, and everything else in it is right.
    let lie = |whole: &[u8]| {
        let at = whole
            .windows(5)
            .position(|bytes| bytes == b"\x04.env")
            .unwrap();
        // How many were found, the name, what it is, device and inode.
        assert_eq!(whole[at - 1], 1);
        let mut end = at + 5;
        for _ in 0..3 {
            end += whole[end..]
                .iter()
                .position(|byte| byte & 0x80 == 0)
                .unwrap()
                + 1;
        }
        [&whole[..at - 1], &[0], &whole[end..]].concat()
    };
    let private = |bytes: &[u8]| {
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, bytes).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    };
    for length in [0, 7, 20, whole.len() / 2, whole.len() - 1] {
        private(&whole[..length]);
        nothing_is_read(&place);
        assert_eq!(std::fs::read(&file).unwrap().len(), whole.len(), "{length}");
    }
    private(&lie(&whole));
    nothing_is_read(&place);
    private(&[whole.as_slice(), b"more"].concat());
    nothing_is_read(&place);
    // Right in itself, but of another owner, open to others, behind a link, under two names, in an open directory.
    let forged = forge(&lie(&whole));
    private(&forged);
    assert!(
        place.bash("cat d0/.env").content.contains("CANARY"),
        "a lie that is believed shows that the others are not"
    );
    private(&forged);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    nothing_is_read(&place);
    let elsewhere = place.path("outside/forged");
    std::fs::rename(&file, place.path("outside/whole")).unwrap();
    std::fs::write(&elsewhere, &forged).unwrap();
    std::fs::set_permissions(&elsewhere, PermissionsExt::from_mode(0o600)).unwrap();
    symlink(&elsewhere, &file).unwrap();
    nothing_is_read(&place);
    private(&forged);
    std::fs::remove_file(&elsewhere).unwrap();
    std::fs::hard_link(&file, &elsewhere).unwrap();
    nothing_is_read(&place);
    private(&forged);
    let scans = file.parent().unwrap();
    std::fs::set_permissions(scans, PermissionsExt::from_mode(0o777)).unwrap();
    nothing_is_read(&place);
    std::fs::set_permissions(scans, PermissionsExt::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        private(&forged);
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        nothing_is_read(&place);
    }
}

/// The same with the right check sum.
fn forge(bytes: &[u8]) -> Vec<u8> {
    use std::hash::Hasher as _;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(&bytes[16..]);
    let sum = hasher.finish().to_le_bytes();
    [&bytes[..8], &sum, &bytes[16..]].concat()
}

#[test]
fn rules_of_other_runs_are_not_taken_over() {
    let place = place();
    place.write("work/d1/data.sqlite", "CANARY-DENIED");
    settle(&place.path("work"));
    let said = place.bash("cat d1/data.sqlite; cat d0/.env");
    assert!(said.content.contains("CANARY-DENIED"), "{said:?}");
    let place = place.with_settings(json!({"sandbox": {"read_deny": ["*.sqlite"]}}));
    nothing_is_read(&place);
    nothing_is_read(&place);
    assert_eq!(kept(&place).len(), 2);
}

#[test]
fn many_processes_keep_what_they_saw_at_once() {
    let place = place();
    // All before the first starts, which reads the configuration that they write.
    let mut commands: Vec<Command> = (0..6).map(|_| place.command("bash", &[])).collect();
    let children: Vec<_> = commands
        .iter_mut()
        .map(|command| {
            let mut child = command.spawn().unwrap();
            let parameters = json!({"command": "cat d0/.env; true"}).to_string();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(parameters.as_bytes())
                .unwrap();
            child
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains("\"ok\"") && !said.contains("CANARY"),
            "{said}"
        );
    }
    let [file]: [PathBuf; 1] = kept(&place).try_into().unwrap();
    let before = file.metadata().unwrap();
    nothing_is_read(&place);
    // It was whole, and needed no other.
    let after = file.metadata().unwrap();
    assert_eq!(
        (before.ino(), before.ctime_nsec()),
        (after.ino(), after.ctime_nsec())
    );
}

#[test]
fn a_state_directory_that_cannot_be_written_is_no_obstacle() {
    let place = place();
    place.bash("true").ok();
    for file in kept(&place) {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::remove_dir(place.path("state/scans")).unwrap();
    // What is no directory can be written by nobody, root included.
    place.write("state/scans", "");
    nothing_is_read(&place);
    place.write("work/d1/.env", "CANARY-MADE");
    nothing_is_read(&place);
    assert_eq!(place.read("state/scans"), "");
}

#[test]
fn workspaces_that_are_gone_are_forgotten() {
    let place = place();
    nothing_is_read(&place);
    let [first]: [PathBuf; 1] = kept(&place).try_into().unwrap();
    std::fs::rename(place.path("work"), place.path("away")).unwrap();
    for number in 0..60 {
        place.write(&format!("next/d{number}/file"), "text");
    }
    settle(&place.path("next"));
    let at = |work: &str| {
        let mut command = place.command("bash", &[]);
        let text = place.read("conf/team.yaml");
        place.write(
            "conf/team.yaml",
            &text.replace("/work\"", &format!("/{work}\"")),
        );
        let mut child = command.spawn().unwrap();
        let parameters = json!({"command": "true"}).to_string();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(parameters.as_bytes())
            .unwrap();
        assert!(child.wait_with_output().unwrap().status.success());
    };
    at("next");
    let [second]: [PathBuf; 1] = kept(&place).try_into().unwrap();
    assert_ne!(first, second);
}
