//! What a command can neither read nor change, through any door.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::json;

use super::{Place, until};

#[test]
fn secrets_cannot_be_read_by_any_name() {
    let place = Place::new();
    for name in [
        "work/.env",
        "work/deep/down/.env.local",
        "work/keys/id_rsa",
        "work/real.secret",
        "work/vault/x/y",
    ] {
        place.write(name, "CANARY-SECRET");
    }
    place.write("work/.env.example", "TEMPLATE");
    // A link to a secret name leads to a file of an ordinary one, and the other way round.
    symlink("real.secret", place.path("work/.env.linked")).unwrap();
    symlink(".env", place.path("work/innocent")).unwrap();
    let place = place.with_settings(json!({"sandbox": {"read_deny": ["vault"]}}));
    let said = place.bash(
        "cat .env deep/down/.env.local keys/id_rsa real.secret innocent .env.linked vault/x/y .env.example; 
         ln .env hard; mv .env moved; mv deep shallow; cat hard moved shallow/down/.env.local; rm -rf keys; rm .env;
         cp -r . /tmp/copy 2>/dev/null; grep -r CANARY /tmp/copy; tar c . 2>/dev/null | grep -a CANARY; ls vault;
         python3 -c 'print(open(\".env\").read())'; chmod 644 .env; cat .env; true",
    );
    assert!(!said.content.contains("CANARY"), "{}", said.content);
    assert!(said.content.contains("TEMPLATE"), "{}", said.content);
    for name in [
        "work/.env",
        "work/keys/id_rsa",
        "work/real.secret",
        "work/vault/x/y",
    ] {
        assert_eq!(place.read(name), "CANARY-SECRET", "{name}");
    }
    // A directory that was renamed is found again under its new name, whatever times were set.
    let said = place.bash(
        "cat shallow/down/.env.local; mv shallow/down up; touch -d 2001-01-01 . shallow up; true",
    );
    assert!(!said.content.contains("CANARY"), "{}", said.content);
    let said = place.bash("cat up/.env.local");
    assert!(!said.content.contains("CANARY"), "{}", said.content);
}

#[test]
fn configurations_cannot_be_changed_or_made() {
    let place = Place::new();
    place.write("work/config.yaml", "agents: {}\n");
    let said = place.bash(
        "echo evil > orch.yaml; echo evil > config.yaml; rm -f config.yaml; mv config.yaml x; 
         echo evil > .env; ln -s /etc/passwd config.yml; mkdir -p a && echo work-of-mine > a/b && mv a/b config.yml; true",
    );
    let content = said.ok();
    assert_eq!(place.read("work/config.yaml"), "agents: {}\n");
    for name in ["orch.yaml", ".env", "config.yml"] {
        assert!(
            std::fs::symlink_metadata(place.path("work").join(name)).is_err(),
            "{name}"
        );
        assert!(
            content.contains(&format!("{name}` is protected")),
            "{content}"
        );
    }
    // What was moved is not lost.
    let kept = std::fs::read_dir(place.path("work"))
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .any(|text| text == "work-of-mine\n");
    assert!(kept);
    // They are gone while the command still runs.
    let said =
        place.bash("echo evil > orch.yaml; sleep 1; test -e orch.yaml && echo still-there; true");
    assert!(!said.ok().contains("still-there"));
}

