use std::sync::Arc;

use serde_json::json;
use wiremock::matchers::{any, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::tools::testing::{Place, run};
use crate::tools::{HttpSettings, ToolContext, ToolStatus};

/// A context that may reach these servers.
fn context(place: &Place, servers: &[&MockServer]) -> ToolContext {
    let mut context = place.context();
    context.http = Arc::new(HttpSettings {
        allow: servers
            .iter()
            .map(|server| server.address().to_string())
            .collect(),
        ..HttpSettings::default()
    });
    context
}

async fn answer(server: &MockServer, at: &str, template: ResponseTemplate) {
    Mock::given(path(at))
        .respond_with(template)
        .mount(server)
        .await;
}

fn redirect(status: u16, to: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).insert_header("location", to)
}

/// What the server saw: method, path, header names, body.
async fn seen(server: &MockServer) -> Vec<(String, String, Vec<String>, String)> {
    let requests = server.received_requests().await.unwrap();
    requests
        .iter()
        .map(|request| {
            let mut names: Vec<String> = request.headers.keys().map(ToString::to_string).collect();
            names.sort();
            let body = String::from_utf8_lossy(&request.body).into_owned();
            (
                request.method.to_string(),
                request.url.path().to_owned(),
                names,
                body,
            )
        })
        .collect()
}

#[tokio::test]
async fn sends_what_was_asked_and_nothing_of_the_user() {
    let (place, server) = (Place::new(), MockServer::start().await);
    let reply = ResponseTemplate::new(201)
        .insert_header("x-a", "b")
        .set_body_string("made");
    Mock::given(any()).respond_with(reply).mount(&server).await;
    let context = context(&place, &[&server]);
    let request = json!({"url": format!("{}/x?y", server.uri()), "method": "post",
        "headers": {"X-Own": "1"}, "body": "{\"a\": 1}"});
    let outcome = run(&context, "http_request", request).await;
    assert_eq!(outcome.status, ToolStatus::Ok);
    let mut lines: Vec<&str> = outcome.content.lines().collect();
    assert_eq!(
        (lines.remove(0), lines.pop()),
        ("HTTP 201 Created", Some("made"))
    );
    assert!(lines.contains(&"x-a: b"), "{lines:?}");
    let names = [
        "accept",
        "accept-encoding",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-own",
    ];
    assert_eq!(
        seen(&server).await,
        [(
            "POST".into(),
            "/x".into(),
            names.map(String::from).to_vec(),
            "{\"a\": 1}".into()
        )]
    );
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_failure_of_the_server_is_told_whole() {
    let (place, server) = (Place::new(), MockServer::start().await);
    let reply =
        ResponseTemplate::new(404).set_body_raw(vec![b'n', 0xfc], "text/plain; charset=latin1");
    answer(&server, "/latin", reply).await;
    answer(
        &server,
        "/binary",
        ResponseTemplate::new(200).set_body_bytes(vec![0; 10]),
    )
    .await;
    let context = context(&place, &[&server]);
    let url = |path: &str| json!({"url": format!("{}{path}", server.uri())});
    let outcome = run(&context, "http_request", url("/latin")).await;
    assert_eq!(outcome.status, ToolStatus::Failed);
    assert!(
        outcome.content.starts_with("HTTP 404 Not Found\n") && outcome.content.ends_with("\n\nnü")
    );
    let outcome = run(&context, "http_request", url("/binary")).await;
    assert!(
        outcome
            .content
            .ends_with("\n\n[a body of 10 bytes that are no text]")
    );
    let outcome = run(&context, "web_fetch", url("/latin")).await;
    let words = format!("`{}/latin` answered 404 Not Found", server.uri());
    assert_eq!(
        (outcome.status, outcome.content),
        (ToolStatus::Failed, words)
    );
}

#[tokio::test]
async fn redirects_are_followed_by_the_rules() {
    let (place, server, other) = (
        Place::new(),
        MockServer::start().await,
        MockServer::start().await,
    );
    let elsewhere = format!("{}/end", other.uri());
    answer(&server, "/see", redirect(302, "/end")).await;
    answer(&server, "/again", redirect(307, "end")).await;
    answer(&server, "/away", redirect(307, &elsewhere)).await;
    answer(&server, "/loop", redirect(302, "/loop")).await;
    answer(&server, "/file", redirect(302, "file:///etc/passwd")).await;
    answer(&server, "/user", redirect(302, "http://a:b@127.0.0.1/")).await;
    for server in [&server, &other] {
        answer(
            server,
            "/end",
            ResponseTemplate::new(200).set_body_string("end"),
        )
        .await;
    }
    let context = context(&place, &[&server, &other]);
    let post = |path: &str| {
        json!({"url": format!("{}{path}", server.uri()), "method": "POST", "body": "x",
            "headers": {"Authorization": "Bearer x", "X-Api-Key": "y", "X-Other": "z"}})
    };
    let mut got = Vec::new();
    for path in ["/see", "/again", "/away"] {
        let outcome = run(&context, "http_request", post(path)).await;
        assert!(
            outcome
                .content
                .starts_with("HTTP 200 OK\n[after 1 redirects: http://127.0.0.1:")
        );
        assert!(outcome.content.ends_with("\n\nend"), "{}", outcome.content);
    }
    for (method, path, names, body) in seen(&server).await.into_iter().chain(seen(&other).await) {
        let kept = names
            .iter()
            .filter(|name| ["authorization", "x-api-key", "x-other"].contains(&name.as_str()));
        got.push(format!("{method} {path} {body:?} {}", kept.count()));
    }
    assert_eq!(
        got,
        [
            "POST /see \"x\" 3",
            "GET /end \"\" 3",
            "POST /again \"x\" 3",
            "POST /end \"x\" 3",
            "POST /away \"x\" 3",
            "POST /end \"x\" 1",
        ]
    );
    for (path, status, words) in [
        ("/loop", ToolStatus::Failed, "more than 5 redirects"),
        (
            "/file",
            ToolStatus::Refused,
            "the scheme `file` is not allowed",
        ),
        (
            "/user",
            ToolStatus::Refused,
            "a user name or password in a URL is not allowed",
        ),
    ] {
        let outcome = run(&context, "http_request", post(path)).await;
        assert_eq!(outcome.status, status, "{path}");
        assert!(
            outcome.content.starts_with(words),
            "{path}: {}",
            outcome.content
        );
    }
}

#[tokio::test]
async fn a_redirect_keeps_the_method_but_for_what_the_rules_turn_into_get() {
    let (place, server) = (Place::new(), MockServer::start().await);
    for status in [301, 302, 303, 304, 307, 308] {
        answer(&server, &format!("/{status}"), redirect(status, "/end")).await;
    }
    let end = ResponseTemplate::new(200).set_body_string("end");
    answer(&server, "/end", end).await;
    let context = context(&place, &[&server]);
    for (method, expected) in [
        ("GET", ["GET", "GET", "GET", "GET", "GET"]),
        ("HEAD", ["HEAD", "HEAD", "HEAD", "HEAD", "HEAD"]),
        ("POST", ["GET", "GET", "GET", "POST", "POST"]),
        ("PUT", ["PUT", "PUT", "GET", "PUT", "PUT"]),
        ("PATCH", ["PATCH", "PATCH", "GET", "PATCH", "PATCH"]),
        ("DELETE", ["DELETE", "DELETE", "GET", "DELETE", "DELETE"]),
    ] {
        for (status, expected) in [301, 302, 303, 307, 308].into_iter().zip(expected) {
            let url = format!("{}/{status}", server.uri());
            let body = (method != "GET" && method != "HEAD").then_some("x");
            let request = json!({"url": url, "method": method, "body": body});
            run(&context, "http_request", request).await;
            let (got, path, _, sent) = seen(&server).await.pop().unwrap();
            let kept = if expected == "GET" || expected == "HEAD" {
                ""
            } else {
                "x"
            };
            assert_eq!(
                (got.as_str(), path.as_str(), sent.as_str()),
                (expected, "/end", kept),
                "{method} {status}"
            );
        }
    }
    let request = json!({"url": format!("{}/304", server.uri())});
    let outcome = run(&context, "http_request", request).await;
    assert!(
        outcome.content.starts_with("HTTP 304 Not Modified\n"),
        "{}",
        outcome.content
    );
}

/// A server that answers one request with these bytes, and is gone or, if asked to, stays mute.
fn raw_server(bytes: Vec<u8>, stays: bool) -> (String, std::thread::JoinHandle<()>) {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 8192]).unwrap() > 0);
        stream.write_all(&bytes).unwrap();
        if stays {
            // Until the client gives up.
            drop(stream.read(&mut [0; 1]));
        }
    });
    (address, thread)
}

