//! Keys that must not come out anywhere: in every form in which they travel, by every way in which they get in,
//! looked for on every surface.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{Context, Ran, Stub, agent_config, stub};

/// A key that can stand in a name.
const PLAIN: &str = "cnry_Q7Xz93kdLm-84TrWbY2vHs";

/// A key with everything that gets escaped somewhere, longer than a line of `base64`.
const RICH: &str =
    "cnr+/ Zq\"8&k=Tw<5>%Jd'x9~Lp2\\Vn7.Rb4;Gm1,Hs6|Yf3@Dc0#Kt8$Xe5^Wa2*Qu9(Mo7)Ij4!Uz6?Sl1";

/// A key of the `.env` file.
const FILED: &str = "cnry.Filed.5hB8nC2xM7kQ";

const KEYS: [&str; 3] = [PLAIN, RICH, FILED];

/// A key in the forms in which it travels.
fn forms(key: &str) -> Vec<String> {
    let hexadecimal = hexadecimal(key);
    let percent = format!("%{}", hexadecimal.join("%"));
    let escaped: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
    let unicode = format!("\\u00{}", hexadecimal.join("\\u00"));
    let wrapped = |text: String, width: usize| {
        let lines: Vec<&[u8]> = text.as_bytes().chunks(width).collect();
        String::from_utf8(lines.join(&b'\n')).unwrap()
    };
    let mut forms = vec![
        key.to_owned(),
        json!(key).to_string(),
        json!(json!(key).to_string()).to_string(),
        wrapped(key.to_owned(), 7),
        hexadecimal.concat(),
        hexadecimal.concat().to_uppercase(),
        hexadecimal.join(" "),
        wrapped(hexadecimal.concat(), 60),
        percent.to_uppercase(),
        percent,
        lower_escapes(&escaped),
        escaped.replace('+', "%20"),
        escaped,
        unicode,
        key.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;"),
    ];
    // In three parts, which is as short as parts can be told from other texts.
    let characters: Vec<char> = key.chars().collect();
    let third = characters.len().div_ceil(3);
    if third >= 9 {
        forms.extend(characters.chunks(third).map(String::from_iter));
    }
    for before in ["", "u", "us", "user:"] {
        for after in ["", "\n", "@host"] {
            let text = format!("{before}{key}{after}");
            forms.push(STANDARD.encode(&text));
            forms.push(URL_SAFE_NO_PAD.encode(&text));
            forms.push(wrapped(STANDARD.encode(&text), 76));
        }
    }
    forms
}

fn hexadecimal(key: &str) -> Vec<String> {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn lower_escapes(text: &str) -> String {
    let mut pieces = text.split('%');
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |all, piece| {
        let (escape, rest) = piece.split_at(2);
        format!("{all}%{}{rest}", escape.to_lowercase())
    })
}

/// All forms of all keys, a line or more each.
fn everything() -> String {
    let lines: Vec<String> = KEYS
        .iter()
        .flat_map(|key| forms(key))
        .enumerate()
        .map(|(number, form)| format!("form {number}: {form} .\n"))
        .collect();
    lines.concat()
}

/// Parts of keys in a text, however they are written.
fn leaks(text: &str) -> Vec<String> {
    let folded: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    let plain = folded.replace('\\', "");
    let mut leaks = Vec::new();
    for key in KEYS {
        let key: String = key.chars().filter(|char| !char.is_whitespace()).collect();
        let mut parts: Vec<String> = windows(&key.replace('\\', ""), 8);
        let hexadecimal = hexadecimal(&key).concat();
        parts.extend(windows(&hexadecimal, 12));
        parts.extend(windows(&hexadecimal.to_uppercase(), 12));
        for part in parts {
            if plain.contains(&part) {
                leaks.push(part);
            }
        }
    }
    for key in KEYS {
        for before in ["", "u", "us"] {
            let all = STANDARD.encode(format!("{before}{key}"));
            let inner = all.trim_end_matches('=');
            for part in windows(inner.get(before.len() + 1..).unwrap_or_default(), 6) {
                if folded.contains(&part)
                    || folded.contains(&part.replace('+', "-").replace('/', "_"))
                {
                    leaks.push(part);
                }
            }
            // The last group, which is masked with what it follows.
            let end = inner.get(inner.len() - 5..).unwrap_or_default();
            if folded.contains(end) {
                leaks.push(end.to_owned());
            }
        }
    }
    leaks
}

