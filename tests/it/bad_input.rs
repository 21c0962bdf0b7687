//! Whatever is typed or served: a clear message, the right exit code, never a panic or a hang.

mod mistakes;

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::terminal::PATIENCE;
use crate::support::{Context, Stub, agent_config, ran, stub};

#[test]
fn prompts() {
    let server = Stub::start(|seen| {
        let text = seen.last_text();
        stub::text(&format!(
            "{} bytes, begins {:?}",
            text.len(),
            text.chars().next()
        ))
    });
    let context = Context::with_agent(&server.url(), "");
    for (args, code, words) in [
        (
            vec!["--agent", "a", "--prompt", ""],
            2,
            "the prompt is empty",
        ),
        (
            vec!["--agent", "a", "--prompt", " \n"],
            2,
            "the prompt is empty",
        ),
        (vec!["--agent", "a"], 2, "`--agent` needs a prompt"),
        (vec!["--prompt", "x"], 2, "`--prompt` needs an agent"),
        (vec!["--all"], 2, "`--all` needs a prompt"),
        (
            vec!["--agent", "b", "--prompt", "x"],
            2,
            "there is no agent `b`",
        ),
        (
            vec!["--agent", "a", "--prompt", "x", "--timeout", "0"],
            2,
            "is no time span",
        ),
        (
            vec!["--agent", "a", "--prompt", "x", "--timeout", "nan"],
            2,
            "is no time span",
        ),
        (
            vec!["--agent", "a", "--prompt", "x", "--timeout", "1e19"],
            2,
            "is no time span",
        ),
        (
            vec!["--agent", "a", "--prompt", "x", "--budget", "1e3"],
            2,
            "is not an amount",
        ),
        (
            vec!["--agent", "a", "--prompt", "x", "--model", ""],
            2,
            "the name of the model is empty",
        ),
        (
            vec!["--all", "--prompt", "x", "--model", " "],
            2,
            "the name of the model is empty",
        ),
        (
            vec!["--agent", "a", "--prompt-file", "none"],
            2,
            "cannot read `none`",
        ),
        (
            vec!["--agent", "a", "--prompt", "x", "--continue"],
            2,
            "no conversation of `a` to continue",
        ),
        (
            vec!["--agent", "a", "--frobnicate"],
            2,
            "unexpected argument",
        ),
    ] {
        let ran = context.orch(&args).exits(code);
        assert!(ran.stderr.contains(words), "{args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    for (prompt, expected) in [
        ("-dash", "5 bytes, begins Some('-')\n"),
        ("--version", "9 bytes, begins Some('-')\n"),
        ("/quit", "5 bytes, begins Some('/')\n"),
        ("@a", "2 bytes, begins Some('@')\n"),
    ] {
        assert_eq!(
            context
                .orch(&["--agent", "a", "--prompt", prompt])
                .exits(0)
                .stdout,
            expected
        );
    }
    context.write("big.txt", "x".repeat(5_000_000));
    let big = context
        .orch(&["--agent", "a", "--prompt-file", "big.txt"])
        .exits(0);
    assert_eq!(big.stdout, "5000000 bytes, begins Some('x')\n");
}

#[test]
fn a_flag_that_would_mean_nothing_is_refused() {
    let server = Stub::replies([stub::status(500, &[], "oops"), stub::text("ok")]);
    let tasks = "tasks:\n  t: {steps: [{agent: a, prompt: x}]}\n";
    let context = Context::with_agent(&server.url(), tasks);
    context.write("c.txt", "CONTEXT\n");
    let failed = context
        .orch(&["--agent", "a", "--prompt", "x", "--json"])
        .exits(5)
        .json();
    let run = failed["run_id"].as_str().unwrap();
    let no_plan = "`--dry-run` plans a prompt or a task, and there is none";
    for (args, words) in [
        (vec!["--dry-run"], no_plan),
        (vec!["--agent", "a", "--dry-run"], no_plan),
        (vec!["--resume", run, "--dry-run"], no_plan),
        (
            vec!["--health", "--deep", "--dry-run"],
            "`--dry-run` means nothing with `--health`",
        ),
        (
            vec!["--agents", "--prompt", "x"],
            "`--prompt` means nothing with `--agents`",
        ),
        (
            vec!["--models", "--model", "m"],
            "`--model` means nothing with `--models`",
        ),
        (
            vec!["--tasks", "--yes"],
            "`--yes` means nothing with `--tasks`",
        ),
        (
            vec!["--runs", "--budget", "1"],
            "`--budget` means nothing with `--runs`",
        ),
        (
            vec!["--status", "--timeout", "1"],
            "`--timeout` means nothing with `--status`",
        ),
        (
            vec!["--costs", "--session", "s"],
            "`--session` means nothing with `--costs`",
        ),
        (
            vec!["--health", "--save"],
            "`--save` means nothing with `--health`",
        ),
        (vec!["--logs", "a", "-"], "`-` means nothing with `--logs`"),
        (vec!["init"], "`--config` means nothing before `init`"),
        (
            vec!["--context", "c.txt"],
            "`--context` belongs to a prompt, and there is none",
        ),
        (
            vec!["--agents", "--context", "c.txt"],
            "`--context` means nothing with `--agents`",
        ),
        (
            vec!["--task", "t", "--context", "c.txt"],
            "a task takes no `--context`",
        ),
        (
            vec!["--task", "t", "--session", "s"],
            "a task takes no `--session`",
        ),
        (
            vec!["--task", "t", "--continue"],
            "a task takes no `--continue`",
        ),
        (
            vec!["--resume", run, "--continue"],
            "a run that goes on takes no `--continue`",
        ),
    ] {
        let args = [&["--config", "orch.yaml"], &args[..]].concat();
        // A session would ask this.
        let ran = context.run_with_stdin(&args, b"hello\n").exits(2);
        assert!(
            ran.stderr.starts_with(&format!("error: {words}")) && ran.stderr.contains("\nhint: "),
            "{args:?}: {}",
            ran.stderr
        );
        assert_eq!(ran.stdout, "", "{args:?}");
    }
    assert_eq!(server.chats().len(), 1, "nobody was called");
    // What a list keeps from anyway may be said.
    for list in ["--agents", "--runs", "--status"] {
        let loop_in_a_script = [list, "--no-stdin", "--no-input", "--no-log", "--quiet"];
        context.orch(&loop_in_a_script).exits(0);
    }
    let blank = context
        .run_with_stdin(&["--config", "orch.yaml"], b"/model \"\"\n")
        .stderr;
    assert!(blank.contains("the name of the model is empty"), "{blank}");
}

/// The deadline of a run includes what it waits for before it begins.
#[test]
fn a_prompt_or_configuration_that_does_not_come_is_waited_for_until_the_deadline() {
    let server = Stub::start(|_| stub::text("ok"));
    let tasks = "tasks:\n  t: {steps: [{agent: a, prompt: x}]}\n";
    let context = Context::with_agent(&server.url(), tasks);
    let pipe = context.work().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for (config, args, words) in [
        (
            "orch.yaml",
            &["--agent", "a", "--prompt", "x"][..],
            "the prompt",
        ),
        ("orch.yaml", &["--all", "-"], "the prompt"),
        (
            "orch.yaml",
            &["--agent", "a", "--prompt-file", "pipe"],
            "the prompt",
        ),
        ("pipe", &["--task", "t"], "the configuration"),
        ("pipe", &["--resume", "r"], "the configuration"),
    ] {
        let mut file = std::fs::File::options();
        // Open for writing as well, it never blocks and has no end.
        let held = file.read(true).write(true).open(&pipe).unwrap();
        let args = [&["--config", config, "--timeout", "0.3"], args].concat();
        let mut child = context
            .command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let held = (held, child.stdin.take());
        let (ended, end) = std::sync::mpsc::channel::<()>();
        // A run that waits nevertheless ends at last, only not as it should.
        let holder = std::thread::spawn(move || {
            _ = end.recv_timeout(PATIENCE);
            drop(held);
        });
        let ran = ran(child.wait_with_output().unwrap()).exits(6);
        drop(ended);
        holder.join().unwrap();
        let words = format!("error: {words} was not there before the time of `--timeout` was up");
        assert!(ran.stderr.starts_with(&words), "{args:?}: {}", ran.stderr);
    }
    assert_eq!(server.seen().len(), 0);
}

#[test]
fn standard_input() {
    let server = Stub::start(|seen| stub::text(&seen.last_text()));
    let context = Context::with_agent(&server.url(), "");
    let run = |args: &[&str], stdin: &[u8]| {
        let mut all = vec!["--config", "orch.yaml", "--agent", "a"];
        all.extend(args);
        context.run_with_stdin(&all, stdin)
    };
    assert_eq!(
        run(&["--prompt", "p"], b"data\n").exits(0).stdout,
        "p\n\n<stdin>\ndata\n</stdin>\n"
    );
    assert_eq!(
        run(&["--prompt", "p", "--no-stdin"], b"data\n")
            .exits(0)
            .stdout,
        "p\n"
    );
    assert_eq!(run(&["-"], b"data\n").exits(0).stdout, "data\n");
    assert_eq!(run(&["--prompt", "-"], b"data\n").exits(0).stdout, "data\n");
    assert_eq!(run(&["--prompt", "p"], b"").exits(0).stdout, "p\n");
    let wrong = run(&["-"], b"ab\xff").exits(2);
    assert!(
        wrong
            .stderr
            .contains("standard input is not UTF-8 text: byte 3 is wrong"),
        "{}",
        wrong.stderr
    );
    assert!(
        run(&["-"], b" \n")
            .exits(2)
            .stderr
            .contains("the prompt is empty")
    );
    context.write("c.txt", "CONTEXT\n");
    assert_eq!(
        run(&["--prompt", "p", "--context", "c.txt", "--no-stdin"], b"")
            .exits(0)
            .stdout,
        "CONTEXT\n\n---\n\np\n"
    );
    // A closed standard input is an empty one.
    let mut command = context.command(&["--config", "orch.yaml", "--agent", "a", "--prompt", "p"]);
    close_on_start(&mut command, 0);
    assert_eq!(ran(command.output().unwrap()).exits(0).stdout, "p\n");
}

#[expect(unsafe_code, reason = "a child with a closed stream is what is tested")]
fn close_on_start(command: &mut std::process::Command, fd: i32) {
    // SAFETY: close is safe to call between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::close(fd);
            Ok(())
        });
    }
}