#[tokio::test]
async fn what_arrived_of_a_body_is_given() {
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n{rest}\r\n");
    let mut packed = head("content-encoding: gzip\r\ncontent-length: 7\r\n").into_bytes();
    packed.extend_from_slice(b"no gzip");
    for (bytes, stays, status, expected) in [
        (
            (head("content-length: 1000\r\n") + "a part").into_bytes(),
            false,
            ToolStatus::Failed,
            "\n\na part\n[the body broke off: ",
        ),
        (packed, false, ToolStatus::Failed, "[the body broke off: "),
        (
            (head("content-length: 1000\r\n") + "a part").into_bytes(),
            true,
            ToolStatus::TimedOut,
            "\n\na part\n[the body broke off: the rest did not come within 1 s]",
        ),
    ] {
        for tool in ["http_request", "web_fetch"] {
            let place = Place::new();
            let (address, thread) = raw_server(bytes.clone(), stays);
            let mut context = place.context();
            context.http = Arc::new(HttpSettings {
                allow: vec![address.clone()],
                timeout: crate::providers::Seconds(1.0),
            });
            let request = json!({"url": format!("http://{address}/")});
            let outcome = run(&context, tool, request).await;
            // The connection is closed by a task of this runtime, which must not wait for its end.
            let ended = tokio::task::spawn_blocking(move || thread.join().is_ok());
            assert!(ended.await.unwrap());
            assert_eq!(outcome.status, status, "{tool}: {}", outcome.content);
            let expected = match tool {
                "web_fetch" => expected.trim_start(),
                _ => expected,
            };
            assert!(
                outcome.content.contains(expected),
                "{tool}: {}",
                outcome.content
            );
        }
    }
}

