//! Random shell commands: none writes outside, none reads a canary.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::Place;

/// Words that commands are made of; upper-case ones are filled in.
const PATHS: &[&str] = &[
    "OUTSIDE/secret.txt",
    "OUTSIDE",
    "../outside/secret.txt",
    "~/.ssh/id_ed25519",
    "$HOME/.ssh",
    ".env",
    "sub/.env.local",
    "link",
    "link/secret.txt",
    "/proc/1/root",
    "/proc/self/root/OUTSIDE/secret.txt",
    "/proc/$PPID/cwd",
    "/proc/1/environ",
    "/etc/shadow",
    "/dev/shm/orch-fuzz",
    "/tmp/orch-fuzz",
    "a",
    "sub",
    "sub/b",
    ".git/hooks/pre-commit",
    ".git/config",
    ".git",
    "orch.yaml",
    "config.yaml",
    ".",
    "..",
    "/",
    "/root",
    "/home",
    "CONF/team.yaml",
    "STATE",
    "/proc/sys/kernel/core_pattern",
    "/sys",
    "/run",
    "/var/tmp/orch-fuzz",
    "./-x",
    "$(echo .e''nv)",
    "/proc/self/fd/0",
    "/dev/fd/3",
    "/proc/1/fd/3",
];

const FORMS: &[&str] = &[
    "cat P",
    "cp -r P P",
    "mv P P",
    "ln P P",
    "ln -s P P",
    "rm -rf P",
    "mkdir -p P",
    "echo PWNED > P",
    "echo PWNED >> P",
    "touch P",
    "chmod 4777 P",
    "tar cf - P | tar xf - -C P",
    "dd if=P of=P bs=4k count=4",
    "find P -type f -exec cat {} +",
    "ls -laR P",
    "grep -r CANARY P",
    "head -c 100 P",
    "python3 -c 'import os,sys,shutil; print(open(sys.argv[1]).read())' P",
    "python3 -c 'import os,sys; os.rename(sys.argv[1], sys.argv[2])' P P",
    "mkfifo P",
    "git add P",
    "git init -q P",
    "git --git-dir=P config core.hooksPath x",
    "rsync -a P P",
    "mount --bind P P",
    "mount -o remount,rw P",
    "umount P",
    "unshare -rm cat P",
    "chroot P",
    "nsenter -t 1 -m cat P",
    "sed -i s/a/b/ P",
    "truncate -s 0 P",
    "install -m 4755 /bin/true P",
    "mknod P c 1 3",
    "exec 3< P; cat <&3",
    "cd P && cat *",
    "pushd P; echo PWNED > x",
    "(setsid sh -c 'sleep 0.1; echo PWNED > P' &)",
    "bash -c 'cat P'",
    "perl -e 'open F, shift; print <F>' P",
    "truncate -s 1M P && mkfs.ext2 -q P",
    "setfattr -n user.x -v y P",
    "chown 0 P",
    "readlink -f P",
];

const JOINTS: &[&str] = &["; ", " && ", " || ", " | ", " & ", "\n"];

#[test]
fn no_random_command_escapes() {
    let rounds = if super::is_long() { 3000 } else { 60 };
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let place = Place::new();
    place.write("work/.env", "CANARY-DOTENV");
    place.write("work/sub/.env.local", "CANARY-DOTENV");
    place.write("work/config.yaml", "mine: true\n");
    let protect = ["outside", "home", "conf"];
    std::process::Command::new("git")
        .args(["init", "-q"])
        .arg(place.path("work"))
        .env("HOME", place.path("home"))
        .status()
        .unwrap();
    let before_git = place.read("work/.git/config");
    place.bash("true").ok();
    let before: Vec<_> = protect
        .iter()
        .map(|name| snapshot(&place.path(name)))
        .collect();
    for round in 0..rounds {
        if round % 20 == 0 {
            // What an attack is made of may be gone after some rounds.
            drop(std::os::unix::fs::symlink(
                place.path("outside"),
                place.path("work/link"),
            ));
            std::fs::create_dir_all(place.path("work/sub")).unwrap();
        }
        let script = script(&mut random, &place);
        let said = place.tool("bash", &json!({"command": script, "timeout": 5}), &[]);
        let context = || format!("seed {seed}, round {round}:\n{script}\n{said:?}");
        assert!(!said.content.contains("CANARY-"), "read: {}", context());
        for (name, before) in protect.iter().zip(&before) {
            assert_eq!(
                &snapshot(&place.path(name)),
                before,
                "{name} changed: {}",
                context()
            );
        }
        for (name, content) in [
            ("work/.env", "CANARY-DOTENV"),
            ("work/config.yaml", "mine: true\n"),
            ("work/.git/config", &before_git),
        ] {
            assert_eq!(
                std::fs::read_to_string(place.path(name)).ok().as_deref(),
                Some(content),
                "{name} changed: {}",
                context()
            );
        }
        for name in ["work/orch.yaml", "work/.git/hooks/pre-commit"] {
            assert!(
                std::fs::symlink_metadata(place.path(name)).is_err(),
                "{name} was made: {}",
                context()
            );
        }
        for name in ["/tmp/orch-fuzz", "/var/tmp/orch-fuzz", "/dev/shm/orch-fuzz"] {
            assert!(!Path::new(name).exists(), "{name} was made: {}", context());
        }
    }
}

fn script(random: &mut fastrand::Rng, place: &Place) -> String {
    let mut script = String::new();
    for part in 0..random.usize(1..6) {
        if part > 0 {
            script += JOINTS[random.usize(..JOINTS.len())];
        }
        for piece in FORMS[random.usize(..FORMS.len())].split_inclusive('P') {
            match piece.strip_suffix('P') {
                Some(text) if !piece.ends_with("OP") => {
                    let path = PATHS[random.usize(..PATHS.len())];
                    let _written = write!(script, "{text}{path}");
                }
                _ => script += piece,
            }
        }
    }
    for (word, name) in [("OUTSIDE", "outside"), ("CONF", "conf"), ("STATE", "state")] {
        script = script.replace(word, place.path(name).to_str().unwrap());
    }
    script
}

/// Every file below a directory with its content, mode and owner.
fn snapshot(directory: &Path) -> BTreeMap<String, String> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_file() {
                std::fs::read_to_string(&path).unwrap_or_default()
            } else {
                String::new()
            };
            found.insert(
                path.display().to_string(),
                format!("{:o} {} {content}", metadata.mode(), metadata.uid()),
            );
            if metadata.is_dir() {
                open.push(path);
            }
        }
    }
    found
}