#[test]
fn a_session_without_input_ends_at_once() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    let ran = context.orch(&[]).exits(0);
    assert!(ran.stdout.len() + ran.stderr.len() < 200, "{ran:?}");
}

#[test]
fn configurations() {
    let context = Context::new();
    std::fs::create_dir(context.work().join("dir.yaml")).unwrap();
    context.write("broken.yaml", "agents: [\n");
    context.write("latin.yaml", b"agents: {a: {role: \xe9}}\n");
    context.write("wrong.yaml", "settings:\n  timeout: 5m\nagnets: {}\n");
    for (file, words) in [
        ("none.yaml", "none.yaml"),
        ("dir.yaml", "directory"),
        ("broken.yaml", "broken.yaml:"),
        ("latin.yaml", "UTF-8"),
        ("wrong.yaml", "wrong.yaml:2:12"),
    ] {
        let ran = context
            .run(&["--config", file, "--agent", "a", "--prompt", "x"])
            .exits(3);
        assert!(ran.stderr.contains(words), "{file}: {}", ran.stderr);
    }
    let both = context
        .run(&["--config", "wrong.yaml", "--agents"])
        .exits(3)
        .stderr;
    assert!(
        both.contains("wrong.yaml:3:1") && both.contains("did you mean `agents`"),
        "{both}"
    );
    let none = context.run(&["--agent", "a", "--prompt", "x"]);
    assert_eq!(none.code, 3, "{none:?}");
}

