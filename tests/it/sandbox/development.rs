//! Ordinary development must keep working inside.

use serde_json::json;

use super::Place;

#[test]
fn git_keeps_history() {
    let place = Place::new();
    let said = place.bash(
        "git init -q -b main . && echo one > a && git add -A && git commit -qm one &&
         echo two >> a && git commit -qam two && git checkout -qb side && git log --format='%s by %an' &&
         git status --short | wc -l",
    );
    assert_eq!(said.ok(), "two by Tester\none by Tester\n0\n");
    // In the next command what steers git is closed, and everything else works.
    let said = place.bash(
        "echo three >> a && git stash -q && git stash pop -q && git commit -qam three &&
         git tag v1 && git merge -q --no-edit main && git rebase -q main && git gc -q && git log --format=%s;
         git config user.name Evil || echo config-closed; echo x > .git/hooks/post-commit || echo hooks-closed",
    );
    let content = said.ok();
    assert!(
        content.starts_with("three\ntwo\none\nconfig-closed\nhooks-closed\n"),
        "{content}"
    );
}

#[test]
fn git_works_in_a_worktree() {
    let place = Place::new();
    let script = "git init -q main && cd main && git commit -q --allow-empty -m one && git worktree add -q ../work";
    let status = std::process::Command::new("bash")
        .args(["-c", &format!("rmdir work && {script} 2>&1")])
        .current_dir(place.path("."))
        .env("HOME", place.path("home"))
        .status()
        .unwrap();
    assert!(status.success());
    let said = place.bash("echo x > a && git add a && git commit -qm two && git log --format=%s");
    assert_eq!(said.ok(), "two\none\n");
    // Another repository cannot be opened by naming it.
    place.write("outside/.git/HEAD", "ref: refs/heads/main\n");
    std::fs::remove_file(place.path("work/.git")).unwrap();
    place.write(
        "work/.git",
        &format!("gitdir: {}\n", place.path("outside/.git").display()),
    );
    let said = place.bash(&format!("ls {}", place.path("outside").display()));
    assert_eq!(said.status, "error");
}

#[test]
fn programs_are_built_and_run() {
    let place = Place::new().with_variable("RUSTUP_HOME", rustup_home());
    place.write(
        "work/Cargo.toml",
        "[package]\nname = \"hello\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
    );
    place.write(
        "work/src/main.rs",
        "fn main() { println!(\"from rust\"); }\n",
    );
    let said = place.bash("cargo build --offline -q && ./target/debug/hello");
    assert_eq!(said.ok(), "from rust\n");
    place.write(
        "work/m.c",
        "#include <stdio.h>\nint main(void) { puts(\"from c\"); return 0; }\n",
    );
    place.write("work/Makefile", "all: m\n\t./m\nm: m.c\n\tcc -o m m.c\n");
    let said = place.bash("make -s -j2");
    assert_eq!(said.ok(), "from c\n");
}

fn rustup_home() -> String {
    let named = std::env::var("RUSTUP_HOME");
    named.unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap();
        format!("{home}/.rustup")
    })
}