fn windows(text: &str, width: usize) -> Vec<String> {
    let all: Vec<char> = text.chars().collect();
    all.windows(width)
        .map(|part| part.iter().collect())
        .collect()
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    let found = leaks(text);
    assert!(
        found.is_empty(),
        "{what} holds {} parts of keys: {:?}\n{}",
        found.len(),
        found.iter().take(3).collect::<Vec<_>>(),
        lines_with(text, found.first().map_or("", String::as_str))
    );
}

fn lines_with(text: &str, part: &str) -> String {
    let folded: Vec<char> = text
        .chars()
        .filter(|char| !char.is_whitespace() && *char != '\\')
        .collect();
    let part: Vec<char> = part.chars().collect();
    let at = folded
        .windows(part.len())
        .position(|window| window == part)
        .unwrap_or(0);
    folded
        .iter()
        .skip(at.saturating_sub(200))
        .take(500)
        .collect()
}

/// Looks at every file below a directory, but for those that the test wrote.
fn assert_files_clean(directory: &Path, seen: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            assert_files_clean(&path, seen);
        } else if !["forms.txt", ".env", "orch.yaml", PLAIN]
            .iter()
            .any(|own| name.contains(own))
        {
            let bytes = std::fs::read(&path).unwrap();
            assert_clean(&name, &String::from_utf8_lossy(&bytes));
            seen.push(
                path.extension()
                    .map_or_else(String::new, |end| end.to_string_lossy().into_owned()),
            );
        }
    }
}

fn assert_ran_clean(what: &str, ran: &Ran) {
    assert_clean(&format!("{what}: standard output"), &ran.stdout);
    assert_clean(&format!("{what}: standard error"), &ran.stderr);
}

/// Every canary is a known secret of this run.
fn context(server: &Stub, settings: &str) -> Context {
    let context = Context::new();
    let tools = "bash, read, write, edit, glob, grep, list_dir, http_request, web_fetch";
    context.write(
        "orch.yaml",
        agent_config(
            &server.url(),
            "tasks: {t: {steps: [{id: s, agent: a, prompt: go}, \
             {id: c, run: \"cat forms.txt\"}]}}\n",
        )
        .replace("read, write, edit, glob, grep, list_dir", tools)
        .replace(
            "max_retries: 0",
            &format!("http: {{allow: [\"{}\"]}}, {settings}", server.address()),
        )
        .replace("/v1\"}", "/v1\", api_key_env: LAB_KEY}"),
    );
    context.write(".env", format!("FILED_SECRET={FILED}\n"));
    context.write("forms.txt", everything());
    context.write(&format!("named-{PLAIN}.txt"), "content\n");
    context
}

fn run(context: &Context, args: &[&str]) -> Ran {
    let mut all = vec!["--config", "orch.yaml"];
    all.extend(args);
    let mut command = context.command(&all);
    command.env("LAB_KEY", PLAIN).env("DEPLOY_TOKEN", RICH);
    crate::support::ran(command.output().unwrap())
}