#[test]
fn model_servers_that_misbehave() {
    let cut = vec![
        stub::stream_head(),
        stub::event(&stub::chunk(&json!({"content": "half"}), None)),
        stub::Do::Close,
    ];
    for (name, answer, code, class) in [
        (
            "html",
            stub::status(200, &[("content-type", "text/html")], "<html>login</html>"),
            5,
            "provider",
        ),
        ("nothing", stub::status(200, &[], ""), 5, "provider"),
        (
            "empty stream",
            stub::status(
                200,
                &[("content-type", "text/event-stream")],
                "data: [DONE]\n\n",
            ),
            1,
            "failed",
        ),
        ("cut stream", cut, 5, "provider"),
        ("reset", vec![stub::Do::Reset], 5, "provider"),
        (
            "garbage",
            stub::status(
                200,
                &[("content-type", "text/event-stream")],
                "data: {nonsense\n\n",
            ),
            5,
            "provider",
        ),
        ("500", stub::status(500, &[], "oops"), 5, "provider"),
        ("401", stub::status(401, &[], "{}"), 4, "auth"),
        ("404", stub::status(404, &[], "{}"), 5, "provider"),
        (
            "redirect",
            stub::status(302, &[("location", "http://127.0.0.1:9/")], ""),
            5,
            "provider",
        ),
    ] {
        let server = Stub::replies([answer]);
        let context = Context::with_agent(&server.url(), "");
        let result = context.orch(&["--agent", "a", "--prompt", "x", "--json"]);
        assert_eq!(result.code, code, "{name}: {result:#?}");
        assert_eq!(result.json()["error"]["class"], class, "{name}");
        assert!(!result.stderr.contains("panicked"), "{name}");
    }
    let refused = Context::with_agent("http://127.0.0.1:9/v1", "");
    let ran = refused.orch(&["--agent", "a", "--prompt", "x"]).exits(5);
    assert!(ran.stderr.contains("127.0.0.1:9"), "{}", ran.stderr);
}

