//! Readers that are there and do not read, and files that do not come: clocks and signals end a run all the same.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use expectrl::Expect as _;
use expectrl::process::unix::WaitStatus;
use expectrl::session::OsSession;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use serde_json::{Value, json};

use crate::bad_input::kill;
use crate::sandbox::{processes_with, until};
use crate::support::{Context, Ran, Stub, agent_config, ran, stub, terminal::Terminal};

/// A run that is to end must do so within this: its reader is waited for a second, and a machine may be busy. It is
/// a bound against hangs, not a measure.
const BOUND: Duration = Duration::from_mins(1);

/// Bytes of an answer that no pipe holds, and that is within what a model is asked for at most.
const LARGE: usize = 120_000;

const SIGNALS: [(i32, i32); 2] = [(libc::SIGINT, 130), (libc::SIGTERM, 143)];

/// A model that says much and then nothing more.
fn hanging() -> Stub {
    Stub::start(|_| {
        let text = "word ".repeat(LARGE / 5);
        let much = stub::event(&stub::chunk(&json!({"content": text}), None));
        vec![stub::stream_head(), much, stub::Do::Hang]
    })
}

/// A pipe that takes not a byte more, and its reader.
fn full() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

/// Waits until a pipe takes not a byte more.
#[track_caller]
fn fills(writer: &PipeWriter) {
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    until("a full pipe", || {
        let mut asked = [PollFd::new(writer, PollFlags::OUT)];
        poll(&mut asked, Some(&at_once)).unwrap() == 0
    });
}

/// Waits for the end of a process, which must come in time.
#[track_caller]
fn in_time(child: Child) -> Ran {
    let begun = Instant::now();
    let ended = ran(child.wait_with_output().unwrap());
    assert!(begun.elapsed() < BOUND, "{:?} {ended:#?}", begun.elapsed());
    ended
}

#[track_caller]
fn settled(context: &Context) {
    let costs = context.orch(&["--costs", "--json"]).exits(0).json();
    assert_eq!(costs["held_usd"], "0.000000", "{costs:#}");
}

fn ask(context: &Context, more: &[&str]) -> Command {
    let args = ["--config", "orch.yaml", "--agent", "a", "--prompt", "x"];
    context.command(&[&args[..], more].concat())
}

#[test]
fn a_signal_ends_a_run_whose_answer_nobody_reads() {
    for (signal, code) in SIGNALS {
        for form in ["text", "stream-json"] {
            let server = hanging();
            let context = Context::with_agent(&server.url(), "");
            let (_reader, writer) = std::io::pipe().unwrap();
            let child = ask(&context, &["--output", form])
                .stdout(writer.try_clone().unwrap())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            fills(&writer);
            kill(child.id(), signal);
            let ended = in_time(child);
            assert_eq!(ended.code, code, "{form} {ended:#?}");
            if form == "text" {
                let word = ["interrupted", "terminated by a signal"];
                let said = |word: &&str| ended.stderr.matches(*word).count();
                assert_eq!(word.iter().map(said).sum::<usize>(), 1, "{ended:#?}");
            }
            settled(&context);
        }
    }
}

#[test]
fn a_result_that_nobody_reads_holds_up_no_signal_and_no_deadline() {
    let server = Stub::start(|_| stub::text(&"word ".repeat(LARGE / 5)));
    for form in ["text", "json", "stream-json"] {
        for (signal, code) in [
            (Some(libc::SIGINT), 130),
            (Some(libc::SIGTERM), 143),
            (None, 6),
        ] {
            let context = Context::with_agent(&server.url(), "");
            let (_reader, writer) = std::io::pipe().unwrap();
            let limit: &[&str] = if signal.is_none() {
                &["--timeout", "5"]
            } else {
                &[]
            };
            let child = ask(&context, &[&["--output", form], limit].concat())
                .stdout(writer.try_clone().unwrap())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            fills(&writer);
            if let Some(signal) = signal {
                kill(child.id(), signal);
            }
            let ended = in_time(child);
            assert_eq!(ended.code, code, "{form} {ended:#?}");
            assert_eq!(
                ended.stderr.matches("error: ").count(),
                1,
                "{form} {ended:#?}"
            );
            settled(&context);
        }
    }
}

