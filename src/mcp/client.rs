//! One MCP server as a client sees it: started or reached, asked for its tools, called.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use rmcp::model::{CallToolRequestParams, CallToolResult, ContentBlock, ResourceContents};
use rmcp::service::{RoleClient, RunningService, ServiceExt};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::timeout;
use url::Url;

use super::McpServer;
use super::failure::{of_begin, of_call, of_request};
use super::lenient::Lenient;
use super::lines::Lines;
use super::schema;
use crate::clock;
use crate::message::ToolSpec;
use crate::process::Input;
use crate::providers::{ProxySettings, http_client};
use crate::sandbox::{Child, Command, Policy, Program, SandboxError};

/// The longest name of a tool that every vendor takes.
const LONGEST_NAME: usize = 64;

/// How much of a failed server's standard error is told, bytes.
const COMPLAINT: usize = 400;

/// How long a server that is asked to end may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// A server as configured, with what it needs to be started.
#[derive(Clone)]
pub struct ServerSpec {
    /// Its name in the configuration.
    pub name: String,
    /// Its entry.
    pub server: McpServer,
    /// Its program, where it is one: a name that `PATH` finds, or an absolute path.
    pub program: OsString,
    /// The rules of its process.
    pub policy: Arc<Policy>,
    /// The proxies of a server that speaks over HTTP.
    pub proxies: ProxySettings,
}

/// A server that answered. Dropping it ends its process.
pub(super) struct Connection {
    service: RunningService<RoleClient, ()>,
    child: Option<Child>,
    /// Its tools as they are offered to models: `server__tool`.
    pub tools: Vec<ToolSpec>,
    /// The server's own names of its tools, by the names that are offered.
    own_names: BTreeMap<String, String>,
    /// What the user must know of tools that are left out.
    pub warnings: Vec<String>,
    limit: Duration,
}

/// Starts or reaches a server and asks for its tools, within its time.
///
/// # Errors
/// In words: it cannot be started, does not answer in time, or speaks no MCP.
pub(super) async fn connect(spec: &ServerSpec) -> Result<Connection, String> {
    let limit = spec.server.timeout.limit().unwrap_or(Duration::MAX);
    let seconds = clock::seconds(limit);
    let late = || format!("it did not answer in {seconds} s");
    let Some(url) = &spec.server.url else {
        let mut child = timeout(limit, start(spec)).await.map_err(|_| late())??;
        let stderr = child.stderr.take();
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("its pipes are missing".to_owned());
        };
        let answered = async {
            let transport = Lenient(Lines::new(stdout, stdin));
            let service = ().serve(transport).await.map_err(|error| of_begin(&error))?;
            finish(spec, service, limit).await
        };
        let connected = timeout(limit, answered)
            .await
            .unwrap_or_else(|_| Err(late()));
        return match connected {
            Ok(mut connection) => {
                connection.child = Some(child);
                if let Some(stderr) = stderr {
                    // Read, so that a server that complains a lot does not wait for ever.
                    drop(tokio::spawn(swallow(stderr)));
                }
                Ok(connection)
            }
            Err(why) => {
                // What could not be started in its sandbox has ended too, and its end says so.
                let (ended, why) =
                    tokio::join!(timeout(PATIENCE, child.wait()), complaint(why, stderr));
                Err(match ended {
                    Ok(Err(error)) if error.raw_os_error().is_some() => unstarted(spec, &error),
                    _ => why,
                })
            }
        };
    };
    let transport = http_transport(url, spec)?;
    let answered = async {
        let transport = Lenient(transport);
        let service = ().serve(transport).await.map_err(|error| of_begin(&error))?;
        finish(spec, service, limit).await
    };
    timeout(limit, answered)
        .await
        .unwrap_or_else(|_| Err(late()))
}

async fn start(spec: &ServerSpec) -> Result<Child, String> {
    let environment = spec.server.env.iter();
    let rest = spec.server.command.iter().skip(1).map(OsString::from);
    let arguments = std::iter::once(spec.program.clone()).chain(rest);
    let command = Command {
        program: Program::Arguments(arguments.collect()),
        input: Input::Pipe,
        environment: environment
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        ..Command::script(&spec.policy, "")
    };
    command.spawn().await.map_err(|error| {
        if let SandboxError::NotStarted { source, .. } = &error {
            return unstarted(spec, source);
        }
        let mut words = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            words = format!("{words}: {next}");
            cause = next.source();
        }
        words
    })
}

