//! Connections that are refused, reset, cut, slow or not secured as they should be.

use serde_json::json;

use super::row::{Charged, Row, answered, check_all, failed};
use super::script::{all, answer, choice, events, head, send, status, wait};
use super::server::{Secure, Step};

fn again(name: &str, bad: Vec<Step>, charged: Charged) -> Row {
    Row {
        ledger: vec![("network", charged), ("answered", Charged::Told)],
        apart: 50,
        ..answered(name, vec![bad, answer()])
    }
}

#[test]
fn connections_that_break_before_the_answer_are_made_again() {
    let read = |more: Vec<Step>| all([vec![Step::Read], more]);
    check_all(&[
        again(
            "reset before the request is read",
            vec![wait(100), Step::Reset],
            Charged::Held,
        ),
        again("reset at once", vec![Step::Reset], Charged::Unsure),
        again("closed at once", vec![], Charged::Unsure),
        again(
            "reset after the request",
            read(vec![Step::Reset]),
            Charged::Held,
        ),
        again("closed after the request", read(vec![]), Charged::Held),
        again(
            "reset inside the head",
            read(vec![
                send("HTTP/1.1 200 OK\r\ncontent-ty"),
                wait(50),
                Step::Reset,
            ]),
            Charged::Held,
        ),
        again(
            "closed inside the head",
            read(vec![send("HTTP/1.1 200 OK\r\ncontent-ty")]),
            Charged::Held,
        ),
        again(
            "no HTTP at all",
            read(vec![send("SSH-2.0-OpenSSH_9.9\r\n")]),
            Charged::Held,
        ),
        again(
            "HTTP of 1990",
            read(vec![send("<html>hello</html>")]),
            Charged::Held,
        ),
        again(
            "a status that is no number",
            read(vec![send("HTTP/1.1 abc Hm\r\n\r\n")]),
            Charged::Held,
        ),
        again(
            "a header without a name",
            read(vec![send("HTTP/1.1 200 OK\r\n: x\r\n\r\n")]),
            Charged::Held,
        ),
        again(
            "a head of a megabyte",
            read(vec![Step::Send(head(
                200,
                &format!("x: {}", "y".repeat(1 << 20)),
                None,
            ))]),
            Charged::Held,
        ),
        again(
            "a thousand headers",
            read(vec![Step::Send(head(200, &"x: y\n".repeat(1000), None))]),
            Charged::Held,
        ),
        again(
            "two lengths",
            read(vec![send(
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
            )]),
            Charged::Held,
        ),
        Row {
            apart: 50,
            ..failed(
                "reset for ever",
                vec![vec![Step::Reset]],
                5,
                [("network", Charged::Unsure); 3],
            )
        },
    ]);
}

#[test]
fn a_server_that_is_not_there_is_tried_as_often_as_allowed() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", nobody.local_addr().unwrap());
    drop(nobody);
    check_all(&[Row {
        url: Some(url),
        connections: Some(0..=0),
        says: vec!["Connection refused", "running on this machine?"],
        ..failed("refused", vec![], 5, [("network", Charged::Nothing); 3])
    }]);
}

#[test]
fn a_connection_that_is_kept_may_be_gone_when_it_is_needed_again() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c1", "type": "function",
        "function": {"name": "list_dir", "arguments": "{}"}}]});
    let body = events(&[
        choice(&call, Some("tool_calls")),
        json!({"choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 5}}),
    ]);
    let body = format!("{body}data: [DONE]\n\n");
    let kept = vec![
        Step::Read,
        send(&format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )),
    ];
    let told = ("answered", Charged::Told);
    check_all(&[
        Row {
            ledger: vec![told, told],
            ..answered("closed between two turns", vec![kept.clone(), answer()])
        },
        Row {
            ledger: vec![told, told],
            connections: Some(1..=1),
            ..answered("kept", vec![all([kept.clone(), answer()])])
        },
        Row {
            ledger: vec![told, ("network", Charged::Held), told],
            connections: Some(2..=2),
            ..answered(
                "reset in the second turn",
                vec![all([kept.clone(), vec![Step::Read, Step::Reset]]), answer()],
            )
        },
        Row {
            ledger: vec![told, ("network", Charged::Held), told],
            connections: Some(2..=2),
            ..answered(
                "closed in the second turn",
                vec![all([kept, vec![Step::Read]]), answer()],
            )
        },
    ]);
}

#[test]
fn tls_that_is_slow_broken_or_not_to_be_trusted() {
    let secured = |secure, row: Row| Row { secure, ..row };
    let slow = all([vec![wait(700)], answer()]);
    let clock: &[(&str, &str)] = &[
        ("max_retries", "1"),
        ("clocks", "{connect: 0.5, first_event: 20, idle: 20}"),
    ];
    let mut rows = vec![
        secured(Secure::Yes, answered("good TLS", vec![answer()])),
        secured(
            Secure::Yes,
            answered("a slow handshake", vec![slow.clone()]),
        ),
        secured(
            Secure::Yes,
            Row {
                settings: clock,
                says: vec!["within 0.5 s"],
                ..failed(
                    "a handshake that takes too long",
                    vec![all([vec![wait(3000)], answer()])],
                    5,
                    [("network", Charged::Nothing); 2],
                )
            },
        ),
        secured(
            Secure::Yes,
            again(
                "reset before the handshake",
                vec![Step::Reset],
                Charged::Nothing,
            ),
        ),
        secured(
            Secure::Yes,
            again(
                "reset after the handshake",
                vec![Step::Read, Step::Reset],
                Charged::Held,
            ),
        ),
        secured(
            Secure::Yes,
            Row {
                ledger: vec![
                    ("overloaded", Charged::Nothing),
                    ("answered", Charged::Told),
                ],
                ..answered("503 over TLS", vec![status(503, "", ""), answer()])
            },
        ),
        Row {
            secure: Secure::Pretended,
            says: vec!["no connection to"],
            ..failed(
                "https that is http",
                vec![vec![send("HTTP/1.1 400 Bad Request\r\n\r\n"), Step::Hang]],
                5,
                [("network", Charged::Nothing); 3],
            )
        },
    ];
    for (secure, name) in [
        (Secure::Unknown, "an authority that nobody knows"),
        (Secure::Expired, "a certificate whose time is over"),
        (Secure::Other, "a certificate for somebody else"),
    ] {
        rows.push(secured(
            secure,
            Row {
                says: vec!["certificate", "SSL_CERT_FILE"],
                ..failed(name, vec![answer()], 5, [("network", Charged::Nothing)])
            },
        ));
    }
    check_all(&rows);
}
