//! What surrounds the program, for a report that can be pasted anywhere: versions, the terminal, the
//! store, providers and MCP servers, without a key, a parameter or a query.

use std::io::IsTerminal;

use serde_json::{Map, Value, json};
use url::Url;

use crate::cli::Call;
use crate::config::Config;
use crate::orchestrator::Orchestrator;
use crate::render;

/// The kernel and the machine.
pub(super) fn system() -> String {
    let name = rustix::system::uname();
    format!(
        "{} {} {}",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy(),
        name.machine().to_string_lossy()
    )
}

/// What the streams are and what may be done on them.
pub(super) fn terminal(call: &Call) -> Value {
    let kind = |is_terminal| {
        if is_terminal {
            "terminal"
        } else {
            "no terminal"
        }
    };
    json!({
        "stdin": kind(std::io::stdin().is_terminal()),
        "stdout": kind(std::io::stdout().is_terminal()),
        "stderr": kind(std::io::stderr().is_terminal()),
        "columns": render::width(),
        "TERM": call.env.process("TERM").map(|term| term.to_string_lossy()),
        "colour": call.screen.out.color,
    })
}

/// The database, or that there is none yet.
pub(super) fn store(orchestrator: &Orchestrator) -> Value {
    match orchestrator.store().and_then(|store| store.path()) {
        Some(path) => json!(path),
        None => json!("none yet; the first run makes it"),
    }
}

/// The providers that agents use: where they are, and whether a key is known.
pub(super) fn providers(orchestrator: &Orchestrator) -> Value {
    let describe = |(name, (address, has_key)): (String, (String, bool))| {
        let words = match (address.as_str(), has_key) {
            ("", _) => "cannot be used; `orch --health` says why".to_owned(),
            (address, true) => format!("{}, with a key", place(address)),
            (address, false) => format!("{}, without a key", place(address)),
        };
        (name, Value::from(words))
    };
    let found = orchestrator.endpoints();
    Value::Object(found.into_iter().map(describe).collect::<Map<_, _>>())
}

/// The MCP servers: the program, not its arguments; the host, not the path.
pub(super) fn mcp_servers(config: &Config) -> Value {
    let describe = |(name, server): (&str, &crate::mcp::McpServer)| {
        let program = server.command.first().cloned();
        let words = program.or_else(|| server.url.as_deref().map(place));
        (name.to_owned(), json!(words.unwrap_or_default()))
    };
    let servers = config.document.mcp_servers.iter();
    Value::Object(servers.map(describe).collect::<Map<_, _>>())
}

/// Scheme, host and port of a URL; a path as it is.
fn place(address: &str) -> String {
    match Url::parse(address) {
        Ok(url) if url.has_host() => {
            let port = url
                .port()
                .map(|port| format!(":{port}"))
                .unwrap_or_default();
            format!(
                "{}://{}{port}",
                url.scheme(),
                url.host_str().unwrap_or_default()
            )
        }
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_no_secret_in_it() {
        for (address, expected) in [
            (
                "https://me:password@h.example:8443/v1?key=abc",
                "https://h.example:8443",
            ),
            ("http://[::1]:8000/token/x", "http://[::1]:8000"),
            ("/usr/bin/claude", "/usr/bin/claude"),
            ("", ""),
        ] {
            assert_eq!(place(address), expected);
        }
    }
}