#[test]
fn ten_megabytes_of_answer() {
    let server = Stub::start(|_| stub::text(&"y".repeat(10_000_000)));
    let context = Context::with_agent(&server.url(), "");
    assert_eq!(
        context
            .orch(&["--agent", "a", "--prompt", "x"])
            .exits(0)
            .stdout
            .len(),
        10_000_001
    );
}

#[test]
fn no_key() {
    let context = Context::new();
    context.write(
        "orch.yaml",
        "agents: {a: {role: R, provider: openai, model: gpt4o}}\n",
    );
    let ran = context.orch(&["--agent", "a", "--prompt", "x"]).exits(4);
    assert!(ran.stderr.contains("OPENAI_API_KEY"), "{}", ran.stderr);
}

#[test]
fn a_closed_pipe_ends_the_run_quietly() {
    let server = Stub::start(|_| {
        let mut actions = vec![stub::stream_head()];
        for _ in 0..2_000 {
            actions.push(stub::event(&stub::chunk(
                &json!({"content": "word ".repeat(50)}),
                None,
            )));
            actions.push(stub::Do::Wait(Duration::from_millis(2)));
        }
        actions
    });
    let context = Context::with_agent(&server.url(), "");
    let mut child = context
        .command(&["--config", "orch.yaml", "--agent", "a", "--prompt", "x"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 10]).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    let ran = ran(output);
    assert_eq!(
        (ran.code, ran.stderr.contains("panicked")),
        (0, false),
        "{ran:?}"
    );
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["total_requests"], 1);
}

#[test]
fn signals_end_a_run_in_good_order() {
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let server = Stub::start(|_| {
            vec![
                stub::stream_head(),
                stub::event(&stub::chunk(&json!({"content": "begun"}), None)),
                stub::Do::Hang,
            ]
        });
        let context = Context::new();
        context.write("orch.yaml", agent_config(&server.url(), ""));
        let mut child = context
            .command(&[
                "--config",
                "orch.yaml",
                "--agent",
                "a",
                "--prompt",
                "x",
                "--output",
                "stream-json",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("begun") {
            let count = out.read(&mut buffer).unwrap();
            assert!(count > 0, "{text}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        kill(child.id(), signal);
        out.read_to_string(&mut text).unwrap();
        assert_eq!(ran(child.wait_with_output().unwrap()).code, code);
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["type"], "result");
        assert_eq!(last["output"], "begun");
        assert_eq!(last["error"]["class"], "interrupted");
        let costs = context.orch(&["--costs", "--json"]).exits(0).json();
        assert_eq!(costs["total_requests"], 1);
        assert_eq!(costs["held_usd"], "0.000000");
    }
}

#[expect(unsafe_code, reason = "the standard library sends no signals")]
pub fn kill(pid: u32, signal: i32) {
    // SAFETY: the process is a child that was not waited for, so the id is its own.
    assert_eq!(unsafe { libc::kill(pid.try_into().unwrap(), signal) }, 0);
}

#[test]
fn a_prompt_may_be_a_word_that_is_also_a_command() {
    let server = Stub::start(|seen| stub::text(&format!("heard {}", seen.last_text())));
    let context = Context::with_agent(&server.url(), "");
    for word in ["check", "trust", "prices"] {
        let args = [
            "--config",
            "orch.yaml",
            "--agent",
            "a",
            "--prompt",
            word,
            "--json",
        ];
        let ran = context.run(&args).exits(0);
        assert_eq!(ran.json()["output"], format!("heard {word}"));
    }
}

#[test]
fn flags_that_mean_nothing_before_a_command_are_refused() {
    let context = Context::with_agent("http://127.0.0.1:9", "");
    context.write("x", "text");
    for (args, flag, command) in [
        (&["--agent", "a", "check"][..], "--agent", "check"),
        (
            &["--sandbox", "landlock", "tool", "read"],
            "--sandbox",
            "tool",
        ),
        (&["--no-input", "tool", "bash"], "--no-input", "tool"),
        (&["--costs", "prices"], "--costs", "prices"),
        (&["--budget=1", "init"], "--budget", "init"),
        (&["-", "check"], "-", "check"),
    ] {
        let ran = context.run(args).exits(2);
        let expected = format!(
            "error: `{flag}` means nothing before `{command}`\n\n\
             hint: `orch {command} --help` says what it takes\n"
        );
        assert_eq!((&*ran.stderr, &*ran.stdout), (&*expected, ""), "{args:?}");
    }
    // What every call takes stands on either side.
    let read = ["tool", "read", r#"{"path":"x"}"#];
    for before in [
        &["--config", "orch.yaml", "--json"][..],
        &["--output", "json", "--config", "orch.yaml"],
        &["-v", "--quiet", "--color", "never", "--config", "orch.yaml"],
    ] {
        context.run(&[before, &read].concat()).exits(0);
    }
}