#[test]
fn interpreters_run() {
    let place = Place::new();
    let said = place.bash(
        "python3 -c 'import multiprocessing as m, sqlite3, ssl, tempfile
with m.Pool(2) as pool: print(sum(pool.map(abs, [-1, -2])))
with tempfile.NamedTemporaryFile() as file: print(file.name.startswith(\"/tmp/\"))
c = sqlite3.connect(\"x.db\"); c.execute(\"create table t(a)\"); c.commit(); print(c.execute(\"select count(*) from t\").fetchone())'
node -e 'console.log(require(\"os\").cpus().length > 0, require(\"fs\").readdirSync(\".\").length)'
perl -e 'print \"perl\\n\"'
cat <<END | sort -r | head -2
a
c
b
END
diff <(echo a) <(echo a) && echo same",
    );
    assert_eq!(said.ok(), "3\nTrue\n(0,)\ntrue 1\nperl\nc\nb\nsame\n");
}

#[test]
fn a_server_and_its_client_meet_in_one_command() {
    let place = Place::new();
    place.write("work/index.html", "served\n");
    let said = place.bash(
        "python3 -m http.server 8000 --bind 127.0.0.1 2>/dev/null & 
         for i in $(seq 50); do sleep 0.1; curl -sf http://localhost:8000/ && break; done
         node -e 'const s=require(\"http\").createServer((q,r)=>r.end(\"node\\n\")).listen(8001,\"127.0.0.1\",()=>
           require(\"http\").get(\"http://127.0.0.1:8001/\",r=>r.on(\"data\",d=>{process.stdout.write(d);s.close()})))'
         kill %1",
    );
    assert_eq!(said.ok(), "served\nnode\n");
}

#[test]
fn terminals_work_inside() {
    let place = Place::new();
    let said = place.bash(
        "python3 -c 'import pty; pty.spawn([\"tty\"])'; script -qc 'echo in-a-terminal' /dev/null",
    );
    let content = said.ok();
    assert!(
        content.contains("/dev/pts/0") && content.contains("in-a-terminal"),
        "{content}"
    );
}

#[test]
fn a_command_of_any_length_runs() {
    let place = Place::new();
    let script = format!(
        "cat > big <<'END'\n{}\nEND\nwc -c < big; echo $0 $#",
        "0123456789abcdef".repeat(20_000)
    );
    let content = place.bash(&script).ok();
    let start = format!("{}\n/proc/self/fd/", 16 * 20_000 + 1);
    assert!(
        content.starts_with(&start) && content.ends_with(" 0\n"),
        "{content}"
    );
}

#[test]
fn what_the_model_sees() {
    let place = Place::new();
    std::fs::create_dir(place.path("work/sub")).unwrap();
    let run = |parameters| {
        let said = place.tool("bash", &parameters, &[]);
        (said.status, said.content, said.exit_code)
    };
    let expect = |status: &str, content: &str, code| (status.to_owned(), content.to_owned(), code);
    assert_eq!(
        run(json!({"command": "true"})),
        expect("ok", "[no output]", Some(0))
    );
    assert_eq!(
        run(json!({"command": "echo out; echo err >&2; exit 3"})),
        expect("error", "out\n[stderr]\nerr\n[exit code 3]", Some(3))
    );
    assert_eq!(
        run(json!({"command": "kill -9 $$"})),
        expect("error", "[exit code 137: ended by signal 9]", Some(137))
    );
    assert_eq!(
        run(json!({"command": "printf part; sleep 60", "timeout": 2.5})),
        expect("timeout", "part\n[ended: it took longer than 2.5 s]", None)
    );
    assert_eq!(
        run(json!({"command": "basename $PWD", "working_dir": "sub"})),
        expect("ok", "sub\n", Some(0))
    );
    for (directory, status, words) in [
        (
            "../outside",
            "refused",
            "`working_dir` `../outside` is outside the workspace",
        ),
        (
            "missing",
            "error",
            "`working_dir` `missing` cannot be entered",
        ),
    ] {
        let said = place.tool(
            "bash",
            &json!({"command": "pwd", "working_dir": directory}),
            &[],
        );
        assert_eq!(said.status, status);
        assert!(said.content.starts_with(words), "{}", said.content);
    }
    for timeout in [0.0, -1.0, 1e9] {
        let said = place.tool("bash", &json!({"command": "pwd", "timeout": timeout}), &[]);
        assert!(
            said.content.starts_with("`timeout` must be more than 0"),
            "{}",
            said.content
        );
    }
    assert_eq!(run(json!({"command": "a\u{0}b"})).0, "error");
}

#[test]
fn a_home_behind_a_link_is_a_home() {
    let context = crate::support::Context::new();
    context.write(
        "orch.yaml",
        "agents: {a: {role: R, provider: openai, model: openai/gpt-4o, tools: [bash]}}\n",
    );
    let link = context.work().with_file_name("link");
    std::os::unix::fs::symlink(context.work().parent().unwrap(), &link).unwrap();
    std::fs::create_dir_all(context.home().join("bin")).unwrap();
    std::fs::write(context.home().join(".gitconfig"), "[user]\nname = Behind\n").unwrap();
    let home = link.join("home");
    let said = crate::support::ran(
        context
            .command(&[
                "--config",
                "orch.yaml",
                "tool",
                "bash",
                r#"{"command": "git config user.name; cd && ls -a"}"#,
            ])
            .env("HOME", &home)
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", home.join("bin").display()),
            )
            .output()
            .unwrap(),
    );
    let said = said.exits(0);
    assert!(said.stdout.starts_with("Behind\n"), "{said:#?}");
}