#[test]
fn several_agents_and_tasks_end_too() {
    let server = hanging();
    let context = Context::new();
    let config = agent_config(&server.url(), "");
    let more = "  b: {role: You are b., provider: stub, model: stub-model}\n\
                tasks:\n  t: {steps: [{agent: a, prompt: P}]}\n";
    context.write("orch.yaml", format!("{config}{more}"));
    for args in [&["--all", "--prompt", "x"][..], &["--task", "t"]] {
        let (reader, writer) = full();
        let asked = server.chats().len();
        let child = context
            .command(&[&["--config", "orch.yaml", "--output", "stream-json"], args].concat())
            .stdout(writer)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A task waits with its first word for the reader of it.
        if args.contains(&"--all") {
            until("a question", || server.chats().len() > asked);
        } else {
            until("its run", || {
                server.chats().len() > asked || {
                    let runs = context.orch(&["--runs", "--json"]).json();
                    runs.as_array().is_some_and(|runs| !runs.is_empty())
                }
            });
        }
        kill(child.id(), libc::SIGINT);
        let ended = in_time(child);
        assert_eq!(ended.code, 130, "{args:?} {ended:#?}");
        drop(reader);
        settled(&context);
    }
}

#[test]
fn standard_error_that_nobody_reads_leaves_the_result_whole() {
    for (signal, code) in SIGNALS {
        let server = Stub::start(|_| {
            let begun = stub::event(&stub::chunk(&json!({"content": "begun"}), None));
            vec![stub::stream_head(), begun, stub::Do::Hang]
        });
        let context = Context::with_agent(&server.url(), "");
        let (reader, writer) = full();
        let child = ask(&context, &["--json", "-vv"])
            .stdout(Stdio::piped())
            .stderr(writer)
            .spawn()
            .unwrap();
        until("a question", || !server.chats().is_empty());
        kill(child.id(), signal);
        let ended = in_time(child);
        let result: Value = ended.json();
        assert_eq!(
            (ended.code, &result["error"]["class"]),
            (code, &"interrupted".into()),
            "{ended:#?}"
        );
        drop(reader);
        settled(&context);
    }
}

#[test]
fn a_reader_that_takes_its_time_gets_everything() {
    let server = Stub::start(|_| stub::text(&"word ".repeat(LARGE / 5)));
    let context = Context::with_agent(&server.url(), "");
    for form in ["text", "json", "stream-json"] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = ask(&context, &["--output", form]);
        let mut child = command
            .stdout(writer.try_clone().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        drop(command);
        fills(&writer);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success());
        let answer = match form {
            "text" => text.trim_end_matches('\n').to_owned(),
            "json" => serde_json::from_str::<Value>(&text).unwrap()["output"]
                .as_str()
                .unwrap()
                .to_owned(),
            _ => {
                let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
                assert_eq!(last["type"], "result");
                last["output"].as_str().unwrap().to_owned()
            }
        };
        assert!(
            answer.trim_end() == "word ".repeat(LARGE / 5).trim_end(),
            "{form} {}",
            answer.len()
        );
    }
}

#[test]
fn files_that_do_not_come_hold_up_no_signal() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    let pipe = context.work().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for flags in [
        &["--config", "orch.yaml", "--prompt-file", "pipe"][..],
        &[
            "--config",
            "orch.yaml",
            "--prompt",
            "x",
            "--context",
            "pipe",
        ],
        &["--config", "pipe", "--prompt", "x"],
    ] {
        for (signal, code) in SIGNALS {
            let child = context
                .command(&[&["--output", "stream-json", "--agent", "a"], flags].concat())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // Whoever opens the other end waits for the reader.
            let writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
            kill(child.id(), signal);
            let ended = in_time(child);
            drop(writer);
            let result: Value = serde_json::from_str(ended.stdout.trim_end()).unwrap();
            assert_eq!(
                (ended.code, &result["error"]["class"]),
                (code, &"interrupted".into()),
                "{flags:?} {ended:#?}"
            );
        }
    }
}