#[tokio::test]
async fn a_time_that_is_none_is_refused() {
    let place = Place::new();
    let context = context(&place, &[]);
    for seconds in [json!(-1), json!(0)] {
        let request = json!({"url": "http://127.0.0.1/", "timeout": seconds});
        let outcome = run(&context, "http_request", request).await;
        let words = format!("`timeout` must be more than 0 seconds, not {seconds}");
        assert_eq!(
            (outcome.status, outcome.content),
            (ToolStatus::Failed, words)
        );
    }
}

#[tokio::test]
async fn a_redirect_does_not_lead_to_what_is_not_allowed() {
    let (place, server, other) = (
        Place::new(),
        MockServer::start().await,
        MockServer::start().await,
    );
    answer(&server, "/", redirect(302, &other.uri())).await;
    let context = context(&place, &[&server]);
    for tool in ["http_request", "web_fetch"] {
        let outcome = run(&context, tool, json!({"url": server.uri()})).await;
        assert_eq!(outcome.status, ToolStatus::Refused, "{}", outcome.content);
    }
    assert_eq!(seen(&other).await, []);
}

#[tokio::test]
async fn nothing_local_is_reached_without_being_allowed() {
    let (place, server) = (Place::new(), MockServer::start().await);
    let context = context(&place, &[]);
    let port = server.address().port();
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0177.1",
        "0x7f.0.0.1",
        "[::ffff:127.0.0.1]",
        "0",
    ] {
        let outcome = run(
            &context,
            "http_request",
            json!({"url": format!("http://{host}:{port}/")}),
        )
        .await;
        assert_eq!(
            outcome.status,
            ToolStatus::Refused,
            "{host}: {}",
            outcome.content
        );
        assert!(
            outcome.content.contains("not allowed"),
            "{host}: {}",
            outcome.content
        );
    }
    assert_eq!(seen(&server).await, []);
}

#[tokio::test]
async fn headers_and_methods_that_could_deceive_are_refused() {
    let (place, server) = (Place::new(), MockServer::start().await);
    let context = context(&place, &[&server]);
    for (name, value) in [
        ("X-A", "b\r\nX-Injected: 1"),
        ("X-A\r\nX-B", "1"),
        ("Host", "evil"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("Proxy-Authorization", "x"),
        ("", "x"),
    ] {
        let request = json!({"url": server.uri(), "headers": {name: value}});
        let outcome = run(&context, "http_request", request).await;
        assert_eq!(outcome.status, ToolStatus::Refused, "{name}");
    }
    let request = json!({"url": server.uri(), "method": "CONNECT"});
    assert_eq!(
        run(&context, "http_request", request).await.content,
        "the method `CONNECT` is not allowed"
    );
    assert_eq!(seen(&server).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut context = place.context();
    context.http = Arc::new(HttpSettings {
        allow: vec![address.clone()],
        ..HttpSettings::default()
    });
    let request = json!({"url": format!("http://{address}/"), "timeout": 1.5});
    let outcome = run(&context, "http_request", request).await;
    let words = format!("`http://{address}/` took longer than 1.5 s");
    assert_eq!(
        (outcome.status, outcome.content),
        (ToolStatus::TimedOut, words)
    );
}

#[tokio::test]
async fn a_page_is_fetched_as_text_and_other_text_as_it_is() {
    let (place, server) = (Place::new(), MockServer::start().await);
    let page = |body: &str, media: &str| {
        ResponseTemplate::new(200).set_body_raw(body.as_bytes().to_vec(), media)
    };
    answer(
        &server,
        "/page",
        page("<h1>Title</h1><p>Text", "text/html; charset=utf-8"),
    )
    .await;
    answer(&server, "/data", page("{\"a\": 1}", "application/json")).await;
    Mock::given(method("GET"))
        .and(path("/image"))
        .respond_with(page("\0\0", "image/png"))
        .mount(&server)
        .await;
    let context = context(&place, &[&server]);
    for (path, expected) in [
        ("/page", "# Title\n\nText\n".to_owned()),
        ("/data", "{\"a\": 1}".to_owned()),
        (
            "/image",
            format!("`{}/image` is no text but `image/png`", server.uri()),
        ),
    ] {
        let outcome = run(
            &context,
            "web_fetch",
            json!({"url": format!("{}{path}", server.uri())}),
        )
        .await;
        assert_eq!(outcome.content, expected);
    }
}

#[tokio::test]
async fn https_speaks_tls_and_nothing_else() {
    let (place, server) = (Place::new(), MockServer::start().await);
    let context = context(&place, &[&server]);
    let url = format!("https://{}/", server.address());
    let outcome = run(&context, "http_request", json!({"url": url})).await;
    assert_eq!(outcome.status, ToolStatus::Failed);
    assert!(
        outcome.content.contains("could not be reached")
            && outcome.content.contains("corrupt message"),
        "{}",
        outcome.content
    );
}
