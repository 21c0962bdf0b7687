//! Whether a configuration that was found may do what it asks for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::mask::mask_urls;
use super::problem::printable;
use super::{Config, DecidedBy, Env, Origin};
use crate::files;
use crate::providers::{ProviderKind, vendors};
use crate::redact::Redactor;
use crate::sandbox::{AgentSandbox, Network, SandboxSettings, Tier};

/// Whether the configuration may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustState {
    /// It was named, asks for nothing special, or is trusted already.
    Trusted,
    /// It was found and asks for these things, one line each; the user has not said yes.
    Asks(Vec<String>),
}

impl TrustState {
    /// The words for a script, and the fix: exit 3.
    pub fn refusal(reasons: &[String], file: &str) -> (String, String) {
        let message = format!(
            "`{file}` was found here and is not trusted, though it {}",
            reasons.join(", ")
        );
        (message, format!("read it, then: orch trust {file}"))
    }
}

/// Whether the configuration may be used as it is.
pub fn trust_state(config: &Config) -> TrustState {
    let reasons = needs_trust(config);
    let known = config
        .path
        .as_deref()
        .is_some_and(|path| is_trusted(&config.trust_dir, path, &config.hash));
    if reasons.is_empty() || known {
        TrustState::Trusted
    } else {
        TrustState::Asks(reasons)
    }
}

/// What a found configuration does that a stranger's must not do unasked; empty for one that was
/// named or is the user's own.
pub fn needs_trust(config: &Config) -> Vec<String> {
    if config.origin != Origin::Found {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    let document = &config.document;
    let settings = &document.settings;
    if let Some(workspace) = elsewhere(&config.working_dir, &config.base_dir) {
        reasons.push(format!("lets agents work in {}", workspace.display()));
    }
    let state_dir = settings.state_dir.is_some().then_some(&*config.state_dir);
    if let Some(state) = state_dir.and_then(|state| elsewhere(state, &config.base_dir)) {
        reasons.push(format!(
            "keeps its ledger and conversations in {}",
            state.display()
        ));
    }
    for (name, server) in document.mcp_servers.iter() {
        reasons.push(match &server.url {
            Some(url) => format!("connects to the MCP server `{name}` at {url}"),
            None => format!(
                "starts the MCP server `{name}` (`{}`)",
                server.command.join(" ")
            ),
        });
    }
    for (name, provider) in document.providers.iter() {
        let is_claude = provider.kind_of(name) == ProviderKind::Claude;
        // The CLI has a login of its own.
        if let Some(url) = &provider.base_url
            && (is_claude || sends_key(name, provider.api_key_env.as_deref(), &config.env))
        {
            reasons.push(format!("sends the key of `{name}` to {url}"));
        }
        if let Some(path) = provider.cli_path.as_deref().filter(|_| is_claude) {
            reasons.push(format!("runs `{path}` as the Claude CLI"));
        }
        if is_claude && provider.native_tools == Some(true) {
            reasons.push(format!(
                "hands the Claude CLI its own tools, without approvals and allowed_commands (`{name}`)"
            ));
        }
    }
    loosened(&mut reasons, "", &settings.sandbox);
    for (name, agent) in document.agents.iter() {
        loosened_by_agent(&mut reasons, name, &agent.sandbox);
    }
    if !settings.sandbox_paths {
        reasons.push("opens the whole disk to tools".to_owned());
    }
    if !settings.http.allow.is_empty() {
        reasons.push(format!(
            "lets http tools reach {}",
            settings.http.allow.join(", ")
        ));
    }
    match config.accepts_hosts {
        // The user's own choice.
        None | Some(DecidedBy::Process) => {}
        Some(DecidedBy::File) => reasons.push("accepts unknown ssh hosts".to_owned()),
        Some(by @ DecidedBy::Dotenv) => {
            reasons.push(format!("accepts unknown ssh hosts ({})", by.rule()));
        }
    }
    // What they quote may hold a key, in the query of an address say.
    let redactor = Redactor::new(config.secrets());
    let shown = |reason: &String| printable(&redactor.mask(&mask_urls(reason)));
    reasons.iter().map(shown).collect()
}

/// A place, where it is neither the directory of the configuration nor below it, however links lead there.
fn elsewhere(place: &Path, base_dir: &Path) -> Option<PathBuf> {
    Some(resolved(place)).filter(|place| !place.starts_with(resolved(base_dir)))
}

/// Whether requests of the provider carry a key.
fn sends_key(name: &str, api_key_env: Option<&str>, env: &Env) -> bool {
    let of_vendor = vendors::find(name).map(|vendor| vendor.key_variables);
    api_key_env.is_some()
        || of_vendor
            .unwrap_or_default()
            .iter()
            .any(|variable| env.get(variable).is_some())
}

/// What a sandbox allows over the default; `whose` says for whom, with a blank before it.
fn loosened(reasons: &mut Vec<String>, whose: &str, sandbox: &SandboxSettings) {
    let default = SandboxSettings::default();
    match sandbox.tier {
        Tier::Full => {}
        Tier::Landlock => reasons.push(format!("weakens the sandbox{whose} (`tier: landlock`)")),
        Tier::Off => reasons.push(format!("turns the sandbox{whose} off")),
    }
    match sandbox.network {
        Network::Deny => {}
        Network::Loopback => {
            reasons.push(format!("lets commands{whose} reach this machine's servers"));
        }
        Network::Allow => reasons.push(format!("lets commands{whose} reach the network")),
    }
    let more: Vec<&str> = sandbox
        .read
        .iter()
        .filter(|path| !default.read.contains(path))
        .map(String::as_str)
        .collect();
    if !more.is_empty() {
        reasons.push(format!("lets tools{whose} read {}", more.join(", ")));
    }
    if !sandbox.write.is_empty() {
        reasons.push(format!(
            "lets tools{whose} write {}",
            sandbox.write.join(", ")
        ));
    }
}

fn loosened_by_agent(reasons: &mut Vec<String>, agent: &str, sandbox: &AgentSandbox) {
    if *sandbox != AgentSandbox::default() {
        let over_default = SandboxSettings::default().for_agent(sandbox);
        loosened(reasons, &format!(" of `{agent}`"), &over_default);
    }
}

/// Why the workspace may not be used: it is `/`, the home directory, or holds the state directory,
/// and the configuration was not named. With the words and the fix.
pub fn refused_workspace(config: &Config) -> Option<(String, String)> {
    if config.origin == Origin::Named {
        return None;
    }
    let workspace = &config.working_dir;
    let home = config.env.home().map(resolved);
    let words = if workspace == Path::new("/") {
        "the whole disk"
    } else if Some(workspace) == home.as_ref() {
        "your home directory"
    } else if resolved(&config.state_dir).starts_with(workspace) {
        "the directory that holds orch's own state"
    } else {
        return None;
    };
    let fix = match &config.path {
        Some(path) => format!(
            "work in a directory of its own, or name the file: --config {}",
            path.display()
        ),
        None => "work in a directory of its own".to_owned(),
    };
    Some((
        format!("the workspace `{}` is {words}", workspace.display()),
        fix,
    ))
}

/// A path with links resolved as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        if let Ok(real) = fs::canonicalize(ancestor) {
            return missing
                .iter()
                .rev()
                .fold(real, |path, name| path.join(name));
        }
        missing.extend(ancestor.file_name());
    }
    path.to_owned()
}