#[test]
fn a_signal_at_any_moment_of_the_start_ends_it_with_one_result_or_none_begun() {
    let server = hanging();
    let context = Context::with_agent(&server.url(), "");
    let (mut without, mut with) = (0, 0);
    for step in 0_u32.. {
        // A busy machine starts it later.
        if step >= 60 && with > 0 {
            break;
        }
        assert!(step < 10_000, "{without} without a result");
        let (signal, code) = SIGNALS[step as usize % 2];
        let child = ask(&context, &["--output", "stream-json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Not a wait for something: the moments of a start, one after the other.
        std::thread::sleep(Duration::from_micros(300) * step);
        kill(child.id(), signal);
        let ended = in_time(child);
        assert_eq!(ended.code, code, "{step} {ended:#?}");
        if ended.stdout.is_empty() {
            without += 1;
            continue;
        }
        with += 1;
        let lines = ended.json_lines();
        let last = lines.last().unwrap();
        assert_eq!(
            (&last["type"], &last["error"]["class"]),
            (&json!("result"), &json!("interrupted")),
            "{step} {ended:#?}"
        );
    }
    settled(&context);
}

#[test]
fn lists_and_tools_tell_signals_apart() {
    let server = Stub::start(|_| vec![stub::Do::Hang]);
    let context = Context::with_agent(&server.url(), "");
    for (signal, code) in SIGNALS {
        let asked = server.seen().len();
        let child = context
            .command(&["--config", "orch.yaml", "--json", "--health"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("a question", || server.seen().len() > asked);
        kill(child.id(), signal);
        let ended = in_time(child);
        assert_eq!(
            (ended.code, &ended.json()["error"]["class"]),
            (code, &"interrupted".into()),
            "{ended:#?}"
        );
    }
}

#[test]
fn a_tool_ends_with_all_that_it_started() {
    let context = Context::with_agent("http://127.0.0.1:9/v1", "");
    for form in [&[][..], &["--json"]] {
        for (signal, code) in SIGNALS {
            let token = format!("token-{:016x}", fastrand::u64(..));
            let script = format!(
                "setsid -f bash -c 'trap \"\" TERM INT; sleep 300; : {token}'; trap '' TERM INT; touch ready; \
                 sleep 300; : {token}"
            );
            let parameters = json!({"command": script}).to_string();
            let args = ["--config", "orch.yaml", "tool", "bash", &parameters];
            let child = context
                .command(&[&args[..], form].concat())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let ready = context.work().join("ready");
            until("a command that runs", || ready.exists());
            assert!(!processes_with(&token).is_empty());
            kill(child.id(), signal);
            let ended = in_time(child);
            assert_eq!(ended.code, code, "{ended:#?}");
            assert_eq!(processes_with(&token), [""; 0], "{ended:#?}");
            assert_eq!(ended.stderr.matches("error: ").count(), 1, "{ended:#?}");
            if !form.is_empty() {
                assert_eq!(ended.json()["error"]["class"], "interrupted", "{ended:#?}");
            }
            std::fs::remove_file(ready).unwrap();
        }
    }
}

#[test]
fn a_reader_that_goes_ends_a_command_that_writes_nothing() {
    for form in ["text", "stream-json"] {
        let token = format!("token-{:016x}", fastrand::u64(..));
        let script = format!("touch ready; sleep 300; : {token}");
        let server = Stub::start(move |seen| match seen.tool_messages().len() {
            0 => stub::tool_calls(&[("c", "bash", json!({"command": script}))]),
            _ => stub::text("Done."),
        });
        let context = Context::with_agent(&server.url(), "");
        let yaml = agent_config(&server.url(), "").replace("tools: [", "tools: [bash, ");
        std::fs::write(context.work().join("orch.yaml"), yaml).unwrap();
        let mut child = ask(&context, &["--output", form])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ready = context.work().join("ready");
        until("a command that runs", || ready.exists());
        drop(child.stdout.take());
        let ended = in_time(child);
        assert_eq!(ended.code, 0, "{form} {ended:#?}");
        assert_eq!(processes_with(&token), [""; 0], "{ended:#?}");
        assert_eq!(server.seen().len(), 1, "the model is asked no more");
        settled(&context);
    }
}

#[test]
fn a_full_disk_where_the_output_goes_is_told() {
    let server = Stub::replies([stub::text("Hello.")]);
    let context = Context::with_agent(&server.url(), "");
    let run = ["--config", "orch.yaml", "--agent", "a", "--prompt", "x"];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    let cases = [
        with(&[]),
        with(&["--json"]),
        with(&["--output", "stream-json"]),
        vec!["--config", "orch.yaml", "--all", "--prompt", "x"],
        vec!["--config", "orch.yaml", "--status"],
        vec!["--config", "orch.yaml", "--costs", "--json"],
        vec!["--config", "orch.yaml", "--costs", "--csv"],
        vec!["--config", "orch.yaml", "tool", "list_dir", "{}"],
        vec!["schema"],
        vec!["--help"],
        vec!["--version"],
    ];
    for args in cases {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        let child = context
            .command(&args)
            .stdout(full.unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ended = in_time(child);
        assert_eq!(ended.code, 1, "{args:?} {ended:#?}");
        let told =
            "error: standard output cannot be written: No space left on device (os error 28)\n";
        assert!(ended.stderr.contains(told), "{args:?} {ended:#?}");
        assert_eq!(
            ended.stderr.matches("error: ").count(),
            1,
            "{args:?} {ended:#?}"
        );
    }
    settled(&context);
}

/// Whether a process has left something to be written when its terminal takes it.
fn is_stuck(id: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    threads.flatten().any(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm"));
        name.is_ok_and(|name| name == "output\n")
    })
}

#[test]
fn a_terminal_that_shows_nothing_more_holds_up_no_signal() {
    let server = hanging();
    let context = Context::with_agent(&server.url(), "");
    for stopped in [false, true] {
        for (signal, code) in SIGNALS {
            let mut command = ask(&context, &[]);
            command.env("TERM", "dumb").stdin(Stdio::inherit());
            let mut terminal = OsSession::spawn(command).unwrap();
            if stopped {
                terminal.send("\x13").unwrap();
            }
            let id = terminal.get_process().pid().as_raw();
            until("a full terminal", || is_stuck(id));
            let begun = Instant::now();
            kill(u32::try_from(id).unwrap(), signal);
            let status = terminal.get_process().wait().unwrap();
            assert!(
                begun.elapsed() < BOUND
                    && matches!(status, WaitStatus::Exited(_, exit) if exit == code),
                "{stopped} {:?} {status:?}",
                begun.elapsed()
            );
            settled(&context);
        }
    }
}

#[test]
fn a_session_on_a_terminal_that_was_stopped_ends_too() {
    let server = hanging();
    let context = Context::with_agent(&server.url(), "");
    let mut command = context.command(&["--config", "orch.yaml"]);
    command.env("TERM", "xterm");
    let mut terminal = Terminal::start(command, 80, 24);
    terminal.prompt("[a] >");
    terminal.line("go");
    terminal.shows(" tokens · ");
    terminal.keys("\x13");
    let id = terminal.id();
    until("a full terminal", || is_stuck(id));
    kill(u32::try_from(id).unwrap(), libc::SIGTERM);
    terminal.ends(143);
    settled(&context);
}