/// A model that says every form of every key, cut in the middle, and calls every tool with them.
fn talkative(address: String) -> impl Fn(&stub::Seen) -> Vec<stub::Do> {
    move |seen| {
        if seen.path.starts_with("/echo") {
            let headers = [("x-echo", PLAIN), ("set-cookie", FILED)];
            return stub::status(200, &headers, &everything());
        }
        if seen.path.starts_with("/missing") {
            return stub::status(404, &[("www-authenticate", PLAIN)], &everything());
        }
        let all: Vec<char> = everything().chars().collect();
        let is_first = seen.tool_messages().is_empty();
        let mut sent = vec![stub::stream_head()];
        for name in ["reasoning", "content"] {
            for piece in all.chunks(11) {
                let text: String = piece.iter().collect();
                sent.push(stub::event(&stub::chunk(&json!({name: text}), None)));
            }
        }
        let mut calls: Vec<(String, Value)> = Vec::new();
        if is_first {
            let everything = everything();
            calls = vec![
                (
                    "bash".into(),
                    json!({"command": "cat forms.txt; cat forms.txt >&2; exit 3"}),
                ),
                (
                    "bash".into(),
                    json!({"command": format!("echo '{PLAIN}'; false # {everything}")}),
                ),
                ("read".into(), json!({"path": "forms.txt"})),
                ("read".into(), json!({"path": format!("no-{PLAIN}/{RICH}")})),
                ("grep".into(), json!({"path": ".", "pattern": "form"})),
                ("glob".into(), json!({"pattern": "**"})),
                ("list_dir".into(), json!({})),
                (
                    "edit".into(),
                    json!({"path": "named", "old_string": everything, "new_string": PLAIN}),
                ),
                (
                    "http_request".into(),
                    json!({"url": format!("http://{address}/echo?{PLAIN}"),
                    "headers": {"x-key": PLAIN}}),
                ),
                (
                    "http_request".into(),
                    json!({"url": format!("http://{address}/missing")}),
                ),
                (
                    "web_fetch".into(),
                    json!({"url": format!("http://{address}/echo")}),
                ),
                (format!("get_{PLAIN}"), json!({PLAIN: RICH})),
            ];
        }
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(index, (name, arguments))| {
                json!({"index": index, "id": format!("call_{index}_{PLAIN}"), "type": "function",
                    "function": {"name": name, "arguments": arguments.to_string()}})
            })
            .collect();
        let finish = if is_first { "tool_calls" } else { "stop" };
        if is_first {
            sent.push(stub::event(&stub::chunk(
                &json!({"tool_calls": calls}),
                None,
            )));
        }
        sent.push(stub::event(&stub::chunk(&json!({}), Some(finish))));
        sent.push(stub::event(&stub::usage(10, 5)));
        sent.push(stub::piece("data: [DONE]\n\n"));
        sent.push(stub::stream_end());
        sent
    }
}

/// A talkative model that knows where it listens.
fn talkative_server() -> Stub {
    let address = std::sync::Arc::new(std::sync::OnceLock::new());
    let told = std::sync::Arc::clone(&address);
    let server = Stub::start(move |seen| talkative(String::clone(told.wait()))(seen));
    address.set(server.address().to_string()).unwrap();
    server
}

#[test]
fn no_surface_shows_a_key_that_a_model_or_a_tool_says() {
    for output in [
        &["--output", "text", "-vv"][..],
        &["--json"],
        &["--output", "stream-json"],
    ] {
        let server = talkative_server();
        let context = context(&server, "max_retries: 0");
        let mut args = vec![
            "--agent",
            "a",
            "--session",
            "s",
            "--save",
            "--record",
            "r.jsonl",
        ];
        let prompt = everything();
        args.extend(["--prompt", prompt.as_str()]);
        args.extend(output);
        let ran = run(&context, &args).exits(0);
        let what = output.join(" ");
        assert_ran_clean(&what, &ran);
        if output.contains(&"stream-json") {
            assert_pieces_clean(&ran);
        }
        let chats = server.chats();
        let results = chats.last().unwrap().tool_messages();
        assert_eq!(results.len(), 12, "{what}");
        for result in &results {
            assert_clean(&format!("{what}: a tool result"), &result.to_string());
        }
        assert!(
            results[2]["content"]
                .as_str()
                .unwrap()
                .contains("form 3: [redacted] .")
        );
        let mut seen = Vec::new();
        assert_files_clean(&context.work(), &mut seen);
        assert_files_clean(&context.state(), &mut seen);
        assert!(
            seen.iter().any(|end| end == "jsonl") && seen.len() > 3,
            "{seen:?}"
        );
        for list in [
            &["--logs", "a"][..],
            &["--costs"],
            &["--status", "--json"],
            &["--runs"],
        ] {
            assert_ran_clean(&list.join(" "), &run(&context, list));
        }
        let again = run(
            &context,
            &["--agent", "a", "--replay", "r.jsonl", "--prompt", &prompt],
        );
        assert_ran_clean("--replay", &again);
    }
}

/// What a program that puts the pieces together has.
fn assert_pieces_clean(ran: &Ran) {
    for kind in ["text.delta", "reasoning.delta"] {
        let whole: String = ran
            .json_lines()
            .iter()
            .filter(|line| line["type"] == kind)
            .map(|line| line["text"].as_str().unwrap().to_owned())
            .collect();
        assert!(whole.contains("[redacted]"), "{kind}");
        assert_clean(kind, &whole);
    }
}