/// What trust is given to: the content of a file, the places it names that lie elsewhere, since links and variables
/// can lead the same words to another place, and what the `.env` file beside it loosens. Of that file only this: keys
/// come and go.
pub(super) fn trusted_content<'p>(
    bytes: &[u8],
    places: impl Iterator<Item = &'p Path>,
    base_dir: &Path,
    accepts_hosts: Option<DecidedBy>,
) -> String {
    let mut content = bytes.to_owned();
    for place in places.filter_map(|place| elsewhere(place, base_dir)) {
        content.push(0);
        content.extend(place.as_os_str().as_encoded_bytes());
    }
    if accepts_hosts == Some(DecidedBy::Dotenv) {
        // No place is empty.
        content.extend(b"\0\0");
        content.extend(DecidedBy::Dotenv.rule().as_bytes());
    }
    hash(&content)
}

/// SHA-256 in hexadecimal.
fn hash(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    text
}

/// Where it is kept what is trusted, in the user's own state directory (see
/// [`state_dir`](super::state_dir)): not one that a found configuration names.
pub fn trust_dir(user_state_dir: &Path) -> PathBuf {
    user_state_dir.join("trust")
}

/// Whether the user has trusted this content of the file at this path.
pub fn is_trusted(trust_dir: &Path, path: &Path, hash: &str) -> bool {
    !hash.is_empty()
        && fs::symlink_metadata(entry(trust_dir, path, hash)).is_ok_and(|entry| entry.is_file())
}

/// Remembers that the user trusts this content of the file at this path.
///
/// # Errors
/// When the directory cannot be made or written.
pub fn trust(trust_dir: &Path, path: &Path, hash: &str) -> io::Result<()> {
    files::private_dir(trust_dir)?;
    let mut content = place_of(path).into_os_string().into_encoded_bytes();
    content.push(b'\n');
    files::write_whole(&entry(trust_dir, path, hash), &content, 0o600)
}

/// Where a file is used: its real directory and its name there. Not where a link in its place leads: what the file names
/// by relative paths, programs among them, lies in the directory of the link, which may be a stranger's.
fn place_of(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => resolved(directory).join(name),
        _ => resolved(path),
    }
}

/// The file that stands for one path with one content.
fn entry(trust_dir: &Path, path: &Path, content: &str) -> PathBuf {
    let mut key = place_of(path).into_os_string().into_encoded_bytes();
    key.push(0);
    key.extend_from_slice(content.as_bytes());
    trust_dir.join(hash(&key))
}
