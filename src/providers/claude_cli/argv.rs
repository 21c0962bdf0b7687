//! The command line and the environment of the CLI, as pure functions of what a run is to be.

use std::ffi::OsString;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::message::ToolSpec;
use crate::providers::ToolBridge;
use crate::usage::Usd;

/// The name under which our tools are served to the CLI; it calls `mcp__orch__NAME`.
pub const SERVER: &str = "orch";

/// What one run of the CLI is to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// The model's alias or full name.
    pub model: String,
    /// Which conversation of the CLI it works on.
    pub session: SessionChoice,
    /// A file with the system prompt; the CLI's own without one.
    pub system_prompt_file: Option<PathBuf>,
    /// The CLI's own tools that it may use instead of ours; none at all by default.
    pub native_tools: Vec<NativeTool>,
    /// A file with the MCP server that the CLI starts: the relay to our tools.
    pub mcp_config_file: Option<PathBuf>,
    /// Model turns.
    pub max_turns: Option<u32>,
    /// The CLI's own cap, which it checks after each reply.
    pub max_budget: Option<Usd>,
    /// The model that answers when the first has no capacity.
    pub fallback_model: Option<String>,
    /// JSON Schema of the answer.
    pub output_schema: Option<Value>,
    /// Flags that this version of the CLI does not know and that a run can do without.
    pub without: Vec<String>,
}

/// Which conversation of the CLI a run works on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SessionChoice {
    /// One that is not kept.
    #[default]
    Throwaway,
    /// A new one with this UUID.
    New(String),
    /// The one with this UUID, from where it ended.
    Resume(String),
}

/// Flags that only make a run nicer: a CLI that does not know them runs without.
pub const OPTIONAL_FLAGS: [&str; 4] = [
    "--include-partial-messages",
    "--system-prompt-snapshot",
    "--fallback-model",
    "--no-session-persistence",
];

/// The arguments of the CLI. The prompt is not among them: it goes to standard input, so that
/// neither its length nor a leading `-` matters.
pub fn arguments(spec: &Spec) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut push = |words: &[&str]| {
        let known = words
            .first()
            .is_some_and(|flag| !spec.without.iter().any(|absent| absent == flag));
        if known {
            arguments.extend(words.iter().map(OsString::from));
        }
    };
    push(&["-p"]);
    push(&["--output-format", "stream-json"]);
    push(&["--verbose"]);
    push(&["--include-partial-messages"]);
    push(&["--model", &spec.model]);
    // Exactly these tools: an empty list is none, while leaving the flag out would be all of them.
    let native: Vec<&str> = spec.native_tools.iter().map(|tool| tool.theirs).collect();
    push(&["--tools", &native.join(",")]);
    let mut allowed = native;
    if spec.mcp_config_file.is_some() {
        allowed.push("mcp__orch");
        let twice: Vec<String> = spec
            .native_tools
            .iter()
            .map(|tool| format!("mcp__{SERVER}__{}", tool.ours))
            .collect();
        if !twice.is_empty() {
            push(&["--disallowedTools", &twice.join(",")]);
        }
    }
    if !allowed.is_empty() {
        push(&["--allowedTools", &allowed.join(",")]);
    }
    push(&["--permission-mode", "dontAsk"]);
    push(&["--setting-sources", ""]);
    push(&["--strict-mcp-config"]);
    if let Some(file) = &spec.mcp_config_file {
        push(&["--mcp-config", &file.to_string_lossy()]);
    }
    if let Some(file) = &spec.system_prompt_file {
        push(&["--system-prompt-file", &file.to_string_lossy()]);
        // Else a resumed conversation keeps its first system prompt in silence.
        push(&["--system-prompt-snapshot", "off"]);
    }
    if let Some(turns) = spec.max_turns {
        push(&["--max-turns", &turns.to_string()]);
    }
    if let Some(budget) = spec.max_budget {
        push(&["--max-budget-usd", &budget.to_string()]);
    }
    if let Some(model) = &spec.fallback_model {
        push(&["--fallback-model", model]);
    }
    if let Some(schema) = &spec.output_schema {
        push(&["--json-schema", &schema.to_string()]);
    }
    match &spec.session {
        SessionChoice::Throwaway => push(&["--no-session-persistence"]),
        SessionChoice::New(uuid) => push(&["--session-id", uuid]),
        SessionChoice::Resume(uuid) => push(&["--resume", uuid]),
    }
    arguments
}