#[test]
fn no_surface_shows_a_key_that_a_task_comes_upon() {
    let server = talkative_server();
    let context = context(&server, "max_retries: 0");
    for output in ["text", "json", "stream-json"] {
        let ran = run(&context, &["--task", "t", "--output", output, "--save"]).exits(0);
        assert_ran_clean(&format!("--task {output}"), &ran);
    }
    assert_files_clean(&context.work(), &mut Vec::new());
    assert_files_clean(&context.state(), &mut Vec::new());
}

#[test]
fn no_surface_shows_a_key_that_a_server_echoes_in_a_refusal() {
    let body =
        json!({"error": {"message": everything(), "code": PLAIN, "type": FILED}}).to_string();
    for (status, body) in [
        (401, &body),
        (400, &body),
        (500, &body),
        (429, &body),
        (500, &everything()),
    ] {
        let headers = [("x-request-id", PLAIN), ("retry-after", "0")];
        let answer = stub::status(status, &headers, body);
        let server = Stub::start(move |_| answer.clone());
        let context = context(&server, "max_retries: 1, retry_delay: 0.01");
        for output in [
            &["--output", "text", "-vv"][..],
            &["--json"],
            &["--output", "stream-json"],
        ] {
            let mut args = vec![
                "--agent",
                "a",
                "--prompt",
                "x",
                "--session",
                "s",
                "--record",
                "r.jsonl",
            ];
            args.extend(output);
            let ran = run(&context, &args);
            assert_ne!(ran.code, 0);
            assert_ran_clean(&format!("{status} {}", output.join(" ")), &ran);
        }
        assert_ran_clean("--all", &run(&context, &["--all", "--prompt", "x"]));
        assert_ran_clean(
            "--health",
            &run(&context, &["--health", "--deep", "--json"]),
        );
        assert_files_clean(&context.work(), &mut Vec::new());
        assert_files_clean(&context.state(), &mut Vec::new());
    }
}

#[test]
fn a_mistake_on_the_command_line_is_told_without_the_key_in_it() {
    let server = Stub::replies([stub::text("x")]);
    let context = context(&server, "max_retries: 0");
    for args in [
        &["--agent", PLAIN, "--prompt", "x"][..],
        &["--agent", PLAIN, "--prompt", "x", "--json"],
        &["--task", PLAIN],
        &["--resume", PLAIN],
        &["--agent", "a", "--prompt-file", PLAIN],
        &["tool", PLAIN, "{}"],
        &["tool", "read", RICH],
    ] {
        assert_ran_clean(&args.join(" "), &run(&context, args));
    }
}

/// Where long outputs are cut, half a key would not be recognised.
#[test]
fn a_key_at_the_place_of_a_cut_leaves_no_half() {
    let server = Stub::replies([stub::text("x")]);
    let context = context(&server, "max_retries: 0");
    let half = 30 << 10;
    for shift in (0..PLAIN.len()).step_by(3) {
        let before = half - shift;
        let after = half - PLAIN.len() + shift;
        let script = format!(
            "p() {{ head -c \"$1\" /dev/zero | tr '\\0' \"$2\"; }}; \
             p {before} x; cat key.txt; p 99999 ' '; p 1000 y; cat key.txt; p {after} z"
        );
        context.write("key.txt", PLAIN);
        let params = json!({"command": script}).to_string();
        let ran = run(&context, &["tool", "bash", &params]).exits(0);
        assert!(
            ran.stdout.contains("bytes left out"),
            "{}",
            ran.stdout.len()
        );
        assert_ran_clean(&format!("shift {shift}"), &ran);
        let width = 500 - "needle ".len() - shift;
        context.write(
            "lines.txt",
            format!(
                "needle {}{PLAIN}{}\n{}{PLAIN}{}needle{}\n",
                "v".repeat(width),
                "v".repeat(900),
                "v".repeat(900),
                "v".repeat(500 / 4 - shift),
                "v".repeat(900)
            ),
        );
        let ran = run(
            &context,
            &[
                "tool",
                "grep",
                r#"{"path": "lines.txt", "pattern": "needle"}"#,
            ],
        )
        .exits(0);
        assert_ran_clean(&format!("grep, shift {shift}"), &ran);
        context.write(
            "one.txt",
            format!(
                "{}{PLAIN}{}",
                "q".repeat((48 << 10) - shift),
                "q".repeat(1000)
            ),
        );
        let ran = run(&context, &["tool", "read", r#"{"path": "one.txt"}"#]).exits(0);
        assert_ran_clean(&format!("read, shift {shift}"), &ran);
    }
}