/// A program that cannot be started, and what helps.
fn unstarted(spec: &ServerSpec, error: &io::Error) -> String {
    let program = Path::new(&spec.program);
    let mode = std::fs::metadata(program).map(|file| file.permissions().mode());
    let hint = not_started(program, error.kind(), mode.ok());
    let place = program.display();
    format!("`{place}` cannot be started: {error} ({hint})")
}

/// What helps where a program cannot be started; `mode` is that of its file, if there is one.
fn not_started(program: &Path, kind: ErrorKind, mode: Option<u32>) -> String {
    let place = program.display();
    match (kind, mode) {
        _ if !program.is_absolute() => {
            "install it, or name it by its path: no directory of `PATH` has it".to_owned()
        }
        (_, None) => format!(
            "there is no `{place}`; a path without a `/` in front starts at the configuration's directory"
        ),
        (_, Some(mode)) if mode & 0o111 == 0 => format!("make it a program: chmod +x {place}"),
        (ErrorKind::NotFound | ErrorKind::PermissionDenied, _) => {
            "the sandbox must show it, `sandbox: {read: [DIRECTORY]}`, and what its first line names"
                .to_owned()
        }
        _ => "a script names its interpreter in its first line, as in `#!/usr/bin/env python3`"
            .to_owned(),
    }
}

fn http_transport(
    url: &str,
    spec: &ServerSpec,
) -> Result<StreamableHttpClientTransport<reqwest::Client>, String> {
    let parsed = Url::parse(url).map_err(|error| format!("its `url` is none: {error}"))?;
    let client = http_client(&parsed, &spec.proxies)?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    for (name, value) in &spec.server.headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| format!("`{name}` is no name of a header"))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("the header `{name}` has a value that cannot be sent"))?;
        value.set_sensitive(true);
        config.custom_headers.insert(name, value);
    }
    Ok(StreamableHttpClientTransport::with_client(client, config))
}

async fn finish(
    spec: &ServerSpec,
    service: RunningService<RoleClient, ()>,
    limit: Duration,
) -> Result<Connection, String> {
    let listed = service
        .list_all_tools()
        .await
        .map_err(|error| of_request(&error))?;
    let mut own_names = BTreeMap::new();
    let mut tools = Vec::new();
    let mut warnings = Vec::new();
    for tool in listed {
        let parameters = match schema::offered(&tool.input_schema) {
            Ok(parameters) => parameters,
            Err(why) => {
                warnings.push(format!(
                    "the tool `{}` of the MCP server `{}` is left out: its schema is none that models take: {why}",
                    tool.name, spec.name
                ));
                continue;
            }
        };
        let name = offered_name(&spec.name, &tool.name, &own_names);
        own_names.insert(name.clone(), tool.name.to_string());
        tools.push(ToolSpec {
            name,
            description: tool.description.unwrap_or_default().into_owned(),
            parameters,
        });
    }
    Ok(Connection {
        service,
        child: None,
        tools,
        own_names,
        warnings,
        limit,
    })
}

/// `server__tool` in the letters that every vendor takes, short enough and not taken yet.
fn offered_name(server: &str, tool: &str, taken: &BTreeMap<String, String>) -> String {
    let letters: String = format!("{server}__{tool}")
        .chars()
        .map(|letter| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => letter,
            _ => '_',
        })
        .take(LONGEST_NAME)
        .collect();
    let mut name = letters.clone();
    let mut count = 2;
    while taken.contains_key(&name) {
        let end = format!("_{count}");
        let kept = letters.len().min(LONGEST_NAME - end.len());
        name = format!("{}{end}", letters.get(..kept).unwrap_or_default());
        count += 1;
    }
    name
}

impl Connection {
    /// Whether the server has a tool that is offered under this name.
    pub(super) fn has(&self, tool: &str) -> bool {
        self.own_names.contains_key(tool)
    }

