//! `orch check`: whether everything is in order, and where things are.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::surroundings;
use crate::cli::{Call, lists, load};
use crate::config::{Config, Origin};
use crate::error::{ErrorClass, OrchError};
use crate::orchestrator::{Options, Orchestrator};
use crate::sandbox::{self, SandboxError};
use crate::store::{StoreError, StoreErrorKind};

/// Validates the configuration and says what holds; exit 0 when all is well.
pub(in crate::cli) async fn check(
    call: &Call,
    explain: Option<&str>,
    store: bool,
) -> Result<u8, OrchError> {
    if store {
        return check_store(call).await;
    }
    let json = call.json();
    let config = Arc::new(load::config(call)?);
    let orchestrator = Orchestrator::look(Arc::clone(&config), Options::default())?;
    if let Some(agent) = explain {
        let lines = orchestrator.explain(agent)?;
        return Ok(if json {
            call.print_json(&json!({"agent": agent, "rights": lines}))
        } else {
            call.list(&format!("{}\n", lines.join("\n")))
        });
    }
    let mut tiers = Vec::new();
    for policy in orchestrator.policies()? {
        // Not what the kernel says of itself, but whether it does.
        tiers.push((policy.tier, sandbox::probe(&policy).await.err()));
    }
    let mut rights = Map::new();
    for name in config.document.agents.names() {
        rights.insert(name.to_owned(), json!(orchestrator.explain(name)?));
    }
    let notices = [
        config.notices.clone(),
        orchestrator.doubtful_models(),
        orchestrator.doubtful_rows(),
    ]
    .concat();
    let mut status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "system": surroundings::system(),
        "configuration": config.path,
        "found": origin(config.origin),
        "workspace": config.working_dir,
        "logs": config.logs_dir,
        "outputs": config.outputs_dir,
        "state": config.state_dir,
        "store": surroundings::store(&orchestrator),
        "agents": config.document.agents.len(),
        "servers": config.document.servers.len(),
        "tasks": config.document.tasks.len(),
        "providers": surroundings::providers(&orchestrator),
        "mcp_servers": surroundings::mcp_servers(&config),
        "terminal": surroundings::terminal(call),
        "sandbox": config.document.settings.sandbox,
        "tiers": tiers.iter().map(|(tier, error)| (tier.name().to_owned(), tried(error.as_ref()))).collect::<Map<_, _>>(),
        "notices": notices,
    });
    // A report is pasted where others read it.
    orchestrator.redactor().mask_json(&mut status);
    let failed = tiers.into_iter().find_map(|(_, error)| error);
    if json {
        if let Some(fields) = status.as_object_mut() {
            fields.insert("rights".to_owned(), rights.into());
        }
        return Ok(call.print_verdict(&status, failed.as_ref().map(denied)));
    }
    let text = text(&config, &status, &rights);
    call.list(&orchestrator.redactor().mask(&text));
    failed.map_or(Ok(0), |error| Err(denied(&error)))
}

/// What came of building a sandbox.
fn tried(error: Option<&SandboxError>) -> Value {
    match error {
        None => json!("works"),
        Some(SandboxError::Unavailable(unavailable)) => {
            json!({"cause": unavailable.cause, "fix": unavailable.fix})
        }
        Some(error) => json!({"cause": error.to_string()}),
    }
}

fn denied(error: &SandboxError) -> OrchError {
    let told = OrchError::new(ErrorClass::Denied, error.to_string());
    match error {
        SandboxError::Unavailable(unavailable) => told.with_hint(unavailable.fix.clone()),
        error => told.caused_by_source(error),
    }
}

fn text(config: &Config, status: &Value, rights: &Map<String, Value>) -> String {
    let mut status = status.clone();
    let notices = status
        .as_object_mut()
        .and_then(|fields| fields.remove("notices"));
    let mut text = lists::status_text(&status);
    // Writing to a string cannot fail.
    for notice in notices.iter().filter_map(Value::as_array).flatten() {
        _ = writeln!(text, "\nnote: {}", notice.as_str().unwrap_or_default());
    }
    let mut shown: Vec<(&String, &Value)> = Vec::new();
    for (agent, lines) in rights {
        if let Some((same, _)) = shown.iter().find(|(_, known)| *known == lines) {
            _ = writeln!(text, "\n{agent} may do what {same} may");
            continue;
        }
        _ = writeln!(text, "\n{agent} may:");
        for line in lines.as_array().into_iter().flatten() {
            _ = writeln!(text, "  {}", line.as_str().unwrap_or_default());
        }
        shown.push((agent, lines));
    }
    _ = writeln!(
        text,
        "\n{}",
        if config.path.is_some() {
            "the configuration is in order"
        } else {
            "there is no configuration; `orch init` writes one"
        }
    );
    text
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Named => "named by `--config` or `ORCH_CONFIG`",
        Origin::Found => "in the current directory",
        Origin::User => "in the user's own configuration directory",
        Origin::Nowhere => "nowhere",
    }
}

async fn check_store(call: &Call) -> Result<u8, OrchError> {
    let config = load::config(call)?;
    let check = crate::costs::check_store(&config.state_dir, true)
        .await
        .map_err(|error| {
            OrchError::new(ErrorClass::Failed, "the store is not in order")
                .caused_by(&error)
                .with_hint(hint(&error))
        })?;
    let value = serde_json::to_value(&check).unwrap_or_default();
    if call.json() {
        let unsound = || OrchError::new(ErrorClass::Failed, "the store is not in order");
        return Ok(call.print_verdict(&value, (!check.is_sound()).then(unsound)));
    }
    call.list(&lists::status_text(&value));
    Ok(u8::from(!check.is_sound()))
}

/// What helps where this check is what elsewhere would help.
fn hint(error: &StoreError) -> &'static str {
    match error.kind {
        StoreErrorKind::Corrupt | StoreErrorKind::Statement | StoreErrorKind::Closed => {
            "bring its file back from a backup, or move it away: the next run makes a new one"
        }
        StoreErrorKind::Io => "check the disk",
        _ => error.hint(),
    }
}