#[test]
fn the_configuration_in_use_and_the_state_are_closed_in_the_workspace() {
    let place = Place::new();
    place.write("work/sub/team.yaml", "");
    let mut command = place.command("bash", &[]);
    // The same configuration, but inside the workspace, and the state too.
    let text = place
        .read("conf/team.yaml")
        .replace("/state", "/work/state");
    place.write("work/sub/team.yaml", &text);
    drop(command.spawn().unwrap().wait_with_output().unwrap());
    place.write("work/state/ledger", "CANARY");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_orch"));
    command
        .args(["tool", "bash", r#"{"command":"echo evil > sub/team.yaml; mv sub sub2; cat state/*; ls state; rm -rf state; true"}"#])
        .arg("--config")
        .arg(place.path("work/sub/team.yaml"))
        .env_clear()
        .env("PATH", super::path())
        .env("HOME", place.path("home"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let now = ["work/sub/team.yaml", "work/sub2/team.yaml"]
        .map(|name| std::fs::read_to_string(place.path(name)));
    assert!(
        now.iter()
            .any(|found| found.as_ref().is_ok_and(|found| *found == text)),
        "{now:?}"
    );
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("Permission denied") && !said.contains("CANARY"),
        "{said}"
    );
    assert_eq!(place.read("work/state/ledger"), "CANARY");
}

/// `orch tool bash` with a configuration in the workspace, run in a directory.
fn bash_with(place: &Place, config: &str, directory: &str, script: &str) -> String {
    let parameters = json!({"command": script}).to_string();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_orch"));
    command
        .args(["tool", "bash", &parameters, "--config"])
        .arg(place.path(config))
        .current_dir(place.path(directory))
        .env_clear()
        .env("PATH", super::path())
        .env("HOME", place.path("home"));
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn no_other_directory_takes_the_place_of_the_configuration_s() {
    let swap = "mv a a2; cp -r a2 a; echo evil > a/b/team.yaml; mv a/b a/c; mkdir a/b; echo evil > a/b/team.yaml
                mv here gone; mkdir here; echo evil > here/orch.yaml
                rm linked/team.yaml; echo evil > linked/team.yaml; mv linked l2; mkdir linked; echo evil > linked/team.yaml; true";
    for config in ["work/a/b/team.yaml", "work/linked/team.yaml"] {
        let place = Place::new();
        drop(place.command("bash", &[]));
        let text = place.read("conf/team.yaml");
        place.write("work/a/b/team.yaml", &text);
        place.write("work/linked/real.yaml", &text);
        symlink("real.yaml", place.path("work/linked/team.yaml")).unwrap();
        std::fs::create_dir(place.path("work/here")).unwrap();
        let said = bash_with(&place, config, "work/here", swap);
        assert_eq!(place.read(config), text, "{said}");
        assert!(!place.path("work/here/orch.yaml").exists(), "{said}");
    }
}

#[test]
fn without_mounts_no_other_directory_stays_in_the_place_of_the_configuration_s() {
    for swap in [
        "mv a a2; mkdir -p a/b; echo evil > a/b/team.yaml",
        "mv a a2; mkdir c; echo evil > c/team.yaml; ln -s ../c a; ln -s . c/b",
    ] {
        let place = Place::new().with_settings(json!({"sandbox": {"tier": "landlock"}}));
        drop(place.command("bash", &[]));
        let text = place.read("conf/team.yaml");
        place.write("work/a/b/team.yaml", &text);
        let said = bash_with(&place, "work/a/b/team.yaml", "work", swap);
        let now = std::fs::read_to_string(place.path("work/a/b/team.yaml")).unwrap_or_default();
        assert!(!now.contains("evil"), "{said}");
        assert_eq!(place.read("work/a2/b/team.yaml"), text);
    }
}

#[test]
fn nothing_that_steers_git_can_be_planted() {
    let place = Place::new();
    place.bash("git init -q . && git init -q sub && mkdir -p .git/modules/m && cp -r sub/.git/. .git/modules/m/").ok();
    let before = place.read("work/.git/config");
    let hook = "printf '#!/bin/sh\\n' >";
    place.bash(&format!(
        "{hook} .git/hooks/post-commit; {hook} sub/.git/hooks/post-commit; {hook} .git/modules/m/hooks/post-commit
         echo '[core] fsmonitor=evil' >> .git/config; echo '[core] fsmonitor=evil' > new; mv new .git/config
         echo '[core] fsmonitor=evil' >> sub/.git/config; echo '[core] fsmonitor=evil' >> .git/modules/m/config
         echo ../evil > .git/commondir; echo x > .git/config.worktree; rm -rf .git; mv .git gone; mv sub/.git gone
         mv .git/hooks .git/h; rm -rf .git/hooks; mv .git/modules/m .git/modules/n; true"
    ));
    assert_eq!(place.read("work/.git/config"), before);
    for git in ["work/.git", "work/sub/.git", "work/.git/modules/m"] {
        assert!(
            !place.read(&format!("{git}/config")).contains("evil"),
            "{git}"
        );
        for planted in ["hooks/post-commit", "commondir", "config.worktree"] {
            assert!(!place.path(git).join(planted).exists(), "{git}/{planted}");
        }
    }
    // A repository that the command makes itself loses what names programs, and the user is told.
    let place = Place::new();
    let said = place.bash("git init -q . && git config core.fsmonitor ./evil && printf '#!/bin/sh\\n' > .git/hooks/pre-commit && chmod +x .git/hooks/pre-commit");
    let content = said.ok();
    assert!(
        content.contains("core.fsmonitor") && content.contains("pre-commit"),
        "{content}"
    );
}

#[test]
fn nothing_outside_is_seen_or_written() {
    let place = Place::new();
    let outside = place.path("outside").display().to_string();
    symlink(place.path("outside"), place.path("work/link")).unwrap();
    let said = place.bash(&format!(
        "cat {outside}/secret.txt link/secret.txt ~/.ssh/id_ed25519 /etc/shadow /proc/1/root{outside}/secret.txt
         echo x > {outside}/new; echo x > ~/new; echo x > /usr/new; echo x > /etc/new; ls ~ -A; env; cat /proc/*/environ
         cat ~/.gitconfig; true"
    ));
    assert!(!said.content.contains("CANARY"), "{}", said.content);
    assert!(said.content.contains("name = Tester"), "{}", said.content);
    assert!(!place.path("outside/new").exists() && !place.path("home/new").exists());
}

#[test]
fn files_of_the_command_belong_to_the_owner_of_the_workspace() {
    use std::os::unix::fs::MetadataExt as _;
    let place = Place::new();
    place.bash("mkdir d && touch d/f && chmod 700 d && install -m 755 /bin/true t && chmod u+s t; mkdir -m 2755 s; true").ok();
    let owner = std::fs::metadata(place.path("work")).unwrap().uid();
    for name in ["work/d", "work/d/f", "work/t"] {
        assert_eq!(
            std::fs::metadata(place.path(name)).unwrap().uid(),
            owner,
            "{name}"
        );
    }
    assert_eq!(
        std::fs::metadata(place.path("work/t"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7000,
        0
    );
}

#[test]
fn a_swapper_of_directories_gains_nothing() {
    let place = Place::new();
    place.write("work/a/sub/.env", "CANARY-SECRET");
    std::fs::create_dir(place.path("work/b")).unwrap();
    let mut swapper = place.command("bash", &[]);
    let mut swapping = swapper.spawn().unwrap();
    {
        use std::io::Write as _;
        let script = "touch started; while [ ! -e stop ]; do mv a/sub b/sub; mv b/sub a/sub; done";
        let parameters = json!({"command": script, "timeout": 60}).to_string();
        swapping
            .stdin
            .take()
            .unwrap()
            .write_all(parameters.as_bytes())
            .unwrap();
    }
    until("the swapper", || place.path("work/started").exists());
    for _ in 0..20 {
        let said =
            place.bash("for i in $(seq 200); do cat a/sub/.env b/sub/.env 2>/dev/null; done; true");
        assert!(!said.content.contains("CANARY"), "{}", said.content);
    }
    place.write("work/stop", "");
    drop(swapping.wait_with_output().unwrap());
}

#[test]
fn what_the_users_session_starts_stays_as_it_is_when_agents_work_in_the_home_directory() {
    let place = Place::new();
    let home = place.path("work").to_str().unwrap().to_owned();
    place.write("work/.bashrc", "# mine\n");
    place.write("work/.config/app/x", "1");
    place.write("work/.ssh/deploy", "CANARY-KEY-OF-SSH");
    place.write("work/project/a", "a");
    let place = place.with_variable("HOME", home);
    let said = place.bash(
        "echo evil >> ~/.bashrc; echo evil > ~/.zshrc; echo evil > ~/.ssh/authorized_keys; mv ~/.ssh ~/s;
         mkdir -p ~/.config/autostart && echo evil > ~/.config/autostart/x.desktop; mkdir -p bin && echo evil > bin/ls;
         git config --global alias.x '!evil'; cat ~/.ssh/deploy;
         echo fine > project/b && echo fine > ~/.config/app/y && cat project/b ~/.config/app/y",
    );
    let content = said.ok();
    assert!(
        content.contains("fine\nfine\n") && !content.contains("CANARY"),
        "{content}"
    );
    assert_eq!(place.read("work/.bashrc"), "# mine\n");
    for name in [
        ".zshrc",
        ".ssh/authorized_keys",
        ".config/autostart",
        "bin",
        ".gitconfig",
        "s",
    ] {
        assert!(!place.path("work").join(name).exists(), "{name}");
    }
}

#[test]
fn what_may_be_read_and_written_in_a_home_behind_a_link_is_without_its_secrets() {
    let place = Place::new();
    symlink(place.path("home"), place.path("link")).unwrap();
    place.write("home/data/.env", "CANARY-SECRET");
    place.write("home/data/vault/gold", "CANARY-DENIED");
    place.write("home/data/plain", "plain text\n");
    place.write("home/out/.env", "CANARY-SECRET");
    let place = place.with_settings(json!({"sandbox": {
        "read": ["~/data"],
        "write": ["~/out"],
        "read_deny": ["~/data/vault"],
    }}));
    let home = place.path("link").to_str().unwrap().to_owned();
    let place = place.with_variable("HOME", home);
    let said = place.bash(
        "cat ~/data/plain ~/data/.env ~/out/.env ~/data/vault/gold; echo new > ~/out/new; cat ~/out/new",
    );
    let content = said.ok();
    assert!(
        content.contains("plain text\n") && content.contains("new\n"),
        "{content}"
    );
    assert!(!content.contains("CANARY"), "{content}");
    assert_eq!(place.read("home/out/new"), "new\n");
    for path in ["data/.env", "data/vault/gold"] {
        let path = place.path("link").join(path);
        let said = place.tool("read", &json!({"path": path}), &[]);
        assert!(!said.content.contains("CANARY"), "{said:?}");
    }
}

#[test]
fn passwords_in_the_addresses_of_a_repository_reach_no_model() {
    let place = Place::new();
    place
        .bash("git init -q . && git remote add origin https://me:pa55w0rd@git.example.com/a/b.git")
        .ok();
    let said = place.bash("cat .git/config; git remote -v; cat .git/config >&2");
    let content = said.ok();
    assert!(!content.contains("pa55w0rd"), "{content}");
    let shown = "https://me:[redacted]@git.example.com/a/b.git";
    assert_eq!(content.matches(shown).count(), 4, "{content}");
    let said = place.tool("read", &json!({"path": ".git/config"}), &[]);
    assert!(said.ok().contains(shown));
    let said = place.tool("grep", &json!({"pattern": "url = ", "path": ".git"}), &[]);
    assert!(!said.content.contains("pa55w0rd"), "{said:?}");
}

/// The sandbox names its own user in files of its own. Where those of the machine are shown, they stay as they are.
#[test]
fn the_accounts_of_the_machine_stay_as_they_are() {
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    for shown in ["/etc", "/etc/passwd"] {
        let settings = json!({"sandbox": {"read": [shown]}});
        let place = Place::new().with_settings(settings);
        let said = place.bash("cat /etc/passwd; id -u").ok();
        assert!(said.starts_with(&accounts), "{shown}: {said}");
    }
    assert_eq!(std::fs::read_to_string("/etc/passwd").unwrap(), accounts);
}

#[test]
fn what_a_link_leads_to_that_is_called_like_a_secret_is_hidden_from_every_tool() {
    let place = Place::new();
    place.write("work/a/b/plain.txt", "CANARY-SECRET");
    place.write("work/a/b/other.txt", "FREE");
    place.write("work/settings.txt", "SETTING=CANARY-SETTING");
    std::fs::create_dir(place.path("work/keys")).unwrap();
    symlink("../a/b/plain.txt", place.path("work/keys/server.key")).unwrap();
    // Beside the configuration, outside of the workspace.
    symlink("../work/settings.txt", place.path("conf/.env")).unwrap();
    for path in ["a/b/plain.txt", "settings.txt"] {
        for (tool, parameters) in [
            ("read", json!({"path": path})),
            ("grep", json!({"path": path, "pattern": "."})),
            (
                "edit",
                json!({"path": path, "old_string": "CANARY", "new_string": "x"}),
            ),
            ("write", json!({"path": path, "content": "x"})),
        ] {
            let said = place.tool(tool, &parameters, &[]);
            assert_eq!(said.status, "refused", "{tool} {path}: {said:?}");
        }
        let said = place.bash(&format!("cat {path}"));
        assert!(
            said.content.contains("Permission denied"),
            "{path}: {said:?}"
        );
    }
    let said = place.tool("grep", &json!({"path": ".", "pattern": "CANARY|FREE"}), &[]);
    assert_eq!(said.ok(), "a/b/other.txt:1:FREE");
    assert_eq!(place.read("work/a/b/plain.txt"), "CANARY-SECRET");
}

#[test]
fn what_is_denied_is_hidden_inside_of_git_directories_too() {
    let place = Place::new().with_settings(
        json!({"sandbox": {"read_deny": ["vault", "notes.txt", "logs", "objects"]}}),
    );
    place
        .bash("git init -q . && echo x > f && git add f && git commit -q -m first && git branch server.key && git branch vault/notes.txt")
        .ok();
    for name in [".env", "info/notes.txt", "vault/x", "modules/m/id_rsa"] {
        place.write(&format!("work/.git/{name}"), "CANARY-SECRET");
    }
    let said = place.bash(
        "cat .git/.env .git/info/notes.txt .git/vault/x .git/modules/m/id_rsa; grep -r CANARY .git; true",
    );
    assert!(!said.content.contains("CANARY"), "{said:?}");
    // What git itself gave a name says nothing by it.
    let said = place.bash(
        "echo y >> f; git commit -q -a -m second && git log --format=%s server.key vault/notes.txt && git reflog | wc -l",
    );
    assert_eq!(said.ok(), "first\n2\n");
}

#[test]
fn what_other_programs_were_given_stays_theirs() {
    let place = Place::new().with_settings(json!({"sandbox": {"read": ["/proc"]}}));
    let mut other = std::process::Command::new("sleep")
        .arg("600")
        .env("GIVEN", "CANARY-OF-ANOTHER")
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/environ", other.id());
    let mut said = vec![
        place.tool("read", &json!({"path": path}), &[]),
        place.tool("grep", &json!({"path": path, "pattern": "CANARY"}), &[]),
        place.tool("read", &json!({"path": "/proc/self/environ"}), &[]),
    ];
    for tier in ["full", "landlock"] {
        let parameters = json!({"command": "cat /proc/[0-9]*/environ | tr '\\0' '\\n'; true"});
        said.push(place.tool("bash", &parameters, &["--sandbox", tier]));
    }
    other.kill().unwrap();
    other.wait().unwrap();
    for said in &said {
        assert!(!said.content.contains("CANARY"), "{said:?}");
    }
    let refused = said.iter().filter(|said| said.status == "refused");
    assert_eq!(refused.count(), 3, "{said:?}");
}

#[test]
fn no_other_root_lies_over_or_under_that_of_a_command() {
    for confined in [true, false] {
        let place = Place::new().with_settings(json!({"sandbox_paths": confined}));
        let said =
            place.bash("awk '$5 == \"/\"' /proc/self/mountinfo | wc -l; ls -id / /.. | cut -d' ' -f1 | uniq | wc -l");
        assert_eq!(said.ok(), "1\n1\n", "{confined}");
    }
}