/// A tool of ours that the CLI has itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeTool {
    /// Our name.
    pub ours: &'static str,
    /// The CLI's.
    pub theirs: &'static str,
}

/// Those of our tools that the CLI has itself; the others reach it over the bridge or not at all.
pub fn native(tools: &[ToolSpec]) -> Vec<NativeTool> {
    const NATIVE: [(&str, &str); 7] = [
        ("bash", "Bash"),
        ("read", "Read"),
        ("write", "Write"),
        ("edit", "Edit"),
        ("glob", "Glob"),
        ("grep", "Grep"),
        ("web_fetch", "WebFetch"),
    ];
    NATIVE
        .into_iter()
        .filter(|(ours, _)| tools.iter().any(|tool| tool.name == *ours))
        .map(|(ours, theirs)| NativeTool { ours, theirs })
        .collect()
}

/// The content of the `--mcp-config` file: one server, which is our relay.
pub fn mcp_config(bridge: &ToolBridge) -> Value {
    let mut words = bridge
        .relay
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .chain([bridge.socket.to_string_lossy().into_owned()]);
    let command = words.next().unwrap_or_default();
    let arguments: Vec<String> = words.collect();
    json!({"mcpServers": {SERVER: {"type": "stdio", "command": command, "args": arguments, "env": {}}}})
}

/// What the CLI inherits from the process environment alone, so that a file in somebody else's
/// directory decides neither what runs nor where a key is sent.
pub const PLAIN_ONLY: [&str; 25] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CONFIG_DIR",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
];

/// The CLI's own keys, which may come from `.env` files as well.
pub const INHERITED: [&str; 3] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
];

/// What the CLI inherits beside when it calls its model through a cloud of the user's.
pub fn for_cloud(bedrock: bool, vertex: bool) -> impl Iterator<Item = &'static &'static str> {
    const BEDROCK: [&str; 11] = [
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "ANTHROPIC_BEDROCK_BASE_URL",
        "ANTHROPIC_SMALL_FAST_MODEL_AWS_REGION",
    ];
    const VERTEX: [&str; 5] = [
        "CLOUD_ML_REGION",
        "ANTHROPIC_VERTEX_PROJECT_ID",
        "ANTHROPIC_VERTEX_BASE_URL",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_PROJECT",
    ];
    let bedrock = if bedrock { &BEDROCK[..] } else { &[] };
    let vertex = if vertex { &VERTEX[..] } else { &[] };
    bedrock.iter().chain(vertex)
}

/// The variables that every run sets.
///
/// One retry is left to the CLI, because the line that announces it is the only place where the
/// server's `retry-after` is told. The driver ends a run that is about to retry its first request,
/// so that attempts are counted in one place; in the middle of a run the retry keeps the work.
pub fn fixed_environment(
    max_output_tokens: Option<u64>,
    tool_seconds: u64,
) -> Vec<(String, String)> {
    let milliseconds = tool_seconds.saturating_mul(1000).to_string();
    let mut variables: Vec<(String, String)> = [
        ("DISABLE_AUTOUPDATER", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1"),
        ("CLAUDE_CODE_MAX_RETRIES", "1"),
        ("ENABLE_TOOL_SEARCH", "false"),
        ("BASH_DEFAULT_TIMEOUT_MS", &milliseconds),
        ("BASH_MAX_TIMEOUT_MS", &milliseconds),
        // Our executor decides how long a tool of ours may take.
        ("MCP_TOOL_TIMEOUT", "86400000"),
        ("MCP_TIMEOUT", "30000"),
        ("TERM", "dumb"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    if let Some(tokens) = max_output_tokens {
        variables.push((
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS".to_owned(),
            tokens.to_string(),
        ));
    }
    variables
}