    /// The longest that a call may take.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Calls a tool by the name under which it is offered.
    ///
    /// # Errors
    /// In words for the model: the tool failed, or the server is gone.
    pub(super) async fn call(&self, tool: &str, arguments: Value) -> Result<String, String> {
        let Some(own_name) = self.own_names.get(tool) else {
            return Err(format!("there is no tool `{tool}`"));
        };
        let mut request = CallToolRequestParams::new(own_name.clone());
        if let Value::Object(arguments) = arguments {
            request = request.with_arguments(arguments);
        }
        let result = self
            .service
            .call_tool(request)
            .await
            .map_err(|error| of_call(&error))?;
        let text = text(&result);
        if result.is_error == Some(true) {
            return Err(if text.is_empty() {
                "the tool failed".to_owned()
            } else {
                text
            });
        }
        Ok(text)
    }

    /// Ends the connection and the server's process; tells what the user must know of what it left behind.
    pub(super) async fn close(mut self) -> Vec<String> {
        drop(self.service.close_with_timeout(PATIENCE).await);
        let Some(child) = &mut self.child else {
            return Vec::new();
        };
        // Its input is closed, which is how such a server is asked to end.
        let mut ended = timeout(PATIENCE, child.wait()).await;
        if ended.is_err() {
            child.kill();
            ended = timeout(PATIENCE, child.wait()).await;
        }
        match ended {
            Ok(Ok(ended)) => ended.warnings(),
            _ => Vec::new(),
        }
    }
}

/// What a result says, as text.
fn text(result: &CallToolResult) -> String {
    let mut parts: Vec<String> = result.content.iter().map(block).collect();
    if parts.is_empty()
        && let Some(structured) = &result.structured_content
    {
        parts.push(structured.to_string());
    }
    parts.join("\n")
}

fn block(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => format!("[an image, {}]", image.mime_type),
        ContentBlock::Audio(audio) => format!("[a sound, {}]", audio.mime_type),
        ContentBlock::Resource(resource) => match &resource.resource {
            ResourceContents::TextResourceContents { text, .. } => text.clone(),
            ResourceContents::BlobResourceContents { uri, .. } => format!("[a file, {uri}]"),
            _ => "[something]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[see {}]", link.uri),
        _ => "[something]".to_owned(),
    }
}

async fn swallow(mut stderr: pipe::Receiver) {
    let mut buffer = vec![0; 4096];
    while stderr.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

/// Why a server failed, with the end of what it complained.
async fn complaint(why: String, stderr: Option<pipe::Receiver>) -> String {
    let mut told = Vec::new();
    if let Some(mut stderr) = stderr {
        // It may have ended a moment ago, or never write anything.
        drop(timeout(PATIENCE, stderr.read_to_end(&mut told)).await);
    }
    let told = String::from_utf8_lossy(&told);
    let last = told.lines().rev().find(|line| !line.trim().is_empty());
    match last {
        Some(line) => format!(
            "{why}: {}",
            line.trim().chars().take(COMPLAINT).collect::<String>()
        ),
        None => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_be_started_has_a_hint() {
        use ErrorKind::{NotFound, Other, PermissionDenied};
        for (program, kind, mode, expected) in [
            ("uvx", NotFound, None, "install it"),
            ("/a/srv.py", NotFound, None, "there is no `/a/srv.py`"),
            (
                "/a/srv.py",
                PermissionDenied,
                Some(0o644),
                "chmod +x /a/srv.py",
            ),
            (
                "/a/srv.py",
                NotFound,
                Some(0o755),
                "the sandbox must show it",
            ),
            ("/a/srv.py", Other, Some(0o755), "first line"),
        ] {
            let hint = not_started(Path::new(program), kind, mode);
            assert!(hint.contains(expected), "{program} {kind}: {hint}");
        }
    }

    #[test]
    fn names_are_what_every_vendor_takes() {
        let mut taken = BTreeMap::new();
        for (server, tool, expected) in [
            ("git", "status", "git__status"),
            ("git", "git.log v2", "git__git_log_v2"),
            ("git", "git log.v2", "git__git_log_v2_2"),
        ] {
            let name = offered_name(server, tool, &taken);
            assert_eq!(name, expected);
            taken.insert(name, tool.to_owned());
        }
        let long = "x".repeat(100);
        let first = offered_name("s", &long, &taken);
        assert_eq!(first.len(), LONGEST_NAME);
        taken.insert(first.clone(), long.clone());
        let second = offered_name("s", &long, &taken);
        assert!(
            second.len() == LONGEST_NAME && second.ends_with("_2"),
            "{second}"
        );
    }
}
