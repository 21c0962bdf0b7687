//! Talking to a running command through the library.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use orch::process::{Caps, Cause, Input};
use orch::redact::Redactor;
use orch::sandbox::{Bind, Command, Program, SandboxError};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Place, processes_with, until};

const CAPS: Caps = Caps {
    deadline: Duration::from_secs(30),
    kept: 1 << 16,
    output: 1 << 30,
};

#[tokio::test]
async fn input_is_streamed_and_output_read_while_it_runs() {
    let place = Place::new();
    let mut command = Command::script(
        &place.shared_policy(),
        "while read line; do echo got $line; done; echo end",
    );
    command.input = Input::Pipe;
    let mut child = command.spawn().await.unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for word in ["one", "two"] {
        stdin
            .write_all(format!("{word}\n").as_bytes())
            .await
            .unwrap();
        let mut answer = vec![0; 8];
        stdout.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, format!("got {word}\n").as_bytes());
    }
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "end\n");
    let ended = child.wait().await.unwrap();
    assert!(ended.status.unwrap().success());
}

#[tokio::test]
async fn signals_reach_the_command() {
    let place = Place::new();
    let script = "trap 'echo interrupted; exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let mut child = Command::script(&place.shared_policy(), script)
        .spawn()
        .await
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).await.unwrap();
    child.signal(Signal::INT);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "interrupted\n");
    assert_eq!(child.wait().await.unwrap().status.unwrap().code(), Some(7));
}

#[tokio::test]
async fn dropping_and_killing_end_everything() {
    let place = Place::new();
    let token = format!("token-{:016x}", fastrand::u64(..));
    let script =
        format!("(setsid bash -c 'sleep 300; : {token}' &); echo ready; sleep 300; : {token}");
    for kill in [false, true] {
        let mut child = Command::script(&place.shared_policy(), &script)
            .spawn()
            .await
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut ready = [0; 6];
        stdout.read_exact(&mut ready).await.unwrap();
        assert!(!processes_with(&token).is_empty());
        if kill {
            child.kill();
            let ended = child.wait().await.unwrap();
            assert_eq!((ended.status, ended.limit), (None, None));
        } else {
            drop(child);
        }
        until("the end of the command", || {
            processes_with(&token).is_empty()
        });
    }
}

#[tokio::test]
async fn a_caller_listens_inside() {
    let place = Place::new();
    let mut command = Command::script(
        &place.shared_policy(),
        "curl -s -m 5 http://127.0.0.1:8765/",
    );
    command.listen = Some(8765);
    let mut child = command.spawn().await.unwrap();
    let listener = child.listener.take().unwrap();
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let served = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let read = stream.read(&mut request).await.unwrap();
        assert!(request[..read].starts_with(b"GET / "));
        stream
            .write_all(b"HTTP/1.0 200 OK\r\n\r\nfrom outside")
            .await
            .unwrap();
    };
    let (outcome, ()) = tokio::join!(child.finish(CAPS), served);
    let outcome = outcome.unwrap();
    assert_eq!(
        outcome.finished.stdout.text(&Redactor::default()),
        "from outside"
    );
    assert_eq!(outcome.finished.cause, Cause::Itself);
}

#[tokio::test]
async fn binds_and_programs() {
    let place = Place::new();
    place.write(
        "outside/tool",
        "#!/bin/bash\necho tool $1; cat state/x; echo written > state/y; ls work; echo x > work/x",
    );
    place.write("outside/state/x", "state\n");
    place.write("work/mine", "");
    std::fs::set_permissions(
        place.path("outside/tool"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let listener = std::os::unix::net::UnixListener::bind(place.path("outside/socket")).unwrap();
    let bind = |source: &str, target: &str, write| Bind {
        source: place.path(source),
        target: target.into(),
        write,
    };
    let command = Command {
        program: Program::Arguments(vec!["/run/tool".into(), "one argument".into()]),
        directory: "/run".into(),
        binds: vec![
            bind("outside/tool", "/run/tool", false),
            bind("outside/state", "/run/state", true),
            bind("work", "/run/work", false),
            bind("outside/socket", "/run/socket", true),
        ],
        workspace: false,
        ..Command::script(&place.shared_policy(), "")
    };
    let outcome = command.run(CAPS.deadline).await.unwrap();
    assert_eq!(
        outcome.finished.stdout.text(&Redactor::default()),
        "tool one argument\nstate\nmine\n"
    );
    assert!(
        outcome
            .finished
            .stderr
            .text(&Redactor::default())
            .contains("Read-only file system")
    );
    assert_eq!(place.read("outside/state/y"), "written\n");
    let connecting = Command {
        program: Program::Script(
            "python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/run/socket\")'"
                .into(),
        ),
        ..command
    };
    let outcome = connecting.run(CAPS.deadline).await.unwrap();
    assert_eq!(outcome.finished.stderr.text(&Redactor::default()), "");
    listener.accept().unwrap();
    assert!(!place.path("work/x").exists());
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_named() {
    let place = Place::new();
    let missing = Command {
        program: Program::Arguments(vec!["no-such-program".into()]),
        ..Command::script(&place.shared_policy(), "")
    };
    let error = missing.run(CAPS.deadline).await.unwrap_err();
    assert!(
        matches!(&error, SandboxError::NotStarted { program, .. } if program == "no-such-program"),
        "{error:?}"
    );
    place.write("work/no-program", "text");
    std::fs::set_permissions(
        place.path("work/no-program"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let wrong = Command {
        program: Program::Arguments(vec![place.path("work/no-program").into()]),
        ..Command::script(&place.shared_policy(), "")
    };
    let error = wrong.run(CAPS.deadline).await.unwrap_err();
    assert!(
        matches!(&error, SandboxError::NotStarted { .. }) || error.to_string().contains("answer"),
        "{error:?}"
    );
}
